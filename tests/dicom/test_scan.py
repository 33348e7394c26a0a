"""The header scan, on data sets that are made for it."""

from __future__ import annotations

import mmap
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr import _fast
from mapdr._fast import _scan_py
from mapdr.dicom import scan as module
from mapdr.dicom.path import parse_path
from mapdr.dicom.scan import (
    NeedMore,
    ScannedHeader,
    Unreadable,
    deflate_pieces,
    inflate_exactly,
    inflated_size,
    layout,
    scan,
)

from .datasets import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    SYNTAXES,
    UNDEFINED,
    ct,
    element,
    encode,
    nested,
)

STEP = parse_path("RequestAttributesSequence.ScheduledProcedureStepID")
MEANING = parse_path("RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeMeaning")
PATIENT = parse_path("PatientID")
NAME = parse_path("PatientName")
WANTED = frozenset((STEP, MEANING, PATIENT, NAME, parse_path("Rows"), parse_path("ImageType")))
PIXELS = 0x7FE00010


@pytest.fixture(autouse=True, params=["reference", "chosen"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs on the plain Python walk, and on the compiled one where there is one."""
    if request.param == "reference":
        monkeypatch.setattr(_fast, "walk", _scan_py.walk)
    elif _fast.walk is _scan_py.walk:
        pytest.skip("no compiled walk here")


def attempt(raw: bytes, syntax: str, size: int | None) -> ScannedHeader | int:
    """What a prefix holds, or how many bytes the scan wants."""
    try:
        return scan(raw, syntax, WANTED, complete=False, size=size)
    except NeedMore as error:
        return error.at_least


def found(raw: bytes, syntax: str = EXPLICIT, **more: object) -> ScannedHeader:
    return scan(raw, syntax, WANTED, complete=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_finds_what_is_wanted_at_any_depth(syntax: str, undefined: bool) -> None:
    header = found(encode(ct(undefined=undefined), syntax), syntax)
    assert header.texts(PATIENT) == ("ID1",)
    assert header.texts(STEP) == ("S1", "S2")
    assert header.texts(MEANING) == ("first",)
    assert header.texts(parse_path("ImageType")) == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert header.text(parse_path("Rows")) == "4"
    assert header.character_set == ("ISO_IR 100",)
    assert header.pixel_offset is None
    assert not header.truncated
    assert header.remarks == ()


def test_absent_empty_and_unasked_elements_have_no_text() -> None:
    raw = element(0x00100010, "PN", b"") + element(0x00100020, "LO", b"  ")
    header = found(raw)
    assert header.has(NAME)
    assert header.has(PATIENT)
    assert not header.has(STEP)
    assert header.texts(NAME) == header.texts(PATIENT) == header.texts(STEP) == ()
    assert header.text(NAME) == ""


def test_takes_an_mmap_and_lets_go_of_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(encode(ct(), EXPLICIT))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        header = scan(mapped, EXPLICIT, WANTED, complete=True)
    assert header.text(NAME) == "Doe^Jane"


def test_copies_nothing_large() -> None:
    raw = element(0x00091010, "OB", bytes(50_000_000)) + element(PIXELS, "OW", bytes(50_000_000))
    tracemalloc.start()
    try:
        assert found(raw).pixel_offset == 50_000_012
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_every_prefix_asks_for_more_or_is_enough(syntax: str, undefined: bool, known: bool) -> None:
    head = encode(ct(undefined=undefined), syntax)
    raw = head + element(PIXELS, "OW", bytes(64), syntax)
    size = len(raw) if known else None
    whole = scan(raw, syntax, WANTED, complete=True)
    enough = 0
    for length in range(len(raw)):
        header = attempt(raw[:length], syntax, size)
        if isinstance(header, int):
            assert header > length
            assert header <= len(raw) or not known
            assert not enough, "a longer prefix cannot be less"
            continue
        enough = enough or length
        assert header.pixel_offset == whole.pixel_offset == len(head)
        assert all(header.texts(path) == whole.texts(path) for path in WANTED)
    assert enough == len(head) + (8 if syntax == IMPLICIT else 12)


def test_growing_as_asked_ends_and_needs_few_rounds() -> None:
    raw = b"".join(element(0x00091000 + i, "LO", b"abcd") for i in range(200)) + element(PIXELS, "OW", b"")
    length = rounds = 0
    while True:
        try:
            header = scan(raw[:length], EXPLICIT, WANTED, complete=length >= len(raw))
            break
        except NeedMore as error:
            length = min(error.at_least, len(raw))
            rounds += 1
    assert header.pixel_offset == len(raw) - 12
    assert rounds < 14


def test_without_pixel_data_the_known_size_ends_it() -> None:
    raw = encode(ct(), EXPLICIT) + element(0x00420011, "OB", bytes(100_000))
    header = scan(raw[:4096], EXPLICIT, WANTED, complete=False, size=len(raw))
    assert header.pixel_offset is None
    assert header.text(PATIENT) == "ID1"


def test_a_wanted_value_that_is_too_long_to_keep_is_there_without_text() -> None:
    raw = element(0x00100020, "UT", b"x" * (1 << 20) + b"yy")
    assert found(raw).has(PATIENT)
    assert found(raw).texts(PATIENT) == ()


# --- pixel data and what follows it


def test_native_pixel_data_and_tail() -> None:
    head = encode(ct(), EXPLICIT)
    pixels = element(PIXELS, "OW", bytes(32))
    tail = element(0xFFFCFFFC, "OB", bytes(6))
    header = scan(head + pixels + tail, EXPLICIT, frozenset([(0xFFFCFFFC,)]), complete=True)
    assert (header.pixel_offset, header.pixel_length, header.pixel_vr) == (len(head), 32, "OW")
    assert header.pixel_value == len(head) + 12
    assert not header.encapsulated
    assert header.has((0xFFFCFFFC,))
    whole = head + pixels + tail
    ends = (len(head), len(head) + len(pixels), len(whole))
    assert layout(whole, EXPLICIT)[:7] == (*ends, False, len(whole), 1, 0)
    assert layout(whole + bytes(12), EXPLICIT)[:5] == (*ends[:2], len(whole) + 12, False, len(whole))


def fragments(*parts: bytes, end: bool = True) -> bytes:
    items = b"".join(element(0xFFFEE000, "", part) for part in parts)
    return (
        element(PIXELS, "OB", b"", length=UNDEFINED) + items + (element(0xFFFEE0DD, "", b"") if end else b"")
    )


def test_encapsulated_pixel_data_ends_at_its_delimiter() -> None:
    head, pixels = encode(ct(), JPEG), fragments(b"", b"\xff\xd8ab", b"\xfe\xff\xdd\xe0\0\0\0\0")
    tail = element(0xFFFCFFFC, "OB", b"")
    whole = head + pixels + tail
    assert layout(whole, JPEG)[:4] == (len(head), len(head) + len(pixels), len(whole), False)
    assert scan(whole, JPEG, WANTED, complete=True).encapsulated


@pytest.mark.parametrize("pixels", [fragments(b"ab", end=False), element(PIXELS, "OW", b"ab", length=100)])
def test_pixel_data_that_ends_early_is_truncated(pixels: bytes) -> None:
    whole = encode(ct(), EXPLICIT) + pixels
    header = found(whole)
    assert header.truncated
    assert header.text(PATIENT) == "ID1"
    assert layout(whole, EXPLICIT)[:4] == (len(whole) - len(pixels), len(whole), len(whole), True)


@pytest.mark.parametrize("tag", [0x7FE00008, 0x7FE00009])
def test_float_pixel_data_ends_the_header_too(tag: int) -> None:
    raw = element(tag, "OF", bytes(8))
    assert found(raw).pixel_offset == 0


def test_an_icons_pixel_data_is_not_the_images() -> None:
    icon = fragments(b"", b"abcd")
    raw = (
        element(0x00880200, "SQ", b"", length=UNDEFINED)
        + element(0xFFFEE000, "", b"", length=UNDEFINED)
        + icon
        + element(0xFFFEE00D, "", b"")
        + element(0xFFFEE0DD, "", b"")
        + element(0x00880904, "LO", b"ab")
    )
    header = scan(raw, JPEG, frozenset([(0x00880904,), (0x00880200, 0x00280010)]), complete=True)
    assert header.pixel_offset is None
    assert header.text((0x00880904,)) == "ab"


# --- oddities


def test_un_of_undefined_length_is_an_implicit_sequence() -> None:
    inner = nested(1, element(0x00400009, "", b"S9", IMPLICIT), IMPLICIT)
    # The same bytes as an implicit sequence, under an explicit UN head (CP-246).
    for syntax in (EXPLICIT, BIG):
        raw = element(0x00400275, "UN", inner[8:], syntax, UNDEFINED) + element(
            0x00420010, "ST", b"ab", syntax
        )
        header = scan(raw, syntax, frozenset([STEP, (0x00420010,)]), complete=True)
        assert header.text(STEP) == "S9"
        assert header.text((0x00420010,)) == "ab"


def test_the_dictionary_says_what_a_un_is() -> None:
    assert found(element(0x00280010, "UN", b"\x04\x00")).text(parse_path("Rows")) == "4"


def test_an_item_has_its_own_character_set() -> None:
    inner = element(0x00080005, "CS", b"ISO_IR 144") + element(0x00400009, "SH", b"\xb8\xd2")
    seq = element(0x00400275, "SQ", element(0xFFFEE000, "", inner))
    other = element(0x00400275, "SQ", element(0xFFFEE000, "", element(0x00400009, "SH", b"\xe9 ")))
    raw = element(0x00080005, "CS", b"ISO_IR 100")
    assert found(raw + seq).text(STEP) == "Ив"
    assert found(raw + other).text(STEP) == "é"


@pytest.mark.parametrize(
    ("raw", "syntax", "remark"),
    [
        (element(0x00100020, "LO", b"abc"), EXPLICIT, "odd length"),
        (element(0x00100020, "LO", b"ab") + element(0x00100010, "PN", b"ab"), EXPLICIT, "tags out of order"),
        (
            element(0x00100000, "UL", b"\x09\0\0\0") + element(0x00100020, "LO", b"ab"),
            EXPLICIT,
            "wrong group length",
        ),
        (element(0x00091010, "ZZ", b"ab"), EXPLICIT, "unknown VR"),
        (element(0x00100020, "", b"abcd", IMPLICIT), EXPLICIT, "implicit VR where explicit VR is declared"),
        (element(0x00080005, "CS", b"ISO_IR 100"), IMPLICIT, "explicit VR where implicit VR is declared"),
        (
            element(0x00100020, "LO", b"ab") + element(0xFFFEE0DD, "", b""),
            EXPLICIT,
            "delimiter outside a sequence",
        ),
        (element(0x00100020, "LO", b"ab") + bytes(11), EXPLICIT, "zeros after the last element"),
        (element(0x00020010, "UI", b"1.2\0"), EXPLICIT, "file meta elements in the data set"),
        (
            element(0x00400275, "SQ", element(0xFFFEE000, "", element(0x00400009, "SH", b"ab", length=99))),
            EXPLICIT,
            "nested length beyond its sequence",
        ),
    ],
)
def test_oddities_are_remarked_and_survived(raw: bytes, syntax: str, remark: str) -> None:
    more = element(0x00420010, "ST", b"ab") if syntax == EXPLICIT and "zeros" not in remark else b""
    header = found(raw + more, syntax)
    assert remark in header.remarks
    assert not header.truncated


def test_a_right_group_length_is_no_oddity() -> None:
    raw = element(0x00100000, "UL", b"\x0a\0\0\0") + element(0x00100020, "LO", b"ab")
    assert found(raw).remarks == ()
    assert found(raw + element(0x00420010, "ST", b"ab")).remarks == ()


def test_the_first_of_two_counts() -> None:
    raw = element(0x00100020, "LO", b"ab") + element(0x00100020, "LO", b"cd")
    assert found(raw).texts(PATIENT) == ("ab",)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (element(0xFFFEE000, "", b"ab"), "bad-item"),
        (element(0x00000002, "", b"ab", IMPLICIT), "bad-tag"),
        (element(0x00400275, "SQ", element(0x00400009, "SH", b"ab"), length=UNDEFINED), "bad-item"),
        (element(PIXELS, "OB", element(0xFFFEE000, "", b"", length=UNDEFINED), length=UNDEFINED), "bad-item"),
        (nested(300, b""), "too-deep"),
    ],
)
def test_bytes_that_are_no_data_set_are_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        found(raw)
    assert caught.value.reason == reason


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("defined", [False, True])
def test_two_hundred_levels_are_walked(syntax: str, defined: bool) -> None:
    raw = nested(200, element(0x00400009, "SH", b"ab", syntax), syntax, defined=defined)
    after = element(0x00420010, "ST", b"ab", syntax)
    header = scan(
        raw + after, syntax, frozenset([(0x00420010,), (0x0040A730, 0x0040A730, 0x00400009)]), complete=True
    )
    assert header.text((0x00420010,)) == "ab"


def test_the_number_of_elements_is_bounded() -> None:
    raw = element(0x00091010, "LO", b"") * 101
    with pytest.raises(Unreadable) as caught:
        _scan_py.walk(raw, len(raw), len(raw), 1, {}, beyond=True, max_value=0, max_elements=100)
    assert caught.value.reason == "too-many-elements"


def test_fragments_without_end_are_not_followed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = element(0xFFFEE000, "", b"", IMPLICIT) * 10 + element(0xFFFEE0DD, "", b"", IMPLICIT) + b"behind"
    reads: list[int] = []

    def read(at: int) -> bytes:
        reads.append(at)
        return raw[at : at + 8]

    monkeypatch.setattr(module, "MAX_FRAGMENTS", 10)
    assert module.fragments_end(read, 0, len(raw), 1) == 88
    reads.clear()
    monkeypatch.setattr(module, "MAX_FRAGMENTS", 9)
    assert module.fragments_end(read, 0, len(raw), 1) == len(raw), "not known to be cut off"
    assert len(reads) == 10


# --- deflated


def test_a_deflated_data_set_is_inflated_as_far_as_needed() -> None:
    head = encode(ct(), EXPLICIT)
    packed = deflate_pieces((head, element(PIXELS, "OW", bytes(1_000_000))))
    assert not len(packed) & 1
    header = scan(packed, DEFLATED, WANTED, complete=True)
    assert header.pixel_offset == len(head)
    assert header.text(NAME) == "Doe^Jane"
    size = inflated_size(packed, 2_000_000)
    assert 1_000_000 < inflated_size(packed, 1_000_000) <= size == len(head) + 12 + 1_000_000
    assert inflate_exactly(packed, size).startswith(head)
    with pytest.raises(ValueError, match="inflate"):
        layout(packed, DEFLATED)


def test_prefixes_of_a_deflated_data_set() -> None:
    packed = deflate_pieces((encode(ct(), EXPLICIT),))
    for length in range(len(packed)):
        header = attempt(packed[:length], DEFLATED, None)
        assert not isinstance(header, int) or header > length
        assert scan(packed[:length], DEFLATED, WANTED, complete=True).truncated or length >= len(packed) - 1


def test_a_deflate_bomb_stays_small() -> None:
    zeros = element(0x00091010, "OB", b"", length=0xFFFFFFF0)
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(zeros)
    packed += b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    with pytest.raises(Unreadable) as caught:
        scan(packed, DEFLATED, WANTED, complete=True)
    assert caught.value.reason == "too-long"


def test_what_cannot_be_inflated_is_unreadable() -> None:
    with pytest.raises(Unreadable) as caught:
        scan(b"\xff" * 100, DEFLATED, WANTED, complete=True)
    assert caught.value.reason == "bad-deflate"


# --- any bytes at all


def survive(raw: bytes, syntax: str, size: int | None = None) -> None:
    with suppress(Unreadable):
        header = attempt(raw, syntax, size)
        assert not isinstance(header, int) or header > len(raw)
    with suppress(Unreadable):
        header = scan(raw, syntax, WANTED, complete=True)
        for path in WANTED:
            header.texts(path)
        assert header.pixel_offset is None or 0 <= header.pixel_offset < max(len(raw), 1 << 16)


@given(st.binary(max_size=200), st.sampled_from((*SYNTAXES, DEFLATED, "")), st.booleans())
def test_arbitrary_bytes_raise_only_what_is_documented(raw: bytes, syntax: str, known: bool) -> None:
    survive(raw, syntax, len(raw) + 10 if known else None)


@given(st.data(), st.sampled_from(SYNTAXES), st.booleans())
def test_damaged_data_sets_raise_only_what_is_documented(
    data: st.DataObject, syntax: str, undefined: bool
) -> None:
    raw = bytearray(encode(ct(undefined=undefined), syntax) + element(PIXELS, "OW", bytes(8), syntax))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFE, 0xFF)) | st.integers(0, 255))
    survive(bytes(raw), syntax)
