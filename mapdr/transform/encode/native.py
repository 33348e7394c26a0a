"""A document in a native transfer syntax: written otherwise, decompressed, or with pixels that steps changed.

Native to native changes how bytes are written, nothing that they say. Decompressing keeps the SOP Instance
UID and every flag of loss: the pixels are what the receiver of the codestream would see. Compressed icons
are decompressed too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mapdr.dicom import tags
from mapdr.dicom.recode import recode
from mapdr.dicom.scan import deflating
from mapdr.dicom.tags import PIXEL_DATA
from mapdr.dicom.transfer_syntax import NATIVE, is_deflated
from mapdr.dicom.write import (
    EXPLICIT_LITTLE,
    LONG_VRS,
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
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Part, Payload, Treatment, total_length
from mapdr.kernel.stage import Settings
from mapdr.transform.dataset import DataSet
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.derive import FrameDigest, uid_changes
from mapdr.transform.encode.icons import native_icons
from mapdr.transform.fragments import OF_OTHER_FRAGMENTS
from mapdr.transform.image import Attributes, Image, LeaveAsIs
from mapdr.transform.scratch import Scratch


def native(document: OpenImage, target: str, settings: Settings) -> Payload:
    """The payload of `document` in the native transfer syntax `target`, with the pixels that its frames have.

    Raises Permanent: "syntax" when there is no way to `target`, "unreadable", and what decoding raises
    ("fragments", "codec", "codec-crash", "codec-mismatch"); and Temporary where the disk has no room for what
    is too large for the memory. An image whose pixels a step has changed gets another UID.
    """
    payload, data, scratch = document.payload, document.data, Scratch.of(settings)
    if target not in NATIVE:
        raise Permanent("only native transfer syntaxes can be re-encoded to", reason="syntax")
    if data.pixel is not None and data.pixel.end > len(data.view):
        raise Permanent("the pixel data is cut off; it can only be relayed", reason="truncated")
    uid = payload.sop_instance_uid
    if data.pixel is None or (document.is_native and not document.is_rewritten):
        parts, treatment = _recoded(data, encoding_of(target)), Treatment.REENCODED
    else:
        uid, parts = _from_frames(document, encoding_of(target), settings.site_key, scratch)
        treatment = Treatment.TRANSCODED
    if is_deflated(target):
        whole = replace(payload, parts=parts, length=total_length(parts))
        budget.need(min(whole.length, scratch.held))
        parts = scratch.gathered(deflating(whole.chunks()))
    return replace(
        payload,
        sop_instance_uid=uid,
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
    allocated = attributes.number(tags.BITS_ALLOCATED, 0) or 0
    clear = (1, 8) if pixel.vr == "OB" else (8, 16)
    if pixel.tag == PIXEL_DATA and allocated not in clear:
        raise Permanent("programs disagree on the byte order of such pixels", reason="syntax")


def _from_frames(
    document: OpenImage, target: Encoding, site_key: bytes, scratch: Scratch
) -> tuple[str, tuple[Part, ...]]:
    """The SOP Instance UID and the parts of a data set whose pixels are those of the document's frames."""
    image = _image(document)
    changes: dict[int, bytes | None] = dict.fromkeys(OF_OTHER_FRAGMENTS)
    changes.update(native_icons(document))
    colour = document.shown.photometric
    if colour != image.photometric:
        changes[tags.PHOTOMETRIC_INTERPRETATION] = element(
            tags.PHOTOMETRIC_INTERPRETATION, "CS", colour.encode("ascii")
        )
    if image.samples > 1:
        changes[tags.PLANAR_CONFIGURATION] = number(tags.PLANAR_CONFIGURATION, 0)
    if target.big:
        raise Permanent("compressed pixels are not decompressed to big endian", reason="syntax")
    budget.need(min(image.native_bytes, scratch.held) + image.work_bytes)
    digest = FrameDigest()

    def read() -> Iterator[bytes]:
        for index in range(image.frames):
            cells = document.frames.cells(index)
            if document.is_rewritten:
                digest.add(cells)
            yield cells

    pixels = scratch.gathered(read())
    uid = document.payload.sop_instance_uid
    if document.pixels_changed:
        uid = digest.uid(site_key, uid)
        changes.update(uid_changes(uid))
    header = splice(document.told.header, changes)
    length = total_length(pixels)
    if length % 2:
        pixels = (*pixels, b"\0")
    # Cells are alike in explicit and implicit VR little endian.
    start = head(PIXEL_DATA, "OW" if image.allocated > 8 else "OB", length + length % 2, target)
    if target == EXPLICIT_LITTLE:
        return uid, (header + start, *pixels, document.tail)
    tail = recode(document.tail, EXPLICIT_LITTLE, target, context=header)
    return uid, (recode(header, EXPLICIT_LITTLE, target) + start, *pixels, tail)


def _image(document: OpenImage) -> Image:
    """The image, if its frames can be had and written. Raises Permanent(reason="syntax")."""
    if document.data.pixel is None or document.data.pixel.tag != PIXEL_DATA:
        raise Permanent("this transfer syntax cannot be decompressed here", reason="syntax")
    try:
        image = document.image
        if image.allocated not in (8, 16, 32):
            raise Permanent("pixels of this depth cannot be decompressed here", reason="syntax")
        if image.native_bytes + 1 >= UNDEFINED:
            raise Permanent("the pixel data is larger than 4 GiB without compression", reason="syntax")
        _ = document.frames
    except LeaveAsIs as left:
        raise Permanent(f"the pixel data cannot be decompressed: {left.reason}", reason="syntax") from left
    return image
