"""File names from tags: whatever an image holds, its file stays within the folder and has a name that
every system takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.dicom.path import format_path
from mapdr.egress.folder.layout import DEFAULT, LONGEST, Layout, safe_name

VALUES = {"PatientName": "Doe^Jane", "StudyInstanceUID": "1.2", "SOPInstanceUID": "1.2.3", "PatientID": ""}


def rendered(text: str, **values: str) -> str:
    known = {**VALUES, **values}
    return "/".join(Layout(text).render(lambda path: known.get(format_path(path), "")))


def test_a_layout_is_rendered() -> None:
    assert (
        rendered("{PatientName}/study {StudyInstanceUID}/{SOPInstanceUID}.dcm")
        == "Doe^Jane/study 1.2/1.2.3.dcm"
    )
    assert rendered(DEFAULT, SeriesInstanceUID="1.2.9") == "1.2/1.2.9/1.2.3.dcm"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("..", "_"),
        (".", "_"),
        ("", "_"),
        (" . . ", "_"),
        ("../../etc/passwd", "_._.._etc_passwd"),
        ("/etc/passwd", "_etc_passwd"),
        ("..\\..\\x", "_._.._x"),
        ("C:\\x", "C__x"),
        ("a:stream", "a_stream"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("nul .tar.gz", "_nul .tar.gz"),
        ("LPT¹", "_LPT¹"),
        ("COM10", "COM10"),
        ("name.", "name"),
        ("name. . ", "name"),
        (" name", "name"),
        (".hidden", "_hidden"),
        ("a\0b\nc\x7f", "a_b_c_"),
        ("a*b?c<d>e|f\"g'", "a_b_c_d_e_f_g_"),
        ("\u202egnp.exe", "_gnp.exe"),
        ("Mu\u0308ller", "M\u00fcller"),
        ("山田^太郎", "山田^太郎"),
    ],
)
def test_a_value_is_only_ever_a_part_of_one_name(value: str, name: str) -> None:
    assert rendered("{PatientName}/{SOPInstanceUID}", PatientName=value) == f"{name}/1.2.3"


def test_long_names_are_cut_and_stay_apart() -> None:
    one, other = (rendered("{PatientName}.dcm", PatientName="ü" * 300 + end) for end in "ab")
    assert one != other
    assert all(len(name.encode()) <= LONGEST and name.endswith(".dcm") for name in (one, other))


@given(st.text(max_size=300), st.text(max_size=40))
def test_every_name_is_safe(first: str, second: str) -> None:
    names = Layout("{PatientName}/{PatientID}.{StudyInstanceUID}").render(
        lambda path: {"PatientName": first, "PatientID": second}.get(format_path(path), "")
    )
    for name in names:
        assert 0 < len(name.encode()) <= LONGEST
        assert name not in (".", "..")
        assert name[0] not in ". "
        assert name[-1] not in ". "
        assert not set(name) & set('/\\:*?"<>|\0')
        assert name.isprintable()
        assert safe_name(name) == name


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("", "empty name"),
        ("/{SOPInstanceUID}", "empty name"),
        ("a//{SOPInstanceUID}", "empty name"),
        ("{SOPInstanceUID}/", "empty name"),
        ("../{SOPInstanceUID}", "out of the folder"),
        ("a/./{SOPInstanceUID}", "out of the folder"),
        ("C:/{SOPInstanceUID}", "holds ':'"),
        ("a\\{SOPInstanceUID}", "backslash"),
        ("aux/{SOPInstanceUID}", "not every system"),
        ("a./{SOPInstanceUID}", "not every system"),
        (".mapdr/{SOPInstanceUID}", "not every system"),
        (".{SOPInstanceUID}", "not every system"),
        ("{StudyInstanceUID}/image.dcm", "one name"),
        ("{SOPInstanceUid}.dcm", "did you mean"),
        ("{SOPInstanceUID", "lone {"),
        ("a/" * 16 + "{SOPInstanceUID}", "more than 16"),
    ],
)
def test_a_layout_that_cannot_be_meant_is_refused(layout: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Layout(layout)
