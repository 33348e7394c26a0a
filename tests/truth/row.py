"""The rows of the truth test's table, and how the ledger is compared with them.

Two images of one study are owed, BAD and GOOD. What is said of BAD stands in the row; GOOD is taken.
Where the row says that something waits, the receiver recovers later and takes all, and then all has to be
delivered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from deliver.world import World, delivering, world
from mapdr.deliver.supervise.deliverer import Deliverer
from mapdr.kernel.stage import Egress
from mapdr.testing.wait import until

BAD, GOOD = "1.9.1", "1.9.2"
BUSY: dict[str, Any] = {"state": "pending", "reason": "receiver-busy"}
LOST: dict[str, Any] = {"state": "pending", "reason": "no-answer"}

A = TypeVar("A")


@dataclass(frozen=True)
class Row(Generic[A]):
    """What is said of BAD, and what its ledger row becomes.

    `status` and `words` are those of the last attempt, `reason` the row's. `burnt` counts the tries used up
    in the end: what delivers or parks the image is one, and what it waited for used up none; None where each
    try counts that was made before the receiver recovered, which is the clock's affair.
    `state` "pending" means that it waits until the receiver recovers. `down` is the reason why the
    destination waits as a whole, if it does: then GOOD may wait with it, else it is delivered meanwhile.
    `both`: what is said of BAD holds for GOOD too. `event` is what is told of the study once nothing is open
    any more.
    """

    name: str
    answer: A
    state: str
    reason: str = ""
    status: int | None = None
    words: str = ""
    burnt: int | None = 1
    down: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    both: bool = False

    @property
    def event(self) -> str:
        return "study.parked" if self.state == "parked" else "study.delivered"


def check(folder: Path, row: Row[Any], egress: Egress, recover: Callable[[], None]) -> None:
    """The ledger row, the shown reason, the retry and the event are what the row says."""
    with world(folder) as made:
        made.push(BAD, GOOD)
        with delivering(made, {"pacs": egress}) as deliverers:
            if row.state == "pending":
                waits_as_said(made, deliverers["pacs"], row)
                recover()
            rows = made.settled()
        ends = "delivered" if row.state == "pending" else row.state
        assert (rows[BAD].state, rows[GOOD].state) == (ends, ends if row.both else "delivered")
        if row.state != "pending":
            assert_row(made, row)
        assert rows[BAD].attempts == row.burnt or (row.burnt is None and rows[BAD].attempts >= 1)
        assert [event.kind for event in told(made)] == [row.event]


def waits_as_said(made: World, deliverer: Deliverer, row: Row[Any]) -> None:
    """Until BAD waits for the reason of the row, and is shown so; no try of any image is used up."""

    def waiting() -> bool:
        found = {each.uid: each for each in made.rows()}
        shown = found[BAD].state in ("pending", "leased") and found[BAD].reason == row.reason
        return shown and (bool(row.down) or row.both or found[GOOD].state == "delivered")

    until(waiting, 15, f"{BAD} pending, {row.reason}")
    if row.down:
        until(lambda: deliverer.view().reason == row.down, 15, f"the destination down, {row.down}")
    assert_row(made, row)
    if row.status is not None or row.down:
        assert {each.attempts for each in made.rows() if each.state != "delivered"} <= {0}


def assert_row(made: World, row: Row[Any]) -> None:
    """The last attempt and the row have the reason, the status and the words of the table."""
    found = next(each for each in made.rows() if each.uid == BAD)
    _, code, comment = made.attempts(BAD)[-1]
    assert code == row.status
    assert row.words in comment
    assert found.reason == row.reason


def told(made: World) -> list[Any]:
    """The events that the study is due for, but for its reception."""
    events = made.store.study_events.due_events(time.time() + 60, 0.0)
    return [event for event in events if event.kind != "study.received"]
