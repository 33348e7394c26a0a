"""Images as files in a folder: whole, never over another file, and what the folder's trouble does."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pydicom
import pytest

from mapdr.config.read import read_text
from mapdr.egress.folder.destination import FolderEgress, FolderEgressConfig
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Outcome, Payload, Verdict
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.net.hours import Hours
from mapdr.node.plan import make_plan
from mapdr.node.surroundings import faults
from mapdr.testing.generator import IMPLICIT, GeneratedImage, study
from peers.node import Node, everything_to
from peers.part10 import MemoryObject
from peers.processes import program, run
from peers.rawsender import RawSender

IMAGES = list(study("CT", images=4, size=(16, 16)))
IMAGE = IMAGES[0]


def payload(image: GeneratedImage, data: bytes | None = None) -> Payload:
    data = image.dataset if data is None else data
    return Payload(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid, (data,), len(data))


def other_bytes(image: GeneratedImage) -> bytes:
    """The same image with one other pixel."""
    return image.dataset[:-1] + bytes([image.dataset[-1] ^ 1])


def egress(path: Path, durability: Any = "power-loss", **config: Any) -> FolderEgress:
    settings = Settings("out", "node", path.parent, bytes(32), Watch(), durability=durability)
    return FolderEgress(settings, FolderEgressConfig(path=path, **config))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def send(out: Path) -> Callable[..., Outcome]:
    """Sends an image to the folder `out`."""
    session = egress(out).connect([])
    return lambda image, data=None: session.send(payload(image, data))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def changed_at(path: Path) -> tuple[int, int, int]:
    """What tells whether a file was replaced or written; reading it may change when it was read."""
    there = path.lstat()
    return there.st_ino, there.st_size, there.st_mtime_ns


def path_of(out: Path, image: GeneratedImage) -> Path:
    return out / image.study_instance_uid / image.series_instance_uid / f"{image.sop_instance_uid}.dcm"


def test_an_image_is_a_file_for_others(out: Path, send: Callable[..., Outcome]) -> None:
    assert not out.exists()
    for image in IMAGES:
        assert send(image) == Outcome(Verdict.DELIVERED)
    assert files(out) == sorted(path_of(out, image) for image in IMAGES)
    read = pydicom.dcmread(path_of(out, IMAGE))
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID == IMAGE.sop_instance_uid
    assert read.file_meta.TransferSyntaxUID == IMAGE.transfer_syntax_uid
    assert path_of(out, IMAGE).read_bytes().endswith(IMAGE.dataset)


@pytest.mark.peer("dcmftest")
def test_dcmtk_takes_the_files(out: Path, send: Callable[..., Outcome]) -> None:
    for image in IMAGES:
        send(image)
    found = program("dcmftest")
    assert found
    done = run([found, *files(out)])
    assert done.returncode == 0
    assert done.stdout.count("yes: ") == len(IMAGES)


def test_names_are_those_of_the_image_as_it_leaves(out: Path) -> None:
    session = egress(out, layout="{Modality}/{PatientName} {InstanceNumber}/{SOPInstanceUID}").connect([])
    implicit = next(study("CT", images=1, size=(16, 16), transfer_syntax_uid=IMPLICIT))
    session.send(payload(implicit))
    (file,) = files(out)
    data = pydicom.dcmread(file)
    modality, name, uid = file.relative_to(out).parts
    assert (modality, uid) == ("CT", data.SOPInstanceUID)
    assert name.endswith(f" {data.InstanceNumber}")
    assert name.split("^", maxsplit=1)[0] == str(data.PatientName.family_name)


def test_a_folder_says_its_hours(out: Path) -> None:
    hours = Hours.of(["Sat,Sun 00:00-24:00"])
    assert egress(out, hours=["Sat,Sun 00:00-24:00"]).hours == hours
    assert egress(out).hours is None


def untouched(found: os.stat_result) -> tuple[int, ...]:
    """All that is said of a file but the time of access, which moves where it is read."""
    return (*found[: stat.ST_ATIME], found.st_mtime_ns, found.st_ctime_ns)


def test_the_same_bytes_again_are_delivered(out: Path, send: Callable[..., Outcome]) -> None:
    send(IMAGE)
    before = path_of(out, IMAGE).stat()
    again = send(IMAGE)
    after = path_of(out, IMAGE).stat()
    assert again.verdict is Verdict.DELIVERED
    assert "same bytes" in again.comment
    assert untouched(after) == untouched(before)
    path_of(out, IMAGE).write_bytes(IMAGE.part10())  # with another File Meta group
    assert send(IMAGE).verdict is Verdict.DELIVERED
    assert path_of(out, IMAGE).read_bytes() == IMAGE.part10()


def a_longer(path: Path) -> None:
    path.write_bytes(IMAGE.part10() + bytes(2))


def other_pixels(path: Path) -> None:
    path.write_bytes(IMAGE.part10()[:-1] + bytes([IMAGE.dataset[-1] ^ 1]))


def other_syntax(path: Path) -> None:
    path.write_bytes(IMAGE.part10().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))


def no_dicom(path: Path) -> None:
    path.write_bytes(b"notes")


def a_link(path: Path) -> None:
    (path.parent / "elsewhere").write_bytes(IMAGE.part10())
    path.symlink_to(path.parent / "elsewhere")


def a_folder(path: Path) -> None:
    path.mkdir()


LINKS = pytest.mark.skipif(os.name == "nt", reason="links need rights there")


@pytest.mark.parametrize(
    "put", [a_longer, other_pixels, other_syntax, no_dicom, pytest.param(a_link, marks=LINKS), a_folder]
)
def test_another_file_is_never_overwritten(
    out: Path, send: Callable[..., Outcome], put: Callable[[Path], None]
) -> None:
    path = path_of(out, IMAGE)
    path.parent.mkdir(parents=True)
    put(path)
    before = changed_at(path), {file: file.read_bytes() for file in files(out)}
    with pytest.raises(Permanent, match="never overwritten") as raised:
        send(IMAGE)
    assert raised.value.reason == "other-file"
    assert IMAGE.sop_instance_uid not in str(raised.value)
    assert before == (changed_at(path), {file: file.read_bytes() for file in files(out)})
    assert send(IMAGES[1]).verdict is Verdict.DELIVERED


def test_a_file_where_a_folder_should_be(out: Path, send: Callable[..., Outcome]) -> None:
    out.mkdir()
    (out / IMAGE.study_instance_uid).write_bytes(b"")
    with pytest.raises(Permanent, match="gives a folder"):
        send(IMAGE)


@LINKS
def test_a_link_does_not_lead_out_of_the_folder(
    out: Path, tmp_path: Path, send: Callable[..., Outcome]
) -> None:
    out.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (out / IMAGE.study_instance_uid).symlink_to(outside)
    with pytest.raises(Permanent, match="leads out") as raised:
        send(IMAGE)
    assert raised.value.reason == "link"
    assert not files(outside)


def test_of_many_writers_of_one_name_one_writes(out: Path) -> None:
    stage = egress(out)
    barrier = threading.Barrier(8)

    def send(number: int) -> str:
        session = stage.connect([])
        barrier.wait()
        data = IMAGE.dataset if number % 2 else other_bytes(IMAGE)
        try:
            return session.send(payload(IMAGE, data)).comment
        except Permanent as error:
            return error.reason

    with ThreadPoolExecutor(8) as pool:
        said = sorted(pool.map(send, range(8)))
    assert said.count("") == 1
    assert said.count("other-file") == 4
    assert len(files(out)) == 1


def test_a_file_system_without_second_names(
    out: Path, send: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*names: object) -> None:
        raise PermissionError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", no_link)
    for image in IMAGES:
        assert send(image) == Outcome(Verdict.DELIVERED)
    assert [path.read_bytes()[-100:] for path in files(out)] == [
        image.dataset[-100:] for image in sorted(IMAGES, key=lambda each: path_of(out, each))
    ]
    with pytest.raises(Permanent, match="never overwritten"):
        send(IMAGE, other_bytes(IMAGE))


class Failing:
    """Lets a call of `os` fail for whatever lies in a folder, while `error` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.error = 0
        real = getattr(os, name)

        def call(*words: Any, **more: Any) -> Any:
            if self.error:
                raise OSError(self.error, os.strerror(self.error))
            return real(*words, **more)

        monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        ("write", errno.ENOSPC, "no-room"),
        ("fsync", errno.ENOSPC, "no-room"),
        ("open", errno.EROFS, "read-only"),
        ("open", errno.EACCES, "read-only"),
        ("write", errno.EIO, "no-folder"),
        pytest.param(
            "link",
            errno.ESTALE,
            "no-folder",
            marks=pytest.mark.skipif(os.name == "nt", reason="a file gets its name by another call there"),
        ),
        ("open", errno.EMFILE, "own-fault"),
    ],
)
def test_the_folder_s_trouble_is_a_pause(
    out: Path,
    send: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    error: int,
    reason: str,
) -> None:
    send(IMAGES[1])
    failing = Failing(monkeypatch, call)
    failing.error = error
    said = send(IMAGE)
    assert said.verdict is Verdict.RETRY
    assert said.peer_fault
    assert said.pause is not None
    assert said.pause.reason == reason
    failing.error = 0
    assert files(out) == [path_of(out, IMAGES[1])], "nothing half written is left"
    assert send(IMAGE) == Outcome(Verdict.DELIVERED)


@pytest.mark.parametrize(("error", "reason"), [(errno.ENAMETOOLONG, "file-name"), (errno.EFBIG, "too-large")])
def test_what_is_the_image_s_own_parks_it(
    send: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, error: int, reason: str
) -> None:
    send(IMAGES[1])
    Failing(monkeypatch, "write").error = error
    with pytest.raises(Permanent) as raised:
        send(IMAGE)
    assert raised.value.reason == reason


def test_a_folder_that_is_gone_is_not_made_again(out: Path) -> None:
    stage = egress(out)
    session = stage.connect([])
    assert stage.probe().verdict is Verdict.DELIVERED
    assert session.send(payload(IMAGE)).verdict is Verdict.DELIVERED
    shutil.rmtree(out)
    for said in (session.send(payload(IMAGE)), session.send(payload(IMAGES[1])), stage.probe()):
        assert said.pause is not None
        assert said.pause.reason == "no-folder"
    assert not out.exists()
    out.mkdir()
    assert stage.probe().verdict is Verdict.DELIVERED
    assert session.send(payload(IMAGE)) == Outcome(Verdict.DELIVERED)


def test_folders_that_somebody_has_taken_away_are_made_again(out: Path, send: Callable[..., Outcome]) -> None:
    send(IMAGE)
    shutil.rmtree(out / IMAGE.study_instance_uid)
    shutil.rmtree(out / ".mapdr")
    assert send(IMAGE) == Outcome(Verdict.DELIVERED)
    assert path_of(out, IMAGE).is_file()


def test_what_reading_the_image_raises_is_not_the_folder_s_trouble(out: Path, tmp_path: Path) -> None:
    session = egress(out).connect([])
    short = tmp_path / "short"
    short.write_bytes(IMAGE.dataset[:-100])
    for path, kind in ((tmp_path / "none", FileNotFoundError), (short, EOFError)):
        part = FileSlice(path, 0, len(IMAGE.dataset))
        image = Payload(IMAGE.sop_class_uid, "1.2.3", IMAGE.transfer_syntax_uid, (part,), len(IMAGE.dataset))
        with pytest.raises(kind):
            session.send(image)
    assert not files(out)


@pytest.mark.skipif(os.name == "nt", reason="flushes and names are not Python's calls there")
@pytest.mark.parametrize(
    ("durability", "flushed"), [("power-loss", ["file", "folder"]), ("process-crash", [])]
)
def test_a_file_is_flushed_before_it_has_its_name(
    out: Path, monkeypatch: pytest.MonkeyPatch, durability: str, flushed: list[str]
) -> None:
    session = egress(out, durability).connect([])
    session.send(payload(IMAGES[1]))
    done: list[str] = []
    fsync, link = os.fsync, os.link

    def flush(file: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{file}") else "file")
        fsync(file)

    def name(source: str, target: str) -> None:
        done.append("name")
        link(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "link", name)
    session.send(payload(IMAGE))
    assert done == [*flushed[:1], "name", *flushed[1:]]


def test_what_a_dead_process_has_left_is_removed(out: Path, send: Callable[..., Outcome]) -> None:
    work = out / ".mapdr"
    work.mkdir(parents=True)
    (work / "old.part").write_bytes(b"x")
    (work / "fresh.part").write_bytes(b"x")
    os.utime(work / "old.part", (1, 1))
    egress(out).connect([]).close()
    assert [path.name for path in work.iterdir()] == ["fresh.part"]


def problems(tmp_path: Path, text: str) -> list[str]:
    loaded = read_text(text, Registry(), base=tmp_path)
    if loaded.config is None or loaded.problems:
        return [str(each) for each in loaded.problems]
    plan = make_plan(loaded.config, Registry())
    return [str(each) for each in loaded.locate([*plan.problems, *faults(loaded, plan)])]


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Callable[[str], list[str]]]:
    head = '[node]\ndata = "data"\n'
    rule = '[[rule]]\nname = "r"\nwhen = {}\nsend_to = []\n'
    return lambda text: problems(tmp_path, f"{head}{text}{rule}")


def test_a_configuration_that_can_be_used(tables: Callable[[str], list[str]]) -> None:
    assert not tables('[egress.out]\ntype = "folder"\npath = "out"\n')


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('path = "file"', "path: is not a folder"),
        ('path = "data/out"', "out: lies in the folder of node.data"),
        ('path = "."', "out: lies in the folder of node.data, or has it in it"),
        ('path = "out"\nlayout = "../{SOPInstanceUID}"', "layout: leads out of the folder; write"),
        ("writers = 2", "path"),
        ('path = "two"', "out: folder:.*two is already taken by egress.two"),
        ('path = "two/three"', "out: lies in the folder of egress.two"),
    ],
)
def test_a_configuration_that_cannot(
    tmp_path: Path, tables: Callable[[str], list[str]], table: str, words: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    two = '[egress.two]\ntype = "folder"\npath = "two"\n'
    found = tables(f'{two}[egress.out]\ntype = "folder"\n{table}\n')
    assert any(re.search(words, each) for each in found), found


def test_a_node_delivers_into_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    retry = {"first": "200 ms", "max": "1 s"}
    node = Node(
        tmp_path / "node",
        egress={"out": {"type": "folder", "path": str(out), "retry": retry}},
        rules=[everything_to("out", tags=[{"set": "InstitutionName", "to": "Clinic North"}])],
    )
    try:
        node.start()
        with RawSender(node.port, [(IMAGE.sop_class_uid, IMAGE.transfer_syntax_uid)]) as sender:
            for image in IMAGES:
                sent = MemoryObject(
                    image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid, image.dataset
                )
                assert sender.store(sent) == 0
        node.when_settled(len(IMAGES))
        assert [pydicom.dcmread(path).InstitutionName for path in files(out)] == ["Clinic North"] * 4
        rows = node.json("deliveries")["deliveries"]
        assert {(row["state"], row["destination"]) for row in rows} == {("delivered", "out")}
        assert "out" in node.command("echo", "out")
        shutil.rmtree(out)
        with RawSender(node.port, [(IMAGE.sop_class_uid, IMAGE.transfer_syntax_uid)]) as sender:
            late = next(study("CT", images=1, size=(16, 16), seed=7))
            assert (
                sender.store(
                    MemoryObject(
                        late.sop_class_uid, late.sop_instance_uid, late.transfer_syntax_uid, late.dataset
                    )
                )
                == 0
            )
        node.when(lambda status: status["destinations"][0]["reason"] == "no-folder", 30)
        out.mkdir()
        node.when_settled(len(IMAGES) + 1)
        assert files(out) == [path_of(out, late)]
    finally:
        node.stop()
