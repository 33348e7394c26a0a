"""What an edit gives to an element: a text with placeholders, or the items of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mapdr.dicom.path import format_tag, parse_path, tag_vr
from mapdr.dicom.template import Template


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a sequence: of each its elements by ascending tag."""

    items: tuple[tuple[tuple[int, Template | Items], ...], ...]

    @classmethod
    def parse(cls, tables: Sequence[Mapping[str, object]]) -> Items:
        """`[{ CodeValue = "T1", CodeMeaning = "{BodyPartExamined}" }]`; within it lists are items again.

        Raises ValueError.
        """
        return cls(tuple(_item(table) for table in tables))


Content = Template | Items


def parse_content(written: object) -> Content:
    """A text is a template, a list of tables the items of a sequence. Raises ValueError."""
    if isinstance(written, str):
        return Template.parse(written)
    if isinstance(written, Sequence) and all(isinstance(table, Mapping) for table in written):
        return Items.parse(written)
    raise ValueError("is neither a text nor a list of items; write { KEYWORD = ... } for each item")


def _item(table: Mapping[str, object]) -> tuple[tuple[int, Content], ...]:
    elements: dict[int, Content] = {}
    for keyword, written in table.items():
        tag, content = _element(keyword, written)
        if tag in elements:
            raise ValueError(f"{format_tag(tag)} is given twice in one item")
        elements[tag] = content
    return tuple(sorted(elements.items(), key=lambda element: element[0]))


def _element(keyword: str, written: object) -> tuple[int, Content]:
    path = parse_path(keyword)
    if len(path) > 1:
        raise ValueError(f"{keyword!r} is a path; an item names its own elements, and nests lists")
    try:
        content = parse_content(written)
    except ValueError as error:
        raise ValueError(f"{format_tag(path[0])}: {error}") from error
    if isinstance(content, Items) != (tag_vr(path[0]) == "SQ"):
        wanted = "a sequence takes a list of items" if isinstance(content, Template) else "it is no sequence"
        raise ValueError(f"{format_tag(path[0])}: {wanted}")
    return path[0], content
