"""Counts by day and by month: what came, and what reached whom."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from mapdr.operate.access import Access
from mapdr.operate.model import Counted, Counts


def counts(opened: Access, first: date, last: date) -> Counts:
    """The counts of local days, both included, added up: images, and studies by their first image."""
    store = opened.index()
    received: dict[str, Counted] = {}
    delivered: dict[str, dict[str, Counted]] = {}
    for number in range((last - first).days + 1):
        day = store.counts.day(f"{first + timedelta(days=number):%Y-%m-%d}")
        _add(received, day["received"])
        for name, numbers in day["delivered"].items():
            _add(delivered.setdefault(name, {}), numbers)
    return Counts(received, delivered)


def counts_of_month(opened: Access, year: int, month: int) -> Counts:
    """The counts of a month."""
    return counts(opened, date(year, month, 1), date(year, month, monthrange(year, month)[1]))


def _add(sums: dict[str, Counted], day: Mapping[str, Mapping[str, Any]]) -> None:
    for modality, numbers in day.items():
        known = sums.get(modality, Counted(0, 0))
        sums[modality] = Counted(known.images + numbers["images"], known.studies + numbers["studies"])
