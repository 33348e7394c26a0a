"""A copy of a data folder that is consistent while the node runs.

    1  the spool                what is safe by now
    2  the index                one moment's state, by SQLite's online backup
    3  the spool once more      what became safe meanwhile: each image that 2 names has its file
    4  the rest                 revisions, keys, users, audit: what files and index name is older than they

A file of an hour that is over has got its last byte, and is given a second name (a hard link) where the file
system can; all else is copied. What no start needs is left out: claims, marks of what was in hand, what was
being received, logs, and copies of the index.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from mapdr.kernel.durable import flush_file, sync_folder
from mapdr.kernel.errors import Permanent
from mapdr.kernel.permissions import FOLDER_MODE
from mapdr.store.index.copying import copy_index, files_of_copy
from mapdr.store.spool import filemeta
from mapdr.store.spool.claim import nodes_at_work
from mapdr.store.spool.folder import FINAL, JOURNAL, PART, SpoolFolder

INDEX = "index.db"
SPOOL = "spool"
_OF_A_PROCESS = ("claim", "node", "running", "in-hand")
"""What a process leaves in its node's folder of the spool, and no other one reads."""
_LEFT_OUT = (INDEX, f"{INDEX}-", f"{INDEX}.", "mapdr.log")
"""How names in the data folder begin that are left out, or copied in another way."""
_CHUNK = 1 << 20
_NO_LINK = {
    errno.EXDEV,
    errno.EPERM,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EMLINK,
    errno.EACCES,
}
OVER = 2 * 3600
"""Seconds from the beginning of an hour until its files are certainly complete, or given up."""

Told = Callable[[int], None]
"""Told how many files are done."""


@dataclass(slots=True)
class DataCopy:
    """What was copied: SHA-256 and size of each file by its path in the data folder, with `/`.

    `linked` are second names of the spool's own files. `unfinished`: files that were not whole, since they
    were being received or are damaged; `missing`: images that the index names, and that have no file.
    """

    digests: dict[str, tuple[str, int]] = field(default_factory=dict)
    linked: set[str] = field(default_factory=set)
    unfinished: int = 0
    missing: int = 0


def copy_data(
    data: Path, target: Path, *, told: Told = lambda done: None, now: float | None = None
) -> DataCopy:
    """Copy the data folder `data` into the new folder `target`. Raises OSError, MapdrError, IndexFault.

    `now` is the time by which an hour is over (seconds since the epoch).
    """
    copying = _Copying(data, target, told, time.time() if now is None else now)
    target.mkdir(mode=FOLDER_MODE)
    copying.spool()
    copy_index(data / INDEX, target / INDEX)
    copying.spool()
    copying.rest()
    copying.done.digests[INDEX] = digest_of(target / INDEX)
    copying.done.missing = sum(
        not SpoolFolder(target, node).path(id_).exists() for node, id_ in files_of_copy(target / INDEX)
    )
    for folder, _, _ in os.walk(target):
        sync_folder(Path(folder))
    return copying.done


def digest_of(path: Path) -> tuple[str, int]:
    """SHA-256 in hex and size of a file. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
            size += len(data)
    return digest.hexdigest(), size


def copy_file(source: Path, target: Path) -> tuple[str, int]:
    """Copy a file to a new one, flushed, with its mode; SHA-256 and size of what was read. Raises OSError,
    and then leaves nothing."""
    digest, size = hashlib.sha256(), 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with source.open("rb") as file:
        made = os.open(target, flags, os.fstat(file.fileno()).st_mode & 0o777)
        try:
            with open(made, "wb") as copy:
                while data := file.read(_CHUNK):
                    copy.write(data)
                    digest.update(data)
                    size += len(data)
                flush_file(copy)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return digest.hexdigest(), size


class _Copying:
    """One copy in the making."""

    def __init__(self, data: Path, target: Path, told: Told, now: float) -> None:
        self.done = DataCopy()
        self._data = data
        self._target = target
        self._told = told
        self._over = time.strftime("%Y%m%d%H", time.gmtime(now - OVER))

    def spool(self) -> None:
        """What of the spool is not copied yet."""
        self.done.unfinished = 0
        root = self._data / SPOOL
        # While a node runs, its files are whole; what a crash left in its journal is in no file yet.
        working = nodes_at_work(self._data)
        for folder, folders, names in os.walk(root, onerror=_raise, followlinks=True):
            inside = Path(folder).relative_to(root).parts
            folders.sort()
            if len(inside) == 1 and inside[0] in working and JOURNAL in folders:
                folders.remove(JOURNAL)
            for name in sorted(names):
                if not name.endswith(PART) and not (len(inside) == 1 and name.startswith(_OF_A_PROCESS)):
                    over = len(inside) == 2 and inside[1] <= self._over
                    self._of_spool("/".join((SPOOL, *inside, name)), over=over)

    def rest(self) -> None:
        """All that is neither spool nor index; folders that are elsewhere and linked to, too."""
        for folder, folders, names in os.walk(self._data, onerror=_raise, followlinks=True):
            folders[:] = [
                name
                for name in folders
                if not (Path(folder) == self._data and name == SPOOL) and self._leads_on(Path(folder) / name)
            ]
            for name in names:
                if Path(folder) == self._data and name.startswith(_LEFT_OUT):
                    continue
                path = Path(folder) / name
                # A pipe, or a socket, has nothing to be kept, and would be waited for.
                if not name.endswith(PART) and path.is_file():
                    self._take(path.relative_to(self._data).as_posix())

    def _leads_on(self, folder: Path) -> bool:
        """Whether a folder is one, or a link to one that has nothing to do with data and backup: those would
        be walked for ever."""
        if not folder.is_symlink():
            return True
        real = folder.resolve()
        ours = (self._data.resolve(), self._target.resolve())
        return not any(real.is_relative_to(each) or each.is_relative_to(real) for each in ours)

    def _of_spool(self, path: str, *, over: bool) -> None:
        if path in self.done.digests:
            return
        if over and self._link(path):
            self.done.linked.add(path)
            self._note(path, digest_of(self._target / path))
        elif self._take(path) and path.endswith(FINAL) and not over and not _whole(self._target / path):
            (self._target / path).unlink()
            del self.done.digests[path]
            self.done.unfinished += 1

    def _take(self, path: str) -> bool:
        """Copy a file; whether it was there: what is purged meanwhile is gone from the index too, or told."""
        target = self._made(path)
        try:
            digest = copy_file(self._data / path, target)
        except FileNotFoundError:
            return False
        self._note(path, digest)
        return True

    def _link(self, path: str) -> bool:
        """Give a file a second name; False where that cannot be, or the file is gone."""
        target = self._made(path)
        try:
            os.link(self._data / path, target)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        return True

    def _made(self, path: str) -> Path:
        target = self._target / path
        target.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        return target

    def _note(self, path: str, digest: tuple[str, int]) -> None:
        self.done.digests[path] = digest
        self._told(len(self.done.digests))


def _raise(error: OSError) -> None:
    """A folder that is gone meanwhile was empty; one that cannot be read must not be left out in silence."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _whole(path: Path) -> bool:
    """Whether a file of the spool has the bytes that it was sealed with."""
    with path.open("rb") as file:
        try:
            meta = filemeta.decode(file)
        except Permanent:
            return False
        digest = xxhash.xxh3_128()
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.digest() == meta.digest


def spool_files(data: Path) -> Iterator[str]:
    """The images in a data folder's spool, whole or not, as `spool/<node>/<hour>/<id>.dcm`."""
    for path in (data / SPOOL).rglob(f"*{FINAL}"):
        yield path.relative_to(data).as_posix()
