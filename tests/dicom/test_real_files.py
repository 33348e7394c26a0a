"""Scan and edits on every readable file of the test data, compared with pydicom; damaged ones survive."""

from __future__ import annotations

import io
import logging
import random
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pydicom
import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info, read_preamble
from pydicom.filewriter import write_dataset

from mapdr.dicom.edit.tree import apply_edits
from mapdr.dicom.edit.verbs import PREFIX, REMOVE, SET
from mapdr.dicom.path import parse_edit_path, parse_path
from mapdr.dicom.scan import NeedMore, Unreadable, layout, scan
from mapdr.dicom.template import Template
from mapdr.dicom.transfer_syntax import is_deflated
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.errors import Permanent

from .datasets import BIG, EXPLICIT, IMPLICIT, different, flat

PATHS = [
    parse_path(text)
    for text in [
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "StationName",
        "InstitutionName",
        "PatientID",
        "PatientName",
        "StudyDate",
        "AccessionNumber",
        "StudyDescription",
        "Rows",
        "ImageType",
        "PixelSpacing",
        "NumberOfFrames",
        "RequestAttributesSequence.ScheduledProcedureStepID",
        "ReferencedStudySequence.ReferencedSOPInstanceUID",
        "ConceptNameCodeSequence.CodeMeaning",
        "SharedFunctionalGroupsSequence.PixelMeasuresSequence.PixelSpacing",
    ]
]
WANTED = frozenset(PATHS)
# No data set begins where its File Meta Information would end: pydicom guesses, MAPDR refuses.
BROKEN = {"dcm4che/no_preamble_dicm_in_data"}
CUT = {"pydicom/rtplan_truncated.dcm", "pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm"}
# The SOP Instance UID comes twice; pydicom takes the last, MAPDR and DCMTK the first.
TWICE = {"pydicom/winter.dcm"}


class File(NamedTuple):
    name: str
    syntax: str
    raw: bytes


@contextmanager
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def data_set_of(path: Path) -> tuple[str, bytes] | None:
    """Transfer syntax and data set of a Part 10 file; None for others."""
    raw = path.read_bytes()
    if raw[128:132] != b"DICM":
        return None
    with path.open("rb") as file:
        read_preamble(file, force=False)
        meta = read_file_meta_info(path)
    with io.BytesIO(raw) as stream:
        read_preamble(stream, force=False)
        from pydicom.filereader import _read_file_meta_info

        _read_file_meta_info(stream)
        return str(meta.get("TransferSyntaxUID", "")), raw[stream.tell() :]


@pytest.fixture(scope="module")
def files(catalogue: list[Path], data: Path) -> list[File]:
    """The data sets of the test data; of whole series every tenth."""
    out = []
    for number, path in enumerate(catalogue):
        name = path.relative_to(data).as_posix()
        if name.startswith("series/") and number % 10:
            continue
        with quiet(), suppress(Exception):
            found = data_set_of(path)
            if found:
                out.append(File(name, *found))
    assert len(out) > 100
    return out


def pydicom_texts(data_set: pydicom.Dataset, path: tuple[int, ...]) -> list[str]:
    if path[0] not in data_set:
        return []
    element = data_set[path[0]]
    if len(path) > 1:
        return [text for item in element.value for text in pydicom_texts(item, path[1:])]
    if element.is_empty:
        return []
    return [str(value) for value in element.value] if element.VM > 1 else [str(element.value)]


def same(ours: tuple[str, ...], theirs: list[str]) -> bool:
    # pydicom drops the empty component groups at the end of a name.
    return [text.rstrip("=^ ") for text in ours] == [text.strip(" ").rstrip("=^ ") for text in theirs]


def test_the_scan_finds_what_pydicom_finds(files: list[File], data: Path) -> None:
    compared = 0
    for file in files:
        header = scan(file.raw, file.syntax, WANTED, complete=True)
        assert header.truncated or file.name not in CUT, file.name
        if file.name in CUT | TWICE:
            continue
        with quiet():
            data_set = pydicom.dcmread(data / file.name)
            for path in PATHS:
                assert same(header.texts(path), pydicom_texts(data_set, path)), (file.name, path)
                compared += bool(header.texts(path))
        has_pixels = any(tag in data_set for tag in (0x7FE00008, 0x7FE00009, 0x7FE00010))
        assert (header.pixel_offset is not None) == has_pixels, file.name
    assert compared > 1000


def test_the_pixel_data_is_where_pydicom_says(files: list[File], data: Path) -> None:
    compared = 0
    for file in files:
        if is_deflated(file.syntax) or file.name in CUT:
            continue
        header = scan(file.raw, file.syntax, frozenset(), complete=True)
        place = layout(file.raw, file.syntax)
        with quiet():
            data_set = pydicom.dcmread(data / file.name)
            raw = data_set.get_item(0x7FE00010) if 0x7FE00010 in data_set else None
            if not isinstance(raw, pydicom.dataelem.RawDataElement):
                continue
            before = (data / file.name).stat().st_size - len(file.raw)
            assert header.pixel_value == raw.value_tell - before, file.name
            if raw.length != 0xFFFFFFFF and not header.truncated:
                assert place.pixel_end == raw.value_tell - before + raw.length, file.name
            assert header.encapsulated == (raw.length == 0xFFFFFFFF), file.name
            behind = [tag for tag in list(data_set.keys()) if tag > 0x7FE00010]
            assert (place.pixel_end < place.size) == bool(behind) or header.remarks, file.name
        compared += 1
    assert compared > 100


def test_a_growing_prefix_gives_the_same(files: list[File]) -> None:
    for file in files:
        whole = scan(file.raw, file.syntax, WANTED, complete=True)
        size = len(file.raw)
        lengths = [1]
        part = None
        while part is None:
            raw = file.raw[: lengths[-1]]
            try:
                part = scan(raw, file.syntax, WANTED, complete=lengths[-1] >= size, size=size)
            except NeedMore as error:
                lengths.append(min(error.at_least, size))
        assert lengths == sorted(set(lengths)), file.name
        assert part.pixel_offset == whole.pixel_offset, file.name
        for path in PATHS:
            assert part.texts(path) == whole.texts(path), (file.name, path)


EDITS = (
    SET(parse_edit_path("InstitutionName"), Template.parse("Clinic North")),
    PREFIX(parse_edit_path("AccessionNumber"), Template.parse("CN-"), if_empty="skip", overflow="truncate"),
    REMOVE(parse_edit_path("OtherPatientIDs")),
    SET(parse_edit_path("RequestAttributesSequence[0].ScheduledProcedureStepID"), Template.parse("X1")),
)
NAMED = {(0x00080080,), (0x00080050,), (0x00101000,)}


def test_edits_change_what_they_name_and_nothing_else(files: list[File]) -> None:
    edited = 0
    for file in files:
        raw = zlib.decompress(file.raw, -zlib.MAX_WBITS) if is_deflated(file.syntax) else file.raw
        syntax = file.syntax if file.syntax in (IMPLICIT, BIG) else EXPLICIT
        place = layout(raw, syntax)
        header = raw[: place.header_end]
        tail = raw[place.pixel_end :] if place.pixel_end > place.header_end else None
        flags = scan(raw, syntax, frozenset(), complete=True)
        if any("VR" in remark for remark in flags.remarks) or file.name in CUT | TWICE:
            with suppress(Permanent):
                apply_edits(header, syntax, EDITS, tail=tail)
            continue
        done = apply_edits(header, syntax, EDITS, tail=tail)
        assert done.tail == (tail or b"")
        assert not done.moved
        with quiet():
            paths = different(flat(header, syntax), flat(done.header, syntax))
        assert (0x00080080,) in paths or b"Clinic North" in header, file.name
        assert {path for path in paths if path[0] != 0x00400275} <= NAMED, file.name
        assert all(path[1:] in ((), (0, 0x00400009)) for path in paths if path[0] == 0x00400275), file.name
        edited += 1
    assert edited > 100


def test_all_text_of_real_files_moves_to_utf8(files: list[File]) -> None:
    moved = 0
    edits = [
        SET(parse_edit_path("SpecificCharacterSet"), Template.parse("ISO_IR 192")),
        SET(parse_edit_path("StudyDescription"), Template.parse("日本 שלום и é")),
    ]
    for file in files:
        if is_deflated(file.syntax) or file.name in CUT:
            continue
        syntax = file.syntax if file.syntax in (IMPLICIT, BIG) else EXPLICIT
        place = layout(file.raw, syntax)
        header = file.raw[: place.header_end]
        if file.name in BROKEN:
            with pytest.raises(Permanent):
                apply_edits(header, syntax, edits)
            continue
        done = apply_edits(header, syntax, edits, assumed=[AssumedSet("ISO_IR 100")])
        before = scan(header, syntax, WANTED, complete=True)
        after = scan(done.header, syntax, WANTED, complete=True)
        assert after.character_set == ("ISO_IR 192",)
        for path in PATHS:
            if path != parse_path("StudyDescription"):
                assert before.texts(path) == after.texts(path), (file.name, path)
        moved += done.moved
    assert moved > 50


def test_damaged_real_files_raise_only_what_is_documented(files: list[File]) -> None:
    chance = random.Random(20250102)
    for file in files:
        if len(file.raw) > 1_000_000 and chance.random() < 0.8:
            continue
        head = bytearray(file.raw[:20_000])
        for _ in range(5):
            for _ in range(chance.randint(1, 20)):
                head[chance.randrange(len(head))] = chance.choice(
                    (0, 1, 0x7F, 0x80, 0xFE, 0xFF, chance.randrange(256))
                )
            raw = bytes(head)
            for complete in (True, False):
                with suppress(Unreadable, NeedMore):
                    header = scan(raw, file.syntax, WANTED, complete=complete)
                    for path in PATHS:
                        header.texts(path)
            with suppress(Permanent):
                apply_edits(raw, file.syntax, EDITS)


def test_what_pydicom_writes_of_an_edited_file_is_what_mapdr_wrote(files: list[File]) -> None:
    """Where pydicom writes a file back as it was, it does so after the edits too."""
    compared = 0
    for file in files:
        if file.syntax not in (IMPLICIT, EXPLICIT, BIG) or len(file.raw) > 600_000:
            continue

        def rewritten(raw: bytes, syntax: str = file.syntax) -> bytes:
            from .datasets import decode

            buffer = DicomBytesIO()
            buffer.is_implicit_VR, buffer.is_little_endian = syntax == IMPLICIT, syntax != BIG
            write_dataset(buffer, decode(raw, syntax))
            return buffer.getvalue()

        with quiet(), suppress(Exception):
            if rewritten(file.raw) != file.raw:
                continue
            done = apply_edits(file.raw, file.syntax, EDITS)
            assert rewritten(done.header) == done.header, file.name
            compared += 1
    assert compared > 20
