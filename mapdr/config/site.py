"""The site key: 32 secret bytes from which derived UIDs are made (design, decision 7).

It is made once, kept in `keys/site.key` in the data folder, and never shown. Nodes that share their work
share it. Losing it loses no image: a later copy of an image would only get another derived UID.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from mapdr.config.revision import sync_folder, write_durably
from mapdr.kernel.errors import ConfigurationError

LENGTH = 32


def key_file(data: Path) -> Path:
    """Where the key of a data folder is kept."""
    return data / "keys" / "site.key"


def site_key(data: Path) -> bytes:
    """The key, made if there is none. Raises OSError, or ConfigurationError if the file is damaged."""
    path = key_file(data)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(path)
    key = path.read_bytes()
    if len(key) != LENGTH:
        raise ConfigurationError(f"keys/site.key is damaged: it has {len(key)} bytes instead of {LENGTH}")
    return key


def _make(path: Path) -> None:
    """Under its final name only when whole; of two programs at once, the first one's key stays."""
    fresh = path.with_name(f"site.{secrets.token_hex(4)}.new")
    write_durably(fresh, secrets.token_bytes(LENGTH), 0o600)
    # Neither replaces what is there: a hard link anywhere, a rename on Windows, where links may be missing.
    give_name = os.rename if os.name == "nt" else os.link
    with suppress(FileExistsError):
        give_name(fresh, path)
    fresh.unlink(missing_ok=True)
    sync_folder(path.parent)
