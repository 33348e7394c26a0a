"""A codestream of a size: as imagecodecs writes it, but cut to the size at once."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapdr.kernel.codec import OWN_WAY, FrameFormat, Way
from mapdr.kernel.errors import OwnFault, Permanent, Unavailable
from mapdr.transform.codecs import openjpeg
from mapdr.transform.codecs.jpeg2000 import Jpeg2000, Lossy
from mapdr.transform.codecs.openjpeg import OpenJpeg

from .helpers import picture

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there are no files in memory")
WAYS = (OWN_WAY, Way(reversible=True), Way(resolutions=3), Way(reversible=True, resolutions=3))


@pytest.fixture(scope="module")
def codec() -> OpenJpeg:
    try:
        return OpenJpeg()
    except Unavailable as error:
        pytest.skip(str(error))


def frame_of(rows: int, columns: int, bits: int, signed: bool, samples: int = 1) -> np.ndarray:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    planes = [picture(max(rows, 8), max(columns, 8), low, high, seed) for seed in range(samples)]
    planes = [plane[:rows, :columns] for plane in planes]
    cells = f"{'ui'[signed]}{1 if bits <= 8 else 2}"
    return np.ascontiguousarray(planes[0] if samples == 1 else np.stack(planes, -1), cells)


def by_level(frame: np.ndarray, bits: int, level: float, *, mct: bool = False, way: Way = OWN_WAY) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            frame,
            level=level,
            codecformat="j2k",
            bitspersample=bits,
            reversible=way.reversible,
            mct=mct,
            resolutions=way.resolutions or None,
        )
    )


def error_of(frame: np.ndarray, stream: bytes) -> float:
    return float(np.mean((imagecodecs.jpeg2k_decode(stream).astype(float) - frame) ** 2))


def main_header(stream: bytes) -> bytes:
    """All before the first tile: what sizes, coding style, quantisation and comment are."""
    return stream[: stream.index(b"\xff\x90")]


SIDES = (1, 2, 7, 15, 16, 31, 32, 63, 64, 130, 300)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (8, True), (12, False), (16, True)])
def test_all_but_the_size_is_as_imagecodecs_has_it(
    codec: OpenJpeg, bits: int, signed: bool, way: Way
) -> None:
    """Were a structure of glymur's another than the library's, these would differ."""
    if openjpeg._bundled() is None:
        pytest.skip("imagecodecs holds its library within, whose version may be another")
    for rows, columns in product(SIDES, repeat=2):
        for samples, mct in ((1, False), (3, False), (3, True)):
            frame = frame_of(rows, columns, bits, signed, samples)
            stream = codec.encode(frame, bits, 1 << 24, mct=mct, way=way)
            assert main_header(stream) == main_header(by_level(frame, bits, 60, mct=mct, way=way))


@given(
    st.integers(40, 200),
    st.integers(40, 200),
    st.sampled_from((8, 10, 12, 16)),
    st.booleans(),
    st.sampled_from((1, 3)),
    st.floats(5, 20),
)
@settings(max_examples=40, deadline=None)
def test_a_size_is_not_surpassed_and_has_the_quality_of_its_level(
    codec: OpenJpeg, rows: int, columns: int, bits: int, signed: bool, samples: int, ratio: float
) -> None:
    frame = frame_of(rows, columns, bits, signed, samples)
    size = int(frame.nbytes / ratio) + 200
    stream = codec.encode(frame, bits, size, mct=False)
    assert len(stream) <= size + 32  # OpenJPEG counts not all of its headers
    # Of the levels that give no more, none keeps more: a twentieth of a dB is what they lie apart.
    low, high = 1.0, 140.0
    while high - low > 0.05:
        middle = (low + high) / 2
        low, high = (middle, high) if len(by_level(frame, bits, middle)) <= len(stream) else (low, middle)
    best = error_of(frame, by_level(frame, bits, low))
    assert error_of(frame, stream) <= 1.1 * best + 0.05


def test_a_size_that_is_never_reached_gives_all_of_the_way(codec: OpenJpeg) -> None:
    frame = frame_of(64, 64, 12, False)
    stream = codec.encode(frame, 12, 1 << 20, mct=False, way=Way(reversible=True))
    assert np.array_equal(imagecodecs.jpeg2k_decode(stream), frame)


@pytest.mark.parametrize("mct", [False, True])
def test_threads_and_their_number_change_nothing(codec: OpenJpeg, mct: bool) -> None:
    frames = [frame_of(150, 170, 8, False, 3), frame_of(200, 90, 8, False, 3)]
    alone = [codec.encode(frame, 8, frame.nbytes // 10, mct=mct) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(
            lambda number: codec.encode(frames[number % 2], 8, frames[number % 2].nbytes // 10, mct=mct),
            range(24),
        )
        assert list(made) == 12 * alone
    assert codec.encode(frames[0], 8, frames[0].nbytes // 10, mct=mct, threads=3) == alone[0]


def test_nothing_is_left_open(codec: OpenJpeg) -> None:
    frame = frame_of(40, 40, 12, False)
    for size in (100, 1000):
        codec.encode(frame, 12, size, mct=False)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        codec.encode(frame, 12, 500, mct=False)
    with pytest.raises(codec._bindings.OpenJPEGLibraryError):
        codec.encode(frame, 99, 500, mct=False)  # a precision that there is not
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_is_the_lossy_encoder_s(codec: OpenJpeg) -> None:
    encoder = Lossy(Jpeg2000())
    assert encoder.no_rate_control() == ""
    frame = frame_of(60, 70, 8, False, 3)
    form = FrameFormat(60, 70, 3, 8, 8, False, "YBR_ICT")
    stream = encoder.encode_to_size(frame, form, 1200)
    assert stream == codec.encode(frame, 8, 1200, mct=True)
    with pytest.raises(Permanent) as caught:
        encoder.encode_to_size(frame[:0], form, 1200)
    assert caught.value.reason == "codec"


@pytest.mark.parametrize("version", ["2.0.1", "3.0.0"])
def test_a_library_whose_structures_are_not_known_is_not_used(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(openjpeg, "_bindings", lambda library: SimpleNamespace(version=lambda: version))
    assert Lossy(Jpeg2000()).no_rate_control() == f"libopenjp2 {version} is not known to glymur"


def test_what_is_lacking_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(openjpeg, "_bundled", lambda: None)
        patch.setattr(openjpeg, "find_library", lambda name: None)
        with pytest.raises(Unavailable, match="no libopenjp2 is found"):
            OpenJpeg()
    broken = tmp_path / "libopenjp2.so"
    broken.write_bytes(b"no library")
    with monkeypatch.context() as patch:
        patch.setattr(openjpeg, "_bundled", lambda: broken)
        assert Lossy(Jpeg2000()).no_rate_control() == "the libopenjp2 that is found cannot be loaded"
    with monkeypatch.context() as patch:
        patch.setattr(openjpeg, "find_spec", lambda name: None)
        assert Lossy(Jpeg2000()).no_rate_control() == "glymur is not installed"
    monkeypatch.delattr(os, "memfd_create")
    assert Lossy(Jpeg2000()).no_rate_control() == "this system has no files in memory"


def test_what_the_machine_lacks_for_a_moment_is_not_remembered(
    codec: OpenJpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, form = Lossy(Jpeg2000()), FrameFormat(60, 70, 1, 8, 8, False, "MONOCHROME2")
    frame = frame_of(60, 70, 8, False)

    def no_file(name: str) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", no_file)
        assert encoder.no_rate_control() == "Too many open files"
        with pytest.raises(OwnFault, match="Too many open files"):
            encoder.encode_to_size(frame, form, 800)
    with monkeypatch.context() as patch:
        patch.setattr(openjpeg, "_library", raising(MemoryError))
        assert "MemoryError" in encoder.no_rate_control()
    assert encoder.no_rate_control() == ""
    assert len(encoder.encode_to_size(frame, form, 800)) <= 832
    # Later on, too: the image waits, and is not parked.
    assert not isinstance(encoder._codec._openjpeg, str)
    encoder._codec._openjpeg._memory = no_file
    with pytest.raises(OwnFault, match="Too many open files"):
        encoder.encode_to_size(frame, form, 800)


def raising(error: type[BaseException]) -> Callable[[], None]:
    def fails() -> None:
        raise error

    return fails


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX's")
@pytest.mark.parametrize("free", [0, 1])
def test_want_of_files_is_told_as_such(codec: OpenJpeg, free: int) -> None:
    """OpenJPEG opens the file in memory once more."""
    import resource

    encoder, frame = Lossy(Jpeg2000()), frame_of(60, 70, 8, False)
    form = FrameFormat(60, 70, 1, 8, 8, False, "MONOCHROME2")
    encoder.encode_to_size(frame, form, 800)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(free + 1)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 1, limits[1]))
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for _ in range(free):
            os.close(held.pop())
        with pytest.raises(OwnFault, match="Too many open files"):
            encoder.encode_to_size(frame, form, 800)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in held:
            os.close(number)
    assert encoder.encode_to_size(frame, form, 800)


def test_a_codestream_that_is_not_whole_is_an_error(codec: OpenJpeg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec._bindings, "end_compress", lambda *_: None)
    with pytest.raises(OSError, match="not written all"):
        codec.encode(frame_of(40, 40, 8, False), 8, 400, mct=False)


def test_nothing_else_of_glymur_is_loaded(tmp_path: Path) -> None:
    """Not what it imports, and not the library that a file in the current folder names."""
    (tmp_path / "glymurrc").write_text(f"[library]\nopenjp2: {tmp_path / 'other.so'}\n")
    code = """
import sys
from mapdr.transform.codecs.jpeg2000 import Jpeg2000
print(Jpeg2000().no_rate_control() or "it works", *sorted({"PIL", "lxml", "glymur"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "it works"
    assert done.stderr == ""


def test_a_library_that_writes_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    other = by_level(np.zeros((64, 64), "u2"), 12, 60)
    monkeypatch.setattr(OpenJpeg, "encode", lambda *_, **__: other)
    assert "other pixels" in Lossy(Jpeg2000()).no_rate_control()
    monkeypatch.setattr(OpenJpeg, "encode", lambda *_, **__: bytes(9000))
    assert "fails" in Lossy(Jpeg2000()).no_rate_control()


@pytest.mark.skipif(find_library("openjp2") is None, reason="the system has no libopenjp2")
def test_the_system_s_library_serves_where_imagecodecs_brings_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openjpeg, "_bundled", lambda: None)
    codec = OpenJpeg()
    assert codec._bindings.OPENJP2._name == find_library("openjp2")
    made = codec.encode(frame_of(200, 200, 12, False), 12, 4000, mct=False)
    assert 3600 <= len(made) <= 4032
