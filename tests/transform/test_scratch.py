"""What is too large for the memory is made in a temporary file: the same bytes, and nothing stays behind."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.item import FileSlice, Payload
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.transform.encode.compress import CompressStep
from mapdr.transform.encode.streams import Streams
from mapdr.transform.encode.wish import CompressConfig
from mapdr.transform.fragments import encapsulate
from mapdr.transform.pipeline import Pipeline
from mapdr.transform.scratch import Scratch, ScratchFile, emptied
from mapdr.transform.view import PartsView
from transform.helpers import CODECS, EXPLICIT, Notebook, encoded, image, payload_of, picture, read

MB = 1_000_000
FRAMES = 24


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path: Path) -> Any:
    yield
    gc.collect()
    assert not list((tmp_path / "scratch").glob("*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return emptied(tmp_path / "scratch")


def made_in(folder: Path, held: int, workers: int = 2) -> Settings:
    """Settings by which `held` bytes of an image stay in memory."""
    return Settings("test", "node", folder.parent, b"k" * 32, Watch(), workers, 8 * held, scratch=folder)


def joined(parts: Any) -> bytes:
    length = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
    return b"".join(Payload("1.2", "1.2.3", EXPLICIT, tuple(parts), length).chunks())


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@given(
    st.lists(st.binary(max_size=40), min_size=1, max_size=12),
    st.integers(0, 120),
    st.randoms(use_true_random=False),
)
def test_streams_are_encapsulated_alike_in_memory_and_in_a_file(
    frames: list[bytes], held: int, chance: Any
) -> None:
    streams = Streams(Scratch(held))
    order = list(range(len(frames)))
    chance.shuffle(order)
    for index in order:
        streams.put(index, frames[index])
    assert list(streams) == frames
    assert streams.indexes == list(range(len(frames)))
    for index, frame in enumerate(frames):
        assert joined(streams.fragment(index)) == joined(encapsulate([frame])[1][1:-1])
    assert streams.size == sum(map(len, frames))
    in_file = streams.size > held and len(frames) > 1
    assert streams.in_memory == (0 if in_file else streams.size)
    before, parts = streams.encapsulated()
    expected = encapsulate(frames)
    assert (before, joined(parts)) == (expected[0], joined(expected[1]))


def test_what_lies_together_is_one_part(folder: Path) -> None:
    streams = Streams(Scratch(0, folder))
    for index in (0, 1, 2, 4, 3):
        streams.put(index, b"abc")
    _, parts = streams.encapsulated()
    assert [part.length for part in parts if isinstance(part, FileSlice)] == [3 * 12, 12, 12]


@given(st.lists(st.binary(max_size=30), max_size=8), st.integers(0, 100))
def test_pieces_are_gathered_alike(pieces: list[bytes], held: int) -> None:
    parts = Scratch(held).gathered(iter(pieces))
    assert joined(parts) == b"".join(pieces)
    assert any(isinstance(part, FileSlice) for part in parts) == (sum(map(len, pieces)) > held)


def test_a_file_goes_with_the_last_slice_of_it(folder: Path) -> None:
    file = ScratchFile(folder)
    file.append(b"abcd")
    part: Any = file.slice(0, 4).cut(1, 3)
    file.close()
    del file
    gc.collect()
    assert len(files(folder)) == 1
    assert b"".join(part.chunks(10)) == b"bc"
    if os.name == "posix":
        assert not files(folder)[0].stat().st_mode & 0o077
    del part


def test_what_a_killed_process_left_is_removed(folder: Path) -> None:
    for name in ("image-1.part", "other"):
        (folder / name).write_bytes(b"x")
    assert [path.name for path in emptied(folder).iterdir()] == ["other"]
    (folder / "other").unlink()


def test_a_full_disk_lets_the_image_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(folder).free
    with pytest.raises(Temporary, match="no room"):
        ScratchFile(folder, spare=2 * free)
    file = ScratchFile(folder, spare=1)

    class Full:
        def seek(self, at: int) -> None:
            pass

        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    whole, file._file = file._file, Full()  # type: ignore[assignment]
    with pytest.raises(Temporary, match="no room"):
        file.append(b"abc")
    file._file = whole


def test_trouble_with_the_file_is_no_fault_of_the_image(folder: Path) -> None:
    folder.rmdir()  # somebody has tidied up
    file = ScratchFile(folder)
    file.append(b"abc")
    assert file.read(0, 3) == b"abc"
    (folder.parent / "no folder").write_bytes(b"")
    with pytest.raises(Temporary, match="cannot be written"):
        ScratchFile(folder.parent / "no folder")


def volume(frames: int = FRAMES, noise: int = 20) -> Any:
    random = np.random.default_rng(3)
    cells = np.stack([picture(64, 96, 0, 4000, seed) for seed in range(frames)])
    return image(np.clip(cells + random.integers(-noise, noise + 1, cells.shape), 0, 4095), frames=frames)


def prepared(config: Mapping[str, Any], settings: Settings, data: Any = None) -> Payload:
    payload, instance = payload_of(volume() if data is None else data)
    step = CompressStep(settings, CompressConfig(**config))
    return Pipeline([("compress", step)], settings, CODECS).apply(payload, instance, Notebook())


@pytest.mark.parametrize(
    "config",
    [
        {"to": "jpeg2000", "ratio": 10},
        {"to": "htj2k", "psnr": 50},
        {"to": "htj2k-lossless"},
        {"to": "rle", "lossless": True},
        {"to": "jpegls-near", "max_error": 6},
        {"to": "deflated"},
    ],
    ids=lambda config: config["to"],
)
def test_an_image_is_compressed_alike_in_memory_and_in_a_file(
    folder: Path, config: Mapping[str, Any]
) -> None:
    in_memory = prepared(config, made_in(folder, 10 * MB))
    assert not files(folder)
    in_file = prepared(config, made_in(folder, 10_000))
    assert len(files(folder)) == 1, "of each search's other levels nothing stays"
    assert in_file.sop_instance_uid == in_memory.sop_instance_uid
    assert in_file.transfer_syntax_uid == in_memory.transfer_syntax_uid
    assert in_file.length == in_memory.length
    assert in_file.in_memory < 5_000 < in_memory.in_memory
    assert b"".join(in_file.chunks()) == b"".join(in_memory.chunks())


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("target", [EXPLICIT, "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"])
def test_an_image_is_decompressed_alike(folder: Path, target: str, tmp_path: Path) -> None:
    packed = prepared({"to": "htj2k-lossless"}, made_in(folder, 10 * MB))
    instance = replace(payload_of(volume())[1], transfer_syntax_uid=packed.transfer_syntax_uid)
    made = [
        Pipeline([], made_in(folder, held), CODECS).apply(packed, instance, Notebook(), target)
        for held in (10 * MB, 50_000)
    ]
    assert b"".join(made[0].chunks()) == b"".join(made[1].chunks())
    assert made[1].in_memory < 5_000 < made[0].in_memory
    if target == EXPLICIT:
        assert read(made[1]).PixelData == volume().PixelData
    assert len(files(folder)) == 1


def test_a_guard_that_fails_leaves_the_lossless_file_alone(folder: Path) -> None:
    made = prepared({"to": "jpeg2000", "ratio": 10, "max_error": 1}, made_in(folder, 10_000))
    assert made.transfer_syntax_uid == "1.2.840.10008.1.2.4.90"
    assert len(files(folder)) == 1


def test_a_frame_that_fails_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = CODECS.encoder("1.2.840.10008.1.2.4.90")
    encode, count = type(encoder).encode, [0]

    def failing(self: Any, *some: Any, **more: Any) -> bytes:
        count[0] += 1
        if count[0] > FRAMES // 2:
            raise Permanent("broken", reason="codec")
        return encode(self, *some, **more)

    monkeypatch.setattr(type(encoder), "encode", failing)
    with pytest.raises(Permanent, match="broken"):
        prepared({"to": "jpeg2000-lossless"}, made_in(folder, 1_000))
    gc.collect()
    assert not files(folder)


def test_large_slices_are_read_as_a_map_would_give_them(folder: Path) -> None:
    path = folder / "native"
    cells = np.random.default_rng(1).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
    path.write_bytes(cells)
    with PartsView((b"head", FileSlice(path, 7, 299_000), b"tail")) as view:
        assert view[2:250_000] == (b"head" + cells[7:])[2:250_000]
        assert view[:] == b"head" + cells[7:299_007] + b"tail"
    with PartsView((FileSlice(path, 0, 300_001),)) as view, pytest.raises(Permanent) as caught:
        view[:]
    assert caught.value.reason == "damaged"
    path.unlink()


CHILD = Path(__file__).with_name("memory_child.py")
tells_peak = pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")


def sparse(path: Path, frames: int) -> Path:
    """An enhanced CT of 512 x 512 cells of 16 bits: every eighth frame has something like anatomy."""
    data = image(np.zeros((2, 512, 512), int), frames=2, sop_class="1.2.840.10008.5.1.4.1.1.2.1")
    data.NumberOfFrames = frames
    data.PixelData = b""
    head = BytesIO()
    head.write(encoded(data)[:-12])
    size = 512 * 512 * 2
    one = picture(512, 512, 0, 4000, 1) + np.random.default_rng(1).integers(-9, 10, (512, 512))
    cells = np.clip(one, 0, 4095).astype("<u2").tobytes()
    with path.open("wb") as file:
        file.write(head.getvalue() + b"\xe0\x7f\x10\x00OW\0\0" + (frames * size).to_bytes(4, "little"))
        start = file.tell()
        for frame in range(0, frames, 8):
            file.seek(start + frame * size)
            file.write(cells)
        file.truncate(start + frames * size)
    return path


def peak(path: Path, kind: str, memory: int) -> Mapping[str, Any]:
    command = [sys.executable, CHILD, path, EXPLICIT, kind, memory]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=3600, check=True)
    said: Mapping[str, Any] = json.loads(done.stdout)
    return said


@tells_peak
@pytest.mark.parametrize("kind", ["htj2k", "deflated"])
def test_two_hundred_megabytes_pass_through_an_eighth(tmp_path: Path, kind: str) -> None:
    said = peak(sparse(tmp_path / "sparse", 400), kind, 24 * MB)
    assert said["treatment"] == ("re-encoded" if kind == "deflated" else "transcoded")
    assert said["said"] <= 24 * MB
    assert said["took"] < 60 * MB, "210 MB of pixel data"
    assert said["left"] == 0


@tells_peak
@pytest.mark.long
@pytest.mark.parametrize("kind", ["htj2k", "htj2k-lossless", "rle", "deflated"])
def test_two_gigabytes_pass_in_less_than_four_hundred_megabytes(tmp_path: Path, kind: str) -> None:
    said = peak(sparse(tmp_path / "sparse", 4096), kind, 256 * MB)
    assert said["treatment"] == ("re-encoded" if kind == "deflated" else "transcoded")
    assert said["whole"] < 400 * MB, "of the process, interpreter and libraries and all"
    assert said["left"] == 0
