"""Keys of projects, by which images are de-identified; and UIDs forward and back for who holds one.

A key is a file of 64 hexadecimal digits in `keys/` of the data folder, so that a backup has it. Who holds a
key can tell which new UID a known one becomes, and so find the old one among those that an index has.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mapdr.config.secret import Secret
from mapdr.config.site import site_key
from mapdr.dicom.deidentify.keys import LENGTH, Key, format_key, parse_key, project_key
from mapdr.kernel.durable import write_durably
from mapdr.kernel.errors import ConfigurationError, MapdrError
from mapdr.kernel.item import is_uid
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError

OWN = "site"
"""The name of the key that a node uses where a rule names none."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A key that was written: its name, its file, and what a rule says to use it; empty where none can."""

    name: str
    file: str
    written: str = ""


@dataclass(frozen=True, slots=True)
class FoundUid:
    """A UID, what the key makes of it, and which UID of the index becomes it; empty if none does."""

    uid: str
    new: str
    original: str


def new_key(opened: Access, name: str) -> KeptKey:
    """Make a key of that name. Raises RequestError if there is one, OSError."""
    return _keep(opened, name, secrets.token_bytes(LENGTH))


def import_key(opened: Access, name: str, file: Path) -> KeptKey:
    """Keep the key in `file`, which another node exported, under that name.

    Raises RequestError if there is one of that name or the file holds none, OSError.
    """
    try:
        key = parse_key(file.read_text(encoding="ascii"))
    except ValueError as error:
        raise RequestError(f"{file} {str(error).partition(';')[0]}", field="file") from None
    return _keep(opened, name, key)


def export_key(opened: Access, name: str, file: Path) -> KeptKey:
    """Write the key of that name, or the node's own ("site"), into a new file for another node.

    The audit is told first. Raises RequestError if there is no such key or the file is there, AuditError,
    OSError.
    """
    if file.exists():
        raise RequestError(f"{file} is there, and is not replaced", field="file")
    data = opened.plan.node.data
    key = project_key(site_key(data)) if name == OWN else _read(_path(data, name), name)
    opened.audit.acted(
        opened.actor, "key export", number=1, of="keys", to={}, chosen={"name": name}, done=False
    )
    write_durably(file, f"{format_key(key)}\n".encode("ascii"), 0o600)
    return KeptKey(name, str(file))


def uids(opened: Access, asked: Sequence[str], place: str = "") -> list[FoundUid]:
    """Each UID with what the key makes of it, and the UID of this node's index that becomes it.

    `place` is a key's "file:PATH" or "env:NAME" (a path from the current folder); empty for the node's own.
    The audit is told of what was found. Raises RequestError for what is no UID or no key, MapdrError without
    an index, AuditError.
    """
    wrong = next((uid for uid in asked if not is_uid(uid)), None)
    if wrong is not None:
        raise RequestError("a UID has 1 to 64 digits and dots", field="uid")
    key = _key(opened, place)
    wanted = {uid for uid in asked if uid.startswith("2.25.")}
    originals = {}
    if wanted:
        for uid in opened.index().instances.uids():
            made = key.uid(uid)
            if made in wanted:
                originals[made] = uid
                if len(originals) == len(wanted):
                    break
    if originals:
        opened.audit.viewed(opened.actor, "uid", {"new": sorted(originals)})
    return [FoundUid(uid, key.uid(uid), originals.get(uid, "")) for uid in asked]


def _key(opened: Access, place: str) -> Key:
    if not place:
        return Key(project_key(site_key(opened.plan.node.data)))
    try:
        return Key(parse_key(Secret(place).reveal()))
    except (ValueError, ConfigurationError) as error:
        raise RequestError(f"the key: {error}", field="key") from None


def _path(data: Path, name: str) -> Path:
    if not _NAME.fullmatch(name) or name == OWN:
        raise RequestError(
            f"a key's name has up to 63 letters, digits, - and _, and is not \"{OWN}\", the node's own",
            field="name",
        )
    return data / "keys" / f"{name}.key"


def _read(path: Path, name: str) -> bytes:
    try:
        return parse_key(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        raise RequestError(f'there is no key "{name}"', field="name") from None
    except ValueError as error:
        raise MapdrError(f'the file of the key "{name}" {error}') from None


def _keep(opened: Access, name: str, key: bytes) -> KeptKey:
    data = opened.plan.node.data
    path = _path(data, name)
    if path.exists():
        raise RequestError(
            f'there is a key "{name}" already, and images were perhaps sent with it; choose another name',
            field="name",
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(path, f"{format_key(key)}\n".encode("ascii"), 0o600)
    base = opened.config.parent.absolute() if opened.config is not None else Path.cwd()
    inside = path.absolute().is_relative_to(base)
    said = Path(os.path.relpath(path.absolute(), base)).as_posix() if inside else path.absolute().as_posix()
    return KeptKey(name, str(path), f"file:{said}")
