"""The move of a whole data set to ISO_IR 192, when a value does not fit the declared set."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from mapdr.dicom.edit.tree import Edited, apply_edits
from mapdr.dicom.edit.verbs import SET, SET_IF_MISSING, Edit
from mapdr.dicom.path import parse_edit_path as path
from mapdr.dicom.template import Template
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.errors import Permanent

from .datasets import BIG, EXPLICIT, IMPLICIT, SYNTAXES, UNDEFINED, ct, decode, element, encode, nested

GREEK = "Διονυσιος"
NAME = SET(path("PatientName"), Template.parse(GREEK))
CHARSET = (0x00080005,)
ASSUMED = [AssumedSet("ISO_IR 100")]
CONVERT = SET(path("SpecificCharacterSet"), Template.parse("ISO_IR 192"))
SETS: list[tuple[str | list[str], str, str]] = [
    ("ISO_IR 100", "Müller^Jörg", "Größe"),
    ("ISO_IR 144", "Люк^Скай", "Жизнь"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "山田"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "ﾔﾏﾀﾞ"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "길동"),
    ("GB18030", "Wang^XiaoDong=王^小东", "小东"),
]


def apply(raw: bytes, syntax: str, *edits: Edit, **more: Any) -> Edited:
    return apply_edits(raw, syntax, edits, **more)


def full(charset: str | list[str], name: str, word: str, *, undefined: bool = False) -> Dataset:
    out = ct(charset=charset, undefined=undefined)
    out.PatientName = name
    out.InstitutionName = [word, "plain"]
    out.PatientComments = f"{word}\r\nplain"  # pydicom does not repeat escape sequences
    first = out.RequestAttributesSequence[0]
    first.RequestedProcedureDescription = word
    first.ScheduledProtocolCodeSequence[0].CodeMeaning = word
    out.private_block(0x0009, "OTHER").add_new(0x02, "LO", word)
    return out


def words(data_set: Dataset) -> dict[tuple[Any, ...], Any]:
    """Every value by its path, as pydicom decodes it."""
    out: dict[tuple[Any, ...], Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in data_set:
            if one.VR == "SQ":
                for number, inner in enumerate(one.value):
                    out |= {(int(one.tag), number, *rest): text for rest, text in words(inner).items()}
            else:
                several = isinstance(one.value, MultiValue)
                out[(int(one.tag),)] = tuple(map(str, one.value)) if several else str(one.value)
    return out


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize(("charset", "name", "word"), SETS)
def test_all_text_says_the_same_afterwards(
    charset: str | list[str], name: str, word: str, syntax: str, undefined: bool
) -> None:
    raw = encode(full(charset, name, word, undefined=undefined), syntax)
    done = apply(raw, syntax, CONVERT, SET(path("StudyDescription"), Template.parse("שלום")))
    before, after = words(decode(raw, syntax)), words(decode(done.header, syntax))
    assert done.moved
    assert after.pop((0x00081030,)) == "שלום"
    assert after.pop(CHARSET) == "ISO_IR 192"
    before.pop(CHARSET)
    if syntax == IMPLICIT:
        # Nothing says that a private element is text: its bytes are kept.
        assert (0x00091102,) not in done.changed
        before.pop((0x00091102,)), after.pop((0x00091102,))
    assert after == before
    assert word.encode() in done.header
    assert encode(decode(done.header, syntax), syntax) == done.header


@pytest.mark.parametrize(("charset", "name", "word"), SETS)
def test_a_value_that_fits_moves_nothing(charset: str | list[str], name: str, word: str) -> None:
    raw = encode(full(charset, name, word), EXPLICIT)
    done = apply(raw, EXPLICIT, SET(path("StudyDescription"), Template.parse(word)))
    assert not done.moved
    assert done.changed == ((0x00081030,),)
    assert decode(done.header, EXPLICIT).StudyDescription == word


def test_untouched_bytes_and_other_vrs_stay() -> None:
    un = element(0x00091010, "UN", b"\xe9\xe8")
    short = element(0x00081010, "SH", b"plain ")
    raw = element(0x00080005, "CS", b"ISO_IR 100") + short + un + element(0x00100010, "PN", b"\xe9 ")
    done = apply(raw, EXPLICIT, NAME)
    assert done.header == element(0x00080005, "CS", b"ISO_IR 192") + short + un + element(
        0x00100010, "PN", GREEK.encode()
    )
    assert done.changed == (CHARSET, (0x00100010,))


def test_plain_ascii_only_gains_the_declaration() -> None:
    raw = element(0x00081010, "SH", b"plain ")
    done = apply(raw, EXPLICIT, NAME)
    assert done.header == (
        element(0x00080005, "CS", b"ISO_IR 192") + raw + element(0x00100010, "PN", GREEK.encode())
    )


def test_utf8_stays_utf8() -> None:
    raw = element(0x00080005, "CS", b"ISO_IR 192") + element(0x00081010, "SH", "é".encode())
    done = apply(raw, EXPLICIT, NAME)
    assert not done.moved
    assert done.changed == ((0x00100010,),)
    assert done.header.startswith(raw)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("top", ["ISO_IR 192", "ISO_IR 100"])
@pytest.mark.parametrize("own", ["ISO_IR 144", ""])
def test_an_items_own_character_set_moves_with_its_text(top: str, own: str, syntax: str) -> None:
    data = ct(charset=top)
    item = data.RequestAttributesSequence[0]
    item.SpecificCharacterSet = own
    item.RequestedProcedureDescription = word = "Жизнь" if own else "plain"
    done = apply(
        encode(data, syntax),
        syntax,
        SET(path("RequestAttributesSequence.RequestedProcedureID"), Template.parse("山田")),
    )
    written = decode(done.header, syntax).RequestAttributesSequence[0]
    assert (written.RequestedProcedureID, written.RequestedProcedureDescription) == ("山田", word)
    assert done.moved
    assert (0x00400275, 0x00080005) in done.changed
    again = apply(done.header, syntax, CONVERT)
    assert (again.changed, again.header) == ((), done.header)


@pytest.mark.parametrize(
    "declared", [b"", element(0x00080005, "CS", b"ISO_IR 6"), element(0x00080005, "CS", b"OWN1")]
)
def test_bytes_that_nobody_can_read_park_the_image(declared: bytes) -> None:
    raw = declared + element(0x00081010, "SH", b"\xe9 ")
    with pytest.raises(Permanent) as caught:
        apply(raw, EXPLICIT, NAME)
    assert caught.value.reason == "character-set"
    assert "StationName" in str(caught.value)


def test_an_assumed_set_reads_what_none_was_declared_for() -> None:
    raw = element(0x00081010, "SH", b"\xe9 ")
    done = apply(raw, EXPLICIT, NAME, assumed=ASSUMED)
    assert decode(done.header, EXPLICIT).StationName == "é"
    kept = apply(raw, EXPLICIT, SET(path("PatientName"), Template.parse("ü")), assumed=ASSUMED)
    declared = element(0x00080005, "CS", b"ISO_IR 100")
    assert kept.header == declared + raw + element(0x00100010, "PN", b"\xfc ")
    plain = apply(raw, EXPLICIT, SET(path("PatientName"), Template.parse("u")), assumed=ASSUMED)
    assert plain.header == raw + element(0x00100010, "PN", b"u ")


def test_an_item_with_its_own_set_is_moved_from_that() -> None:
    inner = element(0x00080005, "CS", b"ISO_IR 144") + element(0x00400009, "SH", b"\xb8\xd2")
    raw = element(0x00080005, "CS", b"ISO_IR 100") + element(
        0x00400275,
        "SQ",
        element(0xFFFEE000, "", inner) + element(0xFFFEE000, "", element(0x00400009, "SH", b"\xe9 ")),
    )
    done = decode(apply(raw, EXPLICIT, NAME).header, EXPLICIT)
    first, second = done.RequestAttributesSequence
    assert first.SpecificCharacterSet == "ISO_IR 192"
    assert first.ScheduledProcedureStepID == "Ив"
    assert "SpecificCharacterSet" not in second
    assert second.ScheduledProcedureStepID == "é"


def test_a_value_within_an_item_is_encoded_in_the_items_set() -> None:
    inner = element(0x00080005, "CS", b"ISO_IR 144") + element(0x00400009, "SH", b"x ")
    raw = element(0x00080005, "CS", b"ISO_IR 100") + element(0x00400275, "SQ", element(0xFFFEE000, "", inner))
    done = apply(
        raw, EXPLICIT, SET(path("RequestAttributesSequence.ScheduledProcedureStepID"), Template.parse("Ив"))
    )
    assert not done.moved
    assert done.header.endswith(element(0x00400009, "SH", b"\xb8\xd2"))


def test_text_within_a_un_of_undefined_length_is_moved() -> None:
    inner = nested(1, element(0x00400009, "", b"\xe9 ", IMPLICIT), IMPLICIT)[8:]
    raw = element(0x00080005, "CS", b"ISO_IR 100", BIG) + element(0x00400275, "UN", inner, BIG, UNDEFINED)
    done = apply(raw, BIG, NAME)
    assert nested(1, element(0x00400009, "", "é".encode(), IMPLICIT), IMPLICIT)[8:] in done.header


def test_the_tail_is_moved_too() -> None:
    raw = element(0x00080005, "CS", b"ISO_IR 100")
    done = apply(raw, EXPLICIT, NAME, tail=element(0x7FE51010, "LO", b"\xe9 "))
    assert done.tail == element(0x7FE51010, "LO", "é".encode())


def test_text_is_moved_down_to_a_depth_and_parked_beyond() -> None:
    declared = element(0x00080005, "CS", b"ISO_IR 100")
    accented = element(0x00400009, "SH", b"\xe9 ")
    moved = apply(declared + nested(64, accented), EXPLICIT, NAME).header
    assert nested(64, element(0x00400009, "SH", "é".encode())) in moved
    with pytest.raises(Permanent) as caught:
        apply(declared + nested(65, accented), EXPLICIT, NAME)
    assert caught.value.reason == "too-deep"


def test_the_move_can_be_asked_for() -> None:
    raw = element(0x00080005, "CS", b"ISO_IR 100") + element(0x00081010, "SH", b"\xe9 ")
    done = apply(raw, EXPLICIT, SET(path("SpecificCharacterSet"), Template.parse("ISO_IR 192")))
    assert done.header == element(0x00080005, "CS", b"ISO_IR 192") + element(0x00081010, "SH", "é".encode())
    with pytest.raises(ValueError, match="ISO_IR 192 only"):
        SET(path("SpecificCharacterSet"), Template.parse("ISO_IR 100"))


def test_a_missing_declaration_can_be_made_up_for() -> None:
    raw = element(0x00081010, "SH", b"\xe9 ")
    declare = SET_IF_MISSING(path("SpecificCharacterSet"), Template.parse("ISO_IR 100"))
    assert apply(raw, EXPLICIT, declare).header == element(0x00080005, "CS", b"ISO_IR 100") + raw
    declared = element(0x00080005, "CS", b"ISO_IR 101") + raw
    assert apply(declared, EXPLICIT, declare).header is declared
    with pytest.raises(ValueError, match="defined terms"):
        SET_IF_MISSING(path("SpecificCharacterSet"), Template.parse("ISO_IR 4711"))
