"""Which sources are silent: the missing-modality alarm.

A source is a receiver and the name of a peer there, as counts have it (`Source.peer`), a certificate without
its fingerprint: addresses and certificates change. One that has never sent is not known, and not silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from mapdr.kernel.alarm import SILENCE, Alarm, Fact
from mapdr.kernel.item import Source
from mapdr.net.hours import Hours
from mapdr.net.silence import NEVER, WatchesSilence


@dataclass(frozen=True, slots=True)
class Sending:
    """What is known of a source that is watched: its alarm, should it be silent.

    `silent`: it is. `back`: it has sent lately. A source may be neither: it sent nothing lately, and the
    node has not been there for long enough to say that it is silent.
    """

    alarm: Alarm
    silent: bool
    back: bool


def name_of(source: Source) -> str:
    """The peer's name, the same for each of its certificates."""
    return source.peer.partition(" sha256:")[0]


def look(
    receivers: Mapping[str, object],
    arrivals: Iterable[tuple[Source, float]],
    now: float,
    resumed_at: float = 0.0,
) -> Iterator[Sending]:
    """Every source that is watched by `receivers`, the configurations by name.

    `arrivals` has the time of each source's last image, `resumed_at` is since when the node takes images.
    """
    last: dict[tuple[str, str], tuple[float, str]] = {}
    for source, at in arrivals:
        key = (source.receiver, name_of(source))
        last[key] = max(last.get(key, (at, source.address)), (at, source.address))
    for (receiver, peer), (at, address) in sorted(last.items()):
        config = receivers.get(receiver)
        if not isinstance(config, WatchesSilence):
            continue
        after, hours = config.silence(peer)
        if after == NEVER:
            continue
        facts: dict[str, Fact] = {
            "receiver": receiver,
            "peer": peer,
            "address": address,
            "last_at": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
            "seconds": round(max(0.0, now - at), 1),
        }
        yield Sending(
            Alarm(SILENCE, f"{receiver} {peer}", facts),
            silent=_is_over(hours, max(at, resumed_at), after, now),
            back=not _is_over(hours, at, after, now),
        )


def _is_over(hours: Hours | None, begin: float, seconds: float, now: float) -> bool:
    """Whether `seconds` of these hours have passed since `begin`."""
    if now - begin < seconds:  # so it is of nearly every source
        return False
    return hours is None or _passed_at(hours, begin, seconds) <= now


@lru_cache(maxsize=4096)
def _passed_at(hours: Hours, begin: float, seconds: float) -> float:
    return hours.after(begin, seconds)
