"""Freed memory is kept for the next image: counted in pages that the system clears, in a process apart."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from mapdr.node.heap import keep_freed

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc lets it be said")

IMAGES = """
import resource, sys, threading
from mapdr.node.heap import keep_freed

def image():
    planes = [bytearray(1 << 20) for _ in range(4)]
    for plane in planes:
        plane[::4096] = bytes(256)

def images():
    for _ in range(3):
        image()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        image()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)

if sys.argv[1:] == ["kept"]:
    keep_freed()
thread = threading.Thread(target=images)
thread.start()
thread.join()
"""


def _pages(*words: str) -> int:
    """Pages that were cleared for each image of four planes of 1 MB, as a thread takes and frees them."""
    said = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", IMAGES, *words]
    return int(subprocess.run(command, env=said, check=True, capture_output=True).stdout)


def test_what_an_image_freed_is_there_for_the_next() -> None:
    assert _pages() > 200, "glibc keeps it by itself: then the module is not needed"
    assert _pages("kept") < 20


@pytest.mark.parametrize("variable", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_whoever_says_otherwise_has_it_so(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1048576")
    assert not keep_freed()
