"""`mapdr doctor` says which twin of each hot path is in use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from mapdr import _fast
from mapdr.kernel.registry import Registry
from mapdr.operate.access import Access
from mapdr.operate.configuration import examine as examine_file
from mapdr.operate.doctor import examine
from mapdr.transform.codecs.table import installed
from paper.nodes import NodeFolder


@pytest.mark.parametrize(
    ("backend", "level", "text"), [("cython", "ok", "compiled"), ("python", "note", "plain Python")]
)
def test_a_hot_path_is_named_with_its_twin(
    monkeypatch: pytest.MonkeyPatch, backend: str, level: str, text: str
) -> None:
    monkeypatch.setitem(_fast.BACKENDS, "P-DATA", backend)
    found = {finding.name: finding for finding in examine(None) if finding.part == "hot paths"}
    assert found.keys() == _fast.BACKENDS.keys()
    assert found["P-DATA"].level == level
    assert found["P-DATA"].text.startswith(text)


def test_every_transfer_syntax_of_the_codec_table_is_named() -> None:
    found = {finding.name: finding for finding in examine(None) if finding.part == "codecs"}
    assert set(found) == {row.name for row in installed(Registry())}


def test_a_disk_that_cannot_be_asked_is_said_and_the_rest_is_examined(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.disk_usage", fail)
    found = {(finding.part, finding.name): finding for finding in examine(used.config)}
    assert found["disk", "free"].level == "bad"
    assert "cannot be found out" in found["disk", "free"].text
    assert found["disk", "writable"].level == "ok"
    assert found["database", "index"].level == "ok"


@pytest.mark.parametrize(
    ("free", "level", "said"),
    [
        (10**12, "ok", "1.0 TB free"),
        (120_000_000, "note", "the disk is nearly full: 120 MB free"),
        (70_000_000, "bad", "the disk is filling: all images but stat ones are REFUSED: 70.0 MB free"),
        (900_000, "bad", "the disk is full: images are REFUSED: 900 kB free"),
    ],
)
def test_each_step_of_a_filling_disk_is_said(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch, free: int, level: str, said: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=10**12, free=free))
    (found,) = [each for each in examine(used.config) if (each.part, each.name) == ("disk", "free")]
    assert found.level == level
    assert found.text.startswith(said)


def test_a_spool_that_cannot_be_written_is_said(used: NodeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "spool" and access(path, mode))
    (found,) = [each for each in examine(used.config) if each.name == "writable"]
    assert (found.level, found.text.endswith("is not writable")) == ("bad", True)


def test_an_index_that_another_program_has_locked_is_said(used: NodeFolder) -> None:
    def said() -> tuple[str, str]:
        (found,) = [finding for finding in examine(used.config) if finding.part == "database"]
        return found.level, found.text

    assert said() == ("ok", "is readable and consistent")
    data = examine_file(used.config).plan.node.data  # type: ignore[union-attr]
    with closing(sqlite3.connect(data / "index.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert said() == ("bad", "locked by another program")
    assert said() == ("ok", "is readable and consistent")


def test_the_report_is_whole_at_eighty_columns(used: NodeFolder) -> None:
    output = used.mapdr("doctor", width=80).output
    assert max(map(len, output.splitlines())) <= 80
    shown = " ".join(output.split())
    for found in examine(used.config):
        if found.part in ("hot paths", "codecs", "database"):
            assert f"{found.name} {found.level} {found.text}" in shown


def test_doctor_says_what_a_running_node_says_of_its_store(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = {"refusing": "the disk is broken", "without_journal": "it was removed; restart the node"}
    used.beat(store=health)

    def said() -> dict[str, tuple[str, str]]:
        return {each.name: (each.level, each.text) for each in examine(used.config) if each.part == "node"}

    monkeypatch.setattr(Access, "alive", False)
    assert not said()
    monkeypatch.setattr(Access, "alive", True)
    assert said()["intake"] == ("bad", "images are REFUSED: the disk is broken")
    level, text = said()["journal"]
    assert level == "note"
    assert text.endswith("it was removed; restart the node")
