"""Keys of projects, and UIDs forward and back by them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from mapdr.dicom.deidentify.keys import Key, parse_key, project_key
from mapdr.operate.access import access
from mapdr.operate.audit import FOLDER
from mapdr.operate.errors import RequestError
from mapdr.operate.keys import export_key, import_key, new_key, uids
from mapdr_cli.main import main
from paper.nodes import NodeFolder


def test_a_key_goes_from_node_to_node(used: NodeFolder, tmp_path: Path) -> None:
    file = tmp_path / "trial.key"
    with access(used.config) as opened:
        kept = new_key(opened, "trial")
        assert kept.written.startswith("file:")
        if os.name != "nt":
            assert stat.S_IMODE(Path(kept.file).stat().st_mode) == 0o600
        export_key(opened, "trial", file)
        same = import_key(opened, "again", file)
        assert Path(same.file).read_text() == Path(kept.file).read_text() == file.read_text()
        export_key(opened, "site", tmp_path / "site.key")
        site = (opened.plan.node.data / "keys/site.key").read_bytes()
        assert parse_key((tmp_path / "site.key").read_text()) == project_key(site) != site
        for wrong in (
            lambda: new_key(opened, "trial"),
            lambda: new_key(opened, "site"),
            lambda: new_key(opened, "../out"),
            lambda: export_key(opened, "trial", file),
            lambda: export_key(opened, "none", tmp_path / "none.key"),
        ):
            with pytest.raises(RequestError):
                wrong()
        file.write_text("a secret that is none")
        with pytest.raises(RequestError, match="no key of 64") as caught:
            import_key(opened, "third", file)
        assert "secret that" not in str(caught.value)


def test_uids_forward_and_back(used: NodeFolder, tmp_path: Path) -> None:
    (tmp_path / "a.key").write_text("ab" * 32)
    key = Key(bytes.fromhex("ab" * 32))
    with access(used.config) as opened:
        known = sorted(set(opened.index().instances.uids()))
        assert len(known) > 3
        asked = [known[0], key.uid(known[-1]), key.uid("1.2.3"), "1.2.840.10008.1.2"]
        found = uids(opened, asked, f"file:{tmp_path / 'a.key'}")
        assert [each.original for each in found] == ["", known[-1], "", ""]
        assert [each.new for each in found] == [key.uid(each) for each in asked]
        assert found[3].new == "1.2.840.10008.1.2"
        kept = "".join(each.read_text() for each in (opened.plan.node.data / FOLDER).iterdir())
        assert "view uid" in kept
        assert known[-1] not in kept
        own = uids(opened, ["1.2.3"])
        assert own[0].new != key.uid("1.2.3")
        for uid, place in (("Doe", ""), ("1.2", "file:none.key"), ("1.2", "secret")):
            with pytest.raises(RequestError):
                uids(opened, [uid], place)


def test_the_commands(used: NodeFolder, tmp_path: Path) -> None:
    def mapdr(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(main, [*words, "--config", str(used.config)])
        assert result.exit_code == status, result.output
        return result.output

    assert 'key = "file:' in mapdr("key", "new", "trial")
    mapdr("key", "new", "trial", status=2)
    mapdr("key", "export", "trial", str(tmp_path / "a.key"))
    assert 'key = "file:' in mapdr("key", "import", "other", str(tmp_path / "a.key"))
    key = Key(parse_key((tmp_path / "a.key").read_text()))
    assert key.uid("1.2.3") in mapdr("uid", "1.2.3", "--key", f"file:{tmp_path / 'a.key'}", "--json")
