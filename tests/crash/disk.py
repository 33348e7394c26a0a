"""What a power failure may leave of a record: two models of a file system.

The volatile file system is what processes see: every call has taken effect. The durable one is what flushes
have promised. Between them lie pending operations: on names (one more, one less, a rename, which is atomic)
and on bytes (writes, changes of a length). A state of the disk is the durable file system and any of the
pending operations that the model lets come through without the others.

`weak` is what POSIX.1-2024 promises and no more (fsync, fdatasync; open's O_DSYNC):
- fsync and fdatasync of a file make its bytes and its length durable, not its name; fsync of a folder makes
  the names in it durable, and what they depend on
- any other name may be there or not, in any order, but of operations on the same name a later one does not
  come without those before it
- of a write any sectors of 512 bytes may be there (a disk writes a sector or does not), of several any
  mixture; a file may have any length that it had, and where bytes are missing within it there are zeros, or
  what the disk held before (ext4 with data=writeback; XFS and ext2 of old)

`ordered` is Linux' ext4 with data=ordered, its default (Documentation/filesystems/ext4/journal.rst, and
data=ordered in the mount options of admin-guide/ext4.rst):
- names go through one journal: they come through in their order, so that a later one brings the ones before
  it. A flush commits the journal as far as the flushed file is concerned: up to the last operation on its
  name or length (fdatasync: its length or creation), or on a name in the flushed folder
- bytes of a file that grows are written before its new length is: it may be cut, at a page of 4,096 bytes or
  where a write ended, and what is before the cut is whole. Bytes that are written over come through by
  sectors, at any time

In both, syncfs makes all durable that was pending (syncfs(2), Linux), closing a file promises nothing, and
the end of a process loses nothing.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from crash.record import Call, Event

Model = Literal["weak", "ordered"]
Name = tuple[int, str]
"""The node of a folder, and a name in it."""
Tree = dict[str, bytes | None]
"""A state of the disk: paths and what the files hold; None for a folder."""

SECTOR, PAGE = 512, 4096
_ROOT = 0
_STALE = b"\xa5"


@dataclass(frozen=True, slots=True)
class NameChange:
    """A pending operation on names: what each name means then, None for nothing."""

    number: int
    node: int
    names: tuple[tuple[Name, int | None], ...]


@dataclass(frozen=True, slots=True)
class DataChange:
    """A pending write of `data` at `at`; or, where there is no data, a change of the length to `at`."""

    number: int
    at: int
    data: bytes | None

    @property
    def end(self) -> int:
        """The length that the file has at least because of it."""
        return self.at + len(self.data or b"")


@dataclass(frozen=True)
class Kept:
    """What of the pending operations came through, by the number of their event.

    `names`: those of names. `parts`: of data operations that came through in part, the ranges of their bytes;
    one that is not named came through. `lengths`: of files (by their node) that have another length than
    their bytes give. `stale`: where bytes are missing the disk shows what it held before, not zeros.
    """

    names: frozenset[int]
    parts: Mapping[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    lengths: Mapping[int, int] = field(default_factory=dict)
    stale: bool = False


class Disk:
    """A file system that follows a record, event by event, with what of it is pending."""

    def __init__(self, model: Model, begun: Mapping[str, tuple[int, bytes | None]] | None = None) -> None:
        """Empty, or with what `snapshot` has found, all of it durable."""
        self.model = model
        self.changes: list[NameChange] = []
        self.data: dict[int, list[DataChange]] = defaultdict(list)
        self._names: dict[Name, int] = {}
        self._kept_names: dict[Name, int] = {}
        self._bytes: dict[int, bytearray] = {}
        self._kept_bytes: dict[int, bytearray] = {}
        self._of_inode: dict[int, int] = {}
        self._concerned: dict[int, int] = {}  # the last event that fdatasync has to commit the journal up to
        self._number = 0
        self._last = _ROOT
        for path, (inode, content) in sorted((begun or {}).items()):
            if not path:
                self._of_inode[inode] = _ROOT
                continue
            node = self._node(inode)
            self._names[self._name(path)] = node
            if content is not None:
                self._bytes[node] = bytearray(content)
        self._kept_names = dict(self._names)
        self._kept_bytes = {node: bytearray(content) for node, content in self._bytes.items()}

    def apply(self, number: int, event: Event) -> None:
        """Let the event of this number take effect."""
        self._number = number
        match event.call:
            case Call.CREATE | Call.MKDIR:
                node = self._node(event.inode)
                if event.call is Call.CREATE:
                    self._bytes[node], self._kept_bytes[node] = bytearray(), bytearray()
                    self._concerned[node] = number
                self._change(node, (self._name(event.path), node))
            case Call.UNLINK | Call.RMDIR:
                name = self._name(event.path)
                self._change(self._names[name], (name, None))
            case Call.LINK:
                node = self._names[self._name(event.path)]
                self._change(node, (self._name(event.other), node))
            case Call.RENAME:
                name = self._name(event.path)
                node = self._names[name]
                self._change(node, (name, None), (self._name(event.other), node))
            case Call.WRITE:
                self._write(self._of_inode[event.inode], DataChange(number, event.at, event.data))
            case Call.LENGTH:
                self._write(self._of_inode[event.inode], DataChange(number, event.at, None))
            case Call.FSYNC | Call.FDATASYNC:
                self._flush(self._of_inode[event.inode], whole=event.call is Call.FSYNC)
            case Call.SYNCFS:
                self._kept_names = dict(self._names)
                self._kept_bytes = {node: bytearray(content) for node, content in self._bytes.items()}
                self.changes.clear()
                self.data.clear()

    def path_of(self, event: Event) -> str:
        """What the file of an event is called now, or its number in the record where it has no name."""
        node = self._of_inode.get(event.inode, -1)
        for path, each in _paths(self._names):
            if each == node:
                return path
        return "." if node == _ROOT else f"(unnamed {node})"

    def volatile(self) -> Tree:
        """What a process sees now."""
        return _tree(self._names, self._bytes)

    def everything(self) -> Kept:
        """All that is pending comes through."""
        return Kept(frozenset(change.number for change in self.changes))

    def length(self, node: int) -> int:
        """The durable length of a file."""
        return len(self._kept_bytes[node])

    def closed(self, numbers: frozenset[int]) -> frozenset[int]:
        """These pending changes of names with those without which the model does not let them through."""
        if self.model == "ordered":
            last = max(numbers, default=-1)
            return frozenset(change.number for change in self.changes if change.number <= last)
        found: set[int] = set()
        wanted: set[Name] = set()
        for change in reversed(self.changes):
            names = {name for name, _ in change.names}
            if change.number in numbers or names & wanted:
                found.add(change.number)
                wanted |= names
        return frozenset(found)

    def state(self, kept: Kept) -> Tree:
        """The disk after a power failure that let this through."""
        names = dict(self._kept_names)
        for change in self.changes:
            if change.number in kept.names:
                _rename(names, change)
        files = dict(self._kept_bytes)
        for node, changes in self.data.items():
            if changes:
                files[node] = self._content(node, changes, kept)
        return _tree(names, files)

    def _content(self, node: int, changes: list[DataChange], kept: Kept) -> bytearray:
        content = bytearray(self._kept_bytes[node])
        fill = _STALE if kept.stale else b"\0"
        for change in changes:
            parts = kept.parts.get(change.number, ((0, max(1, len(change.data or b""))),))
            if change.data is None:
                if parts:
                    _resize(content, change.at, b"\0")
                continue
            for start, end in parts:
                _resize(content, max(len(content), change.at + start), fill)
                content[change.at + start : change.at + end] = change.data[start:end]
        if node in kept.lengths:
            _resize(content, kept.lengths[node], fill)
        return content

    def _node(self, inode: int) -> int:
        self._last += 1
        self._of_inode[inode] = self._last
        return self._last

    def _name(self, path: str) -> Name:
        folder, _, name = path.rpartition("/")
        node = _ROOT
        for part in filter(None, folder.split("/")):
            node = self._names[node, part]
        return node, name

    def _change(self, node: int, *names: tuple[Name, int | None]) -> None:
        change = NameChange(self._number, node, names)
        self.changes.append(change)
        _rename(self._names, change)

    def _write(self, node: int, change: DataChange) -> None:
        content = self._bytes[node]
        if change.data is None:
            _resize(content, change.at, b"\0")
            self._concerned[node] = self._number
        else:
            if change.end > len(content):
                self._concerned[node] = self._number
                _resize(content, change.end, b"\0")
            content[change.at : change.end] = change.data
        self.data[node].append(change)

    def _flush(self, node: int, *, whole: bool) -> None:
        if node in self._bytes:
            pending = self.data.pop(node, [])
            if pending:
                everything = Kept(frozenset())
                self._kept_bytes[node] = self._content(node, pending, everything)
        last = -1
        if self.model == "ordered":
            last = self._concerned.get(node, -1)
            if whole:
                concerned = [each.number for each in self.changes if _concerns(each, node)]
                last = max(last, *concerned, -1)
            done = frozenset(each.number for each in self.changes if each.number <= last)
        else:
            done = self.closed(
                frozenset(
                    each.number for each in self.changes if any(name[0] == node for name, _ in each.names)
                )
            )
        for change in self.changes:
            if change.number in done:
                _rename(self._kept_names, change)
        self.changes = [each for each in self.changes if each.number not in done]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """What a folder holds: inode and content of each path, that of the folder itself (an empty path) too."""
    found: dict[str, tuple[int, bytes | None]] = {"": (folder.stat().st_ino, None)}
    for at, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(at, name)
            content = None if name in folders else path.read_bytes()
            found[path.relative_to(folder).as_posix()] = (path.stat().st_ino, content)
    return found


def materialise(tree: Tree, folder: Path) -> None:
    """Make a state of the disk real in an empty folder."""
    for path, content in sorted(tree.items()):
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


def _concerns(change: NameChange, node: int) -> bool:
    return change.node == node or any(name[0] == node for name, _ in change.names)


def _rename(names: dict[Name, int], change: NameChange) -> None:
    for name, node in change.names:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _resize(content: bytearray, length: int, fill: bytes) -> None:
    if length < len(content):
        del content[length:]
    else:
        content += fill * (length - len(content))


def _paths(names: Mapping[Name, int]) -> Iterator[tuple[str, int]]:
    within: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for (folder, name), node in names.items():
        within[folder].append((name, node))
    left = [("", _ROOT)]
    while left:
        at, folder = left.pop()
        for name, node in within[folder]:
            path = f"{at}/{name}" if at else name
            yield path, node
            left.append((path, node))


def _tree(names: Mapping[Name, int], files: Mapping[int, bytearray]) -> Tree:
    # SQLite makes its shared memory anew when nobody has the index open; what is in the file means nothing.
    return {
        path: bytes(files[node]) if node in files else None
        for path, node in _paths(names)
        if not path.endswith("-shm")
    }
