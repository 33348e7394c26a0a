"""A host as a configuration names it."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_CURE = "write a name or an address, e.g. pacs.clinic.example"


def check_host(text: str) -> str:
    """`text` if it can be the name or the address of a host (RFC 1123 section 2.1; underscores are met in
    Windows networks); raises ValueError, with the cure behind a semicolon.

    Nothing is looked up. What looks like an IPv4 address must be one: a resolver may take `10.1` for another.
    """
    try:
        ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        return text
    name, colon, port = text.partition(":")
    if colon and port.isdigit() and _is_name(name):
        raise ValueError("holds a port; write the port as port = ...")
    if not _is_name(text):
        raise ValueError(f"is not a host; {_CURE}")
    if text.rstrip(".").rpartition(".")[2].isdigit():
        raise ValueError(f"is not an IPv4 address; {_CURE}")
    return text


def _is_name(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


Host = Annotated[str, AfterValidator(check_host)]
"""A field of a stage's configuration."""
