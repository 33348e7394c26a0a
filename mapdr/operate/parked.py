"""What is parked, grouped by reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mapdr.operate.access import Access
from mapdr.operate.cures import cure
from mapdr.operate.errors import RequestError
from mapdr.operate.selection import Selection
from mapdr.store.index.overview import ParkedRow


@dataclass(frozen=True, slots=True)
class ParkedGroup:
    """Deliveries that are parked for one reason, in all and by destination; when the first and last was.

    `cure` says in a sentence what helps (`cures`).
    """

    reason: str
    cure: str
    deliveries: int
    to: Mapping[str, int]
    first_at: float | None
    last_at: float | None


def parked(opened: Access, chosen: Selection | None = None) -> list[ParkedGroup]:
    """The chosen deliveries that are parked (without a selection all), by reason; the most first.

    Raises MapdrError if there is no index, RequestError for any other state and for a destination that there
    is not.
    """
    chosen = chosen or Selection()
    if chosen.state not in ("", "parked"):
        raise RequestError("only parked deliveries have a reason to group by", field="state")
    groups: dict[str, list[ParkedRow]] = {}
    for row in opened.index(chosen).overview.parked(chosen):
        groups.setdefault(row.reason, []).append(row)
    found = [_group(reason, rows) for reason, rows in groups.items()]
    return sorted(found, key=lambda group: (-group.deliveries, group.reason))


def _group(reason: str, rows: list[ParkedRow]) -> ParkedGroup:
    first = [row.first_at for row in rows if row.first_at is not None]
    last = [row.last_at for row in rows if row.last_at is not None]
    return ParkedGroup(
        reason=reason,
        cure=cure(reason),
        deliveries=sum(row.number for row in rows),
        to={row.destination: row.number for row in rows},
        first_at=min(first, default=None),
        last_at=max(last, default=None),
    )
