"""De-identification of headers: keys, dates, structured content, graphics, private blocks, refusals."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import mapdr
from mapdr import _fast
from mapdr._fast.scan_tables import Unreadable
from mapdr.dicom.deidentify import burned_in, reading
from mapdr.dicom.deidentify.header import Deidentified, Deidentifier
from mapdr.dicom.deidentify.keys import MAX_DAYS, Key, format_key, parse_key, project_key
from mapdr.dicom.deidentify.table import Option
from mapdr.dicom.uids import is_valid_uid
from mapdr.dicom.write import element, item
from mapdr.kernel.errors import Permanent

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
KEY = Key(b"k" * 32)


class Generated:
    def of(self, patient: str) -> tuple[str, str]:
        return (KEY.pseudonym(patient),) * 2


def deidentifier(*options: str) -> Deidentifier:
    return Deidentifier([Option(each) for each in options], KEY, Generated(), "MAPDR test")


def written(data: Dataset) -> bytes:
    out = io.BytesIO()
    pydicom.dcmwrite(out, data, implicit_vr=False, little_endian=True, force_encoding=True)
    return out.getvalue()


def subject(**values: Any) -> Dataset:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CT, "1.2.3.4"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.3", "1.2.3.1", "1.2.3.9"
    data.PatientName, data.PatientID, data.PatientBirthDate = "Doe^Jane", "PID-77", "19500102"
    data.StudyDate, data.SeriesDate, data.StudyTime = "20240229", "20240301", "235959"
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def done(data: Dataset, *options: str) -> Dataset:
    made = deidentifier(*options).apply(written(data), None, EXPLICIT)
    return parsed(made)


def parsed(made: Deidentified) -> Dataset:
    return pydicom.dcmread(io.BytesIO(made.header), force=True)


def test_what_is_said_of_it() -> None:
    found = done(subject(DeidentificationMethod="by hand"), "modified-dates", "retain-uids")
    assert found.PatientIdentityRemoved == "YES"
    assert list(found.DeidentificationMethod) == ["by hand", "MAPDR test"]
    codes = [each.CodeValue for each in found.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113110"]
    assert found.LongitudinalTemporalInformationModified == "MODIFIED"
    assert done(subject(), "full-dates").LongitudinalTemporalInformationModified == "UNMODIFIED"
    assert done(subject()).LongitudinalTemporalInformationModified == "REMOVED"
    assert [element.tag for element in found] == sorted(element.tag for element in found)


@pytest.mark.parametrize(
    ("earlier", "options", "said"),
    [
        ("MODIFIED", ("full-dates",), "MODIFIED"),
        ("REMOVED", ("full-dates",), "REMOVED"),
        ("REMOVED", ("modified-dates",), "REMOVED"),
        ("UNMODIFIED", ("modified-dates",), "MODIFIED"),
        ("MODIFIED", (), "REMOVED"),
        ("Doe", ("full-dates",), "UNMODIFIED"),
    ],
)
def test_dates_that_were_modified_before_are_not_full_ones_again(
    earlier: str, options: tuple[str, ...], said: str
) -> None:
    found = done(subject(LongitudinalTemporalInformationModified=earlier), *options)
    assert found.LongitudinalTemporalInformationModified == said


def test_clean_pixel_data_is_claimed_only_where_a_step_covers_the_pixels() -> None:
    step, data = deidentifier("clean-pixel-data"), written(subject())
    for is_covered, codes in ((False, ["113100"]), (True, ["113100", "113101"])):
        found = parsed(step.apply(data, b"", EXPLICIT, is_covered=is_covered))
        assert [each.CodeValue for each in found.DeidentificationMethodCodeSequence] == codes


def test_uids_are_the_same_everywhere_and_those_of_the_standard_stay() -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, "1.2.3.4"
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = "1.2.3.1", Sequence([reference])
    data = subject(
        ReferencedSeriesSequence=Sequence([series]),
        SOPInstanceUIDOfConcatenationSource="1.2.3.4",
        ConcatenationUID="1.2.3.5",
    )
    found = done(data)
    (inner,) = found.ReferencedSeriesSequence
    assert found.SOPClassUID == inner.ReferencedInstanceSequence[0].ReferencedSOPClassUID == CT
    assert found.SOPInstanceUID == KEY.uid("1.2.3.4") == found.SOPInstanceUIDOfConcatenationSource
    assert inner.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == found.SOPInstanceUID
    assert inner.SeriesInstanceUID == found.SeriesInstanceUID == KEY.uid("1.2.3.1")
    assert found.FrameOfReferenceUID == KEY.uid("1.2.3.9") != "1.2.3.9"
    assert done(data, "retain-uids").SOPInstanceUIDOfConcatenationSource == "1.2.3.4"


def test_keys() -> None:
    other = Key(b"K" * 32)
    assert KEY.uid("1.2.3") != other.uid("1.2.3")
    assert KEY.uid("1.2.840.10008.1.2") == "1.2.840.10008.1.2"
    assert parse_key(format_key(b"k" * 32) + "\n") == b"k" * 32
    assert project_key(b"s" * 32) != b"s" * 32
    for text in ("", "secret", "0" * 63):
        with pytest.raises(ValueError, match="is no key") as caught:
            parse_key(text)
        assert not text or text not in str(caught.value)
    with pytest.raises(ValueError, match="32 bytes"):
        Key(b"short")


@given(st.text(max_size=80))
def test_what_a_key_makes_is_valid(text: str) -> None:
    uid = KEY.uid("1" + text)
    assert is_valid_uid(uid)
    assert re.fullmatch(r"[A-Z2-7]{16}", KEY.pseudonym(text))
    assert -MAX_DAYS <= KEY.days(text) <= -1


def test_a_patient_is_the_same_in_each_study_and_character_set() -> None:
    names = {done(subject(StudyInstanceUID=f"1.2.{n}")).PatientID for n in range(3)}
    assert names == {KEY.pseudonym("PID-77")}
    latin, utf8 = (
        written(subject(PatientID=name, SpecificCharacterSet=charset))
        for name, charset in (("M\u00fcller", "ISO_IR 100"), ("M\u00fcller", "ISO_IR 192"))
    )
    assert latin != utf8
    step = deidentifier()
    made = {parsed(step.apply(each, None, EXPLICIT)).PatientID for each in (latin, utf8)}
    assert made == {KEY.pseudonym("M\u00fcller")}
    nameless = {done(subject(PatientID="", PatientName=name)).PatientID for name in ("A^B", "C^D")}
    assert len(nameless) == 2


def test_private_blocks_that_are_known_to_be_safe() -> None:
    data = subject()
    for group, creator, known, other in (
        (0x0019, "SIEMENS MR HEADER", 0x0C, 0x08),
        (0x0043, "GEMS_PARM_01", 0x39, 0x01),
    ):
        block = data.private_block(group, creator, create=True)
        block.add_new(known, "IS", "1000")
        block.add_new(other, "LO", "Doe")
    data.private_block(0x0009, "SOMEBODY", create=True).add_new(0x01, "LO", "Doe")
    assert not [each for each in done(data) if each.tag.is_private]
    kept = [each for each in done(data, "retain-safe-private") if each.tag.is_private]
    assert [int(each.tag) for each in kept] == [0x00190010, 0x0019100C, 0x00430010, 0x00431039]
    assert b"Doe" not in deidentifier("retain-safe-private").apply(written(data), None, EXPLICIT).header


def characteristics(group: int, creator: str, status: str, **elements: Any) -> Dataset:
    """An item of the Private Data Element Characteristics Sequence."""
    one, action = Dataset(), Dataset()
    one.PrivateGroupReference, one.PrivateCreatorReference = group, creator
    one.BlockIdentifyingInformationStatus = status
    if "safe" in elements:
        one.NonidentifyingPrivateElements = elements["safe"]
    if "unsafe" in elements:
        action.IdentifyingPrivateElements, action.DeidentificationAction = elements["unsafe"], "X"
        one.DeidentificationActionSequence = Sequence([action])
    return one


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ([(0x0029, "ACME", "SAFE", {})], [0x01, 0x02]),
        ([(0x0029, "ACME", "SAFE", {"unsafe": [0x02]})], [0x01]),
        ([(0x0029, "ACME", "UNSAFE", {"safe": [0x01]})], []),
        ([(0x0029, "ACME", "MIXED", {"safe": [0x01, 0x77]})], [0x01]),
        ([(0x0029, "ACME", "MIXED", {"safe": [0x01, 0x02], "unsafe": [0x01]})], [0x02]),
        ([(0x0029, "ACME", "MIXED", {})], []),
        ([(0x0029, "ACME", "safe?", {"safe": [0x01]})], []),
        ([(0x0029, "ACME 2", "SAFE", {}), (0x0031, "ACME", "SAFE", {})], []),
        ([(0x0029, "ACME", "SAFE", {}), (0x0029, "ACME", "MIXED", {"safe": [0x02]})], [0x02]),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
def test_an_image_says_which_private_elements_are_safe(
    said: list[tuple[int, str, str, dict[str, Any]]], kept: list[int], syntax: str
) -> None:
    inner = Dataset()
    data = subject(ReferencedSeriesSequence=Sequence([inner]))
    for level in (data, inner):
        block = level.private_block(0x0029, "ACME", create=True)
        block.add_new(0x01, "LO", "kernel 7")
        block.add_new(0x02, "US", 7)
    data.PrivateDataElementCharacteristicsSequence = Sequence(
        [characteristics(group, creator, status, **each) for group, creator, status, each in said]
    )
    is_implicit, is_big = syntax.endswith("10008.1.2"), syntax.endswith("1.2.2")
    out = io.BytesIO()
    pydicom.dcmwrite(out, data, implicit_vr=is_implicit, little_endian=not is_big, force_encoding=True)
    for options in (("retain-safe-private",), ()):
        made = deidentifier(*options).apply(out.getvalue(), None, syntax)
        found = pydicom.filereader.read_dataset(io.BytesIO(made.header), is_implicit, not is_big)
        for level in (found, found.ReferencedSeriesSequence[0]):
            tags = [int(each.tag) for each in level if each.tag.is_private]
            wanted = kept if options else []
            assert tags == [0x00290010] * bool(wanted) + [0x00291000 + each for each in wanted]


@pytest.mark.parametrize("options", [(), ("modified-dates", "clean-descriptors")])
def test_vrs_that_an_image_says_count_in_implicit_vr(options: tuple[str, ...]) -> None:
    data = subject()
    block = data.private_block(0x0029, "ACME 20240229", create=True)
    said = characteristics(0x0029, "ACME 20240229", "SAFE")
    said.PrivateDataElementDefinitionSequence = Sequence()
    values = ("PN", "Doe^Jane"), ("DA", "20240229"), ("UI", "1.2.3.4"), ("LO", "of 20240229"), ("SQ", None)
    for number, (vr, value) in enumerate(values, 1):
        block.add_new(number, vr, value or Sequence([Dataset()]))
        one = Dataset()
        one.PrivateDataElement, one.PrivateDataElementValueRepresentation = number, vr
        one.PrivateDataElementValueMultiplicity = 1
        said.PrivateDataElementDefinitionSequence.append(one)
    block.add_new(9, "LO", "unsaid")
    data.PrivateDataElementCharacteristicsSequence = Sequence([said])
    out = io.BytesIO()
    pydicom.dcmwrite(out, data, implicit_vr=True, little_endian=True, force_encoding=True)
    step = deidentifier("retain-safe-private", *options)
    made = step.apply(out.getvalue(), None, "1.2.840.10008.1.2").header
    read = pydicom.filereader.read_dataset(io.BytesIO(made), True, True)
    found = {int(tag) & 0xFFFF: read.get_item(tag).value for tag in read.keys() if tag.is_private}  # noqa: SIM118
    assert found.pop(0x0010).strip() == b"ACME 20240229"
    assert found.pop(0x1009) == b"unsaid"
    assert found.pop(0x1003).strip(b"\0").decode() == KEY.uid("1.2.3.4")
    if not options:
        assert found == {0x1004: b"of 20240229 "}
        return
    assert re.fullmatch(rb"[0-9]{8}", day := found.pop(0x1002))
    assert day != b"20240229"
    assert found.keys() == {0x1004}
    assert b"20240229" not in found[0x1004]


def test_what_an_image_says_goes_before_the_list() -> None:
    data = subject()
    data.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
    assert [each for each in done(data, "retain-safe-private") if each.tag.is_private]
    one = characteristics(0x0019, "SIEMENS MR HEADER", "UNSAFE")
    data.PrivateDataElementCharacteristicsSequence = Sequence([one])
    assert not [each for each in done(data, "retain-safe-private") if each.tag.is_private]


def test_names_dates_and_uids_in_a_block_that_is_called_safe() -> None:
    data = subject()
    block = data.private_block(0x0029, "ACME", create=True)
    for number, vr, value in (
        (1, "PN", "Doe^Jane"), (2, "DA", "20240229"), (3, "UI", "1.2.3.4"), (4, "AS", "030Y"),
    ):  # fmt: skip
        block.add_new(number, vr, value)
    data.PrivateDataElementCharacteristicsSequence = Sequence([characteristics(0x0029, "ACME", "SAFE")])
    found = done(data, "retain-safe-private")
    assert [int(each.tag) for each in found if each.tag.is_private] == [
        0x00290010, 0x00291002, 0x00291003, 0x00291004,
    ]  # fmt: skip
    assert found[0x00291002].value == "19000101"
    assert found[0x00291003].value == KEY.uid("1.2.3.4") == found.SOPInstanceUID


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def content(value_type: str, code: Dataset, **values: Any) -> Dataset:
    one = Dataset()
    one.RelationshipType, one.ValueType, one.ConceptNameCodeSequence = (
        "CONTAINS",
        value_type,
        Sequence([code]),
    )
    for keyword, value in values.items():
        setattr(one, keyword, value)
    return one


def report() -> Dataset:
    finding = content("TEXT", code("121071", "Finding"), TextValue="Jane Doe has a nodule")
    observer = content("PNAME", code("121008", "Person Observer Name"), PersonName="Reader^R")
    accession = content("TEXT", code("121022", "Accession Number"), TextValue="ACC-4711")
    begun = content("DATETIME", code("111526", "DateTime Started"), DateTime="20240229101112")
    size = content("NUM", code("81827009", "Diameter", "SCT"))
    size.MeasuredValueSequence = Sequence([Dataset()])
    size.MeasuredValueSequence[0].NumericValue = "12.5"
    inside = content("CONTAINER", code("111028", "Image Library"), ContentSequence=Sequence([finding, size]))
    return subject(
        SOPClassUID=SR, ContentSequence=Sequence([observer, accession, begun, inside]), Modality="SR"
    )


def test_structured_content_is_a_dummy_or_cleaned() -> None:
    (only,) = done(report()).ContentSequence
    assert (only.ValueType, only.TextValue) == ("TEXT", "ANONYMIZED")
    found = done(report(), "clean-structured-content", "modified-dates")
    types = [each.ValueType for each in found.ContentSequence]
    assert types == ["PNAME", "DATETIME", "CONTAINER"]  # no accession number
    observer, begun, inside = found.ContentSequence
    assert observer.PersonName == "ANONYMIZED"
    assert begun.DateTime[8:] == "101112"
    assert begun.DateTime[:8] != "20240229"
    finding, size = inside.ContentSequence
    assert finding.TextValue == "ANONYMIZED"
    assert size.MeasuredValueSequence[0].NumericValue == 12.5
    one = content("TEXT", code("1", "Quantity"), TextValue="Jane Doe")
    quantity = done(subject(QuantityDefinitionSequence=Sequence([one]))).QuantityDefinitionSequence
    assert quantity[0].TextValue == "ANONYMIZED"
    raw = deidentifier("clean-structured-content").apply(written(report()), None, EXPLICIT).header
    for secret in (b"Jane", b"Doe", b"Reader", b"ACC-4711", b"20240229"):
        assert secret not in raw


@pytest.mark.parametrize(
    ("value_type", "keyword"), [("TEXT", "TextValue"), ("PNAME", "PersonName"), ("UIDREF", "UID")]
)
def test_a_content_item_of_another_type_than_its_row_s_is_not_kept(value_type: str, keyword: str) -> None:
    age = content(value_type, code("121033", "Subject Age"), **{keyword: "1.2.3.4711"})
    data = subject(SOPClassUID=SR, ContentSequence=Sequence([age]))
    made = deidentifier("clean-structured-content", "retain-patient-characteristics").apply(
        written(data), None, EXPLICIT
    )
    assert b"4711" not in made.header


def test_graphic_annotations() -> None:
    text, drawn, annotation = Dataset(), Dataset(), Dataset()
    text.UnformattedTextValue = "Jane Doe"
    drawn.GraphicAnnotationUnits, drawn.GraphicType, drawn.GraphicData = "PIXEL", "POLYLINE", [1, 2, 3, 4]
    annotation.GraphicLayer = "LAYER1"
    annotation.TextObjectSequence, annotation.GraphicObjectSequence = Sequence([text]), Sequence([drawn])
    data = subject(GraphicAnnotationSequence=Sequence([annotation]))
    (basic,) = done(data).GraphicAnnotationSequence
    assert (basic.GraphicLayer, "GraphicObjectSequence" in basic) == ("LAYER1", False)
    assert basic.TextObjectSequence[0].UnformattedTextValue == "ANONYMIZED"
    (cleaned,) = done(data, "clean-graphics").GraphicAnnotationSequence
    assert cleaned.GraphicObjectSequence[0].GraphicData == [1, 2, 3, 4]
    assert cleaned.TextObjectSequence[0].UnformattedTextValue == "ANONYMIZED"


def test_descriptors_keep_codes_of_registered_schemes_alone() -> None:
    data = subject(
        ReasonForRequestedProcedureCodeSequence=Sequence(
            [code("363346000", "Cancer", "SCT"), code("1", "Jane Doe's knee", "99LOCAL")]
        ),
        StudyDescription="Jane's knee",
    )
    found = done(data, "clean-descriptors")
    assert [each.CodeMeaning for each in found.ReasonForRequestedProcedureCodeSequence] == ["Cancer"]
    assert "StudyDescription" not in found
    assert "ReasonForRequestedProcedureCodeSequence" not in done(data)


@pytest.mark.parametrize(
    ("facts", "is_risk"),
    [
        (burned_in.Facts(CT), False),
        (burned_in.Facts(CT, "YES"), True),
        (burned_in.Facts(CT, overlay_in_pixels=True), True),
        (burned_in.Facts(CT, image_type=("DERIVED", "SECONDARY", "SCREEN SAVE")), True),
        (burned_in.Facts("1.2.840.10008.5.1.4.1.1.9.4.1", has_pixels=False), True),
        (burned_in.Facts("1.2.840.10008.5.1.4.1.1.7"), True),
        (burned_in.Facts("1.2.840.10008.5.1.4.1.1.7", "NO"), False),
        (burned_in.Facts("1.2.840.10008.5.1.4.1.1.7", "YES"), True),
        (burned_in.Facts("1.2.840.10008.5.1.4.1.1.7", has_pixels=False), False),
        (burned_in.Facts("1.2.840.10008.5.1.4.1.1.6.1", modality="US"), True),
        (burned_in.Facts("1.2.840.10008.5.1.4.1.1.1", conversion_type="DF"), True),
        (burned_in.Facts("1.2.3", modality="OT"), True),
        (burned_in.Facts("1.2.840.10008.5.1.4.1.1.77.1.4"), True),
        (burned_in.Facts("1.2.840.10008.5.1.4.1.1.104.1", "NO", has_pixels=False), True),
    ],
)
def test_what_may_have_text_in_its_pixels(facts: burned_in.Facts, is_risk: bool) -> None:
    assert bool(burned_in.risk(facts)) is is_risk


def test_what_may_have_text_in_its_pixels_is_refused_unless_covered() -> None:
    data = written(subject(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"))
    with pytest.raises(Permanent) as caught:
        deidentifier().apply(data, b"", EXPLICIT)
    assert caught.value.reason == "burned-in-text"
    assert deidentifier().apply(data, b"", EXPLICIT, is_covered=True).sop_instance_uid == KEY.uid("1.2.3.4")


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (element(0x00081115, "LO", b"Doe no items"), "sequence"),
        (element(0x00081115, "SQ", b"Doe no items"), None),
        (element(0x00041220, "SQ", b""), "directory"),
    ],
)
def test_what_cannot_be_gone_through_is_refused_without_a_value(extra: bytes, reason: str | None) -> None:
    data = written(subject())
    tag_at = data.index(b"\x08\x00\x20\x00") if extra[:2] == b"\x08\x00" else 0
    with pytest.raises((Permanent, Unreadable)) as caught:
        deidentifier().apply(data[:tag_at] + extra + data[tag_at:], None, EXPLICIT)
    assert reason in (None, caught.value.reason)
    assert "Doe" not in str(caught.value)


def test_what_nests_too_deep_is_refused() -> None:
    nested = element(0x00080050, "SH", b"Doe ")
    for _ in range(70):
        nested = element(0x00081115, "SQ", item([nested]))
    with pytest.raises(Permanent) as caught:
        deidentifier().apply(nested, None, EXPLICIT)
    assert caught.value.reason == "too-deep"


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damage_is_refused_without_a_value_or_marked(noise: bytes, at: int) -> None:
    data = written(report())
    broken = data[:at] + noise + data[at + len(noise) :]
    said, made = "", b""
    try:
        made = deidentifier("clean-structured-content").apply(broken, None, EXPLICIT).header
    except Permanent as error:
        said = str(error)
    assert "Doe" not in said
    assert "PID" not in said
    assert said or b"113100" in made


def _read(header: bytes, flags: int, *, plainly: bool) -> Any:
    try:
        if plainly:
            return _fast.elements(header, 0, len(header), flags)[::2]
        return reading.elements_of(header, flags)
    except Unreadable as error:
        return error.reason


@given(st.binary(max_size=40), st.integers(0, 900), st.booleans())
def test_damage_to_what_is_kept_is_refused_or_marked(noise: bytes, at: int, inserts: bool) -> None:
    data = subject(
        SpecificCharacterSet="ISO_IR 100",
        ManufacturerModelName="M\u00fcller 2024-02-29",
        PatientAge="097Y",
        PrivateDataElementCharacteristicsSequence=Sequence(
            [characteristics(0x0029, "ACME", "MIXED", safe=[1, 2], unsafe=[3])]
        ),
    )
    block = data.private_block(0x0029, "ACME", create=True)
    block.add_new(1, "LO", "kernel 20240229")
    block.add_new(3, "LO", "Jane Doe")
    raw = written(data)
    broken = raw[:at] + noise + raw[at if inserts else at + len(noise) :]
    step = Deidentifier(
        [
            Option.RETAIN_SAFE_PRIVATE,
            Option.MODIFIED_DATES,
            Option.CLEAN_DESCRIPTORS,
            Option.RETAIN_PATIENT_CHARACTERISTICS,
        ],
        KEY,
        Generated(),
        "MAPDR test",
        age_limit=89,
    )
    said, made = "", b""
    try:
        made = step.apply(broken, None, EXPLICIT).header
    except (Permanent, Unreadable) as error:
        said = str(error) or "unreadable"
    assert "Doe" not in said
    assert said or b"113100" in made
    if not noise:
        assert b"20240229" not in made
        assert b"2024-02-29" not in made
        assert b"Jane" not in made
        assert b"097Y" not in made


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 600), st.integers(0, 3))
def test_elements_are_those_of_the_plain_reader(noise: bytes, at: int, cut: int, flags: int) -> None:
    data = written(report())
    for header in (data, data[:at] + noise + data[at + len(noise) :], data[:cut], noise):
        assert _read(header, flags, plainly=False) == _read(header, flags, plainly=True)


def test_group_lengths_and_odd_values() -> None:
    odd = element(0x00080000, "UL", b"\x10\0\0\0") + b"\x08\x00\x60\x00CS\x03\x00ABC"
    found = parsed(deidentifier().apply(odd, None, EXPLICIT))
    assert found.Modality == "ABC"
    assert 0x00080000 not in found


ITEMS = Path(mapdr.__file__).parent / "dicom/deidentify/table-e3.4-1.csv"
COLUMNS = {
    "retain-uids": "retain_uids",
    "retain-device-identity": "retain_device_identity",
    "retain-institution-identity": "retain_institution_identity",
    "retain-patient-characteristics": "retain_patient_characteristics",
    "full-dates": "retain_longitudinal_full_dates",
    "modified-dates": "retain_longitudinal_modified_dates",
    "clean-descriptors": "clean_descriptors",
}
VALUES = {
    "TEXT": ("TextValue", "ZQMARK"),
    "PNAME": ("PersonName", "ZQMARK"),
    "DATE": ("Date", "20240229"),
    "TIME": ("Time", "101112"),
    "DATETIME": ("DateTime", "20240229101112"),
    "UIDREF": ("UID", "1.2.3.44"),
}


@pytest.mark.parametrize("option", ["", *COLUMNS])
def test_every_row_of_content_items(option: str) -> None:
    with ITEMS.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 214
    options = ["clean-structured-content", *([option] if option else [])]
    wrong = []
    for row in rows:
        keyword, value = VALUES.get(row["value_type"], ("", ""))
        scheme = row["scheme"].partition(" ")[0]
        one = content(
            row["value_type"], code(row["code"], "x", scheme), **({keyword: value} if keyword else {})
        )
        found = done(subject(SOPClassUID=SR, ContentSequence=Sequence([one])), *options).ContentSequence
        said = row[COLUMNS[option]] if option else ""
        action = said if said == "K" or (said == "C" and option == "modified-dates") else row["basic"]
        became = "X" if not found else "-"
        if found and keyword:
            new = str(found[0][keyword].value)
            became = "K" if new == value else "U" if new.startswith("2.25.") else "D"
        wanted = {
            "X": "X",
            "K": "K",
            "C": "K" if keyword == "Time" else "D",
            "D": "U" if keyword == "UID" else "D",
            "X/D": "U" if keyword == "UID" else "D",
        }[action]
        if became != wanted and not (became == "-" and wanted != "X"):
            wrong.append((row["meaning"], row["value_type"], became, wanted))
    assert not wrong


@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_written_as_un_are_gone_through(undefined: bool) -> None:
    """PS3.5, 6.2.2: items of a sequence with VR UN are in implicit VR little endian."""
    name = b"\x10\x00\x10\x00\x08\x00\x00\x00Doe^Jane"
    private = b"\x11\x00\x01\x10\x04\x00\x00\x00Doe "
    uid = b"\x08\x00\x55\x11\x08\x00\x00\x001.2.3.4\x00"
    content = uid + name + private
    if undefined:
        items = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0\0\0\0\0"
        value = b"\xff\xff\xff\xff" + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    else:
        items = b"\xfe\xff\x00\xe0" + len(content).to_bytes(4, "little") + content
        value = len(items).to_bytes(4, "little") + items
    data = written(subject())
    at = data.index(b"\x10\x00\x10\x00PN")
    made = deidentifier().apply(data[:at] + b"\x08\x00\x15\x11UN\0\0" + value + data[at:], None, EXPLICIT)
    assert b"Doe" not in made.header
    (one,) = parsed(made).ReferencedSeriesSequence
    assert one.ReferencedSOPInstanceUID == KEY.uid("1.2.3.4")
    assert one.PatientName == KEY.pseudonym("PID-77")
    assert len(one) == 2


def test_private_dates_and_names_of_a_safe_list_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    safe = frozenset(("SOMEBODY", 0x00090000 | number) for number in range(4))
    monkeypatch.setattr("mapdr.dicom.deidentify.private.safe_private", lambda: safe)
    data = subject()
    block = data.private_block(0x0009, "SOMEBODY", create=True)
    for number, (vr, value) in enumerate(
        (("DA", "20240229"), ("PN", "Doe"), ("UI", "1.2.3.4"), ("DS", "1.5"))
    ):
        block.add_new(number, vr, value)
    found = done(data, "retain-safe-private")
    assert [int(each.tag) & 0xFF for each in found if each.tag.group == 9] == [0x10, 0, 2, 3]
    assert (found[0x00091000].value, found[0x00091002].value) == ("19000101", KEY.uid("1.2.3.4"))
