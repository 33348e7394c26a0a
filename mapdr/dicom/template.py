"""Text with placeholders: `CN-{AccessionNumber}`. `{{` and `}}` are braces.

A placeholder is a tag as `mapdr.dicom.path` reads it, or one of the plain names that the caller allows
(`{images}`), which win over keywords.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from mapdr.dicom.path import parse_path
from mapdr.kernel.item import TagPath

_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+")


@dataclass(frozen=True, slots=True)
class Name:
    """A plain placeholder."""

    name: str


Part = str | TagPath | Name


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: text, tag paths and names in order; `source` is what was written."""

    source: str
    parts: tuple[Part, ...]

    @classmethod
    def parse(cls, text: str, names: frozenset[str] = frozenset()) -> Template:
        """Raises ValueError for a lone brace and for an unknown placeholder, with the nearest name."""
        parts: list[Part] = []
        for token in _TOKEN.findall(text):
            if token in ("{", "}"):
                raise ValueError(f"{text!r}: a lone {token}; write {token}{token} for the brace itself")
            if token in ("{{", "}}"):
                parts.append(token[0])
            elif token[0] == "{":
                parts.append(_placeholder(token[1:-1].strip(), names))
            else:
                parts.append(token)
        return cls(text, tuple(parts))

    @property
    def paths(self) -> frozenset[TagPath]:
        """The tags that it needs."""
        return frozenset(part for part in self.parts if isinstance(part, tuple))

    @property
    def names(self) -> frozenset[str]:
        """The plain names that it needs."""
        return frozenset(part.name for part in self.parts if isinstance(part, Name))

    @property
    def constant(self) -> str | None:
        """Its text if it needs nothing, else None."""
        return None if self.paths or self.names else self.render(lambda path: "")

    @property
    def sole(self) -> TagPath | str | None:
        """The tag path or name if it is exactly one placeholder, else None."""
        if len(self.parts) != 1 or isinstance(self.parts[0], str):
            return None
        part = self.parts[0]
        return part.name if isinstance(part, Name) else part

    def render(self, lookup: Callable[[TagPath], str], names: Mapping[str, object] | None = None) -> str:
        """The text with `lookup(path)` for each tag and `names[name]` for each name (KeyError without)."""
        out: list[str] = []
        for part in self.parts:
            if isinstance(part, str):
                out.append(part)
            elif isinstance(part, Name):
                out.append(str((names or {})[part.name]))
            else:
                out.append(lookup(part))
        return "".join(out)


def _placeholder(text: str, names: frozenset[str]) -> Part:
    if text in names:
        return Name(text)
    try:
        return parse_path(text)
    except ValueError as error:
        near = get_close_matches(text, names, n=1, cutoff=0.7)
        if near:
            raise ValueError(f"no placeholder {{{text}}}; did you mean {{{near[0]}}}?") from error
        raise ValueError(f"placeholder {{{text}}}: {error}") from error
