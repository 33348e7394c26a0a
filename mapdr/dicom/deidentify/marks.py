"""What a de-identified data set says of itself (PS3.15, section E.1.1; PS3.3, tables C.7-1 and C.12-1)."""

from __future__ import annotations

from mapdr.dicom import tags, write
from mapdr.dicom.deidentify import dummy
from mapdr.dicom.deidentify.table import BASIC_CODE, CODES, EDITION, Option
from mapdr.dicom.write import Encoding

MARKS = frozenset(
    (
        tags.PATIENT_IDENTITY_REMOVED,
        tags.DEIDENTIFICATION_METHOD,
        tags.DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
        tags.LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
    )
)


_DATES = ("UNMODIFIED", "MODIFIED", "REMOVED")
"""What LongitudinalTemporalInformationModified says, the more is gone the later."""


def method_text(version: str) -> str:
    """What DeidentificationMethod says of this program."""
    return f"MAPDR {version} PS3.15 {EDITION} Basic Profile"[:64]


def marks(
    method: str,
    earlier: str,
    dates_earlier: str,
    options: frozenset[Option],
    encoding: Encoding,
    *,
    is_covered: bool,
) -> list[tuple[int, bytes]]:
    """The elements that say so, by ascending tag.

    `earlier` is what DeidentificationMethod said before: one value for each who did it. `dates_earlier` is
    what LongitudinalTemporalInformationModified said: dates that were modified are not full ones again, and
    those that were removed are gone. The option of clean
    pixel data is named only where a step covers the pixels.
    """
    texts = [earlier, method] if earlier and earlier.isascii() else [method]
    done = [BASIC_CODE]
    for option, code in CODES.items():
        if option in options and (option is not Option.CLEAN_PIXEL_DATA or is_covered):
            done.append(code)
    codes = b"".join(dummy.code(value, "DCM", meaning, encoding) for value, meaning in done)
    dates = "REMOVED"
    if Option.FULL_DATES in options:
        dates = "UNMODIFIED"
    elif Option.MODIFIED_DATES in options:
        dates = "MODIFIED"
    if dates_earlier in _DATES:
        dates = max(dates, dates_earlier, key=_DATES.index)
    return [
        (tag, write.element(tag, vr, value, encoding))
        for tag, vr, value in (
            (tags.PATIENT_IDENTITY_REMOVED, "CS", b"YES"),
            (tags.DEIDENTIFICATION_METHOD, "LO", "\\".join(texts).encode("ascii")),
            (tags.DEIDENTIFICATION_METHOD_CODE_SEQUENCE, "SQ", codes),
            (tags.LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, "CS", dates.encode("ascii")),
        )
    ]
