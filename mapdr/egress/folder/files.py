"""Writes images into a folder, each under its final name only when it is whole, and never over another file.

    .mapdr/<random>.part ──▶ flushed ──▶ <layout's folders>/<name>     ──▶ the folder flushed ──▶ delivered
    written in pieces                    a second name, if there is none

What the file system answers is told apart from what reading the image itself raises: `FolderTrouble` is the
folder's, anything else is not.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mapdr.dicom.part10 import HEAD, find
from mapdr.egress.part10 import Part10
from mapdr.kernel.durable import Durability, flush, flush_file, publish_new, sync_folder
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Payload

WORK = ".mapdr"
"""Where in a destination's folder files are written; no layout gives a name with a dot in front."""

LEFT_AFTER = 3600.0
"""Seconds without a write after which a file there was left by a process that is gone."""

MOST_KNOWN = 10_000
"""Folders that are remembered to be there."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class FolderTrouble(Exception):
    """What the folder's file system answered; `error` is its OSError."""

    def __init__(self, error: OSError) -> None:
        super().__init__(type(error).__name__)
        self.error = error


@contextmanager
def folders_own() -> Iterator[None]:
    """An OSError within is the folder's trouble."""
    try:
        yield
    except OSError as error:
        raise FolderTrouble(error) from error


class ImageFolder:
    """A destination's folder. Thread-safe.

    It is made if it is missing when it is used for the first time, and never again: one that is gone later
    was a network drive or a disk that is not mounted any more, and what is below is another disk.
    """

    def __init__(self, path: Path, durability: Durability) -> None:
        self.path = _unlimited(path)
        self._durability = durability
        self.work = self.path / WORK
        self._seen = False
        self._swept = False
        self._lock = threading.Lock()
        self._known: dict[Sequence[str], Path] = {}

    def open(self) -> None:
        """Make the folder, unless it was seen before. Raises FolderTrouble."""
        with self._lock, folders_own():
            if not self._seen:
                self.path.mkdir(parents=True, exist_ok=True)
                self._seen = True
            elif not self.path.is_dir():
                raise FileNotFoundError(2, os.strerror(2))
            self.work.mkdir(exist_ok=True)

    def sweep(self) -> None:
        """Remove, once, what processes have left half written that are gone."""
        with self._lock:
            swept, self._swept = self._swept, True
        if swept:
            return
        with suppress(OSError):  # they are in nobody's way
            for entry in list(os.scandir(self.work)):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > LEFT_AFTER:
                    os.unlink(entry.path)

    def try_out(self) -> None:
        """Write a small file, and remove it. Raises FolderTrouble."""
        self.open()
        with folders_own():
            path = self.work / f"{secrets.token_hex(16)}.part"
            try:
                with path.open("xb") as file:
                    file.write(bytes(1 << 16))
                    flush_file(file)
            finally:
                path.unlink(missing_ok=True)

    def put(self, payload: Payload, names: Sequence[str]) -> bool:
        """Write the file of a payload as `names` say; False if one of the same data set is there already.

        Raises FolderTrouble, Permanent(reason="other-file") where something else has that name, and what
        reading the payload raises.
        """
        folder = self._make(names[:-1])
        target = folder / names[-1]
        with folders_own():
            there = os.path.lexists(target)
        if not there:
            try:
                self._write(payload, folder, target)
                return True
            except FileExistsError:
                pass  # another writer was quicker
        self._compare(payload, target)
        return False

    def _make(self, names: Sequence[str]) -> Path:
        """The folder of these names, made if it is missing, and known to lie within."""
        known = self._known.get(names)
        if known is not None and known.is_dir():
            return known
        self.open()
        path = self.path
        with folders_own():
            for name in names:
                above, path = path, path / name
                try:
                    path.mkdir()
                except FileExistsError:
                    if not path.is_dir():
                        raise _other("a file has the name that the layout gives a folder") from None
                    continue
                if self._durability == "power-loss":
                    sync_folder(above)
            inside = os.path.realpath(path)
            root = os.path.realpath(self.path)
        if inside != root and not inside.startswith(os.path.join(root, "")):
            raise Permanent(
                "a link in the destination's folder leads out of it; remove the link", reason="link"
            )
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[tuple(names)] = path
        return path

    def _write(self, payload: Payload, folder: Path, target: Path) -> None:
        """Raises FileExistsError where `target` is there, FolderTrouble, and what reading raises."""
        part = str(self.work / f"{secrets.token_hex(16)}.part")
        with folders_own():
            try:
                file = os.open(part, _NEW, 0o666)
            except FileNotFoundError:  # somebody has cleaned up
                self.open()
                file = os.open(part, _NEW, 0o666)
        try:
            try:
                for chunk in Part10(payload).chunks():
                    with folders_own():
                        _put(file, chunk)
            except BaseException:
                os.close(file)
                raise
            try:
                publish_new(file, part, str(target), self._durability)
                if self._durability == "power-loss":
                    sync_folder(folder)
            except FileExistsError:
                raise
            except OSError as error:
                raise FolderTrouble(error) from error
        finally:
            with suppress(OSError):  # it has its final name, or is swept some day
                os.unlink(part)

    def _compare(self, payload: Payload, target: Path) -> None:
        """Raises Permanent unless `target` is a file of the payload's data set; else as `put`."""
        with folders_own():
            if target.is_symlink() or not target.is_file():
                raise _other("something that is no file has its name")
            file = target.open("rb")
        with file:
            with folders_own():
                size = os.fstat(file.fileno()).st_size
                head = file.read(HEAD)
            try:
                found = find(head)
            except Permanent:
                raise _other("a file that is not DICOM has its name") from None
            same_kind = found.transfer_syntax_uid == payload.transfer_syntax_uid
            if not same_kind or size - found.length != payload.length:
                raise _other("a file with other bytes has its name")
            file.seek(found.length)
            if not _same(payload.chunks(), file.read):
                raise _other("a file with other bytes has its name")
            if self._durability == "power-loss" and os.name != "nt":
                # It may be this node's own, whose flush a crash has prevented.
                with folders_own():
                    flush(file.fileno())
                    sync_folder(target.parent)


def _same(chunks: Iterable[bytes], read: Callable[[int], bytes]) -> bool:
    for chunk in chunks:
        with folders_own():
            if read(len(chunk)) != chunk:
                return False
    return True


def _put(file: int, data: bytes) -> None:
    done = os.write(file, data)
    while done < len(data):
        done += os.write(file, memoryview(data)[done:])


def _other(what: str) -> Permanent:
    cure = "it is never overwritten: move it away and retry, or change the layout"
    return Permanent(f"{what} in the destination's folder; {cure}", reason="other-file")


def _unlimited(path: Path) -> Path:
    """The folder under a name that Windows takes however long its files' names are."""
    if os.name != "nt":
        return path
    full = os.path.abspath(path)  # pragma: no cover  Windows
    if full.startswith("\\\\?\\"):  # pragma: no cover
        return Path(full)
    share = full.startswith("\\\\")  # pragma: no cover
    return Path(f"\\\\?\\UNC\\{full[2:]}" if share else f"\\\\?\\{full}")  # pragma: no cover
