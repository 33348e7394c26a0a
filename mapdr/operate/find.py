"""Where is this study? What came of it, from whom, and what became of it at each destination."""

from __future__ import annotations

from dataclasses import dataclass

from mapdr.kernel.item import Source, TagPath
from mapdr.store import Store
from mapdr.store.index.overview import Standing, StudyRow
from mapdr.store.index.selection import Selection


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study, whole: `sources` brought it; `destinations` tells by name how its images stand there.

    `tags` hold what identifies the patient.
    """

    study_instance_uid: str
    study_date: str
    first_at: float
    last_at: float
    images: int
    series: int
    modalities: dict[str, int]
    unrouted: int
    sources: list[Source]
    destinations: dict[str, list[Standing]]
    tags: dict[TagPath, str]


def find(store: Store, chosen: Selection) -> list[FoundStudy]:
    """The studies that hold what a selection chooses, the last received first; an empty list if none does."""
    overview = store.overview
    rows = overview.studies(chosen)
    numbers = [row.number for row in rows]
    sources = overview.sources(numbers)
    standings = overview.standings(numbers)
    return [_found(row, sources.get(row.number, []), standings.get(row.number, {})) for row in rows]


def _found(row: StudyRow, sources: list[Source], destinations: dict[str, list[Standing]]) -> FoundStudy:
    return FoundStudy(
        study_instance_uid=row.study_instance_uid,
        study_date=row.study_date,
        first_at=row.first_at,
        last_at=row.last_at,
        images=row.images,
        series=row.series,
        modalities=row.modalities,
        unrouted=row.unrouted,
        sources=sources,
        destinations=destinations,
        tags=row.tags,
    )
