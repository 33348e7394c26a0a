"""Studies: what came, from whom, and what became of it at each destination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mapdr.dicom.path import format_path
from mapdr.kernel.item import Source
from mapdr.operate import words
from mapdr.operate.access import Access
from mapdr.operate.destinations import standing
from mapdr.operate.selection import Selection
from mapdr.store.index.overview import Order, Standing, StudyRow

__all__ = ["Confirmed", "Order", "Standing", "Study", "confirmed", "studies", "troubles", "waits"]


@dataclass(frozen=True, slots=True)
class Study:
    """A study, whole; an image that came or was promised several times counts once.

    `sources` brought it; `destinations` tells by name how its images stand there; `bytes` is the size of its
    data sets as received. What identifies the patient is None unless it was asked for: `study_date`
    (YYYYMMDD), and `tags` by keyword.
    """

    study_instance_uid: str
    study_date: str | None
    first_at: float
    last_at: float
    images: int
    series: int
    bytes: int
    modalities: Mapping[str, int]
    unrouted: int
    sources: Sequence[Source]
    destinations: Mapping[str, Sequence[Standing]]
    tags: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """How many distinct images of a study a destination has confirmed, of how many that it was promised.

    `again` counts, by state, those of them that are promised once more. `level` is bad if some are parked,
    good if all are there and none is owed, else warn.
    """

    delivered: int
    promised: int
    parked: int
    dismissed: int
    again: Mapping[str, int]
    level: str


def confirmed(standings: Sequence[Standing]) -> Confirmed:
    """What a destination has of a study, by how its images stand there (`Study.destinations`)."""
    states: Counter[str] = Counter()
    again: Counter[str] = Counter()
    for one in standings:
        (again if one.again else states)[one.state] += one.images
    have, promised = states["delivered"], states.total()
    parked = states["parked"] + again["parked"]
    level = "bad" if parked else "good" if have == promised and not again else "warn"
    return Confirmed(have, promised, states["parked"], states["dismissed"], again, level)


def waits(standings: Sequence[Standing]) -> bool:
    """Whether images of a study wait to be sent to a destination."""
    return any(one.state == "pending" for one in standings)


def studies(
    opened: Access, chosen: Selection, *, identify: bool = False, order: Order = "newest"
) -> list[Study]:
    """The studies that hold what a selection chooses, the last received first unless another order is asked
    for; an empty list if none does.

    What identifies (`identify`) is shown once the audit has it. Raises MapdrError if there is no index,
    AuditError, and RequestError for a destination that there is not.
    """
    store = opened.index(chosen)
    if identify:
        opened.show_who("studies", chosen)
    overview = store.overview
    rows = overview.studies(chosen, order)
    sources = overview.sources([row.number for row in rows])
    return [_study(row, sources.get(row.number, []), identify) for row in rows]


def troubles(opened: Access, found: Sequence[Study]) -> dict[str, str]:
    """Why the destinations for which images of these studies wait take none, by name; those that do are left
    out."""
    waited_for = {
        name for study in found for name, standings in study.destinations.items() if waits(standings)
    }
    rows = standing(opened, waited_for) if waited_for else []
    said = {row.name: row.fault or (row.comment if row.state == "down" else "") for row in rows}
    return {name: text for name, text in said.items() if text}


def _study(row: StudyRow, sources: Sequence[Source], identify: bool) -> Study:
    return Study(
        study_instance_uid=row.study_instance_uid,
        study_date=row.study_date if identify else None,
        first_at=row.first_at,
        last_at=row.last_at,
        images=row.images,
        series=row.series,
        bytes=row.bytes,
        modalities={words.modality(name): images for name, images in row.modalities.items()},
        unrouted=row.unrouted,
        sources=sources,
        destinations=row.destinations,
        tags=by_keyword(row.tags) if identify else None,
    )


def by_keyword(tags: Mapping[tuple[int, ...], str]) -> dict[str, str]:
    """Values by their keywords instead of their paths."""
    return {format_path(path): value for path, value in sorted(tags.items())}
