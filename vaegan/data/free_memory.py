"""The host's memory that a process may still take: the machine's, within its cgroup's limit.

Schedulers and containers limit a job by a cgroup, and kill it without a message beyond the limit.
The machine's own free memory does not include this limit.
"""

from collections.abc import Iterator
from pathlib import Path

# The names in version 1 and version 2 of: the limit, the use, and the part of the use that is
# copies of files, which the kernel frees before it kills a process.
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that processes of this job can take together before memory runs out.

    `root` is where `proc` and `sys` lie.
    """
    import psutil

    return min([psutil.virtual_memory().available, *_headrooms(root)])


def _headrooms(root: Path) -> Iterator[int]:
    """Bytes left below each limit that applies: those of the process's cgroup and of all above."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            base, names = root / "sys/fs/cgroup", _V2
        elif "memory" in controllers.split(","):
            base, names = root / "sys/fs/cgroup/memory", _V1
        else:
            continue
        # In a container the path may be that of the host and not exist; the container's own limit
        # is at the top.
        own = Path(path.lstrip("/"))
        for place in (own, *own.parents):
            headroom = _headroom(base / place, *names)
            if headroom is not None:
                yield headroom


def _headroom(folder: Path, limit: str, used: str, reclaimable: str) -> int | None:
    """Bytes left in one cgroup; None where it has no limit, or is not there."""
    most, taken = _text(folder / limit).strip(), _text(folder / used).strip()
    if not most.isdecimal() or not taken.isdecimal():  # "max" is none
        return None
    counts = dict(
        line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line
    )
    return max(0, int(most) - int(taken) + int(counts.get(reclaimable, 0)))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
