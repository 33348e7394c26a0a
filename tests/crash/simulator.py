"""The simulator: records of the store at work, crashes at their events, and the promise on what they leave.

A record is made once for each scenario (`child.py`). For a moment of it, that is after any of its events, the
states that a power failure may leave are made (`disk.py`, `states.py`), and the one that the end of the
process leaves. Each is recovered on once, whatever moments lead to it, and judged by what had been said at
each of them.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from crash.disk import Disk, Kept, Model, Tree, materialise, snapshot
from crash.promise import Outcome, Told, digest, outcome
from crash.record import Call, Event, read_record, run_recorded
from crash.states import simplest, states

Begun = dict[str, tuple[int, bytes | None]]


@dataclass(frozen=True)
class Recorded:
    """A scenario's record, what was there when it began, and what had been said by `earlier` events."""

    scenario: str
    events: Sequence[Event]
    begun: Begun
    earlier: Sequence[Event] = ()

    def told(self) -> Told:
        """What had been said when it began."""
        told = Told()
        for event in self.earlier:
            told.hear(event)
        return told

    def crashed(self, model: Model, moment: int, corner: int) -> Tree:
        """One of the states that a power failure may leave after so many events: the first of them has lost
        nothing, the third all bytes that were not flushed, and no names."""
        disk = Disk(model, self.begun)
        for number, event in enumerate(self.events[:moment]):
            disk.apply(number, event)
        return disk.state(next(islice(states(disk, 0, corner + 1), corner, None)))


def record(
    recorder: Path,
    folder: Path,
    *phases: str,
    fault: str = "none",
    on: Tree | None = None,
    earlier: Sequence[Event] = (),
) -> Recorded:
    """Let phases of a scenario happen one after the other, in the new folder `folder`, on what a crash after
    `earlier` events has left. Raises AssertionError if anything has happened there of which the record does
    not tell."""
    root = folder / "root"
    root.mkdir(parents=True)
    materialise(on or {}, root)
    begun = snapshot(root)
    written = folder / "record"
    for phase in phases:
        run_recorded(recorder, written, root, [phase, fault])
    made = Recorded("+".join(phases), read_record(written.read_bytes()), begun, earlier)
    disk = Disk("weak", begun)
    for number, event in enumerate(made.events):
        disk.apply(number, event)
    really = {path: content for path, (_, content) in snapshot(root).items() if path and path[-4:] != "-shm"}
    assert disk.volatile() == really, "something has changed files that the record does not know of"
    return made


@dataclass
class Failure:
    """A state in which the promise does not hold."""

    recorded: Recorded
    model: Model
    moment: int
    kept: Kept
    power: bool
    broken: list[str]

    def __str__(self) -> str:
        events, disk = self.recorded.events, Disk(self.model, self.recorded.begun)
        names = {}
        for number, event in enumerate(events[: self.moment]):
            disk.apply(number, event)
            names[number] = event.path or disk.path_of(event)
        pending = {change.number for change in disk.changes}
        lost = [
            f"  {number}: {_said(events[number], names[number])}"
            for number in sorted(pending - self.kept.names)
        ]
        lost += [
            f"  {number}: {_said(events[number], names[number])}, of which came {list(parts) or 'nothing'}"
            for number, parts in sorted(self.kept.parts.items())
        ]
        lost += [f"  file {node} has {length} bytes" for node, length in self.kept.lengths.items()]
        last = [
            f"  {number}: {_said(events[number], names[number])}"
            for number in range(max(0, self.moment - 8), self.moment)
        ]
        what = f"power fails ({self.model})" if self.power else "the process ends"
        return "\n".join(
            (
                *self.broken,
                f"{self.recorded.scenario}: {what} after {self.moment} events, the last of them",
                *last,
                "what is lost:",
                *(lost or ["  nothing"]),
            )
        )

    def save(self, path: Path) -> None:
        """Write all that `replay.py` needs to make this state again."""
        recorded = self.recorded
        begun = {path: (inode, _packed(content)) for path, (inode, content) in recorded.begun.items()}
        events = [_line(event) for event in recorded.events[: self.moment]]
        kept = (
            sorted(self.kept.names),
            list(self.kept.parts.items()),
            list(self.kept.lengths.items()),
            self.kept.stale,
        )
        earlier = [_line(event) for event in recorded.earlier]
        facts = (recorded.scenario, begun, events, earlier, self.model, self.moment, kept, self.power)
        path.write_text(json.dumps(facts))

    def make(self, folder: Path) -> None:
        """Make the state real in a new folder."""
        disk = Disk(self.model, self.recorded.begun)
        for number, event in enumerate(self.recorded.events[: self.moment]):
            disk.apply(number, event)
        folder.mkdir(parents=True)
        materialise(disk.state(self.kept), folder)

    @classmethod
    def load(cls, path: Path, folder: Path) -> Failure:
        """The failure that was saved, judged again in the new folder `folder`; `broken` may be empty now."""
        scenario, begun, events, earlier, model, moment, (names, parts, lengths, stale), power = json.loads(
            path.read_text()
        )
        recorded = Recorded(
            scenario,
            list(map(_event, events)),
            {path: (inode, _unpacked(content)) for path, (inode, content) in begun.items()},
            list(map(_event, earlier)),
        )
        kept = Kept(
            frozenset(names),
            {number: tuple((start, end) for start, end in each) for number, each in parts},
            dict(lengths),
            stale,
        )
        disk, told = Disk(model, recorded.begun), recorded.told()
        for number, event in enumerate(recorded.events):
            disk.apply(number, event)
            told.hear(event)
        broken = outcome(disk.state(kept), folder, power=power).broken(told)
        return cls(recorded, model, moment, kept, power, broken)


@dataclass
class Simulator:
    """Crashes one record, again and again. `folder` is for the states that are made real.

    `recovered` counts states of the disk that recovery ran on, `checked` each moment that may leave one.
    `known` is what recovery made of them: simulators may share it while the same code recovers.
    """

    folder: Path
    known: dict[tuple[bytes, bool], Outcome] = field(default_factory=dict)
    checked: int = 0
    recovered: int = 0

    def failures(
        self,
        recorded: Recorded,
        model: Model,
        *,
        moments: int | Collection[int],
        each: int,
        seed: int = 0,
    ) -> Iterator[Failure]:
        """The failures in at most `each` states at each of `moments`: those, or a seeded choice of as many,
        half of them after a change of names or when somebody was told something."""
        chosen = _chosen(recorded.events, moments, seed) if isinstance(moments, int) else set(moments)
        disk, told = Disk(model, recorded.begun), recorded.told()
        for moment in range(len(recorded.events) + 1):
            if moment:
                disk.apply(moment - 1, recorded.events[moment - 1])
                told.hear(recorded.events[moment - 1])
            if moment not in chosen:
                continue
            some = [(kept, True) for kept in states(disk, seed * 1_000_003 + moment, each)]
            for kept, power in ((disk.everything(), False), *some):
                self.checked += 1
                if broken := self._broken(disk, told, kept, power=power):
                    yield self._simplified(Failure(recorded, model, moment, kept, power, broken), disk, told)

    def _broken(self, disk: Disk, told: Told, kept: Kept, *, power: bool) -> list[str]:
        tree = disk.state(kept)
        key = (digest(tree), power)
        if key not in self.known:
            self.recovered += 1
            self.known[key] = outcome(tree, self.folder / "state", power=power)
        return self.known[key].broken(told)

    def _simplified(self, failure: Failure, disk: Disk, told: Told) -> Failure:
        if failure.power:

            def fails(kept: Kept) -> bool:
                return bool(self._broken(disk, told, kept, power=True))

            failure.kept = simplest(failure.kept, disk, fails)
            failure.broken = self._broken(disk, told, failure.kept, power=True)
        return failure

    def close(self) -> None:
        """Remove the last state."""
        shutil.rmtree(self.folder / "state", ignore_errors=True)


def _chosen(events: Sequence[Event], moments: int, seed: int) -> set[int]:
    """Moments: numbers of events that have happened."""
    every = range(len(events) + 1)
    if len(every) <= moments:
        return set(every)
    rng = random.Random(seed)
    telling = [
        number
        for number in every
        if number and events[number - 1].call not in (Call.WRITE, Call.FSYNC, Call.FDATASYNC, Call.LENGTH)
    ]
    some = rng.sample(telling, min(len(telling), moments // 2))
    return {0, len(events), *some, *rng.sample(every, moments - len(some))}


def _said(event: Event, name: str) -> str:
    more = f" {event.other}" if event.other else ""
    size = f" at {event.at}, {len(event.data)} bytes" if event.call is Call.WRITE else ""
    return f"{event.call.name.lower()} {name}{more}{size}"


def _line(event: Event) -> tuple[int | str | None, ...]:
    return int(event.call), event.inode, event.at, event.path, event.other, _packed(event.data)


def _event(line: list[Any]) -> Event:
    return Event(Call(line[0]), *line[1:5], _unpacked(line[5]) or b"")


def _packed(content: bytes | None) -> str | None:
    return None if content is None else base64.b85encode(zlib.compress(content)).decode()


def _unpacked(content: str | None) -> bytes | None:
    return None if content is None else zlib.decompress(base64.b85decode(content))
