"""Even lengths, which PS3.5 section 7.1 asks of every value: what is odd gets one byte of padding.

Some modalities write odd lengths, and receivers differ over them: DCMTK ends the association over a data set
whose length is odd.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from mapdr.dicom.recode import recode
from mapdr.dicom.transfer_syntax import is_deflated
from mapdr.dicom.write import LONG_VRS, SHORT_VRS, Element, Encoding, element, head, splice
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Part, Payload, Treatment, total_length
from mapdr.transform.dataset import DataSet
from mapdr.transform.fragments import EXTENDED_LENGTHS, EXTENDED_OFFSETS, encapsulated, fragments
from mapdr.transform.image import Attributes
from mapdr.transform.view import PartsView


def evened(payload: Payload) -> Payload:
    """`payload` with even lengths, as edited where it was relayed; for one whose own length is odd.

    Raises Unreadable, and Permanent(reason="odd-length") for pixel data that is cut off.
    """
    if is_deflated(payload.transfer_syntax_uid):
        # The stream ends itself; a byte behind it is padding (PS3.5 section A.5).
        return _with_parts(payload, (*payload.parts, b"\0"))
    with DataSet(payload) as data:
        encoding, pixel = data.encoding, data.pixel
        data.say_need()
        header = recode(data.view[: data.header_end], encoding, encoding)
        if pixel is None:
            return _with_parts(payload, (header,))
        if pixel.end > len(data.view):
            raise Permanent("an odd length, and the pixel data is cut off", reason="odd-length")
        header, pixels = even_pixels(header, data.view, pixel, encoding)
        tail = recode(data.view[pixel.end : data.end], encoding, encoding, base=pixel.end)
        return _with_parts(payload, (header, *pixels, tail))


def even_pixels(
    header: bytes, view: PartsView, pixel: Element, encoding: Encoding
) -> tuple[bytes, tuple[Part, ...]]:
    """The header and the parts of the pixel data element of `view`, with even fragments and right tables."""
    if not pixel.undefined:
        length = pixel.end - pixel.value
        if not length & 1:
            return header, view.slice(pixel.start, pixel.end)
        vr = pixel.vr if pixel.vr in LONG_VRS or pixel.vr in SHORT_VRS else "OW"
        start = head(pixel.tag, vr, length + 1, encoding)
        return header, (start, *view.slice(pixel.value, pixel.end), b"\0")
    offsets, spans = fragments(view, pixel)
    if not any(stop - start & 1 for start, stop in spans):
        return header, view.slice(pixel.start, pixel.end)
    moved: dict[int, int] = {}
    at = 0
    for first, stop in spans:
        moved[first - spans[0][0]] = at
        at += 8 + stop - first + (stop - first & 1)
    parts = encapsulated(
        [moved.get(offset, offset) for offset in offsets],
        [(view.slice(start, stop), stop - start) for start, stop in spans],
    )
    return _with_tables(header, moved), parts


def _with_tables(header: bytes, moved: dict[int, int]) -> bytes:
    """The header with an Extended Offset Table (PS3.3 section C.7.6.3.1.8) that follows its fragments."""
    attributes = Attributes(header)
    changes: dict[int, bytes | None] = {}
    for tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS):
        value = attributes.value(tag)
        numbers = struct.unpack_from(f"<{len(value) // 8}Q", value)
        if tag == EXTENDED_OFFSETS:
            numbers = tuple(moved.get(number, number) for number in numbers)
        else:
            numbers = tuple(number + (number & 1) for number in numbers)
        if numbers:
            changes[tag] = element(tag, "OV", struct.pack(f"<{len(numbers)}Q", *numbers))
    return splice(header, changes) if changes else header


def _with_parts(payload: Payload, parts: tuple[Part, ...]) -> Payload:
    treatment = Treatment.EDITED if payload.treatment is Treatment.RELAYED else payload.treatment
    return replace(payload, parts=parts, length=total_length(parts), treatment=treatment)
