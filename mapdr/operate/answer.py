"""Every answer as JSON: one envelope, and plain values made of what the other modules here return.

The envelope is one object: `mapdr` says what answers, and beside it stand the answer's own keys, all of which
`docs/json.md` tells. Where an answer is many lines (NDJSON), the last has the envelope.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mapdr


def answer(command: str, node: str, data: Mapping[str, Any] | object, *, in_line: bool = False) -> str:
    """The answer of a command as a JSON document. `node` is the node's name, empty where none is asked about.

    `data` is one dataclass, or a mapping from keys to values. `in_line`: it is the last of many lines.
    """
    indent = None if in_line else 2
    return json.dumps(envelope(command, node, data), indent=indent, ensure_ascii=False)


def envelope(command: str, node: str, data: Mapping[str, Any] | object) -> dict[str, Any]:
    """The same as plain values."""
    about = {
        "version": mapdr.__version__,
        "command": command,
        "node": node or None,
        "at": moment(time.time()),
    }
    return {"mapdr": about, **plain(data)}


def line(data: object) -> str:
    """A dataclass as one line of JSON, without the envelope."""
    return json.dumps(plain(data), ensure_ascii=False)


def plain(value: Any, name: str = "") -> Any:
    """A value as JSON has it: dataclasses by their fields, moments in ISO 8601.

    A number in a field that is called `at` or ends in `_at` is a moment in seconds since the epoch. Fields
    with `metadata={"json": False}` are left out.
    """
    if is_dataclass(value) and not isinstance(value, type):
        shown = (one.name for one in fields(value) if one.metadata.get("json", True))
        return {key: plain(getattr(value, key), key) for key in shown}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float | int) and (name == "at" or name.endswith("_at")):
        return moment(value)
    return str(value) if isinstance(value, Path) else value


def moment(at: float) -> str:
    """Seconds since the epoch in ISO 8601, local time with its offset from UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).astimezone().isoformat(timespec="milliseconds")
