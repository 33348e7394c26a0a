"""The body of a STOW-RS request: images as parts of a multipart message (PS3.18, 8.6.1.2 and 10.5.1).

Its length is known before, so that no server has to understand chunked transfer coding: some answer 200 to
that and store nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

from mapdr.egress.part10 import Part10, pieces
from mapdr.kernel.item import Payload

ACCEPT = "application/dicom+json, application/dicom+xml;q=0.5"
"""What the answer may be in; section 10.5.1.1.2 leaves the choice to the client."""


class StowRequest:
    """The request for one or more payloads, to be read as often as it is sent; never whole in memory.

    No two of them may have one SOP Instance UID: the answer names images by it (`batches` sees to that).

    `reading` is the payload whose bytes were read last: the one that is to blame for what reading raised.
    """

    def __init__(self, payloads: Sequence[Payload]) -> None:
        assert len({each.sop_instance_uid for each in payloads}) == len(payloads)
        # 128 bits by chance, anew for each request: no image holds them, and nobody can put them there.
        boundary = secrets.token_hex(16)
        self.content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        self.reading: Payload | None = None
        self._parts = [(_part_head(boundary, each), each, Part10(each)) for each in payloads]
        self._end = f"\r\n--{boundary}--\r\n".encode()
        # A delimiter begins with the line's end before it; before the first there is none.
        self.length = sum(len(head) + file.length for head, _, file in self._parts) - 2 + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        """Raises as `Payload.chunks`."""
        return pieces(self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        for index, (head, payload, file) in enumerate(self._parts):
            self.reading = payload
            yield head if index else head[2:]
            yield from file.chunks()
        self.reading = None
        yield self._end


def batches(payloads: Sequence[Payload], *, images: int, size: int) -> Iterator[list[Payload]]:
    """The payloads in their order, in as few requests as that allows.

    A request has at most `images` of them and `size` bytes of data sets (one that is larger has a request of
    its own), and none twice.
    """
    batch: list[Payload] = []
    held = 0
    for payload in payloads:
        again = any(payload.sop_instance_uid == each.sop_instance_uid for each in batch)
        if batch and (again or len(batch) >= images or held + payload.length > size):
            yield batch
            batch, held = [], 0
        batch.append(payload)
        held += payload.length
    if batch:
        yield batch


def _part_head(boundary: str, payload: Payload) -> bytes:
    media_type = f"application/dicom; transfer-syntax={payload.transfer_syntax_uid}"
    return f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\n\r\n".encode()
