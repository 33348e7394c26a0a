"""Files that somebody puts into a folder: each is taken whole and once, or told why not."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.fileset import FileSet

from mapdr.kernel.errors import Refused
from mapdr.receive.folder import places
from mapdr.receive.folder.watching import Candidates
from mapdr.testing.generator import EXPLICIT, IMPLICIT, study
from mapdr.testing.wait import until
from receive.fakes import FakeIntake
from receive.folder.world import IMAGE, IMAGES, NAME, QUIET, World


def passes(seconds: float) -> None:
    """Something else has its turn for so long."""
    moment = time.monotonic() + seconds
    until(lambda: time.monotonic() > moment, seconds + 5)


def test_files_are_taken_and_moved_away(world: World) -> None:
    world.put(f"{NAME}.dcm", IMAGES[0].part10())
    receiver = world.start(peer="CT1")
    world.until_empty()
    world.put("later.dcm", IMAGES[1].part10())
    world.put(f"{NAME}/series 1/im1", IMAGES[2].part10())
    world.until_empty()
    assert world.done() == [f"{NAME}.dcm", f"{NAME}/series 1/im1", "later.dcm"]
    assert world.uids() == Counter(image.sop_instance_uid for image in IMAGES[:3])
    assert [arrival.size for arrival in world.arrivals] == [len(IMAGE.dataset)] * 3
    source = world.arrivals[0].source
    assert (source.receiver, source.peer, source.protocol, source.address) == ("drop", "CT1", "folder", "")
    assert receiver.describe().host == str(world.path)
    assert world.watch.counters()["receive.drop.stored"] == 3
    assert not world.refused()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_preamble_and_meta_information_may_be_missing(world: World, syntax: str) -> None:
    image = next(study("CT", images=1, size=(16, 16), transfer_syntax_uid=syntax))
    world.put("whole", image.part10())
    world.put("no preamble", image.part10()[132:])
    world.put("data set", image.dataset)
    world.start()
    world.until_empty()
    assert world.uids() == {image.sop_instance_uid: 3}
    assert {arrival.transfer_syntax_uid for arrival in world.arrivals} == {syntax}
    assert {arrival.size for arrival in world.arrivals} == {len(image.dataset)}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a DICOM file"),
        (b"notes of a person", "is not a DICOM file"),
        (IMAGE.part10()[:-100], "incomplete"),
        (IMAGE.part10()[:400], "incomplete"),
        (IMAGE.dataset[:20], "incomplete"),
        (IMAGE.part10().replace(IMAGE.sop_instance_uid.encode(), b"x" * len(IMAGE.sop_instance_uid)), "UID"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_reason(
    world: World, caplog: pytest.LogCaptureFixture, content: bytes, reason: str
) -> None:
    world.put(f"{NAME}/{NAME}.dcm", content)
    world.put("good.dcm")
    world.start()
    world.until_empty()
    assert world.done() == ["good.dcm"]
    ((name, told),) = world.refused().items()
    assert name == f"{NAME}/{NAME}.dcm"
    assert (world.path / "refused" / name).read_bytes() == content
    assert reason in told
    assert NAME not in told + caplog.text
    assert NAME not in str(world.watch.recent())
    (event,) = [event for event in world.watch.recent() if event.kind == "images.refused"]
    assert reason in str(event.facts["cause"])
    assert world.watch.counters()["receive.drop.refused"] == 1


def test_a_file_that_grows_is_left_alone(world: World) -> None:
    world.start(quiet=0.8)
    whole = IMAGE.part10()
    with (world.path / "slow.dcm").open("wb") as file:
        for at in range(0, len(whole), len(whole) // 12):
            file.write(whole[at : at + len(whole) // 12])
            file.flush()
            passes(0.1)
            assert world.waiting() == ["slow.dcm"]
    world.until_empty()
    assert world.uids() == {IMAGE.sop_instance_uid: 1}
    assert world.done() == ["slow.dcm"]


@pytest.mark.parametrize("taken", ["move", "keep"])
def test_a_copy_that_stalls_is_waited_for(world: World, taken: str) -> None:
    world.start(taken=taken, quiet=0.3)
    whole = IMAGE.part10()
    with (world.path / "slow.dcm").open("wb") as file:
        file.write(whole[:1000])
        file.flush()
        passes(1.0)  # it was looked into, and not understood
        file.write(whole[1000:])
    until(lambda: world.arrivals)
    assert world.uids() == {IMAGE.sop_instance_uid: 1}
    assert world.arrivals[0].size == len(IMAGE.dataset)
    passes(QUIET * 3)
    assert "images.refused" not in world.events()


def test_room_for_the_file_made_beforehand(world: World) -> None:
    """As Windows copies: the size first, then the bytes."""
    world.start(quiet=0.3)
    whole = IMAGE.part10()
    with (world.path / "a.dcm").open("wb") as file:
        file.truncate(len(whole))
        passes(1.0)
        file.write(whole)
    world.until_empty()
    assert world.done() == ["a.dcm"]
    assert world.uids() == {IMAGE.sop_instance_uid: 1}


def test_names_of_files_under_way_and_of_programs_are_ignored(world: World) -> None:
    ignored = [".hidden", "~lock", "a.part", "b.dcm.TMP", "Thumbs.db", ".git/c.dcm", "x/desktop.ini"]
    for name in ignored:
        world.put(name)
    world.start()
    world.put("good.dcm")
    until(lambda: world.done() == ["good.dcm"])
    (world.path / "a.part").rename(world.path / "a.dcm")
    until(lambda: world.done() == ["a.dcm", "good.dcm"])
    assert world.waiting() == sorted(set(ignored) - {"a.part"})


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_refused_and_not_followed(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.dcm").write_bytes(IMAGE.part10())
    world.put("inside.dcm", IMAGES[1].part10())
    (world.path / "file.dcm").symlink_to(outside / "secret.dcm")
    (world.path / "folder").symlink_to(outside)
    (world.path / "round").symlink_to(world.path)
    (world.path / "nowhere").symlink_to(world.path / "none")
    world.start()
    world.until_empty()
    assert world.uids() == {IMAGES[1].sop_instance_uid: 1}
    assert set(world.refused()) == {"file.dcm", "folder", "round", "nowhere"}
    assert all("it is a link" in reason for reason in world.refused().values())
    assert (outside / "secret.dcm").read_bytes() == IMAGE.part10()
    assert os.path.islink(world.path / "refused" / "folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX has them")
def test_what_is_no_file_is_refused(world: World) -> None:
    os.mkfifo(world.path / "pipe")
    world.start()
    until((world.path / "refused" / "pipe.reason.txt").exists)
    assert "no file" in (world.path / "refused" / "pipe.reason.txt").read_text()
    assert not (world.path / "pipe").exists()


def test_the_same_name_again_gets_one_of_its_own(world: World) -> None:
    world.start()
    for image in IMAGES[:3]:
        world.put("a/im.dcm", image.part10())
        world.until_empty()
    assert world.done() == ["a/im.dcm", "a/im~1.dcm", "a/im~2.dcm"]
    assert len(world.uids()) == 3


@pytest.mark.parametrize("name", ["a" * 251 + ".dcm", "\u00e4" * 125 + ".dcm", "b" * 255])
def test_a_name_as_long_as_can_be_is_put_away_again_too(world: World, name: str) -> None:
    """There was no room for a number in it, and the file could not be put away."""
    world.start()
    for image in IMAGES[:3]:
        world.put(name, image.part10())
        world.until_empty()
    assert len(world.done()) == 3
    assert len(world.uids()) == 3


def medium(folder: Path) -> list[str]:
    """A medium with a DICOMDIR, by pydicom; the names of its images."""
    files = FileSet()
    for image in IMAGES:
        path = folder.parent / "source.dcm"
        path.write_bytes(image.part10())
        data = pydicom.dcmread(path)
        data.PatientID, data.StudyID = data.PatientID or "1", data.get("StudyID") or "1"
        data.InstanceNumber = data.InstanceNumber or 1
        files.add(data)
    files.write(folder)
    files._stage["t"].cleanup()
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "DICOMDIR"
    )


def test_a_medium_with_a_dicomdir(world: World, tmp_path: Path) -> None:
    names = medium(tmp_path / "cd")
    assert len(names) == len(IMAGES)
    world.start()
    shutil.copytree(tmp_path / "cd", world.path / "cd")
    world.until_empty()
    assert world.done() == sorted(["cd/DICOMDIR", *(f"cd/{name}" for name in names)])
    assert len(world.uids()) == len(IMAGES)
    assert not world.refused()


@pytest.mark.parametrize("taken", ["move", "keep"])
def test_an_incomplete_medium_is_told(world: World, tmp_path: Path, taken: str) -> None:
    names = medium(tmp_path / "cd")
    (tmp_path / "cd" / names[0]).unlink()
    world.start(taken=taken)
    shutil.copytree(tmp_path / "cd", world.path / "cd")
    until(lambda: "images.refused" in world.events())
    (event,) = [event for event in world.watch.recent() if event.kind == "images.refused"]
    assert event.facts["cause"] == "1 of 6 files that the DICOMDIR names are not there"
    assert len(world.uids()) == len(IMAGES) - 1
    if taken == "move":
        world.until_empty()
        assert list(world.refused()) == ["cd/DICOMDIR"]


def test_an_incomplete_medium_is_told_although_other_files_come(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.receive.folder.receiver.LATEST", 1)
    names = medium(tmp_path / "cd")
    (tmp_path / "cd" / names[0]).unlink()
    shutil.copytree(tmp_path / "cd", world.path / "cd")
    world.start()
    for number in range(200):
        world.put(f"{number}.dcm")
        passes(QUIET)
        if world.refused():
            break
    assert list(world.refused()) == ["cd/DICOMDIR"]


def test_a_medium_whose_names_are_shown_in_lower_case(world: World, tmp_path: Path) -> None:
    names = medium(tmp_path / "cd")
    for name in names:
        world.put(name.lower(), (tmp_path / "cd" / name).read_bytes())
    world.put("dicomdir", (tmp_path / "cd" / "DICOMDIR").read_bytes())
    world.start()
    world.until_empty()
    assert not world.refused()
    assert len(world.done()) == len(names) + 1


def test_a_dicomdir_that_names_files_elsewhere(world: World, tmp_path: Path) -> None:
    medium(tmp_path / "cd")
    data = pydicom.dcmread(tmp_path / "cd" / "DICOMDIR")
    record = next(each for each in data.DirectoryRecordSequence if "ReferencedFileID" in each)
    record.ReferencedFileID = ["..", "SECRET"]
    data.save_as(world.path / "DICOMDIR")
    world.start()
    world.until_empty()
    assert "outside of its folder" in world.refused()["DICOMDIR"]


def test_files_are_left_in_place(world: World) -> None:
    one = world.put(f"{NAME}/a.dcm", IMAGES[0].part10())
    world.put("bad.txt", b"notes")
    world.start(taken="keep")
    until(lambda: world.arrivals and "images.refused" in world.events())
    world.stop()
    assert world.waiting() == [f"{NAME}/a.dcm", "bad.txt"]
    assert not (world.path / "done").exists()
    assert not (world.path / ".mapdr").exists()
    journal = next((world.data / "folders" / "node").iterdir())
    told = [json.loads(line) for line in journal.read_text().split("\n") if line]
    assert {entry["file"]: entry.get("refused", "") for entry in told} == {
        f"{NAME}/a.dcm": "",
        "bad.txt": "it is not a DICOM file",
    }
    # A new start takes what is new, and what has changed.
    world.start(taken="keep")
    world.put("b.dcm", IMAGES[1].part10())
    until(lambda: len(world.arrivals) == 2)
    one.write_bytes(IMAGES[2].part10() + bytes(2))
    until(lambda: len(world.arrivals) == 3)
    world.stop()
    assert world.uids() == Counter(image.sop_instance_uid for image in IMAGES[:3])


def test_a_line_that_a_crash_has_cut_costs_a_repeat_and_nothing_else(world: World) -> None:
    for number, image in enumerate(IMAGES[:2]):
        world.put(f"{number}.dcm", image.part10())
    world.start(taken="keep")
    until(lambda: len(world.arrivals) == 2)
    world.stop()
    journal = next((world.data / "folders" / "node").iterdir())
    journal.write_bytes(journal.read_bytes()[:-5])
    for _ in range(2):
        world.start(taken="keep")
        until(lambda: len(world.arrivals) == 3)
        passes(QUIET * 4)
        world.stop()
    assert sorted(world.uids().values()) == [1, 2]


def test_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    def keeping() -> places.Keeping:
        made = places.Keeping(tmp_path, tmp_path / "journals", "power-loss")
        assert not list(made.left())
        return made

    first = keeping()
    states = {str(number): places.State(number, 1) for number in range(3000)}
    for name, state in states.items():
        first.settle(name, state, "")
    first.flush()
    there = {places.mark(name, states[name]) for name in ("1", "2")}
    second = keeping()
    assert all(second.known(name, state) for name, state in states.items())
    second.seen(there)
    for place in (second, keeping()):
        assert [name for name, state in states.items() if place.known(name, state)] == ["1", "2"]
    (journal,) = (tmp_path / "journals").iterdir()
    assert len(journal.read_text().split()) < 20


def test_files_that_come_and_go_are_forgotten_without_a_restart(tmp_path: Path) -> None:
    place = places.Keeping(tmp_path / "in", tmp_path / "journals", "power-loss")
    (tmp_path / "in").mkdir()
    files = Candidates(tmp_path / "in", place, quiet=0.0, removes=False)
    files.begin()
    stays = tmp_path / "in" / "stays.dcm"
    stays.touch()
    place.settle(stays.name, places.State.of(os.lstat(stays)), "")
    most = 0
    for number in range(5000):
        place.settle(f"{number}.dcm", places.State(number, 1), "")
        if number % 100 == 0:
            files.scan()
            (journal,) = (tmp_path / "journals").iterdir()
            most = max(most, len(journal.read_text().splitlines()))
    assert most < 1500
    assert place.known(stays.name, places.State.of(os.lstat(stays)))
    assert not place.known("1.dcm", places.State(1, 1))


def test_a_store_without_room_lets_files_wait(world: World) -> None:
    intake = FakeIntake(begin_error=Refused(0xA700, "the disk is full"))
    for number, image in enumerate(IMAGES):
        world.put(f"{number}.dcm", image.part10())
    world.start(intake)
    until(lambda: "folder.waits" in world.events())
    passes(QUIET * 3)
    assert not world.done()
    assert not world.refused()
    assert world.events().count("folder.waits") == 1
    intake.begin_error = None
    world.until_empty()
    assert [kept.sop_instance_uid for kept in intake.kept] == [image.sop_instance_uid for image in IMAGES]
    until(lambda: "folder.back" in world.events())


def test_an_error_of_ours_keeps_a_file_waiting_and_no_other(world: World) -> None:
    class Picky(FakeIntake):
        fails = True

        def begin(self, source: Any, sop_class_uid: str, sop_instance_uid: str, syntax: str) -> Any:
            if sop_instance_uid == IMAGE.sop_instance_uid and self.fails:
                raise ValueError(NAME)
            return super().begin(source, sop_class_uid, sop_instance_uid, syntax)

    intake = Picky()
    for number, image in enumerate(IMAGES):
        world.put(f"{number}.dcm", image.part10())
    world.start(intake)
    until(lambda: len(world.done()) == len(IMAGES) - 1)
    assert NAME not in str(world.watch.recent())
    intake.fails = False
    world.until_empty()
    until(lambda: "folder.back" in world.events())


def test_a_file_that_cannot_be_put_away_is_not_taken_twice(world: World) -> None:
    (world.path / "done").write_bytes(b"in the way")
    world.put("a.dcm")
    world.start()
    until(lambda: world.arrivals and "folder.waits" in world.events())
    passes(QUIET * 5)
    (world.path / "done").unlink()
    until((world.path / "done" / "a.dcm").exists)
    assert world.uids() == {IMAGE.sop_instance_uid: 1}


def test_what_a_dead_process_had_in_hand_is_taken(world: World) -> None:
    world.put(".mapdr/node/a/b.dcm", IMAGES[0].part10())
    world.put(".mapdr/other/c.dcm", IMAGES[1].part10())
    world.put("a/b.dcm", IMAGES[2].part10())
    world.start()
    until(lambda: len(world.done()) == 2)
    assert world.done() == ["a/b.dcm", "a/b~1.dcm"]
    assert world.waiting() == [".mapdr/other/c.dcm"], "it is another node's"
    assert len(world.uids()) == 2


def test_a_folder_that_goes_and_comes_back(world: World) -> None:
    world.start()
    world.put("a.dcm")
    world.until_empty()
    away = world.path.with_name("away")
    world.path.rename(away)
    until(lambda: "folder.waits" in world.events())
    assert not world.path.exists()
    away.rename(world.path)
    until(lambda: "folder.back" in world.events())
    world.put("b.dcm", IMAGES[1].part10())
    until(lambda: world.done() == ["a.dcm", "b.dcm"])


def test_without_events_the_folder_is_looked_through(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_events(*words: object, **more: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("watchfiles.watch", no_events)
    world.start()
    until(lambda: "cannot be heard of" in caplog.text)
    world.put("deep/er/a.dcm")
    until(lambda: world.done() == ["deep/er/a.dcm"])


def test_lost_events_do_not_matter(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(*words: object, stop_event: threading.Event, rust_timeout: int, **more: object) -> Any:
        while not stop_event.wait(rust_timeout / 1000):
            yield set()

    monkeypatch.setattr("watchfiles.watch", deaf)
    world.start()
    world.put("deep/er/a.dcm")
    world.until_empty()
    assert world.done() == ["deep/er/a.dcm"]


def test_empty_folders_are_removed_when_they_are_old(world: World) -> None:
    old, fresh = world.path / "old" / "er", world.path / "fresh"
    old.mkdir(parents=True)
    fresh.mkdir()
    os.utime(old, (1, 1))
    world.start()
    until(lambda: not old.exists())
    assert fresh.exists()


def test_more_files_than_are_followed_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.receive.folder.watching.MOST", 4)
    for number in range(30):
        world.put(f"{number}.dcm")
    world.start(scan_every=60)
    world.until_empty()
    assert len(world.done()) == 30


def test_a_stop_keeps_its_deadline_and_loses_nothing(world: World) -> None:
    intake = FakeIntake(gate=threading.Event())
    world.put("a.dcm")
    receiver = world.start(intake)
    assert intake.committing.wait(10)
    began = time.monotonic()
    receiver.stop(began + 0.3)
    assert time.monotonic() - began < 1.3
    assert intake.gate is not None
    intake.gate.set()
    until(lambda: world.done() == ["a.dcm"])


def test_a_stop_within_a_large_file_leaves_it_for_the_next_start(world: World) -> None:
    asked = threading.Event()
    inside = threading.Event()

    class Slow(FakeIntake):
        def begin(self, *words: Any) -> Any:
            incoming = super().begin(*words)
            write = incoming.write

            def slowly(data: bytes) -> None:
                inside.set()
                assert asked.wait(10)
                write(data)

            incoming.write = slowly  # type: ignore[method-assign]
            return incoming

    world.put("a.dcm")
    intake = Slow()
    receiver = world.start(intake)
    assert inside.wait(10)
    receiver._aborting.set()
    stopper = threading.Thread(target=lambda: receiver.stop(time.monotonic() + 5))
    stopper.start()
    asked.set()
    stopper.join()
    assert (intake.kept, intake.aborted, world.done()) == ([], 1, [])
    world.start()
    until(lambda: world.done() == ["a.dcm"])


def test_the_next_receiver_of_a_folder_waits_for_the_one_before(world: World) -> None:
    intake = FakeIntake(gate=threading.Event())
    world.put("a.dcm")
    first = world.start(intake)
    assert intake.committing.wait(10)
    second = world.build(peer="new")
    second.acquire([first])
    second.start()
    world.put("b.dcm", IMAGES[1].part10())
    passes(QUIET * 4)
    assert not world.arrivals
    assert intake.gate is not None
    intake.gate.set()
    first.stop(time.monotonic() + 5)
    world.until_empty()
    assert [kept.sop_instance_uid for kept in intake.kept] == [IMAGE.sop_instance_uid]
    assert [arrival.source.peer for arrival in world.arrivals] == ["new"]
