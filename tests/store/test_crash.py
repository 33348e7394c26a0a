"""Kill a receiving process at each numbered point of `mapdr.store.spool.files`, start again, and compare."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mapdr.store import Rules, Selection, Store
from mapdr.store.spool.folder import SpoolFolder
from mapdr.store.spool.journal import record, segment
from mapdr.store.spool.journal.replay import journal_folder
from store.world import To, data_set

ROOT = Path(__file__).resolve().parent.parent
POINTS = [
    ("os.write before", 1),
    ("os.write after", 3),
    ("os.fsync before", 1),
    ("os.fsync after", 3),
    ("spool.publish before", 2),
    ("spool.publish after", 2),
    ("os.fsync after", 6),
    ("before submit", 2),
    ("before row commit", 3),
    ("after row commit", 2),
    ("before row commit", 7),
    ("before unlink", 1),
    ("before unlink", 3),
]
JOURNAL_POINTS = [
    ("os.write before", 2),
    ("spool.publish after", 3),
    ("segment.flush_data before", 1),
    ("segment.flush_data before", 6),
    ("segment.flush_data after", 4),
    pytest.param("os.writev before", 5, marks=pytest.mark.skipif(os.name == "nt", reason="not there")),
    ("before submit", 2),
    ("before row commit", 3),
    ("after row commit", 2),
    ("before unlink", 3),
    ("nothing", 1),
]


def run(folder: Path, point: str, nth: int, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("crash_child.py")),
            str(folder),
            point,
            str(nth),
            "12",
            *more,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def rules(revision: str) -> Rules | None:
    return Rules(To("pacs"), {"r0": {"steps": []}})


@pytest.mark.parametrize(("point", "nth"), POINTS, ids=[f"{point} {nth}" for point, nth in POINTS])
def test_what_was_answered_is_never_lost(tmp_path: Path, point: str, nth: int) -> None:
    child = run(tmp_path / "kept", point, nth)
    assert child.returncode == 9, child.stderr
    said = child.stdout.splitlines()
    answered = [line for line in said if line.startswith("1.")]
    sent = {line.split()[1] for line in said if line.startswith("sent")}
    shutil.copytree(tmp_path / "kept", tmp_path / "lost")
    for path in (tmp_path / "lost").glob("index.db*"):
        path.unlink()
    check(tmp_path / "kept", answered, sent, lost=False)
    check(tmp_path / "lost", answered, sent, lost=True)


@pytest.mark.parametrize(("point", "nth"), JOURNAL_POINTS)
def test_with_a_journal_a_power_failure_loses_nothing_either(tmp_path: Path, point: str, nth: int) -> None:
    """What the process wrote is kept, or files are lost that were not known to be flushed; the index too."""
    child = run(tmp_path / "kept", point, nth, "journal")
    assert child.returncode == (0 if point == "nothing" else 9), child.stderr
    said = child.stdout.splitlines()
    answered = [line for line in said if line.startswith("1.")]
    sent = {line.split()[1] for line in said if line.startswith("sent")}
    for name in ("cut", "lost"):
        shutil.copytree(tmp_path / "kept", tmp_path / name)
        lose_what_was_not_flushed(tmp_path / name)
    for path in (tmp_path / "lost").glob("index.db*"):
        path.unlink()
    for name in ("kept", "cut", "lost"):
        check(tmp_path / name, answered, sent, lost=name == "lost")


def lose_what_was_not_flushed(folder: Path) -> None:
    """Cut or remove each file of which only the journal promises that it is safe."""
    spool = SpoolFolder(folder, "node")
    known = segment.read_checkpoint(journal_folder(spool)).sequence
    for path in segment.segments(journal_folder(spool)):
        with segment.reading(path) as (read, length):
            for each in record.records(read, length):
                file = spool.path(each.id)
                if each.sequence <= known or not file.exists():
                    continue
                if each.sequence % 2:
                    file.unlink()
                else:
                    os.truncate(file, 100)


def check(folder: Path, answered: list[str], sent: set[str], *, lost: bool) -> None:
    """Recover and compare with what was answered; `lost`: the index is gone, only the spool is left."""
    store = Store.open(folder, "node", durability="process-crash")
    try:
        store.use("rev1", To("pacs"), {"r0": {"steps": []}})
        store.recover(rules)
        rows = {row.sop_instance_uid: row for row in store.listing.select(Selection())}
        assert not list(folder.rglob("*.part"))
        for uid in answered:
            # A purged file whose delivery only the lost index knew is no loss: it was delivered.
            assert uid in rows or (lost and uid in sent), f"{uid} was answered and is lost"
        for uid, row in rows.items():
            if row.state == "delivered":
                assert uid in sent
                continue
            assert row.state == "pending"
            instance = store.instances.get(row.instance)
            assert instance.path.read_bytes()[instance.data_offset :] == data_set(uid, pixels=600)
        assert len(rows) <= len(answered) + 1, "at most the one under way was not answered"
        received = store.counts.today()["received"].get("CT", {"images": 0})["images"]
        assert received == len(rows)
        again = store.recover(rules)
        assert (again.indexed, again.parts, again.unreadable, again.leases) == (0, 0, 0, 0)
    finally:
        store.close()


def test_a_child_that_is_not_killed_delivers_and_purges_all(tmp_path: Path) -> None:
    child = run(tmp_path, "nothing", 1)
    said = child.stdout.splitlines()
    assert said[-1] == "end", child.stderr
    assert len([line for line in said if line.startswith("1.")]) == 12
    assert len([line for line in said if line.startswith("sent")]) == 12
    assert not list(tmp_path.rglob("*.dcm"))
    check(tmp_path, [f"1.2.{n}" for n in range(12)], {f"1.2.{n}" for n in range(12)}, lost=False)
