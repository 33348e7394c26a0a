"""Every row of PS3.15 Table E.1-1 under every option, against a reading of the table of its own."""

from __future__ import annotations

import csv
import struct
import tomllib
from functools import cache
from pathlib import Path

import pytest
from pydicom.datadict import dictionary_VR

import mapdr
from mapdr.dicom.deidentify.header import Deidentifier
from mapdr.dicom.deidentify.keys import Key
from mapdr.dicom.deidentify.table import Option, resolve, type_at_top, type_in_item
from mapdr.dicom.recode import recode
from mapdr.dicom.write import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    LONG_VRS,
    SHORT_VRS,
    Encoding,
    element,
    item,
    walk,
)
from mapdr.kernel.errors import Permanent

MARK = "ZQMARK"
UID = "1.2.826.0.1.3680043.77"
PRIVATE_CLASS = "1.2.826.0.1.3680043.99"
"""A SOP class of which no IOD is known."""
UNLISTED = 0x00081115
"""Referenced Series Sequence: not in the table, so what is in it is gone through."""
ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(mapdr.__file__).parent / "dicom/deidentify/table-e1-1.csv"
SYNTAXES = {
    "1.2.840.10008.1.2": IMPLICIT_LITTLE,
    "1.2.840.10008.1.2.1": EXPLICIT_LITTLE,
    "1.2.840.10008.1.2.2": EXPLICIT_BIG,
}
EXPLICIT = "1.2.840.10008.1.2.1"
COLUMN = {
    "retain-uids": "retain_uids",
    "retain-device-identity": "retain_device_identity",
    "retain-institution-identity": "retain_institution_identity",
    "retain-patient-characteristics": "retain_patient_characteristics",
    "retain-safe-private": "retain_safe_private",
    "full-dates": "retain_longitudinal_full_dates",
    "modified-dates": "retain_longitudinal_modified_dates",
    "clean-descriptors": "clean_descriptors",
    "clean-structured-content": "clean_structured_content",
    "clean-graphics": "clean_graphics",
}
OPTION_SETS = [
    (),
    *((option,) for option in COLUMN),
    ("retain-uids", "retain-device-identity", "full-dates", "retain-safe-private"),
    ("modified-dates", "clean-descriptors", "clean-structured-content", "clean-graphics"),
]


class Named:
    """Pseudonyms that are the same for everybody."""

    def of(self, patient: str) -> tuple[str, str]:
        return "PSEUDO1", "PSEUDO1"


@cache
def rows() -> dict[int, dict[str, str]]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 657
    plain = [row for row in table if "x" not in row["tag"] and "gggg" not in row["tag"]]
    assert len(table) - len(plain) == 4  # curves, overlay data, overlay comments, private attributes
    return {int(row["tag"][1:5] + row["tag"][6:10], 16): row for row in plain}


def vr_of(tag: int) -> str:
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        name = rows()[tag]["name"]
        return "SQ" if "Sequence" in name or name == "Ethnic Groups" else "DT" if "DateTime" in name else "LO"


def value_of(tag: int, vr: str) -> bytes:
    """A marked value of a VR."""
    if tag == 0x00080201:  # TimezoneOffsetFromUTC
        return b"+0100"
    match vr:
        case "SQ":
            return item([element(0x00080104, "LO", MARK.encode())])  # Code Meaning, which no row names
        case "UI":
            return f"{UID}.{tag}".encode()
        case "DA":
            return b"19530211"
        case "DT":
            return b"19530211112233.5+0100"
        case "TM":
            return b"112233"
        case "DS" | "IS":
            return b"83451"
        case "AS":
            return b"063Y"
        case "US" | "SS":
            return struct.pack("<H", 0xBEE)
        case "FD" | "FL":
            return struct.pack("<d" if vr == "FD" else "<f", 83451.0)
    return MARK.encode()


def subject(sop_class: str = PRIVATE_CLASS) -> bytes:
    """Every row at the top, nested twice, and in a private sequence."""
    listed = {tag: element(tag, vr_of(tag), value_of(tag, vr_of(tag))) for tag in sorted(rows())}
    inner = {tag: one for tag, one in listed.items() if tag >> 16 > 2}
    once = item([element(UNLISTED, "SQ", item(list(inner.values())))])
    others = {
        0x00080016: element(0x00080016, "UI", sop_class.encode()),
        UNLISTED: element(UNLISTED, "SQ", once),
        0x00090010: element(0x00090010, "LO", b"SOMEBODY"),
        0x00091001: element(0x00091001, "SQ", item(list(inner.values()))),
        0x50000010: element(0x50000010, "US", b"\1\0"),
        0x50003000: element(0x50003000, "OW", MARK.encode()),
        0x60000022: element(0x60000022, "LO", MARK.encode()),
        0x60003000: element(0x60003000, "OW", MARK.encode()),
        0x60004000: element(0x60004000, "LT", MARK.encode()),
    }
    return b"".join(one for _, one in sorted({**listed, **others}.items()))


def deidentifier(*options: str) -> Deidentifier:
    return Deidentifier([Option(each) for each in options], Key(b"k" * 32), Named(), "MAPDR test")


def values(data: bytes, encoding: Encoding) -> dict[int, bytes]:
    return {each.tag: data[each.value : each.end] for each in walk(data, encoding)}


def within(value: bytes, encoding: Encoding) -> bytes:
    """The content of the first item of a sequence's value."""
    length = int.from_bytes(value[4:8], "big" if encoding.big else "little")
    return value[8 : 8 + length]


def outcome(tag: int, found: dict[int, bytes], came: dict[int, bytes]) -> str:
    """The code of what became of an element."""
    if tag not in found:
        return "X"
    if not found[tag]:
        return "Z"
    new = found[tag].strip(b" \0")
    if new == came[tag].strip(b" \0"):
        return "K"
    if new.startswith(b"2.25."):
        return "U"
    return "D"


def expected(tag: int, options: tuple[str, ...]) -> set[str]:
    """The codes that the table allows, read anew."""
    row, vr = rows()[tag], vr_of(tag)
    said = {option: row[COLUMN[option]] for option in options if row[COLUMN[option]]}
    basic = row["basic_profile"]
    # Compound codes are those of a class of which no IOD is known.
    code = ("U" if "U*" in basic else "D") if "/" in basic else basic
    if "K" in said.values():
        code = "K"
    elif said.get("modified-dates") == "C" and vr in ("DA", "DT", "TM"):
        code = "K" if vr == "TM" else "D"
    elif said.get("modified-dates") == "C" and row["keyword"] == "TimezoneOffsetFromUTC":
        code = "K"
    elif "C" in said.values() and vr == "SQ":
        return {"K", "D", "Z"}  # gone through: content items and codes are judged by tests of their own
    if row["keyword"] in ("PatientName", "PatientID"):
        return {"D"}  # the pseudonym
    if code in ("U", "D") and vr == "UI":
        return {"U"}
    if vr == "SQ" and code in ("U", "K"):
        return {"K"}  # gone through: here it holds nothing that is changed
    if tag == 0x00081111 and code == "D":
        return {"K"}  # references only, which are gone through
    return {code}


@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda each: "+".join(each) or "basic")
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_row(options: tuple[str, ...], syntax: str) -> None:
    encoding = SYNTAXES[syntax]
    data = recode(subject(), EXPLICIT_LITTLE, encoding)
    made = deidentifier(*options).apply(data, None, syntax)
    came, found = values(data, encoding), values(made.header, encoding)
    inner_came, inner = (
        values(within(values(within(each[UNLISTED], encoding), encoding)[UNLISTED], encoding), encoding)
        for each in (came, found)
    )
    wrong = []
    for tag in rows():
        if tag >> 16 <= 2:
            assert tag not in found, hex(tag)
            continue
        for where, there, was in (("top", found, came), ("nested", inner, inner_came)):
            allowed, became = expected(tag, options), outcome(tag, there, was)
            if became not in allowed:
                wrong.append((where, hex(tag), rows()[tag]["name"], became, allowed))
    assert not wrong
    assert not [tag for tag in found if tag >> 16 & 1 or tag >> 24 in (0x50, 0x60)]


def test_no_marker_is_left_by_the_basic_profile() -> None:
    made = deidentifier().apply(subject(), None, EXPLICIT)
    # What Table E.1-1 keeps of sequences of references, here filled with what does not belong there.
    rest = made.header
    for sequence in ("(0008,1140)", "(0008,2112)", "(0008,1111)"):
        tag = int(sequence[1:5] + sequence[6:10], 16)
        rest = rest.replace(element(tag, "SQ", value_of(tag, "SQ")), b"")
    assert MARK.encode() not in rest
    assert UID.encode() not in rest
    assert b"19530211" not in rest


def test_types_of_the_iod_decide_over_compound_codes() -> None:
    ct = "1.2.840.10008.5.1.4.1.1.2"
    found = values(deidentifier().apply(subject(ct), None, EXPLICIT).header, EXPLICIT_LITTLE)
    came = values(subject(ct), EXPLICIT_LITTLE)
    became = {tag: outcome(tag, found, came) for tag in rows()}
    assert became[0x00080021] == "X"  # SeriesDate, type 3
    assert became[0x00080023] == "Z"  # ContentDate, type 2C
    assert became[0x00181030] == "X"  # ProtocolName, type 3
    assert became[0x00081140] == "X"  # ReferencedImageSequence, type 3
    assert type_at_top(ct, 0x00080023) == 2
    assert type_at_top("1.2.3", 0x00080023) == 0
    assert type_in_item(0x00189506, 0x00181000) == 1  # ContributingSourcesSequence, DeviceSerialNumber 1C
    sr = "1.2.840.10008.5.1.4.1.1.88.33"
    assert type_at_top(sr, 0x00080023) == 1


def test_the_tables_are_part_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    data = project["tool"]["setuptools"]["package-data"]["mapdr.dicom.deidentify"]
    assert [name.name for name in TABLE.parent.glob("*.csv") if not any(map(name.match, data))] == []
    assert len(list(TABLE.parent.glob("*.csv"))) == 5


@pytest.mark.parametrize(
    ("code", "by_type"),
    [
        ("X/Z", "DDZX"),
        ("X/D", "DDDX"),
        ("Z/D", "DDZZ"),
        ("X/Z/D", "DDZX"),
        ("X/Z/U*", "UUUX"),
        ("X", "XXXX"),
    ],
)
def test_compound_codes(code: str, by_type: str) -> None:
    assert "".join(resolve(code, type_) for type_ in range(4)) == by_type


OPENED = frozenset((0x00081140, 0x00082112, 0x00081111, 0x00700001))
"""Sequences of references, and graphic annotations: gone through, for what is in them has its own rows."""


@pytest.mark.parametrize("vr", sorted({*LONG_VRS, *SHORT_VRS}))
def test_no_marker_is_left_whatever_vr_a_row_is_written_in(vr: str) -> None:
    value = item([element(0x00080104, "LO", MARK.encode())]) if vr == "SQ" else MARK.encode()
    listed = {tag: element(tag, vr, value) for tag in sorted(rows()) if tag not in OPENED}
    inner = [one for tag, one in listed.items() if tag >> 16 > 2]
    listed[UNLISTED] = element(UNLISTED, "SQ", item([element(UNLISTED, "SQ", item(inner))]))
    data = b"".join(one for _, one in sorted(listed.items()))
    assert MARK.encode() not in deidentifier().apply(data, None, EXPLICIT).header


@pytest.mark.parametrize("tag", sorted(OPENED))
def test_what_is_gone_through_and_is_no_sequence_is_refused(tag: int) -> None:
    with pytest.raises(Permanent) as caught:
        deidentifier().apply(element(tag, "LO", MARK.encode()), None, EXPLICIT)
    assert caught.value.reason == "sequence"
