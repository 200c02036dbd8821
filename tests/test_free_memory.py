"""Memory at hand: the limit of the job's cgroup counts, and every process's copy."""

from pathlib import Path

import psutil
import pytest
import torch

from vaegan.data import placement
from vaegan.data.free_memory import free_memory
from vaegan.data.sources import Held
from vaegan.errors import UserError

MIB = 2**20


def write(folder: Path, **values: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def own_cgroup(root: Path, text: str) -> Path:
    write(root / "proc/self", cgroup=text)
    return root / "sys/fs/cgroup"


def test_the_limit_of_the_jobs_cgroup_counts(tmp_path: Path) -> None:
    cgroups = own_cgroup(tmp_path, "0::/slurm/job_7/step_0")
    write(cgroups / "slurm/job_7/step_0", memory__max="max", memory__current=9 * MIB)
    write(
        cgroups / "slurm/job_7",
        memory__max=100 * MIB,
        memory__current=70 * MIB,
        memory__stat=f"anon {50 * MIB}\ninactive_file {20 * MIB}\nactive_file 0",
    )
    assert free_memory(tmp_path) == 50 * MIB, "pages of files are given up before a job is killed"


def test_the_tightest_of_nested_limits_counts(tmp_path: Path) -> None:
    cgroups = own_cgroup(tmp_path, "0::/a/b")
    write(cgroups / "a", memory__max=40 * MIB, memory__current=30 * MIB)
    write(cgroups / "a/b", memory__max=100 * MIB, memory__current=10 * MIB)
    assert free_memory(tmp_path) == 10 * MIB


@pytest.mark.parametrize("path", ["/docker/0123", "/"])
def test_version_1_counts_too_and_a_containers_limit_lies_at_the_top(
    tmp_path: Path, path: str
) -> None:
    cgroups = own_cgroup(tmp_path, f"5:cpu,cpuacct:{path}\n4:memory:{path}\n0::{path}")
    write(
        cgroups / "memory",
        memory__limit_in_bytes=64 * MIB,
        memory__usage_in_bytes=60 * MIB,
        memory__stat=f"inactive_file 0\ntotal_inactive_file {6 * MIB}",
    )
    assert free_memory(tmp_path) == 10 * MIB


@pytest.mark.parametrize("limit", ["max", 2**63 - 4096])
def test_without_a_limit_the_machines_memory_is_what_there_is(
    tmp_path: Path, limit: object
) -> None:
    own_cgroup(tmp_path, "0::/")
    write(tmp_path / "sys/fs/cgroup", memory__max=limit, memory__current=MIB)
    assert 0 < free_memory(tmp_path) <= psutil.virtual_memory().total
    assert 0 < free_memory(tmp_path / "nothing here") <= psutil.virtual_memory().total


@pytest.fixture
def host_of_100_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "free_memory", lambda: 100 * MIB)


@pytest.mark.usefixtures("host_of_100_mib")
@pytest.mark.parametrize(
    ("size", "processes", "shared", "place"),
    [
        (30 * MIB, 1, False, "device"),
        (30 * MIB, 2, False, "stream"),  # 60 MiB of 100
        (30 * MIB, 8, True, "device"),  # the same 30 MiB for all
        (50 * MIB, 1, True, "stream"),
    ],
)
def test_a_machines_processes_count_with_a_copy_each_or_one_together(
    monkeypatch: pytest.MonkeyPatch, size: int, processes: int, shared: bool, place: str
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    cpu = torch.device("cpu")
    assert placement.choose_placement(size, "auto", cpu, shared=shared) == place


@pytest.mark.usefixtures("host_of_100_mib")
def test_a_place_that_is_too_small_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    cpu, size = torch.device("cpu"), 30 * MIB
    with pytest.raises(UserError, match=r"host needs 240\.0 MiB of .* and 100\.0 MiB are free"):
        placement.choose_placement(size, "host", cpu, shared=False)
    assert placement.choose_placement(size, "host", cpu, shared=True) == "host"
    assert placement.choose_placement(size, "stream", cpu, shared=False) == "stream"


def gpu(monkeypatch: pytest.MonkeyPatch, free: int) -> torch.device:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    return torch.device("cuda", 0)


@pytest.mark.usefixtures("host_of_100_mib")
def test_a_set_that_fits_the_gpu_must_fit_the_host_on_its_way_unless_it_is_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, size = gpu(monkeypatch, 2**30), 200 * MIB
    assert placement.choose_placement(size, "auto", device, shared=False) == "stream"
    assert placement.choose_placement(size, "auto", device, shared=True) == "device"
    with pytest.raises(UserError, match="the memory of cuda:0"):
        placement.choose_placement(2**31, "device", device, shared=True)


def test_images_reach_the_device_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "COPIED_AT_ONCE", 100)
    images = torch.arange(23 * 48).remainder(251).to(torch.uint8).view(23, 3, 4, 4)
    taken: list[int] = []
    gather = Held.gather

    def counted(self: Held, indices: torch.Tensor | slice) -> torch.Tensor:
        part = gather(self, indices)
        taken.append(part.numel())
        return part

    monkeypatch.setattr(Held, "gather", counted)
    rows = torch.randperm(23)[:17]
    cpu = torch.device("cpu")
    assert torch.equal(placement.copied_to(cpu, Held(images, rows, shared=True)), images[rows])
    assert max(taken) <= 100
    assert torch.equal(placement.copied_to(cpu, Held(images, None, shared=True)), images)
