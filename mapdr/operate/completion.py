"""What a shell completes: names that the configuration and the index know, at once or not at all.

Whatever cannot be read is no name: somebody is typing, and the command itself will say what is wrong.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from mapdr.kernel.errors import MapdrError
from mapdr.node.outline import kept_outline
from mapdr.operate.access import Access
from mapdr.operate.selection import SHOWN

MOMENT = 0.2
"""Seconds for which another program's lock on the index is waited for."""


def destination_names(config: Path) -> list[str]:
    """The destinations of a configuration file; it is neither checked nor are its plug-ins loaded."""
    try:
        outline = kept_outline(config)
        if outline is not None:
            return list(outline.destinations)
        tables = tomllib.loads(config.read_text(encoding="utf-8-sig")).get("egress", {})
    except (OSError, ValueError, MapdrError):
        return []
    return list(tables) if isinstance(tables, dict) else []


def study_uids(config: Path, beginning: str = "") -> list[str]:
    """The Study Instance UIDs that begin so, of the studies whose images came last."""
    outline = kept_outline(config)
    if outline is None:
        return []  # to read the configuration anew takes longer than somebody waits
    opened = Access(outline, busy=MOMENT)
    try:
        store = opened.store
        return store.overview.newest_studies(beginning, SHOWN) if store is not None else []
    except Exception:  # noqa: BLE001  an index that is locked, gone or damaged has no names
        return []
    finally:
        opened.close()
