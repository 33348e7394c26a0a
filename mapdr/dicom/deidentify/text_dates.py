"""Dates that free text mentions: found by pattern, and moved as the dates of the data set are.

What could be read in more than one way (01/02/2026, 31.01.26) is taken out, not guessed.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from mapdr.dicom.dates import Move

_MONTHS = (
    "jan january januar januari janvier enero ene gennaio janeiro",
    "feb february februar februari fevrier f\u00e9vrier febrero febbraio fevereiro fev",
    "mar march mrz m\u00e4r m\u00e4rz maerz maart mars marzo mar\u00e7o",
    "apr april avril abril abr aprile",
    "may mai mei mayo maggio maio",
    "jun june juni juin junio giugno junho",
    "jul july juli juillet julio luglio julho",
    "aug august augustus ao\u00fbt aout agosto ago",
    "sep sept september septembre septiembre setiembre settembre setembro",
    "oct october okt oktober octobre octubre ottobre outubro",
    "nov november novembre noviembre novembro",
    "dec december dez dezember d\u00e9c d\u00e9cembre decembre diciembre dic dicembre dezembro",
)
"""Names of months in English, German, French, Dutch, Spanish, Italian and Portuguese."""
_NUMBERS = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
_LETTER = r"[^\W\d_]"
_NAMES = "|".join(sorted(_NUMBERS, key=len, reverse=True))
_MONTH = rf"(?<!{_LETTER})(?:{_NAMES})(?!{_LETTER})\.?"
_YEAR = "(?:18|19|20)[0-9]{2}"
_DAY = "[0-9]{1,2}"
_TWO_MONTH, _TWO_DAY = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"
_ORDINAL = "(?:st|nd|rd|th)?"
_GAP = "[-., _/]{0,2}"
_OF = "(?:of |de |del )?"
_BEGINS, _ENDS = "(?<![0-9])", "(?![0-9])"

_FORMS = re.compile(
    "|".join(
        _BEGINS + form + _ENDS
        for form in (
            # 20260131, perhaps with the hours, minutes and seconds behind it
            f"(?P<compact>{_YEAR}{_TWO_MONTH}{_TWO_DAY})(?P<time>(?:(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){{0,2}})?)",
            # 2026-01-31
            f"(?P<y1>{_YEAR})(?P<s1>[-/._: ])(?P<m1>{_DAY})(?P=s1)(?P<d1>{_DAY})",
            # 31.01.2026, 31. 1. 2026, 01/31/2026
            rf"(?P<a2>{_DAY})(?P<s2>[-/_ ]|\. ?)(?P<b2>{_DAY})(?P=s2)(?P<y2>{_YEAR})",
            # 31 Jan 2026, 31. Januar 2026, 31JAN2026
            f"(?P<d3>{_DAY}){_ORDINAL}{_GAP}{_OF}(?P<m3>{_MONTH}){_GAP}{_OF}(?P<y3>{_YEAR})",
            # Jan 31, 2026
            f"(?P<m4>{_MONTH}){_GAP}(?P<d4>{_DAY}){_ORDINAL}[-., _/]{{1,2}}(?P<y4>{_YEAR})",
            # 2026-Jan-31
            f"(?P<y5>{_YEAR}){_GAP}(?P<m5>{_MONTH}){_GAP}(?P<d5>{_DAY})",
            # 2026\u5e741\u670831\u65e5 and 2026\ub144 1\uc6d4 31\uc77c, or without the day
            f"(?P<y9>{_YEAR}) ?[\u5e74\ub144] ?(?P<m9>{_DAY}) ?[\u6708\uc6d4]"
            f"(?: ?(?P<d9>{_DAY}) ?[\u65e5\uc77c])?",
            # A month of a year: Jan 2026, 01/2026, 2026-01
            f"{_MONTH}{_GAP}{_OF}(?P<y6>{_YEAR})",
            f"{_TWO_MONTH}[-/.](?P<y7>{_YEAR})",
            f"(?P<y8>{_YEAR})[-/]{_TWO_MONTH}",
            # A year of two digits: 31.01.26, 1/31/26, 31 Jan 26
            # or of an era: \u4ee4\u548c8\u5e741\u670831\u65e5
            f"(?P<short>{_DAY} ?\u5e74 ?{_DAY} ?\u6708(?: ?{_DAY} ?\u65e5)?"
            rf"|(?<![0-9]\.){_TWO_DAY}(?P<s9>[-.]){_TWO_DAY}(?P=s9)[0-9]{{2}}(?!\.[0-9])"
            f"|{_DAY}/{_DAY}/[0-9]{{2}}|{_DAY}{_GAP}{_MONTH}{_GAP}[0-9]{{2}})",
        )
    ),
    re.IGNORECASE,
)


_DASHES = dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFF0D), "-")
_SPACES = dict.fromkeys((0xA0, *range(0x2000, 0x200B), 0x202F, 0x3000), " ")
_OTHERS = {**_DASHES, **_SPACES, 0xFF0E: ".", 0xFF0F: "/", 0xFF1A: ":"}


def _plain(text: str) -> str:
    """The text with the digits, dashes and spaces of ASCII in place of other scripts' and typography's."""
    if text.isascii():
        return text
    digits = {ord(each): str(unicodedata.decimal(each)) for each in set(text) if each.isdecimal()}
    return text.translate({**_OTHERS, **digits})


def cleaned(text: str, move: Move, *, year_only: bool = False) -> str:
    """The text with its dates moved: 20260131 in this form, all others as 2026-01-31.

    Taken out is what names no day (Jan 2026), no year in full, no day of the calendar, or may be one of two:
    of a day and a month between slashes or dashes that are both below 13. Between dots the day goes first.
    With `year_only` the year stands for the date, and for what is taken out where it says one.
    """
    plain = _plain(text)
    new = _FORMS.sub(lambda found: _new(found, move, year_only), plain)
    return text if new == plain else new


def _new(found: re.Match[str], move: Move, year_only: bool) -> str:
    if compact := found["compact"]:
        day = _moved(int(compact[:4]), int(compact[4:6]), int(compact[6:]), move)
        return f"{day.year:04d}{day.month:02d}{day.day:02d}{found['time']}" if day else ""
    if found["short"]:
        return ""
    form = next(number for number in "123456789" if found[f"y{number}"])
    year = int(found[f"y{form}"])
    if form in "123459" and not _is_plausible(found, form):
        return found[0]
    if year_only:
        return f"{year:04d}"
    if form in "678" or (form == "9" and not found["d9"]):
        return ""
    one = _read(found, form)
    day = _moved(year, *one, move) if one else None
    return f"{day.year:04d}-{day.month:02d}-{day.day:02d}" if day else ""


def _moved(year: int, month: int, day: int, move: Move) -> date | None:
    try:
        return move(date(year, month, day))
    except (ValueError, OverflowError):
        return None


def _is_plausible(found: re.Match[str], form: str) -> bool:
    """Whether its numbers can be those of a day and a month, in whatever order."""
    if form == "9":
        return 1 <= int(found["m9"]) <= 12 and int(found["d9"] or 1) <= 31
    if form not in "12":
        return 1 <= int(found[f"d{form}"]) <= 31
    names = ("m1", "d1") if form == "1" else ("a2", "b2")
    low, high = sorted(int(found[name]) for name in names)
    return 1 <= low <= 12 and high <= 31


def _read(found: re.Match[str], form: str) -> tuple[int, int] | None:
    """Month and day; None for what may be read in two ways."""
    if form in "19":
        return int(found[f"m{form}"]), int(found[f"d{form}"])
    if form != "2":
        return _NUMBERS[found[f"m{form}"].rstrip(".").lower()], int(found[f"d{form}"])
    first, second = int(found["a2"]), int(found["b2"])
    if found["s2"].startswith(".") or first == second:
        return (second, first) if second <= 12 else (first, second)
    if first > 12:
        return second, first
    return (first, second) if second > 12 else None
