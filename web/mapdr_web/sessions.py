"""Who is signed in: sessions in memory, which end by idleness, by age, by signing out, and with the node."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mapdr.operate.signin import Grant

IDLE = {"operator": 30 * 60.0, "viewer": 12 * 3600.0}
"""Seconds without a request of its person after which a session ends, by role: a viewer's page may hang on a
wall."""
LONGEST = 12 * 3600.0
"""Seconds after which every session ends."""
MOST = 256
"""Sessions at once; of more, the one that was idle for longest ends."""


@dataclass(slots=True)
class Session:
    """`csrf` is the token that a page of this session sends with every change; times are `clock`'s."""

    grant: Grant
    csrf: str
    began_at: float
    used_at: float

    def ended(self, now: float) -> bool:
        """Whether it is over."""
        return now - self.began_at > LONGEST or now - self.used_at > IDLE[self.grant.role]

    def proves(self, token: str) -> bool:
        """Whether `token` is its own, in a time that says nothing."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.csrf.encode())


class Sessions:
    """All sessions by the hash of their cookie. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def begin(self, grant: Grant) -> tuple[str, Session]:
        """A new session, and the value of its cookie."""
        cookie, now = secrets.token_urlsafe(32), self._clock()
        session = Session(grant, secrets.token_urlsafe(32), now, now)
        with self._lock:
            self._sweep(now)
            if len(self._sessions) >= MOST:
                del self._sessions[min(self._sessions, key=lambda each: self._sessions[each].used_at)]
            self._sessions[_digest(cookie)] = session
        return cookie, session

    def find(self, cookie: str, *, used: bool = True) -> Session | None:
        """The session of a cookie, if it lasts; `used`: it is a request of its person."""
        now, key = self._clock(), _digest(cookie)
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            if session.ended(now):
                del self._sessions[key]
                return None
            if used:
                session.used_at = now
            return session

    def end(self, cookie: str) -> None:
        """The session of this cookie is over. Safe twice."""
        with self._lock:
            self._sessions.pop(_digest(cookie), None)

    def _sweep(self, now: float) -> None:
        self._sessions = {key: each for key, each in self._sessions.items() if not each.ended(now)}


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
