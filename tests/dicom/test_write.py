"""Elements walked, encoded and spliced into headers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapdr.dicom import write
from mapdr.dicom.scan import Unreadable
from mapdr.dicom.write import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Encoding,
    element,
    encoding_of,
    item,
    number,
    splice,
    walk,
    with_item,
)
from mapdr.kernel.errors import Permanent

UNDEFINED_SQ = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
OPEN_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def tags(data: bytes, encoding: Encoding = EXPLICIT_LITTLE) -> list[int]:
    return [found.tag for found in walk(data, encoding)]


@pytest.mark.parametrize(
    ("uid", "encoding"),
    [
        ("1.2.840.10008.1.2", IMPLICIT_LITTLE),
        ("1.2.840.10008.1.2.1", EXPLICIT_LITTLE),
        ("1.2.840.10008.1.2.2", EXPLICIT_BIG),
        ("1.2.840.10008.1.2.4.90", EXPLICIT_LITTLE),
    ],
)
def test_encodings(uid: str, encoding: Encoding) -> None:
    assert encoding_of(uid) == encoding


def test_sequences_of_undefined_length_are_one_element() -> None:
    inner = UNDEFINED_SQ + OPEN_ITEM + number(0x00280010, 3) + ITEM_END + item([]) + SEQUENCE_END
    data = UNDEFINED_SQ + OPEN_ITEM + inner + ITEM_END + SEQUENCE_END + number(0x00280010, 7)
    first, second = walk(data, EXPLICIT_LITTLE)
    assert (first.tag, first.undefined, first.end) == (0x00081140, True, len(data) - 10)
    assert data[second.value : second.end] == b"\x07\0"


def test_deep_nesting_is_walked_and_endless_is_refused() -> None:
    depth = 250
    data = (UNDEFINED_SQ + OPEN_ITEM) * depth + (ITEM_END + SEQUENCE_END) * depth
    assert tags(data) == [0x00081140]
    deeper = (UNDEFINED_SQ + OPEN_ITEM) * 20_000 + (ITEM_END + SEQUENCE_END) * 20_000
    with pytest.raises(Unreadable) as caught:
        tags(deeper)
    assert caught.value.reason == "too-deep"


def test_un_of_undefined_length_holds_implicit_items() -> None:
    content = OPEN_ITEM + struct.pack("<HHI2s", 0x0028, 0x0010, 2, b"\1\0") + ITEM_END + SEQUENCE_END
    data = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + content
    assert tags(data + number(0x00280010, 7)) == [0x00091001, 0x00280010]


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\0\x08",
        b"\x08\0\x08\0??\1\0",
        element(0x00080008, "CS", b"ORIGINAL")[:-1],
        UNDEFINED_SQ + OPEN_ITEM,
        UNDEFINED_SQ + number(0x00280010, 7),
        struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFF0),
    ],
)
def test_what_cannot_be_walked_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        tags(data)
    assert caught.value.reason in ("truncated", "bad-item")


@given(st.binary(max_size=200), st.sampled_from([IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG]))
def test_any_bytes_end_in_elements_or_unreadable(data: bytes, encoding: Encoding) -> None:
    try:
        ends = [found.end for found in walk(data, encoding)]
    except Unreadable:
        pass
    else:
        assert ends == sorted(ends)


@pytest.mark.parametrize(("vr", "pad"), [("UI", b"\0"), ("OB", b"\0"), ("CS", b" "), ("ST", b" ")])
def test_values_are_padded_as_their_vr_wants(vr: str, pad: bytes) -> None:
    assert element(0x00080008, vr, b"1.2").endswith(b"1.2" + pad)


def test_a_value_too_long_for_its_length_field_is_refused() -> None:
    with pytest.raises(ValueError, match="70000"):
        element(0x00080008, "LO", b"x" * 70_000)


HEADER = [
    element(0x00080008, "CS", b"ORIGINAL"),
    element(0x00080018, "UI", b"1.2.3"),
    number(0x00280010, 7),
    element(0x00280030, "DS", b"1\\2"),
]


@given(
    st.dictionaries(
        st.sampled_from([0x00080005, 0x00080018, 0x00200010, 0x00280030, 0x00400001]),
        st.sampled_from([b"", b"new", None]),
    )
)
def test_only_what_is_named_changes(named: dict[int, bytes | None]) -> None:
    changes = {tag: None if value is None else element(tag, "LO", value) for tag, value in named.items()}
    after = splice(b"".join(HEADER), changes)
    expected = {
        found.tag: b"".join(HEADER)[found.start : found.end]
        for found in walk(b"".join(HEADER), EXPLICIT_LITTLE)
    }
    for tag, value in changes.items():
        expected.pop(tag, None)
        if value is not None:
            expected[tag] = value
    assert after == b"".join(expected[tag] for tag in sorted(expected))


def test_group_lengths_follow_their_group_and_no_other() -> None:
    wrong = number(0x00280000, 9999, "UL")
    data = number(0x00080000, 30, "UL") + HEADER[0] + HEADER[1] + wrong + HEADER[2]
    after = splice(data, {0x00080018: element(0x00080018, "UI", b"1.2.3.4.5.6")})
    first = walk(after, EXPLICIT_LITTLE)[0]
    group = [found for found in walk(after, EXPLICIT_LITTLE) if found.tag >> 16 == 8]
    assert struct.unpack("<I", after[first.value : first.end])[0] == group[-1].end - first.end
    assert wrong in after


@pytest.mark.parametrize("value", [b"", b"\1\0"])
def test_a_group_length_that_says_none_stays(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not made up where none was told, by whatever way the header is changed."""
    length = element(0x00080000, "UL", value)
    changes = {0x00080018: element(0x00080018, "UI", b"1.2.3.4")}
    wanted = length + HEADER[0] + changes[0x00080018]
    assert splice(length + HEADER[0] + HEADER[1], changes) == wanted
    monkeypatch.setattr(write, "_spliced", lambda header, changes: None)
    assert splice(length + HEADER[0] + HEADER[1], changes) == wanted


@pytest.mark.parametrize("undefined", [False, True])
def test_an_item_is_put_at_the_end_of_a_sequence(undefined: bool) -> None:
    first, second = item([number(0x00280010, 1)]), item([number(0x00280010, 2)])
    old = UNDEFINED_SQ + first + SEQUENCE_END if undefined else element(0x00081140, "SQ", first)
    (found,) = walk(old, EXPLICIT_LITTLE)
    after = with_item(old, found, 0x00081140, second)
    assert tags(after) == [0x00081140]
    assert first + second in after
    assert with_item(b"", None, 0x00081140, second) == element(0x00081140, "SQ", second)


@pytest.mark.parametrize("vr", ["OB", "UN", "LO"])
def test_an_item_is_put_to_sequences_only(vr: str) -> None:
    for value in (b"", b"12345678"):
        header = element(0x00082112, vr, value)
        (old,) = walk(header, EXPLICIT_LITTLE)
        if value:
            with pytest.raises(Permanent, match=r"\(0008,2112\) at byte 0") as caught:
                with_item(header, old, 0x00082112, item([]))
            assert caught.value.reason == "vr"
        else:
            assert with_item(header, old, 0x00082112, item([])) == element(0x00082112, "SQ", item([]))


# --- In one stroke, and piece by piece

VALUES = {"LO": b"AB", "US": b"\1\0", "OB": b"\0\1\2\3"}
GROUPS = (0x0008, 0x0010, 0x0028, 0x7FE0)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """A header: mostly in order and regular, some with lengths of groups that are right or wrong."""
    found = b""
    for group in GROUPS:
        numbers = draw(st.lists(st.integers(1, 6), unique=True, max_size=4).map(sorted))
        inside = b""
        for each in numbers:
            vr = draw(st.sampled_from([*VALUES, "SQ"]))
            value = VALUES.get(vr) or item([number(0x00280010, each)])
            inside += element(group << 16 | each, vr, value)
        if draw(st.integers(0, 3)) == 0:
            off = draw(st.sampled_from([0, 0, 0, 2, None]))
            length = b"" if off is None else struct.pack("<L", len(inside) + off)
            inside = element(group << 16, "UL", length) + inside
        found += inside
    if draw(st.integers(0, 9)) == 0:
        found += element(0x00080009, "LO", b"late")
    return found


CHANGES = st.dictionaries(
    st.builds(lambda group, each: group << 16 | each, st.sampled_from(GROUPS), st.integers(0, 7)),
    st.one_of(st.none(), st.just(b"new element here")),
    max_size=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(header=headers(), changes=CHANGES)
def test_a_header_is_changed_in_one_stroke_as_it_is_piece_by_piece(
    header: bytes, changes: dict[int, bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = splice(header, changes)
    with monkeypatch.context() as patch:
        patch.setattr(write, "_spliced", lambda header, changes: None)
        assert made == splice(header, changes)


def test_a_regular_header_is_changed_in_one_stroke(monkeypatch: pytest.MonkeyPatch) -> None:
    header = number(0x00280010, 3) + number(0x00280011, 4)
    monkeypatch.setattr(write, "_with_group_lengths", None)
    made = splice(header, {0x00280011: None, 0x00280008: element(0x00280008, "IS", b"2")})
    assert made == element(0x00280008, "IS", b"2") + number(0x00280010, 3)
