"""Identifying values where no honest device would put them: none leaves, or the object is refused."""

from __future__ import annotations

import struct

import pytest
from pydicom.uid import UID_dictionary

from mapdr.dicom.deidentify.header import Deidentifier
from mapdr.dicom.deidentify.keys import Key
from mapdr.dicom.deidentify.table import Option, attributes, unnamed
from mapdr.dicom.path import tag_vr
from mapdr.dicom.write import element, item, number

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CT = b"1.2.840.10008.5.1.4.1.1.2"
MARK = b"ZQMARK"
BORN = b"19530211"
ANYWHERE = 0x00081115
"""Referenced Series Sequence: not in the table, so what is in it is gone through."""
SETS = (
    (),
    ("retain-uids", "full-dates", "retain-safe-private", "retain-device-identity"),
    ("modified-dates", "clean-descriptors", "clean-structured-content", "clean-graphics"),
)
UNDEFINED = b"\xff" * 4
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"


class Named:
    def of(self, patient: str) -> tuple[str, str]:
        return "PSEUDO1", "PSEUDO1"


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def odd_vr(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element in a VR that is not its own, or none at all."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def undefined(tag: int, vr: bytes, content: bytes) -> bytes:
    head = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, 0) + UNDEFINED
    return head + ITEM + UNDEFINED + content + ITEM_END + bytes(4) + SEQUENCE_END + bytes(4)


def within(content: bytes, levels: int = 1) -> bytes:
    for _ in range(levels):
        content = element(ANYWHERE, "SQ", item([content]))
    return content


NAME = element(0x00100010, "PN", MARK)
PLACES = {
    "60 levels down": within(NAME, 60),
    "twice": NAME + NAME,
    "UN of items": element(ANYWHERE, "UN", item([implicit(0x00100010, MARK)])),
    "UN of undefined length": undefined(ANYWHERE, b"UN", implicit(0x00100010, MARK)),
    "private items of undefined length": element(0x00090010, "LO", b"X ")
    + undefined(0x00091001, b"SQ", NAME),
    "private creator": element(0x00090010, "LO", MARK),
    "shadowed creator": element(0x20050010, "LO", b"Philips MR Imaging DD 001")
    + element(0x20050010, "LO", MARK)
    + element(0x2005100D, "LO", MARK),
    "second creator": element(0x20050010, "LO", MARK)
    + element(0x20050010, "LO", b"Philips MR Imaging DD 001 ")
    + element(0x2005100D, "LO", b"1 "),
    "private, in an item": within(element(0x00090010, "LO", MARK) + element(0x00091001, "LO", MARK)),
    "name in Modality": odd_vr(0x00080060, b"PN", MARK),
    "date in Modality": odd_vr(0x00080060, b"DA", BORN),
    "items in Modality": element(0x00080060, "SQ", item([NAME])),
    "UID in Modality": odd_vr(0x00080060, b"UI", MARK),
    "group length": odd_vr(0x00100000, b"UL", MARK),
    "File Meta": element(0x00020016, "AE", MARK),
    "trailing padding": element(0xFFFCFFFC, "OB", MARK),
    "icon": element(0x00880200, "SQ", item([element(0x7FE00010, "OB", MARK)])),
    "pixel data of an item": within(element(0x7FE00010, "OB", MARK)),
    "overlay": element(0x60100022, "LO", MARK) + element(0x60104000, "LT", MARK),
    "curve": element(0x501E2600, "LO", MARK),
    "encapsulated document": element(0x00420011, "OB", MARK),
    "encrypted attributes": element(0x04000500, "SQ", item([element(0x04000520, "OB", MARK)])),
    "signature": element(0x4FFE0001, "SQ", item([odd_vr(0x04000020, b"AT", MARK)]))
    + element(0xFFFAFFFA, "SQ", item([element(0x04000115, "OB", MARK)])),
    "URL": element(0x00081190, "UR", b"http://pacs/" + MARK) + element(0x00287FE0, "UR", b"jpip://" + MARK),
    "HL7 instance": element(0x0040E001, "ST", MARK),
    "no UID, as a class": element(0x0008010C, "UI", MARK),
    "no tag of the standard": element(0x00080FFF, "LO", MARK),
    "annotation of a waveform": element(0x0040B020, "SQ", item([element(0x00700006, "ST", MARK)])),
    "variable pixel data": element(0x7F020010, "OW", MARK + b"  "),
    "pixel data of old": element(0x7FE00020, "OW", MARK + b"  "),
    "identifiers of images": element(0x00203101, "CS", MARK),
    "a Modality of items in UN": element(0x00080060, "UN", item([implicit(0x00100010, MARK)])),
    "date and time in a time": element(0x00080030, "TM", BORN + b"112233"),
    "name in a time": element(0x00080031, "TM", MARK),
    "name in a date": element(0x00080021, "DA", MARK) + element(0x00080012, "DA", MARK),
    "name in a zone": element(0x00080201, "SH", MARK),
    "longer text, called safe": element(0x00190010, "LO", b"GEMS_ACQU_01") + element(0x00191023, "LT", MARK),
    "text for a number, called safe": element(0x00190010, "LO", b"GEMS_ACQU_01")
    + element(0x00191023, "LO", MARK)
    + element(0x00191024, "DS", MARK)
    + element(0x00191027, "UN", MARK),
    "label of a waveform": element(0x54000100, "SQ", item([element(0x003A0203, "SH", MARK)])),
}


@pytest.mark.parametrize("options", SETS, ids=lambda each: "+".join(each) or "basic")
@pytest.mark.parametrize("place", PLACES)
def test_nothing_leaves_from_an_odd_place(place: str, options: tuple[str, ...]) -> None:
    made = Deidentifier([Option(each) for each in options], Key(b"k" * 32), Named(), "MAPDR test")
    start = element(0x00080016, "UI", CT)
    for header, tail in ((start + PLACES[place], None), (start, PLACES[place])):
        done = made.apply(header, tail, EXPLICIT)
        left = done.header + done.tail
        assert MARK not in left
        if not {"full-dates"} & set(options):
            assert BORN not in left


@pytest.mark.parametrize("options", SETS, ids=lambda each: "+".join(each) or "basic")
def test_what_no_row_names_and_identifies_all_the_same(options: tuple[str, ...]) -> None:
    listed = [element(tag, tag_vr(tag), MARK + b"  ") for tag in sorted(unnamed())]
    made = Deidentifier([Option(each) for each in options], Key(b"k" * 32), Named(), "MAPDR test")
    done = made.apply(
        element(0x00080016, "UI", CT) + b"".join(listed) + within(b"".join(listed)), None, EXPLICIT
    )
    assert len(listed) > 50
    assert not unnamed().keys() & attributes().keys()
    assert MARK not in done.header


def test_all_uids_of_the_standard_s_are_kept() -> None:
    assert [uid for uid in UID_dictionary if Key(b"k" * 32).uid(uid) != uid] == []


@pytest.mark.parametrize(
    "uid",
    [
        b"1.2.840.10008.ZQMARK",
        b"1.2.840.10008.19530211.4711",
        b"1.2.840.10008",
        b"1.2.840.10008.1953.2.11",
        b"1.2.840.10008.5.1953.2.11.4711",
        b"1.2.276.0.77.1.2.840.10008.5.1.4",
    ],
)
def test_a_uid_below_the_standard_s_root_is_no_uid_of_the_standard_s(uid: bytes) -> None:
    made = Deidentifier([], Key(b"k" * 32), Named(), "MAPDR test")
    done = made.apply(element(0x00080018, "UI", uid) + within(element(0x00081155, "UI", uid)), None, EXPLICIT)
    assert uid not in done.header
    assert done.header.count(Key(b"k" * 32).uid(uid.decode()).encode()) == 2


def test_a_class_is_replaced_where_it_is_no_uid_and_kept_where_it_is_one() -> None:
    made = Deidentifier([], Key(b"k" * 32), Named(), "MAPDR test")
    private = b"1.2.826.0.1.3680043.99"
    for syntax, write in ((EXPLICIT, lambda tag, value: element(tag, "UI", value)), (IMPLICIT, implicit)):
        assert private in made.apply(write(0x00080016, private), None, syntax).header
        assert MARK not in made.apply(write(0x00080016, MARK), None, syntax).header


def test_a_number_of_more_digits_than_python_reads_is_none() -> None:
    head = element(0x00080016, "UI", CT) + element(0x00280008, "IS", b"9" * 5000)
    for tag, value in ((0x00280002, 1), (0x00280010, 4), (0x00280011, 4), (0x00280100, 16)):
        head += number(tag, value)
    made = Deidentifier([], Key(b"k" * 32), Named(), "MAPDR test").apply(head, b"", EXPLICIT)
    assert made.frame_bits == 4 * 4 * 16
