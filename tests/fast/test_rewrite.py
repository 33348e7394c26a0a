"""The compiled header rewrite against its plain Python twin, and both against the scan's reference."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapdr._fast import _rewrite_py, _scan_py
from mapdr.kernel.errors import MapdrError

from .test_twins import TAGS as ODD_TAGS
from .test_twins import compiled, elements

TAGS = (0x00080005, 0x00080018, 0x00080060, 0x00081140, 0x00091001, 0x0020000D, 0x00200013, 0x00400275)
VALUES = st.none() | st.binary(max_size=12) | st.sampled_from([bytes(0xFFFE), bytes(0xFFFF), bytes(0x10000)])


def outcome(function: Any, *args: Any) -> Any:
    try:
        return function(*args)
    except ValueError as error:
        return str(error)


def check(buffer: bytes, size: int, flags: int, tags: tuple[int, ...]) -> _rewrite_py.Located | None:
    plain = _rewrite_py.locate(buffer, size, flags, tags)
    assert compiled("_rewrite").locate(buffer, size, flags, tags) == plain
    assert compiled("_rewrite").locate(memoryview(buffer), size, flags, tags) == plain
    if plain is not None:
        agrees_with_the_scan(buffer, size, flags, plain, tags)
    return plain


def agrees_with_the_scan(
    buffer: bytes, size: int, flags: int, found: _rewrite_py.Located, tags: tuple[int, ...]
) -> None:
    """What is located is where the walk, which is the older reference, sees it: without any remark."""
    whole = buffer + bytes(size - len(buffer))
    walk = _scan_py.walk(whole, size, size, flags, {}, beyond=True, max_value=0)
    assert (walk.remarks, walk.flags, walk.truncated) == (0, flags, False)
    ends = (walk.pixels.offset, walk.pixels.end) if walk.pixels else (size, size)
    assert (found.header_end, found.pixel_end) == ends
    level, _, _ = _scan_py.elements(whole, 0, found.header_end, flags)
    there = {element.tag: element for element in level}
    for tag, (offset, end, vr, raw, group_at) in zip(tags, found.spans, strict=True):
        element = there.get(tag)
        if element is None:
            following = [other.offset for other in level if other.tag > tag]
            assert (offset, end, vr, raw) == (min([*following, found.header_end]),) * 2 + (None, None)
        else:
            value = None if element.length == 0xFFFFFFFF else whole[element.value : element.end]
            assert (offset, end, vr, raw) == (element.offset, element.end, element.vr, value)
        length = there.get(tag & 0xFFFF0000)
        has_length = length and length.length == 4 and tag & 0xFFFF
        assert group_at == (length.value if length and has_length else -1)


@st.composite
def regular(draw: st.DrawFn, explicit: bool) -> bytes:
    """A data set that is regular: ascending, even, right group lengths, with or without pixel data."""
    groups: dict[int, bytes] = {}
    for tag in sorted(draw(st.sets(st.sampled_from([*TAGS, 0x00080050, 0x00400555])))):
        value = draw(st.binary(max_size=10)) * 2
        vr = draw(st.sampled_from([b"LO", b"UN", b"UI"]))
        if draw(st.integers(0, 4)) == 0:
            value, vr = struct.pack("<HHL", 0xFFFE, 0xE000, 0), b"SQ"
        undefined = vr == b"SQ" and draw(st.booleans())
        if undefined:
            value += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
        length = 0xFFFFFFFF if undefined else len(value)
        if not explicit:
            vr = b""
        head = _rewrite_py._head(tag, vr, 0, int(explicit)) or b""
        size = struct.pack("<H" if len(head) == 8 and explicit else "<L", length)
        groups[tag >> 16] = groups.get(tag >> 16, b"") + head[: -len(size)] + size + value
    out = b""
    for group, content in groups.items():
        if draw(st.booleans()):
            out += (_rewrite_py._head(group << 16, b"UL", 4, int(explicit)) or b"") + struct.pack(
                "<L", len(content)
            )
        out += content
    if draw(st.booleans()):
        pixels = draw(st.binary(max_size=8)) * 2
        out += (_rewrite_py._head(0x7FE00010, b"OW", len(pixels), int(explicit)) or b"") + pixels
        if draw(st.booleans()):
            out += (_rewrite_py._head(0xFFFCFFFC, b"OB", 2, int(explicit)) or b"") + b"\0\0"
    return out


ASKED = st.sets(st.sampled_from(TAGS)).map(sorted).map(tuple)


@settings(max_examples=300)
@given(st.data(), st.booleans(), ASKED)
def test_both_find_the_same_places_and_make_the_same_header(
    data: st.DataObject, explicit: bool, tags: tuple[int, ...]
) -> None:
    buffer = data.draw(regular(explicit))
    found = check(buffer, len(buffer), int(explicit), tags)
    if found is None:
        assert not buffer or not explicit  # implicit VR may look like explicit VR by its lengths
        return
    vrs = st.sampled_from([b"LO", b"UI", b"SQ", b"UT"])
    changes = [
        (tag, span[2] or (data.draw(vrs) if explicit else b""), span, data.draw(VALUES))
        for tag, span in zip(tags, found.spans, strict=True)
        if data.draw(st.booleans())
    ]
    made = _rewrite_py.assemble(buffer, found.header_end, int(explicit), changes)
    assert compiled("_rewrite").assemble(buffer, found.header_end, int(explicit), changes) == made
    if made is None:
        assert explicit
        assert any(raw is not None and len(raw) > 0xFFFE for *_, raw in changes)
        return
    # Located in what was made: regular again (so group lengths are right), with the new values in it.
    again = check(made, len(made), int(explicit), tags)
    if again is not None:
        for tag, _, _, raw in changes:
            if raw is None or not len(raw) & 1:
                assert again.spans[tags.index(tag)][3] == raw
    elif made:
        assert not explicit or any(raw is not None and len(raw) & 1 for *_, raw in changes)


@settings(max_examples=300)
@given(st.data(), st.booleans(), ASKED)
def test_both_leave_the_same_data_sets_to_the_reference(
    data: st.DataObject, explicit: bool, tags: tuple[int, ...]
) -> None:
    buffer = data.draw(elements(explicit) | regular(explicit))
    here = data.draw(st.integers(0, len(buffer)))
    check(buffer[:here], len(buffer), int(explicit), tags)
    check(buffer[:here], here, int(explicit), tags)


@settings(max_examples=300)
@given(st.data(), st.booleans(), ASKED)
def test_both_leave_the_same_damage_to_the_reference(
    data: st.DataObject, explicit: bool, tags: tuple[int, ...]
) -> None:
    buffer = bytearray(data.draw(regular(explicit)))
    for _ in range(data.draw(st.integers(1, 3)) if buffer else 0):
        at = data.draw(st.integers(0, len(buffer) - 1))
        buffer[at] = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFE, 0xFF)) | st.integers(0, 255))
    check(bytes(buffer), len(buffer), int(explicit), tags)


@given(st.binary(max_size=150), st.integers(0, 3))
def test_both_agree_on_any_bytes(buffer: bytes, flags: int) -> None:
    asked = tuple(sorted({*TAGS, *(tag for tag in ODD_TAGS if tag < 0x7FE00000)}))
    plain = _rewrite_py.locate(buffer, len(buffer), flags, asked)
    assert compiled("_rewrite").locate(buffer, len(buffer), flags, asked) == plain


def test_both_find_the_same_in_real_files(data: Path) -> None:
    located = 0
    for path in sorted(path for path in data.rglob("*") if path.is_file() and path.stat().st_size < 1 << 20):
        content = path.read_bytes()
        if content[128:132] != b"DICM":
            continue
        content = content[144 + struct.unpack_from("<L", content, 140)[0] :]
        for end in (len(content), 4096):
            for flags in (0, 1):
                located += check(content[:end], len(content), flags, TAGS) is not None
    assert located > 300


NUMBERS = st.integers(-20, 80) | st.sampled_from([-(2**62), 2**62])
PLACES = st.tuples(NUMBERS, NUMBERS, st.none(), st.none(), NUMBERS | st.just(-1))


@settings(max_examples=300)
@given(
    st.binary(max_size=60),
    NUMBERS,
    st.booleans(),
    st.lists(
        st.tuples(st.sampled_from(TAGS), st.sampled_from([b"LO", b"UT", b"", b"ABC"]), PLACES, VALUES),
        max_size=3,
    ),
)
def test_no_wrong_place_is_read_or_written(
    buffer: bytes, header_end: int, explicit: bool, changes: list[Any]
) -> None:
    args = (buffer, header_end, int(explicit), changes)
    assert outcome(compiled("_rewrite").assemble, *args) == outcome(_rewrite_py.assemble, *args)


@pytest.mark.parametrize("module", ["_rewrite", "_rewrite_py"])
def test_a_group_length_is_no_change(module: str) -> None:
    twin = _rewrite_py if module == "_rewrite_py" else compiled(module)
    raw = b"\x10\0\0\0UL\4\0\x0a\0\0\0\x10\0\x20\0LO\2\0ab"
    tags = (0x00100000, 0x00100020)
    found = twin.locate(raw, len(raw), 1, tags)
    changes = [(tag, b"LO", span, None) for tag, span in zip(tags, found.spans, strict=True)]
    with pytest.raises(ValueError, match="order"):
        twin.assemble(raw, len(raw), 1, changes)


def test_errors_of_the_walk_do_not_escape() -> None:
    for raw in (b"\x08\0\x05\0CS\2\0a", struct.pack("<HHL", 0xFFFE, 0xE000, 0), bytes(20)):
        try:
            assert _rewrite_py.locate(raw, len(raw), 1, TAGS) is None
        except MapdrError as error:
            pytest.fail(f"escaped: {error}")


def test_a_sequence_written_as_un_that_may_be_explicit_is_left_to_the_reference() -> None:
    item = b"(\0\x10\0US\x02\0\x04\0"
    data = (
        b"\x08\0\x16\0UI\x06\x001.2.3\0\x08\0\x18\0UN\0\0\xff\xff\xff\xff"
        + (b"\xfe\xff\0\xe0" + struct.pack("<L", len(item)) + item)
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )
    assert check(data, len(data), 1, TAGS) is None
