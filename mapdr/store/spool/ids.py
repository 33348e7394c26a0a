"""Instance ids: UUIDv7's layout (RFC 9562, section 5.7), never decreasing, even when the clock does."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable

_COUNTER_BITS = 74  # rand_a (12) and rand_b (62) serve as one counter within a millisecond
_COUNTER_END = 1 << _COUNTER_BITS
_STEP_BITS = 40
_RAND_B = (1 << 62) - 1
_VARIANT = 2 << 62


class Ids:
    """Makes ids of 32 lowercase hexadecimal digits, each greater than the one before and than `floor`."""

    def __init__(self, floor: str = "", clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # Ids shall not collide, they need not be secret: one seed from the system, not a call an id.
        self._bits = random.Random(secrets.randbits(128)).getrandbits
        self._milliseconds, self._counter = _parse(floor) if floor else (0, 0)

    def next(self) -> str:
        """A new id; its time is the clock's, or the last id's when the clock stands or went back."""
        with self._lock:
            self._step()
            return _format(self._milliseconds, self._counter)

    def block(self, count: int) -> int:
        """The first of `count` ids, fewer than 2**40, that follow each other as numbers."""
        with self._lock:
            self._step()
            while (self._counter & _RAND_B) + count > _RAND_B:
                self._step()
            first = int(_format(self._milliseconds, self._counter), 16)
            self._counter += count - 1
            return first

    def _step(self) -> None:
        now = int(self._clock() * 1000)
        if now > self._milliseconds:
            self._milliseconds = now
            # The top bit stays free, so that a busy millisecond has room to count up.
            self._counter = self._bits(_COUNTER_BITS - 1)
        else:
            self._counter += 1 + self._bits(_STEP_BITS)
            if self._counter >= _COUNTER_END:
                self._milliseconds += 1
                self._counter = self._bits(_COUNTER_BITS - 1)


def id_text(number: int) -> str:
    """An id that was given as a number."""
    return f"{number:032x}"


def id_milliseconds(id_: str) -> int:
    """The milliseconds since the epoch that an id carries. Raises ValueError if it is not an id."""
    if len(id_) != 32:
        raise ValueError("an instance id has 32 hexadecimal digits")
    return int(id_[:12], 16)


def id_floor(seconds: float) -> str:
    """The smallest id of a moment: ids made at or after `seconds` (since the epoch) are not less."""
    return _format(max(0, int(seconds * 1000)), 0)


def is_id(text: str) -> bool:
    """Whether `text` is an id as `Ids` makes them."""
    try:
        return _format(*_parse(text)) == text
    except ValueError:
        return False


def _format(milliseconds: int, counter: int) -> str:
    # In parts of at most 64 bits, which cost a third of one number of 128.
    return f"{milliseconds:012x}7{counter >> 62:03x}{counter & _RAND_B | _VARIANT:016x}"


def _parse(text: str) -> tuple[int, int]:
    if len(text) != 32:
        raise ValueError("an instance id has 32 hexadecimal digits")
    value = int(text, 16)
    return value >> 80, (((value >> 64) & 0xFFF) << 62) | (value & ((1 << 62) - 1))


_hour_cache: tuple[int, str] = (-1, "")


def hour_of(id_: str) -> str:
    """The folder of an id: the hour (UTC) of its time, as YYYYMMDDHH."""
    global _hour_cache  # noqa: PLW0603  one hour serves thousands of images; a race only formats it twice
    hour = id_milliseconds(id_) // 3_600_000
    known, text = _hour_cache
    if known != hour:
        text = time.strftime("%Y%m%d%H", time.gmtime(hour * 3600))
        _hour_cache = (hour, text)
    return text


def hour_of_time(seconds: float) -> str:
    """The folder of a moment."""
    return time.strftime("%Y%m%d%H", time.gmtime(seconds))
