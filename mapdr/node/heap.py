"""How much freed memory the C library keeps for what comes next (glibc alone lets it be said).

glibc starts by giving back all that is free at the end of a heap beyond 128 kB, and learns better from each
larger block that is freed: up to blocks of 32 MB, and 64 MB that are kept. Until then a codec's planes of
1 MB each are given back after each image, and the system clears 100 to 350 pages for the next one. Of a slice
of CT at 10:1 that was 0.3 to 0.8 ms of processor in 31 (docs/decisions/0108).
"""

from __future__ import annotations

import ctypes
import os
import platform

MMAP_THRESHOLD, TRIM_THRESHOLD = 1 << 25, 1 << 26
"""Bytes of a block from which it is the system's own, and of those kept: what glibc arrives at by itself."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of mallopt(3), in malloc.h."""
_SAID = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables in which whoever starts the node says something else."""


def keep_freed() -> bool:
    """Let glibc keep from now on what it would keep after its largest block: whether it does.

    It does not where there is another C library, and where the environment says how memory is kept. It
    cannot be undone in a process.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _SAID):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD) and mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD))
