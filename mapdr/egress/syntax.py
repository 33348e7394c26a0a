"""The configuration field for transfer syntaxes: UIDs, PS3.6's keywords, or the names that MAPDR shows."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator

from mapdr.dicom.transfer_syntax import TRANSFER_SYNTAXES
from mapdr.kernel.finding import nearest
from mapdr.wire.contexts import is_transfer_syntax


def _syntax(name: str) -> str:
    uid = _by_name().get(_plain(name), name)
    if not is_transfer_syntax(uid):
        meant = nearest(name, (each.name for each in TRANSFER_SYNTAXES))
        raise ValueError(f'is not a transfer syntax; write its UID or its name, e.g. "{meant or _USUAL}"')
    return uid


_USUAL = "Explicit VR Little Endian"


def _plain(name: str) -> str:
    """A name without what people write in more than one way."""
    return name.replace(" ", "").replace("-", "").lower()


@lru_cache(maxsize=1)
def _by_name() -> dict[str, str]:
    """UIDs by PS3.6's names and keywords and MAPDR's names; pydicom is imported only where one is used."""
    from pydicom.uid import UID, AllTransferSyntaxes

    found = {_plain(each.name): each.uid for each in TRANSFER_SYNTAXES}
    for uid in map(UID, AllTransferSyntaxes):
        found[_plain(uid.name)] = found[_plain(uid.keyword)] = str(uid)
    return found


Syntax = Annotated[str, AfterValidator(_syntax)]
"""A field that holds the UID of a transfer syntax."""
