"""What is made of a project's key: UIDs, pseudonyms, and the days by which a patient's dates move.

All are HMAC-SHA-256 (RFC 2104) under the key, each for its own purpose: the same in every image, study, retry
and node that has the key, and nothing that anybody without it can compute or undo.
"""

from __future__ import annotations

import base64
import hmac
import re

LENGTH = 32
"""Bytes of a key."""
MAX_DAYS = 3650
"""Dates move into the past by 1 to so many days."""
_STANDARD = re.compile(r"1\.2\.840\.10008\.(?:6\.1\.\d{1,4}|(?:[1-9]|10|15)(?:\.\d{1,3}){1,9})", re.ASCII)
"""The form of UIDs of the standard itself: SOP classes, transfer syntaxes, well-known instances, and context
groups, whose numbers alone have four digits (PS3.6, annex A). Devices that are no standard make theirs of
years, dates and serial numbers, under this root, too."""

_HEX = re.compile(r"[0-9a-fA-F]{64}")


def parse_key(text: str) -> bytes:
    """The key in a text of 64 hexadecimal digits. Raises ValueError, which does not show the text."""
    if not _HEX.fullmatch(text.strip()):
        raise ValueError("is no key of 64 hexadecimal digits; make one with: mapdr key new NAME")
    return bytes.fromhex(text.strip())


def format_key(key: bytes) -> str:
    """The text that `parse_key` reads back."""
    return key.hex()


def project_key(site_key: bytes) -> bytes:
    """The key that a node uses where a rule names none: made of its site key, so that it does not show it."""
    return hmac.digest(site_key, b"mapdr deidentify", "sha256")


class Key:
    """The functions of one key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a key of another length than 32 bytes."""
        if len(key) != LENGTH:
            raise ValueError(f"a key has {LENGTH} bytes")
        self._key = key

    def _hash(self, purpose: bytes, text: str) -> bytes:
        return hmac.digest(self._key, purpose + b"\0" + text.encode("utf-8", "surrogatepass"), "sha256")

    def uid(self, uid: str) -> str:
        """The UID in place of `uid`: 2.25 and 128 bits (PS3.5, B.2); the standard's own ones are kept."""
        if not uid or _STANDARD.fullmatch(uid):
            return uid
        number = int.from_bytes(self._hash(b"uid", uid)[:16], "big")
        number = number & ~(0xF << 76) | 8 << 76  # a UUID of version 8 (RFC 9562)
        number = number & ~(0x3 << 62) | 2 << 62
        return f"2.25.{number}"

    @property
    def fingerprint(self) -> bytes:
        """32 bytes by which the key is known again, and nothing else that it makes."""
        return self._hash(b"fingerprint", "")

    def days(self, patient: str) -> int:
        """By how many days the dates of a patient move: -1 to -3650."""
        return -1 - int.from_bytes(self._hash(b"days", patient)[:8], "big") % MAX_DAYS

    def pseudonym(self, patient: str) -> str:
        """16 letters and digits in place of a patient's identifier."""
        return base64.b32encode(self._hash(b"pseudonym", patient)[:10]).decode("ascii")
