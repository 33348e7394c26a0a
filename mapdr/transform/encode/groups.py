"""What functional groups say of frames that were compressed with loss (PS3.3 section C.7.6.16.2)."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from mapdr import _fast
from mapdr._fast.scan_tables import EXPLICIT
from mapdr.dicom import tags
from mapdr.dicom.tree import DataElement, Level

Node = tuple[int, str, "bytes | Sequence[Node]"]
"""An element to write: tag, VR, and its value, or the elements of its only item."""

_FRAME_TYPE = b"\x08\x00\x07\x90"
"""How Frame Type begins in little endian: groups without it need not be opened."""
_GROUPS = (tags.SHARED_FUNCTIONAL_GROUPS_SEQUENCE, tags.PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)


def has_groups(elements: Container[int]) -> bool:
    """Whether a data set with these tags describes its frames in functional groups."""
    return any(tag in elements for tag in _GROUPS)


def derived_groups(header: bytes, derivation: Sequence[Node], source: Sequence[Node]) -> dict[int, bytes]:
    """The sequences of functional groups of `header`, whose frames were all derived, by tag.

    Value 1 of Frame Type becomes DERIVED. An item of Derivation Image Sequence says how: `derivation`, and
    `source` in its Source Image Sequence, for each frame where frames had such items before, else for all of
    them together. `header` is explicit VR little endian. Raises Unreadable, and Permanent ("too-deep").
    """
    found = [place for place in _fast.elements(header, 0, len(header), EXPLICIT)[0] if place.tag in _GROUPS]
    top = Level(header, EXPLICIT, found)
    for group in _groups(top):
        _derive_type(group)
    shared, frames = (top.find(tag) for tag in _GROUPS)
    per_frame = frames.open() if frames else []
    if any(group.find(tags.DERIVATION_IMAGE_SEQUENCE) for group in per_frame) or shared is None:
        for number, group in enumerate(per_frame, 1):
            frame = (tags.REFERENCED_FRAME_NUMBER, "IS", str(number).encode("ascii"))
            _derive(group, derivation, (*source, frame))
    else:
        items = shared.open()
        _derive(items[0] if items else Level.new_item(shared), derivation, source)
    return {element.tag: element.write() for element in top.elements}


def with_evidence(header: bytes, study: bytes, series: bytes, instance: Sequence[Node]) -> bytes:
    """Source Image Evidence Sequence of `header` with `instance`, an image of that study and series.

    It lists what Source Image Sequences of functional groups refer to (PS3.3 table C.8-83 and others).
    """
    tag = tags.SOURCE_IMAGE_EVIDENCE_SEQUENCE
    found = [place for place in _fast.elements(header, 0, len(header), EXPLICIT)[0] if place.tag == tag]
    top = Level(header, EXPLICIT, found)
    evidence = top.find(tag) or top.add(tag, "SQ")
    in_study = _listed(evidence, tags.STUDY_INSTANCE_UID, study)
    of_study = in_study.find(tags.REFERENCED_SERIES_SEQUENCE) or in_study.add(
        tags.REFERENCED_SERIES_SEQUENCE, "SQ"
    )
    in_series = _listed(of_study, tags.SERIES_INSTANCE_UID, series)
    of_series = in_series.find(tags.REFERENCED_SOP_SEQUENCE) or in_series.add(
        tags.REFERENCED_SOP_SEQUENCE, "SQ"
    )
    _put(of_series, instance)
    return evidence.write()


def _listed(sequence: DataElement, tag: int, uid: bytes) -> Level:
    """The item of `sequence` that is about `uid`: one that is there, or a new one."""
    for item in sequence.open():
        named = item.find(tag)
        if named is not None and named.raw.rstrip(b" \0") == uid.rstrip(b" \0"):
            return item
    item = Level.new_item(sequence)
    _put(item.add(tag, "UI"), uid.rstrip(b" \0"))
    return item


def _groups(top: Level) -> Iterator[Level]:
    for sequence in top.elements:
        yield from sequence.open()


def _derive_type(group: Level) -> None:
    for sequence in group.elements:
        if not sequence.is_sequence() or _FRAME_TYPE not in sequence.original():
            continue
        for item in sequence.open():
            frame_type = item.find(tags.FRAME_TYPE)
            if frame_type is not None and not frame_type.is_sequence():
                frame_type.data = derived_type(frame_type.raw)


def derived_type(value: bytes) -> bytes:
    """Image Type or Frame Type of a derived image: its first value is DERIVED, of an even length."""
    values = value.rstrip(b" \0").split(b"\\")
    made = b"\\".join([b"DERIVED", *(values[1:] or [b"PRIMARY"])])
    return made + b" " * (len(made) & 1)


def _derive(group: Level, derivation: Sequence[Node], source: Sequence[Node]) -> None:
    sequence = group.find(tags.DERIVATION_IMAGE_SEQUENCE)
    if sequence is None:
        sequence = group.add(tags.DERIVATION_IMAGE_SEQUENCE, "SQ")
    item = Level.new_item(sequence)
    for tag, vr, value in (*derivation, (tags.SOURCE_IMAGE_SEQUENCE, "SQ", source)):
        _put(item.add(tag, vr), value)


def _put(element: DataElement, value: bytes | Sequence[Node]) -> None:
    if isinstance(value, bytes):
        padding = b"\0" if element.vr_name == "UI" else b" "
        element.data = value + padding * (len(value) & 1)
        return
    item = Level.new_item(element)
    for tag, vr, inner in value:
        _put(item.add(tag, vr), inner)
