"""Names in every character set of PS3.3, C.12.1.1.2 survive edits: of other elements, and of the name itself.

pydicom reads the results, where it can: it does not know ISO_IR 203, leaves the escape sequence of ISO-IR 58
in its text, and reads no JIS X 0212.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_charset_files

from mapdr.dicom.charset import decode_or_none, encode_or_none, parse_terms, terms_in_use
from mapdr.dicom.edit.plan import EditPlan
from mapdr.dicom.edit.tree import Edited, apply_edits
from mapdr.dicom.edit.verbs import PREFIX, SET, Edit
from mapdr.dicom.fit import pad
from mapdr.dicom.path import parse_edit_path as path
from mapdr.dicom.scan import layout, scan
from mapdr.dicom.template import Template
from mapdr.dicom.transfer_syntax import is_deflated
from mapdr.kernel.character_set import AssumedSet, assumed_of
from mapdr.kernel.errors import Permanent

from .datasets import EXPLICIT, SYNTAXES, decode, element
from .test_utf8 import words

NAME, COMMENT, INNER = (0x00100010,), (0x00104000,), (0x00400275, 0x00321060)
SETS: list[tuple[str, str, str]] = [
    ("ISO_IR 100", "Müller^Jörg", "Ångström^Åse"),
    ("ISO_IR 101", "Dvořák^Antonín", "Kovács^Őrs"),
    ("ISO_IR 109", "Ħal^Ġorġ", "Ĉapek^Ŝan"),
    ("ISO_IR 110", "Bērziņš^Jānis", "Šķēle^Ģirts"),
    ("ISO_IR 144", "Люксембург", "Жизнь^Иван"),
    ("ISO_IR 127", "قباني^لنزار", "محمد"),
    ("ISO_IR 126", "Διονυσιος", "Σωκράτης^Λ"),
    ("ISO_IR 138", "שרון^דבורה", "כהן"),
    ("ISO_IR 148", "Çavuşoğlu^Şükrü", "Ğökçe"),
    ("ISO_IR 166", "นามสกุล^ชื่อ", "ไทย"),
    ("ISO_IR 203", "Œuvré^Žan €", "Šœ"),
    ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ﾊﾅｺ"),
    ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Suzuki=鈴木"),
    ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "ﾊﾅｺ=花子"),
    ("\\ISO 2022 IR 87\\ISO 2022 IR 159", "Kusanagi=草彅^剛=くさなぎ", "X=丂山"),
    ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동", "Kim=金=김"),
    ("\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东=", "Li=李"),
    ("GB18030", "Wang^XiaoDong=王^小东=", "Li=李䶮"),
    ("GBK", "Wang^XiaoDong=王^小东=", "Li=李誠"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小東=", "Ж=山=é"),
    ("ISO 2022 IR 100\\ISO 2022 IR 144", "Müller^Иван", "Жé"),
]
BY_OURSELVES = ("203", "58", "159")
EVERY = pytest.mark.parametrize(("charset", "name", "other"), SETS, ids=[charset for charset, *_ in SETS])


def written(charset: str, name: str) -> bytes:
    """A header with the name at the top, in an item and in a comment."""
    terms = parse_terms(charset.encode())
    raw = encode_or_none(name, terms, person=True)
    text = encode_or_none(name.replace("=", " ").replace("^", " "), terms)
    assert raw is not None
    assert text is not None
    inner = element(0x00321060, "LO", pad(text, "LO"))
    return (
        element(0x00080005, "CS", pad(charset.encode(), "CS"))
        + element(0x00081010, "SH", b"plain ")
        + element(0x00100010, "PN", pad(raw, "PN"))
        + element(0x00104000, "LT", pad(text, "LT"))
        + element(0x00400275, "SQ", element(0xFFFEE000, "", inner))
    )


def edit(raw: bytes, *edits: Edit) -> Edited:
    """The edits by the plan where it takes them, compared with the reference."""
    done = apply_edits(raw, EXPLICIT, edits)
    plan = EditPlan.of(edits)
    planned = plan.apply(raw, len(raw), EXPLICIT) if plan else None
    assert planned is None or planned.edited[:3] == done[:3]
    return done


def told(header: bytes, charset: str) -> dict[tuple[int, ...], tuple[str, ...]]:
    """The text of the header: by pydicom where it knows the set, and by MAPDR."""
    wanted = frozenset([NAME, COMMENT, INNER])
    found = scan(header, EXPLICIT, wanted, complete=True)
    texts = {one: found.texts(one) for one in wanted}
    if not any(number in charset for number in BY_OURSELVES):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = decode(header, EXPLICIT)
            assert str(read.PatientName).strip() == texts[NAME][0].rstrip("=")  # pydicom drops empty groups
            inner = read.RequestAttributesSequence[0].RequestedProcedureDescription
            assert (str(inner).strip(),) == texts[INNER]
    return texts


@EVERY
def test_a_name_keeps_its_bytes_when_other_elements_are_edited(charset: str, name: str, other: str) -> None:
    raw = written(charset, name)
    done = edit(
        raw, SET(path("StationName"), Template.parse("CT2")), PREFIX(path("PatientID"), Template.parse("X"))
    )
    assert not done.moved
    comment = raw.index(b"\x10\x00\x00\x40LT")
    assert done.header.startswith(raw[: raw.index(b"\x08\x00\x10\x10")])
    assert raw[raw.index(b"\x10\x00\x10\x00PN") : comment] in done.header
    assert done.header.endswith(raw[comment:])
    assert told(done.header, charset)[NAME] == (name,)


@EVERY
def test_a_name_is_edited_in_its_own_set(charset: str, name: str, other: str) -> None:
    raw = written(charset, name)
    done = edit(raw, SET(path("PatientName"), Template.parse(other)))
    assert not done.moved
    assert done.changed == (NAME,)
    texts = told(done.header, charset)
    assert texts[NAME] == (other,)
    assert texts[COMMENT] == told(raw, charset)[COMMENT]
    first = edit(raw, PREFIX(path("PatientName"), Template.parse("X-")))
    assert told(first.header, charset)[NAME] == (f"X-{name}",)


@EVERY
def test_a_name_that_the_set_lacks_moves_all_text_and_keeps_the_groups(
    charset: str, name: str, other: str
) -> None:
    raw = written(charset, name)
    before = told(raw, charset)
    done = edit(raw, SET(path("PatientName"), Template.parse("{PatientName}🙂")))
    if charset in ("ISO_IR 192", "GB18030"):
        assert not done.moved
        assert told(done.header, charset)[NAME] == (f"{name}🙂",)
        return
    assert done.moved
    after = told(done.header, "ISO_IR 192")
    assert after[NAME] == (f"{name}🙂",)
    assert {**after, NAME: ()} == {**before, NAME: ()}
    assert [group.count("^") for group in after[NAME][0].split("=")] == [
        group.count("^") for group in name.split("=")
    ]


def parts(file: str) -> tuple[bytes, bytes, str]:
    """A file's header, all behind it, and its transfer syntax."""
    raw = Path(file).read_bytes()
    raw = raw[144 + int.from_bytes(raw[140:144], "little") :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        syntax = str(dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    if is_deflated(syntax):
        return raw, b"", syntax
    end = layout(raw, syntax).header_end
    return raw[:end], raw[end:], syntax


def without(told: dict[tuple[object, ...], object], *tags: int) -> dict[tuple[object, ...], object]:
    """What pydicom tells but for some elements of the top level, and the lengths of groups."""
    return {key: value for key, value in told.items() if key[0] not in tags and int(str(key[-1])) & 0xFFFF}


FILES = pytest.mark.parametrize("file", get_charset_files("*.dcm"), ids=lambda file: Path(file).name)


@FILES
def test_pydicom_reads_its_own_files_as_before(file: str) -> None:
    header, _, syntax = parts(file)
    if is_deflated(syntax):
        pytest.skip("deflated")
    before = words(decode(header, syntax))
    done = apply_edits(header, syntax, [SET(path("StationName"), Template.parse("CT2"))])
    after = words(decode(done.header, syntax))
    assert after[0x00081010,] == "CT2"
    assert without(after, 0x00081010) == without(before, 0x00081010)


@FILES
def test_pydicom_reads_the_edited_name_of_its_own_files(file: str) -> None:
    header, _, syntax = parts(file)
    if is_deflated(syntax):
        pytest.skip("deflated")
    before = words(decode(header, syntax))
    name = before.get((0x00100010,), "")
    done = apply_edits(header, syntax, [PREFIX(path("PatientName"), Template.parse("X-"))])
    after = words(decode(done.header, syntax))
    assert not done.moved
    assert after.get((0x00100010,), "") == (f"X-{name}" if name else "")
    assert without(after, 0x00100010) == without(before, 0x00100010)
    moved = apply_edits(header, syntax, [SET(path("StudyID"), Template.parse("🙂"))])
    after = words(decode(moved.header, syntax))
    assert after[0x00200010,] == "🙂"
    assert without(after, 0x00080005, 0x00200010) == without(before, 0x00080005, 0x00200010)


# --- What is assumed where the declaration is missing or wrong

RUSSIAN = "Иванов^Иван"
CYRILLIC = RUSSIAN.encode("iso8859-5")
MISSING = (AssumedSet("ISO_IR 144"),)
WRONG = (AssumedSet("ISO_IR 144", "ISO_IR 100"),)


def undeclared(declared: bytes | None) -> bytes:
    head = b"" if declared is None else element(0x00080005, "CS", pad(declared, "CS"))
    return head + element(0x00100010, "PN", pad(CYRILLIC, "PN"))


@pytest.mark.parametrize("declared", [None, b"", b"ISO_IR 6", b"KLINGON"])
def test_a_set_is_assumed_where_none_of_use_is_declared(declared: bytes | None) -> None:
    raw = undeclared(declared)
    header = scan(raw, EXPLICIT, frozenset([NAME]), complete=True)
    assert header.text(NAME) != RUSSIAN
    assert header.assuming(MISSING).texts(NAME) == (RUSSIAN,)
    assert header.assuming(MISSING).each(NAME) == [(RUSSIAN,)]
    assert header.assuming(WRONG).texts(NAME) == header.texts(NAME)
    with pytest.raises(Permanent) as caught:
        apply_edits(raw, EXPLICIT, [SET(path("StudyDescription"), Template.parse("山"))])
    assert caught.value.reason == "character-set"


@pytest.mark.parametrize(
    ("declared", "sets"), [(None, MISSING), (b"ISO_IR 100", WRONG), (b"iso-ir 100", WRONG)]
)
def test_an_assumed_set_is_declared_with_the_text_that_is_written_in_it(
    declared: bytes | None, sets: tuple[AssumedSet, ...]
) -> None:
    raw = undeclared(declared)
    plain = apply_edits(raw, EXPLICIT, [SET(path("PatientID"), Template.parse("X"))], assumed=sets)
    assert plain.header == raw + element(0x00100020, "LO", b"X ")
    same = [SET(path("PatientID"), Template.parse("Ж"))]
    done = apply_edits(raw, EXPLICIT, same, assumed=sets)
    read = decode(done.header, EXPLICIT)
    assert (read.SpecificCharacterSet, read.PatientName, read.PatientID) == ("ISO_IR 144", RUSSIAN, "Ж")
    assert (0x00080005,) in done.changed
    plan = EditPlan.of(same)
    assert plan is not None
    assert plan.apply(raw, len(raw), EXPLICIT, sets) is None
    moved = apply_edits(raw, EXPLICIT, [SET(path("PatientID"), Template.parse("山"))], assumed=sets)
    read = decode(moved.header, EXPLICIT)
    assert (read.SpecificCharacterSet, read.PatientName, read.PatientID) == ("ISO_IR 192", RUSSIAN, "山")


def test_what_is_declared_otherwise_is_believed() -> None:
    assert terms_in_use(("ISO_IR 100",), MISSING) == ("ISO_IR 100",)
    assert terms_in_use(("ISO_IR 101",), (*WRONG, *MISSING)) == ("ISO_IR 101",)
    assert terms_in_use((), (*WRONG, *MISSING)) == ("ISO_IR 144",)
    several = (AssumedSet("\\ISO 2022 IR 149"),)
    assert terms_in_use((), several) == ("", "ISO 2022 IR 149")


def test_an_item_that_declares_a_set_is_judged_by_that() -> None:
    inner = element(0x00080005, "CS", b"ISO_IR 101") + element(0x00321060, "LO", b"\xf8 ")
    raw = undeclared(None) + element(0x00400275, "SQ", element(0xFFFEE000, "", inner))
    header = scan(raw, EXPLICIT, frozenset([NAME, INNER]), complete=True).assuming(MISSING)
    assert (header.text(NAME), header.text(INNER)) == (RUSSIAN, "ř")
    target = path("RequestAttributesSequence.RequestedProcedureDescription")
    done = apply_edits(raw, EXPLICIT, [SET(target, Template.parse("š"))], assumed=MISSING)
    assert done.header == raw.replace(b"\xf8 ", b"\xb9 ")


def test_text_in_a_new_item_has_the_set_declared_that_the_item_is_read_in() -> None:
    raw = element(0x00081010, "SH", b"x ")
    edit_ = SET(path("RequestAttributesSequence[0].RequestedProcedureDescription"), Template.parse("Ж"))
    done = apply_edits(raw, EXPLICIT, [edit_], assumed=MISSING)
    assert done.changed == ((0x00080005,), INNER)
    read = decode(done.header, EXPLICIT)
    assert read.SpecificCharacterSet == "ISO_IR 144"
    assert read.RequestAttributesSequence[0].RequestedProcedureDescription == "Ж"
    moved = apply_edits(
        raw, EXPLICIT, [edit_, SET(path("StationName"), Template.parse("山"))], assumed=MISSING
    )
    read = decode(moved.header, EXPLICIT)
    assert (read.SpecificCharacterSet, read.StationName) == ("ISO_IR 192", "山")
    assert read.RequestAttributesSequence[0].RequestedProcedureDescription == "Ж"


def test_who_must_have_sent_it() -> None:
    sets = (AssumedSet("ISO_IR 144", calling_ae="OLD_[C*?"), AssumedSet("ISO_IR 100"))
    assert assumed_of(sets, "OLD_[CR1") == sets
    assert assumed_of(sets, "OLD_[C") == assumed_of(sets, "") == sets[1:]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_utf8_that_nobody_declared_is_declared_when_all_text_moves(syntax: str) -> None:
    raw = element(0x00100010, "PN", pad(RUSSIAN.encode(), "PN"), syntax)
    done = apply_edits(
        raw,
        syntax,
        [SET(path("SpecificCharacterSet"), Template.parse("ISO_IR 192"))],
        assumed=[AssumedSet("ISO_IR 192")],
    )
    assert done.header == element(0x00080005, "CS", b"ISO_IR 192", syntax) + raw


@given(st.data())
def test_whatever_a_set_holds_comes_back_from_utf8(data: st.DataObject) -> None:
    charset, *_ = data.draw(st.sampled_from(SETS))
    terms = parse_terms(charset.encode())
    alphabet = sorted({char for _, *names in SETS for name in names for char in name})
    text = data.draw(st.text(st.sampled_from(alphabet), min_size=1, max_size=12)).strip()
    raw = encode_or_none(text, terms, person=True)
    if not raw or text.count("=") > 2 or any(group.count("^") > 4 for group in text.split("=")):
        return
    header = element(0x00080005, "CS", pad(charset.encode(), "CS")) + element(
        0x00100010, "PN", pad(raw, "PN")
    )
    moved = apply_edits(header, EXPLICIT, [SET(path("SpecificCharacterSet"), Template.parse("ISO_IR 192"))])
    found = scan(moved.header, EXPLICIT, frozenset([NAME]), complete=True)
    assert found.text(NAME) == text
    assert decode_or_none(raw, terms, person=True) == text
