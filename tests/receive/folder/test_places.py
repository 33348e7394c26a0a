"""Where files of a watched folder go, step by step."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mapdr.receive.folder import places
from mapdr.receive.folder.places import Keeping, Moving, State, inside, mark


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    return made


def put(path: Path, content: bytes = b"x") -> State:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return State.of(os.lstat(path))


def test_a_file_is_claimed_then_put_away_and_its_empty_folders_go(folder: Path) -> None:
    place = Moving(folder, "node")
    state = put(folder / "a/b/c.dcm")
    put(folder / "a/d.dcm")
    assert place.here("a/b/c.dcm") == folder / "a/b/c.dcm"
    for _ in range(2):
        assert place.claim("a/b/c.dcm")
    assert place.claim("a/d.dcm")
    claimed = folder / ".mapdr/node"
    assert place.here("a/b/c.dcm") == claimed / "a/b/c.dcm"
    assert not (folder / "a/b/c.dcm").exists()
    assert sorted(place.left()) == ["a/b/c.dcm", "a/d.dcm"]
    assert not place.accounted("a/b/c.dcm")
    place.settle("a/b/c.dcm", state, "")
    assert (folder / "done/a/b/c.dcm").read_bytes() == b"x"
    assert not (claimed / "a/b").exists()
    assert list(place.left()) == ["a/d.dcm"]
    place.settle("a/d.dcm", state, "no DICOM file")
    assert (folder / "refused/a/d.dcm.reason.txt").read_text() == (
        "MAPDR did not take this file: no DICOM file.\n"
    )
    assert place.accounted("a/b/c.dcm")
    assert place.accounted("a/d.dcm")
    assert list(claimed.iterdir()) == []


def test_a_file_that_cannot_be_put_away_leaves_no_reason_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Moving(folder, "node")
    state = put(folder / "a.dcm")
    place.claim("a.dcm")

    def full(source: Path, target: Path) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(places.os, "rename", full)
        with pytest.raises(OSError, match="no room"):
            place.settle("a.dcm", state, "no DICOM file")
    assert list((folder / "refused").iterdir()) == []
    place.settle("a.dcm", state, "no DICOM file")
    assert sorted(each.name for each in (folder / "refused").iterdir()) == ["a.dcm", "a.dcm.reason.txt"]


def test_no_file_replaces_another_or_its_reason(folder: Path) -> None:
    place = Moving(folder, "node")
    for number in range(3):
        state = put(folder / "a.dcm", bytes([number]))
        place.claim("a.dcm")
        place.settle("a.dcm", state, "so" if number else "")
    put(folder / "refused/b.dcm.reason.txt")
    state = put(folder / "b.dcm")
    place.claim("b.dcm")
    place.settle("b.dcm", state, "so")
    refused = {name.name for name in (folder / "refused").iterdir() if "reason" not in name.name}
    assert refused == {"a.dcm", "a~1.dcm", "b~1.dcm"}
    assert (folder / "done/a.dcm").read_bytes() == b"\0"
    assert (folder / "refused/a~1.dcm").read_bytes() == b"\2"


def test_the_name_of_a_reason_fits_whatever_the_file_is_called(folder: Path) -> None:
    place = Moving(folder, "node")
    for length in (240, 241, 255):
        name = "x" * length
        state = put(folder / name)
        place.claim(name)
        place.settle(name, state, "so")
        beside = folder / "refused" / f"{name}.reason.txt"
        assert (folder / "refused" / name).exists()
        assert (length <= 240) == (len(beside.name) <= 255 and beside.exists())
    assert len(list((folder / "refused").iterdir())) == 6


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_what_leads_out_of_the_folder_is_not_claimed(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere/a.dcm")
    put(tmp_path / "in-too/a.dcm")
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (folder / "too").symlink_to(tmp_path / "in-too")
    put(folder / "sub/a.dcm")
    (folder / "here").symlink_to(folder / "sub")
    for place in (Moving(folder, "node"), Keeping(folder, tmp_path / "journals", "power-loss")):
        assert not place.claim("out/a.dcm")
        assert not place.claim("too/a.dcm"), "a folder whose name begins like this one's"
    assert (tmp_path / "elsewhere/a.dcm").exists()
    assert inside(folder / "here/a.dcm", folder)
    assert Moving(folder, "node").claim("sub/a.dcm")
    # A link to a folder that was claimed is in hand as well: nobody follows it.
    assert Moving(folder, "node").claim("out")
    assert sorted(Moving(folder, "node").left()) == ["out", "sub/a.dcm"]


def test_what_was_kept_is_known_as_it_is(folder: Path, tmp_path: Path) -> None:
    place = Keeping(folder, tmp_path / "journals", "power-loss")
    assert list(place.left()) == []
    state = put(folder / "a.dcm")
    assert place.claim("a.dcm")
    assert not place.known("a.dcm", state)
    place.settle("a.dcm", state, "")
    place.settle("b.dcm", State(3, 4), "no DICOM file")
    (journal,) = (tmp_path / "journals").iterdir()
    assert [json.loads(line) for line in journal.read_text().splitlines() if line] == [
        {"file": "a.dcm", "size": state.size, "changed": state.changed},
        {"file": "b.dcm", "size": 3, "changed": 4, "refused": "no DICOM file"},
    ]
    assert journal.read_text().count("\n\n") == 0, "an empty line is at the beginning only"
    again = Keeping(folder, tmp_path / "journals", "power-loss")
    assert list(again.left()) == []
    for each in (place, again):
        assert each.known("a.dcm", state)
        assert each.known("b.dcm", State(3, 4))
        others = [("a.dcm", State(state.size + 1, state.changed)), ("a.dcm", State(1, 0)), ("c.dcm", state)]
        assert not any(each.known(*other) for other in others)
    assert place.accounted("a.dcm")
    assert not place.accounted("b.dcm")


@pytest.mark.parametrize(("durability", "flushes"), [("power-loss", 2), ("process-crash", 0)])
def test_what_was_kept_is_flushed_once_as_the_node_is_durable(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str, flushes: int
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(places.os, "fsync", flushed.append)
    place = Keeping(folder, tmp_path / "journals", durability)  # type: ignore[arg-type]
    place.flush()
    for number in range(2):
        place.settle("a.dcm", State(number, 1), "")
        place.settle("b.dcm", State(number, 1), "")
        for _ in range(2):
            place.flush()
    assert len(flushed) == flushes


def test_a_file_written_without_its_end_and_then_more(folder: Path, tmp_path: Path) -> None:
    """A crash has cut the end of a line: what comes next has a line of its own."""
    first = Keeping(folder, tmp_path / "journals", "power-loss")
    first.settle("a.dcm", State(1, 1), "")
    (journal,) = (tmp_path / "journals").iterdir()
    journal.write_text(journal.read_text().rstrip("\n")[:-3])
    second = Keeping(folder, tmp_path / "journals", "power-loss")
    list(second.left())
    assert not second.known("a.dcm", State(1, 1))
    for name in ("b.dcm", "c.dcm"):
        second.settle(name, State(1, 1), "")
    third = Keeping(folder, tmp_path / "journals", "power-loss")
    list(third.left())
    assert [third.known(f"{name}.dcm", State(1, 1)) for name in "abc"] == [False, True, True]


def test_what_is_remembered_is_looked_through_when_it_has_grown(folder: Path, tmp_path: Path) -> None:
    place = Keeping(folder, tmp_path / "journals", "process-crash")
    names = {mark(f"{number}.dcm", State(1, 1)) for number in range(10)}
    place.seen(names)
    for number in range(1020):
        assert not place.grown
        place.settle(f"{number}.dcm", State(1, 1), "")
    assert not place.grown, "twice as many as there are files, and a thousand"
    place.settle("last.dcm", State(1, 1), "")
    assert place.grown
    place.seen(names)
    assert not place.grown
    (journal,) = (tmp_path / "journals").iterdir()
    assert len(journal.read_text().splitlines()) == 10
    assert place.known("9.dcm", State(1, 1))
    assert not place.known("10.dcm", State(1, 1))
