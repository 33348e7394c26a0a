"""Text and character sets. The byte strings are those of PS3.5, annexes H to K, and of pydicom's examples."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import convert_encodings
from pydicom.charset import decode_bytes as pydicom_decode

from mapdr.dicom.charset import decode, decode_or_none, encode_or_none, is_known, parse_terms

JAPANESE = ("", "ISO 2022 IR 87")
KATAKANA = ("ISO 2022 IR 13", "ISO 2022 IR 87")
KOREAN = ("", "ISO 2022 IR 149")

EXAMPLES = [
    ("Yamada^Tarou=山田^太郎=やまだ^たろう", JAPANESE,
     b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"),
    ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", KATAKANA,
     b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"),
    ("Hong^Gildong=洪^吉洞=홍^길동", KOREAN,
     b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"),
    ("Wang^XiaoDong=王^小東=", ("ISO_IR 192",), "Wang^XiaoDong=王^小東=".encode()),
    ("Wang^XiaoDong=王^小东=", ("GB18030",), b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab="),
    ("Zhang^XiaoDong=张^小东=", ("", "ISO 2022 IR 58"),
     b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="),
    ("Buc^Jérôme", ("ISO_IR 100",), b"Buc^J\xe9r\xf4me"),
    ("Жизнь", ("ISO_IR 144",), b"\xb6\xd8\xd7\xdd\xec"),
    ("Διονυσιος", ("ISO_IR 126",), b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"),
    ("שרון^דבורה", ("ISO_IR 138",), b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4"),
    ("قباني^لنزار", ("ISO_IR 127",), b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1"),
    ("œuvre €", ("ISO_IR 203",), b"\xbduvre \xa4"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "terms", "raw"), EXAMPLES)
def test_the_standards_examples_both_ways(text: str, terms: tuple[str, ...], raw: bytes) -> None:
    assert decode(raw, terms, person=True) == text
    assert decode_or_none(raw, terms, person=True) == text
    assert encode_or_none(text, terms, person=True) == raw


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Jérôme", ()),
        ("Jérôme", ("ISO_IR 144",)),
        ("山田", ("ISO_IR 100",)),
        ("山田", KOREAN[:1]),
        ("山田ü", JAPANESE),
        ("x\x1b(By", ("ISO_IR 100",)),
        ("é", ("ISO_IR 4711",)),
        ("\ud800", ("ISO_IR 192",)),
    ],
)
def test_what_a_set_does_not_hold_is_not_encoded(text: str, terms: tuple[str, ...]) -> None:
    assert encode_or_none(text, terms) is None


def test_a_later_set_may_be_switched_to() -> None:
    terms = ("ISO 2022 IR 100", "ISO 2022 IR 144")
    raw = encode_or_none("é и é", terms)
    assert raw == b"\xe9 \x1b-L\xd8 \x1b-A\xe9"
    assert decode(raw, terms) == "é и é"


def test_the_first_set_is_active_again_before_every_delimiter() -> None:
    raw = encode_or_none("山\r\n田\\山", JAPANESE)
    assert raw == b"\x1b$B;3\x1b(B\r\n\x1b$BED\x1b(B\\\x1b$B;3\x1b(B"


def test_a_second_byte_that_looks_like_a_backslash_is_none() -> None:
    # U+4E57 in GB18030 and U+8868 in JIS X 0208 have 5C as their second byte or near it.
    for terms, text in ((("GB18030",), "乗\\x"), (("GBK",), "誠\\x")):
        raw = encode_or_none(text, terms)
        assert raw is not None
        assert decode(raw, terms).split("\\") == text.split("\\")


def test_an_escape_sequence_that_was_not_repeated_is_understood_where_only_one_set_is_meant() -> None:
    raw = b"\x1b$)C\xb1\xe6\r\n\xb5\xbf"
    assert decode_or_none(raw, KOREAN) == "길\r\n동"
    assert decode_or_none(raw, ("", "ISO 2022 IR 149", "ISO 2022 IR 58")) is None


def test_undeclared_bytes_are_read_for_matching_and_never_for_changing() -> None:
    assert decode("Jérôme".encode(), ()) == "Jérôme"
    assert decode(b"J\xe9r\xf4me", ()) == "Jérôme"
    assert decode_or_none(b"J\xe9r\xf4me", ()) is None
    assert decode_or_none(b"J\xe9r\xf4me", ("ISO_IR 4711",)) is None
    assert decode_or_none(b"\xff", ("ISO_IR 192",)) is None


@pytest.mark.parametrize(
    "term",
    ["ISO_IR 100", "ISO IR 100", "ISO-IR 100", "ISO_IR_100", "iso_ir 100", "ISO 2022 IR 100", "ISO2022IR100"],
)
def test_common_misspellings_are_understood(term: str) -> None:
    assert is_known((term,))
    assert decode(b"\xe9", (term,)) == "é"


@pytest.mark.parametrize(
    ("raw", "terms"),
    [
        (b"", ()),
        (b"ISO_IR 100", ("ISO_IR 100",)),
        (b"\\ISO 2022 IR 87 ", ("", "ISO 2022 IR 87")),
        (b"ISO_IR 192\0", ("ISO_IR 192",)),
        (b"\xff", ("\ufffd",)),
    ],
)
def test_terms(raw: bytes, terms: tuple[str, ...]) -> None:
    assert parse_terms(raw) == terms


TERMS = st.sampled_from(
    [
        (),
        ("ISO_IR 100",),
        ("ISO_IR 13",),
        ("ISO_IR 166",),
        ("ISO_IR 192",),
        ("GB18030",),
        ("GBK",),
        JAPANESE,
        KATAKANA,
        KOREAN,
        ("ISO 2022 IR 100", "ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 149"),
        ("nonsense",),
    ]
)
TEXT = st.text(st.sampled_from("aZ 0^=\\é山田やﾔ홍길東Ж\t\r\n¥~‾"), max_size=12)


@given(TEXT | st.text(max_size=12), TERMS, st.booleans())
def test_what_is_encoded_reads_back_the_same(text: str, terms: tuple[str, ...], person: bool) -> None:
    raw = encode_or_none(text, terms, person=person)
    if raw is not None:
        assert decode_or_none(raw, terms, person=person) == text
        assert decode(raw, terms, person=person) == text


@given(TEXT, TERMS, st.booleans())
def test_delimiters_stay_where_they_are(text: str, terms: tuple[str, ...], person: bool) -> None:
    raw = encode_or_none(text, terms, person=person)
    whole = decode(raw, terms, person=person) if raw is not None else text
    assert whole.split("\\") == text.split("\\")


@given(st.binary(max_size=24) | st.binary(max_size=6).map(lambda raw: b"\x1b$B" + raw), TERMS, st.booleans())
def test_any_bytes_decode_to_something(raw: bytes, terms: tuple[str, ...], person: bool) -> None:
    loose = decode(raw, terms, person=person)
    strict = decode_or_none(raw, terms, person=person)
    assert strict is None or strict == loose


@given(st.sampled_from(EXAMPLES))
def test_pydicom_reads_the_same(example: tuple[str, tuple[str, ...], bytes]) -> None:
    text, terms, raw = example
    if "58" in "".join(terms) or "203" in "".join(terms):
        return  # pydicom leaves the escape sequence in, and does not know Latin-9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encodings = convert_encodings(list(terms))
    assert pydicom_decode(raw, encodings, {0x5C, 0x5E, 0x3D}) == text
