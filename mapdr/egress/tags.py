"""What a file name or a URL needs of an image: tags of the data set as it leaves."""

from __future__ import annotations

from mapdr.dicom.scan import NeedMore, ScannedHeader, scan
from mapdr.kernel.item import Payload, TagPath

MOST = 1 << 24
"""Bytes: what does not stand within the first ones counts as empty; no payload is whole in memory for it."""


def tags_of(payload: Payload, wanted: frozenset[TagPath]) -> ScannedHeader:
    """The `wanted` tags of a payload. Raises as `Payload.chunks`, and Unreadable for what is no data set."""
    return _scanned(payload, wanted).assuming(payload.assumed)


def _scanned(payload: Payload, wanted: frozenset[TagPath]) -> ScannedHeader:
    held = bytearray()
    least = 0
    for chunk in payload.chunks():
        held += chunk
        complete = len(held) >= min(payload.length, MOST)
        if len(held) < least and not complete:
            continue
        try:
            return scan(held, payload.transfer_syntax_uid, wanted, complete=complete, size=payload.length)
        except NeedMore as error:
            least = error.at_least
    return scan(held, payload.transfer_syntax_uid, wanted, complete=True)
