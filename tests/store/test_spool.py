from __future__ import annotations

import errno
import os
import shutil
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import pydicom
import pytest
import xxhash

from mapdr.dicom.edit.tree import apply_edits
from mapdr.dicom.edit.verbs import REMOVE
from mapdr.dicom.path import parse_edit_path
from mapdr.kernel.errors import ConfigurationError, Refused
from mapdr.kernel.item import Arrival
from mapdr.store.spool import files as spool_module
from mapdr.store.spool import room
from mapdr.store.spool.files import Spool
from store.world import CT, EXPLICIT, SOURCE, data_set, element

FLUSH_HOUR = [] if os.name == "nt" else ["open hour", "fsync hour"]
"""Windows has no flush of a folder: the rename itself is written through."""
RENAME = [] if os.name == "nt" else ["rename"]
"""Windows renames by a call of its own, after the flush."""


class World:
    def __init__(self, data: Path, **options: Any) -> None:
        self.arrivals: list[Arrival] = []
        self.spool = Spool(data, "node", submit=self.arrivals.append, **options)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.spool.data.rglob("*") if path.is_file())


@pytest.fixture(params=["power-loss", "process-crash"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> World:
    return World(tmp_path, durability=request.param)


def test_an_object_is_kept_byte_for_byte(world: World) -> None:
    data = data_set("1.2.3.4", pixels=5000)
    incoming = world.spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
    for start in range(0, len(data), 700):
        incoming.write(memoryview(data)[start : start + 700])
    assert world.files() == [incoming.id + ".part"]
    incoming.commit()
    incoming.abort()
    (arrival,) = world.arrivals
    path = world.spool.path(incoming.id)
    assert path.read_bytes()[arrival.data_offset :] == data
    assert (arrival.size, arrival.digest) == (len(data), xxhash.xxh3_128_digest(data))
    assert (arrival.source, arrival.sop_instance_uid, arrival.sop_class_uid) == (SOURCE, "1.2.3.4", CT)
    assert world.files() == [incoming.id + ".dcm"]
    assert pydicom.dcmread(path).SOPInstanceUID == "1.2.3.4"


def test_bytes_that_go_straight_to_the_file_count_too(world: World) -> None:
    data = data_set("1.2.3.4", pixels=200_000)
    incoming = world.spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
    os.write(incoming.fileno(), data[:100])
    incoming.write(data[100:500])
    os.write(incoming.fileno(), data[500:])
    incoming.commit()
    (arrival,) = world.arrivals
    assert arrival.digest == xxhash.xxh3_128_digest(data)
    assert arrival.size == len(data)
    assert world.spool.path(incoming.id).read_bytes()[arrival.data_offset :] == data


def test_a_header_that_is_longer_than_memory_holds_is_read(world: World) -> None:
    comment = b"x" * 60_000
    long = b"".join(
        (0x0008).to_bytes(2, "little") + (0x2000 + n).to_bytes(2, "little") + b"UT\0\0"
        + len(comment).to_bytes(4, "little") + comment
        for n in range(4)
    )  # fmt: skip
    data = data_set("1.2.3.4")
    study = data.index(b"\x20\x00\x0d\x00")
    data = data[:study] + long + data[study:]
    incoming = world.spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
    incoming.write(data)
    incoming.commit()
    assert world.arrivals[0].header.text((0x0020000D,)) == "1.2.3"


@pytest.mark.parametrize(
    ("class_uid", "instance_uid"), [(CT, "9.9"), ("1.2.840.10008.5.1.4.1.1.4", "1.2.3.4"), ("3", "3")]
)
def test_a_data_set_goes_by_its_own_uids_whatever_the_command_says(
    world: World, class_uid: str, instance_uid: str
) -> None:
    incoming = world.spool.begin(SOURCE, class_uid, instance_uid, EXPLICIT)
    incoming.write(data_set("1.2.3.4"))
    incoming.commit()
    (arrival,) = world.arrivals
    assert (arrival.sop_class_uid, arrival.sop_instance_uid) == (CT, "1.2.3.4")


def test_a_uid_that_is_none_gives_way_to_the_commands(world: World) -> None:
    incoming = world.spool.begin(SOURCE, CT, "5.6.7", EXPLICIT)
    incoming.write(data_set("no-uid-at-all."))
    incoming.commit()
    assert world.arrivals[0].sop_instance_uid == "5.6.7"


def test_uids_that_the_data_set_lacks_are_the_commands(world: World) -> None:
    data = data_set("1.2.3.4")
    date = data.index(b"\x08\x00\x20\x00")
    incoming = world.spool.begin(SOURCE, CT, "5.6.7", EXPLICIT)
    incoming.write(data[date:])
    incoming.commit()
    assert world.arrivals[0].sop_instance_uid == "5.6.7"
    assert world.arrivals[0].sop_class_uid == CT


def test_what_is_odd_is_kept_and_said_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    data = element(0x00020010, b"UI", b"1.2.840.10008.1.2.1") + data_set("1.2.3.4")
    for _ in range(3):
        incoming = world.spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
        incoming.write(data)
        incoming.commit()
    assert world.spool.path(incoming.id).read_bytes().endswith(data)
    assert caplog.text.count("file meta elements in the data set") == 1
    edits = [REMOVE(parse_edit_path("PatientName"))]
    edited = apply_edits(data[:-76], EXPLICIT, edits, tail=b"").header
    assert edited.startswith(b"\x08\x00\x16\x00"), "what MAPDR rewrites has no such elements"


def test_bytes_that_are_no_data_set_are_refused(world: World) -> None:
    incoming = world.spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
    incoming.write(b"GET / HTTP/1.1\r\n\r\n" * 40)
    with pytest.raises(Refused) as caught:
        incoming.commit()
    assert 0xC000 <= caught.value.status <= 0xCFFF
    assert world.files() == []


def test_an_aborted_object_leaves_nothing(world: World) -> None:
    incoming = world.spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
    incoming.write(b"some")
    incoming.abort()
    incoming.abort()
    assert world.files() == []


def fails_at(monkeypatch: pytest.MonkeyPatch, name: str, nth: int, error: int = errno.ENOSPC) -> None:
    """The nth call of `os.<name>`, or of the spool's own `<name>`, raises from now on."""
    module: Any = spool_module if hasattr(spool_module, name) else os
    real, calls = getattr(module, name), []

    def wrapped(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == nth:
            raise OSError(error, os.strerror(error))
        return real(*args, **options)

    monkeypatch.setattr(module, name, wrapped)


@pytest.mark.parametrize(
    ("call", "nth"),
    [
        ("open", 1),
        ("write", 1),
        ("write", 2),
        ("write", 3),
        ("fsync", 1),
        ("write", 4),
        pytest.param("rename", 1, marks=pytest.mark.skipif(os.name == "nt", reason="not Python's there")),
        pytest.param("fsync", 2, marks=pytest.mark.skipif(os.name == "nt", reason="no flush of folders")),
    ],
)
def test_a_full_disk_leaves_nothing_and_answers_out_of_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    world = World(tmp_path, durability="power-loss")
    warm = world.spool.begin(SOURCE, CT, "1.2", EXPLICIT)
    warm.abort()
    fails_at(monkeypatch, call, nth)
    data = data_set("1.2.3.4", pixels=4000)

    def push() -> None:
        incoming = world.spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
        for start in range(0, len(data), 2000):
            incoming.write(data[start : start + 2000])
        incoming.commit()

    with pytest.raises(Refused) as caught:
        push()
    assert caught.value.status == 0xA700
    assert not world.arrivals
    assert world.files() == []
    monkeypatch.undo()
    push()
    assert len(world.arrivals) == 1


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, bytes(data)[: max(1, len(data) // 2)]))
    data = data_set("1.2.3.4", pixels=4000)
    incoming = world.spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
    incoming.write(data)
    incoming.commit()
    assert world.spool.path(incoming.id).read_bytes()[world.arrivals[0].data_offset :] == data


def test_the_reserve_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    free = [10_000_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, free[0]))
    monkeypatch.setattr(room, "MEASURED_FOR", -1.0)
    monkeypatch.setattr(spool_module, "_ROOM_BYTES", 10_000)
    world = World(tmp_path, min_free=1_000_000)
    incoming = world.spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
    free[0] = 999_999
    with pytest.raises(Refused) as caught:
        world.spool.begin(SOURCE, CT, "1.2.3.5", EXPLICIT)
    assert caught.value.status == 0xA700
    incoming.write(bytes(9000))
    with pytest.raises(Refused):
        incoming.write(bytes(9000))
    assert world.files() == []


def test_a_disk_that_cannot_be_asked_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no internal error, which a sender need not try again."""
    asked = [0]

    def fail(path: object) -> None:
        asked[0] += 1
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(room, "MEASURED_FOR", -1.0)
    monkeypatch.setattr(spool_module, "_ROOM_BYTES", 10_000)
    world = World(tmp_path, min_free=1000)
    incoming = world.spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
    monkeypatch.setattr(shutil, "disk_usage", fail)
    with pytest.raises(Refused) as caught:
        world.spool.begin(SOURCE, CT, "1.2.3.5", EXPLICIT)
    assert caught.value.status == 0xA700
    with pytest.raises(Refused) as caught:
        incoming.write(bytes(20_000))
    assert caught.value.status == 0xA700
    assert asked[0] == 2
    assert world.files() == []


def test_a_stopped_writer_refuses_and_nothing_stays(tmp_path: Path) -> None:
    def submit(arrival: Arrival) -> None:
        raise Refused(0xA700, "stopping")

    spool = Spool(tmp_path, "node", submit=submit)
    incoming = spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
    incoming.write(data_set("1.2.3.4"))
    with pytest.raises(Refused):
        incoming.commit()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("node", ["", "..", "a/b", "a\\b", "a b", "ä", "a."])
def test_a_node_name_is_no_path(tmp_path: Path, node: str) -> None:
    with pytest.raises(ConfigurationError):
        Spool(tmp_path, node, submit=lambda arrival: None)


def test_no_value_is_in_a_path(tmp_path: Path) -> None:
    world = World(tmp_path)
    for uid in ("../../../evil", "/etc/passwd"):
        incoming = world.spool.begin(SOURCE, CT, "1.2.3", EXPLICIT)
        incoming.write(data_set(uid, study=uid))
        incoming.commit()
    assert len(world.files()) == 2
    assert all(name.endswith(".dcm") and len(name) == 36 for name in world.files())


def test_ids_go_on_after_what_is_in_the_folder(tmp_path: Path) -> None:
    world = World(tmp_path)
    future = "0699e991a800" + "7000" + "8" + "0" * 15  # in the year 2200
    folder = world.spool.path(future).parent
    folder.mkdir(parents=True)
    world.spool.path(future).touch()
    world.spool.after("")
    incoming = world.spool.begin(SOURCE, CT, "1.2", EXPLICIT)
    incoming.abort()
    assert incoming.id > future


def test_many_threads_commit_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, durability="power-loss")
    failures: list[BaseException] = []

    def one(thread: int) -> None:
        try:
            for n in range(15):
                incoming = world.spool.begin(SOURCE, CT, f"1.{thread}.{n}", EXPLICIT)
                incoming.write(data_set(f"1.{thread}.{n}"))
                incoming.commit()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len({arrival.id for arrival in world.arrivals}) == 90
    assert len(world.files()) == 90


@pytest.mark.parametrize(
    ("durability", "expected"),
    [
        ("power-loss", ["open part", "write", "write", *RENAME, "fsync part", *FLUSH_HOUR, "submit"]),
        ("process-crash", ["open part", "write", "write", *RENAME, "submit"]),
    ],
)
def test_the_steps_come_in_the_order_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any, expected: list[str]
) -> None:
    steps: list[str] = []
    spool = Spool(tmp_path, "node", durability, submit=lambda arrival: steps.append("submit"))
    warm = spool.begin(SOURCE, CT, "1.2", EXPLICIT)
    warm.abort()
    names: dict[int, str] = {}
    real = {name: getattr(os, name) for name in ("open", "write", "fsync", "rename")}

    def opened(path: Any, *args: Any) -> int:
        file: int = real["open"](path, *args)
        names[file] = "part" if str(path).endswith(".part") else "hour" if Path(path).is_dir() else "?"
        steps.append(f"open {names[file]}")
        return file

    def written(file: int, data: Any) -> int:
        steps.append("write")
        done: int = real["write"](file, data)
        return done

    def flushed(file: int) -> None:
        steps.append(f"fsync {names[file]}")

    def renamed(source: str, target: str) -> None:
        steps.append("rename")
        real["rename"](source, target)

    for name, call in (("open", opened), ("write", written), ("fsync", flushed), ("rename", renamed)):
        monkeypatch.setattr(os, name, call)
    incoming = spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
    incoming.write(data_set("1.2.3.4"))
    incoming.commit()
    assert steps == expected


def test_a_node_name_may_hold_a_dot(tmp_path: Path) -> None:
    assert Spool(tmp_path, "clinic.north", submit=lambda arrival: None).folder.name == "clinic.north"
