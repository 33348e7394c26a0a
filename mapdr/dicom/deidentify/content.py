"""Structured content: what becomes of a content item, by its concept name (PS3.15, section E.3.4)."""

from __future__ import annotations

from collections.abc import Mapping

from mapdr.dicom import tags
from mapdr.dicom.deidentify.profile import Do, Profile
from mapdr.dicom.deidentify.table import Option, content_items

VALUES: Mapping[str, int] = {
    "TEXT": tags.TEXT_VALUE,
    "PNAME": tags.PERSON_NAME,
    "DATE": tags.DATE,
    "TIME": tags.TIME,
    "DATETIME": tags.DATE_TIME,
    "UIDREF": tags.UID,
}
"""Value type to the attribute that holds a content item's value (PS3.3, table C.17.3-7)."""

REGISTERED = frozenset(
    (
        "DCM", "SCT", "SRT", "SNM3", "LN", "UCUM", "RADLEX", "RADELEMENT", "FMA", "NCIt", "I10", "I9C",
        "ICDO3", "I11", "NCDR", "UMLS", "MDC", "ATC", "BI", "BARI", "C4", "C5", "RXNORM",
    )
)  # fmt: skip
"""Coding schemes of PS3.16, chapter 8, whose codes and meanings are not a site's own words."""


_TIMES = frozenset(("DATE", "TIME", "DATETIME"))
_SUBJECT_AGE = ("DCM", "121033")


def of_item(value_type: str, scheme: str, code: str, profile: Profile) -> Mapping[int, Do] | None:
    """What is to be done with the attributes of a content item beyond Table E.1-1; None to leave it out.

    Free text that the table does not name cannot be told from a name by a machine: it becomes a dummy. An age
    is left out where ages have a limit: its unit is a code of its own.
    """
    value = VALUES.get(value_type)
    concept = (scheme.partition(" ")[0], code)
    if profile.limits_age and concept == _SUBJECT_AGE:
        return None
    rows = content_items().get(concept)
    # Unformatted text of waveform annotations stands where the text of content items does.
    text = {tags.TEXT_VALUE: Do.DUMMY, tags.PERSON_NAME: Do.DUMMY, tags.UNFORMATTED_TEXT_VALUE: Do.DUMMY}
    if rows is None:
        return text
    row = rows.get(value_type) or next(iter(rows.values()))
    said, option = row.code(profile.options)
    if said == "C" and option is not Option.MODIFIED_DATES:
        said = row.basic  # descriptors: a machine cannot clean them
    elif said == "K" and value_type not in rows:
        said = row.basic  # what is kept is a number or a code, say: a text in its place is none
    if said == "X":
        return None
    if value is None:
        return text
    match said:
        case "K":
            is_text = profile.cleans_text and value_type == "TEXT"
            return {**text, value: Do.TIME if value_type in _TIMES else Do.TEXT if is_text else Do.KEEP}
        case "C":
            return {**text, value: Do.TIME if value_type == "TIME" else Do.SHIFT}
    return {**text, value: Do.UID if value_type == "UIDREF" else Do.DUMMY}
