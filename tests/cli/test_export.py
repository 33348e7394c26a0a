"""export: files as received or as a destination gets them; nothing is overwritten, nothing half written."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pydicom
import pytest

from mapdr.egress.folder import files
from mapdr.store import Selection
from mapdr.testing import generator
from paper.nodes import NodeFolder


def export(node: NodeFolder, *words: str, status: int = 0) -> dict[str, Any]:
    result = node.mapdr("export", *words, "--json")
    assert result.exit_code == status, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def written(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def received(node: NodeFolder) -> dict[str, bytes]:
    """The data sets in the spool by their SOP Instance UID."""
    store = node.store()
    try:
        found = {}
        for key in store.rerouting.choose(Selection()):
            one = store.instances.get(key.hex())
            found[one.sop_instance_uid] = one.path.read_bytes()[one.data_offset :]
        return found
    finally:
        store.close()


def test_images_leave_as_they_came_and_again_is_no_harm(used: NodeFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = export(used, "--modality", "CT", "--to", str(out))
    assert (done["images"], done["written"], done["there"], done["failed"]) == (4, 4, 0, [])
    sent = received(used)
    for path in written(out):
        head = pydicom.dcmread(path)
        assert path.stem == head.SOPInstanceUID
        assert path.parent.name == head.SeriesInstanceUID
        assert path.read_bytes().endswith(sent[head.SOPInstanceUID])
    assert len(written(out)) == 4
    before = {path: path.stat().st_mtime_ns for path in written(out)}
    again = export(used, "--modality", "CT", "--to", str(out))
    assert (again["written"], again["there"], again["bytes"]) == (0, 4, 0)
    assert {path: path.stat().st_mtime_ns for path in written(out)} == before
    assert not list(out.glob(".*")), "nothing of our own is left"


def test_as_a_destination_gets_them(used: NodeFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = export(used, "--modality", "CT", "--as", "telepacs", "--to", str(out))
    assert done["written"] == 4
    for path in written(out):
        head = pydicom.dcmread(path)
        assert head.AccessionNumber.startswith("CN-")
        assert head.file_meta.TransferSyntaxUID == pydicom.uid.JPEG2000Lossless
    none = export(used, "--modality", "US", "--as", "telepacs", "--to", str(out))
    assert (none["written"], none["unrouted"]) == (0, 1)
    # What was promised counts, not what the rules say by now.
    used.config.write_text(used.config.read_text().replace('with = "CN-"', 'with = "NC-"'))
    again = export(used, "--modality", "CT", "--as", "telepacs", "--to", str(out))
    assert again["there"] == 4


def test_a_file_with_other_bytes_is_left_as_it_is(used: NodeFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(used, "--modality", "MR", "--to", str(out))
    (first, *_) = written(out)
    first.write_bytes(b"somebody else's")
    done = export(used, "--modality", "MR", "--to", str(out), status=1)
    assert first.read_bytes() == b"somebody else's"
    ((failed),) = done["failed"]
    assert (failed["reason"], done["there"]) == ("other-file", 1)
    assert "somebody" not in used.mapdr("export", "--modality", "MR", "--to", str(out)).output


def test_a_full_disk_ends_it_and_the_same_words_go_on(
    used: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    put, left = files._put, [2]

    def put_until_full(file: int, data: bytes) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        put(file, data)

    monkeypatch.setattr(files, "_put", put_until_full)
    result = used.mapdr("export", "--modality", "CT", "--to", str(out))
    assert result.exit_code == 1
    assert "Ended early: the disk of the folder is full" in result.output
    early = len(written(out))
    assert early < 4
    assert all(pydicom.dcmread(path) for path in written(out)), "each that is there is whole"
    monkeypatch.undo()
    done = export(used, "--modality", "CT", "--to", str(out))
    assert (done["written"], done["there"]) == (4 - early, early)


def test_an_image_that_is_gone_is_told_and_the_others_go_on(used: NodeFolder, tmp_path: Path) -> None:
    store = used.store()
    try:
        (row, *_) = json.loads(used.mapdr("deliveries", "--modality", "CT", "--json").output)["deliveries"]
        store.instances.get(row["instance"]).path.unlink()
    finally:
        store.close()
    done = export(used, "--modality", "CT", "--to", str(tmp_path / "out"), status=1)
    assert done["written"] == 3
    ((failed),) = done["failed"]
    assert (failed["instance"], failed["reason"]) == (row["instance"], "missing")


def test_a_list_that_names_what_is_not_here_says_so(used: NodeFolder, tmp_path: Path) -> None:
    image = next(generator.study("CT", images=1, size=(16, 16)))
    listed = tmp_path / "list.txt"
    listed.write_text(f"1.2.3\n{image.sop_instance_uid}\nA-4711\n")
    done = export(used, "--list", str(listed), "--to", str(tmp_path / "out"), status=1)
    assert (done["written"], done["unknown"]) == (1, [1, 3])
    told = used.mapdr("export", "--list", str(listed), "--to", str(tmp_path / "out"))
    assert "2 values of the list chose no image here: number 1, 3" in told.stderr
    assert "A-4711" not in told.output
    listed.write_text("1.2\0.3\n")
    refused = used.mapdr("export", "--list", str(listed), "--to", str(tmp_path / "out"))
    assert refused.exit_code == 2
    assert "value 1 of the list has a control character" in refused.output


def test_a_medium_has_a_dicomdir(used: NodeFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(used, "--modality", "CT", "--to", str(out), "--dicomdir")
    (directory,) = out.glob("*/DICOMDIR")
    records = pydicom.dcmread(directory).DirectoryRecordSequence
    named = {
        directory.parent.joinpath(*record.ReferencedFileID)
        for record in records
        if record.DirectoryRecordType == "IMAGE"
    }
    assert named == set(written(out)) - {directory}
    assert len(named) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say what is exported"),
        (("--modality", "CT", "--layout", "../{SOPInstanceUID}"), "layout"),
        (("--modality", "CT", "--layout", "all.dcm"), "gives every file one name"),
        (("--modality", "CT", "--dicomdir", "--layout", "{SOPInstanceUID}"), "leave out layout"),
        (("--modality", "CT", "--as", "archiv"), 'did you mean "archive"'),
    ],
)
def test_what_is_not_clear_is_refused(
    used: NodeFolder, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "out"
    result = used.mapdr("export", "--to", str(out), *words)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert not out.exists()


def test_nothing_goes_into_the_node_s_own_folders(used: NodeFolder) -> None:
    inside = used.config.parent / "data" / "out"
    result = used.mapdr("export", "--modality", "CT", "--to", str(inside))
    assert result.exit_code == 2
    assert "the node's data" in result.output
    assert not inside.exists()


def test_an_export_is_noted_with_who_and_how_many(used: NodeFolder, tmp_path: Path) -> None:
    export(used, "--modality", "CT", "--to", str(tmp_path / "out"))
    store = used.store()
    try:
        (note,) = [dict(one.arguments) for one in store.commands.take() if one.name == "note"]
    finally:
        store.close()
    assert (note["action"], note["number"], note["of"]) == ("export", 4, "images")
