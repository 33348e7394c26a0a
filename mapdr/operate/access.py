"""The way to a node: its index, read and ordered about beside the running node."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mapdr.config.problem import Problem
from mapdr.kernel.errors import MapdrError
from mapdr.node.outline import Outline, kept_outline
from mapdr.operate.errors import WrongConfiguration
from mapdr.operate.facts import LOST, is_silent
from mapdr.operate.names import unknown_destination
from mapdr.store import Store
from mapdr.store.index.commands import Heartbeat
from mapdr.store.index.database import BUSY_SECONDS
from mapdr.store.index.fault import index_named
from mapdr.store.index.selection import Selection
from mapdr.store.spool.claim import claimed, node_file, running_file

if TYPE_CHECKING:
    from mapdr.node.plan import Plan
    from mapdr.operate.actor import Actor
    from mapdr.operate.audit import Audit
    from mapdr.operate.configuration import Checked
    from mapdr.route.rules import Router
    from mapdr.store.messages import MessageSelection

RECENT, OLD = 1.0, 5.0
"""Seconds: an older sign of life is asked for anew; one that is older still is waited for ..."""
ANSWER = 10.0
"""... so many seconds: a node looks twice a second whether it is asked, but its machine may be busy."""

LOOKING = 2.0
"""Seconds for which a look at the node waits while another program has locked its index."""

PAUSE = 0.05

ACTING = BUSY_SECONDS
"""The same for a listing and for an action, which are asked for once."""


class Access:
    """A configuration with its plan, and the index behind it if the node ever ran.

    `busy`: seconds to wait for a lock of another program. `problems` are those of the configuration file,
    where `plan` is not by the file but by what the node used last. `actor` is who looks and acts: by default
    the system's user. `config` is that file, None where it is not known. `ends` says whether the process
    is about to end, and what takes long has to.
    """

    def __init__(
        self,
        plan: Plan | Outline,
        *,
        busy: float = LOOKING,
        problems: tuple[Problem, ...] = (),
        actor: Actor | None = None,
        config: Path | None = None,
        ends: Callable[[], bool] = lambda: False,
    ) -> None:
        self.plan = plan
        self.problems = problems
        self.config = config
        self.ends = ends
        self._actor = actor
        self._viewed: set[str] = set()
        self._busy = busy
        self._store: Store | None = None
        self._unanswered: tuple[float, int] | None = None  # the sign after which it gave none when asked
        self._can_touch = True  # until it is found that the file that says so belongs to somebody else

    @classmethod
    def of(cls, config: Path, *, busy: float = LOOKING, rules: bool = False) -> Access:
        """The access by a configuration file. Raises WrongConfiguration with its problems if it has any.

        Without `rules` the plan has none: looking is quick, and goes on while somebody edits the file. If the
        file has problems then, the plan is by the revision that the node used last, if it has one. Where the
        node took the file as it stands into use, its outline is enough.
        """
        kept = None if rules else kept_outline(config)
        if kept is not None:
            return cls(kept, busy=busy, config=config)
        from mapdr.operate.configuration import examine  # a look seldom needs it, and it costs

        checked = examine(config, rules=rules, resolve=rules)
        if checked.plan is not None and not checked.problems:
            return cls(checked.plan, busy=busy, config=config)
        last = None if rules else cls._last_used(checked, busy)
        if last is None:
            raise WrongConfiguration(checked.problems)
        return cls(last, busy=busy, problems=checked.problems, config=config)

    @classmethod
    def _last_used(cls, checked: Checked, busy: float) -> Plan | None:
        """The plan that the node of a configuration with problems used last, if that can be found."""
        from mapdr.operate.configuration import kept_plan, node_of  # as above

        alone = node_of(checked)
        if alone is None:
            return None
        with _closed(cls(alone, busy=busy)) as opened:
            beat = opened.last_beat()
        return kept_plan(checked, alone.node.data, str(beat.counters.get("revision", ""))) if beat else None

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
    def actor(self) -> Actor:
        """Who looks and acts."""
        from mapdr.operate.actor import system_user  # a look seldom needs it

        if self._actor is None:
            self._actor = system_user()
        return self._actor

    @property
    def audit(self) -> Audit:
        """Where it is told who saw and did what."""
        from mapdr.operate.audit import Audit  # as above

        return Audit(self.plan.node)

    def show_who(self, what: str, chosen: Selection | MessageSelection) -> None:
        """Tell the audit that a listing of `chosen` shows who the patients are; once for who looks again and
        again. Raises AuditError, and then nothing may be shown."""
        seen = f"{what} {chosen}"
        if seen not in self._viewed:
            from mapdr.operate.audit import conditions  # as above

            self.audit.viewed(self.actor, what, conditions(chosen))
            self._viewed.add(seen)

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
        if name and name not in known and not self.store.listing.select(Selection(destination=name, limit=1)):
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

    @property
    def begins(self) -> bool:
        """Whether a process of this machine is about to run as this node: it recovers, or opens its ports."""
        node = self.plan.node
        return (
            node.database == "sqlite" and not self.alive and claimed(node_file(node.data, node.name)) is True
        )

    def running(self) -> Heartbeat | None:
        """The node's sign of life, if it gives one now and its process has not ended since."""
        beat, alive = self.asked(), self.alive
        if beat is None or alive is False or beat.counters.get("state") == "stopped":
            return None
        return None if is_silent(beat, time.time(), asked=self.can_ask) else beat

    def asked(self) -> Heartbeat | None:
        """The node's last sign of life, as of now: one that lives on this machine is asked for it if it gave
        none lately, and has ANSWER seconds. None if it never gave one.

        Who looks again and again asks each time and waits once: it has the answer with the next look.
        """
        beat = self.last_beat()
        if beat is None or beat.counters.get("state") == "stopped":
            return beat
        age = time.time() - beat.at
        if age <= RECENT or not self.alive:
            return beat
        self._can_touch = self._touch()
        if not self._can_touch:
            return beat
        is_unheard = (beat.at, beat.process) == self._unanswered
        return self._answer(beat) if age > OLD and not is_unheard else beat

    @property
    def can_ask(self) -> bool:
        """Whether the node lives on this machine and is asked by `asked`; if not, the age of its last sign
        says what can be known."""
        return self._can_touch and self.alive is True

    def _touch(self) -> bool:
        """Ask for a sign of life, which is read later; whether this process may."""
        try:
            os.utime(running_file(self.plan.node.data, self.plan.node.name))
        except OSError:  # another user's
            return False
        return True

    def _answer(self, before: Heartbeat) -> Heartbeat:
        """The sign of life that the node gives when asked, or the one before if it gives none: at once where
        its process ends meanwhile."""
        deadline = time.monotonic() + ANSWER
        while time.monotonic() < deadline and self.alive:
            time.sleep(PAUSE)
            beat = self.last_beat()
            if beat is not None and (beat.at, beat.process) != (before.at, before.process):
                return beat
        # Nobody waits a second time, until there is a later sign.
        self._unanswered = before.at, before.process
        return before

    def last_beat(self) -> Heartbeat | None:
        """The node's last sign of life, however old; None if it never gave one."""
        return self.store.commands.last_beat() if self.store is not None else None

    def named(self) -> AbstractContextManager[None]:
        """Within it, the database's own errors are raised as a MapdrError that says what is wrong."""
        return index_named(self.plan.node.database_url(), self.plan.node.data)

    def close(self) -> None:
        """Give the index back. Safe twice."""
        if self._store is not None:
            self._store.close()
            self._store = None


@contextmanager
def access(config: Path, *, busy: float = ACTING, rules: bool = False) -> Iterator[Access]:
    """The access by a configuration file, closed at the end; `busy` as for `Access`, `rules` as for `of`."""
    with _closed(Access.of(config, busy=busy, rules=rules)) as opened:
        yield opened


@contextmanager
def access_of(
    plan: Plan,
    *,
    busy: float = ACTING,
    actor: Actor | None = None,
    config: Path | None = None,
    ends: Callable[[], bool] = lambda: False,
) -> Iterator[Access]:
    """The access to the node that runs by a plan in this process, beside its own; closed at the end. `actor`
    is who looks and acts by it, `config` the node's configuration file, `ends` as for `Access`."""
    with _closed(Access(plan, busy=busy, actor=actor, config=config, ends=ends)) as opened:
        yield opened


@contextmanager
def _closed(opened: Access) -> Iterator[Access]:
    try:
        with opened.named():
            yield opened
    finally:
        opened.close()
