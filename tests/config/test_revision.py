"""Revisions: the same configuration has the same hash, and is read back by it; the site key stays."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from mapdr.config.read import read, read_text
from mapdr.config.revision import keep_revision, read_revision
from mapdr.config.site import site_key
from mapdr.kernel.durable import write_durably
from mapdr.kernel.errors import ConfigurationError

from .fakes import fake_registry
from .test_read import EXAMPLE


def test_layout_and_comments_make_no_new_revision():
    first = read_text(EXAMPLE)
    again = read_text(
        "# a comment\n"
        + EXAMPLE.replace("port = 2762\n", "").replace(
            'type = "dicom"\nae_title', 'port   =   2762 # moved\ntype = "dicom"\nae_title'
        )
    )
    other = read_text(EXAMPLE.replace("2762", "2763"))
    assert first.revision == again.revision == hashlib.sha256(first.canonical.encode()).hexdigest()
    assert other.revision != first.revision


def test_the_order_of_rules_and_values_is_part_of_it():
    rules = (
        '[[rule]]\nname = "a"\nwhen = {}\nsend_to = []\n',
        '[[rule]]\nname = "b"\nwhen = {}\nsend_to = []\n',
    )
    assert read_text("".join(rules)).revision != read_text("".join(reversed(rules))).revision


def test_a_kept_revision_is_read_back(tmp_path):
    registry = fake_registry()
    loaded = read_text(EXAMPLE, registry, base=tmp_path)
    path = keep_revision(tmp_path, loaded)
    assert path == tmp_path / "revisions" / f"{loaded.revision}.toml"
    assert keep_revision(tmp_path, loaded) == path
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    again = read_revision(tmp_path, loaded.revision, registry, base=tmp_path)
    assert again.problems == ()
    assert again.config == loaded.config
    assert again.revision == loaded.revision


@pytest.mark.skipif(os.name == "nt", reason="names are not flushed there")
def test_a_revision_that_is_there_is_flushed_with_its_folder(tmp_path, monkeypatch):
    """Who has made it may have been killed before he came to that."""
    loaded = read_text(EXAMPLE, fake_registry())
    keep_revision(tmp_path, loaded)
    flushed = set()
    monkeypatch.setattr(os, "fsync", lambda file: flushed.add(os.fstat(file).st_ino))
    keep_revision(tmp_path, loaded)
    assert {path.stat().st_ino for path in (tmp_path, tmp_path / "revisions")} <= flushed


def test_what_has_problems_is_not_kept(tmp_path):
    loaded = read_text("[nod]", fake_registry())
    with pytest.raises(ConfigurationError, match="has problems"):
        keep_revision(tmp_path, loaded)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("revision", ["0" * 64, "../../mapdr", ""])
def test_a_revision_that_was_never_kept(tmp_path, revision):
    with pytest.raises(ConfigurationError, match="not among those kept"):
        read_revision(tmp_path, revision)


def test_a_revision_that_was_changed_is_not_believed(tmp_path):
    loaded = read_text(EXAMPLE, fake_registry())
    path = keep_revision(tmp_path, loaded)
    path.write_text(path.read_text().replace("telepacs", "elsewhere"))
    with pytest.raises(ConfigurationError, match="was changed after it was kept"):
        read_revision(tmp_path, loaded.revision)


def test_a_small_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.toml"
    write_durably(path, b"one")
    write_durably(path, b"two")
    assert path.read_bytes() == b"two"
    assert [each.name for each in tmp_path.iterdir()] == ["a.toml"]


def test_the_site_key_is_made_once(tmp_path):
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(site_key(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 4
    assert set(keys) == {site_key(tmp_path)}
    assert len(keys[0]) == 32
    assert keys[0] != site_key(tmp_path / "other")
    path = tmp_path / "keys" / "site.key"
    assert [each.name for each in path.parent.iterdir()] == ["site.key"]
    if os.name != "nt":
        assert path.stat().st_mode & 0o077 == 0


def test_a_damaged_site_key_is_not_replaced(tmp_path):
    site_key(tmp_path)
    (tmp_path / "keys" / "site.key").write_bytes(b"short")
    with pytest.raises(ConfigurationError, match=r"keys/site\.key is damaged: it has 5 bytes instead of 32"):
        site_key(tmp_path)


def test_files_that_cannot_be_read(tmp_path):
    gone = read(tmp_path / "mapdr.toml")
    assert gone.config is None
    assert [str(problem) for problem in gone.problems] == [
        f"{tmp_path / 'mapdr.toml'}: cannot be read (No such file or directory); "
        "name another file with --config, or write one with: mapdr init"
    ]
    (tmp_path / "latin.toml").write_bytes(b"[node]\nname = '\xe9'\n")
    latin = read(tmp_path / "latin.toml")
    assert [str(problem) for problem in latin.problems] == [
        f"{tmp_path / 'latin.toml'}:2: is not UTF-8 text; save the file as UTF-8"
    ]
    (tmp_path / "marked.toml").write_bytes(b'\xef\xbb\xbf[node]\r\nname = "x"\r\nzzz = 1\r\n')
    marked = read(tmp_path / "marked.toml", fake_registry())
    assert marked.config is not None
    assert marked.config.node.data == tmp_path / "mapdr-data"
    assert [problem.line for problem in marked.problems] == [3]
