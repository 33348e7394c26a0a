"""What holds at a node now: looked at once a second, and told by `mapdr.notify.alarms`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mapdr.kernel.alarm import CERTIFICATE, DESTINATION, DISK, SILENCE, Alarm, Fact
from mapdr.kernel.certificate import WARN_BEFORE
from mapdr.node.certificates import ending_soon
from mapdr.node.plan import Plan
from mapdr.notify import silence
from mapdr.notify.alarms import Alarms
from mapdr.store.index.arrivals import LastArrivals

SOURCES = 10.0
"""Seconds between looks at who has sent."""

ENOUGH, LOW, FULL = "enough", "low", "full"
"""Steps of the disk: nothing is done, it is said, images are refused."""

LEAVES = 1.1
"""A step of the disk is left when so many times its threshold are free: it does not flap."""

LAST_DAYS = (0, 1, 7)
"""Days before its end at which a certificate is told of once more."""


class NodeAlarms:
    """Looks at one node. `silent` are the facts of the sources that are silent (`kernel.alarm.SILENCE`)."""

    def __init__(self, alarms: Alarms, arrivals: LastArrivals) -> None:
        self.silent: list[Mapping[str, Fact]] = []
        self._alarms = alarms
        self._arrivals = arrivals
        self._sources_due = 0.0

    def look(self, plan: Plan, counters: Mapping[str, Any], now: float) -> None:
        """Tell what began and what ended, by the plan that runs and its sign of life (`Node.counters`).

        Raises what the index does; then it is told with the next look.
        """
        self._destinations(plan, counters.get("destinations", {}), now)
        self._certificates(counters, now)
        self._disk(plan.node.data, plan.node.min_free, now)
        if not 0.0 <= self._sources_due - now <= SOURCES:  # a clock that was set is no reason to wait
            self._sources(plan, now)
            self._sources_due = now + SOURCES

    def tell_disk(self, step: str, free: int, total: int, now: float) -> bool:
        """What is done about the disk is `step` now ("enough": nothing); whether that was told."""
        share = round(free / total, 4) if total else 0.0
        if step == ENOUGH:
            return self._alarms.end(DISK, "", now, free=free, share=share)
        return self._alarms.begin(Alarm(DISK, "", {"step": step, "free": free, "share": share}, step), now)

    def _destinations(self, plan: Plan, told: Mapping[str, Mapping[str, Any]], now: float) -> None:
        for name, facts in told.items():
            if facts["state"] == "open":
                status = facts["status"]
                alarm = Alarm(
                    DESTINATION,
                    name,
                    {
                        "destination": name,
                        "reason": facts["reason"],
                        "status": status,
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
                "expires_at": datetime.fromtimestamp(one.expires_at, UTC).isoformat(timespec="seconds"),
            }
            seen.add(subject := f"{stage} {one.fingerprint}")
            self._alarms.begin(Alarm(CERTIFICATE, subject, facts, level), now)
        for subject, raised in self._alarms.holding(CERTIFICATE).items():
            # Not as soon as it is not seen: after a start those of peers are not, until they are shown again.
            ended = datetime.fromisoformat(str(raised.facts["expires_at"])).timestamp()
            if subject not in seen and ended < now - WARN_BEFORE:
                self._alarms.forget(CERTIFICATE, subject, now)

    def _disk(self, data: Path, min_free: int, now: float) -> None:
        usage = shutil.disk_usage(data)
        held = self._alarms.holding(DISK).get("")
        before = ENOUGH if held is None else held.level
        self.tell_disk(disk_step(before, usage.free, min_free), usage.free, usage.total, now)

    def _sources(self, plan: Plan, now: float) -> None:
        configs = {name: planned.config for name, planned in plan.receivers.items()}
        watched = set()
        for one in silence.look(configs, self._arrivals.all(), now, self._arrivals.resumed_at()):
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


def disk_step(before: str, free: int, min_free: int) -> str:
    """The step after `before` with so many bytes free."""
    step = FULL if free < min_free else LOW if free < 2 * min_free else ENOUGH
    if before == FULL and free < LEAVES * min_free:
        return FULL
    if before != ENOUGH and step == ENOUGH and free < LEAVES * 2 * min_free:
        return LOW
    return step
