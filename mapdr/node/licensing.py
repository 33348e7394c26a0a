"""How the license of this installation stands: the token and the record in the data folder, and who asks.

    license.txt    the token, as the vendor gave it
    license.json   what is remembered over starts (`mapdr.license.standing.Record`)

A build without a vendor's key reads and writes neither.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mapdr.kernel.durable import write_durably
from mapdr.kernel.permissions import give_to_owner
from mapdr.kernel.privacy import system_says
from mapdr.license import gate
from mapdr.license.facts import machine
from mapdr.license.standing import LAST_YEAR, Record, Standing
from mapdr.license.told import told

log = logging.getLogger("mapdr.node")

TOKEN, RECORD = "license.txt", "license.json"
PAUSE = "license"
"""The word for why nothing goes out (`mapdr.operate.waits`)."""
SEEN_EVERY = timedelta(minutes=10)
"""How far the kept record may be behind the clock."""
FACTS_FOR = 3600.0
"""Seconds for which facts of the machine are not read again, unless there is another token."""
UNSEEN = "the license has not been looked at yet"


class Licensing:
    """Looks at the license of the installation with this data folder. `look` is for one thread, the rest for
    any; it is what destinations ask (`mapdr.deliver.permit`)."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._standing = Standing("over", UNSEEN) if gate.needed() else Standing("unneeded")
        self._record: Record | None = None
        self._kept: Record | None = None
        self._was_read = False
        self._facts: Mapping[str, str] = {}
        self._facts_of: str | None = None
        self._facts_until = 0.0
        self._lock = threading.Lock()

    @property
    def standing(self) -> Standing:
        """As it was seen last."""
        return self._standing

    @property
    def pause(self) -> str:
        """Why nothing goes out, in one word; empty while images go."""
        return "" if self._standing.forwards else PAUSE

    @property
    def resumed_at(self) -> float:
        """When the last pause ended (seconds since the epoch); 0 if there was none."""
        at = self._record.resumed_at if self._record is not None else None
        return 0.0 if at is None else at.timestamp()

    def look(self) -> None:
        """Judge anew.

        A token that cannot be read stays as it was seen last; one that never could be is a wrong one, which
        has its grace. Raises OSError if it cannot be read, or the record cannot be read or written: it is
        judged for all that.
        """
        if not gate.needed():
            return
        with self._lock:
            token, trouble = _given(self._data)
            if trouble is not None and self._was_read:
                raise trouble
            self._was_read = trouble is None
            known, unread = self._record, None
            if known is None:
                try:
                    known = self._kept = read_record(self._data)
                except OSError as error:
                    unread = error
            if token != self._facts_of or time.monotonic() >= self._facts_until:
                self._facts = machine().facts
                self._facts_of, self._facts_until = token, time.monotonic() + FACTS_FOR
            standing, record = gate.judge(token, self._facts, datetime.now(UTC), known)
            self._standing = _with_trouble(standing, trouble)
            if unread is not None:
                raise unread
            self._record = record
            self._keep()
            if trouble is not None:
                raise trouble

    def facts(self) -> dict[str, Any]:
        """What the node's sign of life tells of it; empty where no license is needed."""
        return told(self._standing)

    def _keep(self) -> None:
        record, kept = self._record, self._kept
        if record is None:
            return
        if kept is not None:
            late = record.seen_at - kept.seen_at >= SEEN_EVERY
            if not late and replace(record, seen_at=kept.seen_at) == kept:
                return
        write_durably(self._data / RECORD, json.dumps(_plain(record)).encode())
        self._kept = record


def standing_in(data: Path) -> Standing:
    """How the license of the installation with this data folder stands now, for who looks: nothing is
    remembered, and what cannot be read is judged as in `Licensing.look`."""
    if not gate.needed():
        return Standing("unneeded")
    token, trouble = _given(data)
    record = None
    with suppress(OSError):
        record = read_record(data)
    return _with_trouble(gate.judge(token, machine().facts, datetime.now(UTC), record)[0], trouble)


def _given(data: Path) -> tuple[str | None, OSError | None]:
    """The installed token; an empty one, which holds nowhere, with why it cannot be read."""
    try:
        return read_token(data), None
    except OSError as error:
        return "", error


def _with_trouble(standing: Standing, trouble: OSError | None) -> Standing:
    """A standing that says of a token that it cannot be read."""
    if trouble is None:
        return standing
    what = system_says(trouble)
    return replace(standing, reason=f"{TOKEN} in the data folder cannot be read ({what})")


def read_token(data: Path) -> str | None:
    """The installed token; None if there is none. Raises OSError."""
    try:
        return (data / TOKEN).read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None


def keep_token(data: Path, token: str) -> None:
    """Install a token; a running node sees it within a second. Raises OSError."""
    write_durably(data / TOKEN, f"{token}\n".encode("ascii"))
    give_to_owner(data / TOKEN)


def read_record(data: Path) -> Record | None:
    """What is remembered; None if that is nothing, or cannot be read any more. Raises OSError."""
    try:
        kept = json.loads((data / RECORD).read_bytes())
        moments = {
            key: None if kept[key] is None else datetime.fromisoformat(kept[key]).astimezone(UTC)
            for key in ("first_at", "seen_at", "wrong_since", "resumed_at")
        }
        first_at, seen_at = moments["first_at"], moments["seen_at"]
        if first_at is None or seen_at is None:
            raise ValueError("no moment")
        if any(each is not None and each.year >= LAST_YEAR for each in moments.values()):
            raise ValueError("no moment of this program")
        return Record(
            first_at,
            seen_at,
            bool(kept["held"]),
            moments["wrong_since"],
            bool(kept["paused"]),
            moments["resumed_at"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        log.warning("%s is damaged (%s): what it remembered begins anew", RECORD, type(error).__name__)
        return None


def _plain(record: Record) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(record).items()
    }
