"""What a de-identified copy still holds of what identifies in its source, by pydicom's reading of the two.

A value of four or more characters is searched for in all bytes outside pixel data, a shorter one is compared
element by element. Where it is found, the element that holds it must be one that Table E.1-1 leaves alone and
that held the same in the source: the value stands there in its own right, as HEAD in Body Part Examined does.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from pydicom.charset import decode_bytes, python_encoding
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from mapdr.dicom import tags
from mapdr.dicom.deidentify import dummy
from mapdr.dicom.deidentify.marks import MARKS
from mapdr.dicom.deidentify.table import Option, attributes, safe_private

Path = tuple[int, ...]
"""Tags from the top level down, whatever the items."""
PIXEL_DATA = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
STRINGS = {
    "AE",
    "AS",
    "CS",
    "DA",
    "DS",
    "DT",
    "IS",
    "LO",
    "LT",
    "PN",
    "SH",
    "ST",
    "TM",
    "UC",
    "UI",
    "UR",
    "UT",
}
UNNAMED = frozenset((tags.TEXT_VALUE, tags.PERSON_NAME))
"""Free text of content items, which no row of the table names and which is replaced all the same."""
DUMMIES = frozenset(value.strip(b" \0") for value in dummy.VALUES.values())
CODECS = ("utf-8", "utf-16-le", "utf-16-be")


class Leaf(NamedTuple):
    """An element that is no sequence: where it is, its VR, its bytes, and the codecs of its text."""

    path: Path
    vr: str
    raw: bytes
    codecs: tuple[str, ...]
    creator: str = ""

    @property
    def name(self) -> str:
        tag = self.path[-1]
        return "/".join(keyword_for_tag(each) or f"{each:08X}" for each in (*self.path[:-1], tag))


class Left(NamedTuple):
    """A value of the source that the copy still holds: of which element, and in which."""

    source: str
    found_in: str
    vr: str
    """Of the element that holds it."""


def leaves(data: Dataset, path: Path = (), codecs: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every element but sequences and pixel data, at every depth."""
    said = data.get(tags.SPECIFIC_CHARACTER_SET)
    if said is not None and said.value:
        values = [said.value] if isinstance(said.value, str) else said.value
        codecs = tuple(python_encoding.get(each or "", "iso8859") for each in values)
    for tag in sorted(data.keys()):
        raw = data.get_item(tag)
        if int(tag) in PIXEL_DATA or raw is None:
            continue
        creator = ""
        if tag.is_private and not tag.is_private_creator:
            with contextlib.suppress(KeyError):
                creator = str(data[tag.group, tag.element >> 8].value)
        value = raw.value
        if isinstance(raw, RawDataElement) and raw.VR not in ("SQ", "UN", None):
            yield Leaf((*path, int(tag)), raw.VR, value or b"", codecs, creator)
            continue
        element: DataElement = data[tag]
        if element.VR == "SQ":
            for item in element.value or ():
                yield from leaves(item, (*path, int(tag)), codecs)
        else:
            yield Leaf((*path, int(tag)), element.VR, _bytes(value, element, codecs), codecs, creator)


def _bytes(value: object, element: DataElement, codecs: tuple[str, ...]) -> bytes:
    if isinstance(value, bytes):
        return value
    text = "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value or "")
    for codec in (*codecs, "utf-8"):
        with contextlib.suppress(UnicodeEncodeError, LookupError):
            return text.encode(codec)
    return text.encode("utf-8", "replace")


def is_acted_on(leaf: Leaf, options: Collection[Option]) -> bool:
    """Whether the standard's table, with the families of tags and the text of content items, changes it."""
    return any(_changes(tag, leaf, options) for tag in leaf.path)


def _changes(tag: int, leaf: Leaf, options: Collection[Option]) -> bool:
    is_last = tag == leaf.path[-1]
    if tag >> 16 & 1:
        key = (leaf.creator, tag & 0xFFFF00FF)
        is_kept = Option.RETAIN_SAFE_PRIVATE in options and (
            key in safe_private() or 0x10 <= tag & 0xFFFF <= 0xFF
        )
        return not is_kept
    if tag >> 24 in (0x50, 0x60) or tag in UNNAMED:
        return True
    row = attributes().get(tag)
    if row is None:
        return leaf.vr == "PN" and is_last
    code, option = row.code(frozenset(options))
    if code == "C" and option is Option.MODIFIED_DATES:
        return leaf.vr in ("DA", "DT")
    if not is_last and (
        code == "C" or "U" in code or tag == tags.REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE
    ):
        return False  # gone through: what is in it has its own rows
    return code != "K"


def values(leaf: Leaf) -> set[str]:
    """The texts of an element: each value, and each part of a person's name."""
    if leaf.vr not in STRINGS | {"UN"}:
        return set()
    codecs = list(leaf.codecs) or ["iso8859"]
    text = decode_bytes(leaf.raw, codecs, {92, 94, 61}) if leaf.vr not in ("UI", "UN") else _latin(leaf.raw)
    split = r"[\\^=]" if leaf.vr == "PN" else r"\\"
    return {each.strip(" \0\r\n\t") for each in re.split(split, text)}


def _latin(raw: bytes) -> str:
    return raw.decode("latin-1")


def forms(text: str, leaf: Leaf) -> Iterator[bytes]:
    """A text in the character sets of its file, and in those that it may have been moved to."""
    for codec in dict.fromkeys((*leaf.codecs, *CODECS)):
        with contextlib.suppress(UnicodeEncodeError, LookupError):
            yield text.encode(codec)


def holds(raw: bytes, form: bytes) -> bool:
    """Whether a value is among the bytes; a number not as a part of a longer one."""
    if not form.strip(b"0123456789.+-"):
        return re.search(rb"(?<![0-9.])" + re.escape(form) + rb"(?![0-9.])", raw) is not None
    return form in raw


def left_over(came: Dataset, went: Dataset, options: Collection[Option]) -> tuple[list[Left], list[Left]]:
    """What identifies and is left; and what is left where the table leaves it."""
    before, after = list(leaves(came)), list(leaves(went))
    kept = {(leaf.path, leaf.raw.strip(b" \0")) for leaf in before if not is_acted_on(leaf, options)}
    text = b"\0".join(leaf.raw for leaf in after)
    leaks: list[Left] = []
    in_its_own_right: list[Left] = []
    by_path: dict[Path, set[bytes]] = {}
    for leaf in after:
        by_path.setdefault(leaf.path, set()).add(leaf.raw.strip(b" \0"))
    for leaf in before:
        if not is_acted_on(leaf, options):
            continue
        whole = leaf.raw.strip(b" \0")
        is_short = 0 < len(whole) < 4 and whole not in DUMMIES
        if is_short and whole in by_path.get(leaf.path, ()) and (leaf.path, whole) not in kept:
            leaks.append(Left(leaf.name, leaf.name, leaf.vr))
        for value in values(leaf):
            if len(value) < 4 or value.startswith("1.2.840.10008.") or value.encode("utf-8") in DUMMIES:
                continue
            for form in forms(value, leaf):
                if not holds(text, form):
                    continue
                for other in after:
                    if not holds(other.raw, form) or other.path[0] in MARKS:
                        continue
                    is_kept = (other.path, other.raw.strip(b" \0")) in kept
                    (in_its_own_right if is_kept else leaks).append(Left(leaf.name, other.name, other.vr))
    return leaks, in_its_own_right
