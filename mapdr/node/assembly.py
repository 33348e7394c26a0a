"""A node, put together from a plan.

    receivers ──▶ store ──▶ deliverers (one a destination) ──▶ egress
                    └─────▶ upkeep, notifier

Downstream starts first and upstream stops first (`kernel.lifecycle`). A stop is a drain: no new associations,
those that run finish their message, destinations finish their image, leased work goes back to the ledger.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mapdr.config.model import NodeConfig
from mapdr.config.problem import Problem
from mapdr.config.read import Loaded
from mapdr.config.revision import keep_revision, read_revision
from mapdr.deliver.supervise.deliverer import Deliverer
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.lifecycle import Lifecycle
from mapdr.kernel.page import Page
from mapdr.kernel.permissions import make_private
from mapdr.kernel.privacy import in_words
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Receiver
from mapdr.kernel.watch import Watch
from mapdr.node.alarms import NodeAlarms
from mapdr.node.build import Builder
from mapdr.node.configuration import addresses, examine
from mapdr.node.licensing import Licensing
from mapdr.node.outline import keep_outline
from mapdr.node.plan import Plan, Planned, make_plan
from mapdr.node.reload import CURE, NotAcquired, Reload, taken
from mapdr.node.upkeep import Upkeep
from mapdr.notify.alarms import Alarms
from mapdr.notify.events import wanted_tags
from mapdr.notify.notifier import Notifier
from mapdr.store import CLAIM_SECONDS, Store
from mapdr.store.index.commands import Heartbeat
from mapdr.store.index.fault import index_named
from mapdr.store.recover import Recovered
from mapdr.store.rules import Rules
from mapdr.store.spool.claim import Claim, running_file

log = logging.getLogger("mapdr.node")

FIXED = ("name", "data", "database", "durability", "journal", "repeats", "workers", "memory")
"""Keys of `[node]` that a reload cannot change: they are what the running store was opened with."""

DRAIN = 30.0
"""Seconds that a stop may take before what still runs is aborted."""


LATER = "restart the node, if the plug-in was installed since it started"
"""What may be meant by a type that a running node does not know."""


class Node:
    """Everything that one process runs. Build it, `start` it, `stop` it; `reload` in between.

    `asked_to_end` is set by whoever wants it to drain and end: whoever has started it stops it then, and
    gives it `drain` seconds.
    """

    def __init__(self, loaded: Loaded, plan: Plan, registry: Registry, *, base: Path = Path()) -> None:
        """`base` is the folder from which relative paths in the configuration start."""
        if plan.problems or loaded.problems:
            raise ConfigurationError("the configuration has problems; see: mapdr check")
        self.plan = plan
        self.watch = Watch()
        self.receivers: dict[str, Receiver] = {}
        self.deliverers: dict[str, Deliverer] = {}
        self.notifier: Notifier
        self.page: Page | None = None
        self.recovered = Recovered()
        self.licensing = Licensing(plan.node.data)
        self.asked_to_end = threading.Event()
        self.drain = DRAIN
        self._loaded = loaded
        self._file = Path(loaded.file).absolute()
        self._registry = registry
        self._base = base
        self._lock = threading.Lock()
        self._lifecycle: Lifecycle | None = None
        self._store: Store | None = None
        self._builder: Builder | None = None
        self._running: Claim | None = None
        self._alarms: NodeAlarms | None = None
        self._started_at = time.time()
        self.state = "stopped"
        self.changes = 0
        """How often the index was seen to have changed: who looks at it need not where this is the same."""

    @property
    def file(self) -> Path:
        """The configuration file, which a reload reads again."""
        return self._file

    @property
    def running_file(self) -> Path:
        """What it claims while it runs, and who asks for a sign of life touches."""
        return running_file(self.plan.node.data, self.plan.node.name)

    @property
    def store(self) -> Store:
        """The open store. Raises ConfigurationError before `start`."""
        if self._store is None:
            raise ConfigurationError("the node is not running")
        return self._store

    @property
    def alarms(self) -> NodeAlarms:
        """Tells what is wrong at this node. Raises ConfigurationError before `start`."""
        if self._alarms is None:
            raise ConfigurationError("the node is not running")
        return self._alarms

    def start(self) -> None:
        """Open the store, put in order what a crash left, and start. Raises ConfigurationError, OSError."""
        node = self.plan.node
        make_private(node.data)
        try:
            self._assemble()
            self.state = "running"
            # The first sign of life before the claim: who sees the claim finds the node in its index.
            self._beat()
            self._running = Claim(self.running_file, node.name)
            # Who asks whether the node runs (`claimed`) holds the claim for a moment.
            self._running.shared(CLAIM_SECONDS)
        except BaseException:
            self.stop(time.monotonic())
            raise
        self.watch.emit("node.started")

    def stop(self, deadline: float) -> None:
        """Drain and end by `deadline` (time.monotonic()). Safe twice and before start."""
        if self.state == "running":
            self.state = "draining"
            self.watch.emit("node.draining")
        # A reload under way may end first, but leaves the others time for their drain; what it would start
        # later `Lifecycle` refuses. One that is asked for from now on finds a node that does not run.
        if self._lock.acquire(timeout=max(0.0, (deadline - time.monotonic()) / 2)):
            self._lock.release()
        self._end(deadline)

    def _end(self, deadline: float) -> None:
        for deliverer in self.deliverers.copy().values():
            # All at once: stopped one after another, a slow one would use up the time of the others.
            deliverer.halt()
        if self._store is not None:
            # Killed from now on, it ends by order, and not by what it has in hand.
            self._store.in_hand.stop()
        if self._lifecycle is not None:
            self._lifecycle.stop(deadline)
            self._lifecycle = None
        if self._builder is not None:
            self._builder.close()
            self._builder = None
        lived, self.state = self.state != "stopped", "stopped"
        if self._store is not None:
            if lived:  # else the sign of life there may be that of the node that runs on this data
                self._beat()
            self._store.close()
            self._store = None
        if self._running is not None:
            self._running.release()
            self._running = None

    def reload(self, path: Path) -> tuple[Problem, ...]:
        """Apply a changed configuration without dropping what did not change; its problems, if it has any.

        With problems nothing changes, whatever failed (`mapdr.node.reload`): what is new is built and has its
        ports, files and secrets before what is old ends. The exception says so itself: a part that has all
        that it needs and could not be started for all that. Images keep the recipes that they were promised.
        """
        with self._lock:
            before = self.plan
            problems = self._reload(path)
            refused = self.plan is before
        for problem in problems:
            log.error("%s", problem)
        if problems and refused:
            log.error("the configuration was refused, the old one stays")
        return problems

    def _reload(self, path: Path) -> tuple[Problem, ...]:
        lifecycle, builder = self._lifecycle, self._builder
        if lifecycle is None or builder is None or self.state != "running":
            return (Problem(str(path), 0, "", "the node does not run", "start it"),)
        if path.resolve() != self._file.resolve():
            what = f"the node uses {self._file}"
            return (
                Problem(str(path), 0, "", what, "correct that file, or start the node with the other one"),
            )
        checked = examine(path, self._registry, resolve=True, surroundings=True, unknown=LATER)
        loaded, plan = checked.loaded, checked.plan
        if plan is None or checked.problems:
            return checked.problems
        fixed = [key for key in FIXED if _value(plan.node, key) != _value(self.plan.node, key)]
        if fixed:
            what = f"cannot be changed while the node runs ({', '.join(fixed)})"
            return (Problem(loaded.file, 0, "node", what, "restart the node"),)
        change = Reload(self, builder, plan)
        try:
            change.acquire()
            with index_named(plan.node.database_url(), plan.node.data):
                keep_revision(plan.node.data, loaded)
                self._use(loaded, plan)
        except NotAcquired as error:
            change.release()
            return loaded.locate([error.finding])
        except Exception as error:  # noqa: BLE001  whatever it was: nothing is changed, and it is said
            change.release()
            return (Problem(loaded.file, 0, "", f"cannot be taken into use: {in_words(error)}", CURE),)
        self.plan, self._loaded = plan, loaded
        builder.renew()
        self.store.spool.keep_free(plan.node.min_free, plan.node.low)
        troubles = change.switch(lifecycle, DRAIN)
        self.watch.emit("node.reloaded")
        self._beat()  # who asked for the reload looks at once for what it opened, such as the page
        return tuple(
            Problem(loaded.file, 0, "", f"taken into use, but {what}", "restart the node")
            for what in troubles
        )

    def sign(self) -> Heartbeat:
        """The sign of life as it is now, for who is in this process."""
        return Heartbeat(self.plan.node.name, time.time(), self._started_at, os.getpid(), self.counters())

    def counters(self) -> dict[str, Any]:
        """What the heartbeat tells: state, seconds of its drain, those that it rests at most, counters,
        the last hour, receivers, destinations, the license, last events."""
        return {
            "state": self.state,
            "drain": self.drain,
            "rests": None if self._store is None else self._store.rests,
            "counters": self.watch.counters(),
            "revision": self._loaded.revision,
            "store": {} if self._store is None else self._store.health(),
            "flow": {} if self._store is None else self._store.flow(),
            "receivers": {name: asdict(one.describe()) for name, one in self.receivers.copy().items()},
            "destinations": {name: one.facts() for name, one in self.deliverers.copy().items()},
            "silent": [] if self._alarms is None else self._alarms.silent,
            "license": self.licensing.facts(),
            **({} if self.page is None else {"page": asdict(self.page.describe())}),
            "events": [
                {"at": event.at, "kind": event.kind, **event.facts} for event in self.watch.recent()[-50:]
            ],
        }

    def _beat(self) -> None:
        """Write a sign of life. That it cannot be written neither starts nor ends a node."""
        try:
            self.store.commands.beat(self.counters())
        except Exception as error:  # noqa: BLE001  the index is locked, full or damaged: said, and that is all
            log.error("the sign of life cannot be written: %s", in_words(error))

    def wake(self, destinations: frozenset[str]) -> None:
        """There is new work for `destinations`."""
        for name in destinations:
            deliverer = self.deliverers.get(name)
            if deliverer is not None:
                deliverer.wake()

    def look(self) -> None:
        """The index has changed, by whomever: all who wait for something in it may have something to do."""
        self.changes += 1
        for deliverer in self.deliverers.copy().values():
            deliverer.look()
        self.notifier.look()

    # --- putting together ---------------------------------------------------------------------------------

    def _assemble(self) -> None:
        plan, node = self.plan, self.plan.node
        keep_revision(node.data, self._loaded)
        store = self._store = Store.open(
            node.data,
            node.name,
            database=node.database_url(),
            durability=node.durability,
            journal=node.journal,
            min_free=node.min_free,
            low_free=node.low,
            repeats=node.repeats,
            on_commit=self.wake,
            watch=self.watch,
        )
        self._use(self._loaded, plan)
        self.recovered = store.recover(self._rules_for)
        store.in_hand.start()
        self._look_at_the_license()
        build = self._builder = Builder(node, self._registry, store, self.watch, self.licensing)
        self.receivers = {name: build.receiver(planned) for name, planned in plan.receivers.items()}
        self.deliverers = {name: build.deliverer(planned) for name, planned in plan.destinations.items()}
        self.notifier = build.notifier(plan)
        told = Alarms(store.alarms, lambda: self.plan.webhooks, self.watch, node=node.name)
        self._alarms = NodeAlarms(told, store)
        self._lifecycle = Lifecycle(
            [
                *((f"receive.{name}", one) for name, one in self.receivers.items()),
                ("store", store),
                *((f"egress.{name}", one) for name, one in self.deliverers.items()),
                ("webhooks", self.notifier),
                ("upkeep", Upkeep(self)),
            ]
        )
        self._lifecycle.start()
        if plan.page is not None:
            self._open_page(build, self._lifecycle, plan.page)

    def _look_at_the_license(self) -> None:
        """Before anything goes out; if it cannot be read, upkeep tries again, and the node receives."""
        try:
            self.licensing.look()
        except Exception as error:  # noqa: BLE001  whatever is wrong with it, images are received and kept
            log.error("the license cannot be looked at: %s", in_words(error))

    def _open_page(self, build: Builder, lifecycle: Lifecycle, planned: Planned) -> None:
        """Start the page. Images come in and go out without it: if it cannot start, that is only said."""
        try:
            page = build.page(planned, self)
            lifecycle.add("web", page)
            self.page = page
        except Exception as error:  # noqa: BLE001  a face never keeps the node from its work
            what = taken(error, planned.claims) or in_words(error)
            log.error("the page is not there: %s", what)

    def _use(self, loaded: Loaded, plan: Plan) -> None:
        self.store.use(
            loaded.revision,
            plan.router,
            plan.recipes,
            study_tags=wanted_tags(plan.webhooks.values()),
        )
        try:
            keep_outline(plan, loaded.text, self._base)
        except OSError as error:  # it only makes a look quicker
            log.warning("the outline of the configuration is not kept: %s", in_words(error))

    def _rules_for(self, revision: str) -> Rules | None:
        try:
            loaded = read_revision(self.plan.node.data, revision, self._registry, base=self._base)
        except ConfigurationError as error:
            log.error("%s", error)
            return None
        if loaded.config is None:
            return None
        if wrong := [problem for problem in loaded.problems if problem.path.startswith("rule")]:
            # A rule that lacks a step, for its transform is here no more, would send what that had to change.
            log.error("the rules of an earlier configuration cannot be read whole: %s", wrong[0].what)
            return None
        plan = make_plan(loaded.config, self._registry, resolve=addresses)
        return Rules(plan.router, plan.recipes)


def _value(node: NodeConfig, key: str) -> Any:
    """A key of `[node]`, to be compared: a folder is itself by whichever way it was named."""
    value = getattr(node, key)
    return os.path.realpath(value) if isinstance(value, Path) else value
