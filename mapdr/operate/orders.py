"""What only the node can do, asked of it through its index: a reload, and noting what a person did."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapdr.kernel.errors import MapdrError
from mapdr.operate.access import Access
from mapdr.operate.audit import conditions
from mapdr.store.index.selection import Selection
from mapdr.store.messages import MessageSelection

PATIENCE = 90.0
"""Seconds that a node may take to obey: receivers that changed are drained first, then destinations."""
PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class OrderResult:
    """What a node made of an order; `problems` say why it was not obeyed, or not wholly.

    `changed`: it was, for all that.
    """

    ok: bool
    problems: Sequence[str]
    changed: bool


class NotTaken(MapdrError):
    """The node did not take an order in time; it is withdrawn, and nothing was changed."""


def reload(opened: Access, config: Path) -> OrderResult:
    """Have the running node read its configuration again; what it does not take stays as it was.

    Raises MapdrError if no node runs, or it does not answer in time.
    """
    opened.index()  # says why there is none
    if opened.running() is None:
        raise MapdrError("the node does not run; it reads the configuration when it starts")
    return _order(opened, "reload", {"path": str(config.absolute())})


def note(
    opened: Access,
    action: str,
    number: int,
    to: Mapping[str, int],
    *,
    of: str = "deliveries",
    chosen: Selection | MessageSelection | None = None,
    done: bool = True,
) -> None:
    """Tell the audit who did what to how many, and have the node log it; one that does not run logs it when
    it starts. `chosen` is what it was done to; without `done` it is about to be. Raises AuditError."""
    actor, asked = opened.actor, {} if chosen is None else conditions(chosen)
    facts = {"action": action, "by": actor.user, "number": number, "of": of, "to": ", ".join(sorted(to))}
    if not done:
        opened.audit.acted(actor, action, number=number, of=of, to=to, chosen=asked, done=False)
    opened.index().commands.give("note", facts, node=opened.plan.node.name)
    if done:
        opened.audit.acted(actor, action, number=number, of=of, to=to, chosen=asked)


def _order(opened: Access, name: str, arguments: Mapping[str, Any]) -> OrderResult:
    commands = opened.index().commands
    order = commands.give(name, arguments, node=opened.plan.node.name)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        given = commands.get(order)
        if given.done_at is not None:
            result = given.result or {}
            ok = bool(result.get("ok"))
            return OrderResult(ok, list(result.get("problems", ())), bool(result.get("changed", ok)))
        time.sleep(PAUSE)
    if commands.withdraw(order):  # the node that starts next must not obey it
        raise NotTaken(
            f"the node did not take the order within {PATIENCE:.0f} seconds; it is withdrawn; see its log"
        )
    raise MapdrError(f"the node did not answer within {PATIENCE:.0f} seconds; see its log")
