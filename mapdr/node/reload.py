"""A reload: from the plan that runs to another one, as a transaction (design, decision 22).

    acquire    build what is new, take its ports, files and secrets    may fail: `release`, nothing changed
    (use)      the rules and recipes come into use                     may fail: `release`, nothing changed
    switch     start what is new, stop what ends                       only starts and stops

Between `acquire` and `switch` all that runs goes on: a receiver that changes shares its listening socket with
its successor, so that no connection is refused in between.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from mapdr.deliver.supervise.deliverer import Deliverer
from mapdr.kernel.finding import Finding, Place
from mapdr.kernel.lifecycle import Lifecycle
from mapdr.kernel.page import Page
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import Acquires, Receiver, Stage
from mapdr.node.build import Builder
from mapdr.node.plan import Plan, Planned
from mapdr.notify.notifier import Notifier

log = logging.getLogger("mapdr.node")

CURE = "the old configuration runs on; correct it and reload again"


TAKEN = (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL)
"""What an address answers that cannot be listened at."""


class Parts(Protocol):
    """What runs: a node."""

    plan: Plan
    receivers: dict[str, Receiver]
    deliverers: dict[str, Deliverer]
    notifier: Notifier
    page: Page | None


class NotAcquired(Exception):
    """A part of the new configuration that cannot be had; `finding` says which and why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.what)
        self.finding = finding


class Reload:
    """The difference between the plan that runs and `new`: `acquire`, then `switch` or `release`."""

    def __init__(self, parts: Parts, build: Builder, new: Plan) -> None:
        self._parts = parts
        self._build = build
        self._new = new
        old = parts.plan
        self._fresh_receivers = _differing(old.receivers, new.receivers)
        self._ending_receivers = _ending(old.receivers, new.receivers)
        self._fresh_destinations = _differing(old.destinations, new.destinations)
        hooks = (new.webhooks, new.node.study_quiet)
        self._hooks_change = hooks != (old.webhooks, old.node.study_quiet)
        self._receivers: dict[str, Receiver] = {}
        self._deliverers: dict[str, Deliverer] = {}
        self._notifier: Notifier | None = None
        # One that could not start is tried again.
        self._page_changes = _page_of(old) != _page_of(new) or (new.page is not None and parts.page is None)
        self._page: Page | None = None

    def acquire(self) -> None:
        """Build every new part and take what it needs. Raises NotAcquired; `release` gives it back."""
        parts = self._parts
        for name, planned in self._fresh_destinations.items():
            with _named("egress", name):
                self._deliverers[name] = self._build.deliverer(planned)
                self._deliverers[name].acquire()
        if self._hooks_change:
            with _named("webhook"):
                self._notifier = self._build.notifier(self._new)
                _acquire(self._notifier)
        if self._page_changes and self._new.page is not None:
            with _named("web", claims=self._new.page.claims):
                self._page = self._build.page(self._new.page, parts)
                _acquire(self._page, [parts.page] if parts.page is not None else [])
        ending = [parts.receivers[name] for name in self._ending_receivers]
        for name, planned in self._fresh_receivers.items():
            with _named("receive", name, claims=planned.claims):
                self._receivers[name] = self._build.receiver(planned)
                _acquire(self._receivers[name], ending)

    def release(self) -> None:
        """Give back what was taken: everything is as before."""
        acquired: list[Stage] = [*self._receivers.values(), *self._deliverers.values()]
        acquired += [each for each in (self._notifier, self._page) if each is not None]
        for part in acquired:
            try:
                part.stop(time.monotonic())
            except Exception as error:  # noqa: BLE001  said; the others have to be given back as well
                log.error("what was taken for a reload could not be given back: %s", in_words(error))

    def switch(self, lifecycle: Lifecycle, drain: float) -> list[str]:
        """Start what is new, stop what ends: receivers within `drain` seconds, destinations within as many.

        Returns what could not be started, in words; usually nothing, since all was acquired.
        """
        troubles: list[str] = []
        parts, old = self._parts, self._parts.deliverers.copy()
        for name, fresh in self._deliverers.items():
            if name not in old:
                parts.deliverers[name] = fresh
                part = f"egress.{name}"
                _try(part, partial(lifecycle.add, part, fresh, before="webhooks"), troubles)
        # Destinations that change go on delivering while old receivers drain, and have their own time then.
        self._switch_receivers(lifecycle, time.monotonic() + drain, troubles)
        deadline = time.monotonic() + drain
        ending = [name for name in old if name in self._deliverers or name not in self._new.destinations]
        for name in ending:
            old[name].halt()  # all at once: each may be in the middle of a long image
        for name in ending:
            if name not in self._deliverers:
                lifecycle.remove(parts.deliverers.pop(name), deadline)
                continue
            fresh = parts.deliverers[name] = self._deliverers[name]
            part = f"egress.{name}"
            _try(part, partial(lifecycle.replace, part, old[name], fresh, deadline), troubles)
        if self._notifier is not None:
            before, parts.notifier = parts.notifier, self._notifier
            _try(
                "webhooks", partial(lifecycle.replace, "webhooks", before, self._notifier, deadline), troubles
            )
        if self._page_changes:
            self._switch_page(lifecycle, deadline, troubles)
        return troubles

    def _switch_page(self, lifecycle: Lifecycle, deadline: float, troubles: list[str]) -> None:
        before, self._parts.page = self._parts.page, self._page
        if before is not None:
            lifecycle.remove(before, deadline)
        if self._page is not None:
            _try("web", partial(lifecycle.add, "web", self._page), troubles)

    def _switch_receivers(self, lifecycle: Lifecycle, deadline: float, troubles: list[str]) -> None:
        parts = self._parts
        ending = [parts.receivers.pop(name) for name in self._ending_receivers]
        for name, fresh in self._receivers.items():
            parts.receivers[name] = fresh
            _try(f"receive.{name}", partial(lifecycle.add, f"receive.{name}", fresh), troubles)
        for receiver in ending:
            lifecycle.remove(receiver, deadline)


def _acquire(part: Stage, ending: list[Any] | None = None) -> None:
    if isinstance(part, Acquires):
        part.acquire(ending or ())


@contextmanager
def _named(*place: str, claims: Iterable[object] = ()) -> Iterator[None]:
    """Whatever is raised within belongs to this place of the configuration, which claims these ports."""
    where: Place = place
    try:
        yield
    except Exception as error:
        raise NotAcquired(Finding(where, taken(error, claims) or in_words(error), CURE)) from error


def taken(error: Exception, claims: Iterable[object]) -> str:
    """What to say of an error if an address cannot be listened at, with the ports in `claims`; empty if it is
    another error."""
    ports = ", ".join(map(str, claims))
    if not ports or not isinstance(error, OSError) or error.errno not in TAKEN or error.filename:
        return ""
    return f"{in_words(error)}: {ports}; another program may have the port, or choose another one"


def _try(name: str, step: Callable[[], None], troubles: list[str]) -> None:
    try:
        step()
    except Exception as error:  # noqa: BLE001  what was acquired can hardly fail to start; the others must not miss out
        troubles.append(f"{name} could not be started: {in_words(error)}")


def _differing(old: Mapping[str, Planned], new: Mapping[str, Planned]) -> dict[str, Planned]:
    """What is new, or not as it was."""
    return {name: planned for name, planned in new.items() if _changed(old.get(name), planned)}


def _ending(old: Mapping[str, Planned], new: Mapping[str, Planned]) -> list[str]:
    """What is gone, or not as it was."""
    return [name for name, planned in old.items() if name not in new or _changed(planned, new[name])]


def _page_of(plan: Plan) -> object:
    """The page's configuration; None where there is none."""
    return None if plan.page is None else plan.page.config


def _changed(old: Planned | None, new: Planned) -> bool:
    return old is None or (old.type, old.config) != (new.type, new.config)
