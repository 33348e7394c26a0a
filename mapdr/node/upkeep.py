"""What a node does beside moving images: signs of life, orders from the command line, purging.

One thread, one short round after another. A round that fails is shown and the next one tries again: the
database may be locked, the disk full. A round reads and writes nothing of the index unless it has changed
(`Store.changes`); then all who wait for something in it are told to look (`Kept.look`), so that they need not
look by themselves.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from mapdr.config.problem import Problem
from mapdr.kernel.certificate import ending
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.privacy import in_words
from mapdr.kernel.watch import Watch
from mapdr.node.alarms import NodeAlarms
from mapdr.node.certificates import ending_soon
from mapdr.node.licensing import Licensing
from mapdr.node.plan import Plan
from mapdr.node.sign import SignOfLife
from mapdr.store import Purged, Store
from mapdr.store.index.commands import Command
from mapdr.store.index.fault import fault_of_the_index
from mapdr.store.spool.room import DiskStep

log = logging.getLogger("mapdr.node")

ROUND = 0.5
"""Seconds between looks whether the index has changed, and whether somebody asks for a sign of life."""
BEAT = 1.0
"""Seconds between two signs of life at least, and between looks at the node itself."""
PURGE = 60.0
"""Seconds between looks for files whose retention is over."""
PURGING = 1.0
"""Seconds that each of the three purges of a round may take, and the next goes on: signs of life are given,
and orders looked for, by the same thread."""
CERTIFICATES = 3600.0
"""Seconds between looks for certificates that end soon ..."""
DAY = 86400.0
TOLD_EVERY = DAY
"""... and between two warnings of the same one."""

WORDS = {
    "changes": "orders {} be looked for",
    "clock": "the clock {} be looked at",
    "index": "the index {} be looked at",
    "beat": "the sign of life {} be written",
    "purge": "old files {} be purged",
    "unrouted": "unrouted images {} be purged",
    "license": "the license {} be looked at",
    "disk": "the free space {} be measured",
    "make_room": "room {} be made on the disk",
    "certificates": "certificates {} be looked at",
    "alarms": "what is wrong at this node {} be told",
    "answer": "the answer to an order {} be written",
}
"""Each work, as it is said that it fails and that it works again."""


class Kept(Protocol):
    """What is kept in order: a node."""

    plan: Plan
    watch: Watch
    asked_to_end: threading.Event
    licensing: Licensing

    @property
    def running_file(self) -> Path:
        """What it claims while it runs, and who asks for a sign of life touches."""

    @property
    def store(self) -> Store:
        """Its open store."""

    @property
    def alarms(self) -> NodeAlarms:
        """Tells what is wrong at it."""

    def counters(self) -> dict[str, Any]:
        """What its sign of life tells."""

    def wake(self, destinations: frozenset[str]) -> None:
        """These destinations may have something to do."""

    def look(self) -> None:
        """The index has changed, by whomever: all who wait for something in it may have something to do."""

    def reload(self, path: Path) -> Sequence[Problem]:
        """Apply a changed configuration; its problems, if it has any."""


class Upkeep:
    """Runs from start to stop of its node."""

    def __init__(self, node: Kept) -> None:
        self._node = node
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._obeying: threading.Thread | None = None
        self._every = {
            self._clock: BEAT,
            self._index: BEAT,
            self._license: BEAT,
            self._disk: BEAT,
            self._make_room: BEAT,
            self._alarms: BEAT,
            self._beat: BEAT,
            self._purge: PURGE,
            self._unrouted: PURGE,
            self._certificates: CERTIFICATES,
        }
        self._due = dict.fromkeys(self._every, 0.0)
        self._seen: object = None  # as of the last look for orders
        self._told_of: object = None  # as of when all were told to look
        self._told_at = float("-inf")
        self._sign = SignOfLife(node.running_file, node.store.rests)
        self._told: dict[tuple[str, str], float] = {}
        self._refusing = ""
        self._disk_step = DiskStep.ENOUGH
        self._early_due = 0.0
        self._troubles: dict[str, Trouble] = {}

    def start(self) -> None:
        """Begin the rounds."""
        self._thread = GuardedThread(
            self._rounds, "upkeep", goes_on=lambda: not self._ended.is_set(), watch=self._node.watch
        )
        self._thread.start()

    def stop(self, deadline: float) -> None:
        """End after the round and the order that run. Safe twice and before start."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
            self._thread = None
        if self._obeying is not None:
            self._obeying.join(max(0.0, deadline - time.monotonic()))
            self._obeying = None

    def _rounds(self) -> None:
        while not self._ended.wait(ROUND):
            self._try(self._changes)
            if self._sign.asked():
                self._due[self._beat] = 0.0
            for work, due in list(self._due.items()):
                if time.monotonic() >= due:
                    self._due[work] = time.monotonic() + self._every[work]
                    self._try(work)

    def _try(self, work: Callable[[], object], name: str = "") -> bool:
        """Whether it succeeded."""
        what = name or getattr(work, "__name__", "").strip("_")
        trouble = self._troubles.setdefault(what, Trouble(log))
        try:
            work()
            trouble.over(f"{WORDS[what].format('can')} again")
        except Exception as error:  # noqa: BLE001  shown and counted; the next round tries again
            self._node.watch.count("upkeep.errors")
            cause = fault_of_the_index(error) or type(error).__name__
            trouble.tell(f"{WORDS[what].format('could not')}: {cause}")
            return False
        return True

    def _changes(self) -> None:
        """Take orders, and have all others look, if the index has changed."""
        now = self._node.store.changes()
        if now != self._seen and self._orders():
            self._seen = now
        # Once a second is enough for them: what this process has changed itself they know already.
        if now != self._told_of and time.monotonic() >= self._told_at + BEAT:
            self._told_of, self._told_at = now, time.monotonic()
            self._node.look()

    def _clock(self) -> None:
        jump = self._node.store.look_at_the_clock()
        if jump:
            self._sign.renew()
            way = "forward" if jump > 0 else "back"
            log.warning("the clock was set %s by %.0f seconds; what waits moves with it", way, abs(jump))
            self._node.watch.emit("clock.set", way=way, seconds=round(abs(jump)))

    def _index(self) -> None:
        """Refuse images once the index is gone, before one comes; tell when that begins and ends."""
        refusing = self._node.store.look_at_the_index()
        if refusing != self._refusing:
            self._refusing = refusing
            self._node.watch.emit("store.refuses" if refusing else "store.takes", cause=refusing)

    def _license(self) -> None:
        """Let images go, or pause them, within a second of what changed."""
        paused = self._node.licensing.pause
        self._node.licensing.look()
        if self._node.licensing.pause != paused:
            self._node.wake(frozenset(self._node.plan.destinations))

    def _alarms(self) -> None:
        self._node.alarms.look(self._node.plan, self._node.counters(), time.time())

    def _disk(self) -> None:
        """Tell each change of what is done about a filling disk, once."""
        figures = self._node.store.look_at_the_disk()
        if figures.step is not self._disk_step:
            self._disk_step = figures.step
            self._node.watch.emit(
                "disk.step",
                step=figures.step.word,
                level=int(figures.step),
                free=figures.free,
                share=round(figures.share, 4),
            )

    def _make_room(self) -> None:
        """Purge what was delivered before its time, where the disk is filling: the oldest first.

        With a retention of "forever" nothing is purged.
        """
        if self._disk_step < DiskStep.PURGING or self._node.plan.node.retention is None:
            return
        if time.monotonic() < self._early_due:
            return
        room, store = self._node.store.spool.room, self._node.store
        purged = store.retention.make_room(
            time.time(), lambda: room.look(afresh=True) < DiskStep.PURGING, PURGING
        )
        if not purged.more:
            self._early_due = time.monotonic() + PURGE
        if purged.images:
            self._purged(purged, "delivered, and the disk is filling")

    def _purged(self, purged: Purged, cause: str) -> None:
        self._node.watch.count("store.purged", purged.images)
        self._node.watch.emit("images.purged", images=purged.images, bytes=purged.bytes, cause=cause)

    def _beat(self) -> None:
        self._sign.give(self._node.counters(), self._node.store.commands.beat)

    def _certificates(self) -> None:
        """Warn of each certificate that ends soon, once a day."""
        now = time.time()
        found = {(stage, one.fingerprint): one for stage, one in ending_soon(self._node.counters(), now)}
        self._told = {key: at for key, at in self._told.items() if key in found}
        for key, one in found.items():
            if now - self._told.get(key, -TOLD_EVERY) < TOLD_EVERY:
                continue
            self._told[key] = now
            stage, days = key[0], one.days_left(now)
            log.warning("%s: %s", stage, ending(one.whose, one.name, days))
            self._node.watch.emit(
                "certificate.ends", stage=stage, whose=one.whose, name=one.name, days=round(days, 1)
            )

    def _purge(self) -> None:
        store, keep = self._node.store, self._node.plan.node.retention
        store.ledger.release_expired(time.time())
        store.erasure.finish()
        if keep is not None:
            store.outbox.forget(time.time() - keep)
            purged = store.retention.purge(time.time(), keep, PURGING)
            if purged.more:
                self._due[self._purge] = 0.0
            if purged.images:
                log.info("purged %d delivered images, %d bytes", purged.images, purged.bytes)
                self._node.watch.count("store.purged", purged.images)

    def _unrouted(self) -> None:
        """Tell which images that no rule takes go soon, once a day, and purge those whose time is over."""
        unrouted, keep, now = self._node.store.unrouted, self._node.plan.node.unrouted_retention, time.time()
        if keep is None:
            unrouted.forget()
            self._node.alarms.tell_expiring(0, 0.0, now)
            return
        expiring = unrouted.look(now, keep)
        if expiring.tell:
            self._node.alarms.tell_expiring(expiring.images, expiring.first_at, now)
            if expiring.images:
                days = round((expiring.first_at - now) / DAY, 1)
                self._node.watch.emit("images.expiring", images=expiring.images, days=days)
            unrouted.told(now, keep)
        purged = unrouted.purge(now, keep, PURGING)
        if purged.more:
            self._due[self._unrouted] = 0.0
        if purged.images:
            self._purged(purged, f"no rule took them for {keep / DAY:g} days")
            unrouted.look(now, keep)

    def _orders(self) -> bool:
        """Obey what was ordered, beside the rounds: a reload drains, and signs of life go on meanwhile.

        Whether it was looked for orders: not while earlier ones are obeyed.
        """
        if self._obeying is not None and self._obeying.is_alive():
            return False
        commands = self._node.store.commands.take()
        if commands:
            # Every order answers whatever fails in it; what is left is told, and the next round goes on.
            self._obeying = GuardedThread(
                partial(self._obey_all, commands), "orders", goes_on=lambda: False, watch=self._node.watch
            )
            self._obeying.start()
        return True

    def _obey_all(self, commands: Sequence[Command]) -> None:
        for command in commands:
            result = self._obey(command)
            while not self._try(partial(self._node.store.commands.done, command.id, result), "answer"):
                # Who gave the order waits for its answer.
                if self._ended.wait(BEAT):
                    return

    def _obey(self, command: Command) -> dict[str, Any]:
        """What became of an order. Every order has an answer, also one that fails."""
        try:
            if command.name == "reload":
                before = self._node.plan
                problems = self._node.reload(Path(str(command.arguments["path"])))
                changed = self._node.plan is not before
                return {"ok": not problems, "problems": [str(each) for each in problems], "changed": changed}
            if command.name == "drain":
                return self._drain(command.arguments)
            if command.name == "note":
                # What a person did to the queue, in another process: it belongs into this node's log.
                self._node.watch.emit("operator.acted", **command.arguments)
                return {"ok": True, "problems": []}
        except Exception as error:  # noqa: BLE001  told to who gave the order
            log.error("the order %s failed: %s", command.name, in_words(error))
            return {"ok": False, "problems": [in_words(error)]}
        return {"ok": False, "problems": [f"this node does not know the order {command.name}"]}

    def _drain(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Have the node ended, in order.

        The order names the process that its giver has seen (`Heartbeat.process`): one that was not taken,
        because that process had ended, must not end the next.
        """
        if arguments["process"] != os.getpid():
            return {"ok": False, "problems": ["the process that was to end has ended already"]}
        self._node.asked_to_end.set()
        return {"ok": True, "problems": []}
