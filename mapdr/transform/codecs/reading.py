"""What the codecs have in common that only read, by imagecodecs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mapdr.kernel.codec import Ability, Decoder
from mapdr.kernel.stage import Factory, Settings, StageConfig

UNWANTED = "it is not offered"
OLD = "the imagecodecs that Python 3.11 can have writes a wrong precision"


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


def reading_stage(type_: str, library: str, *groups: tuple[Decoder, Mapping[str, str]]) -> Factory:
    """The factory of a codec that only reads, by imagecodecs' class `library`."""

    def build(settings: Settings, config: NothingToSay, next: None) -> Abilities:
        return Abilities(tuple(each for group in groups for each in read_only(library, *group)))

    return Factory("codec", type_, NothingToSay, build)
