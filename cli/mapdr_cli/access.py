"""The command line's way to a node: its index, read and ordered about beside the running node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.plan import Plan
from mapdr.store import Store
from mapdr.store.overview import Overview
from mapdr.store.trouble import IndexTrouble, index_named
from mapdr_cli import words
from mapdr_cli.check import load
from mapdr_cli.state import NOTHING, SILENT, Facts, Rates, compose, free_space, writable


class Access:
    """A configuration with its plan, and the index behind it if the node ever ran."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._rates = Rates()
        self._store: Store | None = None

    @classmethod
    def of(cls, config: Path) -> Access:
        """The access by a configuration file; prints its problems and exits 2 if it has any."""
        _, plan, _ = load(config)
        return cls(plan)

    @property
    def store(self) -> Store | None:
        """The store; None while the node has not made its index. Nothing is made by looking."""
        node = self.plan.node
        if self._store is None and (node.database != "sqlite" or (node.data / "index.db").is_file()):
            self._store = Store.open(
                node.data, node.name, database=node.database_url(), durability=node.durability
            )
        return self._store

    def index(self) -> Store:
        """The store. Raises MapdrError if the node has never run."""
        if self.store is None:
            raise MapdrError(f"there is no index in {self.plan.node.data}: the node has not run yet")
        return self.store

    def close(self) -> None:
        """Give the index back. Safe twice."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def gather(self) -> dict[str, Any]:
        """The node's state now (`mapdr_cli.state`)."""
        return compose(self.plan, self._facts(), self._rates)

    def counts_since(self, day: str) -> dict[str, Any]:
        """The counts of `day` (YYYY-MM-DD) and of today, added up: work may go on past midnight."""
        store = self.index()
        counts = store.counts.day(day)
        if words.date(time.time()) != day:
            _add(counts, store.counts.today())
        return counts

    def _facts(self) -> Facts:
        now, store = time.time(), self.store
        free = free_space(self.plan.node.data)
        if store is None:
            return Facts(now, NOTHING, 0, 0, 0, disk_free=free)
        beats = {beat.node: beat for beat in store.commands.heartbeats()}
        return Facts(
            at=now,
            today=store.counts.today(),
            pending=store.counts.pending(),
            parked=store.counts.parked(),
            unrouted=store.counts.unrouted(),
            queues=store.counts.queues(),
            held=store.ledger.held_destinations(),
            reasons=Overview(store.database, store.words).parked_reasons(),
            webhooks=store.outbox.queues(),
            heartbeat=beats.get(self.plan.node.name),
            disk_free=free,
            writable=writable(self.plan.node.data),
        )


def _add(counts: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict):
            _add(counts.setdefault(key, {}), value)
        else:
            counts[key] = counts.get(key, 0) + value


@contextmanager
def access(config: Path) -> Iterator[Access]:
    """The access by a configuration file, closed at the end."""
    opened = Access.of(config)
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
            if store is None:
                return "there is none yet: the node has not run"
            store.counts.status()
        return None
    except IndexTrouble as error:
        return str(error)
    finally:
        opened.close()


def node_runs(store: Store, node: str) -> bool:
    """Whether the node has given a sign of life lately."""
    now = time.time()
    return any(
        beat.node == node and now - beat.at < SILENT and beat.counters.get("state") != "stopped"
        for beat in store.commands.heartbeats()
    )
