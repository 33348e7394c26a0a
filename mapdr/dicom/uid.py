"""Unique identifiers (PS3.5, section 9): checked, and derived for images whose pixels were changed."""

from __future__ import annotations

import re
from hashlib import blake2b

_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")


def is_valid_uid(text: str) -> bool:
    """Whether `text` is a UID: at most 64 digits and dots, no component with a leading zero."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def derived_uid(site_key: bytes, original_uid: str, content_digest: bytes) -> str:
    """The UID of an image derived from `original_uid` whose pixel data has `content_digest`.

    The same input gives the same UID, other pixels another, and nobody without the site key (1 to 64
    bytes) can tell which original it came from. The keyed BLAKE2b hash is made a UUID of version 8 (RFC
    9562) under the root 2.25 (PS3.5, B.2). Raises ValueError for an empty or longer key.
    """
    if not 1 <= len(site_key) <= 64:
        raise ValueError("a site key has 1 to 64 bytes")
    message = original_uid.encode("ascii", "replace") + b"\0" + content_digest
    number = int.from_bytes(
        blake2b(message, digest_size=16, key=site_key, person=b"mapdr uid").digest(), "big"
    )
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return f"2.25.{number}"
