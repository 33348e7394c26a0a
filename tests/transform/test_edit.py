"""Edits as a rule writes them: what is told at which line, what a recipe keeps, tables and keys outside."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mapdr.config.read import read_text
from mapdr.config.validate import validate
from mapdr.kernel.errors import Permanent
from mapdr.kernel.finding import Finding
from mapdr.kernel.item import Source
from mapdr.kernel.registry import Registry
from mapdr.node.configuration import examine
from mapdr.transform.header import csv_file
from mapdr.transform.header.edit import TagEdit
from mapdr.transform.header.table import read_table
from mapdr.transform.header.tags import STAGE
from mapdr.transform.pipeline import build_steps

from .helpers import Notebook, image, payload_of, picture, read, settings

ADAPTER = TypeAdapter(STAGE.config)
KEY = "0123456789abcdef"


def told(edit: dict[str, Any]) -> list[Finding]:
    findings: list[Finding] = []
    validate(STAGE.config, [edit], (), Path(), findings)
    return findings


def recipe(edit: dict[str, Any], base: Path = Path()) -> list[dict[str, Any]]:
    """As a configuration's rule keeps it in the ledger."""
    (config,) = ADAPTER.validate_python([edit], context={"base": base})
    plain: list[dict[str, Any]] = ADAPTER.dump_python(
        (config,), mode="json", by_alias=True, exclude_none=True
    )
    return json.loads(json.dumps(plain))


@pytest.mark.parametrize(
    ("edit", "place", "words"),
    [
        ({"replace": "PatientID", "pattern": "a"}, (0,), "replace needs with"),
        (
            {"replace": "PatientID", "pattern": "(a", "with": ""},
            (0, "pattern"),
            "is not a regular expression",
        ),
        ({"replace": "PatientID", "pattern": "(a+)+b", "with": ""}, (0, "pattern"), "could take too long"),
        (  # it is looked for from each character on
            {"replace": "PatientID", "pattern": r"(\w*)\s*(\w*)", "with": ""},
            (0, "pattern"),
            "could take too long",
        ),
        ({"replace": "PatientID", "pattern": "a", "with": r"\1"}, (0,), "names group 1"),
        ({"replace": "Rows", "pattern": "a", "with": ""}, (0,), "Rows is no text (US)"),
        ({"map": "PatientID"}, (0,), "map needs table"),
        ({"map": "PatientID", "table": {}}, (0, "table"), "is an empty table"),
        ({"map": "PatientID", "table": {"a": "b"}, "file": "x"}, (0,), "map needs table"),
        ({"map": "PatientID", "table": {"a": "x" * 65}}, (0,), "entry 1 of the table does not fit"),
        ({"map": "PatientID", "table": {"a": 5}}, (0, "table", "a"), "is not a text"),
        ({"map": "PatientID", "table": {"a": "b"}, "otherwise": "drop"}, (0, "otherwise"), "is not one of"),
        ({"map": "PatientID", "table": {"a": "b"}, "if_empty": "skip"}, (0,), "map takes no if_empty"),
        ({"hash": "PatientID"}, (0,), "hash needs key"),
        ({"hash": "PatientID", "key": "secret"}, (0, "key"), "is not a secret's place"),
        ({"hash": "PatientID", "key": "env:X", "length": 4}, (0,), "length is from 8"),
        ({"hash": "StudyDate", "key": "env:X"}, (0,), "StudyDate has another VR (DA)"),
        ({"shift_date": "StudyDate", "days": 0}, (0,), "days is a whole number"),
        ({"shift_date": "StudyDate", "days": "1"}, (0, "days"), "is not a number"),
        ({"shift_date": "StudyTime", "days": 1}, (0,), "StudyTime has another VR (TM)"),
        ({"lower": "Modality"}, (0,), "Modality has another VR (CS)"),
        ({"upper": "PatientID", "days": 1}, (0,), "upper takes no days"),
        ({"split": "PatientID", "at": ";"}, (0,), "has one value"),
        ({"split": "OtherPatientIDs", "at": ""}, (0,), "at is the text"),
        ({"keep_only": "PatientID"}, (0, "keep_only"), "is not a list"),
        ({"keep_only": ["PatientIDD"]}, (0,), "PatientID"),
        ({"keep_only": ["PatientID"], "remove": "StudyID"}, (0,), "has 2"),
        ({"upper": "PatientID", "if": {}}, (0, "if"), "is an empty table"),
        ({"upper": "PatientID", "if": {"Modalty": "CT"}}, (0, "if", "Modalty"), "no DICOM keyword"),
        ({"upper": "PatientID", "if": {"Rows": {"mn": 1}}}, (0, "if", "Rows", "mn"), "unknown key"),
        (
            {"upper": "PatientID", "if": {"PixelData": {"present": True}}},
            (0, "if"),
            "PixelData is of the pixel",
        ),
        ({"upper": "SpecificCharacterSet"}, (0,), "is no text that upper is for"),
        ({"for_each": "PatientID", "edits": [{"upper": "StudyID"}]}, (0,), "PatientID has another VR"),
        ({"for_each": "RequestAttributesSequence", "edits": []}, (0,), "edits is an empty list"),
        (
            {"for_each": "RequestAttributesSequence", "edits": [{"upper": "StudyID"}, {"upperr": "StudyID"}]},
            (0, "edits", 1, "upperr"),
            "unknown key",
        ),
        (
            {
                "for_each": "RequestAttributesSequence",
                "edits": [{"replace": "StudyID", "pattern": "(", "with": ""}],
            },
            (0, "edits", 0, "pattern"),
            "is not a regular",
        ),
        ({"set": "OtherPatientIDsSequence[x].PatientID", "to": "1"}, (0,), "is not a tag"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    edit: dict[str, Any], place: tuple[Any, ...], words: str
) -> None:
    findings = told(edit)
    assert place in {finding.place for finding in findings}
    assert any(words in f"{finding.what}; {finding.cure}" for finding in findings)
    assert all(finding.cure for finding in findings)


def test_the_lines_are_those_of_the_file() -> None:
    text = """[[rule]]
name = "a"
when = {}
send_to = []

[[rule.tags]]
replace = "PatientID"
with = ""
pattern = "(a+)+b"

[[rule.tags]]
upper = "PatientID"
[rule.tags.if]
Modality = "CT"
Modalty = "CT"
"""
    assert [problem.line for problem in read_text(text, Registry()).problems] == [9, 15]


# --- What a recipe keeps


@pytest.mark.parametrize(
    "edit",
    [
        {"replace": "PatientID", "pattern": r"(\d)", "with": r"\1"},
        {"map": "PatientID", "table": {"a": "b"}},
        {"map": "PatientID", "table": {"a": "b"}, "otherwise": "keep"},
        {"shift_date": "StudyDate", "days": -3},
        {"keep_only": ["PatientID", "group:0018"]},
        {
            "for_each": "RequestAttributesSequence",
            "edits": [{"upper": "StudyID", "if": {"StudyDate": date(2026, 1, 31)}}],
        },
        {"upper": "PatientID", "if": {"StudyDate": {"min": date(2026, 1, 31)}, "calling_ae": "CT*"}},
        {"upper": "PatientID", "if": {"any": [{"StudyDate": {"max": date(2026, 1, 31)}}, {"Rows": 9}]}},
    ],
)
def test_a_recipe_makes_the_same_edit(edit: dict[str, Any]) -> None:
    kept = recipe(edit)
    assert recipe(kept[0]) == kept
    assert ADAPTER.validate_python(kept)[0].edit == ADAPTER.validate_python([edit])[0].edit


def test_what_becomes_of_other_values_stands_in_the_recipe() -> None:
    assert recipe({"map": "PatientID", "table": {"a": "b"}})[0]["otherwise"] == "park"


def test_older_recipes_keep_their_hash() -> None:
    kept = recipe({"prefix": "AccessionNumber", "with": "CN-"})
    assert kept == [{"overflow": "error", "if_empty": "error", "prefix": "AccessionNumber", "with": "CN-"}]


def test_files_and_keys_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ids.csv").write_text("17,R-1\n")
    (tmp_path / "hash.key").write_text(KEY)
    table = recipe({"map": "PatientID", "file": "ids.csv"}, tmp_path)
    key = recipe({"hash": "PatientID", "key": "file:hash.key"}, tmp_path)
    monkeypatch.chdir("/")
    assert ADAPTER.validate_python(table)[0].edit.value.table == {"17": "R-1"}
    assert ADAPTER.validate_python(key)[0].edit.value.key == KEY.encode()
    assert KEY not in json.dumps(key)


# --- Tables and keys


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("17,R-1\n18,\n", {"17": "R-1", "18": ""}),
        ("From,To\r\n17,R-1\r\n", {"17": "R-1"}),
        ("\ufeff17;R,1\n", None),
        ('\ufeff17;R-1\n18;"R;2"\n', {"17": "R-1", "18": "R;2"}),
        ("17\tR-1\n", {"17": "R-1"}),
        (' 17 , "a, b"\n\n,\n', {"17": "a, b"}),
        ("17,R-1\n17,R-1\n", {"17": "R-1"}),
    ],
)
def test_a_table_is_read(text: str, table: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8", newline="")
    if table is None:
        table = {"17;R": "1"}
    assert read_table(path) == table


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds no entry"),
        (b"from,to\n", "holds no entry"),
        (b"Doe,1\nRoe\n", "line 2 has 1 column"),
        (b"Doe,1,2\n", "line 1 has 3 columns"),
        (b"Doe,1\n,2\n", "line 2 has no old value"),
        (b"Doe,1\n\nDoe,2\n", "line 3 has another new value than line 1"),
        (b'Doe,1\nRoe,"2\n', "line 2 is not CSV"),
        (b"Doe,1\nRoe,\xff\n", "line 2 is not UTF-8"),
    ],
)
def test_a_faulty_table_is_told_without_its_values(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=words) as caught:
        read_table(path)
    assert "oe" not in str(caught.value).replace("does", "")
    assert "; " in str(caught.value)


def test_a_table_of_more_than_the_largest_size_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class File(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size or 0)
            return super().read(size)

    class Table:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def open(self, mode: str) -> File:
            return File(self._data)

    monkeypatch.setattr(csv_file, "LARGEST", 10)
    assert csv_file.read_bytes(Table(b"0123456789")) == b"0123456789"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="make the table smaller"):
        csv_file.read_bytes(Table(b"0123456789a"))  # type: ignore[arg-type]
    assert asked == [11, 11], "one byte more than it may hold"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_told(data: bytes) -> None:
    class Bytes:
        def open(self, mode: str) -> Any:
            return io.BytesIO(data)

    told = ""
    table = {"": ""}
    try:
        table = read_table(Bytes())  # type: ignore[arg-type]
    except ValueError as error:
        told = str(error)
    assert all(table) if not told else "; " in told


def rule(edit: str) -> str:
    return f"""[receive.in]
type = "dicom"
port = 0
[egress.out]
type = "folder"
path = "out"
[[rule]]
name = "a"
when = {{}}
tags = [
  {{ upper = "PatientName" }},
  {edit},
]
send_to = ["out"]
"""


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ('{ map = "PatientID", file = "gone.csv" }', "cannot be read"),
        ('{ map = "PatientID", file = "bad.csv" }', "line 2 has 1 column"),
        ('{ map = "Modality", file = "long.csv" }', "entry 1 of the table does not fit Modality"),
        (
            '{ for_each = "OtherPatientIDsSequence", edits = [{ hash = "StudyID", key = "env:M_GONE" }] }',
            "M_GONE is empty or not set",
        ),
        (
            '{ for_each = "OtherPatientIDsSequence", edits = [{ map = "PatientID", file = "gone.csv" }] }',
            "cannot be read",
        ),
        ('{ hash = "PatientID", key = "env:MAPDR_TEST_GONE" }', "MAPDR_TEST_GONE is empty or not set"),
        ('{ hash = "PatientID", key = "file:short.key" }', "can be guessed"),
    ],
)
def test_check_tells_what_is_not_there(edit: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("Doe,1\nRoe\n")
    (tmp_path / "long.csv").write_text("Doe,not a code string\n")
    (tmp_path / "short.key").write_text("Doe")
    path = tmp_path / "mapdr.toml"
    path.write_text(rule(edit))
    found = examine(path, surroundings=True).problems
    assert [problem.line for problem in found] == [12]
    assert words in found[0].what
    assert not {"Doe", "Roe"} & set(str(found[0]).replace(",", " ").split())
    assert not examine(path).problems, "who only looks needs neither tables nor keys"


def test_a_receiver_that_there_is_not_is_told_in_a_condition(tmp_path: Path) -> None:
    path = tmp_path / "mapdr.toml"
    path.write_text(rule('{ upper = "PatientID", if = { receiver = "inn" } }'))
    (problem,) = examine(path).problems
    assert (problem.line, problem.what) == (12, 'there is no receiver "inn"')
    inner = '{ upper = "StudyID", if = { receiver = "inn" } }'
    path.write_text(rule(f'{{ for_each = "RequestAttributesSequence", edits = [{inner}] }}'))
    assert [each.what for each in examine(path).problems] == ['there is no receiver "inn"']


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ({"map": "PatientID", "file": "/gone/ids.csv"}, "table"),
        ({"hash": "PatientID", "key": "env:MAPDR_TEST_GONE"}, "secret"),
    ],
)
def test_without_them_no_pipeline_is_made(edit: dict[str, Any], reason: str) -> None:
    body = {"steps": [{"type": "tags", "config": recipe(edit)}]}
    with pytest.raises(Permanent) as caught:
        build_steps(body, Registry(), settings())
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("now", "is_the_same"),
    [
        ("17,R-1\n18,R-2\n", True),
        ("\ufeff17,R-1\r\n18,R-2\r\n19,R-3\r\n", True),
        ("17,R-1\n18,R-2\n19,R-3", True),
        ("17,R-1\n18,R-2x\n", False),
        ("17,R-1\n", False),
        ("17,R-9\n18,R-2\n", False),
        ("18,R-2\n17,R-1\n", False),
    ],
)
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_promise_holds_what_its_table_said(now: str, is_the_same: bool, end: str, tmp_path: Path) -> None:
    file = tmp_path / "ids.csv"
    file.write_text("17,R-1\n18,R-2" + end, encoding="utf-8", newline="")
    edit = {"map": "PatientID", "file": "ids.csv"}
    nested = {"for_each": "OtherPatientIDsSequence", "edits": [edit]}
    promised = [{"steps": [{"type": "tags", "config": recipe(each, tmp_path)}]} for each in (edit, nested)]
    assert str(len("17,R-1\n18,R-2" + end)) in json.dumps(promised[1])
    file.write_text(now, encoding="utf-8", newline="")
    for body in promised:
        if is_the_same:
            build_steps(body, Registry(), settings())
            continue
        with pytest.raises(Permanent, match="new lines go to its end") as caught:
            build_steps(body, Registry(), settings())
        assert caught.value.reason == "table-changed"
        assert "R-" not in str(caught.value)
    build_steps({"steps": [{"type": "tags", "config": recipe(edit, tmp_path)}]}, Registry(), settings())


def test_a_recipe_from_before_digests_takes_the_table_of_now(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("17,R-1\n")
    (config,) = recipe({"map": "PatientID", "file": "ids.csv"}, tmp_path)
    del config["digest"]
    build_steps({"steps": [{"type": "tags", "config": [config]}]}, Registry(), settings())


def test_a_key_of_hashes_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    file = tmp_path / "hash.key"
    edit = {"hash": "PatientID", "key": "file:hash.key"}
    for each in (edit, {"for_each": "OtherPatientIDsSequence", "edits": [edit]}):
        body = {"steps": [{"type": "tags", "config": recipe(each, tmp_path)}]}
        file.write_text(KEY)
        build_steps(body, Registry(), settings(tmp_path))
        file.write_text(KEY[::-1])
        with pytest.raises(Permanent, match="another one than this node has used") as caught:
            build_steps(body, Registry(), settings(tmp_path))
        assert caught.value.reason == "key"
    kept = b"".join(path.read_bytes() for path in (tmp_path / "keys").rglob("*") if path.is_file())
    assert len(kept) == 8
    assert KEY.encode() not in kept


def test_a_condition_asks_where_the_image_came_from() -> None:
    editor = STAGE.build(
        settings(),
        ADAPTER.validate_python([{"set": "StationName", "to": "ER1", "if": {"calling_ae": "CR*"}}]),
        None,
    )
    payload, instance = payload_of(image(picture(8, 8, 0, 4000)))
    for title, there in (("CR1", True), ("CT1", False)):
        came = replace(instance, source=Source("in", title, "MAPDR", "10.0.0.1"))
        found = read(editor.apply(payload, came, Notebook()))
        assert (found.get("StationName") == "ER1") is there


def test_every_key_belongs_to_a_verb() -> None:
    (model,) = {type(edit) for edit in ADAPTER.validate_python([{"upper": "PatientID"}])}
    assert issubclass(model, TagEdit)
    fields = {field.alias or name for name, field in model.model_fields.items()}
    assert fields == {*model.verbs, *model.keys, "overflow", "if_empty", "if"}
