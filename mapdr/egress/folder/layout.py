"""Names of files and folders from tags: names that every system takes, and never a way out of the folder.

A layout is text with placeholders, "/" between folders. What a value brings is only ever a part of one name:
its slashes, colons and control characters become "_", so do a dot in front and an empty name. Windows takes
no dots and blanks at the end, and no names of devices (CON, LPT1.txt); a name that is too long for common
file systems is cut, with a hash of all of it. Two values that become one name are told apart by what is in
the files: no file is overwritten.
"""

from __future__ import annotations

import os.path
import unicodedata
from collections.abc import Callable
from hashlib import blake2b
from typing import Annotated

from pydantic import AfterValidator

from mapdr.dicom.template import Template
from mapdr.kernel.item import TagPath

DEFAULT = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"

LONGEST = 128
"""Bytes of a name in UTF-8; file systems take 255 bytes or 255 characters."""
DEEPEST = 16
"""Folders and the file's name. A path of so many that are as long as they may be fits PATH_MAX of Linux."""

_SAFE = frozenset("-_.+,=^()@ ")
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{device}{number}" for device in ("COM", "LPT") for number in "0123456789¹²³"
}


class Layout:
    """A layout, to be rendered for each image."""

    def __init__(self, text: str) -> None:
        """Raises ValueError, with the cure behind a semicolon."""
        if "\\" in text:
            raise ValueError("holds a backslash; write / between folders")
        names = text.split("/")
        if len(names) > DEEPEST:
            raise ValueError(f"has more than {DEEPEST} names; write fewer folders")
        self._names = tuple(_checked(name) for name in names)
        if self._names[-1].constant is not None:
            raise ValueError("gives every file one name; write {SOPInstanceUID}.dcm at the end")
        self.paths: frozenset[TagPath] = frozenset().union(*(name.paths for name in self._names))

    def render(self, lookup: Callable[[TagPath], str]) -> tuple[str, ...]:
        """The names of the folders and of the file; `lookup` gives the values of tags."""
        return tuple(safe_name(name.render(lambda path: _safe(lookup(path)))) for name in self._names)


def safe_name(text: str) -> str:
    """`text`, of safe characters, as a name that every system takes."""
    name = text.lstrip(" ").rstrip(". ")
    if not name or name[0] == ".":
        name = f"_{name[1:]}"
    if name.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        name = f"_{name}"
    return name if len(name.encode()) <= LONGEST else _cut(name)


def _cut(name: str) -> str:
    """The beginning of a name and a hash of the whole, with its ending."""
    ending = os.path.splitext(name)[1]
    if len(ending.encode()) > 8:
        ending = ""
    mark = f"~{blake2b(name.encode(), digest_size=8).hexdigest()}{ending}"
    return name.encode()[: LONGEST - len(mark.encode())].decode(errors="ignore") + mark


def _safe(value: str) -> str:
    return "".join(char if _is_safe(char) else "_" for char in unicodedata.normalize("NFC", value))


def _is_safe(char: str) -> bool:
    """Letters, marks and digits of every script, and what no system has another use for."""
    return char in _SAFE or unicodedata.category(char)[0] in "LMN"


def _checked(text: str) -> Template:
    if not text:
        raise ValueError("has an empty name; write it without / in front, at the end or twice")
    name = Template.parse(text)
    for char in "".join(part for part in name.parts if isinstance(part, str)):
        if not _is_safe(char):
            raise ValueError(f"holds {char!r}, which not every system takes in a name; leave it out")
    constant = name.constant
    if constant in (".", ".."):
        raise ValueError("leads out of the folder; write names without . and ..")
    if (constant is not None and safe_name(constant) != constant) or text[0] in ". ":
        raise ValueError(f"names {text!r}, which not every system takes; choose another name")
    return name


def _layout(text: str) -> str:
    Layout(text)
    return text


LayoutField = Annotated[str, AfterValidator(_layout)]
"""A field of a stage's configuration: a text that `Layout` takes."""
