"""Whether a key is still the one that this node has used: by a fingerprint in `keys/fingerprints/`.

What another key makes, UIDs, pseudonyms, hashes, would fit nothing that was sent before. A key is known by
its place, for that is what a rule names.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from mapdr.kernel.durable import write_first
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.privacy import system_says
from mapdr.kernel.stage import Settings
from mapdr.store.spool.durable import make_folder


def refuse_another(settings: Settings, place: str, key: bytes) -> None:
    """Raise Permanent(reason="key") if the key at `place` is another one than the first that was used.

    The first one's fingerprint is kept, unless the node only looks: 32 bits of a hash, by which no key can be
    found. Raises Temporary where it cannot be kept or read now.
    """
    keys = settings.data / "keys"
    if not keys.is_dir():
        return  # no node has worked here: what is built only shows what it would do
    kept = keys / "fingerprints" / hashlib.sha256(place.encode()).hexdigest()[:32]
    made = hmac.digest(key, b"mapdr fingerprint", "sha256")[:4].hex().encode("ascii")
    try:
        if not settings.only_looks and not kept.exists():
            _keep(kept, made)
        known = kept.read_bytes() if kept.exists() else made
    except OSError as error:
        raise Temporary(f"the fingerprint of a key cannot be kept or read: {system_says(error)}") from None
    if not hmac.compare_digest(known, made):
        raise Permanent(
            f"the key {place} is another one than this node has used: what it makes would fit nothing that "
            "was sent before; put the old key back, or name another place for the new one in the rule",
            reason="key",
        )


def _keep(path: Path, content: bytes) -> None:
    """Write a new file, whole and flushed; of two that do so at once, the first one's stays."""
    make_folder(path.parent, "power-loss", within=path.parents[2])
    write_first(path, content, 0o600)
