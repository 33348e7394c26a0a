"""explain shows and sends nothing; send keeps files safe, and says which it refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pydicom
import pytest

from mapdr.config.revision import read_revision
from mapdr.dicom.transfer_syntax import TRANSFER_SYNTAXES, TransferSyntax
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.operate import explain as command
from mapdr.store.spool import filemeta
from mapdr.testing import generator
from mapdr.transform.codecs.table import Codecs
from paper.nodes import NodeFolder


def _json(node: NodeFolder, *words: str, status: int = 0) -> Any:
    result = node.mapdr(*words, "--json")
    assert result.exit_code == status, result.output
    return json.loads(result.output)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    path = tmp_path / "ct.dcm"
    path.write_bytes(next(generator.study("CT", images=1, size=(64, 64))).part10())
    return path


def test_explain_shows_rules_changes_size_and_quality(node: NodeFolder, ct: Path) -> None:
    told = _json(node, "explain", str(ct), "--identify")
    first, second = told["rules"]
    assert first["matched"]
    assert first["because"] == ["Modality is CT"]
    assert second["shadowed"] == ["telepacs"]
    tele, archive = told["deliveries"]
    assert [tele["destination"], archive["destination"]] == ["telepacs", "archive"]
    assert tele["edits"] == ['edit 1: AccessionNumber begins with "CN-"']
    (change,) = tele["changes"]
    assert (change["before"], change["after"]) == ("CT00000000", "CN-CT00000000")
    assert tele["bytes"] < told["bytes"]
    assert tele["quality"] == {"max_error": 0, "psnr": None}
    assert tele["compression"]["course"] == "lossless"
    assert tele["compression"]["ratio"] > 1
    assert archive["compression"] is None
    assert (archive["changes"], archive["bytes"], archive["treatment"]) == ([], told["bytes"], "relayed")


def test_explain_in_words(node: NodeFolder, ct: Path) -> None:
    output = node.mapdr("explain", str(ct), "--identify", width=160).output
    for words in ("CT Image Storage", "matches, Modality is CT", "CN-CT00000000", "pixels: equal"):
        assert words in output
    assert "an earlier rule decides what is done" in " ".join(output.split())


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES, ids=lambda syntax: syntax.name)
def test_explain_names_each_transfer_syntax_as_the_rest_of_mapdr_does(syntax: TransferSyntax) -> None:
    """JPEG XL too, which pydicom's dictionary does not have."""
    assert command._syntax_name(syntax.uid) == f"{syntax.name} ({syntax.uid})"
    assert command._syntax_name("1.2.3") == "1.2.3"


def test_explain_tells_why_a_rule_does_not_match_and_that_an_image_is_unrouted(
    node: NodeFolder, tmp_path: Path
) -> None:
    path = tmp_path / "us.dcm"
    path.write_bytes(next(generator.study("US", images=1, size=(16, 16))).part10())
    output = " ".join(node.mapdr("explain", str(path)).output.split())
    assert 'Modality is not the wanted value "CT" (it is "US")' in output
    assert "shown as unrouted" in output


def test_explain_knows_the_receivers(node: NodeFolder, ct: Path) -> None:
    for known in ("modalities", "send"):
        assert node.mapdr("explain", str(ct), "--receiver", known).exit_code == 0
    result = node.mapdr("explain", str(ct), "--receiver", "modality")
    assert result.exit_code != 0
    assert 'there is no receiver "modality"; did you mean "modalities"?' in " ".join(result.output.split())


def test_explain_has_the_memory_of_the_node(
    node: NodeFolder, ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    codecs = command.Codecs

    def made(registry: Registry, settings: Settings) -> Codecs:
        given.append(settings.memory)
        return codecs(registry, settings)

    monkeypatch.setattr(command, "Codecs", made)
    node.config.write_text(node.config.read_text().replace("[node]\n", '[node]\nmemory = "777 MB"\n'))
    assert node.mapdr("explain", str(ct)).exit_code == 0
    assert set(given) == {777_000_000}


def test_explain_makes_nothing(node: NodeFolder, ct: Path) -> None:
    node.mapdr("explain", str(ct))
    assert not (node.config.parent / "data").exists()


def test_a_transform_that_fails_is_told_and_is_status_1(node: NodeFolder, tmp_path: Path) -> None:
    ds = pydicom.dcmread(io.BytesIO(next(generator.study("CT", images=1, size=(16, 16))).part10()))
    ds.AccessionNumber = "X" * 15
    path = tmp_path / "long.dcm"
    ds.save_as(path)
    told = _json(node, "explain", str(path), status=1)
    assert told["deliveries"][0]["error"]
    assert not told["deliveries"][1]["error"]


def test_send_as_they_are(node: NodeFolder, ct: Path) -> None:
    sent = _json(node, "send", str(ct), "--to", "archive")
    assert len(sent["images"]) == 1
    assert not sent["node_runs"]
    (row,) = _json(node, "deliveries")["deliveries"]
    assert (row["destination"], row["state"], row["instance"]) == ("archive", "pending", sent["images"][0])


@pytest.mark.parametrize("words", [(), ("--to", "archive")])
def test_what_webhooks_tell_is_kept_of_what_is_sent(
    node: NodeFolder, ct: Path, words: tuple[str, ...]
) -> None:
    hook = """
[webhook.ris]
url = "http://127.0.0.1:9/"
on = ["study.delivered"]
payload = { part = "{BodyPartExamined}", maker = "{Manufacturer}" }
"""
    node.config.write_text(node.config.read_text() + hook)
    _json(node, "send", str(ct), *words)
    expected = pydicom.dcmread(ct, stop_before_pixels=True)
    store = node.store()
    try:
        tags = store.studies.tags(1)
    finally:
        store.close()
    assert expected.Manufacturer
    assert tags[0x00080070,] == expected.Manufacturer


@pytest.mark.parametrize("words", [(), ("--to", "archive")])
def test_the_rules_of_what_is_sent_are_kept_for_recovery(
    node: NodeFolder, ct: Path, words: tuple[str, ...]
) -> None:
    sent = _json(node, "send", str(ct), *words)
    store = node.store()
    try:
        with store.instances.get(sent["images"][0]).path.open("rb") as file:
            revision = filemeta.decode(file).revision
        kept = read_revision(store.data, revision, Registry())
    finally:
        store.close()
    assert kept.config is not None
    rules = [rule.name for rule in kept.config.rule]
    assert rules == ["mapdr send"] if words else len(rules) > 1


def test_send_by_the_rules(node: NodeFolder, ct: Path) -> None:
    _json(node, "send", str(ct))
    rows = _json(node, "deliveries")["deliveries"]
    assert {row["destination"] for row in rows} == {"telepacs", "archive"}


def test_a_folder_with_other_files_in_it(node: NodeFolder, ct: Path, tmp_path: Path) -> None:
    folder = tmp_path / "disc"
    folder.mkdir()
    ct.rename(folder / "1.dcm")
    (folder / "readme.txt").write_text("not an image")
    sent = _json(node, "send", str(folder), status=1)
    assert len(sent["images"]) == 1
    assert [Path(one["file"]).name for one in sent["refused"]] == ["readme.txt"]
    output = node.mapdr("send", str(folder / "1.dcm")).output
    assert "1 image in the store" in output
    assert "The node is not running" in output


def test_what_the_index_does_not_take_is_not_told_as_on_its_way(
    node: NodeFolder, ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*facts: object) -> object:
        raise OverflowError

    monkeypatch.setattr("mapdr.store.queue.ingest.Ingest.enter", fails)
    sent = _json(node, "send", str(ct), status=1)
    assert (len(sent["images"]), sent["not_indexed"]) == (1, 1)
    result = node.mapdr("send", str(ct))
    assert result.exit_code == 1
    assert "0 images in the store" in result.output
    assert "1 image is safe in the spool, but the index does not take them" in result.output


def test_what_c_store_refuses_is_refused(node: NodeFolder, tmp_path: Path) -> None:
    whole = next(generator.study("CT", images=1, size=(64, 64))).part10()
    image = pydicom.dcmread(io.BytesIO(whole))
    (tmp_path / "cut.dcm").write_bytes(whole[:-100])
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "1.2.840.99999." + "1" * 53
    image.save_as(tmp_path / "uid of 67.dcm")
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    del image.StudyInstanceUID
    image.save_as(tmp_path / "no study.dcm")
    sent = _json(node, "send", str(tmp_path), "--to", "archive", status=1)
    assert sent["images"] == []
    why = {Path(each["file"]).name: each["comment"] for each in sent["refused"]}
    assert why["cut.dcm"].startswith("0xC000: the data set is incomplete")
    assert why["uid of 67.dcm"].startswith("0x0117: ")
    assert why["no study.dcm"] == "0xC000: the data set has no Study Instance UID"


def test_what_is_sent_is_byte_identical_in_the_spool(node: NodeFolder, ct: Path) -> None:
    image = next(generator.study("CT", images=1, size=(64, 64)))
    _json(node, "send", str(ct), "--to", "archive")
    (spooled,) = (node.config.parent / "data").rglob("*.dcm")
    assert spooled.read_bytes().endswith(image.dataset)


def test_an_unknown_destination_is_status_2(node: NodeFolder, ct: Path) -> None:
    result = node.mapdr("send", str(ct), "--to", "archiv")
    assert result.exit_code == 2
    assert 'did you mean "archive"?' in result.output
    assert not (node.config.parent / "data").exists()
