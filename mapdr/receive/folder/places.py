"""Where files of a watched folder go: what was taken, what was refused and why.

    <path>/a/b.dcm ──▶ <path>/.mapdr/<node>/a/b.dcm ──▶ <path>/done/a/b.dcm
    somebody's         this node's: nobody          └─▶ <path>/refused/a/b.dcm, b.dcm.reason.txt
                       replaces it

A file is taken into the store between the two moves. After a crash what is in the middle is taken again: a
repeat, never a loss. Where files are left in place instead, nothing is written into the folder, and which
were read is kept in the node's data folder, one line of JSON for each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Protocol

from mapdr.kernel.durable import Durability, flush_file, sync_file
from mapdr.kernel.permissions import make_private, private_opener

DONE, REFUSED, WORK = "done", "refused", ".mapdr"

_LONGEST = 240  # bytes of a name, so that the ending of a reason's file still fits


class State(NamedTuple):
    """What tells that a file has been written to: its size, and when it was changed."""

    size: int
    changed: int

    @classmethod
    def of(cls, stat: os.stat_result) -> State:
        """That of a file."""
        return cls(stat.st_size, stat.st_mtime_ns)


class Place(Protocol):
    """What a receiver does with the files of its folder. Names are relative, with "/" between folders."""

    kept: tuple[str, ...]
    """Names at the top of the folder that hold no files to take."""

    def left(self) -> Iterator[str]:
        """What a process that is gone had in hand."""

    def here(self, name: str) -> Path:
        """Where the file is now."""

    def claim(self, name: str) -> bool:
        """Have the file for this receiver alone; False while that cannot be. Raises OSError."""

    def known(self, name: str, state: State) -> bool:
        """Whether the file was dealt with already, as it is."""

    def settle(self, name: str, state: State, refused: str) -> None:
        """Put away a file that was taken, or `refused` for this reason. Raises OSError."""

    def accounted(self, name: str) -> bool:
        """Whether the file of that name was dealt with."""

    @property
    def grown(self) -> bool:
        """Whether so much is remembered that `seen` is to be told."""

    def seen(self, names: set[bytes]) -> None:
        """All files that are there now, by `mark`."""

    def flush(self) -> None:
        """Make what was settled as durable as the node is. Raises OSError."""


class Moving:
    """Files are moved out of the way."""

    kept: tuple[str, ...] = (DONE, REFUSED, WORK)

    def __init__(self, path: Path, node: str) -> None:
        self._path = path
        self._work = path / WORK / node

    def left(self) -> Iterator[str]:
        """See `Place`."""
        for folder, folders, files in os.walk(self._work):
            links = [each for each in folders if os.path.islink(os.path.join(folder, each))]
            for file in (*files, *links):
                yield Path(folder, file).relative_to(self._work).as_posix()

    def here(self, name: str) -> Path:
        """See `Place`."""
        claimed = self._work / name
        return claimed if os.path.lexists(claimed) else self._path / name

    def claim(self, name: str) -> bool:
        """See `Place`: it is moved to where only this receiver looks; of a link, the link itself."""
        claimed = self._work / name
        if os.path.lexists(claimed):
            return True
        if not inside(self._path / name, self._path):
            return False
        claimed.parent.mkdir(parents=True, exist_ok=True)
        os.rename(self._path / name, claimed)
        return True

    def known(self, name: str, state: State) -> bool:
        """See `Place`: what was dealt with is not there any more."""
        return False

    def settle(self, name: str, state: State, refused: str) -> None:
        """See `Place`."""
        target = _free(self._path / (REFUSED if refused else DONE) / name)
        target.parent.mkdir(parents=True, exist_ok=True)
        reason = _reason_of(target)
        try:
            if refused:  # first, so that no file is there without its reason
                reason.write_text(f"MAPDR did not take this file: {refused}.\n", encoding="utf-8")
            os.rename(self._work / name, target)
        except OSError:
            reason.unlink(missing_ok=True)
            raise
        self._remove_empty(Path(name).parent)

    def _remove_empty(self, folder: Path) -> None:
        """Remove folders of the work folder that hold nothing more."""
        while folder.name:
            try:
                (self._work / folder).rmdir()
            except OSError:
                return
            folder = folder.parent

    def accounted(self, name: str) -> bool:
        """See `Place`."""
        places = (self._path / DONE, self._path / REFUSED)
        return any(os.path.lexists(place / name) for place in places)

    grown = False

    def seen(self, names: set[bytes]) -> None:
        """See `Place`."""

    def flush(self) -> None:
        """See `Place`: a move that is undone by a power cut lets the file come again, as a repeat."""


class Keeping:
    """Files stay where they are; which were dealt with is remembered."""

    kept: tuple[str, ...] = (WORK,)

    def __init__(self, path: Path, journals: Path, durability: Durability) -> None:
        """`journals` is where this node keeps its own: one for a folder, whatever the receiver is called."""
        self._path = path
        full = os.path.normcase(os.path.abspath(path))
        self._journal = journals / f"{blake2b(full.encode(), digest_size=8).hexdigest()}.jsonl"
        self._durability = durability
        self._known: set[bytes] = set()
        self._lines = 0
        self._there = 0  # files, when they were counted last
        self._unflushed = False
        self._begin = "\n"  # the last line of a process that was killed may have no end

    def left(self) -> Iterator[str]:
        """See `Place`: nothing is ever in hand."""
        self._load()
        return iter(())

    def here(self, name: str) -> Path:
        """See `Place`."""
        return self._path / name

    def claim(self, name: str) -> bool:
        """See `Place`."""
        return inside(self._path / name, self._path)

    def known(self, name: str, state: State) -> bool:
        """See `Place`."""
        return mark(name, state) in self._known

    def settle(self, name: str, state: State, refused: str) -> None:
        """See `Place`. A line that a crash cut is none: the file comes again, as a repeat."""
        told = {"file": name, "size": state.size, "changed": state.changed}
        line = json.dumps(told | ({"refused": refused} if refused else {}))
        self._known.add(mark(name, state))
        make_private(self._journal.parent)
        with open(self._journal, "a", encoding="utf-8", opener=private_opener) as file:
            file.write(f"{self._begin}{line}\n")
        self._begin = ""
        self._lines += 1
        self._unflushed = True

    def accounted(self, name: str) -> bool:
        """See `Place`: whether it is there, since all that is there is dealt with."""
        return os.path.lexists(self._path / name)

    @property
    def grown(self) -> bool:
        """See `Place`: twice as much as there were files, so that not each look has to make their marks."""
        return self._lines > 2 * self._there + 1000

    def seen(self, names: set[bytes]) -> None:
        """See `Place`: the lines of files that are gone, or are others now, go."""
        self._there = len(names)
        if not self.grown:
            return
        self._known &= names
        fresh = self._journal.with_suffix(".new")
        lines = 0
        with open(fresh, "w", encoding="utf-8", opener=private_opener) as file:
            for line, known in self._entries():
                if known in names:
                    file.write(line)
                    lines += 1
            flush_file(file)
        os.replace(fresh, self._journal)
        self._lines = lines

    def flush(self) -> None:
        """See `Place`."""
        if self._unflushed and self._durability == "power-loss":
            sync_file(self._journal)
        self._unflushed = False

    def _load(self) -> None:
        self._known = {known for _, known in self._entries()}
        self._lines = len(self._known)

    def _entries(self) -> Iterator[tuple[str, bytes]]:
        """The lines of the journal and the marks that they stand for."""
        if not self._journal.exists():
            return
        with open(self._journal, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    told = json.loads(line)
                    known = mark(told["file"], State(told["size"], told["changed"]))
                except (ValueError, KeyError, TypeError):
                    continue  # cut by a crash
                yield line, known


def mark(name: str, state: State) -> bytes:
    """What stands for a file as it is."""
    told = f"{name}\0{state.size}\0{state.changed}"
    return blake2b(told.encode(errors="surrogateescape"), digest_size=16).digest()


def inside(path: Path, folder: Path) -> bool:
    """Whether a file lies in a folder, whatever links are on the way to it; the file itself may be one."""
    root = os.path.realpath(folder)
    above = os.path.realpath(path.parent)
    return above == root or above.startswith(os.path.join(root, ""))


def _free(path: Path) -> Path:
    """`path`, or one like it that no file has; of a long name, the stem is cut for the number."""
    number, found = 1, path
    while os.path.lexists(found) or os.path.lexists(_reason_of(found)):
        ending = f"~{number}{path.suffix}"
        stem = path.stem
        while stem and len(os.fsencode(stem + ending)) > _LONGEST:
            stem = stem[:-1]
        found = path.with_name(stem + ending)
        number += 1
    return found


def _reason_of(path: Path) -> Path:
    name = path.name.encode(errors="surrogateescape")
    if len(name) <= _LONGEST:
        return path.with_name(f"{path.name}.reason.txt")
    return path.with_name(f"{blake2b(name, digest_size=16).hexdigest()}.reason.txt")
