"""Backup and restore: whole or not at all, of a node that works, and never over what is there."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.kernel.errors import MapdrError
from mapdr.operate import backup as backing_up
from mapdr.operate import restore as restoring
from mapdr.operate.access import Access
from mapdr.operate.backup import backup, read_manifest, verify
from mapdr.operate.errors import RequestError
from mapdr.operate.restore import restore
from mapdr.store import Selection
from mapdr.store import backup as copying
from mapdr.store.spool.claim import Claim, node_file
from mapdr.testing import generator
from paper.nodes import NodeFolder

LATER = 4 * 3600
"""Seconds after which the hour of what was received just now is over."""


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder, without those of SQLite that come and go."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def deliveries(node: NodeFolder) -> list[tuple[str, str, str]]:
    """What is promised, and how it stands."""
    store = node.store()
    try:
        rows = store.listing.select(Selection(limit=100))
        return sorted((row.sop_instance_uid, row.destination, row.state) for row in rows)
    finally:
        store.close()


def images(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data.rglob("*.dcm")}


def made(used: NodeFolder, folder: Path) -> Path:
    opened = Access.of(used.config)
    try:
        backup(opened, folder)
    finally:
        opened.close()
    return folder


def test_a_backup_is_all_of_the_node_and_comes_back(used: NodeFolder, tmp_path: Path) -> None:
    data = used.config.parent / "data"
    (data / "keys").mkdir()
    (data / "keys" / "site.key").write_bytes(b"k" * 32)
    (data / "audit").mkdir()
    (data / "prepared" / "north").mkdir(parents=True)
    (data / "audit" / "2026-11-27.log").write_text("seen\n")
    left_out = [data / "mapdr.log", data / "index.db.schema-4", data / "spool" / "clinic-north" / "in-hand.1"]
    left_out.append(data / "prepared" / "north" / "image-abc.part")
    for path in left_out:
        path.write_text("x")
    before, promised = images(data), deliveries(used)
    folder = made(used, tmp_path / "backup")
    manifest = read_manifest(folder)
    assert (manifest.images, manifest.owed, manifest.missing, manifest.unfinished) == (7, 9, 0, 0)
    assert not verify(folder).problems
    kept = {each.path for each in manifest.files}
    assert {"mapdr.toml", "data/index.db", "data/keys/site.key", "data/audit/2026-11-27.log"} <= kept
    assert not {f"data/{path.relative_to(data).as_posix()}" for path in left_out} & kept
    elsewhere = tmp_path / "elsewhere"
    done = restore(folder, elsewhere / "mapdr.toml")
    assert (done.images, done.owed, done.before, done.kept) == (7, 9, "", ())
    assert images(elsewhere / "data") == before
    assert deliveries(NodeFolder(elsewhere / "mapdr.toml")) == promised
    assert (elsewhere / "data" / "keys" / "site.key").read_bytes() == b"k" * 32


def test_files_of_hours_that_are_over_are_second_names(used: NodeFolder, tmp_path: Path) -> None:
    data = used.config.parent / "data"
    done = copying.copy_data(data, tmp_path / "copy", now=time.time() + LATER)
    linked = [path for path in (tmp_path / "copy").rglob("*.dcm") if path.stat().st_nlink == 2]
    assert len(linked) == len(done.linked) == 7
    again = copying.copy_data(data, tmp_path / "again")
    assert not again.linked
    assert images(tmp_path / "again") == images(data)
    assert done.digests.keys() == again.digests.keys()


def test_without_links_all_is_copied(
    used: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    data = used.config.parent / "data"
    done = copying.copy_data(data, tmp_path / "copy", now=time.time() + LATER)
    assert not done.linked
    assert images(tmp_path / "copy") == images(data)


def test_what_is_being_received_is_left_out(used: NodeFolder, tmp_path: Path) -> None:
    data = used.config.parent / "data"
    whole = next(data.rglob("*.dcm"))
    whole.with_name("f" * 32 + ".part").write_bytes(b"begun")
    whole.with_name("f" * 32 + ".dcm").write_bytes(whole.read_bytes()[:-2])
    manifest = read_manifest(made(used, tmp_path / "backup"))
    assert (manifest.unfinished, manifest.missing, manifest.images) == (1, 0, 7)
    assert not [each.path for each in manifest.files if "f" * 32 in each.path]


def test_an_image_that_comes_between_spool_and_index_has_its_file(
    used: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copying.copy_index

    def arrives_first(source: Path, target: Path) -> None:
        used.receive(generator.study("CT", images=3, size=(16, 16)))
        real(source, target)

    monkeypatch.setattr(copying, "copy_index", arrives_first)
    manifest = read_manifest(made(used, tmp_path / "backup"))
    assert (manifest.images, manifest.missing) == (10, 0)


def test_an_image_without_a_file_is_told(used: NodeFolder, tmp_path: Path) -> None:
    next((used.config.parent / "data").rglob("*.dcm")).unlink()
    assert read_manifest(made(used, tmp_path / "backup")).missing == 1


def test_the_files_that_the_configuration_names_come_along(used: NodeFolder, tmp_path: Path) -> None:
    (used.config.parent / "tls").mkdir()
    (used.config.parent / "tls" / "ca.pem").write_text("a certificate")
    (used.config.parent / "token").write_text("a secret")
    hook = '\n[webhook.ris]\nurl = "https://ris.example/"\non = ["study.received"]\n'
    hook += 'auth = {token = "file:token"}\n'
    text = used.config.read_text().replace("port = 2\n", 'port = 2\ntls = { ca = "tls/ca.pem" }\n') + hook
    text += '\n[[rule]]\nname = "blanked"\nwhen = {}\nsend_to = []\nblank = { regions = "ours.toml" }\n'
    (used.config.parent / "ours.toml").write_text('[[image]]\nwhen = {}\nkeep = "ultrasound"\n')
    used.config.write_text(text)
    folder = made(used, tmp_path / "backup")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "token").write_text("another secret")
    done = restore(folder, elsewhere / "mapdr.toml")
    assert (elsewhere / "tls" / "ca.pem").read_text() == "a certificate"
    assert (elsewhere / "ours.toml").is_file()
    assert (elsewhere / "token").read_text() == "another secret"
    assert done.kept == (str(elsewhere / "token"),)
    assert "secret" not in (folder / "manifest.json").read_text()


def test_over_a_node_that_is_there_only_with_force(used: NodeFolder, tmp_path: Path) -> None:
    folder = made(used, tmp_path / "backup")
    used.receive(generator.study("CT", images=2, size=(16, 16)))
    used.config.write_text(used.config.read_text() + "\n# changed\n")
    data = used.config.parent / "data"
    before = contents(data)
    with pytest.raises(RequestError, match=r"there is data in .* and another configuration .*--force"):
        restore(folder, used.config)
    assert contents(data) == before
    done = restore(folder, used.config, force=True)
    assert done.only_before == 2
    assert contents(Path(done.before)) == before
    assert Path(done.config_before).read_text().endswith("# changed\n")
    assert len(images(data)) == 7


def test_not_under_a_running_node(used: NodeFolder, tmp_path: Path) -> None:
    folder = made(used, tmp_path / "backup")
    claim = Claim(node_file(used.config.parent / "data", "clinic-north"), "clinic-north")
    claim.alone(1.0)
    try:
        with pytest.raises(RequestError, match='node "clinic-north" runs'):
            restore(folder, used.config, force=True)
    finally:
        claim.release()
    assert restore(folder, used.config, force=True).images == 7


@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
def test_a_damaged_backup_is_told_and_changes_nothing(used: NodeFolder, tmp_path: Path, damage: str) -> None:
    folder = made(used, tmp_path / "backup")
    victim = next(folder.rglob("*.dcm"))
    content = victim.read_bytes()
    victim.unlink()
    if damage != "gone":
        victim.write_bytes(content[:-1] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    (problem,) = verify(folder).problems
    assert victim.name in problem
    result = used.mapdr("backup", str(folder), "--verify")
    assert result.exit_code == 1
    before = contents(used.config.parent / "data")
    with pytest.raises(MapdrError, match="damaged, and nothing was changed"):
        restore(folder, used.config, force=True)
    assert contents(used.config.parent / "data") == before


def test_a_backup_of_a_later_version_is_refused_in_words(used: NodeFolder, tmp_path: Path) -> None:
    folder = made(used, tmp_path / "backup")
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**told, "schema": "99", "version": "9.1.0"}))
    with pytest.raises(RequestError, match=r"made by MAPDR 9\.1\.0.*restore it with that version"):
        restore(folder, tmp_path / "new" / "mapdr.toml")
    (folder / "manifest.json").write_text(json.dumps({**told, "format": 2, "version": "9.1.0"}))
    with pytest.raises(RequestError, match=r"made by MAPDR 9\.1\.0, in a format"):
        verify(folder)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "data/../../x", "c:x", "data\\..\\x"])
def test_a_manifest_names_nothing_outside(used: NodeFolder, tmp_path: Path, path: str) -> None:
    folder = made(used, tmp_path / "backup")
    told = json.loads((folder / "manifest.json").read_text())
    told["files"][0]["path"] = path
    (folder / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(RequestError, match="outside of it"):
        verify(folder)


def test_odd_targets_are_refused(used: NodeFolder, tmp_path: Path) -> None:
    data = used.config.parent / "data"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    folder = made(used, tmp_path / "backup")
    for target, what in (
        (data / "backup", "in the data folder"),
        (data, "in the data folder"),
        (tmp_path / "full", "is not empty"),
        (tmp_path / "file", "cannot be used"),
        (folder, "holds a backup already"),
    ):
        with pytest.raises(RequestError, match=what):
            made(used, target)
    assert (tmp_path / "full" / "mine").read_text() == "x"
    assert not (data / "backup").exists()
    with pytest.raises(RequestError, match=r"no manifest\.json"):
        restore(tmp_path / "full", tmp_path / "new" / "mapdr.toml")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(used: NodeFolder, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(RequestError, match="cannot be used"):
        made(used, tmp_path / "closed" / "backup")


def test_a_full_disk_leaves_nothing_behind(
    used: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> tuple[str, int]:
        if target.name == "mapdr.toml":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return copying.copy_file(source, target)

    monkeypatch.setattr(backing_up, "copy_file", full)
    with pytest.raises(MapdrError, match="the backup failed and was removed: No space left"):
        made(used, tmp_path / "backup")
    assert not list((tmp_path / "backup").iterdir())


def test_restore_asks_for_room_first(
    used: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(used, tmp_path / "backup")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(MapdrError, match="make room first"):
        restore(folder, used.config, force=True)
    assert len(images(used.config.parent / "data")) == 7


@pytest.mark.parametrize("number", range(1, 7))
def test_a_restore_that_fails_at_any_place_leaves_all_as_it_was(
    used: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    home, named = used.config.parent, used.config.parent / "proxy.pem"
    named.write_text("certificate")
    used.config.write_text(
        used.config.read_text() + '\n[egress.more]\ntype = "dicomweb"\nurl = "https://pacs.example/rs"\n'
        'tls = { ca = "proxy.pem" }\n'
    )
    folder = made(used, tmp_path / "backup")
    assert read_manifest(folder).named
    named.unlink()
    used.config.write_text(used.config.read_text() + "\n# changed\n")
    before, calls = contents(home), 0

    def full(real: Any) -> Any:
        """What puts something in its place; the call `number` of them finds the disk full."""

        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "QXPLACEQX")
            return real(*arguments)

        return call

    for name in ("write_durably", "same_rights"):
        monkeypatch.setattr(restoring, name, full(getattr(restoring, name)))
    monkeypatch.setattr(restoring.Path, "rename", full(Path.rename))
    with pytest.raises(MapdrError, match="could not be restored: No space left"):
        restore(folder, used.config, force=True)
    assert contents(home) == before
    monkeypatch.undo()
    assert restore(folder, used.config, force=True).images == 7


@pytest.mark.skipif(os.name == "nt", reason="links there need a right of their own")
def test_data_and_configuration_behind_links_stay_there(used: NodeFolder, tmp_path: Path) -> None:
    folder, data = made(used, tmp_path / "backup"), used.config.parent / "data"
    real = used.config.rename(tmp_path / "real.toml")
    real.write_text("")
    used.config.symlink_to(real)
    disk = tmp_path / "disk"
    disk.mkdir()
    data.symlink_to(data.rename(disk / "data"))
    done = restore(folder, used.config, force=True)
    assert used.config.is_symlink()
    assert data.is_symlink()
    assert len(images(data)) == 7
    assert Path(done.before).parent == disk
    assert real.read_bytes() == (folder / "mapdr.toml").read_bytes()
    assert Path(done.config_before).read_bytes() == b""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_what_root_restores_is_the_node_s_account_s(used: NodeFolder, tmp_path: Path) -> None:
    folder = made(used, tmp_path / "backup")
    used.config.write_text(used.config.read_text() + "\n# changed\n")
    used.config.chmod(0o600)
    os.chown(used.config, 1234, 1235)
    done = restore(folder, used.config, force=True)
    for path in (used.config, Path(done.config_before)):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 1235, 0o600)
    new = tmp_path / "new"
    new.mkdir()
    os.chown(new, 1234, 1235)
    restore(folder, new / "mapdr.toml")
    assert {each.stat().st_uid for each in new.rglob("*")} == {1234}


KILLED = """
import os, sys
from pathlib import Path
from mapdr.operate import restore
from mapdr.operate.access import Access
from mapdr.operate.backup import backup
from mapdr.store import backup as copying
what, after, config, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
count = 0
def deadly(real):
    def call(*arguments):
        global count
        count += 1
        if count > after:
            os.kill(os.getpid(), 9)
        return real(*arguments)
    return call
os.fsync, os.rename = deadly(os.fsync), deadly(os.rename)
if what == "backup":
    backup(Access.of(config), folder)
else:
    restore.restore(folder, config, force=True)
"""


def killed(what: str, after: int, config: Path, folder: Path) -> bool:
    """Do it in a process that is killed at its flush or rename number `after` + 1; whether it got so far."""
    command = [sys.executable, "-c", KILLED, what, str(after), str(config), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode != 0


@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9")
@pytest.mark.parametrize("after", [0, 3, 9, 14, 17, 20])
def test_a_backup_that_is_killed_is_none(used: NodeFolder, tmp_path: Path, after: int) -> None:
    folder = tmp_path / "backup"
    if not killed("backup", after, used.config, folder):
        assert not verify(folder).problems
        return
    if (folder / "manifest.json").exists():  # killed behind its last name
        assert not verify(folder).problems
        return
    with pytest.raises(RequestError, match=r"no manifest\.json"):
        restore(folder, tmp_path / "new" / "mapdr.toml")
    if (folder / "data").exists():
        with pytest.raises(RequestError, match="not finished"):
            made(used, folder)
    assert len(images(used.config.parent / "data")) == 7


@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9")
@pytest.mark.parametrize("after", [0, 4, 8, 10, 12, 13, 14, 15, 16, 17, 18, 20])
def test_a_restore_that_is_killed_loses_nothing(used: NodeFolder, tmp_path: Path, after: int) -> None:
    folder = made(used, tmp_path / "backup")
    used.receive(generator.study("CT", images=2, size=(16, 16)))
    data = used.config.parent / "data"
    before = images(data)
    killed("restore", after, used.config, folder)
    # Whatever has a name by now: the previous images stand under one of two.
    stand = [images(each) for each in used.config.parent.glob("data*") if "restoring" not in each.name]
    assert before in stand
    done = restore(folder, used.config, force=True)
    assert done.images == len(images(data)) == 7
    assert before in [images(each) for each in used.config.parent.glob("data.before-*")]
    assert not (used.config.parent / "data.restoring").exists()


@pytest.mark.skipif(os.name == "nt", reason="links, and pipes with names, are POSIX's")
def test_what_is_linked_comes_along_and_a_pipe_is_not_waited_for(used: NodeFolder, tmp_path: Path) -> None:
    data = used.config.parent / "data"
    elsewhere = tmp_path / "elsewhere"
    (data / "keys").rename(elsewhere) if (data / "keys").exists() else elsewhere.mkdir()
    (elsewhere / "site.key").write_bytes(b"k" * 32)
    (data / "keys").symlink_to(elsewhere)
    (data / "round").symlink_to(data)
    os.mkfifo(data / "pipe")
    folder = made(used, tmp_path / "backup")
    assert (folder / "data" / "keys" / "site.key").read_bytes() == b"k" * 32
    assert not (folder / "data" / "round").exists()
    assert not (folder / "data" / "pipe").exists()
    assert not verify(folder).problems


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_data_folder_that_is_linked_to_stays_where_it_is(used: NodeFolder, tmp_path: Path) -> None:
    data, disk = used.config.parent / "data", tmp_path / "disk"
    disk.mkdir()
    data.rename(disk / "data")
    data.symlink_to(disk / "data")
    folder = made(used, tmp_path / "backup")
    done = restore(folder, used.config, force=True)
    assert data.is_symlink()
    assert (Path(done.data).parent, Path(done.before).parent) == (disk, disk)
    assert len(images(disk / "data")) == 7


def test_a_data_folder_that_is_a_disk_is_told_before_anything_is_written(
    used: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(used, tmp_path / "backup")
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path).name == "data")
    with pytest.raises(RequestError, match="a file system of its own"):
        restore(folder, used.config, force=True)
    assert not (used.config.parent / "data.restoring").exists()


@pytest.mark.parametrize("what", ["folder", "name"])
def test_a_configuration_that_cannot_be_put_leaves_all_as_it_was(
    used: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    folder = made(used, tmp_path / "backup")
    data, config = used.config.parent / "data", used.config
    before = contents(used.config.parent)
    if what == "folder":
        text = (folder / "mapdr.toml").read_text().replace('"data"', json.dumps(str(data)))
        used.config.write_text(text)
        folder = made(used, tmp_path / "another")
        (tmp_path / "file").write_text("x")
        before, config = contents(used.config.parent), tmp_path / "file" / "mapdr.toml"
    else:
        used.config.write_text(used.config.read_text() + "# changed\n")
        before = contents(used.config.parent)
        real = os.replace

        def refused(source: Path, target: Path) -> None:
            if Path(target) == config:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
            real(source, target)

        monkeypatch.setattr("mapdr.operate.restore.os.replace", refused)
    with pytest.raises(MapdrError, match="could not be restored"):
        restore(folder, config, force=True)
    assert contents(used.config.parent) == before, "no data was put in place, and nothing is left over"


def test_a_named_file_in_the_data_folder_comes_with_it(used: NodeFolder, tmp_path: Path) -> None:
    (used.config.parent / "data" / "ris.key").write_text("the key")
    headers = '\n[webhook.extra]\nurl = "http://127.0.0.1:9/"\non = ["study.received"]\n'
    used.config.write_text(
        used.config.read_text() + headers + 'headers = { "X-Key" = "file:data/ris.key" }\n'
    )
    folder = made(used, tmp_path / "backup")
    done = restore(folder, tmp_path / "new" / "mapdr.toml")
    assert done.before == ""
    assert (tmp_path / "new" / "data" / "ris.key").read_text() == "the key"
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == ["data", "mapdr.toml"]


@pytest.mark.skipif(os.name == "nt", reason="a file has the rights of its folder there")
def test_who_could_read_the_configuration_still_can(used: NodeFolder, tmp_path: Path) -> None:
    folder = made(used, tmp_path / "backup")
    used.config.write_text(used.config.read_text() + "# changed\n")
    used.config.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(used.config, 12345, 23456)
    owner = used.config.stat()
    done = restore(folder, used.config, force=True)
    for path in (used.config, Path(done.config_before)):
        now = path.stat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (owner.st_mode, owner.st_uid, owner.st_gid)


@pytest.mark.parametrize(
    "change",
    [
        {"made_at": "soon"},
        {"made_at": 1e300},
        {"made_at": float("nan")},
        {"images": "many"},
        {"files": []},
        {"files": [{"path": 1, "size": 1, "sha256": ""}]},
        {"files": [{"path": "x", "size": "1", "sha256": ""}]},
        {"named": [{"path": "../../etc/passwd", "place": "x"}]},
        {"named": [{"path": "named/none", "place": 1}]},
    ],
)
def test_a_manifest_with_odd_values_is_refused(
    used: NodeFolder, tmp_path: Path, change: dict[str, object]
) -> None:
    folder = made(used, tmp_path / "backup")
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**told, **change}))
    with pytest.raises(RequestError, match="no backup that can be used"):
        restore(folder, tmp_path / "new" / "mapdr.toml")
    assert not (tmp_path / "new").exists()
