"""The site key: 32 secret bytes from which derived UIDs are made (design, decision 7).

It is made once, kept in `keys/site.key` in the data folder, and never shown. Nodes that share their work
share it. Losing it loses no image: a later copy of an image would only get another derived UID.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from mapdr.kernel.durable import write_first
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
        # Under its final name only when whole; of two programs at once, the first one's key stays.
        write_first(path, secrets.token_bytes(LENGTH), 0o600)
    key = path.read_bytes()
    if len(key) != LENGTH:
        raise ConfigurationError(f"keys/site.key is damaged: it has {len(key)} bytes instead of {LENGTH}")
    return key
