"""PS3.15 Annex E, edition 2026d, as data: what becomes of each attribute under a set of options.

The files beside this module are `table-e1-1.csv` (Table E.1-1), `table-e3.4-1.csv` (Table E.3.4-1, content
items of structured content), `attribute-types.csv` (attribute types of PS3.3 for the attributes that have a
compound code, made by `packaging/attribute_types.py`) and `safe-private.csv` (of Table E.3.10-1 those that
hold numbers and defined terms). `unnamed.csv` is no table of the standard: it has attributes that Table
E.1-1 does not name and that tell of a patient all the same, each with the reason.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import resources

EDITION = "2026d"
"""The edition of PS3.15 that the tables are of."""


class Option(StrEnum):
    """An option of the Basic Application Level Confidentiality Profile (PS3.15, section E.3)."""

    CLEAN_PIXEL_DATA = "clean-pixel-data"
    CLEAN_GRAPHICS = "clean-graphics"
    CLEAN_STRUCTURED_CONTENT = "clean-structured-content"
    CLEAN_DESCRIPTORS = "clean-descriptors"
    FULL_DATES = "full-dates"
    MODIFIED_DATES = "modified-dates"
    RETAIN_PATIENT_CHARACTERISTICS = "retain-patient-characteristics"
    RETAIN_DEVICE_IDENTITY = "retain-device-identity"
    RETAIN_UIDS = "retain-uids"
    RETAIN_SAFE_PRIVATE = "retain-safe-private"
    RETAIN_INSTITUTION_IDENTITY = "retain-institution-identity"


BASIC_CODE = ("113100", "Basic Application Confidentiality Profile")
CODES: Mapping[Option, tuple[str, str]] = {
    Option.CLEAN_PIXEL_DATA: ("113101", "Clean Pixel Data Option"),
    Option.CLEAN_GRAPHICS: ("113103", "Clean Graphics Option"),
    Option.CLEAN_STRUCTURED_CONTENT: ("113104", "Clean Structured Content Option"),
    Option.CLEAN_DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.FULL_DATES: ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    Option.MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    Option.RETAIN_PATIENT_CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
    Option.RETAIN_DEVICE_IDENTITY: ("113109", "Retain Device Identity Option"),
    Option.RETAIN_UIDS: ("113110", "Retain UIDs Option"),
    Option.RETAIN_SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    Option.RETAIN_INSTITUTION_IDENTITY: ("113112", "Retain Institution Identity Option"),
}
"""Code value and meaning of each option in CID 7050 (PS3.16), scheme DCM."""

_COLUMNS: Mapping[Option, str] = {
    Option.CLEAN_GRAPHICS: "clean_graphics",
    Option.CLEAN_STRUCTURED_CONTENT: "clean_structured_content",
    Option.CLEAN_DESCRIPTORS: "clean_descriptors",
    Option.FULL_DATES: "retain_longitudinal_full_dates",
    Option.MODIFIED_DATES: "retain_longitudinal_modified_dates",
    Option.RETAIN_PATIENT_CHARACTERISTICS: "retain_patient_characteristics",
    Option.RETAIN_DEVICE_IDENTITY: "retain_device_identity",
    Option.RETAIN_UIDS: "retain_uids",
    Option.RETAIN_SAFE_PRIVATE: "retain_safe_private",
    Option.RETAIN_INSTITUTION_IDENTITY: "retain_institution_identity",
}

_ROOT = "1.2.840.10008."


@dataclass(frozen=True, slots=True)
class Row:
    """A row: the basic profile's code, and the options that say something else (K or C)."""

    name: str
    basic: str
    options: Mapping[Option, str]

    def code(self, options: frozenset[Option]) -> tuple[str, Option | None]:
        """The code under these options, and the option that gives it; an option that keeps goes first."""
        said = [(self.options[each], each) for each in options if each in self.options]
        for wanted in ("K", "C"):
            for code, option in said:
                if code == wanted:
                    return code, option
        return self.basic, None


def _read(name: str) -> Iterator[dict[str, str]]:
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    yield from csv.DictReader(text.splitlines())


def _row(raw: Mapping[str, str], basic: str) -> Row:
    options = {option: raw[column] for option, column in _COLUMNS.items() if raw.get(column)}
    return Row(raw.get("name") or raw["meaning"], raw[basic], options)


@lru_cache(maxsize=1)
def attributes() -> Mapping[int, Row]:
    """Table E.1-1 by tag, without the rows of families (curves, overlays, private attributes)."""
    found = {}
    for raw in _read("table-e1-1.csv"):
        digits = raw["tag"][1:5] + raw["tag"][6:10]
        if all(each in "0123456789ABCDEF" for each in digits):
            found[int(digits, 16)] = _row(raw, "basic_profile")
    return found


@lru_cache(maxsize=1)
def unnamed() -> Mapping[int, str]:
    """Attributes without a row that are acted on all the same: tag to code (X, Z, D)."""
    return {int(raw["tag"][1:5] + raw["tag"][6:10], 16): raw["basic"] for raw in _read("unnamed.csv")}


@lru_cache(maxsize=1)
def content_items() -> Mapping[tuple[str, str], Mapping[str, Row]]:
    """Table E.3.4-1: (coding scheme, code value) of a concept name to its row by value type."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for raw in _read("table-e3.4-1.csv"):
        key = (raw["scheme"].partition(" ")[0], raw["code"])
        found.setdefault(key, {})[raw["value_type"]] = _row(raw, "basic")
    return found


@lru_cache(maxsize=1)
def safe_private() -> frozenset[tuple[str, int]]:
    """Private attributes that are known to be safe: (creator, tag without its block number)."""
    return frozenset(
        (raw["creator"], int(raw["group"] + "0000", 16) | int(element, 16))
        for raw in _read("safe-private.csv")
        for element in raw["elements"].split()
    )


@lru_cache(maxsize=1)
def _types() -> tuple[frozenset[str], Mapping[tuple[str, int], int]]:
    known: frozenset[str] = frozenset()
    types: dict[tuple[str, int], int] = {}
    for raw in _read("attribute-types.csv"):
        contexts = raw["contexts"].split()
        if raw["type"] == "known":
            known = frozenset(_ROOT + each for each in contexts)
            continue
        tag = int(raw["tag"][1:5] + raw["tag"][6:10], 16)
        for each in contexts:
            types[(each if each.startswith("@") else _ROOT + each, tag)] = int(raw["type"])
    return known, types


def type_at_top(sop_class_uid: str, tag: int) -> int:
    """The type (1, 2, 3) of an attribute that has a compound code in the IOD of a SOP class; 0 if unknown.

    Conditional types count as required. What an IOD does not name is a standard extension there: type 3.
    """
    known, types = _types()
    return types.get((sop_class_uid, tag), 3) if sop_class_uid in known else 0


def type_in_item(sequence: int, tag: int) -> int:
    """As `type_at_top`, in the items of a sequence, the strictest of all IODs."""
    return _types()[1].get((f"@{sequence:08X}", tag), 0)


def resolve(code: str, type_: int) -> str:
    """A compound code as X, Z, D or U, by the attribute's type; 0, which is unknown, counts as 1.

    PS3.15, Table E.1-1a: X/Z is X unless Z keeps the IOD valid, and so on. X/Z/U* is of sequences of
    references: where the IOD wants one, be it empty, its UIDs are replaced, so that a segmentation still
    finds its images (docs/decisions/0082).
    """
    if "/" not in code:
        return code
    allowed = code.split("/")
    if "U*" in allowed and type_ <= 2:
        return "U"
    wanted = {2: "Z", 3: "X"}.get(type_, "D")
    if wanted in allowed or wanted == "D":
        return wanted
    return "Z" if wanted == "X" else "D"
