"""What headers lose and keep, in numbers: by promise, from the files that are there, and without a value."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from mapdr.kernel.errors import Temporary
from mapdr.operate.access import Access, access
from mapdr.operate.deliveries import deliveries
from mapdr.operate.errors import RequestError
from mapdr.operate.header_changes import HeaderChanges, header_changes, kept_of, lines, remarks
from mapdr.operate.promised import Promised
from mapdr.operate.selection import Selection
from paper import nodes

from .test_authors import Page

EDITS = """tags = [
  { prefix = "AccessionNumber", with = "CN-" },
  { remove = "PatientBirthDate" },
  { empty = "PatientName" },
  { set = "ReferencedStudySequence[0].ReferencedSOPInstanceUID", to = "{StudyInstanceUID}" },
]
"""


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> nodes.NodeFolder:
    """A node whose first rule edits more than one element; images are promised by it."""
    node = nodes.new(tmp_path_factory.mktemp("changed"))
    text = node.config.read_text()
    start = text.index("tags = [")
    node.config.write_text(text[:start] + EDITS + text[text.index("\n", start) + 1 :])
    return nodes.with_images(node)


@pytest.fixture
def looked(changed: nodes.NodeFolder, tmp_path: Path) -> nodes.NodeFolder:
    return nodes.copied(changed, tmp_path)


def by_name(told: list[HeaderChanges]) -> dict[str, HeaderChanges]:
    return {one.destination: one for one in told}


def test_each_destination_s_changes_are_counted_with_who_did_them(looked: nodes.NodeFolder) -> None:
    with access(looked.config) as opened:
        told = by_name(header_changes(opened, Selection(modality="CT")))
    assert set(told) == {"archive", "telepacs"}
    telepacs, archive = told["telepacs"], told["archive"]
    assert (telepacs.images, telepacs.purged, telepacs.failed) == (4, 0, {})
    assert telepacs.pixels == ["compress"]
    rows = {(each.path, each.action): (each.count, list(each.by)) for each in telepacs.elements}
    assert rows["AccessionNumber", "changed"] == (4, ["tags, edit 1: prefix AccessionNumber"])
    assert rows["PatientBirthDate", "removed"] == (4, ["tags, edit 2: remove PatientBirthDate"])
    assert rows["PatientName", "emptied"] == (4, ["tags, edit 3: empty PatientName"])
    assert rows["ReferencedStudySequence", "added"][0] == 4
    assert rows["Modality", "kept"] == (4, [])
    assert rows["RequestAttributesSequence.RequestedProcedureID", "kept"][0] >= 4
    actions = Counter(action for _, action in rows)
    assert actions["removed"] == actions["emptied"] == 1
    assert {each.action for each in archive.elements} == {"kept"}
    elements, count = kept_of(archive)
    assert len(archive.elements) == elements
    assert count == sum(each.count for each in archive.elements)


def test_an_image_is_counted_once_and_by_its_newest_promise(looked: nodes.NodeFolder) -> None:
    assert looked.mapdr("reroute", "--modality", "CT", "--yes").exit_code == 0
    looked.config.write_text(looked.config.read_text().replace('with = "CN-"', 'with = "N-"'))
    with access(looked.config) as opened:
        (telepacs,) = header_changes(opened, Selection(modality="CT", destination="telepacs"))
    assert telepacs.images == 4


def test_what_is_gone_or_cannot_be_done_is_said(looked: nodes.NodeFolder) -> None:
    with access(looked.config) as opened:
        chosen = Selection(modality="CT", destination="telepacs")
        store = opened.index()
        gone, short, *_ = {
            row.instance: store.instances.get(row.instance).path for row in store.listing.select(chosen)
        }.values()
        gone.unlink()
        short.write_bytes(short.read_bytes()[:-1])
        (told,) = header_changes(opened, chosen)
    assert (told.images, told.purged, told.failed) == (3, 1, {"damaged": 1})
    assert {each.count for each in told.elements if each.path == "AccessionNumber"} == {2}
    shown = looked.mapdr("changes", "--to", "telepacs").output
    for words in ("1 image parked: damaged", "1 image purged", "what compress writes"):
        assert words in " ".join(shown.split())


def test_a_fault_of_this_node_is_not_told_as_the_image_s(
    looked: nodes.NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter((Temporary("busy"), RuntimeError("a defect"), RuntimeError("a defect"), Temporary("busy")))

    def fails(*_: object) -> None:
        raise next(faults)

    monkeypatch.setattr(Promised, "edited", fails)
    with access(looked.config) as opened:
        (told,) = header_changes(opened, Selection(modality="CT", destination="telepacs"))
    assert told.failed == {"temporary": 2, "unexpected": 2}
    assert all("not looked at" in remark and "parked" not in remark for remark in remarks(told))


def test_no_value_and_no_study_is_in_any_form_of_it(looked: nodes.NodeFolder, tmp_path: Path) -> None:
    with access(looked.config) as opened:
        rows = deliveries(opened, Selection(modality="CT"), identify=True)
        told = header_changes(opened, Selection(modality="CT"))
        assert len(lines(told)) == sum(len(one.elements) for one in told)
        values = set(opened.index().studies.identifying(20))
    values |= {uid for row in rows for uid in (row.study_instance_uid, row.sop_instance_uid)}
    assert len(values) > 4
    html = tmp_path / "told.html"
    assert looked.mapdr("changes", "--modality", "CT", "--html", str(html)).exit_code == 0
    forms = [
        looked.mapdr("changes", "--modality", "CT", *words, width=200).output
        for words in ((), ("--json",), ("--csv",), ("--kept",))
    ]
    page = Page(html.read_text(encoding="utf-8"))
    for form in (*forms, page.text):
        assert "PatientBirthDate" in form
        assert not [value for value in values if value in form]
    assert "script" not in page.names
    (first, *_) = json.loads(forms[1])["destinations"]
    assert first["destination"] == "archive"
    assert "Modality" not in forms[0]
    assert "Modality" in forms[3]


@pytest.mark.parametrize("width", [80, 200])
def test_it_fits_the_terminal(looked: nodes.NodeFolder, width: int) -> None:
    lines = looked.mapdr("changes", "--modality", "CT", "--kept", width=width).output.splitlines()
    assert max(map(len, lines)) <= width


def test_something_must_be_chosen(opened: Access, used: nodes.NodeFolder) -> None:
    with pytest.raises(RequestError):
        header_changes(opened, Selection())
    assert header_changes(opened, Selection(modality="XA")) == []
    assert "Nothing is promised" in used.mapdr("changes", "--modality", "XA").output
