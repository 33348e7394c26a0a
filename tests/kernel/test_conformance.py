"""What a plug-in lacks of the contract of its kind is told before anything is built of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from mapdr.kernel.conformance import breaches
from mapdr.kernel.item import Acceptance, Instance, Need, Outcome, Payload
from mapdr.kernel.stage import Description, Factory, Memory, Settings, StageConfig


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
    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload: ...


def building(made: Any) -> Any:
    def build(settings: Settings, config: Any, next: Any) -> Any: ...

    build.__annotations__["return"] = made
    return build


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
        (Factory("transform", "put", StageConfig, building(Still)), ["its Still has no apply"]),
        (
            Factory("receive", "put", StageConfig, building(Still)),
            ["its Still has no describe", "its Still has no start", "its Still has no stop"],
        ),
    ],
)
def test_what_is_missing_is_told(stage: Factory, told: list[str]) -> None:
    assert list(breaches(stage, "put")) == told
