"""What leaves is what came: the digest of an image as received, and what is said where its file differs."""

from __future__ import annotations

import os
from pathlib import Path

import xxhash

from mapdr.kernel.errors import Permanent
from mapdr.kernel.files import READ, read_at


class Proof:
    """That the spool file of one image holds what was received: found out once a process, before it leaves.

    The XXH3-128 of `size` bytes of `path` from `offset` has to be `digest`. Shared by all who send the image;
    `proved` may be set by whoever has compared the bytes while they went out (`mapdr._fast.send_run`).
    """

    __slots__ = ("digest", "offset", "path", "proved", "size")

    def __init__(self, path: Path, offset: int, size: int, digest: bytes) -> None:
        self.path = path
        self.offset = offset
        self.size = size
        self.digest = digest
        self.proved = False

    def check(self) -> None:
        """Read the file once, unless it was proved before; it is never whole in memory.

        Raises Permanent(reason="damaged" or "missing"), and OSError when it cannot be read.
        """
        if not self.proved:
            if not self.holds():
                raise damaged()
            self.proved = True

    def read(self) -> bytes:
        """The bytes, read at once and compared, whether they were proved before or not. Raises as `check`."""
        try:
            file = os.open(self.path, READ)
        except FileNotFoundError:
            raise missing() from None
        try:
            found = read_at(file, self.size, self.offset)
        finally:
            os.close(file)
        if xxhash.xxh3_128_digest(found) != self.digest:
            raise damaged()
        self.proved = True
        return found

    def holds(self) -> bool:
        """Whether the bytes are those that were received, now. Raises as `check`, but for other bytes."""
        found = xxhash.xxh3_128()
        try:
            file = os.open(self.path, READ)
        except FileNotFoundError:
            raise missing() from None
        try:
            at, end = self.offset, self.offset + self.size
            while at < end:
                piece = read_at(file, min(_CHUNK, end - at), at)
                if not piece:
                    return False
                found.update(piece)
                at += len(piece)
        finally:
            os.close(file)
        return found.digest() == self.digest


_CHUNK = 1 << 20

SPOILED = frozenset({"damaged", "missing"})
"""The reasons of `damaged()` and `missing()`: what a fresh copy of the image takes away."""


def damaged() -> Permanent:
    """What an image is parked with whose spool file holds other bytes than were received."""
    return Permanent(
        "its file in the spool is damaged: the bytes are not those that were received; push it again",
        reason="damaged",
    )


def missing() -> Permanent:
    """What an image is parked with whose spool file is gone."""
    return Permanent("its file in the spool is gone; push it again", reason="missing")


def unreadable(error: Exception, proof: Proof | None) -> Exception:
    """What to raise when a file could not be read: of one in the spool, which has a proof, that it is missing
    or, where it ends early (EOFError), damaged; any other error as it is."""
    if proof is not None and isinstance(error, FileNotFoundError):
        return missing()
    return damaged() if proof is not None and isinstance(error, EOFError) else error
