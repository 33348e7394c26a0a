"""A copy of a data folder, part by part: what is linked, copied, left out, and what of it is told."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from mapdr.store import backup
from mapdr.store.backup import OVER, _Copying, copy_data, copy_file, digest_of, spool_files
from mapdr.store.spool.claim import Claim, running_file
from mapdr.store.spool.files import Spool
from mapdr.store.spool.ids import id_floor
from store.world import CT, EXPLICIT, SOURCE, data_set

NOW = time.time()
POSIX = pytest.mark.skipif(os.name == "nt", reason="of POSIX")


class Data:
    """A data folder with images in the hours that are said, and its copy in the making."""

    def __init__(self, folder: Path) -> None:
        self.data, self.target = folder / "data", folder / "copy"
        self.target.mkdir(parents=True)
        self.spool = Spool(self.data, "node", "process-crash", submit=lambda arrival: None)
        self.told: list[int] = []

    def image(self, hours_ago: float) -> str:
        """A whole image of some hours ago; its path in the data folder."""
        incoming = self.spool.begin(SOURCE, CT, "1.2.3", EXPLICIT)
        incoming.write(data_set("1.2.3"))
        incoming.commit()
        moved = self.spool.path(id_floor(NOW - hours_ago * 3600))
        moved.parent.mkdir(exist_ok=True)
        self.spool.path(incoming.id).rename(moved)
        return moved.relative_to(self.data).as_posix()

    def put(self, path: str, content: bytes = b"some") -> None:
        (self.data / path).parent.mkdir(parents=True, exist_ok=True)
        (self.data / path).write_bytes(content)

    def copying(self) -> _Copying:
        return _Copying(self.data, self.target, self.told.append, NOW)

    def copied(self) -> set[str]:
        return {path.relative_to(self.target).as_posix() for path in self.target.rglob("*") if path.is_file()}


@pytest.fixture
def made(tmp_path: Path) -> Data:
    return Data(tmp_path)


def test_only_hours_that_are_over_are_linked(made: Data) -> None:
    """One is not over for two hours after its beginning: an image may come into it late."""
    old, edge, late = made.image(9), made.image(OVER / 3600), made.image(OVER / 3600 - 1)
    copying = made.copying()
    copying.spool()
    assert copying.done.linked == {old, edge}
    assert copying.done.digests == {path: digest_of(made.data / path) for path in (old, edge, late)}
    linked = {path for path in made.copied() if (made.target / path).stat().st_nlink == 2}
    assert linked == {old, edge}
    assert made.told == [1, 2, 3]
    copying.spool()
    assert made.told == [1, 2, 3], "nothing is copied twice"


def test_what_is_not_whole_is_left_out_where_it_may_be_on_its_way(made: Data) -> None:
    whole, torn, old = made.image(0), made.image(1), made.image(9)
    for path in (torn, old):
        content = (made.data / path).read_bytes()
        made.put(path, content[:-1])
    strange = f"{os.path.dirname(whole)}/{'f' * 32}.dcm"
    made.put(strange, b"no file of ours")
    copying = made.copying()
    for _ in range(2):
        copying.spool()
        assert copying.done.unfinished == 2
        assert copying.done.digests.keys() == made.copied() == {whole, old}
    made.put(torn, content)
    copying.spool()
    assert copying.done.unfinished == 1
    assert made.copied() == {whole, old, torn}


@pytest.mark.parametrize("works", [True, False])
def test_a_process_marks_stay_and_the_journal_only_of_a_node_that_does_not_run(
    made: Data, works: bool
) -> None:
    """What a crash left in it is in no file yet."""
    image = made.image(0)
    for name in ("claim", "node", "running", "in-hand.pacs", "journal/001.segment"):
        made.put(f"spool/node/{name}")
    hour = os.path.dirname(image)
    made.put(f"{hour}/{'e' * 32}.part")
    made.put(f"{hour}/in-hand.1")
    made.put(f"{hour}/{'e' * 32}.damaged")
    made.put("spool/other/journal/001.segment")
    claim = Claim(running_file(made.data, "node"), "node")
    if works:
        claim.alone(0)
    try:
        made.copying().spool()
    finally:
        claim.release()
    kept = {image, f"{hour}/in-hand.1", f"{hour}/{'e' * 32}.damaged", "spool/other/journal/001.segment"}
    assert made.copied() == (kept if works else {*kept, "spool/node/journal/001.segment"})


@POSIX
def test_all_else_comes_along_but_for_the_index_logs_and_what_is_no_file(made: Data, tmp_path: Path) -> None:
    kept = {"keys/a.key", "audit/mapdr.log", "keys/spool/b", "keys/index.db", "users.json", "linked/there/c"}
    for path in kept - {"linked/there/c"}:
        made.put(path)
    for path in ("index.db", "index.db-wal", "index.db.schema-4", "mapdr.log", "mapdr.log.1", "keys/x.part"):
        made.put(path)
    made.put("spool/node/2026010100/x.dcm")
    (tmp_path / "elsewhere" / "there").mkdir(parents=True)
    (tmp_path / "elsewhere" / "there" / "c").write_bytes(b"some")
    (made.data / "linked").symlink_to(tmp_path / "elsewhere")
    for number, target in enumerate((made.data, made.data / "keys", made.target, tmp_path)):
        (made.data / "keys" / f"round{number}").symlink_to(target)
    os.mkfifo(made.data / "pipe")
    made.copying().rest()
    assert made.copied() == kept


def test_what_is_gone_meanwhile_is_none(made: Data) -> None:
    copying = made.copying()
    assert copying._take("keys/gone") is False
    assert copying._link("keys/gone") is False
    copying._of_spool("spool/node/2026010100/gone.dcm", over=True)
    assert (copying.done.digests, copying.done.linked, made.copied(), made.told) == ({}, set(), set(), [])


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EIO])
def test_without_links_files_are_copied_and_other_faults_are_told(
    made: Data, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    old = made.image(9)

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    copying = made.copying()
    if code == errno.EIO:
        with pytest.raises(OSError, match=os.strerror(code)):
            copying.spool()
        return
    copying.spool()
    assert (copying.done.linked, made.copied()) == (set(), {old})


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_copy_has_the_mode_and_all_bytes_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setattr(backup, "_CHUNK", 7)
    (tmp_path / "one").write_bytes(bytes(range(100)))
    (tmp_path / "one").chmod(mode)
    told = copy_file(tmp_path / "one", tmp_path / "two")
    assert told == digest_of(tmp_path / "one") == digest_of(tmp_path / "two")
    assert told[1] == 100
    assert stat.S_IMODE((tmp_path / "two").stat().st_mode) == mode
    with pytest.raises(FileExistsError):
        copy_file(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").exists()


def test_a_copy_that_fails_leaves_nothing_and_one_that_is_made_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").write_bytes(b"some")
    seen: list[bytes] = []

    def flush(file: Any) -> None:
        file.flush()
        seen.append((tmp_path / "two").read_bytes())
        if len(seen) == 2:
            raise OSError(errno.EIO, "error")

    monkeypatch.setattr(backup, "flush_file", flush)
    copy_file(tmp_path / "one", tmp_path / "two")
    assert seen == [b"some"]
    (tmp_path / "two").unlink()
    with pytest.raises(OSError, match="error"):
        copy_file(tmp_path / "one", tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_a_copy_is_the_spool_the_index_the_spool_again_and_the_rest(
    made: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, key = made.image(9), "keys/a.key"
    made.put(key)
    made.target.rmdir()
    came: list[str] = []
    lost = id_floor(NOW - 50 * 3600)

    def copy_index(source: Path, target: Path) -> None:
        assert source == made.data / "index.db"
        assert made.copied() == {first}
        came.append(made.image(0))
        target.write_bytes(b"the index")

    flushed: list[Path] = []
    ids = [Path(first).stem, lost]
    monkeypatch.setattr(backup, "copy_index", copy_index)
    monkeypatch.setattr(backup, "files_of_copy", lambda index: [("node", id_) for id_ in ids])
    monkeypatch.setattr(backup, "sync_folder", flushed.append)
    done = copy_data(made.data, made.target, now=NOW)
    assert done.digests.keys() == {first, *came, key, "index.db"} == made.copied()
    assert done.digests["index.db"] == digest_of(made.target / "index.db")
    assert (done.missing, done.unfinished, done.linked) == (1, 0, {first})
    assert set(flushed) == {made.target, *(path for path in made.target.rglob("*") if path.is_dir())}
    assert set(spool_files(made.target)) == {first, *came}
    with pytest.raises(FileExistsError):
        copy_data(made.data, made.target)


def test_a_folder_that_cannot_be_read_is_told(made: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    made.image(0)
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("node"):
            raise PermissionError(errno.EACCES, "denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError):
        made.copying().spool()
    with pytest.raises(PermissionError):
        backup._raise(PermissionError(errno.EACCES, "denied"))
    backup._raise(FileNotFoundError())
