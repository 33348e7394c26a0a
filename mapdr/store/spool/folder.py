"""Where a node's files are: `spool/<node>/<hour>/<id>.dcm`.

The hour (UTC) is that of the id, and no value of a data set is in a path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mapdr.kernel.errors import ConfigurationError
from mapdr.store.spool.ids import hour_of, is_id

FINAL, PART = ".dcm", ".part"
"""How the name of a file ends that is safe, and of one that is being received."""
DAMAGED = ".damaged"
"""How the name of a file ends that recovery has set aside."""
JOURNAL = "journal"
"""The folder of a node's journal, beside its hours (`mapdr.store.spool.journal`)."""

_MARKS = str.maketrans("", "", "-_.")


class SpoolFolder:
    """The files of one node, `folder`; those of other nodes in the same `data` folder are only named."""

    def __init__(self, data: Path, node: str) -> None:
        """Raises ConfigurationError for a name that could not be a folder's; makes nothing."""
        if "." in (node[:1], node[-1:]) or not node.isascii() or not node.translate(_MARKS).isalnum():
            raise ConfigurationError("a node's name has letters, digits, -, _ and, inside of it, . only")
        self.data = data
        self.node = node
        self.folder = data / "spool" / node
        self._root = str(data / "spool")

    def path(self, id_: str, node: str | None = None) -> Path:
        """Where an image stands, or stood before it was purged."""
        return Path(f"{self._root}{os.sep}{node or self.node}{os.sep}{hour_of(id_)}{os.sep}{id_}{FINAL}")

    def hours(self) -> list[str]:
        """This node's hour folders, oldest first."""
        return sorted(path.name for path in self._folders())

    def files(self, hour: str, ending: str = FINAL) -> Iterator[str]:
        """The ids of one hour's files, oldest first."""
        for name in sorted(os.listdir(self.folder / hour)):
            if name.endswith(ending) and is_id(name[: -len(ending)]):
                yield name[: -len(ending)]

    def discard(self, id_: str) -> bool:
        """Unlink an image whose row says that it may go; whether there was one. Raises OSError."""
        try:
            self.path(id_).unlink()
        except FileNotFoundError:
            return False
        return True

    def newest(self, least: str) -> str:
        """The greatest id of which there is a file, finished or not, but at least `least`."""
        hour = max((path.name for path in self._folders() if any(path.iterdir())), default="")
        names = os.listdir(self.folder / hour) if hour else ()
        return max(least, *(name[:32] for name in names if is_id(name[:32])), "")

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.name.isdigit() and path.is_dir()]
