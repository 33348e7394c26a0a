"""Pixel data without what it says beside its pixels: in codestreams (PS3.5, A.4), behind native frames.

PS3.15 Annex E is about attributes. A JPEG that a camera or an encoder wrote may hold a name all the same: in
a comment, in Exif data, in a thumbnail. De-identification makes those empty; the pixels, fragments and offset
tables stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from mapdr.dicom import uids
from mapdr.dicom.scan import Layout
from mapdr.dicom.transfer_syntax import NATIVE
from mapdr.dicom.write import UNDEFINED, Element
from mapdr.kernel import budget
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Part
from mapdr.transform.codecs.remarks import READERS, Broken, Reader, Remark, reader_of, remarks
from mapdr.transform.fragments import Span, begins_frame, fragments
from mapdr.transform.view import PartsView


def silenced(
    view: PartsView, where: Layout, transfer_syntax_uid: str, frame_bits: int
) -> tuple[Part, ...] | None:
    """The parts of a data set, of the same length, whose pixel data says nothing beside its pixels.

    `frame_bits` is how many bits all frames have if they are native, 0 where that is not known. None where
    the pixel data said nothing. Codestreams are in memory then, native pixels are not. Raises Permanent:
    "codestream" for one that cannot be walked, "fragments"; and Short.
    """
    if where.pixels is None:
        return None
    if where.pixels.length != UNDEFINED:
        return _without_excess(view, where, frame_bits)
    tag, vr, start, value, _, _ = where.pixels
    pixel = Element(tag, vr.decode("latin-1"), start, value, where.pixel_end, undefined=True)
    codestreams = list(_codestreams(view, pixel))
    read = _reader(view, codestreams, transfer_syntax_uid)
    if read is None:
        return None
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


def _reader(view: PartsView, codestreams: list[list[Span]], transfer_syntax_uid: str) -> Reader | None:
    """The reader of a syntax; of one that none is known for, by what the first codestream begins with.

    RLE and deflated frames may begin with any bytes. Raises Permanent(reason="codestream") for fragments in a
    native syntax that nobody can read.
    """
    read = READERS.get(transfer_syntax_uid)
    if read is not None or transfer_syntax_uid in (uids.RLE_LOSSLESS, uids.DEFLATED_IMAGE_FRAME):
        return read
    start = codestreams[0][0][0] if codestreams else 0
    read = reader_of(view[start : start + 12])
    if read is None and transfer_syntax_uid in NATIVE:
        raise _unread()
    return read


def _without_excess(view: PartsView, where: Layout, bits: int) -> tuple[Part, ...] | None:
    """The parts with zeros behind the last frame of native pixel data; None if nothing is there.

    Where the header does not say how large frames are (`bits` is 0), nothing is known to be behind them.
    """
    if where.pixels is None:
        return None
    end = where.pixels.value + (bits + 7) // 8
    size = where.pixel_end - end
    if not bits or size <= 1:
        return None
    budget.need(2 * size)
    if not view[end : where.pixel_end].strip(b"\0"):
        return None
    return (*view.slice(0, end), bytes(size), *view.slice(where.pixel_end, where.size))


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
        raise _unread() from None
    base = 0
    for start, stop in spans:
        size = stop - start
        for each in said:
            first, last = max(each.start, base), min(each.stop, base + size)
            if first < last:
                filling = each.filling[first - each.start :] if len(each.filling) > 1 else each.filling
                yield start + first - base, Remark(first, last, filling)
        base += size


def _unread() -> Permanent:
    return Permanent(
        "a codestream of its pixel data cannot be read, and nobody knows what it says beside the pixels",
        reason="codestream",
    )
