"""Memory of the CPU that a step frees and the next one needs again."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of the GNU C library
FROM_THE_SYSTEM = 2**30  # bytes: blocks from here on come from the system and go back to it


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors; returns whether it does.

    The C library gives large blocks back to the system as they are freed, and the system clears
    every page of them before it hands them out again, thousands of pages a step
    (benchmarks/freed_memory.py measures the cost). A run needs as much memory as without this, and
    keeps it until its end. Nothing changes where the user has set the library's own variables, or
    where the library is another one.
    """
    chosen = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"}
    if not sys.platform.startswith("linux") or chosen & os.environ.keys():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, FROM_THE_SYSTEM) and mallopt(M_TRIM_THRESHOLD, -1))
