"""Each compiled hot path against its plain Python twin: the same answers, the same errors, for any bytes."""

from __future__ import annotations

import importlib
import os
import re
import struct
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapdr import _fast
from mapdr._fast import _command_py, _jpeg_lossless_py, _pdata_py, _pixels_py, _rle_py, _scan_py
from mapdr._fast.pdata_signals import Signal
from mapdr.kernel.errors import MapdrError, RemoteProtocolError
from mapdr.kernel.item import FileSlice
from mapdr.testing import peer
from wire.streams import Tape

FOLDER = Path(_fast.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.pyx"))


def compiled(name: str) -> ModuleType:
    """The extension, where it was built: required in CI unless it was left out on purpose."""
    if os.environ.get("MAPDR_NO_EXTENSIONS"):
        pytest.skip("the extensions are left out on purpose")
    try:
        return importlib.import_module(f"mapdr._fast.{name}")
    except ModuleNotFoundError:
        if os.environ.get("CI") or os.environ.get("MAPDR_REQUIRE_EXTENSIONS"):
            raise
        pytest.skip(f"{name} is not built here")


@pytest.mark.parametrize("name", NAMES)
def test_an_extension_is_newer_than_its_source(name: str) -> None:
    built = Path(str(compiled(name).__file__))
    for source in (FOLDER / f"{name}.pyx", *FOLDER.glob("*.pxi")):
        assert built.stat().st_mtime >= source.stat().st_mtime or source.stem not in included(name), (
            "build it again"
        )


def included(name: str) -> set[str]:
    """The extension's own source and what it includes."""
    text = (FOLDER / f"{name}.pyx").read_text(encoding="utf-8")
    return {name, *re.findall(r'^include "(\w+)\.pxi"$', text, re.MULTILINE)}


def test_the_chooser_says_which_twins_it_took() -> None:
    wanted = "python" if os.environ.get("MAPDR_NO_EXTENSIONS") else _fast.BACKEND
    assert set(_fast.BACKENDS.values()) == {wanted}


@pytest.mark.parametrize("name", NAMES)
def test_where_one_extension_is_not_built_all_twins_are_those_in_python(name: str) -> None:
    child = f"""
import sys

class Missing:
    def find_spec(self, module, path=None, target=None):
        if module == "mapdr._fast.{name}":
            raise ModuleNotFoundError("not built", name=module)

sys.meta_path.insert(0, Missing())
from mapdr import _fast
assert set(_fast.BACKENDS.values()) == {{"python"}}, _fast.BACKENDS
assert all(hasattr(_fast, each) for each in _fast.__all__)
"""
    given = {key: value for key, value in os.environ.items() if not key.startswith("MAPDR_")}
    subprocess.run([sys.executable, "-c", child], env=given, check=True, timeout=60)


def outcome(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a call gives: its result, or its error's type and text."""
    try:
        return function(*args, **options)
    except (MapdrError, Signal) as error:
        return type(error), str(error), getattr(error, "at_least", None)


# --- header scan ------------------------------------------------------------------------------------------

WANTED: dict[int, Any] = {
    0x00080005: {},
    0x00080018: {},
    0x00080060: {},
    0x00081140: {0x00081155: {}},
    0x0020000D: {},
    0x7FE00010: {},
    0xFFFAFFFA: {},
}
TAGS = [
    0x00080000,
    *WANTED,
    0x00091001,
    0x00200013,
    0x00280010,
    0x00400275,
    0x7FE00008,
    0xFFFEE000,
    0xFFFEE0DD,
    2,
    0,
]
VRS = [b"UI", b"CS", b"SQ", b"OW", b"OB", b"UN", b"US", b"UL", b"LO", b"UT", b"XX", b"  "]


@st.composite
def elements(draw: st.DrawFn, explicit: bool, depth: int = 0) -> bytes:
    """Elements as a careless writer makes them: mostly right, sometimes out of order, too long or odd."""
    out = b""
    tags = draw(st.lists(st.sampled_from(TAGS), max_size=8))
    if draw(st.integers(0, 3)):
        tags = sorted(set(tags))
    for tag in tags:
        vr = draw(st.sampled_from(VRS))
        value = draw(st.binary(max_size=10))
        if depth < 3 and draw(st.booleans()):
            inner = draw(elements(explicit, depth + 1))
            value = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
            vr = b"SQ"
        if draw(st.integers(0, 5)):
            value += b"\0" * (len(value) % 2)
        length = draw(
            st.sampled_from(
                [*[len(value)] * 5, 0xFFFFFFFF, 0xFFFFFFF4, 0xFFFFFFFE, 0xFFFF, len(value) + 1, 0]
            )
        )
        if length == 0xFFFFFFFF:
            value += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        if not explicit:
            out += head + struct.pack("<L", length) + value
        elif vr in (b"SQ", b"OW", b"OB", b"UN", b"UT"):
            out += head + vr + b"\0\0" + struct.pack("<L", length) + value
        else:
            out += head + vr + struct.pack("<H", length & 0xFFFF) + value
    return out


@settings(max_examples=400)
@given(st.data(), st.booleans(), st.booleans(), st.sampled_from([0, 4, 1024]))
def test_the_scans_agree(data: st.DataObject, explicit: bool, beyond: bool, max_value: int) -> None:
    buffer = data.draw(elements(explicit))
    available = data.draw(st.integers(0, len(buffer)))
    size = data.draw(st.sampled_from([len(buffer), available, _scan_py.UNKNOWN_SIZE]))
    check_scan(buffer[:available], size, int(explicit), beyond, max_value)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 3), st.booleans())
def test_the_scans_agree_on_any_bytes(buffer: bytes, flags: int, beyond: bool) -> None:
    check_scan(buffer, len(buffer), flags, beyond, 64)


@pytest.mark.parametrize("beyond", [False, True])
def test_the_scans_agree_on_real_files(data: Path, beyond: bool) -> None:
    """Every file, whole and cut, read from behind its File Meta group in both encodings."""
    compared = 0
    for path in sorted(path for path in data.rglob("*") if path.is_file() and path.stat().st_size < 3 << 20):
        content = path.read_bytes()
        if content[128:132] != b"DICM":
            continue
        start = 144 + struct.unpack_from("<L", content, 140)[0]
        for end in {len(content), start + 300, start + 4096}:
            for flags in (0, 1):
                check_scan(content[start:end], max(0, len(content) - start), flags, beyond, 256)
                compared += 1
    assert compared > 1000


def check_scan(buffer: bytes, size: int, flags: int, beyond: bool, max_value: int) -> None:
    fast = compiled("_scan")
    size = max(size, len(buffer))
    args = (buffer, len(buffer), size, flags, WANTED)
    options = {"beyond": beyond, "max_value": max_value}
    assert outcome(fast.walk, *args, **options) == outcome(_scan_py.walk, *args, **options)
    assert outcome(fast.collect, *args, **options) == outcome(_scan_py.collect, *args, **options)
    for span in ((0, len(buffer)), (min(8, len(buffer)), len(buffer)), (0, len(buffer) // 2)):
        level = buffer, *span, flags
        for nested in (False, True):
            assert outcome(fast.elements, *level, base=7, within=5, nested=nested) == outcome(
                _scan_py.elements, *level, base=7, within=5, nested=nested
            )


# --- pixels -----------------------------------------------------------------------------------------------

EDGES = st.sampled_from([0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65534, 65535])
CELL = st.one_of(EDGES, st.integers(0, 65535))


@given(st.binary(max_size=200))
def test_pixels_are_made_whole_alike(pairs: bytes) -> None:
    fast = compiled("_pixels")
    assert raised(fast.whole_pixels, pairs) == raised(_pixels_py.whole_pixels, pairs)
    whole = pairs[: len(pairs) // 4 * 4]
    assert fast.whole_pixels(memoryview(whole)) == _pixels_py.whole_pixels(whole)


@given(st.binary(max_size=200), st.booleans())
def test_colours_become_rgb_alike(samples: bytes, full: bool) -> None:
    fast = compiled("_pixels")
    assert raised(fast.ybr_to_rgb, samples, full=full) == raised(_pixels_py.ybr_to_rgb, samples, full=full)
    whole = memoryview(samples)[: len(samples) // 3 * 3]
    assert fast.ybr_to_rgb(whole, full=full) == _pixels_py.ybr_to_rgb(whole, full=full)


@pytest.mark.parametrize("full", [True, False])
def test_every_colour_becomes_rgb_alike(full: bool) -> None:
    chroma = bytes(value for cb in range(256) for cr in range(256) for value in (0, cb, cr))
    for luminance in (0, 1, 15, 16, 127, 128, 235, 254, 255):
        pixels = bytearray(chroma)
        pixels[::3] = bytes([luminance]) * 65536
        assert compiled("_pixels").ybr_to_rgb(pixels, full=full) == _pixels_py.ybr_to_rgb(pixels, full=full)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(CELL, CELL)),
    st.sampled_from(_pixels_py.KINDS),
    st.integers(-40000, 70000),
    st.integers(-40000, 70000),
)
def test_frames_are_compared_alike(cells: list[tuple[int, int]], kind: str, low: int, high: int) -> None:
    size = struct.calcsize(kind)
    one, other = (b"".join(pair[place].to_bytes(2, "little")[:size] for pair in cells) for place in (0, 1))
    found = compiled("_pixels").differences(one, other, kind, low, high)
    assert found == _pixels_py.differences(one, other, kind, low, high)
    assert all(type(each) is int for each in found)
    gap = compiled("_pixels").padding_gap(one, other, kind, low, high)
    assert gap == _pixels_py.padding_gap(one, other, kind, low, high)


@settings(max_examples=300)
@given(st.data(), st.sampled_from(_pixels_py.KINDS), st.integers(1, 80))
def test_frames_are_compared_alike_at_the_ends_of_cells(data: st.DataObject, kind: str, count: int) -> None:
    """Few values, the ends of a cell among them, and padding that begins and ends with some of them."""
    size = struct.calcsize(kind)
    least, most = (
        (0, (1 << 8 * size) - 1) if kind.isupper() else (-1 << 8 * size - 1, (1 << 8 * size - 1) - 1)
    )
    values = st.sampled_from([least, least + 1, -1 if least else 1, 0, most - 1, most])
    one, other = (
        struct.pack(f"{count}{kind}", *data.draw(st.lists(values, min_size=count, max_size=count)))
        for _ in range(2)
    )
    beyond = st.sampled_from([least - 300, least - 1, most + 1, most + 300])
    low, high = sorted(data.draw(values | beyond) for _ in range(2))
    for name in ("differences", "padding_gap"):
        fast, plain = getattr(compiled("_pixels"), name), getattr(_pixels_py, name)
        assert fast(one, other, kind, low, high) == plain(one, other, kind, low, high)


@pytest.mark.parametrize("off", [255, 999, 1000, 1001, 1023, 1024, 1025, 2048, 65535])
@pytest.mark.parametrize("count", [1, 4095, 4096, 4097, 12_289])
def test_large_errors_of_many_cells_add_up_alike(off: int, count: int) -> None:
    one, other = bytes(2 * count), off.to_bytes(2, "little") * count
    found = compiled("_pixels").differences(one, other, "H", 1, 0)
    assert found == _pixels_py.differences(one, other, "H", 1, 0) == (count, off, off * off * count, 0, 0)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(_pixels_py.KINDS), st.integers(0, 40), st.booleans())
def test_large_frames_are_compared_alike(seed: int, kind: str, near: int, has_padding: bool) -> None:
    random = Random(seed)
    one = bytearray(random.randbytes(140_000))
    other = bytearray(one if near else random.randbytes(len(one)))
    for _ in range(near):
        other[random.randrange(len(other))] ^= 1 << random.randrange(8)
    low, high = sorted(random.randrange(-1000, 1000) for _ in range(2)) if has_padding else (1, 0)
    for name in ("differences", "padding_gap"):
        fast, plain = getattr(compiled("_pixels"), name), getattr(_pixels_py, name)
        assert fast(one, other, kind, low, high) == plain(one, other, kind, low, high)


@settings(max_examples=200)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(_pixels_py.KINDS),
    st.sampled_from([1, 2, 3, 4, 9, 31, 32, 33, 64, 100]),
    st.sampled_from([1, 2, 3, 4, 5, 17, 64, 65]),
    st.sampled_from([1, 3]),
    st.booleans(),
)
def test_details_are_counted_alike(
    seed: int, kind: str, rows: int, columns: int, samples: int, is_flat: bool
) -> None:
    random = np.random.default_rng(seed)
    low, high = (0, 20) if is_flat else (np.iinfo(kind).min, np.iinfo(kind).max)
    cells = random.integers(low, high, (rows, columns, samples), endpoint=True).astype(kind).tobytes()
    found = compiled("_pixels").details(cells, kind, rows, columns, samples)
    assert found == _pixels_py.details(cells, kind, rows, columns, samples)


@settings(max_examples=200)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.floats(1e-3, 1e6),
    st.floats(0, 1e6),
    st.floats(-20, 150),
    st.floats(-20, 150),
)
def test_details_take_as_many_bits(
    seed: int, share: float, step: float, bits: float, least: float, most: float
) -> None:
    random = np.random.default_rng(seed)
    counts = array("q", (1000 * random.random(160) * (random.random(160) < share)).astype(int).tolist())
    fast, plain = compiled("_pixels"), _pixels_py
    assert fast.detail_bits(counts, step) == pytest.approx(plain.detail_bits(counts, step))
    found, expected = (each.detail_level(counts, 3 * 4096.0, bits, least, most) for each in (fast, plain))
    assert found == pytest.approx(expected, abs=2 * _pixels_py.FINEST)


def test_details_of_another_number_of_sizes_are_refused_alike() -> None:
    for twin in (compiled("_pixels"), _pixels_py):
        for call in (
            lambda counts, twin=twin: twin.detail_bits(counts, 1.0),
            lambda counts, twin=twin: twin.detail_level(counts, 1.0, 0.5, 2.0, 90.0),
        ):
            with pytest.raises(ValueError, match="argument 2"):
                call(array("q", [0] * 161))


@pytest.mark.parametrize("shape", [(2, 2, 2), (4, 3, 1), (-4, -4, 1), (1 << 40, 1 << 40, 1), (4, 4, 0)])
def test_cells_that_are_no_frame_are_refused_alike(shape: tuple[int, int, int]) -> None:
    for twin in (compiled("_pixels"), _pixels_py):
        with pytest.raises(ValueError, match="no frame"):
            twin.details(bytes(31), "h", *shape)


@pytest.mark.parametrize("frame", [(b"abc", b"abc", "h"), (b"ab", b"abcd", "H"), (b"abcd", b"abcd", "i")])
def test_frames_that_cannot_be_compared_are_refused_alike(frame: tuple[bytes, bytes, str]) -> None:
    for twin in (compiled("_pixels"), _pixels_py):
        for compare in (twin.differences, twin.padding_gap):
            with pytest.raises(ValueError, match="two frames"):
                compare(*frame, 1, 0)


def raised(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """What a call gives, or the text of its ValueError."""
    try:
        return function(*args, **named)
    except ValueError as error:
        return str(error)


# --- RLE --------------------------------------------------------------------------------------------------

run = st.tuples(st.integers(0, 3), st.integers(1, 140)).map(lambda run: bytes((run[0],)) * run[1])
pieces = st.one_of(run, st.binary(max_size=140))
cells = st.lists(pieces, max_size=8).map(b"".join)


@settings(max_examples=300)
@given(cells, st.integers(1, 300), st.sampled_from([(1, 1), (1, 2), (3, 1), (3, 2), (1, 4), (3, 5)]))
def test_the_rle_encoders_agree(data: bytes, columns: int, form: tuple[int, int]) -> None:
    samples, size = form
    pixel = samples * size
    rows = max(1, len(data) // (columns * pixel))
    data = data[: rows * columns * pixel].ljust(rows * columns * pixel, b"\0")
    made = compiled("_rle").encode(data, rows, columns, samples, size)
    assert made == _rle_py.encode(data, rows, columns, samples, size)
    assert len(made) % 2 == 0
    if size in (1, 2, 4):
        planes = np.frombuffer(imagecodecs.dicomrle_decode(made, np.dtype(f"<u{size}")), f"<u{size}")
        wanted = np.frombuffer(data, f"<u{size}").reshape(-1, samples).T.reshape(-1)
        assert np.array_equal(planes, wanted)


@pytest.mark.parametrize(
    "frame",
    [(4, 0, 1, 1), (2, 2, 1, 2), (-1, -4, 1, 1), (1, 1, 4, 4), (1, 1, 16, 1), (1 << 40, 1 << 40, 1, 1)],
)
def test_the_rle_encoders_refuse_alike(frame: tuple[int, int, int, int]) -> None:
    for twin in (compiled("_rle"), _rle_py):
        with pytest.raises(ValueError, match=r"bytes a pixel|not those"):
            twin.encode(b"abcd", *frame)


# --- JPEG lossless ----------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(st.data(), st.integers(2, 16), st.integers(1, 20), st.integers(1, 20), st.sampled_from([0, 1, 16]))
def test_the_encoders_of_jpeg_lossless_write_the_same_bytes(
    data: st.DataObject, bits: int, rows: int, columns: int, spread: int
) -> None:
    """Values of any kind: those of noise take categories of all sizes, small steps only few."""
    top = (1 << bits) - 1
    near = st.integers(0, min(spread, top)) if spread < 16 else st.integers(0, top)
    values = data.draw(st.lists(near, min_size=rows * columns, max_size=rows * columns))
    cells = np.array(values, "u1" if bits <= 8 else "<u2").tobytes()
    assert_equal_from_the_frame_on(cells, rows, columns, bits)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_codes_of_jpeg_lossless_are_cut_to_16_bits_alike(bits: int) -> None:
    """Categories whose numbers grow as Fibonacci's do, for which the best codes would be longer."""
    values, at, many = [], 0, (1, 1)
    for category in range(bits):
        values += [at := (at + (1 << category)) % (1 << bits) for _ in range(many[0])]
        many = many[1], sum(many)
    cells = np.array(values, "u1" if bits <= 8 else "<u2").tobytes()
    assert_equal_from_the_frame_on(cells, 1, len(values), bits)


def test_the_encoders_of_jpeg_lossless_agree_on_real_files(data: Path) -> None:
    series = [
        data / "series" / name for name in ("ct_philips_phantom_140", "ct_ge_head_28", "mr_ge_mprage_130")
    ]
    paths = [min(folder.iterdir()) for folder in series if folder.is_dir()]
    for path in paths or [pydicom.examples.get_path(name) for name in ("ct", "mr")]:
        read = pydicom.dcmread(path)
        assert_equal_from_the_frame_on(read.PixelData, read.Rows, read.Columns, read.BitsStored)


@pytest.mark.parametrize("frame", [(0, 4, 8), (4, 4, 1), (4, 4, 17), (4, 4, 16), (1 << 16, 1, 8), (3, 4, 8)])
def test_the_encoders_of_jpeg_lossless_refuse_alike(frame: tuple[int, int, int]) -> None:
    for module in (_jpeg_lossless_py, compiled("_jpeg_lossless")):
        with pytest.raises(ValueError, match=r"16 bits|not those"):
            module.encode(bytes(16), *frame)


def assert_equal_from_the_frame_on(cells: bytes, rows: int, columns: int, bits: int) -> None:
    """Both streams, without what stands before SOF3: libjpeg may say another version of JFIF one day."""
    for buffer in (cells, memoryview(b"0" + cells)[1:]):
        streams = (
            module.encode(buffer, rows, columns, bits)
            for module in (_jpeg_lossless_py, compiled("_jpeg_lossless"))
        )
        ours, theirs = (stream[stream.index(b"\xff\xc3") :] for stream in streams)
        assert ours == theirs


# --- command sets -----------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from([0, 0, 0, 8]), st.integers(0, 0xFFFF), st.binary(max_size=9))),
    st.binary(),
)
def test_the_command_readers_agree(parts: list[tuple[int, int, bytes]], tail: bytes) -> None:
    data = b"".join(struct.pack("<HHL", group, tag, len(value)) + value for group, tag, value in parts)
    for case in (data, data + tail, data[: len(data) // 2], tail):
        assert outcome(compiled("_command").command_elements, case) == outcome(
            _command_py.command_elements, case
        )


# --- P-DATA -----------------------------------------------------------------------------------------------

pdvs = st.lists(
    st.tuples(st.sampled_from([3, 3, 3, 5]), st.sampled_from([0, 0, 0, 2, 2, 1, 3]), st.binary(max_size=60)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=300)
@given(st.lists(pdvs, max_size=5), st.binary(max_size=20), st.integers(1, 4096))
def test_data_sets_come_out_alike(groups: list[list[tuple[int, int, bytes]]], tail: bytes, step: int) -> None:
    stream = b"".join(peer.p_data(*group) for group in groups) + tail
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert taken(compiled("_pdata"), pieces) == taken(_pdata_py, pieces)


@pytest.mark.parametrize("module", ["_pdata", "_pdata_py"])
@pytest.mark.parametrize("step", [1, 509, 4096])
def test_empty_pdvs_are_counted_alike(module: str, step: int) -> None:
    twin = _pdata_py if module == "_pdata_py" else compiled(module)
    for empty in (1000, 1001):
        stream = peer.p_data((3, 3, b"c"), (3, 0, b"ab")) + peer.p_data((3, 0, b"")) * empty
        stream += peer.p_data((3, 2, b""))
        with Tape([stream[at : at + step] for at in range(0, len(stream), step)]) as tape:
            channel = twin.Channel(tape, max_receive=512, grace=60.0, tick=0.02)
            assert channel.read_command(5.0) == (3, b"c")
            said = outcome(channel.read_data, 3, len)
        assert said == (2 if empty == 1000 else (RemoteProtocolError, _pdata_py.TOO_MANY_EMPTY, None))


def taken(module: ModuleType, pieces: list[bytes]) -> tuple[Any, ...]:
    """Two data sets read one after the other: what was written, what was said, what is left."""
    with Tape(pieces) as tape:
        channel = module.Channel(tape, max_receive=512, grace=5.0, tick=0.02, buffer=4096)
        out = bytearray()
        said = [outcome(channel.read_data, 3, out.extend) for _ in range(2)]
        # A piece that was not whole when the line broke may or may not have been written.
        whole = [answer for answer in said if isinstance(answer, int)]
        return bytes(out[: sum(whole)]), said


@settings(max_examples=200)
@given(
    st.lists(st.binary(max_size=300), max_size=4),
    st.integers(0, 5000),
    st.integers(128, 1 << 18),
    st.booleans(),
)
def test_messages_go_out_alike(parts: list[bytes], slice_length: int, max_length: int, repeat: bool) -> None:
    file = FileSlice(Path(_fast.__file__), 3, min(slice_length, Path(_fast.__file__).stat().st_size - 3))
    whole: list[bytes | FileSlice] = [*parts, file, *([file] * 90 if repeat else [])]
    length = sum(len(part) if isinstance(part, bytes) else part.length for part in whole)
    assert sent(compiled("_pdata"), whole, length, max_length) == sent(_pdata_py, whole, length, max_length)


def sent(module: ModuleType, parts: list[bytes | FileSlice], length: int, max_length: int) -> bytes:
    with Tape([]) as tape:
        channel = module.Channel(tape, max_receive=512, grace=5.0, tick=0.02)
        channel.send_message(3, b"command." * 20, parts, length, max_length)
        assert not channel.unfinished
        return bytes(tape.sent)
