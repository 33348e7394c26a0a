"""What Specific Character Set is assumed of images whose own is missing or wrong (PS3.3, C.12.1.1.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple


class AssumedSet(NamedTuple):
    """Text is read in `terms` where a data set declares `declared`.

    Both are values of Specific Character Set as they are written, defined terms joined by backslashes. An
    empty `declared` stands for all that tells nothing of text beyond ASCII: no such element, an empty one,
    the default repertoire (ISO_IR 6), and terms that nobody knows. `calling_ae` is who the image must have
    come from: `*` is any text, `?` one character.
    """

    terms: str
    declared: str = ""
    calling_ae: str = "*"


def assumed_of(sets: Iterable[AssumedSet], calling_ae: str) -> tuple[AssumedSet, ...]:
    """Those of `sets` that are meant for images of a peer, in their order."""
    return tuple(one for one in sets if _pattern(one.calling_ae).fullmatch(calling_ae))


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(char) or re.escape(char) for char in text), re.DOTALL)
