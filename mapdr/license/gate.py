"""The way to the compiled gate of a vendor's build; any other build has none and needs no license."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from mapdr.license import built
from mapdr.license.standing import Record, Standing, standing
from mapdr.license.token import License, WrongToken

try:
    from mapdr.license import _gate as compiled
except ImportError:  # not built, or taken away from a vendor's build, which `judge` says
    compiled = None  # type: ignore[assignment]

MISSING = "a part of this program is missing (its license gate): install the program again"


def needed() -> bool:
    """Whether this build needs a license."""
    return compiled is not None or built.VENDOR


def judge(
    token: str | None, facts: Mapping[str, str], now: datetime, record: Record | None
) -> tuple[Standing, Record | None]:
    """How the license stands, and what is to be remembered (`mapdr.license.standing.standing`)."""
    if compiled is not None:
        return compiled.judge(token, facts, now, record)
    if built.VENDOR:
        return Standing("over", MISSING), record
    return standing(token, facts, now, record, ())


def verify(token: str) -> License:
    """The license of a token that this build's vendor has signed. Raises WrongToken."""
    if compiled is None:
        raise WrongToken(MISSING if built.VENDOR else "this build needs no license, and knows no vendor")
    return compiled.verify(token)
