"""The session of one sender: opened for the images that wait, kept over many, closed when idle or lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from mapdr.deliver.feed.ready import QueuedImage
from mapdr.deliver.feed.syntaxes import Syntaxes
from mapdr.kernel.errors import LocalProtocolError, Permanent, Temporary
from mapdr.kernel.guard import Trouble, contained
from mapdr.kernel.item import Acceptance, Need, Outcome, Payload, Sent, Verdict
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import Batch, Egress, EgressSession, SendsBatches

log = logging.getLogger("mapdr.deliver")

STALE = 1.0
"""An association that rested longer may have been ended by the peer: losing it proves nothing."""

ONE = Batch(1)
"""What a session is given that sends no batches."""

ENDED = Outcome(Verdict.RETRY, comment="the session has ended", peer_fault=True, begun=False)
"""What an image becomes that is to be sent on a session which can say nothing of it any more."""


def _answers(sent: Sequence[object]) -> int:
    """How many of what a session told are answers: those before the first that is something else."""
    for number, one in enumerate(sent):
        if not isinstance(one, Sent) or not isinstance(getattr(one.outcome, "verdict", None), Verdict):
            return number
    return len(sent)


class OpenSessions:
    """How many sessions of one destination are open. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def add(self, number: int) -> None:
        """`number` more (1), or less (-1)."""
        with self._lock:
            self.count += number


class Connection:
    """At most one session of an egress; for one thread, but for `abort`.

    `retry_first` is how many seconds pass until a receiver is asked again for what it did not accept.
    """

    def __init__(
        self,
        destination: str,
        egress: Egress,
        syntaxes: Syntaxes,
        open_sessions: OpenSessions,
        retry_first: float,
    ) -> None:
        self._destination = destination
        self._egress = egress
        self._syntaxes = syntaxes
        self._open_sessions = open_sessions
        self._retry_first = retry_first
        self._session: EgressSession | None = None
        self._batches: SendsBatches | None = None
        self._opened_at = 0.0
        self._used_at = 0.0
        self._fresh = False
        self._trouble = Trouble(log)

    @property
    def batch(self) -> Batch:
        """What `send` may be given."""
        return ONE if self._batches is None else self._batches.batch

    @property
    def covers(self) -> Callable[[Need], bool] | None:
        """Whether the session can say something of a need; None without a session."""
        return self._is_covered if self._session is not None else None

    def _is_covered(self, need: Need) -> bool:
        return self._said(need) is not None

    @contained
    def _said(self, need: Need) -> Acceptance | None:
        """What the session says of a need; None without a session."""
        return self._session.acceptance(need) if self._session is not None else None

    @property
    def others_open(self) -> bool:
        """Whether other senders of the destination have a session, while this one has none."""
        return self._open_sessions.count > 0

    @property
    def stale(self) -> bool:
        """Whether the session rested so long that the receiver may have ended it for that."""
        return time.monotonic() - self._used_at > STALE

    def serves(self, image: QueuedImage) -> bool:
        """Whether an image that the session covers goes on it, and not on a new one.

        One that goes alone needs a session on which nothing was sent; one that was not accepted is asked for
        again on a new session if the receiver did not say so just now, and not for good.
        """
        if image.alone:
            return self._fresh
        assert image.need is not None
        refusal = self.refusal(image.need)
        just_asked = time.monotonic() - self._opened_at < self._retry_first
        return refusal is None or just_asked or not refusal.not_now

    def accepts(self, need: Need) -> bool:
        """Whether the receiver takes images of this need on the session."""
        return self.refusal(need) is None

    def refusal(self, need: Need) -> Outcome | None:
        """Why the receiver does not take images of this need on the session; None if it does."""
        said = self._said(need)
        return ENDED if said is None else said.refusal

    def fallback(self, need: Need) -> str:
        """The transfer syntax that the receiver takes in place of a refused one, or empty; remembered."""
        said = self._said(need)
        if said is None or not said.instead:
            return ""
        self._syntaxes.refused(need, said.instead)
        return said.instead

    def open(self, need: Need, others: Sequence[Need]) -> None:
        """Open a session for `need`, for `others` that wait, and for what was sent lately.

        Raises Permanent, Temporary or OSError when the receiver gives none, anything else by our own fault.
        """
        self.close()
        session = self._connect([need, *others, *self._syntaxes.recent()])
        self._open_sessions.add(1)
        self._session = session
        self._batches = session if isinstance(session, SendsBatches) else None
        self._used_at = self._opened_at = time.monotonic()
        self._fresh = True

    @contained
    def _connect(self, needs: list[Need]) -> EgressSession:
        """A session for all `needs`, or for the first alone where that fails by a fault of our own."""
        try:
            return self._egress.connect(list(dict.fromkeys(needs)))
        except (Permanent, Temporary, OSError):
            raise
        except BaseException as error:  # noqa: BLE001  raised again if it is of this need
            words = in_words(error, places=False)
            self._trouble.tell(f"{self._destination}: no session for all that waits: {words}")
        return self._egress.connect(needs[:1])

    def send(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
        """Send payloads that the session accepts, in order, and append what became of each to `sent`.

        The first is always sent, those behind may be left. Raises what the session raises, of the payload
        after those in `sent`, and LocalProtocolError where it did not say what became of it.
        """
        try:
            self._send(payloads, sent)
        finally:
            told = len(sent)
            del sent[min(_answers(sent), len(payloads)) :]
        if not sent or len(sent) < told:
            raise LocalProtocolError("the session did not say what became of an image")

    @contained
    def _send(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
        assert self._session is not None
        self._fresh = False
        try:
            if self._batches is None:
                started, clock = time.time(), time.perf_counter()
                outcome = self._session.send(payloads[0])
                sent.append(Sent(outcome, started, time.perf_counter() - clock))
                return
            self._batches.send_batch(payloads, sent)
        finally:
            self._used_at = time.monotonic()

    def close(self) -> None:
        """End the session, if there is one."""
        session, self._session, self._batches = self._session, None, None
        if session is None:
            return
        self._open_sessions.add(-1)
        try:
            session.close()
        except BaseException as error:  # noqa: BLE001  it is gone either way; what was sent has its answer
            words = in_words(error, places=False)
            self._trouble.tell(f"{self._destination}: a session could not be closed: {words}")

    def abort(self) -> None:
        """End the session while its sender uses it, from another thread; the image on the wire is then
        unanswered."""
        session = self._session
        if session is not None:
            session.close()
