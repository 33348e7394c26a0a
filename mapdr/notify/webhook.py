"""Webhooks: messages from the durable outbox, each sent until its receiver answers 2xx.

Every hook has a thread of its own, so a slow one delays no other. Neither bodies nor URLs are logged: a URL
may hold a token.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from mapdr.config.model import WebhookConfig
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.watch import Watch
from mapdr.notify.post import Answer, HookPost
from mapdr.store.messages import OutboxMessage, OutboxSettlement

log = logging.getLogger("mapdr.notify")

TICK = 1.0
"""Seconds between looks for a message that is leased elsewhere, and for a person who ends a wait."""

REST = 60.0
"""Seconds between looks while no message waits: `wake` says when there may be one."""

LEASE = 300.0
"""Seconds; well above the longest time-out that makes sense for a webhook."""

GIVE_UP = 7 * 86400.0
"""Seconds after which a message that was never taken is parked where a person sees it."""

FIRST, LONGEST = 2.0, 3600.0
"""Seconds: the first wait after a failure, doubled for each further one up to the longest."""


class Messages(Protocol):
    """The part of the outbox that is needed here."""

    def lease(self, hook: str, limit: int, seconds: float, now: float) -> list[OutboxMessage]:
        """Due messages of a hook, oldest first."""

    def settle(self, settlements: list[OutboxSettlement], now: float) -> None:
        """Write how attempts ended."""

    def next_due(self, hook: str) -> float | None:
        """When the hook's next message is due."""

    def not_before(self, message_id: int) -> float | None:
        """When a message is due."""


class HookSender:
    """Sends the messages of one webhook."""

    def __init__(
        self,
        name: str,
        config: WebhookConfig,
        outbox: Messages,
        watch: Watch,
        *,
        tick: float = TICK,
        rest: float = REST,
        first_wait: float = FIRST,
        give_up: float = GIVE_UP,
    ) -> None:
        self._name = name
        self._post = HookPost(name, config)
        self._outbox = outbox
        self._watch = watch
        self._tick = tick
        self._rest_seconds = rest
        self._first_wait = first_wait
        self._give_up = give_up
        self._failures = 0
        self._trouble = ""
        self._unwritten: list[OutboxSettlement] = []  # what the index did not take, as on a full disk
        self._stopping = False
        self._signal = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Read TLS files and secrets. Raises ConfigurationError when one cannot be read or used."""
        self._post.acquire()

    def start(self) -> None:
        """Begin to send. Raises as `acquire`."""
        self.acquire()
        self._thread = GuardedThread(
            self._run, f"webhook-{self._name}", goes_on=lambda: not self._stopping, watch=self._watch
        )
        self._thread.start()

    def wake(self) -> None:
        """There may be messages."""
        self._signal.set()

    def stop(self, deadline: float) -> None:
        """Let the message on its way end by `deadline` (time.monotonic()). Safe twice, and before start."""
        self._stopping = True
        self._signal.set()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        # A request that is still under way ends with an error, and its message waits in the outbox.
        self._post.close()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        trouble = Trouble(log)
        while not self._stopping:
            try:
                pause = self._step()
                trouble.over()
            except Exception as error:  # noqa: BLE001  the index is locked or away: shown, and tried again
                trouble.tell(f"webhook {self._name}: the outbox cannot be used ({type(error).__name__})")
                pause = 5.0
            if pause > 0:
                self._signal.wait(pause)
            self._signal.clear()

    def _step(self) -> float:
        """Send the next message; the seconds to rest."""
        self._write()
        now = time.time()
        due = self._outbox.next_due(self._name)
        if due is None or due > now:
            return self._rest_seconds if due is None else min(self._rest_seconds, due - now)
        leased = self._outbox.lease(self._name, 1, LEASE, now)
        if not leased:
            return self._tick
        message = leased[0]
        answer = self._post.send(message.webhook_id, message.payload)
        now = time.time()
        wait = max(answer.wait, self._wait(message.attempts))
        self._unwritten.append(self._settlement(message, answer, now + wait, now))
        self._write()
        if not answer.hook_fault:
            self._failures = 0
            return 0.0
        self._failures += 1
        return self._rest(max(answer.wait, self._wait(self._failures - 1)), message.id, now + wait)

    def _write(self) -> None:
        """Write how attempts ended. What is raised leaves them for the next time, before any message."""
        if self._unwritten:
            self._outbox.settle(self._unwritten, time.time())
            self._unwritten = []

    def _rest(self, seconds: float, message_id: int, due: float) -> float:
        """Wait as long as the hook itself is at fault, whatever wakes us; 0 then.

        A person who has the message tried again (it is then due earlier) ends the wait.
        """
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._signal.wait(min(left, self._tick))
            self._signal.clear()
            at = self._outbox.not_before(message_id)
            if at is not None and at < due:
                self._failures = 0
                break
        return 0.0

    def _wait(self, earlier: int) -> float:
        return float(min(LONGEST, self._first_wait * 2.0 ** min(earlier, 30)))

    def _settlement(
        self, message: OutboxMessage, answer: Answer, again_at: float, now: float
    ) -> OutboxSettlement:
        state = "delivered" if answer.taken else "pending"
        if not answer.taken and now - max(message.created_at, message.asked_at or 0.0) > self._give_up:
            state = "parked"
        self._watch.count(f"webhook.{self._name}.{'failed' if state == 'pending' else state}")
        self._tell(state, answer, first=message.attempts == 0)
        if state != "delivered":
            log.debug("webhook %s: message %d: %s", self._name, message.id, answer.comment)
        return OutboxSettlement(message.id, state, again_at, answer.status, answer.comment)

    def _tell(self, state: str, answer: Answer, *, first: bool) -> None:
        """Tell when the hook begins to fail, fails otherwise than before, gives up, or is well again."""
        if state == "parked":
            self._watch.emit("webhook.parked", hook=self._name, cause=answer.comment)
        elif state == "delivered" and self._trouble:
            self._watch.emit("webhook.back", hook=self._name)
        elif state == "pending" and (answer.comment != self._trouble if answer.hook_fault else first):
            self._watch.emit("webhook.failed", hook=self._name, cause=answer.comment)
        if answer.taken or answer.hook_fault:
            self._trouble = answer.comment
