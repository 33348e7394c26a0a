"""DICOM JSON (PS3.18, annex F) and the native DICOM model in XML (PS3.19, A.1), as far as an answer needs.

Both become plain objects of the shape that DICOM JSON has: a data set maps a tag of eight upper-case digits
to `{"Value": [...]}`, a sequence's values being data sets. What a peer sends can only raise
RemoteProtocolError; no message repeats any of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

from mapdr.kernel.errors import RemoteProtocolError

LARGEST = 16 << 20
"""Bytes. An answer has a few hundred for each image."""

DEEPEST = 32
"""Levels of nested elements; the answer to a STOW-RS request has nine."""

_TAG_LENGTH = 8


def from_json(body: bytes) -> list[Mapping[str, Any]]:
    """The data sets of a JSON body: an object, or an array of them."""
    _check_size(body)
    try:
        found = json.loads(body.decode("utf-8", "replace"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        # A number of 5,000 digits is a ValueError as well, brackets without end are a RecursionError.
        raise RemoteProtocolError("the answer is not whole or not JSON") from None
    data_sets = found if isinstance(found, list) else [found]
    if not all(isinstance(each, dict) for each in data_sets):
        raise RemoteProtocolError("the answer is JSON, but no data set")
    return data_sets


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, its tags in upper case. A name that comes twice would hide what was said first."""
    found = {name.upper() if len(name) == _TAG_LENGTH else name: value for name, value in pairs}
    if len(found) != len(pairs):
        raise ValueError
    return found


def from_xml(body: bytes) -> list[Mapping[str, Any]]:
    """The data set of a native DICOM model. A document type or an entity is refused: no answer needs one."""
    _check_size(body)
    return _NativeModel().read(body)


class _NativeModel:
    """Builds the data set while expat reads: nothing else of the document is kept."""

    def __init__(self) -> None:
        self._data_set: dict[str, Any] = {}
        self._open: list[str] = []
        self._sets: list[dict[str, Any]] = [self._data_set]
        """The data set and the items that are open."""
        self._values: list[list[Any]] = []
        """The values of the elements that are open."""
        self._text: list[str] | None = None

    def read(self, body: bytes) -> list[Mapping[str, Any]]:
        """See `from_xml`."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = _refuse
        parser.EntityDeclHandler = _refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.buffer_text = True
        try:
            parser.Parse(body, True)
        except (expat.ExpatError, ValueError, LookupError):
            # ValueError and LookupError: an encoding that Python does not know or cannot use here.
            raise RemoteProtocolError("the answer is not whole or not XML") from None
        return [self._data_set]

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(" ")[2]
        if not self._open and name != "NativeDicomModel":
            raise RemoteProtocolError("the answer is no native DICOM model; is it a page for people?")
        if len(self._open) >= DEEPEST:
            raise RemoteProtocolError("the answer is nested too deep")
        outer = self._open[-1] if self._open else ""
        self._open.append(name)
        if name == "DicomAttribute" and outer in ("NativeDicomModel", "Item"):
            tag, values = attributes.get("tag", "").upper(), list[Any]()
            if tag in self._sets[-1]:
                raise RemoteProtocolError("the answer has an attribute twice")
            self._sets[-1][tag] = {"Value": values}
            self._values.append(values)
        elif name == "Item" and outer == "DicomAttribute":
            item: dict[str, Any] = {}
            self._values[-1].append(item)
            self._sets.append(item)
        elif name == "Value" and outer == "DicomAttribute":
            self._text = []
        elif self._open[0] == name and len(self._open) == 1:
            pass
        else:
            # Person names, bulk data, private additions: what they hold is nothing that is asked for.
            self._open[-1] = ""

    def _end(self, name: str) -> None:
        ended = self._open.pop()
        if ended == "DicomAttribute":
            self._values.pop()
        elif ended == "Item":
            self._sets.pop()
        elif ended == "Value" and self._text is not None:
            self._values[-1].append("".join(self._text))
            self._text = None

    def _characters(self, data: str) -> None:
        if self._text is not None and self._open[-1] == "Value":
            self._text.append(data)


def _refuse(*_: object) -> None:
    raise RemoteProtocolError("the answer is a page for people, or has a document type or an entity")


def _check_size(body: bytes) -> None:
    if len(body) > LARGEST:
        raise RemoteProtocolError("the answer is too long")
