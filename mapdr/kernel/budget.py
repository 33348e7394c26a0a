"""One budget of memory for everything that a node inflates, decodes, encodes or keeps prepared (design, 27).

```
    ask ──▶ [ waiting, first come first served ] ──▶ share: at work ──▶ at rest (a payload) ──▶ given back
                      ▲                                  │ need more
                      └──── Short: given back, whole ◀───┘ and there is none
```
Nobody who holds a share waits for more: a work that turns out to need more than can be had at once gives back
what it has (`Short`) and asks again for the whole. So those who wait never wait for each other.

Who asks in the name of an owner (a destination) that has a share already prepares ahead: for that there is
half of the budget, and it comes after all others. So what slow destinations have prepared never takes all.
What needs more than half is not ahead: it could never have its share, for its owner may always have another.

What works says what it needs by `need`, at the point where it knows and before it takes the memory. The share
that counts is that of the thread (`Share.held`); a thread without one is not limited (`mapdr explain`).
"""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field

from mapdr.kernel.errors import MapdrError, Permanent

DEFAULT = 512 * 1000**2
"""Bytes of a node that says nothing else."""

SLOW = 5.0
"""Seconds after which what rests is taken to wait for a slow receiver: others need not wait for it."""


class Short(MapdrError):
    """The work needs `amount` bytes in all, more than it can have now; it may ask for them."""

    def __init__(self, amount: int) -> None:
        super().__init__(f"{amount} bytes of memory are needed")
        self.amount = amount


class Allowance(ABC):
    """What one piece of work may use of memory: within `held` what the thread says by `need` counts here."""

    def __init__(self) -> None:
        self._used = 0

    @property
    @abstractmethod
    def most(self) -> int:
        """Bytes that the work can have at the very most."""

    @abstractmethod
    def _reaches(self, amount: int) -> bool:
        """Whether `amount` bytes in all can be had at once; they are given then."""

    def held(self) -> AbstractContextManager[None]:
        """What this thread does within the block counts here."""
        return _Held(self)

    def need(self, amount: int) -> None:
        """`amount` bytes more are about to be used. Raises Short when they are not to be had at once."""
        self._used += amount
        if not self._reaches(self._used):
            raise Short(self._used)

    def hold(self, amount: int) -> None:
        """Only `amount` bytes are in use now; what was given before stays given, for what comes."""
        self._used = amount


@dataclass(slots=True, eq=False)
class _Grant:
    """What the budget notes of one share; `rested` is when its work ended, None while it is at work."""

    amount: int
    alone: bool
    owner: str
    rested: float | None = None
    ended: bool = False


class Share(Allowance):
    """A part of the budget. Whoever drops the last reference to it gives it back, if `release` did not."""

    def __init__(self, budget: Budget, grant: _Grant) -> None:
        super().__init__()
        self._budget = budget
        self._grant = grant

    @property
    def amount(self) -> int:
        """Bytes that were given to it."""
        return self._grant.amount

    @property
    def alone(self) -> bool:
        """Whether nothing else is at work while this is."""
        return self._grant.alone

    @property
    def most(self) -> int:
        """Bytes that it could have if nobody else had any."""
        return self._budget.total

    def _reaches(self, amount: int) -> bool:
        return amount <= self._grant.amount or self._budget.grow(self._grant, amount)

    def rest(self, amount: int) -> None:
        """The work is done; its result holds `amount` bytes, until the share is dropped."""
        self._budget.rest(self._grant, amount)

    def release(self) -> None:
        """Give it back. Safe twice."""
        self._budget.release(self._grant)

    def __del__(self) -> None:
        self._budget.dropped(self._grant)


class _Held:
    """The block of `Allowance.held`."""

    __slots__ = ("_allowance", "_token")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance

    def __enter__(self) -> None:
        self._token = _current.set(self._allowance)

    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)


class Limited(Allowance):
    """Stands for a share where a little memory goes uncounted: what needs more than `most` raises Short."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    @property
    def most(self) -> int:
        """Bytes that it may use."""
        return self._most

    def _reaches(self, amount: int) -> bool:
        return amount <= self._most


_current: ContextVar[Allowance | None] = ContextVar("mapdr_share", default=None)


def need(amount: int) -> None:
    """The work of this thread is about to use `amount` bytes more. Raises Short when it cannot have them."""
    share = _current.get()
    if share is not None:
        share.need(amount)


def hold(amount: int) -> None:
    """Of what the work of this thread said to need, only `amount` bytes are still in use."""
    share = _current.get()
    if share is not None:
        share.hold(amount)


def most() -> int | None:
    """What the work of this thread can have at the very most; None where nothing limits it."""
    share = _current.get()
    return None if share is None else share.most


@dataclass(slots=True, eq=False)
class _Waiter:
    amount: int
    alone: bool
    owner: str
    receive: Callable[[Share], None]
    share: Share | None = field(default=None)


class Budget:
    """Thread-safe. `total` is in bytes; `clock` gives seconds."""

    def __init__(self, total: int = DEFAULT, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self._clock = clock
        self._lock = threading.Lock()
        self._used = 0
        self._at_work: set[_Grant] = set()
        self._at_rest: set[_Grant] = set()
        self._owned: Counter[str] = Counter()
        self._waiting: list[_Waiter] = []
        # A share may be dropped at any moment, by a thread that holds any lock: it is only noted then.
        self._dropped: queue.SimpleQueue[_Grant] = queue.SimpleQueue()

    def ask(
        self, amount: int, receive: Callable[[Share], None], *, owner: str = "", alone: bool = False
    ) -> None:
        """Call `receive` with a share of `amount` bytes once there is one: now, or from another thread.

        `alone`: only while nothing else is at work, and nothing else begins before its work has ended. Raises
        Permanent(reason="memory") for what can never be had.
        """
        if amount > self.total:
            raise self.never(amount)
        with self._lock:
            self._waiting.append(_Waiter(amount, alone, owner, receive))
        self.tend()

    def never(self, amount: int) -> Permanent:
        """Why an image is parked that needs `amount` bytes or more."""
        return Permanent(
            f"preparing it takes {amount / 1e6:.0f} MB of memory or more, and [node] memory is "
            f"{self.total / 1e6:.0f} MB; raise it and retry",
            reason="memory",
        )

    def tend(self) -> None:
        """Give out what can be given. To be called now and then while somebody waits."""
        if not self._waiting:
            return  # the usual case, without the lock: what was dropped is counted when somebody asks
        with self._lock:
            self._collect()
            ready = list(self._ready())
        for waiter in ready:
            share, waiter.share = waiter.share, None
            assert share is not None
            waiter.receive(share)

    @property
    def used(self) -> int:
        """Bytes that are given out."""
        with self._lock:
            self._collect()
            return self._used

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def pressed(self) -> bool:
        """Whether somebody waits who does not prepare ahead."""
        if not self._waiting:
            return False
        with self._lock:
            return self._first() is not None

    @property
    def crowded(self) -> bool:
        """Whether nobody should begin to prepare ahead."""
        return self.pressed or self.used > self.total // 2

    # --- what shares call ---------------------------------------------------------------------------------

    def grow(self, grant: _Grant, amount: int) -> bool:
        """Enlarge a share to `amount` bytes, unless there is no room, others wait, or it was given back."""
        with self._lock:
            if grant.ended:
                return False
            self._collect()
            ahead = amount <= self.total // 2 and self._owned[grant.owner] > grant.amount
            limit = self.total // 2 if ahead else self.total
            if self._first() is not None or self._used - grant.amount + amount > limit:
                return False
            self._resize(grant, amount)
            return True

    def rest(self, grant: _Grant, amount: int) -> None:
        """The work of a share is over; one that was given back stays so."""
        with self._lock:
            if grant.ended:
                return
            self._resize(grant, amount)
            grant.rested = self._clock()
            self._at_work.discard(grant)
            self._at_rest.add(grant)
        self.tend()

    def release(self, grant: _Grant) -> None:
        """A share is given back."""
        with self._lock:
            self._end(grant)
        self.tend()

    def dropped(self, grant: _Grant) -> None:
        """A share has no owner any more; may be called by any thread at any point."""
        if not grant.ended:
            self._dropped.put(grant)

    # --- with the lock ------------------------------------------------------------------------------------

    def _resize(self, grant: _Grant, amount: int) -> None:
        self._count(grant, amount - grant.amount)
        grant.amount = amount

    def _count(self, grant: _Grant, amount: int) -> None:
        self._used += amount
        if grant.owner:
            self._owned[grant.owner] += amount
            if not self._owned[grant.owner]:
                del self._owned[grant.owner]

    def _end(self, grant: _Grant) -> None:
        if not grant.ended:
            grant.ended = True
            self._count(grant, -grant.amount)
            self._at_work.discard(grant)
            self._at_rest.discard(grant)

    def _collect(self) -> None:
        while not self._dropped.empty():  # who holds the lock is the only one who takes from it
            self._end(self._dropped.get_nowait())

    def _ready(self) -> Iterator[_Waiter]:
        while waiter := self._next():
            self._waiting.remove(waiter)
            grant = _Grant(waiter.amount, waiter.alone, waiter.owner)
            self._at_work.add(grant)
            self._count(grant, grant.amount)
            waiter.share = Share(self, grant)
            yield waiter

    def _next(self) -> _Waiter | None:
        """Who is served next. What the first waits for ends soon, unless slow receivers hold it: then others
        need not wait for them too."""
        first = self._first()
        if first is not None:
            if self._fits(first):
                return first
            if self._slow() + first.amount <= self.total:
                return None
        return next((waiter for waiter in self._waiting if self._fits(waiter)), None)

    def _first(self) -> _Waiter | None:
        """The first of those who do not prepare ahead."""
        if not self._waiting:
            return None
        return next((waiter for waiter in self._waiting if not self._is_ahead(waiter)), None)

    def _is_ahead(self, waiter: _Waiter) -> bool:
        return not waiter.alone and waiter.amount <= self.total // 2 and waiter.owner in self._owned

    def _fits(self, waiter: _Waiter) -> bool:
        if (waiter.alone and self._at_work) or any(grant.alone for grant in self._at_work):
            return False
        limit = self.total // 2 if self._is_ahead(waiter) else self.total
        return self._used + waiter.amount <= limit

    def _slow(self) -> int:
        """Bytes of payloads that have waited long to be sent."""
        since = self._clock() - SLOW
        return sum(grant.amount for grant in self._at_rest if (grant.rested or 0.0) <= since)
