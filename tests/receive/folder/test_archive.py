"""Zip archives in a watched folder: their images are taken, and a bomb is refused before it goes off."""

from __future__ import annotations

import errno
import io
import os
import random
import struct
import threading
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mapdr.kernel.errors import Permanent, Refused
from mapdr.kernel.item import Source
from mapdr.receive.folder.archive import Damaged, ZipLimits, members
from mapdr.receive.folder.taking import Changed, Taken, Taker
from mapdr.testing.wait import until
from receive.fakes import FakeIntake
from receive.folder.world import IMAGE, IMAGES, NAME, World, zipped

FILES = {f"{NAME}/{number}.dcm": image.part10() for number, image in enumerate(IMAGES)}
VIEWER = {"viewer.exe": b"MZ" + bytes(100), "README": b"text"}


def test_the_images_of_an_archive_are_taken(world: World) -> None:
    bare = {
        "bare": IMAGES[0].dataset,
        "../../../escape.dcm": IMAGES[1].part10(),
        "/etc/abs": IMAGES[2].part10(),
    }
    world.put("study.zip", zipped({"folder/": b"", **FILES, **VIEWER}))
    world.put("no name", zipped(bare, zipfile.ZIP_STORED))
    world.start()
    world.until_empty()
    assert world.done() == ["no name", "study.zip"]
    assert sorted(world.uids().values()) == [1, 1, 1, 2, 2, 2]
    assert not world.refused()
    assert not list(world.path.parent.glob("*.dcm"))
    assert world.watch.counters()["receive.drop.stored"] == 9


def bomb() -> bytes:
    return zipped({"zeros": bytes(50_000_000)})


def encrypted() -> bytes:
    data = bytearray(zipped(FILES))
    at = data.find(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


def many_by_word() -> bytes:
    """An archive that says of its directory that it is huge."""
    data = bytearray(zipped(FILES))
    at = data.rfind(b"PK\x05\x06")
    struct.pack_into("<L", data, at + 12, 0xFFFF_FFF0)
    return bytes(data)


def sizes_that_lie() -> bytes:
    """A member that says it is small, and is not: no more than it says is read, and its checksum is wrong."""
    data = bytearray(bomb())
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<L", data, data.find(mark) + offset, 1000)
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bomb(), "inflates to more than 200 times its size"),
        (zipped({str(number): b"x" for number in range(31)}), "holds more than 30 files"),
        (zipped({"a": os.urandom(1_200_000)}), "inflates to more than 0.001 GB"),
        (encrypted(), "encrypted"),
        (zipped(FILES, zipfile.ZIP_LZMA), "neither stored nor deflated"),
        (many_by_word(), "holds more than 30 files"),
        (sizes_that_lie(), "damaged"),
        (zipped({}), "holds no DICOM file"),
        (zipped(VIEWER), "holds no DICOM file"),
        (zipped(FILES)[:-30], "damaged"),
        (zipped(FILES)[:5000], "damaged"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
    ],
)
def test_an_archive_that_is_not_taken(world: World, content: bytes, reason: str) -> None:
    world.put("a.zip", content)
    world.put("good.dcm")
    world.start(zip={"files": 30, "size": 1_000_000, "ratio": 200})
    world.until_empty()
    assert world.done() == ["good.dcm"]
    assert world.uids() == {IMAGE.sop_instance_uid: 1}
    assert reason in world.refused()["a.zip"]
    assert NAME not in world.refused()["a.zip"]


def test_an_archive_of_which_some_is_refused(world: World) -> None:
    world.put("a.zip", zipped({**FILES, "cut.dcm": IMAGE.part10()[:-10]}))
    world.put("b.zip", zipped({**FILES, "c.zip": zipped(FILES)}))
    world.start()
    world.until_empty()
    assert "(6 images were)" in world.refused()["a.zip"]
    assert "incomplete" in world.refused()["a.zip"]
    assert "holds archives" in world.refused()["b.zip"]
    assert set(world.uids().values()) == {2}, "what was good is taken once of each archive"


def test_a_member_that_is_damaged(world: World) -> None:
    data = bytearray(zipped(FILES, zipfile.ZIP_STORED))
    data[data.rfind(IMAGES[3].dataset[-50:])] ^= 1
    world.put("a.zip", bytes(data))
    world.start()
    world.until_empty()
    assert "damaged behind 3 images, which were taken" in world.refused()["a.zip"]
    assert len(world.arrivals) == 3


def test_an_archive_goes_on_where_the_store_had_no_more_room(world: World) -> None:
    class Small(FakeIntake):
        def begin(self, *words: Any) -> Any:
            if len(self.kept) == 3 and not room.is_set():
                raise Refused(0xA700, "the disk is full")
            return super().begin(*words)

    room = threading.Event()
    intake = Small()
    world.put("a.zip", zipped(FILES))
    world.start(intake)
    until(lambda: "folder.waits" in world.events())
    room.set()
    world.until_empty()
    assert [kept.sop_instance_uid for kept in intake.kept] == [image.sop_instance_uid for image in IMAGES]
    assert world.done() == ["a.zip"]


def take(path: Path, intake: FakeIntake) -> Taken | str:
    taker = Taker(intake, Source("drop", "", "", ""), ZipLimits(), lambda: False)
    with path.open("rb") as file:
        try:
            return taker.take(file, path.name, lambda ids: "")
        except (Refused, Changed) as error:
            return type(error).__name__


def test_a_large_member_is_not_held_in_memory(tmp_path: Path) -> None:
    class Counting(FakeIntake):
        size = 0

        def begin(self, *words: Any) -> Any:
            incoming = super().begin(*words)

            def write(data: bytes) -> None:
                Counting.size += len(data)

            incoming.write = write  # type: ignore[method-assign]
            return incoming

    path = tmp_path / "a.zip"
    block = random.Random(1).randbytes(1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w") as member:
        member.write(IMAGE.part10())
        for _ in range(16):
            member.write(block)
    tracemalloc.start()
    try:
        assert take(path, Counting()) == Taken(1, Counting.size)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert Counting.size == len(IMAGE.dataset) + (16 << 20)


def test_whatever_an_archive_holds_is_taken_or_refused(tmp_path: Path) -> None:
    """Bytes that are changed at random anywhere, most of all in the directory."""
    chance = random.Random(5)
    whole = zipped({name: content[:3000] for name, content in FILES.items()})
    path = tmp_path / "a.zip"
    outcomes = set()
    for number in range(600):
        data = bytearray(whole)
        start = 0 if number % 2 else whole.find(b"PK\x01\x02")
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(start, len(data))] = chance.choice(
                (0, 1, 0x7F, 0xFF, chance.randrange(256))
            )
        path.write_bytes(data[: chance.randrange(4, len(data))] if number % 5 == 0 else data)
        said = take(path, FakeIntake())
        assert isinstance(said, Taken)
        outcomes.add(bool(said.refused))
    assert outcomes == {True, False}


def test_whatever_a_file_holds_is_taken_or_refused(tmp_path: Path) -> None:
    chance = random.Random(6)
    path = tmp_path / "a"
    for _ in range(300):
        data = bytearray(IMAGE.part10())
        for _ in range(chance.randint(1, 30)):
            data[chance.randrange(min(len(data), 600))] = chance.randrange(256)
        path.write_bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        assert isinstance(take(path, FakeIntake()), Taken)


def test_zip64(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("a.dcm", "w", force_zip64=True) as member:
        member.write(IMAGE.part10())
    data = bytearray(out.getvalue())
    # The end records that an archive of more than 65,535 files has.
    at = data.rfind(b"PK\x05\x06")
    count, size, where = struct.unpack_from("<HLL", data, at + 10)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, where)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path = tmp_path / "a.zip"
    path.write_bytes(bytes(data[:at]) + record + locator + end)
    assert take(path, FakeIntake()) == Taken(1, len(IMAGE.dataset))
    huge = record.replace(struct.pack("<Q", count), struct.pack("<Q", 1 << 40))
    path.write_bytes(bytes(data[:at]) + huge + locator + end)
    said = take(path, FakeIntake())
    assert isinstance(said, Taken)
    assert "holds more than" in said.refused


def read(content: bytes, begin: int = 0, **limits: Any) -> list[tuple[int, bytes]]:
    found = members(io.BytesIO(content), ZipLimits(**limits), begin)
    return [(number, read_member(1 << 20)) for number, read_member in found]


def test_an_archive_that_is_just_within_its_limits() -> None:
    stored = zipped({"a": b"1234", "b": b"567890"}, zipfile.ZIP_STORED)
    both = [(0, b"1234"), (1, b"567890")]
    assert read(stored, files=2, size=10, ratio=2) == both
    assert read(stored, begin=1) == both[1:]
    for too in ({"files": 1}, {"size": 9}):
        with pytest.raises(Permanent) as raised:
            read(stored, **too)
        assert raised.value.reason == "zip"
        assert f"raise zip.{next(iter(too))} of the receiver" in str(raised.value)
    packed = zipped({"a": bytes(100_000)})
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        (info,) = archive.infolist()
    ratio = -(-info.file_size // info.compress_size)
    assert len(read(packed, ratio=ratio)) == 1
    with pytest.raises(Permanent, match=rf"more than {ratio - 1} times"):
        read(packed, ratio=ratio - 1)
    assert read(zipped({})) == read(zipped({"empty/": b"", "sub/": b""})) == []
    assert read(zipped({"empty": b""})) == [(0, b"")]


def test_an_archive_with_the_longest_comment() -> None:
    """Its end record is looked for as far as it may stand from the end of the file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"1234")
        archive.comment = b"c" * 0xFFFF
    assert read(out.getvalue()) == [(0, b"1234")]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", bytes(200_000))
    assert len(read(out.getvalue())) == 1
    for count, length, refused in ((1, 1024, False), (2, 0, True), (1, 1025, True)):
        data = bytearray(out.getvalue())
        at = data.rfind(b"PK\x05\x06")
        struct.pack_into("<HHL", data, at + 8, count, count, length)
        with pytest.raises(Permanent if refused else Damaged):
            read(bytes(data), files=1)


def test_a_disk_that_fails_is_no_damage() -> None:
    """It is tried again, whereas what is damaged is refused for good."""

    class Failing(io.BytesIO):
        code = errno.EIO

        def read(self, *size: Any) -> bytes:
            raise OSError(self.code, "a fault")

    failing = Failing(zipped({"a": b"1234"}))
    with pytest.raises(OSError, match="a fault"):
        list(members(failing, ZipLimits()))
    failing.code = errno.EINVAL
    with pytest.raises(Damaged):
        list(members(failing, ZipLimits()))


def ended(content: bytes, *, count: int = 1, length: int = 50) -> bytes:
    """`content` with another end record, which says so many files, and bytes of their directory."""
    return content + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, length, 0, 0)


def ended64(content: bytes, where: int, **said: int) -> bytes:
    """`content` with the locator of a ZIP64 end record at `where`, and an end record."""
    return ended(content + struct.pack("<4sLQL", b"PK\x06\x07", 0, where, 1), **said)


def record64(count: int, length: int) -> bytes:
    return struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, 0)


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (b"", False),
        (b"PK", False),
        (bytes(100), False),
        (ended(b"", count=5)[:-1], False),
        (ended(bytes(50), count=5), True),
        (ended(b"", count=5), True),
        (ended(bytes(70_000), count=5), True),
        (ended(bytes(70_000), count=5) + bytes(0xFFFF), True),
        (ended(b"", length=4 * 1024 + 1), True),
        # The record of 64 bits counts, wherever it stands, and with no more than its locator before the end.
        (ended64(record64(5, 50), 0), True),
        (ended64(record64(1, 4 * 1024 + 1), 0), True),
        (ended64(bytes(100_000) + record64(5, 50) + bytes(90_000), 100_000), True),
        (ended64(b"", 20), False),
        (ended64(b"", 0, count=5), False),
        (ended64(b"", 42), False),
        (ended64(b"", 43, count=5), False),
        (ended64(bytes(1000), 1 << 63, count=5), False),
        (ended64(bytes(1000), 1022, count=5), False),
    ],
)
def test_what_an_archive_says_of_its_directory_is_looked_at_first(content: bytes, refused: bool) -> None:
    """Before anything is read by it; what contradicts itself is damaged."""
    limits = ZipLimits(files=4)
    with pytest.raises(Permanent if refused else Damaged) as raised:
        list(members(io.BytesIO(content), limits))
    assert ("more than 4 files" in str(raised.value)) is refused


def test_each_file_of_an_archive_counts_and_none_is_encrypted_or_of_a_costly_method() -> None:
    """Its directory may hold more than its end says, and less than any limit asks for is not refused."""
    many = bytearray(zipped({str(number): b"x" for number in range(5)}))
    at = many.rfind(b"PK\x05\x06")
    struct.pack_into("<HH", many, at + 8, 1, 1)
    nothing = zipped({"empty": b""}, zipfile.ZIP_STORED)
    for content, word in (
        (bytes(many), "holds more than 4 files"),
        (encrypted(), "is encrypted"),
        (zipped({"a": b"1234"}, zipfile.ZIP_LZMA), "neither stored nor deflated"),
        (zipped({"a": b"1234"}, zipfile.ZIP_BZIP2), "neither stored nor deflated"),
    ):
        with pytest.raises(Permanent, match=word) as raised:
            read(content, files=4 if word.startswith("holds") else 100)
        assert raised.value.reason == "zip"
    assert read(nothing, size=1) == [(0, b"")]
    flagged = bytearray(nothing)
    flagged[flagged.find(b"PK\x01\x02") + 8] |= 2  # how well it was deflated
    assert read(bytes(flagged)) == [(0, b"")]
