"""Are the destinations there?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.item import Outcome, Verdict
from mapdr.kernel.stage import Egress, Settings
from mapdr.kernel.watch import Watch
from mapdr.node.plan import Plan
from mapdr.operate.configuration import Configuration
from mapdr.operate.names import known_destinations


@dataclass(frozen=True, slots=True)
class Echo:
    """A destination's answer; `comment` says why it is not there."""

    name: str
    there: bool
    comment: str
    milliseconds: float


def echo(configuration: Configuration, names: Sequence[str] = ()) -> Iterator[Echo]:
    """Ask destinations whether they are there, one after the other; all of them, or those named.

    Raises RequestError for an unknown name.
    """
    plan = configuration.plan
    for name in known_destinations(plan, names):
        yield echo_one(plan, name)


def echo_one(plan: Plan, name: str) -> Echo:
    """The answer of one destination of a plan."""
    started = time.perf_counter()
    outcome = _probe(plan, name)
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    return Echo(name, outcome.verdict is Verdict.DELIVERED, outcome.comment, milliseconds)


def build(plan: Plan, name: str) -> Egress:
    """The destination's stage, not started."""
    planned = plan.destinations[name]
    settings = Settings(name, plan.node.name, plan.node.data, bytes(32), Watch(), plan.node.workers)
    stage: Egress = planned.factory.build(settings, planned.config, None)
    return stage


def _probe(plan: Plan, name: str) -> Outcome:
    """The destination's answer; a destination that cannot even be built is an answer too."""
    try:
        stage = build(plan, name)
        stage.start()
        try:
            return stage.probe()
        finally:
            stage.stop(time.monotonic() + 5)
    except (MapdrError, OSError) as error:
        return Outcome(Verdict.RETRY, comment=str(error))
