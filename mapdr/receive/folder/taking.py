"""One file of a folder into the store: an image, an archive of images, or the directory of a medium.

Success is what it is for C-STORE: `Incoming.commit` has returned. What a file is, its first bytes tell, and
not its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from mapdr.dicom import tags
from mapdr.dicom.file_meta import FileMeta
from mapdr.dicom.part10 import HEAD, find
from mapdr.dicom.scan import scan
from mapdr.dicom.uids import MEDIA_STORAGE_DIRECTORY
from mapdr.kernel.errors import Permanent, Refused
from mapdr.kernel.item import Source, TagPath
from mapdr.kernel.stage import Intake
from mapdr.kernel.status import CANNOT_UNDERSTAND, PROCESSING_FAILURE
from mapdr.receive.folder.archive import MAGIC, Damaged, ZipLimits, members

CHUNK = 1 << 20
LARGEST_DIRECTORY = 1 << 26
"""Bytes of a DICOMDIR: some hundred for each image of a medium."""

REFERENCED_FILE: TagPath = (tags.DIRECTORY_RECORD_SEQUENCE, tags.REFERENCED_FILE_ID)
"""Referenced File ID in a directory record (PS3.3, F.3.2.2)."""


class Changed(Exception):
    """The file was written to while it was read."""


class Stopped(Exception):
    """There is no time left to read on."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a file: so many images of it are safe now, of so many bytes.

    `refused` says why it was not taken, or not all of it; empty if it was. `status` is that of the refusal.
    """

    images: int = 0
    size: int = 0
    refused: str = ""
    status: int = 0


class Taker:
    """Takes files for one receiver. `stopped` is asked between two pieces of a file."""

    def __init__(
        self, intake: Intake, source: Source, limits: ZipLimits, stopped: Callable[[], bool]
    ) -> None:
        self._intake = intake
        self._source = source
        self._limits = limits
        self._stopped = stopped
        self._done: dict[str, Taken] = {}
        self._next: dict[str, int] = {}

    def take(self, file: BinaryIO, name: str, directory: Callable[[Sequence[Sequence[str]]], str]) -> Taken:
        """Take an open file, known by `name` as long as it is the same.

        `directory` is asked about the files that a DICOMDIR names: why it is refused, or "". Raises Refused
        when the store takes nothing now, Changed, Stopped, and OSError.
        """
        before = os.fstat(file.fileno())
        head = file.read(HEAD)

        def unchanged() -> None:
            after = os.fstat(file.fileno())
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise Changed

        try:
            if head[:4] in MAGIC:
                return self._archive(file, name, unchanged)
            found = find(head)
            if found.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
                return Taken(refused=directory(_named(file, found)), status=CANNOT_UNDERSTAND)
            return Taken(1, self._put(found, head, file.read, unchanged))
        except Permanent as error:
            unchanged()
            words = f"it {error}" if error.reason == "not-dicom" else str(error)
            return Taken(refused=words, status=CANNOT_UNDERSTAND)
        except Refused as refused:
            if is_later(refused):
                raise
            unchanged()
            return Taken(refused=refused.comment, status=refused.status)

    def forget(self, name: str) -> None:
        """The file of this name is dealt with, or another one."""
        self._done.pop(name, None)
        self._next.pop(name, None)

    def _put(
        self, found: FileMeta, head: bytes, read: Callable[[int], bytes], unchanged: Callable[[], None]
    ) -> int:
        """Store one object; its size. Raises Refused, Changed, Stopped, and what `read` raises."""
        incoming = self._intake.begin(
            self._source, found.sop_class_uid, found.sop_instance_uid, found.transfer_syntax_uid
        )
        try:
            piece, size = head[found.length :] or read(CHUNK), 0
            while piece:
                incoming.write(piece)
                size += len(piece)
                if self._stopped():
                    raise Stopped
                piece = read(CHUNK)
            unchanged()
            incoming.commit()
        except BaseException:
            incoming.abort()
            raise
        return size

    def _archive(self, file: BinaryIO, name: str, unchanged: Callable[[], None]) -> Taken:
        """Take the images in an archive; what was taken before the store had no more room is not again."""
        done = self._done.get(name, Taken())
        nested = 0
        try:
            for number, read in members(file, self._limits, self._next.get(name, 0)):
                head = read(HEAD)
                nested += head[:4] in MAGIC
                done = self._member(head, read, unchanged, done)
                self._done[name], self._next[name] = done, number + 1
        except Damaged:
            unchanged()
            taken = f" behind {done.images} images, which were taken" if done.images else ""
            return Taken(done.images, done.size, f"the archive is damaged{taken}", CANNOT_UNDERSTAND)
        if done.refused:
            reason = f"not all of the archive was taken ({done.images} images were): {done.refused}"
        elif nested:
            reason = f"it holds archives, which are not opened; its {done.images} images were taken"
        elif not done.images:
            reason = "the archive holds no DICOM file"
        else:
            return done
        return Taken(done.images, done.size, reason, done.status or CANNOT_UNDERSTAND)

    def _member(
        self, head: bytes, read: Callable[[int], bytes], unchanged: Callable[[], None], done: Taken
    ) -> Taken:
        """The sum of `done` and one more file of an archive. Raises as `_put`, but for a refusal for good."""
        try:
            found = find(head)
        except Permanent:
            return done  # a medium has other files, such as a viewer
        if found.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
            return done
        try:
            size = self._put(found, head, read, unchanged)
        except Refused as refused:
            if is_later(refused):
                raise
            return Taken(done.images, done.size, refused.comment, refused.status)
        return Taken(done.images + 1, done.size + size, done.refused, done.status)


def is_later(refused: Refused) -> bool:
    """Whether the store takes nothing at present, whatever it is (PS3.4, table B.2-1)."""
    return refused.status & 0xFF00 == 0xA700 or refused.status == PROCESSING_FAILURE


def _named(file: BinaryIO, found: FileMeta) -> list[tuple[str, ...]]:
    """The file IDs that a DICOMDIR names, by their components. Raises Permanent."""
    file.seek(found.length)
    data = file.read(LARGEST_DIRECTORY + 1)
    if len(data) > LARGEST_DIRECTORY:
        raise Permanent("the DICOMDIR is larger than any medium needs", reason="directory")
    wanted = frozenset((REFERENCED_FILE,))
    header = scan(data, found.transfer_syntax_uid, wanted, complete=True)
    if header.truncated:
        raise Permanent("the DICOMDIR is incomplete: it ends within an element", reason="directory")
    return header.each(REFERENCED_FILE)
