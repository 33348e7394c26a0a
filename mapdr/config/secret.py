"""Secrets: named in the configuration, read when they are used, shown never.

A secret is written as where it is kept: `env:NAME` (an environment variable) or `file:PATH` (the file's text
without surrounding white space). A plain value is refused, so that a configuration may be shown to anyone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from mapdr.config.units import base_folder
from mapdr.kernel.errors import ConfigurationError

CURE = 'write where the secret is kept: "env:NAME" or "file:PATH"'


class Secret:
    """Where a secret is kept. Printing, comparing and dumping it show the place, never the value."""

    __slots__ = ("_base", "place")

    def __init__(self, place: str, base: Path = Path()) -> None:
        """Raises ValueError, without the text, unless `place` is env:NAME or file:PATH."""
        scheme, colon, name = place.partition(":")
        if scheme not in {"env", "file"} or not colon or not name.strip():
            raise ValueError(f"is not a secret's place; {CURE}")
        self.place = place
        self._base = base

    @property
    def file(self) -> Path | None:
        """The file that it is kept in; None for one of the environment."""
        scheme, _, name = self.place.partition(":")
        return self._base / Path(name).expanduser() if scheme == "file" else None

    def reveal(self) -> str:
        """The secret's value, read now. Raises ConfigurationError that names the place."""
        file = self.file
        if file is None:
            value = os.environ.get(self.place.partition(":")[2], "")
        else:
            try:
                value = file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise ConfigurationError(f"the secret {self.place} cannot be read: {problem}") from None
        if not value:
            raise ConfigurationError(f"the secret {self.place} is empty or not set")
        return value

    def __repr__(self) -> str:
        return f"Secret({self.place!r})"

    def __str__(self) -> str:
        return self.place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.place == self.place

    def __hash__(self) -> int:
        return hash(self.place)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def _validate(cls, value: Any, info: ValidationInfo) -> Secret:
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise ValueError(f"is not a secret's place; {CURE}")
        return cls(value, base_folder(info))
