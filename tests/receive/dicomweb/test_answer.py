"""What a STOW-RS answer says of each part (PS3.18, tables 10.5.3-1 and I.1-1)."""

from __future__ import annotations

import json

import pytest

from mapdr.receive.dicomweb.answer import (
    JSON,
    XML,
    acceptable,
    as_json,
    as_xml,
    response_module,
    status_of,
)
from mapdr.receive.dicomweb.parts import PartResult

CLASS, ONE, TWO = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.1", "1.2.3.2"
STORED = PartResult(CLASS, ONE, size=10)
FAILED = PartResult("", TWO, 0xA900, "of another study")
NAMELESS = PartResult("", "", 0xC000, "not DICOM")
FULL, ALMOST = PartResult("", TWO, 0xA7FF, "no room"), PartResult("", TWO, 0xA800, "next to it")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("  ", JSON),
        ("text/*", XML),
        ("application/dicom+xml;q=0.4, application/dicom+json;q=0.3", XML),
        ("application/dicom+json;q=0.3, application/dicom+xml;q=0.4", XML),
        ("application/dicom+json;q=0.5, application/dicom+xml;q=0.5", JSON),
        ("application/dicom+xml, */*", XML),
        ('multipart/related; type="application/dicom+xml"', XML),
        ("multipart/related", ""),
        ('text/html; type="application/dicom+xml"', ""),
        ("application/dicom+xml;q=much, application/json;q=0.1", JSON),
        ("application/dicom+xml;q=0", ""),
    ],
)
def test_the_media_type_that_is_preferred(accept: str, chosen: str) -> None:
    assert acceptable(accept) == chosen


@pytest.mark.parametrize(
    ("results", "broken", "status"),
    [
        ([STORED], 0, 200),
        ([STORED, FAILED], 0, 202),
        ([STORED], 400, 202),
        ([FAILED], 400, 400),
        ([FULL, FULL], 0, 503),
        ([FULL, NAMELESS], 0, 409),
        ([ALMOST], 0, 409),
    ],
)
def test_the_status_of_all(results: list[PartResult], broken: int, status: int) -> None:
    assert status_of(results, broken=broken) == status


def test_each_part_is_named_in_the_sequence_of_what_became_of_it() -> None:
    module = response_module([STORED, FAILED, NAMELESS])
    assert json.loads(as_json(module)) == {
        "00081190": {"vr": "UR"},
        "00081198": {
            "vr": "SQ",
            "Value": [
                {"00081155": {"vr": "UI", "Value": [TWO]}, "00081197": {"vr": "US", "Value": [0xA900]}}
            ],
        },
        "00081199": {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": [CLASS]},
                    "00081155": {"vr": "UI", "Value": [ONE]},
                    "00081190": {"vr": "UR"},
                }
            ],
        },
        "0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]},
    }
    assert set(response_module([STORED])) == {"00081190", "00081199"}, "no sequence without items"


def test_the_answer_in_xml() -> None:
    assert as_xml(response_module([FAILED, NAMELESS])).decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">'
        '<DicomAttribute tag="00081190" vr="UR" keyword="RetrieveURL"></DicomAttribute>'
        '<DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence"><Item number="1">'
        '<DicomAttribute tag="00081155" vr="UI" keyword="ReferencedSOPInstanceUID">'
        f'<Value number="1">{TWO}</Value></DicomAttribute>'
        '<DicomAttribute tag="00081197" vr="US" keyword="FailureReason">'
        f'<Value number="1">{0xA900}</Value></DicomAttribute></Item></DicomAttribute>'
        '<DicomAttribute tag="0008119A" vr="SQ" keyword="OtherFailuresSequence"><Item number="1">'
        '<DicomAttribute tag="00081197" vr="US" keyword="FailureReason">'
        f'<Value number="1">{0xC000}</Value></DicomAttribute></Item></DicomAttribute>'
        "</NativeDicomModel>"
    )
