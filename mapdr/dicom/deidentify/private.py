"""Which private elements are known to be safe: by a list, and by what an image says of its own blocks.

PS3.15, section E.3.10; PS3.3, section C.12.1.1.7 (Private Data Element Characteristics).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydicom.datadict import private_dictionary_VR

from mapdr import _fast
from mapdr._fast.scan_tables import BIG_ENDIAN, Element
from mapdr.dicom import tags
from mapdr.dicom.deidentify import reading
from mapdr.dicom.deidentify.table import safe_private
from mapdr.dicom.value import numbers

_OF_NUMBERS = b"0123456789+-.eE\\ \0"
_LONGER_TEXT = frozenset(("AE", "LT", "PN", "ST", "UC", "UR", "UT"))
"""VRs that no element of the list has."""


class Block(NamedTuple):
    """What an image says of a block of private elements, each by the last two digits of its tag."""

    status: str
    """Block Identifying Information Status: SAFE, UNSAFE or MIXED."""
    nonidentifying: frozenset[int]
    identifying: frozenset[int]
    vrs: Mapping[int, str]
    """The VRs of its elements, as far as they are said: in implicit VR nothing else says them."""

    def has_safe(self, number: int) -> bool:
        """Whether it says that this element identifies nobody; in doubt it does not."""
        if number in self.identifying:
            return False
        return self.status == "SAFE" or (self.status == "MIXED" and number in self.nonidentifying)


Blocks = Mapping[tuple[int, str], Sequence[Block]]
"""Group and Private Creator to what is said of the block; if that is said twice, both count."""


def blocks_of(buffer: bytes, found: reading.Found, flags: int) -> Blocks:
    """What a data set says of its private blocks, at whatever depth they stand.

    Raises Unreadable for a sequence that cannot be gone through.
    """
    blocks: dict[tuple[int, str], list[Block]] = defaultdict(list)
    for inner, flags_inside in _items(
        buffer, found, tags.PRIVATE_DATA_ELEMENT_CHARACTERISTICS_SEQUENCE, flags
    ):
        group = _numbers(buffer, inner, tags.PRIVATE_GROUP_REFERENCE, flags_inside)
        if len(group) != 1:
            continue
        identifying: frozenset[int] = frozenset()
        for listed, at in _items(buffer, inner, tags.DEIDENTIFICATION_ACTION_SEQUENCE, flags_inside):
            identifying |= _numbers(buffer, listed, tags.IDENTIFYING_PRIVATE_ELEMENTS, at)
        vrs: dict[int, str] = {}
        for listed, at in _items(buffer, inner, tags.PRIVATE_DATA_ELEMENT_DEFINITION_SEQUENCE, flags_inside):
            vr = reading.text(buffer, listed, tags.PRIVATE_DATA_ELEMENT_VALUE_REPRESENTATION)
            vrs |= dict.fromkeys(_numbers(buffer, listed, tags.PRIVATE_DATA_ELEMENT, at), vr)
        block = Block(
            reading.text(buffer, inner, tags.BLOCK_IDENTIFYING_INFORMATION_STATUS),
            _numbers(buffer, inner, tags.NONIDENTIFYING_PRIVATE_ELEMENTS, flags_inside),
            identifying,
            vrs,
        )
        creator = reading.text(buffer, inner, tags.PRIVATE_CREATOR_REFERENCE)
        blocks[next(iter(group)), creator].append(block)
    return blocks


def safe_tags(buffer: bytes, elements: Sequence[Element], blocks: Blocks) -> dict[int, str]:
    """The private tags of a level that are known to be safe, and the reservations of their blocks, each with
    the VR that the image says of it; empty where it says none.

    What the image says of a block goes before the list of Table E.3.10-1, which knows no device's mistakes.
    """
    creators: dict[tuple[int, int], str] = {}
    for element in elements:
        if element.tag >> 16 & 1 and 0x10 <= element.tag & 0xFFFF <= 0xFF:
            reserved = (element.tag >> 16, element.tag & 0xFF)
            # A block that two creators reserve is nobody's; both reservations would be kept.
            creators[reserved] = "" if reserved in creators else reading.stripped(buffer, element)
    kept: dict[int, str] = {}
    for element in elements if creators else ():
        group, block = element.tag >> 16, element.tag >> 8 & 0xFF
        creator = creators.get((group, block))
        if not creator:
            continue
        number, vr = element.tag & 0xFF, ""
        if said := blocks.get((group, creator)):
            is_safe = all(each.has_safe(number) for each in said)
            vr = next((each.vrs[number] for each in said if number in each.vrs), "")
        else:
            is_safe = (creator, element.tag & 0xFFFF00FF) in safe_private() and _has_form(
                creator, element.tag, element.vr.decode("latin-1"), buffer[element.value : element.end]
            )
        if is_safe:
            kept |= {element.tag: vr, group << 16 | block: ""}
    return kept


def _has_form(creator: str, tag: int, vr: str, value: bytes) -> bool:
    """Whether an element of the list of numbers and defined terms can hold that: it is no longer text, and no
    number of letters. In implicit VR what it should be is asked of the dictionary.
    """
    if vr in _LONGER_TEXT:
        return False
    if vr in ("", "UN", "LO", "SH"):
        try:
            vr = private_dictionary_VR(tag, creator)
        except KeyError:
            return vr not in ("LO", "SH")
    return vr not in ("DS", "IS") or not value.strip(_OF_NUMBERS)


def _items(buffer: bytes, found: reading.Found, tag: int, flags: int) -> Iterator[tuple[reading.Found, int]]:
    """The items of a sequence, their elements by tag, with the flags that they are read by."""
    sequence = found.get(tag)
    for item in _fast.items(buffer, sequence, flags) if sequence is not None else ():
        yield reading.by_tag(item.elements), item.flags


def _numbers(buffer: bytes, found: reading.Found, tag: int, flags: int) -> frozenset[int]:
    element = found.get(tag)
    if element is None:
        return frozenset()
    values = numbers(buffer[element.value : element.end], "US", big_endian=bool(flags & BIG_ENDIAN))
    return frozenset(int(value) for value in values)
