"""Tags as people write them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.dicom.path import (
    format_edit_path,
    format_path,
    nearest_keyword,
    parse_edit_path,
    parse_path,
    tag_vr,
)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("PatientID", (0x00100020,)),
        ("(0010,0020)", (0x00100020,)),
        ("(0009,10ab)", (0x000910AB,)),
        ("RequestAttributesSequence.ScheduledProcedureStepID", (0x00400275, 0x00400009)),
        ("(0040,0275).(0040,0009)", (0x00400275, 0x00400009)),
        (" PatientID ", (0x00100020,)),
    ],
)
def test_reads(text: str, path: tuple[int, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("PatientId", "did you mean PatientID"),
        ("PatinetName", "did you mean PatientName"),
        ("Xyzzyqq", "no DICOM keyword 'Xyzzyqq'"),
        ("", "not a tag"),
        ("0010,0020", "not a tag"),
        ("PatientID.", "not a tag"),
        ("PatientID.PatientName", "PatientID is not a sequence"),
        ("RequestAttributesSequence[0].ScheduledProcedureStepID", "for edits only"),
    ],
)
def test_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        parse_path(text)


def test_an_item_index_names_one_item() -> None:
    path = parse_edit_path("RequestAttributesSequence[1].ScheduledProcedureStepID")
    assert path == ((0x00400275, 1), (0x00400009, None))
    assert format_edit_path(path) == "RequestAttributesSequence[1].ScheduledProcedureStepID"
    with pytest.raises(ValueError, match="ends with an item"):
        parse_edit_path("RequestAttributesSequence[1]")


@given(
    st.lists(
        st.integers(0, 0xFFFFFFFF).filter(lambda tag: tag_vr(tag) in ("SQ", "UN")), min_size=1, max_size=4
    )
)
def test_what_is_written_is_read_back(path: list[int]) -> None:
    assert parse_path(format_path(tuple(path))) == tuple(path)


@given(st.text(max_size=40))
def test_any_text_is_a_path_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_path(text)


def test_case_alone_finds_the_keyword() -> None:
    assert nearest_keyword("patientid") == "PatientID"
