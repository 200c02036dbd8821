"""The numbers of an evaluation against closed forms and definitions written out."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vaegan import devices
from vaegan.latents import COMPONENTS, fit_mixture
from vaegan.metrics.distances import (
    DISTANCE_ROWS,
    DRAW_SEED,
    KERNEL_SUBSETS,
    NEIGHBOURS,
    inception_score,
    kernel_distance,
    kernel_subset_size,
    precision_and_recall,
)
from vaegan.metrics.evaluation import Evaluator
from vaegan.metrics.extraction import Features
from vaegan.metrics.frechet import Gaussian, frechet_distance
from vaegan.metrics.image_quality import peak_signal_to_noise, structural_similarity
from vaegan.metrics.kernel import distances_one_by_one, is_cheaper
from vaegan.metrics.protocol import Protocol


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features(count: int, width: int, seed: int) -> Tensor:
    """Like deep features: not negative, correlated, with a mean; float32."""
    mixing = noise(width, width, seed=99) * torch.logspace(0, -3, width, dtype=torch.float64)
    return (noise(count, width, seed=seed) @ mixing.T + 0.1 * seed).relu().float()


def sqrtm_distance(a: Tensor, b: Tensor) -> float:
    """FID as pytorch-fid computes it: numpy's moments in float64, scipy's matrix root."""
    x, y = a.double().numpy(), b.double().numpy()
    mu1, mu2, s1, s2 = x.mean(0), y.mean(0), np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(s1 @ s2).real
    return float(((mu1 - mu2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * np.trace(root))


def gaussian_of_moments(mean: Tensor, covariance: Tensor) -> Gaussian:
    """The Gaussian with this mean [D] and covariance [D,D]."""
    values, vectors = torch.linalg.eigh(covariance.double())
    # Rounding leaves eigenvalues of zero a little negative.
    return Gaussian(mean.double(), values.clamp_min(0).sqrt()[:, None] * vectors.T)


def test_frechet_distance_of_known_gaussians() -> None:
    """Commuting covariances: |mu|^2 + sum (sigma_1 - sigma_2)^2; in the plane: by the determinant,

    since tr M^(1/2) = (tr M + 2 det(M)^(1/2))^(1/2) for the product M of two of them.
    """
    sd1, sd2 = torch.tensor([1.0, 2.0, 0.0, 5.0]).double(), torch.tensor([3.0, 2.0, 1.0, 0.5])
    rotation = torch.linalg.qr(noise(4, 4)).Q
    mean = noise(4, seed=1)
    a = gaussian_of_moments(mean, rotation @ torch.diag(sd1**2) @ rotation.T)
    b = gaussian_of_moments(0 * mean, rotation @ torch.diag(sd2.double() ** 2) @ rotation.T)
    expected = float(mean.square().sum() + (sd1 - sd2).square().sum())
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-6)
    assert frechet_distance(b, a) == pytest.approx(expected, abs=1e-6)

    s1 = torch.tensor([[2.0, 0.9], [0.9, 1.0]]).double()
    s2 = torch.tensor([[1.0, -0.7], [-0.7, 3.0]]).double()
    product = s1 @ s2
    root_trace = (product.trace() + 2 * product.det().sqrt()).sqrt()
    zero = torch.zeros(2)
    plane = frechet_distance(gaussian_of_moments(zero, s1), gaussian_of_moments(zero, s2))
    assert plane == pytest.approx(float(s1.trace() + s2.trace() - 2 * root_trace), abs=1e-6)


def test_frechet_distance_of_a_sample_with_exactly_known_moments() -> None:
    """Points at mu +- c sd_i e_i have mean mu and covariance diag(sd^2) when c^2 = (2D - 1) / 2."""
    sd1, sd2, mean = (torch.rand(6, dtype=torch.float64) + 0.5 for _ in range(3))

    def points(sd: Tensor) -> Tensor:
        corners = torch.diag(sd) * (11 / 2) ** 0.5
        return torch.cat([corners, -corners])

    a, b = Gaussian.of_features(points(sd1) + mean), Gaussian.of_features(points(sd2))
    expected = float(mean.square().sum() + (sd1 - sd2).square().sum())
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("count", [30, 400], ids=["fewer than features", "more"])
def test_a_set_is_at_no_distance_from_itself(count: int) -> None:
    values = 30 * features(count, 200, seed=1)
    gaussian = Gaussian.of_features(values)
    assert abs(frechet_distance(gaussian, gaussian)) < 1e-6
    shuffled = Gaussian.of_features(values.flip(0))
    assert abs(frechet_distance(gaussian, shuffled)) < 1e-6


def test_frechet_distance_equals_pytorch_fids_scipys_and_torch_fidelitys() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    a, b = features(900, 48, seed=1), features(700, 48, seed=2)
    found = frechet_distance(Gaussian.of_features(a), Gaussian.of_features(b))
    assert found == pytest.approx(sqrtm_distance(a, b), rel=1e-6)
    statistics = [fid_features_to_statistics(values.double()) for values in (a, b)]
    [theirs] = fid_statistics_to_metric(*statistics, verbose=False).values()
    assert found == pytest.approx(theirs, rel=1e-6)
    moments = [
        gaussian_of_moments(torch.from_numpy(s["mu"]), torch.from_numpy(s["sigma"]))
        for s in statistics
    ]
    assert frechet_distance(*moments) == pytest.approx(found, rel=1e-6)


def test_frechet_distance_of_few_images_equals_the_thin_factors() -> None:
    """Of fewer images than features the trace is that of singular values of thin factors."""
    a, b = features(20, 100, seed=1), features(15, 100, seed=2)
    found = frechet_distance(Gaussian.of_features(a), Gaussian.of_features(b))
    x, y = a.double().numpy(), b.double().numpy()
    thin_x, thin_y = ((f - f.mean(0)).T / np.sqrt(len(f) - 1) for f in (x, y))
    overlap = np.linalg.svd(thin_x.T @ thin_y, compute_uv=False).sum()
    means = ((x.mean(0) - y.mean(0)) ** 2).sum()
    expected = means + (thin_x**2).sum() + (thin_y**2).sum() - 2 * overlap
    assert found == pytest.approx(expected, rel=1e-9)


def test_inception_score_of_sure_and_of_unsure_predictions() -> None:
    one_hot = 50.0 * torch.eye(7).repeat(30, 1)
    assert inception_score(one_hot, splits=1).mean == pytest.approx(7, rel=1e-6)
    assert inception_score(torch.zeros(50, 7)) == pytest.approx((1.0, 0.0), abs=1e-6)
    always_the_same = 50.0 * torch.eye(7)[:1].repeat(50, 1)
    assert inception_score(always_the_same).mean == pytest.approx(1, rel=1e-6)


def test_kernel_distance_equals_the_unbiased_estimate_written_out() -> None:
    a, b = features(60, 20, seed=1), features(60, 20, seed=2)
    x, y = a.double().numpy(), b.double().numpy()

    def kernel(p: np.ndarray, q: np.ndarray) -> float:
        return float((p @ q / 20 + 1) ** 3)

    pairs = [(i, j) for i in range(60) for j in range(60)]
    within = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in pairs if i != j) / (60 * 59)
    across = sum(kernel(x[i], y[j]) for i, j in pairs) / 60**2
    found = kernel_distance(a, b)  # every subset is the whole set
    assert found.mean == pytest.approx(within - 2 * across, rel=1e-6)
    assert found.std < 1e-9


def torch_fidelitys_kernel_distance(a: Tensor, b: Tensor, size: int) -> tuple[float, float]:
    from torch_fidelity.metric_kid import kid_features_to_metric

    found = kid_features_to_metric(
        a.double(),
        b.double(),
        kid_subsets=KERNEL_SUBSETS,
        kid_subset_size=size,
        rng_seed=DRAW_SEED,
        verbose=False,
    )
    mean, std = found.values()
    return mean, std


@pytest.mark.parametrize(("first", "second"), [(150, 150), (400, 90), (2100, 1300)])
def test_kernel_distance_is_torch_fidelitys_by_either_way(first: int, second: int) -> None:
    """In one matrix for all subsets, as such small sets are compared, and subset by subset."""
    a, b = features(first, 20, seed=1), features(second, 20, seed=2) + 0.3
    size = kernel_subset_size(first, second)
    mean, std = torch_fidelitys_kernel_distance(a, b, size)
    assert is_cheaper(first, second, KERNEL_SUBSETS, size)
    found = kernel_distance(a, b)
    assert found.mean == pytest.approx(mean, rel=1e-10)
    assert found.std == pytest.approx(std, rel=1e-8, abs=1e-12)
    each = distances_one_by_one(
        a.double(), b.double(), subsets=KERNEL_SUBSETS, size=size, seed=DRAW_SEED
    )
    assert float(each.mean()) == pytest.approx(mean, rel=1e-10)
    assert float(each.std(correction=0)) == pytest.approx(std, rel=1e-8, abs=1e-12)


def test_large_sets_are_compared_subset_by_subset() -> None:
    a, b = features(21_000, 4, seed=1), features(1_000, 4, seed=2)
    assert not is_cheaper(len(a), len(b), KERNEL_SUBSETS, 1_000)
    mean, _ = torch_fidelitys_kernel_distance(a, b, 1_000)
    assert kernel_distance(a, b).mean == pytest.approx(mean, rel=1e-10)


def test_precision_and_recall_are_torch_fidelitys_to_the_bit() -> None:
    """In blocks of rows and columns, of which there are several here."""
    from torch_fidelity.metric_prc import prc_features_to_metric

    generated, reference = features(2700, 30, seed=1), features(5100, 30, seed=2) * 1.2
    expected = prc_features_to_metric(
        generated,
        reference,
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=DISTANCE_ROWS,
        save_cpu_ram=True,
        verbose=False,
    )
    found = precision_and_recall(generated, reference)
    assert found == (expected["precision"], expected["recall"])
    assert 0 < min(found) < max(found) < 1


def test_kernel_distance_of_unequal_sets_draws_subsets_of_the_smaller() -> None:
    found = kernel_distance(features(300, 20, seed=1), features(50, 20, seed=1))
    assert found.std > 0
    assert abs(found.mean) < 3 * found.std, "the same distribution"


def test_precision_and_recall_equal_the_definition_written_out() -> None:
    generated, reference = features(70, 10, seed=1), features(90, 10, seed=2) * 1.5

    def covered(points: Tensor, balls: Tensor) -> float:
        inside = 0
        for point in points:
            for centre in balls:
                radius = sorted(float((centre - other).norm()) for other in balls)[3]
                if float((point - centre).norm()) <= radius:
                    inside += 1
                    break
        return inside / len(points)

    expected = (covered(generated, reference), covered(reference, generated))
    assert 0 < min(expected) < max(expected) < 1
    assert precision_and_recall(generated, reference) == pytest.approx(expected, rel=1e-6)


def pictures(count: int) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 3, 16, 24), generator=source, dtype=torch.uint8)
    soft = torch.from_numpy(scipy.ndimage.gaussian_filter(x.numpy(), (0, 0, 1, 1)))
    return soft, x


def test_psnr_equals_its_definition_and_is_finite_for_an_exact_copy() -> None:
    x_rec, x = pictures(3)
    error = ((x_rec.double() - x.double()) ** 2).mean((1, 2, 3))
    expected = 10 * torch.log10(255**2 / error)
    torch.testing.assert_close(peak_signal_to_noise(x_rec, x), expected)
    one_off = x.clone()
    one_off[:, 0, 0, 0] ^= 1
    exact, nearly = peak_signal_to_noise(x, x), peak_signal_to_noise(one_off, x)
    assert exact.isfinite().all()
    torch.testing.assert_close(exact, nearly)


def test_ssim_equals_its_definition_with_scipys_gaussian_window() -> None:
    x_rec, x = pictures(2)

    def window(values: np.ndarray) -> np.ndarray:
        smooth = scipy.ndimage.gaussian_filter(values, 1.5, radius=5)
        return smooth[5:-5, 5:-5]  # where the window lies inside the image

    expected = []
    for pair in zip(x_rec.double().numpy(), x.double().numpy(), strict=True):
        planes = []
        for p, q in zip(*pair, strict=True):
            mp, mq = window(p), window(q)
            vp, vq, cov = window(p * p) - mp**2, window(q * q) - mq**2, window(p * q) - mp * mq
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            ratio = (2 * mp * mq + c1) * (2 * cov + c2)
            planes.append((ratio / ((mp**2 + mq**2 + c1) * (vp + vq + c2))).mean())
        expected.append(np.mean(planes))
    found = structural_similarity(x_rec, x)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    assert structural_similarity(x[:1], x[:1]).tolist() == pytest.approx([1.0])


def test_the_mixture_is_where_the_latents_are_and_its_draws_follow_the_seed() -> None:
    centres = 20 * noise(COMPONENTS, 3)
    shape = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.5, 0.0], [0.0, 0.0, 0.1]]).double()
    z = (centres.repeat(200, 1) + noise(200 * COMPONENTS, 3, seed=1) @ shape.T).float()
    mixture = fit_mixture(z)
    assert mixture.converged
    drawn = mixture.sample(4000, seed=0)
    assert drawn.dtype == torch.float32
    distance, nearest = torch.cdist(drawn.double(), centres).min(1)
    assert distance.max() < 6
    assert nearest.bincount(minlength=COMPONENTS).min() > 300
    offsets = drawn.double() - centres[nearest]
    torch.testing.assert_close(offsets.T.cov(), shape @ shape.T, atol=0.15, rtol=0.15)
    assert torch.equal(drawn, mixture.sample(4000, seed=0))
    assert not torch.equal(drawn, mixture.sample(4000, seed=1))


class ThreadsOf(TorchFunctionMode):
    """The number of threads that each torch function was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, set[int]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.setdefault(func.__name__, set()).add(torch.get_num_threads())
        return func(*args, **(kwargs or {}))


def comparison(*, distances_alone: bool) -> tuple[dict[str, Any], dict[str, set[int]]]:
    """An evaluator's numbers of two sets, and the threads that they were computed with."""
    accelerator: Any = SimpleNamespace(device=torch.device("cpu"))
    evaluator = Evaluator(
        extractor=None,  # type: ignore[arg-type]  # the features are there
        protocol=Protocol(),
        accelerator=accelerator,
        distances_alone=distances_alone,
    )
    generated = Features(features(60, 20, seed=1), features(60, 7, seed=3))
    with ThreadsOf() as threads:
        found = evaluator._compare(generated, features(50, 20, seed=2))
    return found, threads.seen


@pytest.mark.parametrize(("told", "raised"), [("1", True), ("", True), ("3", False)])
def test_the_linear_algebra_has_all_cores_unless_a_number_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, told: str, raised: bool
) -> None:
    """A launcher's one thread is for processes beside each other, and here the others wait."""
    monkeypatch.setenv("OMP_NUM_THREADS", told or "1")
    if not told:
        monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(devices, "_cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _, threads = comparison(distances_alone=False)
        assert torch.get_num_threads() == 1, "training goes on as before"
    finally:
        torch.set_num_threads(before)
    for name in ("svdvals", "linalg_svdvals", "cdist", "softmax"):
        if name in threads:
            assert threads[name] == {2 if raised else 1}, name
    assert {"cdist", "softmax"} <= threads.keys()
    assert {"svdvals", "linalg_svdvals"} & threads.keys()


def test_distances_alone_are_the_same_and_nothing_else_is_computed() -> None:
    whole, _ = comparison(distances_alone=False)
    alone, called = comparison(distances_alone=True)
    assert alone == {name: whole[name] for name in alone}
    assert {"frechet_distance", "kernel_distance"} <= alone.keys()
    assert not {"precision", "recall", "inception_score"} & alone.keys()
    assert not {"cdist", "softmax", "kthvalue"} & called.keys()
