"""A small disk for a node's data, that a test can fill up and make room on again."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SmallDisk:
    """A file system of its own at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "somebody-elses-file"

    def free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def fill(self, left: int) -> None:
        """Somebody else's file takes all but `left` bytes; with 0, until the disk takes nothing more."""
        with self._ballast.open("ab", buffering=0) as file:
            while (free := self.free()) > left or not left:
                try:
                    file.write(bytes(min(1 << 20, max(free - left, 4096))))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    return

    def clear(self) -> None:
        """Somebody removes that file."""
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk | None]:
    """A disk of `size` bytes at `folder`, which is made; None where this system does not give one."""
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        yield None
        return
    words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "mapdr-clinic", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        yield None  # a container that may not mount
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
