"""Dummy values (PS3.15, Table E.1-1a, code D): of the right VR, and never derived from what was there."""

from __future__ import annotations

from mapdr.dicom import tags
from mapdr.dicom.write import Encoding, element, item

TEXT = "ANONYMIZED"
VALUES: dict[str, bytes] = {
    "AE": b"ANONYMIZED", "AS": b"000D", "AT": bytes(4), "CS": b"ANONYMIZED", "DA": b"19000101", "DS": b"0 ",
    "DT": b"19000101000000", "FD": bytes(8), "FL": bytes(4), "IS": b"0 ", "LO": b"ANONYMIZED",
    "LT": b"ANONYMIZED", "OB": bytes(2), "OD": bytes(8), "OF": bytes(4), "OL": bytes(4), "OV": bytes(8),
    "OW": bytes(2), "PN": b"ANONYMIZED", "SH": b"ANONYMIZED", "SL": bytes(4), "SS": bytes(2),
    "ST": b"ANONYMIZED", "SV": bytes(8), "TM": b"000000", "UC": b"ANONYMIZED", "UI": b"2.25.0\0\0",
    "UL": bytes(4), "UN": bytes(2), "UR": b"about:blank ", "US": bytes(2), "UT": b"ANONYMIZED",
    "UV": bytes(8),
}  # fmt: skip
"""A dummy value of each VR but SQ, of even length. That of UI is for places where no UID can be read."""


def code(value: str, scheme: str, meaning: str, encoding: Encoding) -> bytes:
    """An item of a code sequence (PS3.3, section 8.8)."""
    return item(
        (
            element(tags.CODE_VALUE, "SH", value.encode("ascii"), encoding),
            element(tags.CODING_SCHEME_DESIGNATOR, "SH", scheme.encode("ascii"), encoding),
            element(tags.CODE_MEANING, "LO", meaning.encode("ascii"), encoding),
        ),
        encoding,
    )


def dummy_items(tag: int, encoding: Encoding) -> bytes:
    """The items of a dummy sequence: a valid one for each sequence that Table E.1-1 gives a D."""
    text = TEXT.encode("ascii")
    anybody = code(TEXT, "99MAPDR", TEXT, encoding)
    match tag:
        case tags.CONTENT_SEQUENCE:
            comment = element(
                tags.CONCEPT_NAME_CODE_SEQUENCE, "SQ", code("121106", "DCM", "Comment", encoding), encoding
            )
            content = (
                element(tags.RELATIONSHIP_TYPE, "CS", b"CONTAINS", encoding)
                + element(tags.VALUE_TYPE, "CS", b"TEXT", encoding)
                + comment
                + element(tags.TEXT_VALUE, "UT", text, encoding)
            )
        case tags.VERIFYING_OBSERVER_SEQUENCE:
            content = (
                element(tags.VERIFYING_ORGANIZATION, "LO", text, encoding)
                + element(tags.VERIFICATION_DATETIME, "DT", VALUES["DT"], encoding)
                + element(tags.VERIFYING_OBSERVER_NAME, "PN", text, encoding)
                + element(tags.VERIFYING_OBSERVER_IDENTIFICATION_CODE_SEQUENCE, "SQ", b"", encoding)
            )
        case tags.OPERATOR_IDENTIFICATION_SEQUENCE:
            content = element(tags.INSTITUTION_NAME, "LO", text, encoding) + element(
                tags.PERSON_IDENTIFICATION_CODE_SEQUENCE, "SQ", anybody, encoding
            )
        case tags.WAVEFORM_ANNOTATION_SEQUENCE:
            channels = b"\0\1\0\0" if encoding.big else b"\1\0\0\0"
            content = element(tags.REFERENCED_WAVEFORM_CHANNELS, "US", channels, encoding) + element(
                tags.UNFORMATTED_TEXT_VALUE, "ST", text, encoding
            )
        case tags.FLOW_IDENTIFIER_SEQUENCE:
            content = element(tags.FLOW_IDENTIFIER, "OB", bytes(2), encoding)
        case _:  # Institution Code Sequence, Person Identification Code Sequence
            return anybody
    return item((content,), encoding)
