"""The compiled walk and the plain Python one answer the same, whatever the bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr import _fast
from mapdr._fast import _scan_py
from mapdr._fast.scan_tables import EXPLICIT_VR, UNKNOWN_SIZE, NeedMore, Tree, Unreadable
from mapdr.dicom.path import parse_path
from mapdr.dicom.scan import encoding_flags, wanted_tree

from .datasets import BIG, EXPLICIT, IMPLICIT, SYNTAXES, UNDEFINED, ct, element, encode, nested
from .odd import data_set, forms

pytestmark = pytest.mark.skipif(_fast.walk is _scan_py.walk, reason="no compiled walk here")

TREES: list[Tree] = [
    {},
    wanted_tree([(0x00080005,), (0x00100020,), (0x7FE00010,), (0xFFFCFFFC,)]),
    wanted_tree([(0x00080005,), parse_path("RequestAttributesSequence.ScheduledProcedureStepID")]),
    wanted_tree([parse_path("RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeMeaning")]),
]
PIXELS = 0x7FE00010
INNER_UID = (0x00081115, 0x00081140, 0x00080016)


def answer(walk: Any, raw: bytes, size: int, flags: int, tree: Tree, beyond: bool) -> object:
    """What a walk returns, or what it raises, in comparable form."""
    try:
        return walk(raw, len(raw), size, flags, tree, beyond=beyond, max_value=64)
    except NeedMore as error:
        return "need", error.at_least
    except Unreadable as error:
        return "unreadable", error.reason, str(error)


def agree(raw: bytes, syntax: str, *trees: Tree) -> None:
    flags = encoding_flags(syntax)
    for size in (len(raw), len(raw) + 9, UNKNOWN_SIZE):
        for tree in (*TREES, *trees):
            for beyond in (False, True):
                reference = answer(_scan_py.walk, raw, size, flags, tree, beyond)
                assert answer(_fast.walk, raw, size, flags, tree, beyond) == reference


def pixels(syntax: str, encapsulated: bool) -> bytes:
    if not encapsulated:
        return element(PIXELS, "OW", bytes(8), syntax)
    parts = element(0xFFFEE000, "", b"", syntax) + element(0xFFFEE000, "", b"abcd", syntax)
    return element(PIXELS, "OB", parts, syntax, UNDEFINED) + element(0xFFFEE0DD, "", b"", syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("encapsulated", [False, True])
def test_on_whole_data_sets_and_every_prefix(syntax: str, undefined: bool, encapsulated: bool) -> None:
    tail = element(0xFFFCFFFC, "OB", bytes(2), syntax)
    raw = encode(ct(undefined=undefined), syntax) + pixels(syntax, encapsulated) + tail
    for length in range(len(raw) + 1):
        agree(raw[:length], syntax)


@pytest.mark.parametrize(
    ("syntax", "form"), [(syntax, form) for syntax in SYNTAXES for form in forms(syntax)]
)
def test_on_odd_forms_and_their_prefixes(syntax: str, form: str) -> None:
    raw = data_set(forms(syntax)[form], syntax, bytes(12))
    start = len(data_set(b"", syntax)) - 64 * 64 - 40
    for length in (*range(start, len(raw) - 64 * 64 + 9), len(raw) - 12, len(raw) - 1, len(raw)):
        agree(raw[:length], syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("depth", [1, 60, 130, 200, 260])
def test_on_deep_nesting(syntax: str, depth: int) -> None:
    agree(nested(depth, element(0x00400009, "SH", b"ab", syntax), syntax), syntax)


@given(st.data(), st.sampled_from(SYNTAXES), st.booleans(), st.booleans())
def test_on_damaged_data_sets(data: st.DataObject, syntax: str, undefined: bool, encapsulated: bool) -> None:
    raw = bytearray(encode(ct(undefined=undefined), syntax) + pixels(syntax, encapsulated))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFE, 0xFF)) | st.integers(0, 255))
    agree(bytes(raw), syntax)


TAGS = st.sampled_from(
    (
        *(0x00080000, 0x00080005, 0x00100020, 0x00400275, 0x0040A730, 0x00091010, PIXELS, 0x7FE00008),
        *(0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFCFFFC, 0x00000000, 0x00020010),
    )
)
LONG = ("SQ", "UN", "OB", "OW", "UT")
VRS = st.sampled_from(("UL", "CS", "LO", "ZZ", "ab", "\0\0", *LONG))
LENGTHS = st.sampled_from(
    (None, 0, 1, 2, 8, 0x7FFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF4, UNDEFINED)
)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("tag", [0xFFFFFFFF, 0xFFFFFFFE, 0x80000000])
def test_on_the_highest_tags(tag: int, syntax: str) -> None:
    agree(element(0x00080005, "CS", b"", syntax) + element(tag, "LO", b"ab", syntax), syntax)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """An element that may be right, with a length that often is not."""
    syntax = draw(st.sampled_from((EXPLICIT, IMPLICIT, BIG)))
    vr, length = draw(VRS), draw(LENGTHS)
    if length is not None and length > 0xFFFF and syntax != IMPLICIT and vr not in LONG:
        length &= 0xFFFF
    return element(draw(TAGS), vr, draw(st.binary(max_size=6)), syntax, length)


@given(st.lists(heads(), max_size=8).map(b"".join), st.sampled_from(SYNTAXES))
def test_on_elements_in_any_order_with_any_length(raw: bytes, syntax: str) -> None:
    agree(raw, syntax)


@given(st.binary(max_size=120), st.sampled_from(SYNTAXES))
def test_on_arbitrary_bytes(raw: bytes, syntax: str) -> None:
    agree(raw, syntax)


@pytest.mark.parametrize("nested", [False, True])
def test_on_explicit_items_in_a_sequence_written_as_un(nested: bool) -> None:
    inner = bytes.fromhex("0800160055490600") + b"1.2.3\0"
    raw = bytes.fromhex("08004011554e0000fffffffffeff00e0")
    raw += len(inner).to_bytes(4, "little") + inner + bytes.fromhex("feffdde000000000")
    if nested:
        raw = bytes.fromhex("0800151153510000fffffffffeff00e0ffffffff") + raw
        raw += bytes.fromhex("feff0de000000000feffdde000000000")
    tree = wanted_tree([INNER_UID[not nested :]])
    agree(raw, EXPLICIT, tree)
    # An item with a length is stepped over; who looks into it finds explicit VR.
    walked = _fast.walk(raw, len(raw), len(raw), 1, tree, beyond=True, max_value=64)
    assert [found.path for found in walked.found if found.vr == b"UI"] == [INNER_UID[not nested :]]
    assert walked.remarks == EXPLICIT_VR
