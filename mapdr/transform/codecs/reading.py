"""What the codecs have in common: no configuration, and whether imagecodecs has what they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mapdr.kernel.codec import Ability, Decoder
from mapdr.kernel.stage import StageConfig


class NothingToSay(StageConfig):
    """A codec has nothing to configure."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """A codec that is its abilities."""

    abilities: tuple[Ability, ...]


def missing(library: str) -> str:
    """Why imagecodecs' class `library` cannot be used here; empty if it can."""
    try:
        import imagecodecs
    except ImportError as error:
        return f"imagecodecs cannot be loaded ({type(error).__name__})"
    return "" if getattr(imagecodecs, library).available else "imagecodecs was built without it"


def read_only(library: str, decoder: Decoder, not_written: Mapping[str, str]) -> tuple[Ability, ...]:
    """Abilities to read by imagecodecs' class `library`; `not_written`: UIDs, and why each is not written."""
    lacking = missing(library)
    return tuple(Ability(uid, lacking or decoder, lacking or why) for uid, why in not_written.items())
