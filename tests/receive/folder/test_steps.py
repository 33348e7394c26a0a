"""A receiver of a folder step by step, by a clock that moves when it is told to: no thread, no waiting."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapdr.kernel.errors import LessUrgent, Refused
from mapdr.receive.folder import places, receiver, watching
from mapdr.receive.folder.receiver import FIRST_PAUSE, LONGEST_PAUSE, PATIENCE, FolderReceiver
from mapdr.receive.folder.taking import CANNOT_UNDERSTAND
from receive.fakes import FakeIntake
from receive.folder.test_receiver import medium
from receive.folder.world import IMAGE, IMAGES, World, zipped

FULL = Refused(0xA700, "the disk is full")


class Steps:
    """A receiver that waits for 1 s of quiet, its clock and its intake."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, **config: Any) -> None:
        self.now = 1000.0
        monkeypatch.setattr(watching.time, "monotonic", lambda: self.now)
        self.world, self.intake = world, FakeIntake()
        self.receiver: FolderReceiver = world.build(self.intake, quiet=1.0, scan_every=30.0, **config)
        self.receiver._files.begin()

    def at(self, moment: float) -> None:
        """Look through the folder, and take what is due then."""
        self.now = 1000.0 + moment
        self.receiver._scan()
        self.receiver._take_due()

    @property
    def kept(self) -> list[str]:
        return [each.sop_instance_uid for each in self.intake.kept]

    def causes(self) -> list[str]:
        return [str(event.facts.get("cause", event.kind)) for event in self.world.watch.recent()]


@pytest.fixture
def steps(world: World, monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(world, monkeypatch)


def test_a_file_is_taken_when_it_is_quiet(world: World, steps: Steps) -> None:
    world.put("a.dcm")
    steps.at(0)
    steps.at(0.9)
    assert steps.kept == []
    steps.at(1.0)
    assert steps.kept == [IMAGE.sop_instance_uid]
    assert world.done() == ["a.dcm"]
    assert steps.receiver._files.all == {}
    assert world.watch.counters() == {
        "receive.drop.stored": 1,
        "receive.drop.bytes": len(IMAGE.dataset),
    }
    assert steps.causes() == []


def test_while_the_store_takes_nothing_it_is_asked_after_pauses_that_grow(world: World, steps: Steps) -> None:
    world.put("a.dcm")
    world.put("b.dcm", IMAGES[1].part10())
    steps.at(0)
    steps.intake.begin_error = FULL
    asked, moment = [], 1.0
    for _ in range(12):
        steps.at(moment)
        asked.append(steps.receiver._paused_until - steps.now)
        steps.intake.begun = 0
        steps.at(moment + asked[-1] - 0.01)
        assert steps.receiver._pause == pytest.approx(asked[-1]), "not asked while it rests"
        moment += asked[-1]
    assert asked == pytest.approx([min(LONGEST_PAUSE, FIRST_PAUSE * 2**each) for each in range(12)])
    assert steps.causes() == ["the store takes nothing now: the disk is full"], "told once"
    steps.intake.begin_error = None
    steps.at(moment)
    assert len(steps.kept) == 2
    assert steps.causes()[1:] == ["folder.back"]
    world.put("c.dcm", IMAGES[2].part10())
    steps.at(moment)
    steps.intake.begin_error = FULL
    steps.at(moment + 1)
    assert steps.receiver._pause == FIRST_PAUSE, "as the first time"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(5, "Input/output error"), "a file cannot be taken: Input/output error"),
        (LessUrgent(0xA700, "less urgent"), "a file cannot be taken: less urgent"),
        (RuntimeError("MUELLER^ANNA"), "a file cannot be taken: internal error: RuntimeError at "),
    ],
)
def test_a_file_that_cannot_be_taken_waits_and_no_other(
    world: World, steps: Steps, error: Exception, cause: str
) -> None:
    class Picky(FakeIntake):
        def begin(self, source: Any, sop_class_uid: str, sop_instance_uid: str, syntax: str) -> Any:
            self.begin_error = error if sop_instance_uid == IMAGE.sop_instance_uid else None
            return super().begin(source, sop_class_uid, sop_instance_uid, syntax)

    steps.receiver._taker._intake = intake = Picky()
    world.put("a.dcm")
    world.put("b.dcm", IMAGES[1].part10())
    steps.at(0)
    steps.at(1)
    assert [each.sop_instance_uid for each in intake.kept] == [IMAGES[1].sop_instance_uid]
    assert steps.causes()[0].startswith(cause)
    assert "MUELLER" not in str(world.watch.recent())
    (one,) = steps.receiver._files.all.values()
    pauses = []
    for _ in range(12):
        pauses.append(one.not_before - steps.now)
        steps.at(one.not_before - 1000.0)
    assert pauses == pytest.approx([min(LONGEST_PAUSE, FIRST_PAUSE * 2**each) for each in range(1, 13)])
    assert len(steps.causes()) == 1
    steps.receiver._taker._intake = steps.intake
    steps.at(one.not_before - 1000.0)
    assert steps.kept == [IMAGE.sop_instance_uid]
    steps.at(5000)
    assert steps.causes()[1:] == ["folder.back"], "after a look in which no file waits"


def test_what_is_not_understood_is_given_time(world: World, steps: Steps) -> None:
    world.put("a.dcm", b"notes")
    world.put("b.dcm")
    steps.at(0)
    steps.intake.commit_error = Refused(0xC000, "incomplete")
    steps.at(1)
    steps.at(PATIENCE - 0.1)
    assert world.refused() == {}
    steps.intake.commit_error = None
    steps.at(PATIENCE)
    assert set(world.refused()) == {"a.dcm"}
    assert world.done() == ["b.dcm"], "it is read again before it is refused"
    assert world.watch.counters()["receive.drop.refused"] == 1
    (event,) = [each for each in world.watch.recent() if each.kind == "images.refused"]
    assert event.facts == {
        "receiver": "drop",
        "peer": steps.receiver._source.peer,
        "status": CANNOT_UNDERSTAND,
        "cause": "it is not a DICOM file",
    }


def test_of_an_archive_what_is_taken_is_told_with_what_is_refused(world: World, steps: Steps) -> None:
    world.put("a.zip", zipped({"a": IMAGE.part10(), "b": zipped({})}))
    steps.at(0)
    steps.at(1)
    assert "1 images were taken" in world.refused()["a.zip"], "at once: some of it is understood"
    assert world.watch.counters() == {
        "receive.drop.stored": 1,
        "receive.drop.bytes": len(IMAGE.dataset),
        "receive.drop.refused": 1,
    }


def test_a_file_that_changes_is_quiet_anew(world: World, steps: Steps) -> None:
    world.put("a.dcm", IMAGE.part10()[:-100])
    steps.at(0)
    steps.now += 1
    world.put("a.dcm")  # after the look, before it is taken
    steps.receiver._take_due()
    assert steps.kept == []
    steps.at(1.9)
    assert steps.kept == []
    steps.at(2.0)
    assert steps.kept == [IMAGE.sop_instance_uid]


def test_a_file_that_is_written_to_as_it_is_read_is_quiet_anew(
    world: World, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("a.dcm")
    steps.at(0)
    real = steps.intake.begin

    def begin(*facts: str) -> Any:
        path = steps.receiver._place.here("a.dcm")
        path.write_bytes(path.read_bytes() + bytes(10))
        monkeypatch.setattr(steps.intake, "begin", real)
        return real(*facts)  # type: ignore[arg-type]

    monkeypatch.setattr(steps.intake, "begin", begin)
    steps.at(1)
    assert (steps.kept, steps.intake.aborted) == ([], 1)
    steps.at(1.9)
    assert steps.kept == []
    steps.at(2)
    assert [len(each.data) for each in steps.intake.kept] == [len(IMAGE.dataset) + 10]


def test_a_file_that_is_gone_before_it_is_taken_is_forgotten(world: World, steps: Steps) -> None:
    path = world.put("a.dcm")
    steps.at(0)
    path.unlink()
    steps.now += 1
    steps.receiver._take_due()
    assert steps.receiver._files.all == {}
    assert steps.causes() == []


def test_what_is_taken_and_cannot_be_put_away_is_not_taken_again(
    world: World, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("a.dcm")
    steps.at(0)
    monkeypatch.setattr(places.os, "rename", _fails_into("done", os.rename))
    steps.at(1)
    steps.at(2)
    assert len(steps.kept) == 1
    assert world.done() == []
    monkeypatch.undo()
    monkeypatch.setattr(watching.time, "monotonic", lambda: 1100.0)
    steps.receiver._take_due()
    assert (len(steps.kept), world.done()) == (1, ["a.dcm"])


def _fails_into(folder: str, real: Callable[..., None]) -> Callable[..., None]:
    def rename(source: Path, target: Path) -> None:
        if folder in target.parts:
            raise OSError(28, "No space left on device")
        real(source, target)

    return rename


def test_a_stop_ends_between_two_files(world: World, steps: Steps) -> None:
    for number, image in enumerate(IMAGES[:3]):
        world.put(f"{number}.dcm", image.part10())
    steps.at(0)
    real = steps.intake.begin

    def begin(*facts: Any) -> Any:
        steps.receiver._stopping.set()
        return real(*facts)

    steps.intake.begin = begin  # type: ignore[method-assign]
    steps.at(1)
    assert len(steps.kept) == 1


def test_the_folder_is_another_one_or_gone(
    world: World, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert steps.receiver._scan()
    assert steps.receiver._next_scan == 1030.0
    assert steps.receiver._scan()
    world.path.rename(world.path.with_name("old"))
    assert not steps.receiver._scan()
    assert len(steps.causes()) == 1
    assert steps.causes()[0].startswith("the folder cannot be looked through")
    world.path.mkdir()
    assert not steps.receiver._scan(), "another one, which is watched anew"
    assert steps.receiver._scan()
    assert steps.causes()[1:] == ["folder.back"]

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(steps.receiver._files, "scan", denied)
    assert steps.receiver._scan(), "it may be looked through again, and is the same"


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_a_link_and_a_pipe_are_refused_at_once(world: World, steps: Steps, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(IMAGE.part10())
    (world.path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(world.path / "pipe")
    steps.at(0)
    steps.at(1)
    told = world.refused()
    assert "it is a link" in told["link"]
    assert "it is no file" in told["pipe"]
    assert steps.kept == []
    assert world.watch.counters() == {"receive.drop.refused": 2}
    statuses = {event.facts["status"] for event in world.watch.recent()}
    assert statuses == {CANNOT_UNDERSTAND}


@pytest.mark.parametrize("lower", [False, True])
def test_a_medium_is_all_right_when_its_files_are_dealt_with(
    world: World, steps: Steps, tmp_path: Path, lower: bool
) -> None:
    names = medium(tmp_path / "medium")
    (world.path / "cd").mkdir()
    (tmp_path / "medium/DICOMDIR").rename(world.path / "cd/DICOMDIR")
    for name in names[1:]:
        placed = world.path / "cd" / (name.lower() if lower else name)
        placed.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "medium" / name).rename(placed)
    steps.at(0)
    steps.at(1)
    assert len(steps.kept) == len(names) - 1
    steps.at(PATIENCE - 0.1)
    assert world.refused() == {}, "one is missing, and may be on its way"
    last = world.path / "cd" / (names[0].lower() if lower else names[0])
    last.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "medium" / names[0]).rename(last)
    steps.at(PATIENCE + 0.5)
    steps.at(PATIENCE + 1.5)
    steps.at(3 * PATIENCE)
    assert len(steps.kept) == len(names)
    assert world.refused() == {}
    assert "cd/DICOMDIR" in world.done()


@pytest.mark.parametrize("busy", [False, True])
def test_a_medium_that_is_not_whole_is_told_in_the_end(
    world: World, steps: Steps, tmp_path: Path, busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that come keep it waiting, but not for ever."""
    monkeypatch.setattr(receiver, "LATEST", 3)
    names = medium(tmp_path / "medium")
    (tmp_path / "medium/DICOMDIR").rename(world.path / "DICOMDIR")
    (tmp_path / "medium" / names[0]).rename(world.path / "of no medium")
    end = PATIENCE + (3 * PATIENCE if busy else 0)
    for number in range(0, end, PATIENCE // 2):
        if busy:
            world.put(f"{number}.dcm", IMAGES[number % 6].part10())
        steps.at(number)
        assert world.refused() == {}
    steps.at(end)
    (told,) = world.refused().values()
    assert f": {len(names)} of {len(names)} files that the DICOMDIR names are not there" in told


def test_a_medium_waits_for_a_file_of_it_that_cannot_be_taken(
    world: World, steps: Steps, tmp_path: Path
) -> None:
    """That file is in hand already, where nobody else looks: it is not missing."""

    class Picky(FakeIntake):
        waits = True

        def begin(self, *facts: str) -> Any:
            if self.waits and facts[2] == IMAGE.sop_instance_uid:
                raise LessUrgent(0xA700, "less urgent")
            return super().begin(*facts)  # type: ignore[arg-type]

    steps.receiver._taker._intake = intake = Picky()
    names = medium(world.path)
    for moment in range(5 * PATIENCE):
        steps.at(moment)
    assert len(intake.kept) == len(names) - 1
    assert world.refused() == {}
    intake.waits = False
    for moment in range(5 * PATIENCE, 9 * PATIENCE):
        steps.at(moment)
    assert len(intake.kept) == len(names)
    assert world.waiting() == []
    assert world.refused() == {}


@pytest.mark.parametrize("seen", ["before it is opened", "as it is read"])
def test_an_archive_that_changes_while_the_store_takes_nothing_is_taken_from_its_beginning(
    world: World, monkeypatch: pytest.MonkeyPatch, seen: str
) -> None:
    class Small(FakeIntake):
        room = 2

        def begin(self, *facts: str) -> Any:
            if len(self.kept) == self.room:
                raise FULL
            return super().begin(*facts)  # type: ignore[arg-type]

    steps = Steps(world, monkeypatch, taken="keep")
    steps.receiver._taker._intake = intake = Small()
    first, other = IMAGES[:3], IMAGES[3:]
    world.put("a.zip", zipped({str(number): image.part10() for number, image in enumerate(first)}))
    steps.at(0)
    steps.at(1)
    assert len(intake.kept) == 2
    intake.room = 100
    changed = zipped({str(number): image.part10() for number, image in enumerate(other)}) + b"\0"
    if seen == "before it is opened":
        world.put("a.zip", changed)
    else:
        real = intake.begin

        def begin(*facts: str) -> Any:
            world.put("a.zip", changed)
            monkeypatch.setattr(intake, "begin", real)
            return real(*facts)

        monkeypatch.setattr(intake, "begin", begin)
    for moment in (2, 3, 4, 5):
        steps.at(moment)
    assert [each.sop_instance_uid for each in intake.kept][2:] == [each.sop_instance_uid for each in other]


def test_the_next_receiver_of_a_folder_knows_the_one_before(world: World, tmp_path: Path) -> None:
    one, two = world.build(), world.build()
    other = world.build(path=str(tmp_path / "other"))
    one.acquire([object(), other, two])
    assert one._before is two
    one.acquire([other])
    assert one._before is None


def test_names_of_peers_that_cannot_be_shown(world: World) -> None:
    for name in ("x" * 65, "a\nb", " a", "a "):
        with pytest.raises(ValueError, match="is not a name"):
            world.build(peer=name)
    assert world.build(peer="x" * 64)._source.peer == "x" * 64
    assert receiver.STAGE.listens is not None
