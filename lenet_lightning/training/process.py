"""What a process that trains asks of the processor and of the C library."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# of glibc's mallopt
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20
KEPT = 2**30


@contextmanager
def tuned() -> Iterator[None]:
    """Flush subnormal numbers to zero inside the block; keep freed memory in the process, after it too."""
    # glibc would hand a step's tens of megabytes back to the system and fetch them again, page by page, in the next
    # step: in some processes, by chance, a third of all time
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, KEPT)
    torch.set_flush_denormal(True)  # dozens of times slower to work with
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
