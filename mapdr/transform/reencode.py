"""A payload in another transfer syntax, for a receiver that takes no other: native ones, and decompressing.

Native to native changes how bytes are written, nothing that they say. Decompressing keeps the SOP Instance
UID and every flag of loss: the pixels are what the receiver of the codestream would see. Compressed icons
are left out.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from mapdr.dicom.recode import recode
from mapdr.dicom.scan import deflate_pieces
from mapdr.dicom.transfer_syntax import ALWAYS_LOSSY, NATIVE, is_deflated
from mapdr.dicom.write import (
    EXPLICIT_LITTLE,
    ITEM,
    LONG_VRS,
    PIXEL_DATA,
    SHORT_VRS,
    UNDEFINED,
    Element,
    Encoding,
    element,
    encoding_of,
    head,
    number,
    splice,
)
from mapdr.kernel import budget
from mapdr.kernel.codec import Decoder
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Part, Payload, Treatment, total_length
from mapdr.transform.codecs.foreign import foreign_frames
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.dataset import DataSet
from mapdr.transform.image import Attributes, Image, LeaveAsIs

_FRAGMENTED = struct.pack("<HH2sHIHH", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED, ITEM >> 16, ITEM & 0xFFFF)
_COMPONENT_TRANSFORMS = ("YBR_RCT", "YBR_ICT")


def to_syntax(payload: Payload, target: str, codecs: Codecs, *, workers: int = 1) -> Payload:
    """`payload` in the native transfer syntax `target`.

    Compressed pixels are decoded by `codecs` in at most `workers` processes. Raises Permanent: "syntax" when
    there is no way to `target`, "unreadable", and what decoding raises ("fragments", "codec", "codec-crash",
    "codec-mismatch").
    """
    source = payload.transfer_syntax_uid
    if source == target:
        return payload
    if target not in NATIVE:
        raise Permanent("only native transfer syntaxes can be re-encoded to", reason="syntax")
    with DataSet(payload) as data:
        if data.pixel is not None and data.pixel.end > len(data.view):
            raise Permanent("the pixel data is cut off; it can only be relayed", reason="truncated")
        if source in NATIVE or data.pixel is None:
            parts, treatment = _recoded(data, encoding_of(target)), Treatment.REENCODED
        else:
            parts, treatment = _decompressed(data, encoding_of(target), codecs, workers), Treatment.TRANSCODED
        if is_deflated(target):
            whole = replace(payload, parts=parts, length=total_length(parts))
            budget.need(whole.length)  # it is seldom half as long, and there twice while it is put together
            parts = (deflate_pieces(whole.chunks()),)
    return replace(
        payload,
        transfer_syntax_uid=target,
        parts=parts,
        length=total_length(parts),
        treatment=treatment,
    )


def _recoded(data: DataSet, target: Encoding) -> tuple[Part, ...]:
    view, source, pixel = data.view, data.encoding, data.pixel
    if source == target and data.is_regular:
        return view.slice(0, len(view))
    data.say_need()
    budget.need(_copied(data, target))
    header = recode(view[: data.header_end], source, target)
    if pixel is None:
        return (header,)
    context = data.header()
    if source.big != target.big:
        _refuse_unclear_order(Attributes(context), pixel)
    tail = recode(view[pixel.end : data.end], source, target, context=context, base=pixel.end)
    if source.big != target.big:
        pixels = view[pixel.start : pixel.end]
        return (header, recode(pixels, source, target, context=context, base=pixel.start), tail)
    vr = pixel.vr if pixel.vr in LONG_VRS or pixel.vr in SHORT_VRS else "OW"
    length = pixel.end - pixel.value
    return (
        header + head(pixel.tag, vr, length + (length & 1), target),
        *view.slice(pixel.value, pixel.end),
        *(part for part in (b"\0" * (length & 1), tail) if part),
    )


def _copied(data: DataSet, target: Encoding) -> int:
    """Bytes of the copies that re-encoding makes of pixels: three if rewritten, else one if in memory."""
    pixels = data.pixel.end - data.pixel.start if data.pixel else 0
    if data.encoding.big != target.big:
        return 3 * pixels
    in_memory = sum(len(part) for part in data.view.parts if isinstance(part, bytes))
    return min(pixels, in_memory)


def _refuse_unclear_order(attributes: Attributes, pixel: Element) -> None:
    """In big endian, only cells of 8 bits, of 16 in OW, and bits in OB are written in one way."""
    allocated = attributes.number(0x00280100, 0) or 0
    clear = (1, 8) if pixel.vr == "OB" else (8, 16)
    if pixel.tag == PIXEL_DATA and allocated not in clear:
        raise Permanent("programs disagree on the byte order of such pixels", reason="syntax")


def _decompressed(data: DataSet, target: Encoding, codecs: Codecs, workers: int) -> tuple[Part, ...]:
    syntax = data.payload.transfer_syntax_uid
    pixel = data.pixel
    decoder = codecs.decoder(syntax)
    if pixel is None or pixel.tag != PIXEL_DATA:
        raise Permanent("this transfer syntax cannot be decompressed here", reason="syntax")
    attributes = Attributes(data.header())
    try:
        image = Image.of(attributes)
        if image.allocated not in (8, 16, 32):
            raise Permanent("pixels of this depth cannot be decompressed here", reason="syntax")
        if image.native_bytes + 1 >= UNDEFINED:
            raise Permanent("the pixel data is larger than 4 GiB without compression", reason="syntax")
        frames = foreign_frames(image, data.view, pixel, decoder, workers)
    except LeaveAsIs as left:
        raise Permanent(f"the pixel data cannot be decompressed: {left.reason}", reason="syntax") from left
    changes: dict[int, bytes | None] = dict.fromkeys((0x7FE00000, 0x7FE00001, 0x7FE00002))
    changes.update(dict.fromkeys(_compressed_icons(attributes)))
    colour = _colour(image, decoder)
    if colour != image.photometric:
        changes[0x00280004] = element(0x00280004, "CS", colour.encode("ascii"))
    if image.samples > 1:
        changes[0x00280006] = number(0x00280006, 0)
    if syntax in ALWAYS_LOSSY:
        changes[0x00282110] = element(0x00282110, "CS", b"01")
    header = splice(attributes.header, changes)
    if target.big:
        raise Permanent("compressed pixels are not decompressed to big endian", reason="syntax")
    budget.need(image.native_bytes * (1 if target == EXPLICIT_LITTLE else 3) + image.work_bytes)
    cells = [frames.cells(index) for index in range(image.frames)]
    if image.native_bytes % 2:
        cells.append(b"\0")
    vr = "OW" if image.allocated > 8 else "OB"
    tail = data.tail(attributes.header)
    start = head(PIXEL_DATA, vr, sum(map(len, cells)), EXPLICIT_LITTLE)
    if target == EXPLICIT_LITTLE:
        return (header + start, *cells, tail)
    whole = b"".join((start, *cells))
    context = header
    return (
        recode(header, EXPLICIT_LITTLE, target),
        recode(whole, EXPLICIT_LITTLE, target, context=context),
        recode(tail, EXPLICIT_LITTLE, target, context=context),
    )


def _compressed_icons(attributes: Attributes) -> list[int]:
    """Sequences with compressed thumbnails, which no native syntax can carry (PS3.5 section A.4)."""
    return [
        found.tag
        for found in attributes.elements.values()
        if found.vr in ("SQ", "UN") and _FRAGMENTED in attributes.header[found.value : found.end]
    ]


def _colour(image: Image, decoder: Decoder) -> str:
    """The photometric interpretation of decoded frames, whose samples are all there, pixel by pixel."""
    if image.samples == 1:
        return image.photometric
    if _is_rgb_now(image, decoder):
        return "RGB"
    if image.photometric == "YBR_FULL_422":
        # Native YBR_FULL_422 has half the chrominance samples (PS3.3 section C.7.6.3.1.2).
        return "YBR_FULL"
    if image.photometric in ("YBR_PARTIAL_422", "YBR_PARTIAL_420"):
        raise Permanent(f"there are no native frames in {image.photometric}", reason="syntax")
    return image.photometric


def _is_rgb_now(image: Image, decoder: Decoder) -> bool:
    """Whether decoding gave RGB: libjpeg does for lossy JPEG, OpenJPEG undoes component transforms."""
    return decoder.gives_rgb or image.photometric in _COMPONENT_TRANSFORMS
