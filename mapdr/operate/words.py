"""Numbers and statuses as an operator reads them, and foreign text made harmless for a terminal."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

from mapdr.kernel.status import code, is_http
from mapdr.wire.status import meaning

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
"""As a configuration writes them, whatever the system's language."""

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def count(number: float | None) -> str:
    """1204 is "1,204"; None is a dash."""
    return "-" if number is None else f"{int(number):,}"


def many(number: int, one: str, more: str = "") -> str:
    """1 image, 2 images; 1 study, 2 studies with `more` given."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units: 12 s, 3 min, 2 h 14 min, 3 days."""
    if seconds is None:
        return "-"
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


def lasted(seconds: float | None) -> str:
    """A length of time that was measured: as `duration`, but 2.1 s."""
    return f"{seconds:.1f} s" if seconds is not None and 0.95 <= seconds < 9.95 else duration(seconds)


def answer(status: int) -> str:
    """What a receiver's final status means, with its code: of DIMSE, or of HTTP."""
    if not is_http(status):
        return meaning(status)
    phrase = next(
        (each.phrase.lower() for each in HTTPStatus if each == status), "a status that is not registered"
    )
    return f"{phrase} ({code(status)})"


def size(octets: float | None) -> str:
    """Bytes in decimal units with two or three digits: 840 B, 1.2 MB, 182 GB."""
    if octets is None:
        return "-"
    value = float(octets)
    for unit in UNITS:
        if value < 999.5 or unit == UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"


def rate(per_second: float | None) -> str:
    """Images per second: 0, 0.4, 23, 1,200."""
    if per_second is None:
        return "-"
    return f"{per_second:.1f}" if 0 < per_second < 9.95 else f"{per_second:,.0f}"


def clock(moment: float | None) -> str:
    """Seconds since the epoch as local wall time."""
    return "-" if moment is None else f"{datetime.fromtimestamp(moment):%H:%M:%S}"


def day_and_clock(moment: float | None) -> str:
    """Seconds since the epoch as local date and wall time."""
    return "-" if moment is None else f"{datetime.fromtimestamp(moment):%Y-%m-%d %H:%M:%S}"


def weekday_and_clock(moment: float) -> str:
    """Seconds since the epoch as local day of the week and wall time, "Mon 18:00"."""
    local = datetime.fromtimestamp(moment)
    return f"{WEEKDAYS[local.weekday()]} {local:%H:%M}"


def short_clock(moment: float | None, now: float) -> str:
    """Wall time of what happened today, else the date."""
    if moment is None:
        return "-"
    return clock(moment) if date(moment) == date(now) else date(moment)


def middle(text: str, width: int) -> str:
    """A name in at most `width` characters: its two ends tell it from others, so the middle goes."""
    if len(text) <= width:
        return text
    left = (width - 2 + 1) // 2
    return f"{text[:left]}..{text[len(text) - (width - 2 - left) :]}"


def cut(text: str, width: int) -> str:
    """The beginning of a text, at most `width` characters, marked where it ends early."""
    return text if len(text) <= width else f"{text[: width - 2].rstrip()}.."


def modality(name: str | None) -> str:
    """A modality for the eye, and as the key of counts; an image without one has one too."""
    return plain(name or "") or "(none)"


def plain(text: object) -> str:
    """Text from elsewhere without control characters, which would drive the operator's terminal."""
    return "".join(character if character.isprintable() else "?" for character in str(text))


def date(moment: float) -> str:
    """Seconds since the epoch as local date, YYYY-MM-DD: the day under which images are counted."""
    return f"{datetime.fromtimestamp(moment):%Y-%m-%d}"
