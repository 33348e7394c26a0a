"""Whether this machine may forward now, and until when: a pure function of license, facts, time and record.

Receiving and keeping never ask it. A record is what the program remembers over its starts: it is how a clock
that is set back is noticed, and since when something is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Literal

from mapdr.license.match import Match, match
from mapdr.license.token import License, WrongToken, verify

TRIAL = timedelta(days=30)
"""From the first start of a vendor's build, without a license."""
GRACE = timedelta(days=14)
"""From when a license stopped to hold until forwarding pauses."""
SET_BACK = timedelta(hours=1)
"""By how much a clock may be before what was seen last: summer time is no part of it, it counts in UTC."""

LAST_YEAR = 3000
"""The year from which on a last day stands for no end: times after it cannot be told on every system."""

Kind = Literal["unneeded", "licensed", "trial", "grace", "over"]


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered: when a vendor's build started first and was seen last, whether a license ever held
    here, and since when none does (all in UTC); whether forwarding pauses, and when a pause ended last."""

    first_at: datetime
    seen_at: datetime
    held: bool = False
    wrong_since: datetime | None = None
    paused: bool = False
    resumed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How the license stands. `until` is when that ends (None: never), `reason` what is wrong, in words.

    `set_back`: the clock says less than was seen before, and what was seen counts.
    """

    kind: Kind
    reason: str = ""
    until: datetime | None = None
    license: License | None = None
    match: Match | None = None
    set_back: bool = False

    @property
    def forwards(self) -> bool:
        """Whether images may go out."""
        return self.kind != "over"


def standing(
    token: str | None, facts: Mapping[str, str], now: datetime, record: Record | None, keys: Sequence[bytes]
) -> tuple[Standing, Record | None]:
    """How it stands, and what is to be remembered. `keys` are the vendor's public ones: without one no
    license is needed, and nothing is remembered."""
    if not keys:
        return Standing("unneeded"), record
    known = record or Record(now, now)
    set_back = known.seen_at - now > SET_BACK
    at = max(now, known.seen_at)
    told, kept = _judged(token, facts, at, replace(known, seen_at=at), keys)
    resumed = at if known.paused and told.forwards else kept.resumed_at
    kept = replace(kept, paused=not told.forwards, resumed_at=resumed)
    return replace(told, set_back=set_back), kept


def _judged(
    token: str | None, facts: Mapping[str, str], at: datetime, record: Record, keys: Sequence[bytes]
) -> tuple[Standing, Record]:
    """By a time that never goes back."""
    allowed, compared, reason, since = None, None, "there is no license", at
    if token is not None:
        try:
            allowed = verify(token, keys)
            compared = match(allowed, facts)
            ends = _end(allowed)
            if not compared.holds:
                reason = "the license is for another machine"
            elif ends is not None and at >= ends:
                reason, since = "the license has expired", ends
            else:
                held = replace(record, held=True, wrong_since=None)
                return Standing("licensed", "", ends, allowed, compared), held
        except WrongToken as error:
            reason = str(error)
    if not record.held:
        ends = record.first_at + TRIAL
        kind: Kind = "trial" if at < ends else "over"
        return Standing(kind, reason, ends, allowed, compared), record
    wrong_since = record.wrong_since or since
    ends = wrong_since + GRACE
    kind = "grace" if at < ends else "over"
    return Standing(kind, reason, ends, allowed, compared), replace(record, wrong_since=wrong_since)


def _end(allowed: License) -> datetime | None:
    """The end of its last day, wherever on earth: a license does not end before the day does."""
    if allowed.expires is None or allowed.expires.year >= LAST_YEAR:
        return None
    return datetime.combine(allowed.expires + timedelta(days=1), time(), UTC) + timedelta(hours=12)
