"""DICOM files by their names: where the data set of each is (`mapdr.dicom.part10`), and those of folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mapdr.dicom.part10 import HEAD, find
from mapdr.kernel.errors import Permanent


@dataclass(frozen=True, slots=True)
class File:
    """Where a file's data set begins, how long it is, and what its File Meta group says of it.

    UIDs that the group does not give are empty.
    """

    path: Path
    offset: int
    length: int
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def locate(path: Path) -> File:
    """The data set in `path`. Raises Permanent(reason="not-dicom"), and OSError if it cannot be read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
    try:
        found = find(head)
    except Permanent as error:
        raise Permanent(f"{path.name} {error}", reason=error.reason) from None
    return File(
        path,
        found.length,
        size - found.length,
        found.transfer_syntax_uid,
        found.sop_class_uid,
        found.sop_instance_uid,
    )


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and all files below the folders named, in order of their names."""
    for path in paths:
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file())
        else:
            yield path
