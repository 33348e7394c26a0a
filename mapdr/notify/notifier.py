"""Watches for studies that have become quiet or complete, and has the webhooks tell of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from mapdr.config.model import WebhookConfig
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.watch import Watch
from mapdr.notify.events import event_name, messages
from mapdr.notify.webhook import HookSender, Messages
from mapdr.store.messages import OutboxEntry
from mapdr.store.study_events import StudyEvent

log = logging.getLogger("mapdr.notify")

TICK = 1.0
"""Seconds between looks at the studies, while there are some whose quiet time is not over ..."""

REST = 60.0
"""... and while there are none: `Notifier.look` says when the index has changed."""


class Studies(Protocol):
    """The part of the index that is needed here."""

    def due_events(
        self, now: float, quiet_seconds: float, entries: Callable[[StudyEvent], Iterable[OutboxEntry]]
    ) -> list[StudyEvent]:
        """What has happened since the last call, each told once."""

    def waiting(self) -> bool:
        """Whether something changed that there may be something to tell of once it has been quiet."""


class Notifier:
    """The webhooks of a node (by name); without any, events are still marked and shown."""

    def __init__(
        self,
        studies: Studies,
        outbox: Messages,
        hooks: Mapping[str, WebhookConfig],
        watch: Watch,
        *,
        node: str,
        quiet_seconds: float,
        tick: float = TICK,
        rest: float = REST,
    ) -> None:
        self._studies = studies
        self._hooks = dict(hooks)
        self._watch = watch
        self._node = node
        self._quiet = quiet_seconds
        self._tick = tick
        self._rest = rest
        self._signal = threading.Event()
        self._senders = {
            name: HookSender(name, config, outbox, watch, tick=tick, rest=rest)
            for name, config in hooks.items()
        }
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, ending: Sequence[object] = ()) -> None:
        """Read the hooks' TLS files and secrets. Raises ConfigurationError when one cannot be used."""
        for sender in self._senders.values():
            sender.acquire()

    def start(self) -> None:
        """Begin. Raises ConfigurationError when a secret cannot be read."""
        try:
            for sender in self._senders.values():
                sender.start()
        except BaseException:
            self.stop(time.monotonic())
            raise
        self._thread = GuardedThread(
            self._run, "notify", goes_on=lambda: not self._stopping.is_set(), watch=self._watch
        )
        self._thread.start()

    def stop(self, deadline: float) -> None:
        """End by `deadline` (time.monotonic()); what was not sent stays in the outbox. Safe twice."""
        self._stopping.set()
        self._signal.set()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        for sender in self._senders.values():
            sender.stop(deadline)

    def look(self) -> None:
        """The index has changed, or the clock: there may be something to tell, or to send."""
        self._signal.set()
        for sender in self._senders.values():
            sender.wake()

    def _run(self) -> None:
        trouble = Trouble(log)
        pause = self._tick
        while True:
            self._signal.wait(pause)
            self._signal.clear()
            if self._stopping.is_set():
                return
            pause = self._tick
            try:
                self._look()
                if not self._studies.waiting():
                    pause = self._rest
                trouble.over()
            except Exception as error:  # noqa: BLE001  the index is locked or away: shown, and tried again
                trouble.tell(f"the studies cannot be looked at ({type(error).__name__}); trying again")

    def _look(self) -> None:
        told = self._studies.due_events(
            time.time(), self._quiet, lambda event: messages(event, self._hooks, self._node)
        )
        for event in told:
            name = event_name(event)
            self._watch.emit(name, study=event.study, **_facts(name, event))
            for hook, config in self._hooks.items():
                if name in config.on:
                    self._senders[hook].wake()


def _facts(name: str, event: StudyEvent) -> dict[str, object]:
    if name == "delivery.parked":
        return {"destination": event.destination, "images": event.parked, "reason": event.reason}
    if name == "study.delivered":
        return {"destination": event.destination, "images": event.images}
    return {"images": event.images}
