"""What transforms take of memory is what they say, and stays within the node's budget."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from mapdr.dicom import scan as module
from mapdr.dicom.scan import MANY_INFLATED, MAX_INFLATED, Unreadable, scan
from mapdr.kernel.budget import Budget, Share, Short
from mapdr.kernel.item import FileSlice, Payload
from mapdr.kernel.stage import Settings
from mapdr.kernel.step import Changes, Phase, Reads
from mapdr.kernel.watch import Watch
from mapdr.transform.codecs.jpeg2000 import Jpeg2000
from mapdr.transform.dataset import DataSet
from mapdr.transform.encode.compress import CompressStep
from mapdr.transform.encode.wish import CompressConfig
from mapdr.transform.pipeline import Pipeline
from transform.helpers import CODECS, Notebook, applied, settings
from transform.helpers import instance_of as described

DEFLATED, EXPLICIT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1"
CHILD = Path(__file__).with_name("memory_child.py")
MB = 1_000_000


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def number(tag: int, value: int) -> bytes:
    return element(tag, b"US", struct.pack("<H", value))


def image(rows: int, columns: int, frames: int, *, samples: int = 1, noise: bool = True) -> bytes:
    """A data set of 16-bit (or 8-bit colour) pixels."""
    random = np.random.default_rng(1)
    bits = 16 if samples == 1 else 8
    size = rows * columns * samples * frames
    head = (
        element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.2")
        + element(0x00080018, b"UI", b"1.2.3.4")
        + element(0x00080060, b"CS", b"CT")
        + element(0x00100010, b"PN", b"Example^Anne")
        + element(0x0020000D, b"UI", b"1.2.3")
        + element(0x0020000E, b"UI", b"1.2.3.1")
        + number(0x00280002, samples)
        + element(0x00280004, b"CS", b"MONOCHROME2" if samples == 1 else b"RGB")
        + (b"" if samples == 1 else number(0x00280006, 0))
        + element(0x00280008, b"IS", str(frames).encode())
        + number(0x00280010, rows)
        + number(0x00280011, columns)
        + number(0x00280100, bits)
        + number(0x00280101, bits if samples > 1 else 12)
        + number(0x00280102, bits - 1 if samples > 1 else 11)
        + number(0x00280103, 0)
    )
    if noise:
        one = random.integers(0, 256 if samples > 1 else 4096, rows * columns * samples, dtype=np.uint16)
        pixels = one.astype("<u2" if samples == 1 else "u1").tobytes() * frames
    else:
        pixels = bytes(size * bits // 8)
    vr = b"OW" if bits == 16 else b"OB"
    return head + struct.pack("<HH2sHI", 0x7FE0, 0x0010, vr, 0, len(pixels)) + pixels


def packed(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    out = packer.compress(data) + packer.flush()
    return out + b"\0" * (len(out) % 2)


def taken(path: Path, syntax: str, kind: str, total: int) -> dict[str, Any]:
    """What a process says that prepared this."""
    command = [sys.executable, CHILD, path, syntax, kind, total]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.7 MB that inflate to 700 MB."""
    head = image(16, 16, 1, noise=False)[: -(12 + 512)]
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    out = packer.compress(head + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 700 * MB))
    out += b"".join(packer.compress(bytes(MB)) for _ in range(700)) + packer.flush()
    path = tmp_path_factory.mktemp("bomb") / "bomb"
    path.write_bytes(out + b"\0" * (len(out) % 2))
    assert path.stat().st_size < MB
    return path


tells_peak = pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")


@tells_peak
@pytest.mark.parametrize("kind", ["edit", "compress"])
def test_a_bomb_is_refused_with_the_figures_and_takes_nothing(bomb: Path, kind: str) -> None:
    said = taken(bomb, DEFLATED, kind, 512 * MB)
    assert said["reason"] == "memory"
    assert "512 MB" in said["message"]
    assert said["took"] < 40 * MB
    assert said["left"] == 0


@tells_peak
def test_a_bomb_that_no_step_touches_is_relayed_and_takes_nothing(bomb: Path) -> None:
    said = taken(bomb, DEFLATED, "relay", 512 * MB)
    assert said["treatment"] == "relayed"
    assert said["length"] == bomb.stat().st_size
    assert said["took"] < 20 * MB


@tells_peak
@pytest.mark.parametrize("total", [64 * MB, 512 * MB])
@pytest.mark.parametrize("kind", ["compress", "implicit"])
def test_a_deflated_header_is_counted_as_often_as_it_is_copied(tmp_path: Path, kind: str, total: int) -> None:
    private = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 50 * MB) + bytes(50 * MB)
    whole = image(64, 64, 1)
    at = whole.index(struct.pack("<HH", 0x0010, 0x0010))
    path = tmp_path / "deflated"
    path.write_bytes(packed(whole[:at] + element(0x00090010, b"LO", b"A ") + private + whole[at:]))
    said = taken(path, DEFLATED, kind, total)
    if total < 250 * MB:
        assert said["reason"] == "memory"
        assert said["took"] < 70 * MB, "inflated at the very most"
    else:
        assert said["treatment"] == ("transcoded" if kind == "compress" else "re-encoded")
        assert said["took"] < said["said"] + 20 * MB
        assert said["took"] > said["said"] / 2


@tells_peak
def test_an_object_without_pixels_is_left_by_compression_without_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    private = struct.pack("<HH2sHI", 0x0029, 0x1001, b"OB", 0, 50 * MB) + bytes(50 * MB)
    whole = image(64, 64, 1)
    path.write_bytes(whole[: -(12 + 64 * 64 * 2)] + element(0x00290010, b"LO", b"A ") + private)
    said = taken(path, EXPLICIT, "compress", 32 * MB)
    assert said["treatment"] == "relayed"
    assert said["said"] < MB


@tells_peak
def test_a_deflated_image_is_in_memory_once_while_it_is_edited(tmp_path: Path) -> None:
    path = tmp_path / "deflated"
    path.write_bytes(packed(image(2000, 2000, 10, noise=False)))
    said = taken(path, DEFLATED, "edit", 512 * MB)
    assert said["treatment"] == "edited"
    assert 80 * MB < said["took"] < 130 * MB, "80 MB of pixels"
    assert said["used"] == said["length"] < MB
    assert said["left"] == 0


@tells_peak
@pytest.mark.parametrize(
    ("rows", "frames", "samples"), [(2048, 1, 1), (1600, 1, 3), (512, 30, 1)], ids=["one", "colour", "many"]
)
def test_compressing_takes_no_more_than_it_says(tmp_path: Path, rows: int, frames: int, samples: int) -> None:
    path = tmp_path / "native"
    path.write_bytes(image(rows, rows, frames, samples=samples))
    told = taken(path, EXPLICIT, "compress", 512 * MB)
    assert told["treatment"] in ("transcoded", "relayed"), "noise in colour gets no smaller"
    took = told["took"] - path.stat().st_size  # the file is mapped
    assert took < 1.25 * told["said"] + 20 * MB
    assert took > 0.3 * told["said"] - 10 * MB, "not far less: images would wait for nothing"


def payload_of(path: Path, syntax: str = EXPLICIT) -> Payload:
    size = path.stat().st_size
    return Payload("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", syntax, (FileSlice(path, 0, size),), size)


def instance_of(path: Path) -> Any:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    return described(header, EXPLICIT, path, 0, path.stat().st_size)


def frame_threads() -> int:
    return sum(thread.name.startswith("mapdr-frames") for thread in threading.enumerate())


def test_recipes_share_the_room_for_frames_and_leave_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "native"
    path.write_bytes(image(64, 64, 12))
    made = settings(tmp_path, workers=3)
    busy = Busy(Jpeg2000.encode)
    monkeypatch.setattr(Jpeg2000, "encode", lambda *some, busy=busy, **named: busy(*some, **named))
    steps = [CompressStep(made, CompressConfig(to="jpeg2000-lossless")) for _ in range(5)]
    with ThreadPoolExecutor(len(steps)) as pool:
        list(pool.map(lambda one: applied(one, payload_of(path), instance_of(path), Notebook()), steps))
    assert busy.calls == 5 * 12
    assert 2 <= busy.most <= 3
    assert not frame_threads()


def test_a_system_that_gives_no_thread_has_the_frames_made_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    path = tmp_path / "native"
    path.write_bytes(image(32, 32, 4))
    step = CompressStep(settings(tmp_path, workers=3), CompressConfig(to="jpeg2000-lossless"))
    expected = applied(step, payload_of(path), instance_of(path), Notebook())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    made = [applied(step, payload_of(path), instance_of(path), Notebook()) for _ in range(4)]
    assert made == [expected] * 4


def test_no_more_frames_are_worked_on_together_than_fit_a_quarter_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Jpeg2000.encode
    path = tmp_path / "native"
    path.write_bytes(image(256, 256, 8))
    one = 14 * 256 * 256
    for memory, most in ((100 * one, 4), (9 * one, 2), (2 * one, 1)):
        made = Settings("test", "node", tmp_path, b"k" * 32, Watch(), 4, memory)
        step = CompressStep(made, CompressConfig(to="jpeg2000-lossless"))
        busy = Busy(encode)
        monkeypatch.setattr(Jpeg2000, "encode", lambda *some, busy=busy, **named: busy(*some, **named))
        applied(step, payload_of(path), instance_of(path), Notebook())
        assert busy.calls == 8
        assert busy.most <= most


class Busy:
    """Counts how many calls run together."""

    def __init__(self, work: Any) -> None:
        self._work = work
        self._lock = threading.Lock()
        self.now = self.most = self.calls = 0

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        with self._lock:
            self.calls += 1
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return self._work(*arguments, **named)
        finally:
            with self._lock:
                self.now -= 1


def test_the_first_frame_at_fault_is_named_whoever_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "native"
    path.write_bytes(image(32, 32, 8))
    step = CompressStep(settings(tmp_path, workers=4), CompressConfig(to="jpeg2000-lossless"))
    encode, seen, lock = Jpeg2000.encode, [0], threading.Lock()

    def failing(self: Jpeg2000, frame: Any, *arguments: Any, **named: Any) -> bytes:
        with lock:
            seen[0] += 1
            count = seen[0]
        if count >= 3:
            raise ValueError(f"call {count}")
        return encode(self, frame, *arguments, **named)

    monkeypatch.setattr(Jpeg2000, "encode", failing)
    with pytest.raises(ValueError, match="call"):
        applied(step, payload_of(path), instance_of(path), Notebook())
    assert seen[0] <= 2 + 4, "nobody begins another frame"


@pytest.mark.parametrize("tail", [b"", element(0xFFFC0000 | 0xFFFC, b"LO", b"pad")])
def test_an_edited_image_is_opened_without_a_copy_of_its_pixels(tmp_path: Path, tail: bytes) -> None:
    data = image(64, 64, 1) + tail
    path = tmp_path / "native"
    path.write_bytes(data)
    at = len(data) - len(tail) - 64 * 64 * 2 - 12
    parts = (data[:at], FileSlice(path, at, len(data) - len(tail) - at), tail)
    payload = Payload("1.2", "1.2.3.4", EXPLICIT, parts if tail else parts[:2], len(data))
    shares: list[Share] = []
    Budget(4000).ask(0, shares.append)
    with shares[0].held(), DataSet(payload) as opened, DataSet(payload_of(path)) as whole:
        assert opened.pixel == whole.pixel
        assert opened.tail(b"") == whole.tail(b"") == tail
    assert shares[0].amount < 64 * 64 * 2, "less than the pixels, though both said what stands around them"


def test_one_that_has_to_be_copied_says_so(tmp_path: Path) -> None:
    data = image(64, 64, 1)
    payload = Payload("1.2", "1.2.3.4", EXPLICIT, (data[:-100], data[-100:-10]), len(data) - 10)
    shares: list[Share] = []
    Budget(4000).ask(0, shares.append)
    with shares[0].held(), pytest.raises(Short), DataSet(payload):
        pass


def test_a_step_is_given_room_for_the_copies_that_it_declares(tmp_path: Path) -> None:
    path = tmp_path / "native"
    path.write_bytes(image(16, 16, 1))
    seen: list[int] = []

    class Plain:
        phase, reads, changes, copies = Phase.HEADER, Reads.DATA_SET, Changes.HEADER, 2

        def apply(self, payload: Payload, instance: Any, memory: Any) -> Payload:
            seen.append(shares[0].amount)
            return payload

    shares: list[Share] = []
    Budget(100_000).ask(0, shares.append)
    with shares[0].held():
        Pipeline([("plain", Plain())], settings(tmp_path), CODECS).prepare(instance_of(path), Notebook())
    assert seen == [2 * path.stat().st_size]


def test_long_headers_of_deflated_objects_are_inflated_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def blob(size: int) -> bytes:
        head = element(0x00080018, b"UI", b"1.2.3.4")
        return packed(head + struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, size) + bytes(size) + b"\1\0\2")

    wanted = frozenset({(0x00080018,)})
    lock = module._long_headers
    held: list[bool] = []
    collect = module._fast.collect

    def watching(data: Any, *rest: Any, **named: Any) -> Any:
        if len(data) > 2 * MANY_INFLATED:
            held.append(lock.locked())
        return collect(data, *rest, **named)

    monkeypatch.setattr(module._fast, "collect", watching)
    found = scan(blob(3 * MANY_INFLATED), DEFLATED, wanted, complete=True)
    assert found.text((0x00080018,)) == "1.2.3.4"
    assert held
    assert all(held)
    assert not lock.locked()
    with pytest.raises(Unreadable, match="too many bytes"):
        scan(blob(2 * MAX_INFLATED), DEFLATED, wanted, complete=True)
    assert not lock.locked()
