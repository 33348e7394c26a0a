"""The configuration as typed values; `config.read` makes it, docs/configuration.md explains each key."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from mapdr.config.payload import PLACEHOLDERS
from mapdr.config.secret import CURE, Secret
from mapdr.config.units import Duration, LocalPath, Size, base_folder, parse_duration
from mapdr.dicom.template import Template
from mapdr.kernel.alarm import NODE_EVENTS
from mapdr.kernel.budget import DEFAULT
from mapdr.kernel.finding import instead
from mapdr.kernel.item import Priority
from mapdr.kernel.stage import StageConfig
from mapdr.net.http.config import HttpConfig, HttpUrl
from mapdr.route.condition import Condition
from mapdr.route.recipe import recipe

EVENTS = ("study.received", "study.updated", "study.delivered", "delivery.parked", *NODE_EVENTS)
"""What a webhook may be told of."""

LEAST_MEMORY = 64 * 1000**2
"""Bytes; an image of 1024 x 1024 pixels takes 16 MB while it is compressed."""

LEAST_FREE = 1000**2
"""Bytes. Without room for the index no delivery is begun, none ends, and nothing is purged."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?")  # Windows drops a dot at the end
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SECRET_HEADERS = re.compile(r"authorization|cookie|token|secret|api-?key|password", re.IGNORECASE)


def check_name(name: str) -> str:
    """A name that is safe in a path and in a log. Raises ValueError with the cure."""
    if not _NAME.fullmatch(name):
        raise ValueError("is not a name; use up to 64 letters, digits, -, _ and ., e.g. clinic-north")
    return name


def _event(name: str) -> str:
    if name not in EVENTS:
        raise ValueError(f'there is no event "{name}"; {instead(name, EVENTS, "events")}')
    return name


def _priority(value: Any) -> Any:
    words = [each.word for each in Priority]
    if isinstance(value, str) and not isinstance(value, Priority):
        if value not in words:
            raise ValueError(f'there is no priority "{value}"; {instead(value, words, "priorities")}')
        return Priority.of(value)
    if not isinstance(value, Priority):
        raise ValueError(f'is not a priority; write "{words[0]}", "{words[1]}" or "{words[2]}"')
    return value


PriorityField = Annotated[Priority, BeforeValidator(_priority)]


def _place_or_text(value: Any, info: ValidationInfo) -> Any:
    """A Secret for env:NAME and file:PATH, anything else as it is."""
    if isinstance(value, str) and value.startswith(("env:", "file:")):
        return Secret(value, base_folder(info))
    return value


def _is_header(name: Any, value: Any) -> bool:
    """Whether HTTP has such a header (RFC 9110, section 5); other types than texts are refused as such."""
    plain = not isinstance(value, str) or (value.isascii() and value.isprintable())
    return isinstance(name, str) and _HEADER.fullmatch(name) is not None and plain


def _has_placeholder(text: Any) -> bool:
    try:
        template = Template.parse(text, PLACEHOLDERS) if isinstance(text, str) else None
    except ValueError:
        return False
    return template is not None and template.constant is None


def _no_placeholder(text: str) -> str:
    if _has_placeholder(text):
        raise ValueError("has a placeholder, and is the same for all messages; write it into the payload")
    return text


def _retention(value: Any) -> Any:
    if value == "forever":
        return None
    if isinstance(value, str) and parse_duration(value) < 60:
        raise ValueError('is less than a minute; write "7 days" or "forever"')
    return value


def _memory(value: int) -> int:
    if value < LEAST_MEMORY:
        raise ValueError('is too little to prepare a CT image in; write at least "64 MB"')
    return value


def _min_free(value: int) -> int:
    if value < LEAST_FREE:
        raise ValueError(
            'is too little to write the index in on a full disk; write at least "1 MB", better "1 GB"'
        )
    return value


class NodeConfig(StageConfig):
    """`[node]`: this program on this machine."""

    name: str = "mapdr"
    data: LocalPath = Field(default=Path("mapdr-data"), validate_default=True)
    database: str | Secret = "sqlite"
    durability: Literal["power-loss", "process-crash"] = "power-loss"
    journal: bool = False
    retention: Annotated[Duration | None, BeforeValidator(_retention)] = 7 * 86400.0
    unrouted_retention: Annotated[Duration | None, BeforeValidator(_retention)] = 30 * 86400.0
    study_quiet: Duration = 30.0
    min_free: Annotated[Size, AfterValidator(_min_free)] = 1000**3
    low_free: Size | None = None
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=1024)
    memory: Annotated[Size, AfterValidator(_memory)] = DEFAULT
    repeats: Literal["forward", "absorb"] = "forward"

    @field_validator("low_free")
    @classmethod
    def _low_free(cls, low_free: int | None, info: ValidationInfo) -> int | None:
        if low_free is not None and low_free < info.data.get("min_free", 0):
            raise ValueError("is less than min_free, below which nothing is taken; name more")
        return low_free

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        return check_name(name)

    @field_validator("database", mode="before")
    @classmethod
    def _database(cls, value: Any, info: ValidationInfo) -> Any:
        value = _place_or_text(value, info)
        if not isinstance(value, str) or value == "sqlite":
            return value
        if not value.startswith("postgresql+psycopg://"):
            raise ValueError('is not a database; write "sqlite" or "postgresql+psycopg://..."')
        if urlsplit(value).password:
            raise ValueError(f"holds a password; {CURE}")
        return value

    @property
    def low(self) -> int:
        """`low_free` in bytes; twice the reserve if it is not given."""
        return 2 * self.min_free if self.low_free is None else self.low_free

    def database_url(self) -> str:
        """`sqlite` or the database's URL. Raises ConfigurationError if a secret cannot be read."""
        return self.database.reveal() if isinstance(self.database, Secret) else self.database


class NamedStage(StageConfig):
    """A receiver or destination: its table's name, its type, and the type's own configuration.

    `config` is None where the table has problems; a configuration without problems has no such stage.
    """

    name: str
    type: str
    config: Any = None


class WebhookConfig(HttpConfig):
    """`[webhook.NAME]`: who is told, of what, in which words; and the way there, as for a destination."""

    url: Annotated[HttpUrl, AfterValidator(_no_placeholder)]
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    on: tuple[Annotated[str, AfterValidator(_event)], ...] = Field(min_length=1)
    payload: dict[str, Any] = Field(default_factory=dict)
    secret: Secret | None = None
    headers: dict[str, str | Secret] = Field(default_factory=dict)
    timeout: Duration = Field(default=10.0, gt=0)

    @field_validator("headers", mode="before")
    @classmethod
    def _headers(cls, headers: Any, info: ValidationInfo) -> Any:
        if not isinstance(headers, Mapping):
            return headers
        read = {name: _place_or_text(value, info) for name, value in headers.items()}
        plain = [
            name for name, value in read.items() if isinstance(value, str) and _SECRET_HEADERS.search(name)
        ]
        if plain:
            raise ValueError(f"holds a secret in plain sight ({', '.join(plain)}); {CURE}")
        wrong = [name for name, value in read.items() if not _is_header(name, value)]
        if wrong:
            raise ValueError(f"has headers that HTTP cannot send ({', '.join(wrong)}); write them in ASCII")
        filled = [name for name, value in read.items() if _has_placeholder(value)]
        if filled:
            raise ValueError(
                f"has placeholders ({', '.join(filled)}), and is the same for all messages; "
                "write them into the payload"
            )
        return read

    @model_validator(mode="after")
    def _one_login(self) -> WebhookConfig:
        if self.auth is not None and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("has auth and a header Authorization; leave out one of them")
        return self


class RuleHead(StageConfig):
    """The plain keys of a `[[rule]]`; `when` and the transforms have readers of their own."""

    name: str = Field(min_length=1, max_length=200)
    send_to: tuple[str, ...]
    stop: bool = False
    priority: PriorityField = Priority.ROUTINE


class RuleConfig(RuleHead):
    """`[[rule]]`: which images go where, changed how.

    `steps` are (transform type, JSON-able configuration) pairs in the order in which they are applied,
    `files` those that they were read from.
    """

    when: Condition
    steps: tuple[tuple[str, Any], ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def recipe(self) -> dict[str, Any]:
        """What is done to an image, as `route.recipe` keeps it."""
        return recipe(self.steps)


class Config(StageConfig):
    """The whole file. `web` is the page's own configuration (`kernel.page`), None where there is no page."""

    node: NodeConfig
    receive: dict[str, NamedStage] = Field(default_factory=dict)
    egress: dict[str, NamedStage] = Field(default_factory=dict)
    webhook: dict[str, WebhookConfig] = Field(default_factory=dict)
    web: Any = None
    rule: tuple[RuleConfig, ...] = ()
