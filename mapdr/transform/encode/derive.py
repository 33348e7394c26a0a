"""What the header of a compressed image must say (PS3.3 sections C.7.6.1.1.2, C.7.6.1.1.5; PS3.5 8.2.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from mapdr.dicom.uids import derived_uid
from mapdr.dicom.write import element, item, number, with_item
from mapdr.transform.encode.quality import Padding
from mapdr.transform.image import Attributes, Image

Changes = dict[int, bytes | None]

DESCRIPTION_LIMIT = 1024
"""Characters of an ST value (PS3.5 table 6.2-1)."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a lossy step did: how much smaller than native, the method's term, and the padding afterwards."""

    ratio: float
    method: str
    padding: Padding | None = None


def pixel_changes(image: Image, photometric: str) -> Changes:
    """Changes that follow from the codestream: colour, planes, and cells that begin at bit 0."""
    changes: Changes = {}
    if photometric != image.photometric:
        changes[0x00280004] = element(0x00280004, "CS", photometric.encode("ascii"))
    if image.samples > 1:
        changes[0x00280006] = number(0x00280006, 0)
    if image.high != image.stored - 1:
        changes[0x00280102] = number(0x00280102, image.stored - 1)
    return changes


def overlay_changes(image: Image, cells: bytes) -> Changes:
    """Overlays taken out of unused pixel bits, which no codestream carries, into Overlay Data."""
    changes: Changes = {}
    for group in image.overlays:
        base = group << 16
        changes[base | 0x0100] = number(base | 0x0100, 1)
        changes[base | 0x0102] = number(base | 0x0102, 0)
        changes[base | 0x3000] = element(base | 0x3000, "OW", image.overlay_bits(cells, group))
    return changes


def new_uid(site_key: bytes, original_uid: str, frames: Sequence[bytes]) -> str:
    """The SOP Instance UID of an image that is encoded as `frames`, with other pixels than the original's."""
    digest = hashlib.blake2b(digest_size=32)
    for frame in frames:
        digest.update(len(frame).to_bytes(8, "little"))
        digest.update(frame)
    return derived_uid(site_key, original_uid, digest.digest())


def uid_changes(uid: str) -> Changes:
    """Another image has another SOP Instance UID."""
    return {0x00080018: element(0x00080018, "UI", uid.encode("ascii"))}


def lossy_changes(image: Image, loss: Loss, sop_class_uid: str, original_uid: str) -> Changes:
    """Everything but its UID that says *this is a lossy copy of another image*."""
    attributes = image.attributes
    ratio = f"{loss.ratio:.2f}"
    changes: Changes = {
        0x00080008: element(0x00080008, "CS", _derived(attributes)),
        0x00282110: element(0x00282110, "CS", b"01"),
        0x00282112: element(0x00282112, "DS", _appended(attributes, 0x00282112, ratio)),
        0x00282114: element(0x00282114, "CS", _appended(attributes, 0x00282114, loss.method)),
        0x00280106: None,
        0x00280107: None,
    }
    _describe(changes, attributes, f"Lossy compression {loss.method} {ratio}:1")
    code = _code("113040", "Lossy Compression")
    changes[0x00089215] = with_item(
        attributes.header, attributes.elements.get(0x00089215), 0x00089215, item(code)
    )
    source = item(
        [
            element(0x00081150, "UI", sop_class_uid.encode("ascii")),
            element(0x00081155, "UI", original_uid.encode("ascii")),
            element(0x0040A170, "SQ", item(_code("121320", "Uncompressed predecessor"))),
        ]
    )
    changes[0x00082112] = with_item(
        attributes.header, attributes.elements.get(0x00082112), 0x00082112, source
    )
    if loss.padding is not None:
        changes.update(_padding(image, loss.padding))
    return changes


def _derived(attributes: Attributes) -> bytes:
    values = attributes.value(0x00080008).rstrip(b" \0").split(b"\\")
    return b"\\".join([b"DERIVED", *(values[1:] or [b"PRIMARY"])])


def _appended(attributes: Attributes, tag: int, value: str) -> bytes:
    old = attributes.value(tag).rstrip(b" \0")
    return old + b"\\" + value.encode("ascii") if old else value.encode("ascii")


def _describe(changes: Changes, attributes: Attributes, text: str) -> None:
    old = attributes.value(0x00082111).rstrip(b" \0")
    # Text in any character set ends in its initial state (PS3.5 section 6.1.2.5.3): ASCII may follow.
    new = old + b"; " + text.encode("ascii") if old else text.encode("ascii")
    if len(new) <= DESCRIPTION_LIMIT:
        changes[0x00082111] = element(0x00082111, "ST", new)


def _code(value: str, meaning: str) -> list[bytes]:
    return [
        element(0x00080100, "SH", value.encode("ascii")),
        element(0x00080102, "SH", b"DCM"),
        element(0x00080104, "LO", meaning.encode("ascii")),
    ]


def _padding(image: Image, padding: Padding) -> Changes:
    """Padding becomes a range: a lossy codec moves each padded pixel by a little (PS3.3 C.7.5.1.1.2)."""
    vr = "SS" if image.signed else "US"
    # The value is the end that is farthest from the image's contrast, the limit the nearest.
    ends = (padding.low, padding.high)
    value, limit = reversed(ends) if image.photometric == "MONOCHROME1" else ends
    return {0x00280120: number(0x00280120, value, vr), 0x00280121: number(0x00280121, limit, vr)}
