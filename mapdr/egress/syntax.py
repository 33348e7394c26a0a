"""The configuration field for transfer syntaxes: UIDs, or the names that PS3.6 gives them."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator

from mapdr.wire.contexts import is_transfer_syntax


def _syntax(name: str) -> str:
    uid = _keywords().get(name, name)
    if not is_transfer_syntax(uid):
        raise ValueError("is not a transfer syntax; write its UID or its name, e.g. ExplicitVRLittleEndian")
    return uid


@lru_cache(maxsize=1)
def _keywords() -> dict[str, str]:
    """Keyword to UID (PS3.6, annex A); pydicom is imported only where a configuration names a syntax."""
    from pydicom.uid import UID, AllTransferSyntaxes

    return {UID(uid).keyword: str(uid) for uid in AllTransferSyntaxes}


Syntax = Annotated[str, AfterValidator(_syntax)]
"""A field that holds the UID of a transfer syntax."""
