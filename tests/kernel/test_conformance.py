"""What a plug-in lacks of the contract of its kind is told before anything is built of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from mapdr.kernel.conformance import breaches
from mapdr.kernel.item import Acceptance, Instance, Need, Outcome, Payload
from mapdr.kernel.registry import BUILTIN, Registry
from mapdr.kernel.stage import Description, Factory, Settings, StageConfig
from mapdr.kernel.step import Changes, Memory, Phase, Reads


class Loose(BaseModel):
    """Takes any key."""


class Session:
    def acceptance(self, need: Need) -> Acceptance | None: ...
    def send(self, payload: Payload) -> Outcome: ...
    def close(self) -> None: ...


class Deaf(Session):
    send: Any = None


class Good:
    sessions = 1

    def start(self) -> None: ...
    def stop(self, deadline: float) -> None: ...
    def connect(self, needs: Sequence[Need]) -> Session: ...
    def probe(self) -> Outcome: ...
    def describe(self) -> Description: ...


class Unstoppable(Good):
    def stop(self) -> None: ...  # type: ignore[override]


class Unsaid(Good):
    def connect(self, needs):  # type: ignore[no-untyped-def]
        return Session()


class ToDeaf(Good):
    def connect(self, needs: Sequence[Need]) -> Deaf: ...


class Still:
    pass


class Change:
    phase, reads, changes, copies = Phase.HEADER, Reads.HEADER, Changes.HEADER, 0

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload: ...


class Cut(Change):
    phase, reads, changes = Phase.PIXELS, Reads.FRAMES, Changes.PIXELS  # type: ignore[assignment]


class Meddles(Change):
    reads, changes = Reads.FRAMES, Changes.HEADER | Changes.SYNTAX  # type: ignore[assignment]


class Half(Change):
    phase, copies = "header", None  # type: ignore[assignment]


class Writes:
    phase, reads, changes, copies = Phase.ENCODE, Reads.FRAMES, Changes.SYNTAX, 1

    def encode(self, document: Any) -> Payload: ...


def building(made: Any) -> Any:
    def build(settings: Settings, config: Any, next: Any) -> Any: ...

    build.__annotations__["return"] = made
    return build


UNDECLARED = "its Still does not declare phase, reads, changes, copies (see mapdr.kernel.step.Transform)"


def no_arguments() -> Good: ...


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (Factory("egress", "put", StageConfig, building(Good)), []),
        (Factory("transform", "put", tuple[str, ...], building(Change)), []),
        (
            Factory("egress", "other", StageConfig, building(Good)),
            ['it calls itself "other", and its entry point "put"'],
        ),
        (
            Factory("egress", "put", Loose, building(Good)),
            ["its configuration is no StageConfig: unknown keys would pass in silence"],
        ),
        (
            Factory("transform", "put", Loose, building(Change)),
            ["its configuration is no StageConfig: unknown keys would pass in silence"],
        ),
        (
            Factory("egress", "put", dict[str, str], building(Good)),
            ["its configuration is no StageConfig: unknown keys would pass in silence"],
        ),
        (
            Factory("egress", "put", StageConfig, no_arguments),
            ["its build does not take settings, config and next"],
        ),
        (
            Factory("egress", "put", StageConfig, building(Any)),
            ["its build does not say which class it returns"],
        ),
        (
            Factory("egress", "put", StageConfig, building(Unstoppable)),
            ["its Unstoppable.stop does not take (self, deadline: 'float') -> 'None'"],
        ),
        (
            Factory("egress", "put", StageConfig, building(Unsaid)),
            ["its Unsaid.connect does not say which class it returns"],
        ),
        (Factory("egress", "put", StageConfig, building(ToDeaf)), ["its Deaf has no send"]),
        (Factory("transform", "put", StageConfig, building(Still)), [UNDECLARED]),
        (
            Factory("transform", "put", StageConfig, building(Half)),
            ["its Half does not declare phase, copies (see mapdr.kernel.step.Transform)"],
        ),
        (Factory("transform", "put", StageConfig, building(Cut)), ["its Cut has no paint"]),
        (
            Factory("transform", "put", StageConfig, building(Meddles)),
            [
                "its Meddles declares that it reads the frames, which no step of the phase HEADER does",
                "its Meddles declares that it changes HEADER|SYNTAX, which no step of the phase HEADER does",
            ],
        ),
        (
            Factory("transform", "put", StageConfig, building(Writes)),
            [
                "its Writes.encode does not take (self, document: 'Any', instance: 'Instance', "
                "memory: 'Memory', syntax: 'str') -> 'Payload'"
            ],
        ),
        (
            Factory("transform", "put", StageConfig, building(Any)),
            ["its build does not say which class it returns"],
        ),
        (
            Factory("receive", "put", StageConfig, building(Still)),
            ["its Still has no describe", "its Still has no start", "its Still has no stop"],
        ),
    ],
)
def test_what_is_missing_is_told(stage: Factory, told: list[str]) -> None:
    assert list(breaches(stage, "put")) == told


@pytest.mark.parametrize(("kind", "type_"), BUILTIN)
def test_what_mapdr_ships_holds_it(kind: str, type_: str) -> None:
    assert not list(breaches(Registry().factory(kind, type_), type_))
