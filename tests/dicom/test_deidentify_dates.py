"""Dates of a patient: moved or reduced to their year, also those that text mentions; ages with a limit."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mapdr.dicom.dates import by_days, moved, to_year
from mapdr.dicom.deidentify import changed
from mapdr.dicom.deidentify.header import Deidentifier
from mapdr.dicom.deidentify.keys import MAX_DAYS
from mapdr.dicom.deidentify.table import Option
from mapdr.dicom.deidentify.text_dates import cleaned
from mapdr.dicom.write import element

from .test_deidentify import (
    EXPLICIT,
    KEY,
    SR,
    Generated,
    code,
    content,
    deidentifier,
    done,
    parsed,
    subject,
    written,
)

DAYS = KEY.days("PID-77")
MODIFIED = ("modified-dates", "clean-descriptors")


def reduced(data: Dataset, *options: str, **settings: Any) -> Dataset:
    step = Deidentifier([Option(each) for each in options], KEY, Generated(), "MAPDR test", **settings)
    return parsed(step.apply(written(data), None, EXPLICIT))


# --- DA and DT


@given(st.dates(min_value=date(1900, 1, 1)), st.integers(-MAX_DAYS, -1))
def test_dates_move_by_days_and_keep_time_and_zone(day: date, days: int) -> None:
    new = (day + timedelta(days=days)).strftime("%Y%m%d").zfill(8)
    raw, move = day.strftime("%Y%m%d").zfill(8), by_days(days)
    assert moved(raw, "DA", move) == new
    assert moved(raw + "235959.25-0330", "DT", move) == new + "235959.25-0330"
    assert changed.dates(f"{raw}\\{raw} ".encode(), "DA", move) == f"{new}\\{new}".encode()
    year = f"{day.year:04d}"
    assert moved(raw, "DA", to_year) == f"{year}0101"
    assert moved(raw + "235959.25-0330", "DT", to_year) == f"{year}0101235959.25-0330"


@pytest.mark.parametrize(
    "raw", ["2024-01-02", "20241301", "1", "00000000", "20240101-20240201", "2024022912"]
)
def test_what_is_no_date_is_not_moved(raw: str) -> None:
    assert moved(raw, "DA", by_days(-1)) is None
    assert changed.dates(raw.encode(), "DA", by_days(-1)) is None
    assert moved("202412", "DT", by_days(-40)) == "202410"
    assert moved("202412", "DT", to_year) == "202401"
    assert moved("2024-0330", "DT", to_year) == "2024-0330"
    assert moved("2024.03.01", "DA", by_days(-1)) == "20240229"
    assert moved("00010101", "DA", by_days(-1)) is None


def test_modified_dates_keep_intervals_over_studies() -> None:
    first, second = subject(), subject(StudyDate="20250101", StudyInstanceUID="1.9")
    a, b = (done(each, "modified-dates") for each in (first, second))
    assert a.StudyDate == (date(2024, 2, 29) + timedelta(days=DAYS)).strftime("%Y%m%d")
    assert b.StudyDate == (date(2025, 1, 1) + timedelta(days=DAYS)).strftime("%Y%m%d")
    assert a.StudyTime == "235959"
    assert a.PatientBirthDate == ""
    broken = written(subject()).replace(b"20240229", b"2024-2-2")
    assert parsed(deidentifier("modified-dates").apply(broken, None, EXPLICIT)).StudyDate == ""


def test_dates_are_reduced_to_their_year() -> None:
    begun = content("DATETIME", code("111526", "DateTime Started"), DateTime="20240229101112")
    data = subject(
        SOPClassUID=SR,
        Modality="SR",
        AcquisitionDateTime="20231231235959.5+0100",
        TimezoneOffsetFromUTC="+0100",
        ContentSequence=Sequence([begun]),
    )
    found = reduced(data, "modified-dates", "clean-structured-content", year_only=True)
    assert (found.StudyDate, found.SeriesDate, found.StudyTime) == ("20240101", "20240101", "235959")
    assert found.AcquisitionDateTime == "20230101235959.5+0100"
    assert found.ContentSequence[0].DateTime == "20240101101112"
    assert found.PatientBirthDate == ""
    assert found.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [each.CodeValue for each in found.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113104", "113107"]


# --- Dates that a text mentions

FORMS = [
    "{0:%Y-%m-%d}", "{0:%Y/%m/%d}", "{0:%Y.%m.%d}", "{0:%d.%m.%Y}", "{0:%d. %m. %Y}",
    "{0:%d %b %Y}", "{0:%d-%b-%Y}", "{0:%d%b%Y}", "{0:%b %d, %Y}", "{0:%B %d %Y}", "{0:%Y-%b-%d}",
    "{0.day}th of {0:%B} {0.year}", "{0:%d_%m_%Y}", "{0.day}.{0.month}.{0.year}",
]  # fmt: skip
DAY = st.dates(date(1900, 1, 1), date(2099, 12, 31))


@given(DAY, st.sampled_from(FORMS), st.sampled_from(["{}", "since {}, then", "x_{}_y", "{}T10:11", "({})"]))
def test_a_date_in_a_text_moves_whatever_its_form(day: date, form: str, around: str) -> None:
    is_unclear = "_%m" in form and day.day <= 12 and day.day != day.month
    text = around.format(form.format(day).upper() if day.day % 2 else form.format(day))
    new = "" if is_unclear else f"{day + timedelta(-9)}"
    assert cleaned(text, by_days(-9)) == around.format(new)
    assert cleaned(text, to_year, year_only=True) == around.format(day.year)


OTHER_FORMS = [
    "{0.year}\u5e74{0.month}\u6708{0.day}\u65e5", "{0.year}\ub144 {0.month}\uc6d4 {0.day}\uc77c",
    "{0:%Y:%m:%d}", "{0:%Y %m %d}", "{0.day} de {1} de {0.year}", "{0.day} {1} {0.year}",
    "{0.day}. {1} {0.year}",
]  # fmt: skip
SPANISH = [
    "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre",
    "noviembre", "diciembre",
]  # fmt: skip
OTHER_CHARACTERS = [
    str.maketrans({}),
    str.maketrans("0123456789", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19"),
    str.maketrans("0123456789", "\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669"),
    str.maketrans({"-": "\u2011", " ": "\u00a0"}),
]


@given(DAY, st.sampled_from([*OTHER_FORMS, *FORMS[:5]]), st.sampled_from(OTHER_CHARACTERS))
def test_a_date_moves_in_other_languages_digits_and_dashes(
    day: date, form: str, characters: dict[int, str]
) -> None:
    text = form.format(day, SPANISH[day.month - 1]).translate(characters)
    assert cleaned(f"\u3042{text}.", by_days(-9)) == f"\u3042{day + timedelta(-9)}."
    untouched = "\uff11\u2011\u00a07"  # no date: it keeps its characters
    assert cleaned(untouched, by_days(-9)) == untouched


@pytest.mark.parametrize("text", ["\u5e73\u621031\u5e745\u670812\u65e5", "31\u5e745\u6708", "05-2019"])
def test_a_date_of_an_era_or_of_no_day_is_taken_out(text: str) -> None:
    assert not any(each.isdigit() for each in cleaned(text, by_days(-9)))


@given(DAY)
def test_between_slashes_what_may_be_either_is_taken_out(day: date) -> None:
    either = day.day <= 12 and day.day != day.month
    for form in ("{0:%d/%m/%Y}", "{0:%m/%d/%Y}", "{0.day}-{0.month}-{0.year}"):
        assert cleaned(form.format(day), by_days(1)) == ("" if either else f"{day + timedelta(1)}")
    compact = f"{day:%Y%m%d}"
    assert cleaned(f"a{compact}123456 {compact}", by_days(-1)) == "a{0}123456 {0}".format(
        f"{day - timedelta(1):%Y%m%d}"
    )


@pytest.mark.parametrize(
    ("text", "new", "year"),
    [
        ("3. M\u00e4rz 2024", "2024-03-02", "2024"),
        ("le 1 ao\u00fbt 2024", "le 2024-07-31", "le 2024"),
        ("Jan 2024, 02/2024, 2024-03", ", , ", "2024, 2024, 2024"),
        ("31.01.24 1/31/24 5 Mar 24", "  ", "  "),
        ("2024-02-30 31.02.2024", " ", "2024 2024"),
        ("20240230", "", ""),
        ("1.2.840.10008.1 v4.10.12.1 1.2000 mm", None, None),
        ("20245099 1234567 120240229999 2024", None, None),
        ("99/99/2024 summary 2024 maybe 3", None, None),
    ],
)
def test_what_is_no_date_and_what_is_no_day(text: str, new: str | None, year: str | None) -> None:
    assert cleaned(text, by_days(-1)) == (text if new is None else new)
    assert cleaned(text, to_year, year_only=True) == (text if year is None else year)


@given(st.text(st.sampled_from("0123456789./- JanFebMarz\u00e4"), max_size=60))
def test_any_text_is_gone_through(text: str) -> None:
    new = cleaned(text, to_year, year_only=True)
    assert not any(form in new for form in ("2026-01-31", "20260131"))
    assert len(cleaned(text, by_days(-400))) <= 2 * len(text)


def test_text_that_is_kept_has_its_dates_moved_with_both_options() -> None:
    inside = Dataset()
    inside.SpecificCharacterSet, inside.DetectorDescription = "ISO_IR 100", "M\u00fcller am 29.02.2024"
    data = subject(
        SpecificCharacterSet="ISO_IR 192",
        ManufacturerModelName="\u65e5\u672c 2024-02-29",
        SoftwareVersions="VB20_20240229",
        DetectorActivationOffsetFromExposure="1",
        ReferencedSeriesSequence=Sequence([inside]),
        AnatomicRegionSequence=Sequence([code("20240229", "seen 20240229", "99LOCAL")]),
    )
    for options in ((), ("modified-dates",), ("clean-descriptors",)):
        assert done(data, *options).ManufacturerModelName == "\u65e5\u672c 2024-02-29"
    found = done(data, *MODIFIED)
    day = date(2024, 2, 29) + timedelta(DAYS)
    assert found.ManufacturerModelName == f"\u65e5\u672c {day}"
    assert found.SoftwareVersions == "VB20_20240229"
    assert reduced(data, *MODIFIED, year_only=True).ManufacturerModelName == "\u65e5\u672c 2024"


# --- Their bytes


@pytest.mark.parametrize(
    ("raw", "terms", "new"),
    [
        ("M\u00fcller 2024-02-29".encode(), ("ISO_IR 192",), "M\u00fcller 2024".encode()),
        ("M\u00fcller 2024-02-29".encode("latin-1"), ("ISO_IR 100",), "M\u00fcller 2024".encode("latin-1")),
        ("M\u00fcller 2024-02-29".encode("latin-1"), (), "M\u00fcller 2024".encode("latin-1")),
        (b"\x1b$B;3ED\x1b(B 20240229", ("", "ISO 2022 IR 87"), b"\x1b$B;3ED\x1b(B 20240101"),
        (b"\x1b$B2024022\x1b(B", ("", "ISO 2022 IR 87"), b"ANONYMIZED"),  # half a character
        (b"\xff2024-02-29", ("GB18030",), b"ANONYMIZED"),
        (b"\xff no digits 1", ("GB18030",), b"ANONYMIZED"),
        (b"01/2024 ", (), b"2024 "),
        (b"31.01.24\\", (), b"ANONYMIZED"),
        (b"no date ", (), b"no date "),
        (b"12345678 1/3/2024", (), b"12345678 2024"),
    ],
)
def test_a_text_keeps_its_character_set(raw: bytes, terms: tuple[str, ...], new: bytes) -> None:
    assert changed.text(raw, "LO", terms, to_year, year_only=True) == new


def test_a_text_that_gets_too_long_is_a_dummy() -> None:
    assert changed.text(b"1234567 1/31/2024", "SH", (), by_days(1), year_only=False) == b"ANONYMIZED"
    long = b"x" * (changed.LONGEST - 2) + b"12"
    assert changed.text(long, "UT", (), to_year, year_only=True) == long
    for much in (long + b"y", long * 5):
        assert changed.text(much, "UT", (), to_year, year_only=True) == b"ANONYMIZED"


# --- Ages


@pytest.mark.parametrize(
    ("raw", "new"),
    [
        (b"089Y", b"089Y"), (b"090Y", b"090Y"), (b"104Y", b"090Y"), (b"999M", b"999M"), (b"", b""),
        (b"003D\\101Y", b"003D\\090Y"), (b"91Y ", None), (b"DOE", None),
    ],
)  # fmt: skip
def test_ages_above_the_limit_are_one_category(raw: bytes, new: bytes | None) -> None:
    assert changed.age(raw, 89) == new


def test_ages_stay_under_a_shift_and_have_a_limit_where_one_is_set() -> None:
    age = content("NUM", code("121033", "Subject Age"))
    value = Dataset()
    value.NumericValue = "97"
    age.MeasuredValueSequence = Sequence([value])
    data = subject(SOPClassUID=SR, Modality="SR", PatientAge="097Y", ContentSequence=Sequence([age]))
    options = ("modified-dates", "retain-patient-characteristics", "clean-structured-content")
    kept = reduced(data, *options)
    assert (kept.PatientAge, len(kept.ContentSequence)) == ("097Y", 1)
    limited = reduced(data, *options, age_limit=89)
    assert (limited.PatientAge, len(limited.ContentSequence)) == ("090Y", 0)
    assert "PatientAge" not in reduced(data, "modified-dates", age_limit=89)
    assert "PatientAge" not in reduced(subject(PatientAge="97"), *options, age_limit=89)


def test_an_age_written_in_another_vr() -> None:
    data = element(0x00101010, "UN", b"097Y") + element(0x00101020, "DS", b"1.8 ")
    step = Deidentifier([Option.RETAIN_PATIENT_CHARACTERISTICS], KEY, Generated(), "MAPDR test", age_limit=89)
    assert element(0x00101010, "UN", b"090Y") in step.apply(data, None, EXPLICIT).header
