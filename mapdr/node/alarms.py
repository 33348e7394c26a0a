"""What holds at a node now: looked at once a second, and told by `mapdr.notify.alarms`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mapdr.kernel.alarm import CERTIFICATE, DESTINATION, DISK, EXPIRING, LICENSE, SILENCE, Alarm, Fact
from mapdr.kernel.certificate import WARN_BEFORE
from mapdr.kernel.status import from_facts, protocol
from mapdr.license import told as licenses
from mapdr.node.certificates import ending_soon
from mapdr.node.plan import Plan
from mapdr.notify import silence
from mapdr.notify.alarms import Alarms
from mapdr.store import Store
from mapdr.store.spool.room import DiskFigures, DiskStep

SOURCES = 10.0
"""Seconds between looks at who has sent."""

LAST_DAYS = (0, 1, 7)
"""Days before its end at which a certificate is told of once more."""


class NodeAlarms:
    """Looks at one node. `silent` are the facts of the sources that are silent (`kernel.alarm.SILENCE`)."""

    def __init__(self, alarms: Alarms, store: Store) -> None:
        self.silent: list[Mapping[str, Fact]] = []
        self._alarms = alarms
        self._store = store
        self._sources_due = 0.0

    def look(self, plan: Plan, counters: Mapping[str, Any], now: float) -> None:
        """Tell what began and what ended, by the plan that runs and its sign of life (`Node.counters`).

        Raises what the index does; then it is told with the next look. The disk comes last: OSError, if it
        cannot be asked, keeps nothing else from being told.
        """
        self._destinations(plan, counters.get("destinations", {}), now)
        self._certificates(counters, now)
        self._license(counters.get("license", {}), now)
        if not 0.0 <= self._sources_due - now <= SOURCES:  # a clock that was set is no reason to wait
            self._sources(plan, now)
            self._sources_due = now + SOURCES
        self._disk(self._store.look_at_the_disk(), now)

    def tell_expiring(self, images: int, purge_at: float, now: float) -> None:
        """So many unrouted images will be purged, the first at `purge_at`; told once an hour at most."""
        if not images:
            self._alarms.end(EXPIRING, "", now)
            return
        facts: dict[str, Fact] = {"images": images, "purge_at": _iso(purge_at)}
        self._alarms.begin(Alarm(EXPIRING, "", facts, str(int(now // 3600))), now)

    def _destinations(self, plan: Plan, told: Mapping[str, Mapping[str, Any]], now: float) -> None:
        for name, facts in told.items():
            if facts["state"] == "open":
                status = from_facts(facts)
                alarm = Alarm(
                    DESTINATION,
                    name,
                    {
                        "destination": name,
                        "reason": facts["reason"],
                        "status": None if status is None else int(status),
                        "status_protocol": protocol(status),
                        # With a status the comment is the receiver's, and may quote a value of the image.
                        "comment": facts["comment"] if status is None else "",
                    },
                )
                self._alarms.begin(alarm, now)
            elif facts["state"] == "closed" and facts["tried"]:
                # Until somebody has spoken to it since the start, nobody knows whether it is back.
                self._alarms.end(DESTINATION, name, now, destination=name)
        for name in self._alarms.holding(DESTINATION):
            if name not in plan.destinations:
                self._alarms.forget(DESTINATION, name, now)

    def _certificates(self, counters: Mapping[str, Any], now: float) -> None:
        seen = set()
        for stage, one in ending_soon(counters, now):
            days = one.days_left(now)
            level = next((str(each) for each in LAST_DAYS if days <= each), "")
            facts: dict[str, Fact] = {
                "stage": stage,
                "whose": one.whose,
                "name": one.name,
                "fingerprint": one.fingerprint,
                "days": round(days, 1),
                "expires_at": _iso(one.expires_at),
            }
            seen.add(subject := f"{stage} {one.fingerprint}")
            self._alarms.begin(Alarm(CERTIFICATE, subject, facts, level), now)
        for subject, raised in self._alarms.holding(CERTIFICATE).items():
            # Not as soon as it is not seen: after a start those of peers are not, until they are shown again.
            ended = datetime.fromisoformat(str(raised.facts["expires_at"])).timestamp()
            if subject not in seen and ended < now - WARN_BEFORE:
                self._alarms.forget(CERTIFICATE, subject, now)

    def _license(self, told: Mapping[str, Any], now: float) -> None:
        if not licenses.needs_attention(told, now):
            self._alarms.end(LICENSE, "", now)
            return
        until = told["until"]
        days = None if until is None else max(0.0, (until - now) / licenses.DAY)
        last = next((each for each in licenses.LAST_DAYS if days is not None and days <= each), "")
        level = told["kind"] if told["kind"] == "over" else f"{told['kind']} {last}"
        facts: dict[str, Fact] = {
            "standing": told["kind"],
            "reason": told["reason"],
            "until": None if until is None else _iso(until),
        }
        self._alarms.begin(Alarm(LICENSE, "", facts, level), now)

    def _disk(self, figures: DiskFigures, now: float) -> None:
        free, share = figures.free, round(figures.share, 4)
        if figures.step is DiskStep.ENOUGH:
            self._alarms.end(DISK, "", now, free=free, share=share)
            return
        step = figures.step.word
        self._alarms.begin(Alarm(DISK, "", {"step": step, "free": free, "share": share}, step), now)

    def _sources(self, plan: Plan, now: float) -> None:
        configs = {name: planned.config for name, planned in plan.receivers.items()}
        watched = set()
        for one in silence.look(configs, self._store.arrivals.all(), now, self._store.arrivals.resumed_at()):
            watched.add(one.alarm.subject)
            if one.silent:
                self._alarms.begin(one.alarm, now)
            elif one.back:
                facts = {key: one.alarm.facts[key] for key in ("receiver", "peer", "address")}
                self._alarms.end(SILENCE, one.alarm.subject, now, **facts)
        for subject in self._alarms.holding(SILENCE):
            if subject not in watched:
                self._alarms.forget(SILENCE, subject, now)
        self.silent = [raised.facts for raised in self._alarms.holding(SILENCE).values()]


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
