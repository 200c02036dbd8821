"""What a run computes with: the precision that is chosen, and what cannot apply here."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.support.commands import ROOT, Command
from tests.support.tiny import TINY_OPTIONS, tiny_config
from tests.test_distributed import processes as processes_of
from vaegan import devices, processes
from vaegan.batch import Partition
from vaegan.commands.train import main
from vaegan.devices import bf16_instructions, choose_precision, reason_for_precision
from vaegan.errors import UserError
from vaegan.run.global_batch import fewest_at_a_time
from vaegan.step.learner import check_compile

CPU_ONLY = pytest.mark.skipif(torch.cuda.is_available(), reason="says what a CPU cannot do")


@pytest.fixture(autouse=True)
def this_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function that the other tests do without."""
    monkeypatch.setattr(devices, "bf16_instructions", bf16_instructions)


@pytest.mark.parametrize(
    ("asked", "told", "fast", "chosen"),
    [
        ("auto", None, False, "fp32"),
        ("auto", "no", True, "bf16"),  # what a launcher says that was told nothing
        ("auto", "bf16", False, "bf16"),
        ("auto", "fp16", True, "fp16"),
        ("fp32", "bf16", True, "fp32"),  # the option is nearer to the user than the launcher
        ("bf16", "no", False, "bf16"),
    ],
)
def test_precision_is_the_users_then_the_launchers_then_the_hardwares(
    monkeypatch: pytest.MonkeyPatch, asked: Any, told: str | None, fast: bool, chosen: str
) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if told is not None:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", told)
    monkeypatch.setattr(devices, "has_fast_bf16", lambda *, cuda: fast)
    assert choose_precision(asked, cuda=True) == chosen


AVX2 = {"avx2": True}
AVX512 = {**AVX2, "avx512_f": True, "avx512_vnni": True}


@pytest.mark.parametrize(
    ("flags", "speedup", "chosen", "reason"),
    [
        (AVX2, 9.0, "fp32", "the CPU has neither AMX nor AVX512-BF16"),
        (AVX512, 9.0, "fp32", "the CPU has neither AMX nor AVX512-BF16"),
        # Two processors with the same flags: an EPYC, and a Xeon whose AMX is hidden.
        (
            {**AVX512, "avx512_bf16": True},
            2.19,
            "bf16",
            "bf16 by AVX512-BF16 is 2.2 times as fast as fp32",
        ),
        (
            {**AVX512, "avx512_bf16": True},
            0.52,
            "fp32",
            "bf16 by AVX512-BF16 is 0.5 times as fast as fp32",
        ),
        (
            {**AVX512, "avx512_bf16": True, "amx_bf16": True},
            4.0,
            "bf16",
            "bf16 by AMX is 4.0 times as fast as fp32",
        ),
        (
            {**AVX512, "amx_tile": True, "amx_int8": True},
            9.0,
            "fp32",
            "the CPU has neither AMX nor AVX512-BF16",
        ),
        (
            {"architecture": "aarch64", "neon": True},
            9.0,
            "fp32",
            "the CPU has neither AMX nor AVX512-BF16",
        ),
    ],
)
def test_a_processor_whose_bf16_is_faster_computes_in_it(
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, Any],
    speedup: float,
    chosen: str,
    reason: str,
) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    monkeypatch.setattr(devices, "bf16_speedup", lambda: speedup)
    assert choose_precision("auto", cuda=False) == chosen
    assert reason_for_precision("auto", cuda=False) == f"since {reason}"


def test_the_speedup_is_the_ratio_of_the_best_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of products that other programs slow down now and then, by a clock of the test's own."""
    now, products = 0.0, 0

    def product(a: torch.Tensor, _: torch.Tensor) -> None:
        nonlocal now, products
        products += 1
        slowed = 50.0 if products % 3 == 0 else 1.0
        now += slowed * (4.0 if a.dtype == torch.float32 else 2.0)

    monkeypatch.setattr(torch, "mm", product)
    monkeypatch.setattr(devices.time, "perf_counter", lambda: now)
    assert devices.bf16_speedup.__wrapped__() == 2.0


@pytest.mark.parametrize(("told", "fast"), [("no", True), ("no", False), (None, True)])
def test_bf16_that_a_launcher_may_have_been_told_not_to_take_comes_with_the_way_to_fp32(
    monkeypatch: pytest.MonkeyPatch, told: str | None, fast: bool
) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if told is not None:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", told)
    monkeypatch.setattr(devices, "has_fast_bf16", lambda *, cuda: fast)
    said = reason_for_precision("auto", cuda=True)
    assert ("--precision fp32 asks for fp32" in said) == (told == "no" and fast)


def test_the_launcher_passes_on_the_same_for_no_mixed_precision_and_for_none(
    accelerate_launch: Command, tmp_path: Path
) -> None:
    """Why `--mixed_precision no` cannot be obeyed. Where this fails, it can be."""
    script = tmp_path / "environment.py"
    script.write_text(
        "import os; print({k: v for k, v in os.environ.items() if k.startswith('ACCELERATE_')})"
    )
    silent, explicit = (
        accelerate_launch(str(script), flags=flags) for flags in ([], ["--mixed_precision", "no"])
    )
    assert "'ACCELERATE_MIXED_PRECISION': 'no'" in silent.stdout
    assert silent.stdout == explicit.stdout


@CPU_ONLY
def test_the_flags_are_those_of_the_operating_system() -> None:
    """torch's names for them, against Linux' own."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("Linux lists the processor's flags")
    lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")]
    if not lines:
        pytest.skip("not an x86 processor")
    own = lines[0].split()
    has = {"AMX": "amx_bf16" in own, "AVX512-BF16": "avx512_bf16" in own}
    assert devices.bf16_instructions() == next((name for name in has if has[name]), None)


@CPU_ONLY
def test_the_log_says_which_precision_and_why(train: Command) -> None:
    options = [word for word in TINY_OPTIONS if word not in ("--precision", "fp32")]
    found = " ".join(train(*options, "--max-steps", "1").stderr.split())
    reason = re.escape(reason_for_precision("auto", cuda=False))
    # The speedup is measured anew by each process.
    reason = re.sub(r"is \d+\\\.\d times", r"is \\d+\\.\\d times", reason.replace("\\ ", " "))
    assert re.search(f"precision (fp32|bf16) {reason}, channels", found)
    told = train(*options, "--max-steps", "1", "--output-dir", "told", "--precision", "fp32")
    assert "precision fp32 by --precision, channels" in " ".join(told.stderr.split())


@CPU_ONLY
def test_processes_that_choose_differently_are_refused(
    accelerate_launch: Command, tmp_path: Path
) -> None:
    """As machines with other processors would."""
    script = tmp_path / "train.py"
    script.write_text(
        "import os\n"
        "os.environ['ACCELERATE_MIXED_PRECISION'] = ('no', 'bf16')[int(os.environ['RANK'])]\n"
        "from vaegan import devices\n"
        "from vaegan.commands.base import leave\n"
        "from vaegan.commands.train import main\n"
        "devices.has_fast_bf16 = lambda *, cuda: False\n"
        "leave(main())\n"
    )
    options = [word for word in TINY_OPTIONS if word not in ("--precision", "fp32")]
    result = accelerate_launch(str(script), *options, "--output-dir", "out", flags=processes_of(2))
    assert "chose different precisions (fp32 and bf16)" in result.stderr
    assert not (tmp_path / "out").exists()


def test_precisions_that_cannot_be_had_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"fp16 .* needs a CUDA device"):
        choose_precision("fp16", cuda=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(UserError, match=r"--mixed_precision fp8.*give no, bf16 or fp16"):
        choose_precision("auto", cuda=True)


PENALTIES: dict[str, Any] = {"r1": 1.0, "discriminator_norm": "group"}


@pytest.mark.parametrize(
    ("settings", "launch", "sentence"),
    [
        ({"compile": "graph"}, {"device": "cpu"}, "is on the CPU"),
        (
            {"compile": "inductor", "sync_batchnorm": True},
            {"num_processes": 8},
            "--sync-batchnorm asks for it over 8: use --compile graph",
        ),
        ({"compile": "inductor"}, {"mixed_precision": "fp16"}, "with fp16 and adam"),
        (
            {"compile": "graph", "optimizer": "rmsprop"},
            {"mixed_precision": "fp16"},
            "with fp16 and rmsprop",
        ),
        ({"compile": "graph"}, {"mixed_precision": "fp16"}, None),
        ({"compile": "graph"}, {}, None),
        ({"compile": "graph", "sync_batchnorm": True}, {"num_processes": 8}, None),
        ({"compile": "inductor"}, {"num_processes": 8}, None),
        ({"compile": "inductor", "sync_batchnorm": True}, {}, None),
        ({"compile": "inductor", **PENALTIES}, {}, "differentiate twice, as --r1 1.0 and --r2 0.0"),
        (
            {"compile": "graph", "penalty_every": 16, **PENALTIES},
            {},
            "with --penalty-every 16 only some have penalties",
        ),
        ({"compile": "graph", **PENALTIES}, {}, None),
        ({"compile": "none", "penalty_every": 16, **PENALTIES}, {}, None),
        ({"compile": "inductor", "model": "vae", **PENALTIES}, {}, None),
        ({"compile": "none"}, {"num_processes": 8, "mixed_precision": "fp16"}, None),
    ],
)
def test_compilation_that_cannot_apply_is_refused_before_any_work(
    settings: dict[str, Any], launch: dict[str, Any], sentence: str | None
) -> None:
    told = {"device": "cuda", "num_processes": 1, "mixed_precision": "bf16", **launch}
    accelerator: Any = SimpleNamespace(**{**told, "device": torch.device(told["device"])})
    if sentence is None:
        check_compile(tiny_config(**settings), accelerator)
    else:
        with pytest.raises(UserError, match=sentence):
            check_compile(tiny_config(**settings), accelerator)


def test_inductor_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    accelerator: Any = SimpleNamespace(
        device=torch.device("cpu"), num_processes=1, mixed_precision="no"
    )
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler"):
        check_compile(tiny_config(compile="inductor"), accelerator)


@CPU_ONLY
def test_a_refused_run_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*TINY_OPTIONS, "--compile", "graph"]) == 2
    assert "leave --compile out" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_profiled_run_says_where_the_time_went_and_keeps_a_trace(
    train: Command, tmp_path: Path
) -> None:
    options = [*TINY_OPTIONS, "--profile", "--output-dir", "out"]
    short = train(*options, "--max-steps", "7")
    assert short.returncode == 2
    assert "records steps 6 to 8" in short.stderr
    assert not (tmp_path / "out").exists()
    result = train(*options, "--max-steps", "9", "--discriminator-passes", "joint")
    assert result.returncode == 0, result.stderr[-3000:]
    for said in ("precision fp32", "discriminator passes joint", "convolution, backward"):
        assert said in " ".join(result.stderr.split())
    assert (tmp_path / "out/profile/steps-6-8.json").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("images", "processes", "accumulate", "fewest"),
    [(64, 1, 1, 64), (64, 64, 1, 1), (65, 32, 1, 2), (16, 1, 16, 1), (16, 1, 5, 3), (9, 2, 4, 1)],
)
def test_the_smallest_micro_batch_of_any_process_is_known(
    images: int, processes: int, accumulate: int, fewest: int
) -> None:
    sizes = [
        len(micro)
        for rank in range(processes)
        for part in [torch.arange(images)[Partition(images, rank, processes).part]]
        for micro in part.tensor_split(min(accumulate, len(part)))
    ]
    assert fewest_at_a_time(images, processes, accumulate) == min(sizes) == fewest


@pytest.mark.parametrize("parts", [("--batch-size", "1"), ("--accumulate", "8")])
def test_one_image_at_a_time_is_refused_where_batch_norm_would_need_two(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    parts: tuple[str, str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = [*TINY_OPTIONS, "--max-steps", "1", "--output-dir", "out", *parts]
    assert main(run) == 2
    [said] = capsys.readouterr().err.splitlines()[-1:]
    assert "gives batch norm one image at a time" in said
    assert not Path("out").exists()
    assert main([*run, "--norm", "group", "--discriminator-norm", "group"]) == 0


def test_a_back_end_of_accelerate_that_the_update_does_not_know_is_refused(
    accelerate_launch: Command,
) -> None:
    """Dynamo would wrap each network, while the log names --compile none."""
    options = (*TINY_OPTIONS, "--max-steps", "1", "--output-dir", "out")
    flags = ("--dynamo_backend", "inductor")
    script = str(ROOT / "launch/train.py")
    result = accelerate_launch(script, *options, flags=flags, ACCELERATE_USE_CPU="true")
    assert result.returncode != 0
    assert "train.py: error: accelerate was given --dynamo_backend inductor" in result.stderr


@pytest.mark.parametrize("variable", ["FSDP", "DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG"])
def test_each_other_back_end_is_refused_by_what_the_launcher_sets(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    processes.refuse_other_back_ends()
    monkeypatch.setenv(f"ACCELERATE_USE_{variable}", "true")
    with pytest.raises(UserError, match=f"--use_{variable.lower()}"):
        processes.refuse_other_back_ends()
