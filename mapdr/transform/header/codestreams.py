"""Encapsulated pixel data without what its codestreams say beside their pixels (PS3.5, section A.4).

PS3.15 Annex E is about attributes. A JPEG that a camera or an encoder wrote may hold a name all the same: in
a comment, in Exif data, in a thumbnail. De-identification makes those empty; the pixels, fragments and offset
tables stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from mapdr.dicom.scan import Layout
from mapdr.dicom.write import UNDEFINED, Element
from mapdr.kernel import budget
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Part
from mapdr.transform.codecs.remarks import READERS, Broken, Reader, Remark, remarks
from mapdr.transform.fragments import Span, begins_frame, fragments
from mapdr.transform.view import PartsView


def silenced(view: PartsView, where: Layout, transfer_syntax_uid: str) -> tuple[Part, ...] | None:
    """The parts of a data set, of the same length, whose codestreams say nothing; None for what says nothing.

    The pixel data is in memory then. Raises Permanent: "codestream" for one that cannot be walked,
    "fragments"; and Short.
    """
    read = READERS.get(transfer_syntax_uid)
    if read is None or where.pixels is None or where.pixels.length != UNDEFINED:
        return None
    tag, vr, start, value, _, _ = where.pixels
    pixel = Element(tag, vr.decode("latin-1"), start, value, where.pixel_end, undefined=True)
    codestreams = list(_codestreams(view, pixel))
    budget.need(max((sum(stop - start for start, stop in spans) for spans in codestreams), default=0))
    found = [each for spans in codestreams for each in _in_data_set(view, spans, read)]
    if not found:
        return None
    budget.need(2 * (where.pixel_end - start))
    pixels = bytearray(view[start : where.pixel_end])
    for at, remark in found:
        size = remark.stop - remark.start
        pixels[at - start : at - start + size] = (remark.filling * size)[:size]
    return (*view.slice(0, start), bytes(pixels), *view.slice(where.pixel_end, where.size))


def _codestreams(view: PartsView, pixel: Element) -> Iterator[list[Span]]:
    """The spans of the fragments that belong together: from one that begins a codestream to the next."""
    _, spans = fragments(view, pixel)
    together: list[Span] = []
    for start, stop in spans:
        if together and begins_frame(view[start : min(start + 12, stop)]):
            yield together
            together = []
        together.append((start, stop))
    if together:
        yield together


def _in_data_set(view: PartsView, spans: list[Span], read: Reader) -> Iterator[tuple[int, Remark]]:
    """The remarks of a codestream with their offsets in the data set, cut where fragments end."""
    stream = b"".join(view[start:stop] for start, stop in spans)
    try:
        said = list(remarks(stream, read))
    except Broken:
        raise Permanent(
            "a codestream of its pixel data cannot be read, and nobody knows what it says beside the pixels",
            reason="codestream",
        ) from None
    base = 0
    for start, stop in spans:
        size = stop - start
        for each in said:
            first, last = max(each.start, base), min(each.stop, base + size)
            if first < last:
                filling = each.filling[first - each.start :] if len(each.filling) > 1 else each.filling
                yield start + first - base, Remark(first, last, filling)
        base += size
