"""Where in public code a thing was read: repository, file, lines and commit."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Source:
    """Lines of one file at one commit."""

    repository: str
    path: str
    commit: str
    lines: str = ""

    def at(self, lines: str) -> "Source":
        """Other lines of the same file."""
        return replace(self, lines=lines)

    def __str__(self) -> str:
        return f"{self.project} {self.file}:{self.lines}"

    @property
    def project(self) -> str:
        return self.repository.split("/")[-1]

    @property
    def file(self) -> str:
        return self.path.split("/")[-1]

    @property
    def whole(self) -> str:
        """Repository, file and commit in full."""
        return f"{self.repository} {self.path} at {self.commit}"


_AUTOENCODERKL = "examples/research_projects/autoencoderkl/train_autoencoderkl.py"
_CONTPERCEPTUAL = "ldm/modules/losses/contperceptual.py"
_AUTOENCODER = "ldm/models/autoencoder.py"

DIFFUSERS_KL = Source(
    "huggingface/diffusers", _AUTOENCODERKL, "c9c82173068d628b0569ccb6d656adfa37a389e8"
)
DIFFUSERS_KL_FIRST = Source(
    "huggingface/diffusers", _AUTOENCODERKL, "4fa24591a3607ab66471ebfff92885ccf79fdb2c"
)
"""As it was from January to March 2025, before pull request 11113."""
DIFFUSERS_VQ = Source(
    "huggingface/diffusers",
    "examples/vqgan/train_vqgan.py",
    "c56add8081be60b7e8794e011f1790d0e37aeced",
)
TAMING_LOSS = Source(
    "CompVis/taming-transformers",
    "taming/modules/losses/vqperceptual.py",
    "3ba01b241669f5ade541ce990f7650a3b8f65318",
)
LDM_LOSS = Source(
    "CompVis/latent-diffusion", _CONTPERCEPTUAL, "a506df5756472e2ebaf9078affdde2c4f1502cd4"
)
LDM_MODEL = Source(
    "CompVis/latent-diffusion", _AUTOENCODER, "a506df5756472e2ebaf9078affdde2c4f1502cd4"
)
SGM_LOSS = Source(
    "Stability-AI/generative-models",
    "sgm/modules/autoencoding/losses/discriminator_loss.py",
    "0ad7de9a5cb53fd63d6d30a4f385485e72e08597",
)
SGM_MODEL = Source(
    "Stability-AI/generative-models",
    "sgm/models/autoencoder.py",
    "0ad7de9a5cb53fd63d6d30a4f385485e72e08597",
)
VAVAE_LOSS = Source(
    "hustvl/LightningDiT",
    "vavae/ldm/modules/losses/contperceptual.py",
    "2725fed42a14898744433809949834e26957bcdd",
)
VAVAE_MODEL = Source(
    "hustvl/LightningDiT",
    "vavae/ldm/models/autoencoder.py",
    "2725fed42a14898744433809949834e26957bcdd",
)
VAVAE_CONFIG = Source(
    "hustvl/LightningDiT",
    "vavae/configs/f16d32_vfdinov2.yaml",
    "2725fed42a14898744433809949834e26957bcdd",
)
LLAMAGEN_LOSS = Source(
    "FoundationVision/LlamaGen",
    "tokenizer/tokenizer_image/vq_loss.py",
    "ce98ec41803a74a90ce68c40ababa9eaeffeb4ec",
)
