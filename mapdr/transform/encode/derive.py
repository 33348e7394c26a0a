"""What the header of a compressed image must say (PS3.3 sections C.7.6.1.1.2, C.7.6.1.1.5; PS3.5 8.2.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from mapdr.dicom import tags
from mapdr.dicom.uids import RLE_LOSSLESS, derived_uid
from mapdr.dicom.write import element, item, number, with_item
from mapdr.kernel.item import is_uid
from mapdr.transform.encode.groups import (
    Node,
    derived_groups,
    derived_type,
    has_groups,
    with_evidence,
)
from mapdr.transform.encode.quality import Padding
from mapdr.transform.image import Attributes, Frames, Image

Changes = dict[int, bytes | None]
Code = tuple[str, str]
"""Code Value and Code Meaning."""

_LOSSY = ("113040", "Lossy Compression")
_PREDECESSOR = ("121320", "Uncompressed predecessor")
_PROCESSED = ("121322", "Source image for image processing operation")
"""Codes of DCM (PS3.16, CID 7203 and CID 7202)."""
DESCRIPTION_LIMIT = 1024
"""Characters of an ST value (PS3.5 table 6.2-1)."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a lossy step did: how much smaller than native, the method's term, and the padding afterwards."""

    ratio: float
    method: str
    padding: Padding | None = None


def pixel_changes(image: Image, photometric: str, syntax: str) -> Changes:
    """Changes that follow from a codestream of `syntax`: colour, planes, and cells that begin at bit 0.

    RLE keeps samples by plane, whatever Planar Configuration says; ultrasound knows YBR_FULL with 1 alone
    (PS3.3 section C.8.5.6.1.16).
    """
    changes: Changes = {}
    if photometric != image.photometric:
        changes[tags.PHOTOMETRIC_INTERPRETATION] = element(
            tags.PHOTOMETRIC_INTERPRETATION, "CS", photometric.encode("ascii")
        )
    if image.samples > 1:
        by_plane = syntax == RLE_LOSSLESS and photometric == "YBR_FULL"
        changes[tags.PLANAR_CONFIGURATION] = number(tags.PLANAR_CONFIGURATION, int(by_plane))
    if image.high != image.stored - 1 and not image.whole:
        changes[tags.HIGH_BIT] = number(tags.HIGH_BIT, image.stored - 1)
    return changes


def overlay_changes(frames: Frames) -> Changes:
    """Overlays taken out of unused pixel bits, which no codestream carries, into Overlay Data.

    Bits are packed, the first pixel in the lowest one (PS3.5 section 8.1.2), those of each frame right behind
    those of the one before it (PS3.3 section C.9.3).
    """
    changes: Changes = {}
    image = frames.image
    for group in image.overlays:
        base = group << 16
        packed = b"".join(_packed_overlay(frames, group))
        changes[base | 0x0100] = number(base | 0x0100, 1)
        changes[base | 0x0102] = number(base | 0x0102, 0)
        changes[base | 0x3000] = element(base | 0x3000, "OW", packed)
        if image.frames > 1:
            changes[base | 0x0015] = element(base | 0x0015, "IS", str(image.frames).encode("ascii"))
            changes[base | 0x0051] = number(base | 0x0051, 1)
    return changes


def _packed_overlay(frames: Frames, group: int) -> Iterator[bytes]:
    """The bits of an overlay in the cells of all frames, eight frames at a time: they end with a byte."""
    image = frames.image
    for first in range(0, image.frames, 8):
        some = range(first, min(first + 8, image.frames))
        bits = np.concatenate([image.overlay_bits(frames.cells(index), group) for index in some])
        yield np.packbits(bits, bitorder="little").tobytes()


class FrameDigest:
    """Tells images by their frames, which are added in their order."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=32)

    def add(self, frame: bytes) -> None:
        """The next frame: its codestream, or its cells."""
        self._digest.update(len(frame).to_bytes(8, "little"))
        self._digest.update(frame)

    def uid(self, site_key: bytes, original_uid: str) -> str:
        """The SOP Instance UID of an image of these frames, with other pixels than the original's."""
        return derived_uid(site_key, original_uid, self._digest.digest())


def new_uid(site_key: bytes, original_uid: str, frames: Iterable[bytes]) -> str:
    """The SOP Instance UID of an image that is encoded as `frames`, with other pixels than the original's."""
    digest = FrameDigest()
    for frame in frames:
        digest.add(frame)
    return digest.uid(site_key, original_uid)


def uid_changes(uid: str) -> Changes:
    """Another image has another SOP Instance UID."""
    return {tags.SOP_INSTANCE_UID: element(tags.SOP_INSTANCE_UID, "UI", uid.encode("ascii"))}


def blanked_changes(attributes: Attributes) -> Changes:
    """Everything but its UID that says *this image was made of another one, with regions blanked*."""
    return _processed_changes(attributes, "Regions of pixels blanked")


def recoloured_changes(attributes: Attributes, photometric: str, lost: int) -> Changes:
    """Everything but its UID and its colours that says *this image is RGB, and was in `photometric`*.

    Where all pixels come back it is the same image, written otherwise. Else it was made of another one:
    `lost` pixels had colours that RGB has not. It was not compressed, which is what Lossy Image Compression
    tells (PS3.3 section C.7.6.1.1.5).
    """
    if lost:
        return _processed_changes(attributes, f"{photometric} to RGB, {lost} pixels out of its range cut off")
    return dict(_OF_OTHER_VALUES)


_OF_OTHER_VALUES: Changes = {tags.SMALLEST_IMAGE_PIXEL_VALUE: None, tags.LARGEST_IMAGE_PIXEL_VALUE: None}
"""What is not said any more of pixels with other values."""


def _processed_changes(attributes: Attributes, description: str) -> Changes:
    """Everything but its UID that says *this image was made of another one*.

    Image Type stays where functional groups repeat it frame by frame, as Frame Type (PS3.3 C.7.6.16.2).
    """
    changes: Changes = dict(_OF_OTHER_VALUES)
    if not has_groups(attributes):
        changes[tags.IMAGE_TYPE] = element(tags.IMAGE_TYPE, "CS", _derived(attributes))
    _describe(changes, attributes, description)
    sop_class, uid = attributes.text(tags.SOP_CLASS_UID), attributes.text(tags.SOP_INSTANCE_UID)
    if is_uid(sop_class) and is_uid(uid):
        changes[tags.SOURCE_IMAGE_SEQUENCE] = _source(attributes, sop_class, uid, _PROCESSED)
    return changes


def lossy_changes(image: Image, loss: Loss, sop_class_uid: str, original_uid: str) -> Changes:
    """Everything but its UID that says *this is a lossy copy of another image*."""
    changes = method_changes(image.attributes, loss.method)
    return changes | loss_changes(image, loss, sop_class_uid, original_uid)


def method_changes(attributes: Attributes, method: str) -> Changes:
    """The part of `lossy_changes` that is the same for all images whose headers say the same, whatever the
    codec makes of their pixels."""
    changes: Changes = {
        tags.IMAGE_TYPE: element(tags.IMAGE_TYPE, "CS", _derived(attributes)),
        tags.LOSSY_IMAGE_COMPRESSION: element(tags.LOSSY_IMAGE_COMPRESSION, "CS", b"01"),
        tags.LOSSY_IMAGE_COMPRESSION_METHOD: element(
            tags.LOSSY_IMAGE_COMPRESSION_METHOD,
            "CS",
            _appended(attributes, tags.LOSSY_IMAGE_COMPRESSION_METHOD, method),
        ),
        **_OF_OTHER_VALUES,
    }
    if not has_groups(attributes):
        changes[tags.DERIVATION_CODE_SEQUENCE] = with_item(
            attributes.header,
            attributes.element(tags.DERIVATION_CODE_SEQUENCE),
            tags.DERIVATION_CODE_SEQUENCE,
            _coded(_LOSSY),
        )
    return changes


def loss_changes(image: Image, loss: Loss, sop_class_uid: str, original_uid: str) -> Changes:
    """The part of `lossy_changes` that each image has of its own."""
    attributes = image.attributes
    ratio = f"{loss.ratio:.2f}"
    tag = tags.LOSSY_IMAGE_COMPRESSION_RATIO
    changes: Changes = {tag: element(tag, "DS", _appended(attributes, tag, ratio))}
    description = f"Lossy compression {loss.method} {ratio}:1"
    if has_groups(attributes):
        changes.update(_derived_frames(attributes, description, sop_class_uid, original_uid))
    else:
        _describe(changes, attributes, description)
        changes[tags.SOURCE_IMAGE_SEQUENCE] = _source(attributes, sop_class_uid, original_uid, _PREDECESSOR)
    if loss.padding is not None:
        changes.update(_padding(image, loss.padding))
    return changes


def _derived_frames(attributes: Attributes, description: str, sop_class_uid: str, uid: str) -> Changes:
    """The same, where functional groups say it of each frame (PS3.3 section C.7.6.16.2.6)."""
    derivation: list[Node] = [
        (tags.DERIVATION_DESCRIPTION, "ST", description.encode("ascii")),
        (tags.DERIVATION_CODE_SEQUENCE, "SQ", _code_nodes(*_LOSSY)),
    ]
    instance: list[Node] = [
        (tags.REFERENCED_SOP_CLASS_UID, "UI", sop_class_uid.encode("ascii")),
        (tags.REFERENCED_SOP_INSTANCE_UID, "UI", uid.encode("ascii")),
    ]
    purpose = (tags.PURPOSE_OF_REFERENCE_CODE_SEQUENCE, "SQ", _code_nodes(*_PREDECESSOR))
    changes: Changes = dict(derived_groups(attributes.header, derivation, [*instance, purpose]))
    study, series = map(attributes.value, (tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID))
    changes[tags.SOURCE_IMAGE_EVIDENCE_SEQUENCE] = with_evidence(attributes.header, study, series, instance)
    return changes


def _source(attributes: Attributes, sop_class_uid: str, uid: str, purpose: Code) -> bytes:
    """Source Image Sequence with one more image, which was used for `purpose`."""
    added = item(
        [
            element(tags.REFERENCED_SOP_CLASS_UID, "UI", sop_class_uid.encode("ascii")),
            element(tags.REFERENCED_SOP_INSTANCE_UID, "UI", uid.encode("ascii")),
            _purpose(purpose),
        ]
    )
    tag = tags.SOURCE_IMAGE_SEQUENCE
    return with_item(attributes.header, attributes.element(tag), tag, added)


def _derived(attributes: Attributes) -> bytes:
    return derived_type(attributes.value(tags.IMAGE_TYPE))


def _appended(attributes: Attributes, tag: int, value: str) -> bytes:
    old = attributes.value(tag).rstrip(b" \0")
    return old + b"\\" + value.encode("ascii") if old else value.encode("ascii")


def _describe(changes: Changes, attributes: Attributes, text: str) -> None:
    old = attributes.value(tags.DERIVATION_DESCRIPTION).rstrip(b" \0")
    # Text in any character set ends in its initial state (PS3.5 section 6.1.2.5.3): ASCII may follow.
    new = old + b"; " + text.encode("ascii") if old else text.encode("ascii")
    if len(new) <= DESCRIPTION_LIMIT:
        changes[tags.DERIVATION_DESCRIPTION] = element(tags.DERIVATION_DESCRIPTION, "ST", new)


def _code_nodes(value: str, meaning: str) -> list[tuple[int, str, bytes]]:
    return [
        (tags.CODE_VALUE, "SH", value.encode("ascii")),
        (tags.CODING_SCHEME_DESIGNATOR, "SH", b"DCM"),
        (tags.CODE_MEANING, "LO", meaning.encode("ascii")),
    ]


@cache
def _coded(code: Code) -> bytes:
    """An item of a code of DCM: one of the few of this module."""
    return item([element(tag, vr, content) for tag, vr, content in _code_nodes(*code)])


@cache
def _purpose(code: Code) -> bytes:
    """Purpose of Reference Code Sequence."""
    return element(tags.PURPOSE_OF_REFERENCE_CODE_SEQUENCE, "SQ", _coded(code))


def _padding(image: Image, padding: Padding) -> Changes:
    """Padding becomes a range: a lossy codec moves each padded pixel by a little (PS3.3 C.7.5.1.1.2)."""
    vr = "SS" if image.signed else "US"
    # The value is the end that is farthest from the image's contrast, the limit the nearest.
    ends = (padding.low, padding.high)
    value, limit = reversed(ends) if image.photometric == "MONOCHROME1" else ends
    return {
        tags.PIXEL_PADDING_VALUE: number(tags.PIXEL_PADDING_VALUE, value, vr),
        tags.PIXEL_PADDING_RANGE_LIMIT: number(tags.PIXEL_PADDING_RANGE_LIMIT, limit, vr),
    }
