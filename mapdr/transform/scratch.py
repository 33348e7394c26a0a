"""What is made of a large image before it is sent: in memory up to a size, beyond that in a temporary file.

Nothing of it has to survive the process: what is lost in a crash is made anew. So the files are not flushed,
and go with the last reference to them; those of a process that was killed are removed when the node starts.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mapdr.kernel.durable import NO_ROOM
from mapdr.kernel.errors import Temporary
from mapdr.kernel.item import FileSlice, Part
from mapdr.kernel.permissions import give_to_owner, make_private
from mapdr.kernel.privacy import system_says
from mapdr.kernel.stage import Settings

FOLDER = "prepared"
"""Folder of a data folder that has the temporary files of each node in a folder of the node's name."""
_PREFIX, _SUFFIX = "image-", ".part"
"""How the names of its files begin and end; no backup has what ends so."""
_HELD = 64 << 20
"""Bytes of one image that are kept in memory, unless that is more than an eighth of the node's memory."""
_LOOK = 64 << 20
"""Bytes after which it is looked again how much room the disk has."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where one node puts what it makes of an image: `held` bytes in memory, what is larger in `folder` (the
    system's folder for temporary files if None), on whose disk `spare` bytes stay free."""

    held: int
    folder: Path | None = None
    spare: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Scratch:
        """That of a node."""
        return cls(min(_HELD, settings.memory // 8), settings.scratch, settings.spare)

    def file(self) -> ScratchFile:
        """A new, empty file. Raises Temporary when it cannot be made, or there is no room for it."""
        return ScratchFile(self.folder, self.spare)

    def gathered(self, pieces: Iterable[bytes]) -> tuple[Part, ...]:
        """The pieces, one behind the other, as they come. Raises as `ScratchFile.append`, and as they do."""
        kept: list[bytes] = []
        size = 0
        source = iter(pieces)
        for piece in source:
            kept.append(piece)
            size += len(piece)
            if size > self.held:
                return self._filed(kept, source)
        return tuple(kept)

    def _filed(self, kept: list[bytes], source: Iterator[bytes]) -> tuple[Part, ...]:
        file = self.file()
        for piece in kept:
            file.append(piece)
        kept.clear()
        for piece in source:
            file.append(piece)
        file.close()
        return (file.slice(0, file.size),)


class ScratchFile:
    """A temporary file that grows, and is removed with the last reference to it: its slices have one.

    `append` and `read` from any thread.
    """

    def __init__(self, folder: Path | None, spare: int = 0) -> None:
        """Raises Temporary when it cannot be made, or there is no room for it."""
        self._spare = spare
        self._folder = Path(folder or tempfile.gettempdir())
        self._lock = threading.Lock()
        self._looked = 0
        self.size = 0
        self._look()
        try:
            number, name = self._made(folder)
        except OSError as error:
            raise _of_the_disk(error) from error
        self._path = Path(name)
        self._file = open(number, "r+b", buffering=0)  # noqa: SIM115  closed by `close`, or with this
        self._remove = weakref.finalize(self, _remove, self._file, self._path)

    def _made(self, folder: Path | None) -> tuple[int, str]:
        try:
            return tempfile.mkstemp(_SUFFIX, _PREFIX, dir=self._folder)
        except FileNotFoundError:
            if folder is None:
                raise
            emptied(folder)  # somebody has removed it
            return tempfile.mkstemp(_SUFFIX, _PREFIX, dir=self._folder)

    def append(self, *pieces: bytes) -> int:
        """Write pieces behind what is there; gives where they begin.

        Raises Temporary when there is no room for them, or they cannot be written.
        """
        with self._lock:
            start = self.size
            for piece in pieces:
                self._write(piece)
            return start

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop`, which are there."""
        with self._lock:
            self._file.seek(start)
            data = self._file.read(stop - start)
        assert data is not None
        if len(data) < stop - start:
            raise EOFError("a temporary file ended early")
        return data

    def slice(self, start: int, stop: int) -> FileSlice:
        """The same, to be read later: the file stays as long as the slice."""
        return FileSlice(self._path, start, stop - start, keeper=self)

    def close(self) -> None:
        """Neither `append` nor `read` any more; the file stays. Safe twice. Raises Temporary."""
        try:
            self._file.close()
        except OSError as error:  # a network share tells here that it had no room
            raise _of_the_disk(error) from error

    def _write(self, piece: bytes) -> None:
        if self.size - self._looked >= _LOOK:
            self._look()
        self._file.seek(self.size)
        view = memoryview(piece)
        try:
            while view:
                view = view[self._file.write(view) or 0 :]
        except OSError as error:
            raise _of_the_disk(error) from error
        self.size += len(piece)

    def _look(self) -> None:
        self._looked = self.size
        if self._spare and shutil.disk_usage(self._folder).free < self._spare + _LOOK:
            raise Temporary("there is no room on the disk for what is made of the image before it is sent")


def emptied(folder: Path) -> Path:
    """`folder`, made for its owner alone, without what a killed process has left there. Raises OSError."""
    for each in (folder.parent, folder):
        make_private(each)
        give_to_owner(each)
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it is not in the way of others
            path.unlink()
    return folder


def _remove(file: object, path: Path) -> None:
    file.close()  # type: ignore[attr-defined]
    with suppress(OSError):
        path.unlink()


def _of_the_disk(error: OSError) -> Temporary:
    """What to raise for trouble with the file, which is no fault of the image."""
    if error.errno in NO_ROOM:
        return Temporary("there is no room on the disk for what is made of the image before it is sent")
    return Temporary(f"a temporary file for the image cannot be written ({system_says(error)})")
