"""Media types as HTTP headers hold them (RFC 9110, section 8.3.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mapdr.kernel.errors import RemoteProtocolError

LONGEST = 4096
"""Characters of a header that are read."""

NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""What a name in a header is made of (RFC 9110, section 5.6.2)."""

_ESSENCE = re.compile(f"{NAME}/{NAME}")
_VALUE = r'(?:"((?:[^"\\]|\\.)*)"|([^\s";]*))'
_PARAMETER = re.compile(rf"[ \t]*;[ \t]*(?:({NAME})[ \t]*=[ \t]*{_VALUE}[ \t]*)?")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class MediaType:
    """`essence` is "type/subtype" in lower case; names of parameters are too, their values are as sent."""

    essence: str
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def media_type(text: str) -> MediaType:
    """Reads a Content-Type. Raises RemoteProtocolError, without the text.

    A value without quotes may hold a `/` (`type=application/dicom`), which many send and RFC 9110 forbids. A
    parameter that comes twice is refused: two readers would take two boundaries from it.
    """
    if len(text) > LONGEST:
        raise RemoteProtocolError("the content type is too long")
    text = text.strip(" \t")
    essence = _ESSENCE.match(text)
    if essence is None:
        raise RemoteProtocolError("the content type is none")
    at, parameters = essence.end(), dict[str, str]()
    while at < len(text):
        found = _PARAMETER.match(text, at)
        if found is None or found.end() == at:
            raise RemoteProtocolError("the content type has a parameter that is none")
        at = found.end()
        name, quoted, plain = found.groups()
        if name is None:
            continue
        if name.lower() in parameters:
            raise RemoteProtocolError("the content type has a parameter twice")
        parameters[name.lower()] = _ESCAPE.sub(r"\1", quoted) if quoted is not None else plain
    return MediaType(essence.group().lower(), parameters)
