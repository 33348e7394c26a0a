"""Who sends: the last image and the images of today of each source, and who is not let in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mapdr.kernel.item import Source
from mapdr.operate.access import Access

BY_SEND = Source(receiver="send", calling_ae="", called_ae="", address="", protocol="file")
"""What `mapdr send` puts into the store: no peer has brought it."""


@dataclass(frozen=True, slots=True)
class SeenSource:
    """A source; `last_at` is None for one that sent nothing, times are seconds since the epoch.

    `rejected` counts its rejected associations since the node started, `cause` and `cure` are those of the
    last.
    """

    source: Source
    last_at: float | None = None
    today: int = 0
    rejected: int = 0
    rejected_at: float | None = None
    cause: str = ""
    cure: str = ""


def sources(opened: Access) -> list[SeenSource]:
    """Every source that ever sent, the last one first, then those that were only rejected.

    Raises MapdrError if there is no index.
    """
    store, beat = opened.index(), opened.asked()
    receivers: Mapping[str, Any] = beat.counters.get("receivers", {}) if beat else {}
    protocols = {name: planned.type for name, planned in opened.plan.receivers.items()}
    midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    today = store.overview.received_since(midnight)
    last = sorted(store.arrivals.all(), key=lambda one: -one[1])
    seen = {source: SeenSource(source, at, today.get(source, 0)) for source, at in last}
    for name, told in receivers.items():
        for one in told.get("rejected", ()):
            titles = str(one["calling_ae"]), str(one["called_ae"])
            peer = Source(name, *titles, str(one["address"]), protocols.get(name, ""))
            source = _same(seen, peer, str(one.get("credential", "")))
            seen[source] = _rejected(seen.get(source, SeenSource(source)), one)
    return list(seen.values())


def _same(seen: Iterable[Source], peer: Source, credential: str) -> Source:
    """The source that a rejected peer is: by its credential, or by all else where none is told.

    One that has told no name either is nobody who has sent something: an address may be that of many.
    """
    if not credential and peer.calling_ae:
        for source in seen:
            if replace(source, credential="") == peer:
                return source
    return replace(peer, credential=credential)


def _rejected(known: SeenSource, told: Mapping[str, Any]) -> SeenSource:
    """With the rejections of one more cause: all are counted, and the latest says why."""
    times, last_at = known.rejected + int(told["times"]), float(told["last_at"])
    if known.rejected_at is not None and known.rejected_at >= last_at:
        return replace(known, rejected=times)
    cause, cure = str(told["cause"]), str(told["cure"])
    return replace(known, rejected=times, rejected_at=last_at, cause=cause, cure=cure)
