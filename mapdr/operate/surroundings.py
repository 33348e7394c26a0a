"""Who sends now, who listens, and how disk, index and certificates stand: from the node's state alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapdr.operate import words
from mapdr.operate.model import NodeState, Receiver

SHOWN = 200
"""Sources at most: a peer may invent names."""

CERTIFICATES = 3
"""Certificates that are told, those that end first."""

_INDEX = frozenset({"index", "store", "aside", "spool"})
"""Kinds of what needs attention that tell of the index and the spool."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A source that sent lately, by its name: `rate` is its images a second in this minute, `last_hour` those
    of each of the last 60 minutes, the oldest first; empty if the node has had none from it since it started.
    The others as for `model.Sender`."""

    name: str
    receivers: Sequence[str]
    today: int
    last_at: float | None
    silent: bool
    rate: float
    last_hour: Sequence[float]


@dataclass(frozen=True, slots=True)
class Condition:
    """How something that the node needs stands: `level` is good, warn or bad, `text` says it."""

    name: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Sources, those that are silent first, then the last one to send; receivers; and conditions."""

    sources: Sequence[Sending]
    receivers: Sequence[Receiver]
    conditions: Sequence[Condition]


def surroundings(state: NodeState) -> Surroundings:
    """What is around a node, by its state."""
    rates = state.last_hour.sources
    found = [
        Sending(
            name=words.plain(one.name),
            receivers=one.receivers,
            today=one.today,
            last_at=one.last_at,
            silent=one.silent,
            rate=hour[-1] if hour else 0.0,
            last_hour=hour,
        )
        for one in sorted(state.senders, key=lambda one: not one.silent)[:SHOWN]
        for hour in [rates.get(words.plain(one.name), ())]
    ]
    return Surroundings(found, state.node.receivers, [_disk(state), _index(state), _certificates(state)])


def _disk(state: NodeState) -> Condition:
    level = next((one.level for one in state.attention if one.kind == "disk"), "good")
    if state.node.disk_free is None:
        return Condition("disk", "warn", "how much is free is not known")
    step = state.node.disk_step
    step = f", {step}" if step and step != "enough" else ""
    floor = f"; below {words.size(state.node.disk_floor)} images are refused" if state.node.disk_floor else ""
    return Condition("disk", level, f"{words.size(state.node.disk_free)} free{step}{floor}")


def _index(state: NodeState) -> Condition:
    trouble = next((one for one in state.attention if one.kind in _INDEX), None)
    if trouble is not None:
        return Condition("index", trouble.level, trouble.text)
    size = f"{words.size(state.node.index_bytes)}, " if state.node.index_bytes is not None else ""
    return Condition("index", "good", f"{size}can be read")


def _certificates(state: NodeState) -> Condition:
    trouble = next((one for one in state.attention if one.kind == "certificate"), None)
    if trouble is not None:
        return Condition("certificates", trouble.level, trouble.text)
    if not state.certificates:
        return Condition("certificates", "good", "none in use")
    told = "; ".join(f"{one.stage}: {one.text}" for one in state.certificates[:CERTIFICATES])
    rest = len(state.certificates) - CERTIFICATES
    return Condition("certificates", "good", f"{told}; and {rest} that end later" if rest > 0 else told)
