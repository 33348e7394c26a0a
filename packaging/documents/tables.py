"""Pieces of Markdown: tables, and numbers as the configuration writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mapdr.config.units import BYTES, BYTES_PER_SECOND, SECONDS

_DURATIONS = ("week", "days", "h", "min", "s", "ms")
_SIZES = ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB", "B")
_RATES = ("Gbit/s", "Mbit/s", "kbit/s", "bit/s")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown. A bar in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(_line(cells) for cells in lines) + "\n"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def duration(seconds: float) -> str:
    """Seconds in the largest unit that needs no fraction: "30 s", "5 min", "7 days"."""
    return _in_units(seconds, {unit: SECONDS[unit] for unit in _DURATIONS[1:]}, "s")


def size(count: float) -> str:
    """Bytes likewise: "1 GB", "256 KiB"."""
    return _in_units(count, {unit: BYTES[unit] for unit in _SIZES}, "B")


def bandwidth(rate: float) -> str:
    """Bytes per second as bits per second: "20 Mbit/s"."""
    return _in_units(rate, {unit: BYTES_PER_SECOND[unit] for unit in _RATES}, "bit/s")


def _in_units(number: float, units: dict[str, float], least: str) -> str:
    """Raises ValueError for a number that no unit expresses whole."""
    if not number:
        return f"0 {least}"
    for unit, one in units.items():
        if number >= one and not round(number / one, 9) % 1:
            return f"{number / one:.0f} {unit}"
    raise ValueError(f"{number} is no whole number of any of {', '.join(units)}")
