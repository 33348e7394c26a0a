"""Data sets for these tests, written and read by pydicom: an implementation that MAPDR's does not share."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
SYNTAXES = (IMPLICIT, EXPLICIT, BIG)

Flat = dict[tuple[Any, ...], tuple[str, bytes]]


def item(**values: Any) -> Dataset:
    out = Dataset()
    for keyword, value in values.items():
        setattr(out, keyword, value)
    return out


def ct(*, undefined: bool = False, charset: str | list[str] = "ISO_IR 100") -> Dataset:
    """A small CT header with nested sequences, private blocks and no pixel data."""
    out = item(
        SpecificCharacterSet=charset,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
        SOPInstanceUID="1.2.3.4.5",
        StudyDate="20250102",
        AccessionNumber="A1",
        Modality="CT",
        InstitutionName="Somewhere",
        PatientName="Doe^Jane",
        PatientID="ID1",
        SliceThickness="1.5",
        StudyInstanceUID="1.2.3",
        Rows=4,
        Columns=4,
    )
    code = item(CodeValue="T1", CodeMeaning="first")
    out.RequestAttributesSequence = [
        item(
            ScheduledProcedureStepID="S1",
            RequestedProcedureDescription="one",
            ScheduledProtocolCodeSequence=[code],
        ),
        item(ScheduledProcedureStepID="S2", ScheduledProtocolCodeSequence=[]),
    ]
    block = out.private_block(0x0009, "GEMS_IDEN_01", create=True)
    block.add_new(0x01, "LO", "private text")
    block.add_new(0x02, "UN", b"\x01\x02\x03\x04")
    other = out.private_block(0x0009, "OTHER", create=True)
    other.add_new(0x01, "SH", "other")
    inner = out.RequestAttributesSequence[0].private_block(0x0011, "GEMS_IDEN_01", create=True)
    inner.add_new(0x03, "LO", "nested")
    if undefined:
        _undefine(out)
    return out


def _undefine(data_set: Dataset) -> None:
    for element in data_set:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for nested in element.value:
                nested.is_undefined_length_sequence_item = True
                _undefine(nested)


def encode(data_set: Dataset, syntax: str) -> bytes:
    """The data set's bytes, without preamble and File Meta."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == IMPLICIT
    buffer.is_little_endian = syntax != BIG
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def decode(raw: bytes, syntax: str) -> Dataset:
    """The data set as pydicom reads it."""
    return read_dataset(io.BytesIO(raw), syntax == IMPLICIT, syntax != BIG)


def flat(raw: bytes, syntax: str) -> Flat:
    """Every element by its path of tags and item numbers: its VR, and its value's own bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(_flat(decode(raw, syntax), ()))


def _flat(data_set: Dataset, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], tuple[str, bytes]]]:
    raws = {tag: data_set.get_item(tag) for tag in list(data_set.keys())}
    for tag, raw in raws.items():
        here = (*path, int(tag))
        value = raw.value
        vr = raw.VR or ""
        element = data_set[tag]
        if element.VR == "SQ":
            yield here, ("SQ", b"%d items" % len(element.value))
            for number, nested in enumerate(element.value):
                yield from _flat(nested, (*here, number))
        else:
            yield here, (vr, value if isinstance(value, bytes) else b"")


def different(before: Flat, after: Flat) -> set[tuple[Any, ...]]:
    """The paths whose element is not the same on both sides; group lengths apart."""
    return {
        path
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path) and path[-1] & 0xFFFF
    }


def element(tag: int, vr: str, value: bytes, syntax: str = EXPLICIT, length: int | None = None) -> bytes:
    """One element as bytes; `length` may lie."""
    order = ">" if syntax == BIG else "<"
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT or tag >> 16 == 0xFFFE:
        return head + struct.pack(order + "L", size) + value
    if vr in ("OB", "OW", "OF", "SQ", "UN", "UT", "UC", "UR"):
        return head + vr.encode() + b"\0\0" + struct.pack(order + "L", size) + value
    return head + vr.encode() + struct.pack(order + "H", size) + value


UNDEFINED = 0xFFFFFFFF


def nested(depth: int, inner: bytes, syntax: str = EXPLICIT, *, defined: bool = False) -> bytes:
    """`inner` within `depth` sequences of one item each."""
    for _ in range(depth):
        if defined:
            inner = element(0x0040A730, "SQ", element(0xFFFEE000, "", inner, syntax), syntax)
        else:
            inner = (
                element(0x0040A730, "SQ", b"", syntax, UNDEFINED)
                + element(0xFFFEE000, "", b"", syntax, UNDEFINED)
                + inner
                + element(0xFFFEE00D, "", b"", syntax)
                + element(0xFFFEE0DD, "", b"", syntax)
            )
    return inner
