"""This machine and its peak rates, measured in the same session."""

import ctypes
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vaegan.devices import bf16_instructions

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WARMUP, ROUNDS = 2, 7


@dataclass(frozen=True)
class Machine:
    """A device with its measured roofs; all rates are medians."""

    device: torch.device
    name: str
    matrix_gflops: dict[str, float]
    """GFLOP/s of a square matrix product by number format: side 2048 on a CPU, 8192 on a GPU."""
    bandwidth_gbytes: float
    """GB/s of a large copy, bytes read and bytes written together."""

    def matrix_rate(self, precision: str) -> float:
        """The peak GFLOP/s for networks of this precision.

        In fp32 a GPU's convolutions use TF32 where torch lets them, as it does by default.
        """
        if precision == "fp32" and "tf32" in self.matrix_gflops and _convolutions_use_tf32():
            return self.matrix_gflops["tf32"]
        return self.matrix_gflops[precision]

    def facts(self) -> dict[str, Any]:
        """The facts of the machine, in plain values."""
        return {
            "device": self.name,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "matrix_gflop_per_s": self.matrix_gflops,
            "bandwidth_gb_per_s": self.bandwidth_gbytes,
        }


def measure_machine(device: torch.device) -> Machine:
    """Time matrix products in every number format that is fast here, and a copy."""
    return Machine(
        device, device_name(device), dict(_matrix_rates(device)), _copy_bandwidth(device)
    )


def why_not(precision: str, device: torch.device) -> str | None:
    """Why `precision` is not worth timing on `device`, or None where it is."""
    if precision == "fp32" or device.type == "cuda":
        return None
    if precision == "fp16":
        return "fp16 training needs a GPU"
    if bf16_instructions() is not None:
        return None
    return "this CPU has neither AMX nor AVX512-BF16: bf16 is emulated, hundreds of times slower"


def device_name(device: torch.device) -> str:
    """The model of the GPU, or of the CPU with its vector instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), model)
    return f"{model} ({bf16_instructions() or _vector_instructions()})"


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed_call(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, to the end of its work on the device."""
    synchronise(device)
    start = time.perf_counter()
    function()
    synchronise(device)
    return time.perf_counter() - start


class PeakMemory:
    """The most memory held between `start` and `mib`: on the GPU, or by the process on Linux.

    The process's figure includes the interpreter and its libraries.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def start(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._known = _reset_resident_peak()

    def mib(self) -> float | None:
        """MiB, or None where the operating system has no such number."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        if not self._known:
            return None
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(s.split()[1]) / 1024 for s in lines if s.startswith("VmHWM"))


def _reset_resident_peak() -> bool:
    try:
        # Memory that earlier benchmarks freed counts until the C library returns it.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, TypeError, AttributeError):  # not Linux, or not glibc
        return False
    return True


def _vector_instructions() -> str:
    return torch.backends.cpu.get_cpu_capability().replace("DEFAULT", "no vector instructions")


def _median_seconds(function: Callable[[], object], device: torch.device) -> float:
    for _ in range(WARMUP):
        function()
    return statistics.median(timed_call(function, device) for _ in range(ROUNDS))


def _matrix_rates(device: torch.device) -> Iterator[tuple[str, float]]:
    side = 8192 if device.type == "cuda" else 2048

    def rate(dtype: torch.dtype) -> float:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        return 2 * side**3 / _median_seconds(lambda: a @ b, device) / 1e9

    for name, dtype in DTYPES.items():
        if why_not(name, device) is None:
            with _fp32_products("ieee"):
                yield name, rate(dtype)
    if device.type == "cuda":
        with _fp32_products("tf32"):
            yield "tf32", rate(torch.float32)


def _copy_bandwidth(device: torch.device) -> float:
    size = 2**30 if device.type == "cuda" else 2**28  # bytes: far more than any cache holds
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _median_seconds(lambda: target.copy_(source), device) / 1e9


def _convolutions_use_tf32() -> bool:
    return torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]


@contextmanager
def _fp32_products(precision: str) -> Iterator[None]:
    """Multiply float32 matrices on a GPU in float32, or in TF32."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = precision
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
