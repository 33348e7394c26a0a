"""The key of a receiver for text whose character set images do not declare, or declare wrongly."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from mapdr.dicom.charset import is_known, parse_terms
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.stage import StageConfig


def _terms(text: str) -> str:
    """A value of Specific Character Set, whose terms are known. Raises ValueError with the cure."""
    if not text.strip(" \\") or not text.isascii() or not is_known(parse_terms(text.encode())):
        raise ValueError('is no character set; write its defined terms, such as "ISO_IR 100"')
    return text.strip()


Terms = Annotated[str, AfterValidator(_terms)]


class Assumption(StageConfig):
    """What is assumed of images of some peers (`*` is any text, `?` one character), or of those that declare
    this set; without `declared`, of those that declare none that is of use."""

    assume: Terms
    calling_ae: str = Field(default="*", min_length=1, max_length=64)
    declared: str = Field(default="", max_length=256)


class ReadsText(StageConfig):
    """The configuration of a receiver that may assume a character set. Derive yours from it."""

    assume_character_set: tuple[Assumption, ...] = ()

    @field_validator("assume_character_set", mode="before")
    @classmethod
    def _of_all(cls, value: object) -> object:
        """A text alone is assumed of whatever comes."""
        return ({"assume": value},) if isinstance(value, str) else value

    @property
    def assumed(self) -> tuple[AssumedSet, ...]:
        """The sets that are assumed; of several that are meant, the first counts."""
        return tuple(
            AssumedSet(one.assume, one.declared.strip(), one.calling_ae) for one in self.assume_character_set
        )
