"""Every image by every method of a rule, read by programs that share nothing with MAPDR: pixels, validity.

A sample of the images in the suite; all of them with `make codecs`. DCMTK, GDCM, OpenJPEG's and OpenJPH's own
programs read; of JPEG XL only libjxl's, of another version than MAPDR's. Of many frames three are looked at
where a program reads codestreams alone.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels import convert_color_space

from mapdr.dicom import uids as uid
from mapdr.dicom.transfer_syntax import NATIVE
from mapdr.kernel.codec import FrameFormat
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Payload
from mapdr.kernel.registry import Registry
from mapdr.transform.encode.methods import METHODS
from mapdr.transform.pipeline import build_pipeline
from peers.data import DATA, REAL
from peers.dciodvfy import is_of_an_original

from .helpers import CODECS, EXPLICIT, Notebook, save, settings, spooled, to_syntax
from .test_golden import complaints
from .test_independent import READERS, UNSIGNED, with_sign

pytestmark = [
    pytest.mark.usefixtures("decoders"),
    pytest.mark.peer("dciodvfy", *READERS),
]

BY_FILE = {
    uid.JPEG_BASELINE: (("dcmdjpeg",), ("gdcmconv", "--raw")),
    uid.JPEG_EXTENDED: (("dcmdjpeg",), ("gdcmconv", "--raw")),
    uid.JPEG_LOSSLESS_SV1: (("dcmdjpeg", "+cn"), ("gdcmconv", "--raw")),
    uid.JPEG_LS_LOSSLESS: (("dcmdjpls", "+cn"), ("gdcmconv", "--raw")),
    uid.JPEG_LS_NEAR_LOSSLESS: (("dcmdjpls", "+cn"), ("gdcmconv", "--raw")),
    uid.RLE_LOSSLESS: (("dcmdrle",), ("gdcmconv", "--raw")),
    uid.JPEG2000: (("gdcmconv", "--raw"),),
    uid.JPEG2000_LOSSLESS: (("gdcmconv", "--raw"),),
    **dict.fromkeys(
        (uid.EXPLICIT_VR_LITTLE_ENDIAN, uid.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
        (("dcmconv", "+te"), ("gdcmconv", "--raw")),
    ),
}
"""What reads whole files."""
BY_FRAME = {
    uid.JPEG2000: ("opj_decompress",),
    uid.JPEG2000_LOSSLESS: ("opj_decompress",),
    **dict.fromkeys(
        (uid.HTJ2K, uid.HTJ2K_LOSSLESS, uid.HTJ2K_LOSSLESS_RPCL), ("opj_decompress", "ojph_expand")
    ),
    **dict.fromkeys((uid.JPEG_XL, uid.JPEG_XL_LOSSLESS, uid.JPEG_XL_JPEG_RECOMPRESSION), ("djxl",)),
}
"""What reads codestreams."""
LOSSY = {method.lossy for method in METHODS.values() if method.lossy}
UNKNOWN_TO_DCIODVFY = {
    *(uid.HTJ2K, uid.HTJ2K_LOSSLESS, uid.JPEG_XL, uid.JPEG_XL_LOSSLESS, uid.JPEG_XL_JPEG_RECOMPRESSION),
    uid.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
}
"""Looked at once they are native again: it is the header that it judges."""
ROUNDING = {uid.JPEG_BASELINE: 3, uid.JPEG_EXTENDED: 3, uid.HTJ2K: 3, uid.JPEG2000: 1, uid.JPEG_XL: 1}
"""By how much readers of a lossy syntax may differ: inverse transforms round as they like."""
SAMPLE = (
    ("series/ct_ge_head_28/15.dcm", "generated/us_src.dcm", "pydicom/examples_palette.dcm")
    if REAL
    else ("variety/1_2_MONOCHROME2_12u_1x0.dcm", "variety/1_6.1_RGB_8u_1x0.dcm")
)
_UID = re.compile(r'UID - "[0-9.]+"')
PARKED = {"codec-mismatch", "truncated", "bad-item", "fragments", "pixels", "directory", "no-codec", "memory"}
"""Why an image may be kept: it is damaged, or no decoder here reads it."""


def shape_of(data: Dataset) -> FrameFormat:
    """The frames' form, as the header says it."""
    return FrameFormat(
        data.Rows,
        data.Columns,
        data.SamplesPerPixel,
        data.BitsAllocated,
        data.BitsStored,
        bool(data.PixelRepresentation),
        data.PhotometricInterpretation,
    )


def looked_at(count: int) -> list[int]:
    """First, middle, last."""
    return sorted({0, count // 2, count - 1})


def native_frames(data: Dataset) -> dict[int, np.ndarray]:
    """The frames of native pixel data that are looked at."""
    form = shape_of(data)
    count = int(data.get("NumberOfFrames", 1) or 1)
    if form.allocated == 1:  # PS3.5 section 8.1.1: eight pixels in a byte, the first in its lowest bit
        cells = np.unpackbits(np.frombuffer(data.PixelData, "u1"), bitorder="little")
    else:
        order = "<" if data.original_encoding[1] else ">"
        cells = np.frombuffer(data.PixelData, f"{order}u{form.allocated // 8}")
    found = {}
    halved = form.photometric == "YBR_FULL_422"
    size = form.rows * form.columns * (2 if halved else form.samples)
    for index in looked_at(count):
        frame = cells[index * size : (index + 1) * size]
        if halved:
            pairs = frame.reshape(form.rows, form.columns // 2, 4)
            whole = np.empty((form.rows, form.columns, 3), "u1")
            whole[:, ::2, 0], whole[:, 1::2, 0] = pairs[..., 0], pairs[..., 1]
            whole[:, ::2, 1:] = whole[:, 1::2, 1:] = pairs[..., 2:]
            frame = whole
        elif form.samples == 3 and data.get("PlanarConfiguration") == 1:
            frame = np.moveaxis(frame.reshape(3, form.rows, form.columns), 0, -1)
        elif form.samples == 3:
            frame = frame.reshape(form.rows, form.columns, 3)
        else:
            frame = frame.reshape(form.rows, form.columns)
        if form.photometric.startswith("YBR"):
            frame = convert_color_space(frame, "YBR_FULL", "RGB")
        found[index] = with_sign(form, frame.astype("i8"))
    return found


def by_program(command: Sequence[str], path: Path, out: Path) -> dict[int, np.ndarray]:
    """What a program makes of a file. Raises CalledProcessError where it refuses it."""
    subprocess.run([*command, str(path), str(out)], check=True, capture_output=True)
    return native_frames(pydicom.dcmread(out, force=True))


def by_codestream(name: str, made: Dataset, folder: Path) -> dict[int, np.ndarray]:
    """What a program makes of the codestreams of a data set."""
    form = shape_of(made)
    count = int(made.get("NumberOfFrames", 1) or 1)
    wanted = looked_at(count)
    found = {}
    for index, stream in enumerate(generate_frames(made.PixelData, number_of_frames=count)):
        if index in wanted:
            values = READERS[name](made.file_meta.TransferSyntaxUID, form, stream, folder)
            if form.photometric == "YBR_FULL":
                values = convert_color_space(values.astype("u1"), "YBR_FULL", "RGB").astype("i8")
            found[index] = values
    return found


def is_image(path: Path) -> bool:
    """Whether a file is a data set with pixels; broken files are part of the data."""
    try:
        return "PixelData" in pydicom.dcmread(path, force=True)
    except (InvalidDicomError, EOFError, ValueError, KeyError, NotImplementedError):
        return False


def of_source(path: Path, syntax: str, folder: Path) -> dict[int, np.ndarray] | None:
    """The frames of an image as it came, by a program where they are compressed; None if none reads them."""
    if syntax in NATIVE:
        return native_frames(pydicom.dcmread(path, force=True))
    for command in (*BY_FILE.get(syntax, ()), ("gdcmconv", "--raw"), ("dcmdjpeg",), ("dcmdjpls",)):
        try:
            return by_program(command, path, folder / "source.dcm")
        except (subprocess.CalledProcessError, AttributeError, ValueError):
            continue
    return None


def read_alike(path: Path, syntax: str, folder: Path) -> dict[str, dict[int, np.ndarray]]:
    """What each program makes of a file in this transfer syntax, by its name; of those that read it."""
    found = {}
    for command in BY_FILE.get(syntax, ()):
        with_errors = subprocess.run(
            [*command, str(path), str(folder / "theirs.dcm")], capture_output=True, check=False
        )
        if with_errors.returncode == 0:
            found[command[0]] = native_frames(pydicom.dcmread(folder / "theirs.dcm", force=True))
    made = pydicom.dcmread(path)
    for name in BY_FRAME.get(syntax, ()):
        if not (made.PixelRepresentation and name in UNSIGNED):
            found[name] = by_codestream(name, made, folder)
    return found


def made_by(name: str, path: Path) -> Payload:
    """What a rule with this method makes of an image. Raises Permanent where it is parked."""
    target: dict[str, Any] = {"ratio": 8.0} if METHODS[name].lossy else {}
    if name == "jpegls-near":
        target = {"near": 2}
    rule = {"steps": [{"type": "compress", "config": {"to": name, "color": "ybr", **target}}]}
    payload, instance = spooled(path)
    return build_pipeline(rule, Registry(), settings(), CODECS).apply(payload, instance, Notebook(), "")


def faults(made: Payload, source: Path, syntax: str, folder: Path) -> Iterator[str]:
    """What others find wrong with what was made of an image that came in `syntax`."""
    path = save(made, folder / "made.dcm")
    expected = of_source(source, syntax, folder)
    is_lossless = made.transfer_syntax_uid not in LOSSY
    seen = read_alike(path, made.transfer_syntax_uid, folder)
    if not seen and expected is not None:
        yield "nobody reads it"
    for reader, frames in seen.items():
        for index, frame in frames.items():
            rounds = ROUNDING.get(syntax, 0)  # in which the image came: who decodes it rounds as he likes
            if is_lossless and expected is not None and np.abs(frame - expected[index]).max() > rounds:
                yield f"{reader}: frame {index} is not what it was"
            apart = np.abs(frame - next(iter(seen.values()))[index]).max()
            if apart > ROUNDING.get(made.transfer_syntax_uid, 0):
                yield f"{reader}: frame {index} is {apart} from what {next(iter(seen))} reads"
    if made.transfer_syntax_uid in UNKNOWN_TO_DCIODVFY:
        path = save(to_syntax(made, EXPLICIT), folder / "native.dcm")
    before = complaints(source)
    repeated = {found[0] for line in before if (found := _UID.search(line))}
    for line in complaints(path) - before:
        uid_in_line = _UID.search(line)
        # A lossy image names its source, and repeats what is wrong with its UIDs.
        if not is_of_an_original(line) and not (uid_in_line and uid_in_line[0] in repeated):
            yield line


def looked_through(
    files: Sequence[Path], root: Path, folder: Path
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Every method over these images: how often each ended how, and every fault."""
    ends: Counter[tuple[str, str]] = Counter()
    found: list[str] = []
    for path in files:
        try:
            payload, _ = spooled(path)
        except (Permanent, InvalidDicomError):  # it names no SOP Instance, or is no file of Part 10
            ends["none", "refused"] += 1
            continue
        for name in METHODS:
            try:
                made = made_by(name, path)
            except Permanent as error:
                ends[name, f"parked: {error.reason}"] += 1
                continue
            if made.transfer_syntax_uid == payload.transfer_syntax_uid:
                ends[name, made.note or "as it came"] += 1
                continue
            ends[name, "lossy" if made.transfer_syntax_uid in LOSSY else "lossless"] += 1
            try:
                wrong = list(faults(made, path, payload.transfer_syntax_uid, folder))
            except (
                Exception
            ) as error:  # a program refuses it, or what it wrote is odd: told beside the others
                wrong = [f"{type(error).__name__}: {error}"]
            found += [f"{path.relative_to(root)} by {name}: {each}" for each in wrong]
    return ends, found


@pytest.mark.parametrize("name", SAMPLE)
def test_an_image_by_every_method_is_read_alike_by_others(data: Path, name: str, tmp_path: Path) -> None:
    ends, found = looked_through([data / name], data, tmp_path)
    assert not found
    assert sum(number for (_, end), number in ends.items() if end in ("lossy", "lossless")) >= 8


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "folder", sorted({path.name for path in DATA.iterdir() if path.is_dir()}) if REAL else []
)
def test_every_image_by_every_method_is_read_alike_by_others(folder: str, tmp_path: Path) -> None:
    files = [path for path in sorted((DATA / folder).rglob("*")) if path.is_file() and is_image(path)]
    if folder == "series":
        files = files[::10]  # slices of three scanners: their headers are alike
    ends, found = looked_through(files, DATA, tmp_path)
    print(f"\n{folder}: {len(files)} images")
    for (method, end), number in sorted(ends.items()):
        print(f"{method:20} {end:50} {number:5}")
    assert not found, "\n".join(found)
    parked = {end.removeprefix("parked: ") for _, end in ends if end.startswith("parked")}
    assert parked <= PARKED
