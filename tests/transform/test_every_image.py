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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.errors import InvalidDicomError

from mapdr.dicom import uids as uid
from mapdr.dicom.transfer_syntax import NATIVE
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Payload
from mapdr.kernel.registry import Registry
from mapdr.transform.encode.methods import METHODS
from mapdr.transform.pipeline import build_pipeline
from peers.data import DATA, REAL
from peers.dciodvfy import is_of_an_original

from .helpers import CODECS, EXPLICIT, Notebook, save, settings, spooled, to_syntax
from .readers import (
    BY_FILE,
    GDCM,
    READ_BY_ONE,
    by_program,
    mixes_samples,
    native_frames,
    read_alike,
    streams_of,
)
from .test_golden import complaints
from .test_independent import READERS

pytestmark = [
    pytest.mark.usefixtures("decoders"),
    pytest.mark.peer("dciodvfy", *READERS),
]

LOSSY = {method.lossy for method in METHODS.values() if method.lossy}
UNKNOWN_TO_DCIODVFY = {
    *(uid.HTJ2K, uid.HTJ2K_LOSSLESS, uid.JPEG_XL, uid.JPEG_XL_LOSSLESS, uid.JPEG_XL_JPEG_RECOMPRESSION),
    uid.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
}
"""Looked at once they are native again: it is the header that it judges."""
ROUNDING = {uid.JPEG_BASELINE: 3, uid.JPEG_EXTENDED: 3, uid.HTJ2K: 3, uid.JPEG2000: 1, uid.JPEG_XL: 1}
"""By how much readers of a lossy syntax may differ: inverse transforms round as they like."""
NEAR = 2
"""What JPEG-LS is asked for here."""
SAMPLE = (
    ("series/ct_ge_head_28/15.dcm", "generated/us_src.dcm", "pydicom/examples_palette.dcm")
    if REAL
    else ("variety/1_2_MONOCHROME2_12u_1x0.dcm", "variety/1_6.1_RGB_8u_1x0.dcm")
)
EXCUSED = {
    # Its Number of Frames is 1A: no program counts its frames.
    ("pydicom/badVR.dcm", "deflated"),
    # Its header says RGB, by which DCMTK and GDCM go. Its JPEG has components 1, 2, 3, two of them halved:
    # these are YCbCr by libjpeg, and so by MAPDR.
    ("pylibjpeg-data/SC_rgb_jpeg_lossy_gdcm.dcm", "native"),
    # JPEG of 8 bits for cells of 16: dcmdjpeg reads it, gdcmconv does not (docs/known-limits.md).
    ("dcm4che/MR-JPEGLosslessSV1.dcm", "jpeg"),
    # Overlays in its pixels, which stay where it is deflated: GDCM 3.0 ends itself.
    ("dcm4che/ovly_p01.dcm", "deflated"),
}
"""What images by methods have faults of their own, and why; one that has none any more has to go."""
_OF_YBR_FULL = re.compile(
    "Error - Unrecognized enumerated value <(YBR_FULL|0)> for value 1 of "
    "attribute <(Photometric Interpretation|Planar Configuration)>"
)
"""What dciodvfy says of an ultrasound in YBR_FULL in any syntax but RLE (docs/decisions/0089)."""
_UID = re.compile(r'UID - "[0-9.]+"')
PARKED = {
    *("codec-mismatch", "truncated", "bad-item", "fragments", "pixels", "directory", "no-codec", "memory"),
    "syntax",
}
"""Why an image may be kept: it is damaged, no decoder here reads it, or (`syntax`) programs differ over what
its pixels are: those of 32 bits in big endian."""


def is_image(path: Path) -> bool:
    """Whether a file is a data set with pixels; broken files are part of the data."""
    try:
        return "PixelData" in pydicom.dcmread(path, force=True)
    except (InvalidDicomError, EOFError, ValueError, KeyError, NotImplementedError):
        return False


@dataclass(frozen=True)
class Came:
    """An image as it came: its frames by a program (None if none reads them), what dciodvfy finds wrong."""

    path: Path
    syntax: str
    frames: dict[int, np.ndarray] | None
    complaints: Counter[str]


def judged(path: Path, syntax: str, folder: Path) -> Counter[str]:
    """dciodvfy's errors. It does not read what is deflated, and aborts over native cells of 32 bits: there it
    judges what DCMTK makes of the file in a transfer syntax that it reads."""
    command: tuple[str, ...] = ()
    if syntax == uid.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        command = ("dcmconv", "+te")
    elif syntax in NATIVE and pydicom.dcmread(path, force=True).get("BitsAllocated", 0) > 16:
        command = ("dcmcrle",)
    if command:
        subprocess.run([*command, str(path), str(folder / "judged.dcm")], check=True, capture_output=True)
        return complaints(folder / "judged.dcm")
    return complaints(path)


def of_source(path: Path, syntax: str, folder: Path) -> Came:
    """An image as it came, read by a program where it is compressed."""
    frames = None
    if syntax in NATIVE and syntax != uid.EXPLICIT_VR_BIG_ENDIAN:
        frames = native_frames(pydicom.dcmread(path, force=True))
        return Came(path, syntax, frames, judged(path, syntax, folder))
    for command in dict.fromkeys(
        (*BY_FILE.get(syntax, ()), ("dcmconv", "+te"), GDCM, ("dcmdjpeg",), ("dcmdjpls",))
    ):
        try:
            frames = by_program(command, path, folder / "source.dcm")
        except (subprocess.SubprocessError, OSError, AttributeError, ValueError):
            continue
        break
    return Came(path, syntax, frames, judged(path, syntax, folder))


def made_by(name: str, path: Path, color: str = "ybr") -> tuple[Payload, int | None]:
    """What a rule with this method makes of an image, and the greatest error that is told of it, if one is.

    Raises Permanent where it is parked.
    """
    target: dict[str, Any] = {"ratio": 8.0} if METHODS[name].lossy else {}
    if name == "jpegls-near":
        target = {"near": NEAR}
    rule = {"steps": [{"type": "compress", "config": {"to": name, "color": color, **target}}]}
    payload, instance = spooled(path)
    kept = Notebook()
    made = build_pipeline(rule, Registry(), settings(), CODECS).apply(payload, instance, kept, "")
    told = [facts["max_error"] for facts in (kept.facts or {}).values() if "max_error" in facts]
    return made, told[0] if told else None


def other_bytes(source: Path, path: Path, folder: Path) -> Iterator[str]:
    """Which JPEGs do not come back from their recompression: their bytes, in every frame, are the promise.

    Pixels are not: before libjpeg makes RGB of luminance and chrominance, it cuts them off at 0 and 255,
    and libjxl does not.
    """
    before, packed, back = pydicom.dcmread(source), folder / "in.jxl", folder / "out.jpg"
    streams = streams_of(pydicom.dcmread(path))
    for index, (jpeg, stream) in enumerate(zip(streams_of(before), streams, strict=True)):
        packed.write_bytes(stream)
        subprocess.run(["djxl", str(packed), str(back)], check=True, capture_output=True)
        if back.read_bytes() != jpeg:
            yield f"djxl: the JPEG of frame {index} is not what it was"


def faults(made: Payload, told: int | None, came: Came, folder: Path) -> Iterator[str]:
    """What others find wrong with what was made of an image, whose greatest error is said to be `told`."""
    path = save(made, folder / "made.dcm")
    target = made.transfer_syntax_uid
    if target == uid.JPEG_XL_JPEG_RECOMPRESSION:
        yield from other_bytes(came.path, path, folder)
    else:
        yield from other_pixels(path, target, told, came, folder)
    if target in UNKNOWN_TO_DCIODVFY:
        path, target = save(to_syntax(made, EXPLICIT), folder / "native.dcm"), EXPLICIT
    is_ybr_full = pydicom.dcmread(path).PhotometricInterpretation == "YBR_FULL"
    repeated = {found[0] for line in came.complaints if (found := _UID.search(line))}
    for line in judged(path, target, folder) - came.complaints:
        uid_in_line = _UID.search(line)
        # A lossy image names its source, and repeats what is wrong with its UIDs.
        is_repeated = uid_in_line is not None and uid_in_line[0] in repeated
        if not (is_repeated or is_of_an_original(line) or (is_ybr_full and _OF_YBR_FULL.match(line))):
            yield line


def other_pixels(path: Path, target: str, told: int | None, came: Came, folder: Path) -> Iterator[str]:
    """Where readers show other pixels than were promised, or than each other, or refuse the image."""
    seen, refused = read_alike(path, target, folder)
    yield from refused
    alone = target in READ_BY_ONE or mixes_samples(target, pydicom.dcmread(path))
    if len(seen) < (1 if alone else 2) and not refused:
        yield f"only {', '.join(seen)} reads it"
    # In what an image came lossy, and is written lossy, its readers round as they like.
    rounds = ROUNDING.get(came.syntax, 0) + ROUNDING.get(target, 0)
    promised = (0 if told is None else told) + rounds
    if told and pydicom.dcmread(path).PhotometricInterpretation == "YBR_FULL":
        # It is told of the components; blue has 1.772 of Cb's beside Y's (PS3.3 section C.7.6.3.1.2).
        promised = int(2.772 * told) + 1
    first = next(iter(seen), "")
    for reader, frames in seen.items():
        for index, frame in frames.items():
            apart = np.abs(frame - seen[first][index]).max()
            if apart > ROUNDING.get(target, 0):
                yield f"{reader}: frame {index} is {apart} from what {first} reads"
            if came.frames is None or (target in LOSSY and told is None):
                continue
            error = np.abs(frame - came.frames[index]).max()
            if error > promised:
                yield f"{reader}: frame {index} is {error} from what it was, promised were {promised}"


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
        came = None
        for name in METHODS:
            try:
                made, told = made_by(name, path)
            except Permanent as error:
                ends[name, f"parked: {error.reason}"] += 1
                continue
            if made.transfer_syntax_uid == payload.transfer_syntax_uid:
                ends[name, made.note or "as it came"] += 1
                continue
            ends[name, "lossy" if made.transfer_syntax_uid in LOSSY else "lossless"] += 1
            try:
                came = came or of_source(path, payload.transfer_syntax_uid, folder)
                wrong = list(faults(made, told, came, folder))
            except (
                Exception
            ) as error:  # a program refuses it, or what it wrote is odd: told beside the others
                wrong = [f"{type(error).__name__}: {error}"]
            file = path.relative_to(root).as_posix()
            if (file, name) in EXCUSED:
                wrong = [] if wrong else ["it is excused, and has no fault"]
            found += [f"{file} by {name}: {each}" for each in wrong]
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
