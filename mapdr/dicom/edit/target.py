"""Which elements an edit means: a path, a tag at every depth, private ones by creator, or all but some."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mapdr.dicom import tags
from mapdr.dicom.path import EditPath, format_edit_path, format_tag, parse_edit_path

_PATTERN = re.compile(r"\(([0-9A-FXa-fx]{4}),([0-9A-FXa-fx]{4})\)")


@dataclass(frozen=True, slots=True)
class Everywhere:
    """The elements that are there, at every depth, whose tag is `tag` in the bits of `mask`."""

    tag: int
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Private:
    """The private elements that are there, at every depth; of one `creator` only, if it is given.

    Within a creator's blocks `group` and `element` narrow it down: of (0019,xx23) `group` is 0x0019 and
    `element` 0x23, for the creator's block may lie at any xx from 10 to FF (PS3.5, section 7.8.1).
    """

    creator: str | None = None
    group: int | None = None
    element: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether whole blocks are meant."""
        return self.group is None and self.element is None

    def names(self, tag: int) -> bool:
        """Whether an element of the creator's blocks is meant."""
        return self.group in (None, tag >> 16) and self.element in (None, tag & 0xFF)


Pattern = Everywhere | Private
"""Elements at every depth."""


@dataclass(frozen=True, slots=True)
class Only:
    """The elements of the top level that are kept: a tag as `Everywhere`, or private ones.

    What an image cannot do without (`KEPT`), and the creators of kept private elements, are kept with them.
    """

    targets: tuple[Pattern, ...]

    @classmethod
    def parse(cls, written: Sequence[str]) -> Only:
        """Of tags and patterns as `parse_target` has them. Raises ValueError, for a path too."""
        if not written:
            raise ValueError('names no tag; write those that are kept: ["Modality", ...]')
        return cls(tuple(_of_top(tag) for tag in written))


def _of_top(text: str) -> Pattern:
    target = parse_target(text)
    if not isinstance(target, tuple):
        return target
    if len(target) > 1:
        raise ValueError(
            f"{text!r} is a path; what is kept is kept whole: name the sequence {format_tag(target[0][0])}"
        )
    return Everywhere(target[0][0])


Target = EditPath | Pattern | Only
"""A path without an item index means the element in every item; one ends in the element itself."""


def parse_target(text: str) -> EditPath | Pattern:
    """`private`, `creator:GEMS_IDEN_01`, `group:0011`, a tag with x for any digit, or a path.

    A pattern such as `(0009,xx10)` or `(60xx,3000)` means elements at every depth, a path as
    `parse_edit_path` has it one element, or one in each item. Raises ValueError.
    """
    text = text.strip()
    if text == "private":
        return Private()
    if text.startswith("creator:"):
        creator = text[len("creator:") :].strip()
        if not creator:
            raise ValueError("creator: needs the name of a private creator, such as creator:GEMS_IDEN_01")
        return Private(creator)
    if text.startswith("group:"):
        group = text[len("group:") :].strip()
        if not re.fullmatch(r"[0-9A-Fa-f]{4}", group):
            raise ValueError(f"{text!r}: a group is four hexadecimal digits, such as group:0011")
        return Everywhere(int(group, 16) << 16, 0xFFFF0000)
    match = _PATTERN.fullmatch(text)
    if match and "x" in text.lower():
        return _pattern(*match.groups())
    return parse_edit_path(text)


def _pattern(group: str, element: str) -> Everywhere:
    """The elements with these hexadecimal digits, in which x is any."""
    digits = (group + element).lower()
    mask = int("".join("0" if digit == "x" else "f" for digit in digits), 16)
    return Everywhere(int(digits.replace("x", "0"), 16), mask)


def format_target(target: Target) -> str:
    """The target in an error message."""
    match target:
        case Everywhere(tag, 0xFFFFFFFF):
            return f"{format_tag(tag)} at any depth"
        case Everywhere(tag, mask):
            return f"the elements like {tag:08X} in the bits {mask:08X}"
        case Only():
            return "all elements but some"
        case Private(None):
            return "the private elements"
        case Private(creator):
            return f"the private elements of {creator}"
        case _:
            return format_edit_path(target)


def written_target(target: Target) -> str:
    """The target as a rule writes it, where it has a form of its own; else as `format_target`."""
    match target:
        case Everywhere(tag, 0xFFFF0000):
            return f"group:{tag >> 16:04X}"
        case Everywhere(tag, mask) if mask != 0xFFFFFFFF:
            digits = "".join(
                digit if kept == "F" else "x" for digit, kept in zip(f"{tag:08X}", f"{mask:08X}", strict=True)
            )
            return f"({digits[:4]},{digits[4:]})"
        case Private(creator) if target.is_whole:
            return "private" if creator is None else f"creator:{creator}"
        case _:
            return format_target(target)


KEPT: tuple[Everywhere, ...] = (
    *map(
        Everywhere,
        (
            tags.SPECIFIC_CHARACTER_SET,
            tags.SOP_CLASS_UID,
            tags.SOP_INSTANCE_UID,
            tags.STUDY_INSTANCE_UID,
            tags.SERIES_INSTANCE_UID,
            tags.SAMPLES_PER_PIXEL,
            tags.PHOTOMETRIC_INTERPRETATION,
            tags.PLANAR_CONFIGURATION,
            tags.NUMBER_OF_FRAMES,
            tags.ROWS,
            tags.COLUMNS,
            tags.PIXEL_ASPECT_RATIO,
            tags.BITS_ALLOCATED,
            tags.BITS_STORED,
            tags.HIGH_BIT,
            tags.PIXEL_REPRESENTATION,
            tags.PIXEL_PADDING_VALUE,
            tags.PIXEL_PADDING_RANGE_LIMIT,
            tags.RESCALE_INTERCEPT,
            tags.RESCALE_SLOPE,
            tags.RESCALE_TYPE,
            tags.LOSSY_IMAGE_COMPRESSION,
            tags.LOSSY_IMAGE_COMPRESSION_RATIO,
            tags.LOSSY_IMAGE_COMPRESSION_METHOD,
        ),
    ),
    _pattern("0028", "110x"),  # palettes: their descriptors ...
    _pattern("0028", "12xx"),  # ... and data
    _pattern("7fe0", "xxxx"),  # pixel data, and the offsets of its frames
)
"""What an image cannot do without: what it is and belongs to, and what its pixels mean (PS3.3, sections
C.12.1, C.7.6.3 and C.11.1)."""
