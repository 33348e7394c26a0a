"""The way to a node: its index, read and ordered about beside the running node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mapdr.config.problem import Problem
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.output import in_words
from mapdr.node.outline import Outline, kept_outline
from mapdr.operate.errors import WrongConfiguration
from mapdr.operate.facts import LOST, NOTHING, SILENT, Facts, free_space, writable
from mapdr.operate.model import Destination, NodeState
from mapdr.operate.names import unknown_destination
from mapdr.operate.rates import Rates
from mapdr.operate.state import compose, standing
from mapdr.store import Store
from mapdr.store.index.commands import Heartbeat
from mapdr.store.index.database import BUSY_SECONDS, write_fault
from mapdr.store.index.fault import IndexFault, index_named
from mapdr.store.index.selection import Selection
from mapdr.store.spool.claim import claimed, running_file

if TYPE_CHECKING:
    from mapdr.node.plan import Plan
    from mapdr.operate.configuration import Checked
    from mapdr.route.rules import Router

LOOKING = 2.0
"""Seconds for which a look at the node waits while another program has locked its index."""

ACTING = BUSY_SECONDS
"""The same for a listing and for a verb, which are asked for once."""

LOCKED = "locked by another program"

Beat = Callable[[], Heartbeat]


class Access:
    """A configuration with its plan, and the index behind it if the node ever ran.

    `busy`: seconds to wait for a lock of another program. `beat` gives the sign of life of the node in this
    very process, if it is here; that of any other is in its index. `problems` are those of the configuration
    file, where `plan` is not by the file but by what the node used last.
    """

    def __init__(
        self,
        plan: Plan | Outline,
        *,
        busy: float = LOOKING,
        beat: Beat | None = None,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        self.plan = plan
        self.problems = problems
        self._busy = busy
        self._beat = beat
        self._rates = Rates()
        self._store: Store | None = None
        self._known: Facts | None = None

    @classmethod
    def of(cls, config: Path, *, busy: float = LOOKING, rules: bool = False) -> Access:
        """The access by a configuration file. Raises WrongConfiguration with its problems if it has any.

        Without `rules` the plan has none: looking is quick, and goes on while somebody edits the file. If the
        file has problems then, the plan is by the revision that the node used last, if it has one. Where the
        node took the file as it stands into use, its outline is enough.
        """
        kept = None if rules else kept_outline(config)
        if kept is not None:
            return cls(kept, busy=busy)
        from mapdr.operate.configuration import examine  # a look seldom needs it, and it costs

        checked = examine(config, rules=rules)
        if checked.plan is not None and not checked.problems:
            return cls(checked.plan, busy=busy)
        last = None if rules else cls._last_used(checked, busy)
        if last is None:
            raise WrongConfiguration(checked.problems)
        return cls(last, busy=busy, problems=checked.problems)

    @classmethod
    def _last_used(cls, checked: Checked, busy: float) -> Plan | None:
        """The plan that the node of a configuration with problems used last, if that can be found."""
        from mapdr.operate.configuration import kept_plan, node_of  # as above

        alone = node_of(checked)
        if alone is None:
            return None
        opened, node = cls(alone, busy=busy), alone.node
        try:
            with index_named(node.database_url(), node.data):
                beats = opened.store.commands.heartbeats() if opened.store is not None else []
        finally:
            opened.close()
        revisions = [str(beat.counters.get("revision", "")) for beat in beats if beat.node == node.name]
        return kept_plan(checked, node.data, revisions[0]) if revisions else None

    @property
    def store(self) -> Store | None:
        """The store; None while the node has not made its index. Nothing is made by looking."""
        node = self.plan.node
        if self._store is None and (node.database != "sqlite" or (node.data / "index.db").is_file()):
            self._store = Store.open(
                node.data,
                node.name,
                database=node.database_url(),
                durability=node.durability,
                busy=self._busy,
            )
        return self._store

    @property
    def router(self) -> Router:
        """The rules and their recipes, of an access that was opened with `rules`."""
        if isinstance(self.plan, Outline):
            raise TypeError("the access was opened without rules")
        return self.plan.router

    def index(self, chosen: Selection | None = None) -> Store:
        """The store, in which `chosen` is looked for.

        Raises MapdrError if there is none, and RequestError with the nearest names when `chosen` names a
        destination that is neither configured nor has had a delivery from an earlier configuration.
        """
        if self.store is None:
            self.look_for_the_index()
            raise MapdrError(f"there is no index in {self.plan.node.data}: the node has not run yet")
        name = chosen.destination if chosen else ""
        known = self.plan.destinations
        if name and name not in known and not self.store.ledger.select(Selection(destination=name, limit=1)):
            raise unknown_destination(self.plan, name)
        return self.store

    def look_for_the_index(self) -> None:
        """Raise MapdrError if the node runs and its index is not where it was."""
        if self.store is None and self.alive:
            raise MapdrError(LOST)

    @property
    def alive(self) -> bool | None:
        """Whether a process of this machine runs as this node; None if that cannot be found out."""
        node = self.plan.node
        return claimed(running_file(node.data, node.name)) if node.database == "sqlite" else None

    def running(self) -> Heartbeat | None:
        """The node's sign of life, if it is one of a moment ago and its process has not ended since."""
        store, now = self.store, time.time()
        if store is None:
            return None
        for beat in store.commands.heartbeats():
            if beat.node == self.plan.node.name:
                said = beat.counters.get("state") != "stopped" and now - beat.at <= SILENT
                return beat if said and self.alive is not False else None
        return None

    def close(self) -> None:
        """Give the index back. Safe twice."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def gather(self) -> NodeState:
        """The node's state now. Raises what the index raises when it cannot be read."""
        self._known = replace(self._facts(), misconfigured=bool(self.problems))
        return compose(self.plan, self._known, self._rates)

    def standing(self, names: Iterable[str]) -> list[Destination]:
        """How these destinations stand now; nothing is counted for it. Raises like `gather`."""
        store = self.index()
        beats = {beat.node: beat for beat in store.commands.heartbeats()}
        facts = Facts(
            time.time(),
            NOTHING,
            0,
            0,
            0,
            held=store.ledger.held_destinations(),
            heartbeat=beats.get(self.plan.node.name),
            alive=self.alive,
        )
        return standing(names, facts)

    def look(self) -> NodeState:
        """The same for who looks again and again: what was last known, and why no more, if that fails."""
        try:
            with index_named(self.plan.node.database_url(), self.plan.node.data):
                return self.gather()
        except Exception as error:  # noqa: BLE001  shown in what is drawn; the next look tries again
            trouble = in_words(error)
        # The file may have been replaced: the next look opens it anew.
        self.close()
        now, known = time.time(), self._known or Facts(0.0, NOTHING, 0, 0, 0)
        facts = replace(
            known,
            at=now,
            as_of=known.at,
            trouble=trouble,
            misconfigured=bool(self.problems),
            heartbeat=self._beat() if self._beat else known.heartbeat,
            disk_free=free_space(self.plan.node.data),
            writable=writable(self.plan.node.data),
        )
        return compose(self.plan, facts, self._rates)

    def _facts(self) -> Facts:
        now, store = time.time(), self.store
        free = free_space(self.plan.node.data)
        own, alive = self._beat() if self._beat else None, self.alive
        if store is None:
            return Facts(now, NOTHING, 0, 0, 0, heartbeat=own, disk_free=free, alive=alive, lost=bool(alive))
        with store.database.read():  # one moment's state: what is no longer pending is counted as delivered
            return self._read(store, now, free, own, alive)

    def _read(
        self, store: Store, now: float, free: int | None, own: Heartbeat | None, alive: bool | None
    ) -> Facts:
        beats = {beat.node: beat for beat in store.commands.heartbeats()}
        told = beats.get(self.plan.node.name)
        return Facts(
            at=now,
            today=store.counts.today(),
            pending=store.counts.pending(),
            parked=store.counts.parked(),
            unrouted=store.counts.unrouted(),
            queues=store.counts.queues(),
            held=store.ledger.held_destinations(),
            reasons=store.overview.parked_reasons(),
            webhooks=store.outbox.queues(),
            heartbeat=own or told,
            disk_free=free,
            writable=writable(self.plan.node.data),
            alive=alive,
            lost=bool(alive) and told is None,
            unwritable=self.unwritable() if alive and told and now - told.at > SILENT else "",
        )

    def unwritable(self) -> str:
        """Why the index cannot be written now, in words; empty if it can, or is no file."""
        node = self.plan.node
        fault = write_fault(node.data / "index.db") if node.database == "sqlite" else ""
        return LOCKED if "locked" in fault else fault


@contextmanager
def access(config: Path, *, busy: float = ACTING, rules: bool = False) -> Iterator[Access]:
    """The access by a configuration file, closed at the end; `busy` as for `Access`, `rules` as for `of`."""
    opened = Access.of(config, busy=busy, rules=rules)
    try:
        with index_named(opened.plan.node.database_url(), opened.plan.node.data):
            yield opened
    finally:
        opened.close()


def check_database(plan: Plan) -> str | None:
    """What is wrong with the index, None if nothing. Nothing is made by looking."""
    opened = Access(plan)
    try:
        with index_named(plan.node.database_url(), plan.node.data):
            store = opened.store
            known = set()
            if store is not None:
                store.counts.status()
                known = {beat.node for beat in store.commands.heartbeats()}
            if opened.alive and plan.node.name not in known:
                return LOST
            if store is None:
                return "there is none yet: the node has not run"
        return opened.unwritable() or None
    except IndexFault as error:
        return str(error)
    finally:
        opened.close()
