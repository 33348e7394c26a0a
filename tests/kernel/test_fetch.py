"""Which of the studies that a peer answers were asked for."""

from __future__ import annotations

import pytest

from mapdr.kernel.fetch import FoundStudy, StudyQuery

STUDY = FoundStudy("1.2.3", "20261115", "A1", "P1", ["CT", "SR"], 12)


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        (StudyQuery(accession_number="A1"), True),
        (StudyQuery(accession_number="A"), False),
        (StudyQuery(patient_id="P1", modality="SR"), True),
        (StudyQuery(patient_id="P1", modality="MR"), False),
        (StudyQuery(study_instance_uid="1.2.3"), True),
        (StudyQuery(study_instance_uid="1.2"), False),
        (StudyQuery(study_date_from="20261101"), True),
        (StudyQuery(study_date_from="20261116"), False),
        (StudyQuery(study_date_to="20261115"), True),
        (StudyQuery(study_date_to="20261114"), False),
        (StudyQuery(study_date_from="20261115", study_date_to="20261115"), True),
    ],
)
def test_what_was_not_asked_for_is_left_out(query: StudyQuery, matches: bool) -> None:
    assert query.matches(STUDY) is matches


@pytest.mark.parametrize("uid", ["", "../../system", "1.2.3/series", "x"])
def test_what_is_no_uid_is_no_study(uid: str) -> None:
    assert not StudyQuery(accession_number="A1").matches(FoundStudy(uid, accession_number="A1"))


@pytest.mark.parametrize(
    ("first", "last", "dates"),
    [
        ("", "", ""),
        ("20261101", "", "20261101-"),
        ("", "20261101", "-20261101"),
        ("20261101", "20261102", "20261101-20261102"),
        ("20261101", "20261101", "20261101"),
    ],
)
def test_a_range_as_dicom_matches_it(first: str, last: str, dates: str) -> None:
    assert StudyQuery(study_date_from=first, study_date_to=last).dates == dates
