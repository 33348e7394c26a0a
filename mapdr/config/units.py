"""Values with units, as people write them: "30 s", "10 GB", "20 Mbit/s", and files beside the configuration.

Use them as field types of a stage's configuration; the field then holds plain numbers:

* `Duration`: float seconds. "500 ms", "30 s", "5 min", "2 h", "7 days", "1 week".
* `Size`: int bytes. "512 kB", "10 GB" (powers of 1000), "64 KiB", "2 GiB" (powers of 1024).
* `Bandwidth`: float bytes per second. "20 Mbit/s", "2.5 MB/s".
* `LocalPath`: a Path; a relative one is taken from the folder of the configuration file.

Code may give plain numbers (seconds, bytes, bytes per second); in a file a number without its unit is an
error, because 7 could mean days or seconds. The validation context `{"base": folder}` says that a file
is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

SECONDS: dict[str, float] = {
    "ms": 0.001,
    "s": 1,
    "sec": 1,
    "second": 1,
    "seconds": 1,
    "min": 60,
    "minute": 60,
    "minutes": 60,
    "h": 3600,
    "hour": 3600,
    "hours": 3600,
    "d": 86400,
    "day": 86400,
    "days": 86400,
    "week": 604800,
    "weeks": 604800,
}
BYTES: dict[str, float] = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
BYTES_PER_SECOND: dict[str, float] = {
    "bit/s": 1 / 8,
    "kbit/s": 1000 / 8,
    "Mbit/s": 1000**2 / 8,
    "Gbit/s": 1000**3 / 8,
    **{f"{unit}/s": size for unit, size in BYTES.items()},
}

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z/]*)")


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError with the cure."""
    return _quantity(text, SECONDS, "a duration", '"30 s", "5 min", "2 h" or "7 days"')


def parse_size(text: str) -> int:
    """Bytes. Raises ValueError with the cure."""
    return int(_quantity(text, BYTES, "a size", '"512 kB", "10 GB" or "2 GiB"'))


def parse_bandwidth(text: str) -> float:
    """Bytes per second. Raises ValueError with the cure."""
    return _quantity(text, BYTES_PER_SECOND, "a bandwidth", '"20 Mbit/s" or "2.5 MB/s"')


def _quantity(text: str, units: Mapping[str, float], noun: str, examples: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or len(text) > 32:
        raise ValueError(f"is not {noun}; write {examples}")
    number, unit = match.groups()
    if not unit:
        raise ValueError(f"has no unit; write {examples}")
    if unit not in units:
        raise ValueError(f'has an unknown unit "{unit}"; write {examples}')
    return float(number) * units[unit]


def _number(value: Any, info: ValidationInfo, noun: str, examples: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"is not {noun}; write {examples}")
    if info.context is not None and value != 0:
        raise ValueError(f"has no unit; write {examples}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"is not {noun}; write {examples}")
    return value


def _duration(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        return parse_duration(value)
    return _number(value, info, "a duration", '"30 s", "5 min", "2 h" or "7 days"')


def _size(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        return parse_size(value)
    return _number(value, info, "a size", '"512 kB", "10 GB" or "2 GiB"')


def _bandwidth(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        return parse_bandwidth(value)
    return _number(value, info, "a bandwidth", '"20 Mbit/s" or "2.5 MB/s"')


def base_folder(info: ValidationInfo) -> Path:
    """The folder that relative paths start from: the configuration file's, or the current one."""
    return Path((info.context or {}).get("base", "."))


def _local(path: Path, info: ValidationInfo) -> Path:
    if any(character < " " for character in str(path)):
        # "C:\new" is valid TOML, with a line break in it.
        raise ValueError("holds a control character; write paths with / or in single quotes: 'C:\\mapdr'")
    return base_folder(info) / path.expanduser()


Duration = Annotated[float, BeforeValidator(_duration)]
Size = Annotated[int, BeforeValidator(_size)]
Bandwidth = Annotated[float, BeforeValidator(_bandwidth)]
LocalPath = Annotated[Path, AfterValidator(_local)]
