"""Each change of a header has its author: the edit, the step, or the step's own words for it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pydicom
import pytest

from mapdr.dicom.write import element, item, splice
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.item import Instance, Payload, Source, TagPath, total_length
from mapdr.kernel.step import Changes, Divides, Memory, Phase, Reads, Transform
from mapdr.operate.authors import Authors
from mapdr.operate.configuration import load
from mapdr.operate.differences import ElementChange, changes, compared
from mapdr.operate.explain import Explanation, explain
from mapdr.operate.explain_page import page
from mapdr.operate.looking import NoMemory
from mapdr.testing import generator
from mapdr.transform.header.tags import STAGE
from mapdr.transform.pipeline import Pipeline
from paper import nodes
from peers.marks import Marks
from transform.helpers import CODECS, settings

EXPLICIT = generator.EXPLICIT
NAME, WARD, FRAME = 0x00100010, 0x00081040, 0x00200052
HOSTILE = "<script>alert(1)</script>&\"'"


def image(**put: bytes | None) -> Payload:
    made = next(generator.study("CT", images=1, size=(16, 16)))
    data = splice(made.dataset, {int(tag, 16): value for tag, value in put.items()}) if put else made.dataset
    return Payload(made.sop_class_uid, made.sop_instance_uid, EXPLICIT, (data,), len(data))


def instance(payload: Payload) -> Instance:
    source = Source("modalities", "CT1", "MAPDR", "10.0.0.1")
    uids = payload.sop_class_uid, payload.sop_instance_uid
    return Instance(
        "0" * 32, source, *uids, "1.2", "1.3", "CT", EXPLICIT, Path("none"), 0, payload.length, 0.0
    )


def tags(*edits: Mapping[str, Any]) -> tuple[str, Transform]:
    config = STAGE.config.__args__[0]
    return "tags", STAGE.build(settings(), [config(**edit) for edit in edits], None)


class Table:
    """A step that removes the patient's name and maps a UID, by rows of a table."""

    phase = Phase.HEADER
    reads = Reads.HEADER
    changes = Changes.HEADER
    copies = 0

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
        data = b"".join(payload.chunks())
        made = splice(data, {NAME: None, FRAME: element(FRAME, "UI", b"2.25.7")})
        return replace(payload, parts=(made,), length=total_length((made,)))

    def account(self, path: TagPath, instance: Instance) -> str:
        return f"row {path[-1]:08X}: {'X' if path[-1] == NAME else 'U'}"


def told(
    payload: Payload, *steps: tuple[str, Transform], assumed: tuple[AssumedSet, ...] = ()
) -> list[ElementChange]:
    authors = Authors(steps, settings(), CODECS, assumed)
    made = authors.follow(payload, instance(payload), NoMemory())
    whole = Pipeline(steps, settings(), CODECS, assumed).apply(payload, instance(payload), NoMemory())
    assert b"".join(made.chunks()) == b"".join(whole.chunks()), "parts do what the steps do"
    return authors.signed(changes(payload, made, assumed))


def test_each_edit_is_named_with_what_it_did() -> None:
    found = told(
        image(**{"00081040": element(WARD, "LO", b"A1")}),
        tags(
            {"empty": "PatientBirthDate"},
            {"prefix": "AccessionNumber", "with": "CN-"},
            {"suffix": "AccessionNumber", "with": "-N"},
            {"copy": "StudyInstanceUID", "to": "FrameOfReferenceUID"},
            {"set": "RequestAttributesSequence[0].RequestedProcedureID", "to": "P"},
            {"remove": "InstitutionalDepartmentName"},
            {"set": "Modality", "to": "CT"},
        ),
    )
    assert {each.path: (each.action, list(each.by)) for each in found} == {
        "AccessionNumber": (
            "changed",
            ["tags, edit 2: prefix AccessionNumber", "tags, edit 3: suffix AccessionNumber"],
        ),
        "InstitutionalDepartmentName": ("removed", ["tags, edit 6: remove InstitutionalDepartmentName"]),
        "PatientBirthDate": ("emptied", ["tags, edit 1: empty PatientBirthDate"]),
        "FrameOfReferenceUID": (
            "mapped",
            ["tags, edit 4: copy StudyInstanceUID to FrameOfReferenceUID"],
        ),
        "RequestAttributesSequence[0].RequestedProcedureID": (
            "changed",
            ["tags, edit 5: set RequestAttributesSequence[0].RequestedProcedureID"],
        ),
    }


def test_the_edits_of_a_second_step_are_not_taken_for_those_of_the_first() -> None:
    found = told(
        image(), tags({"set": "PatientName", "to": "A"}), tags({"set": "AccessionNumber", "to": "B"})
    )
    assert {each.path: list(each.by) for each in found} == {
        "PatientName": ["tags, edit 1: set PatientName"],
        "AccessionNumber": ["tags 2, edit 1: set AccessionNumber"],
    }


def test_a_step_of_another_kind_is_told_by_its_own_words() -> None:
    found = told(image(), ("deidentify", Table()), tags({"set": "PatientName", "to": "Nobody"}))
    assert {each.path: (each.action, list(each.by)) for each in found} == {
        "PatientName": ("changed", ["deidentify, row 00100010: X", "tags, edit 1: set PatientName"]),
        "FrameOfReferenceUID": ("mapped", ["deidentify, row 00200052: U"]),
    }


def nested(*items: bytes) -> bytes:
    return element(0x00400275, "SQ", b"".join(item([each]) for each in items))


def test_items_are_compared_one_by_one_and_what_is_whole_belongs_to_who_did_a_part() -> None:
    names = [element(0x00401001, "SH", text) for text in (b"P0", b"P1", b"P2")]
    before, after = image(**{"00400275": nested(*names)}), image(**{"00400275": nested(names[0], names[2])})
    rows = [(each.path, each.action, each.before, each.after) for each in changes(before, after)]
    assert rows == [
        ("RequestAttributesSequence[1].RequestedProcedureID", "changed", "P1", "P2"),
        ("RequestAttributesSequence[2]", "removed", "1 element(s)", ""),
    ]
    kept = [each.path for each in compared(before, after) if each.action == "kept"]
    assert "RequestAttributesSequence[0].RequestedProcedureID" in kept
    assert len(kept) == len(set(kept))
    assert "PixelData" not in kept
    every = Authors([], settings(), CODECS, ())
    every._note(changes(before, after)[1], "somebody")
    assert every._of("RequestAttributesSequence") == ("somebody",)
    assert every._of("RequestAttributesSequence[2].RequestedProcedureID") == ("somebody",)
    assert every._of("RequestAttributesSequence[1]") == ("somebody",)
    assert every._of("ReferencedStudySequence[2]") == ()


def test_text_is_compared_as_it_is_assumed_to_be() -> None:
    sets = (AssumedSet("ISO_IR 144"),)
    payload = image(**{"00080005": None, "00100010": element(NAME, "PN", "Иван".encode("iso8859-5"))})
    found = told(payload, tags({"set": "InstitutionalDepartmentName", "to": "山"}), assumed=sets)
    assert {each.path for each in found} == {"InstitutionalDepartmentName", "SpecificCharacterSet"}


class Page(HTMLParser):
    """The tags and the text of a page; every tag that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag not in ("meta", "wbr"):
            self._open.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[nodes.NodeFolder, Path]:
    node = nodes.new(tmp_path)
    made = next(generator.study("CT", images=1, size=(16, 16)))
    data = splice(
        made.dataset,
        {
            0x00080050: element(0x00080050, "SH", b"<b>&\"'X "),
            WARD: element(WARD, "LO", HOSTILE.ljust(30).encode()),
        },
    )
    text = node.config.read_text()
    node.config.write_text(
        text.replace(
            '"AccessionNumber", with = "CN-" }',
            '"AccessionNumber", with = "CN-" }, { remove = "InstitutionalDepartmentName" }',
        )
    )
    path = tmp_path / "QXFILEQX.dcm"
    path.write_bytes(replace(made, dataset=data).part10())
    return node, path


def explained(node: nodes.NodeFolder, path: Path, *, identify: bool) -> Explanation:
    return explain(path, load(node.config), identify=identify)


@pytest.mark.parametrize("identify", [False, True])
def test_the_page_runs_nothing_asks_for_nothing_and_shows_values_only_when_asked(
    hostile: tuple[nodes.NodeFolder, Path], identify: bool
) -> None:
    told = explained(*hostile, identify=identify)
    text = page(told)
    shown = Page(text)
    assert "script" not in shown.names
    assert not re.search(r"https?:|url\(|@import|javascript:", text)
    for value in (HOSTILE, "CN-<b>&\"'X", "QXFILEQX"):
        assert (value in shown.text) is identify
    for words in ("InstitutionalDepartmentName", "removed", "tags, edit 2", "CT to teleradiology"):
        assert words in shown.text


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("identify", [False, True])
def test_the_table_fits_the_terminal(
    hostile: tuple[nodes.NodeFolder, Path], width: int, identify: bool
) -> None:
    node, path = hostile
    result = node.mapdr("explain", str(path), *(["--identify"] if identify else []), width=width)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= width
    assert ("<b>" in result.output) is identify
    assert ("(0008,1040)" in result.output) is (width == 200)
    folded = re.sub(r"\s+", "", result.output)
    assert "removed" in folded
    if width == 200:
        assert "edit 1: AccessionNumber begins with" in result.output
        assert "tags, edit 1\n" in re.sub(r" +\n", "\n", result.output)


def test_a_page_and_json_are_two_answers(hostile: tuple[nodes.NodeFolder, Path], tmp_path: Path) -> None:
    node, path = hostile
    out = tmp_path / "told.html"
    assert node.mapdr("explain", str(path), "--html", str(out), "--json").exit_code == 2
    assert node.mapdr("explain", str(path), "--html", str(out)).exit_code == 0
    assert Page(out.read_text(encoding="utf-8")).names[0] == "html"


FAILING = """
[[rule]]
name = "somebody else"
when = { PatientName = "QYNAMEQY*", PatientID = "QYPATIENTQY" }
send_to = ["archive"]

[[rule]]
name = "by name"
when = { PatientName = "QXNAMEQX*", AccessionNumber = { regex = "QX.*" } }
tags = [
  { remove = "OtherPatientIDs" },
  { prefix = "PatientID", with = "X-" },
  { copy = "PatientName", to = "PatientComments" },
]
send_to = ["telepacs"]

[[rule]]
name = "too long"
when = { StudyDescription = "QX*" }
tags = [{ suffix = "AccessionNumber", with = "-{PatientID}" }]
send_to = ["archive"]
"""


def test_no_marked_value_is_told_unless_it_is_asked_for(tmp_path: Path) -> None:
    node = nodes.new(tmp_path)
    node.config.write_text(node.config.read_text().partition("[[rule]]")[0] + FAILING)
    made = next(generator.study("CT", images=1, size=(16, 16)))
    marks = Marks()
    data_set = pydicom.dcmread(io.BytesIO(made.part10()))
    for keyword, value in marks.values.items():
        setattr(data_set, keyword, value)
    marked = replace(made, dataset=generator.encode(data_set, EXPLICIT))
    path, html = tmp_path / "image.dcm", tmp_path / "told.html"
    path.write_bytes(marked.part10())
    forms = [
        node.mapdr("explain", str(path), *words, width=200)
        for words in ((), ("--json",), ("--html", str(html)))
    ]
    assert {each.exit_code for each in forms} == {1}
    node.receive([marked])
    forms += [node.mapdr("changes", "--modality", "CT", *words) for words in ((), ("--json",), ("--csv",))]
    written = html.read_text(encoding="utf-8")
    told = [*(each.output for each in forms), Page(written).text]
    marks.assert_absent(written, *told)
    for words in ("value-too-long", "PatientComments", "edit 3: PatientName is copied to PatientComments"):
        assert words in told[0]
        assert words in told[-1]
    assert marks.found(node.mapdr("explain", str(path), "--identify", width=200).output)


def test_an_assumed_character_set_is_told(tmp_path: Path) -> None:
    node = nodes.new(tmp_path)
    key = 'assume_character_set = "ISO_IR 144"'
    node.config.write_text(node.config.read_text().replace("port = 11112", f"port = 11112\n{key}"))
    made = next(generator.study("CT", images=1, size=(16, 16)))
    data = splice(made.dataset, {0x00080005: None, NAME: element(NAME, "PN", "Иван".encode("iso8859-5"))})
    path = tmp_path / "image.dcm"
    path.write_bytes(replace(made, dataset=data).part10())
    told = explained(node, path, identify=True)
    assert (told.character_set, told.assumed) == ("ISO_IR 144", True)
    assert "text is read as ISO_IR 144, as the receiver assumes" in node.mapdr("explain", str(path)).output
    assert "text is read as ISO_IR 144" in page(told)
    other = explain(path, load(node.config), receiver="send")
    assert (other.character_set, other.assumed) == ("", False)


@pytest.mark.parametrize(
    "written", ["private", "creator:GEMS_IDEN_01", "group:0019", "(0009,xx10)", "(60xx,3000)", "PatientName"]
)
def test_an_edit_is_named_as_the_rule_writes_it(written: str) -> None:
    _, step = tags({"remove": written})
    assert isinstance(step, Divides)
    ((words, _),) = step.parts()
    assert words.lower() == f"edit 1: remove {written}".lower()


def test_a_step_that_fails_to_account_for_itself_is_told_and_the_rest_is_shown(
    hostile: tuple[nodes.NodeFolder, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise ValueError(HOSTILE)

    monkeypatch.setattr("mapdr.transform.header.tags.TagEditor.parts", fail)
    told = explained(*hostile, identify=False)
    tele, archive = told.deliveries
    assert tele.bytes
    assert not tele.error
    assert tele.unshown
    assert HOSTILE not in tele.unshown
    assert not archive.unshown
