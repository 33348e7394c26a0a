"""What other programs make of whole files: DCMTK's, GDCM's, OpenJPEG's, OpenJPH's and libjxl's.

Of many frames three are looked at.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import convert_color_space
from pydicom.uid import SecondaryCaptureImageStorage, UltrasoundMultiFrameImageStorage

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import FrameFormat
from peers.gdcm import UNKNOWN_CLASSES

from .test_independent import LOSSLESS, LOSSY, OF_CODESTREAMS, READERS, with_sign

GDCM = ("gdcmconv", "--raw")
READS_BY = {**LOSSLESS, **{syntax: tuple(readers) for syntax, readers in LOSSY.items()}}
"""The programs that read a compressed transfer syntax."""
BY_FRAME = {
    syntax: tuple(name for name in names if name in OF_CODESTREAMS) for syntax, names in READS_BY.items()
}
"""What reads codestreams."""


def command_of(name: str, syntax: str) -> tuple[str, ...]:
    """How a program is called that makes a file native; dcmdjpeg would make RGB of what is none."""
    if name == GDCM[0]:
        return GDCM
    plain = syntax in (uid.JPEG_LOSSLESS, uid.JPEG_LOSSLESS_SV1)
    return (name, "+cn") if name == "dcmdjpeg" and plain else (name,)


BY_FILE = {
    syntax: tuple(command_of(name, syntax) for name in names if name not in OF_CODESTREAMS)
    for syntax, names in READS_BY.items()
} | dict.fromkeys(
    (uid.EXPLICIT_VR_LITTLE_ENDIAN, uid.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN), (("dcmconv", "+te"), GDCM)
)
"""What reads whole files."""
READ_BY_ONE = {uid.JPEG_XL, uid.JPEG_XL_LOSSLESS}
"""Of JPEG XL nothing but libjxl was at hand; its program is of another version than MAPDR's."""
SIZ = b"\xff\x51"


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


def count_of(data: Dataset) -> int:
    """The number of frames."""
    return int(data.get("NumberOfFrames", 1) or 1)


def looked_at(count: int) -> list[int]:
    """First, middle, last."""
    return sorted({0, count // 2, count - 1})


def streams_of(data: Dataset) -> list[bytes]:
    """The codestreams of a compressed image, one a frame."""
    return list(generate_frames(data.PixelData, number_of_frames=count_of(data)))


def native_frames(data: Dataset) -> dict[int, np.ndarray]:
    """The frames of native pixel data that are looked at."""
    form = shape_of(data)
    if form.allocated == 1:  # PS3.5 section 8.1.1: eight pixels in a byte, the first in its lowest bit
        cells = np.unpackbits(np.frombuffer(data.PixelData, "u1"), bitorder="little")
    else:
        order = "<" if data.original_encoding[1] else ">"
        cells = np.frombuffer(data.PixelData, f"{order}u{form.allocated // 8}")
    found = {}
    halved = form.photometric == "YBR_FULL_422"
    size = form.rows * form.columns * (2 if halved else form.samples)
    for index in looked_at(count_of(data)):
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
    out.unlink(missing_ok=True)
    source = path
    if command[0] == GDCM[0]:
        data = pydicom.dcmread(path, force=True)
        is_single = data.SOPClassUID == SecondaryCaptureImageStorage
        if data.SOPClassUID in UNKNOWN_CLASSES or (is_single and count_of(data) > 1):
            source = _of_a_known_class(data, path.with_suffix(".known.dcm"))
    subprocess.run([*command, str(source), str(out)], check=True, capture_output=True, timeout=300)
    return native_frames(pydicom.dcmread(out, force=True))


def _of_a_known_class(data: Dataset, path: Path) -> Path:
    """The same pixels for a reader that does not know their SOP class as one of images."""
    known = SecondaryCaptureImageStorage if count_of(data) == 1 else UltrasoundMultiFrameImageStorage
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = known
    data.save_as(path)
    return path


def by_codestream(name: str, made: Dataset, folder: Path) -> dict[int, np.ndarray]:
    """What a program makes of the codestreams of a data set. Raises SubprocessError where it refuses."""
    form = shape_of(made)
    streams = streams_of(made)
    found = {}
    for index in looked_at(len(streams)):
        stream = streams[index]
        if name == "ojph_expand" and form.signed:
            values = _signed_by_openjph(form, stream, made.file_meta.TransferSyntaxUID, folder)
        else:
            values = READERS[name](made.file_meta.TransferSyntaxUID, form, stream, folder)
        if form.photometric == "YBR_FULL":
            values = convert_color_space(values.astype("u1"), "YBR_FULL", "RGB").astype("i8")
        found[index] = values
    return found


def _signed_by_openjph(form: FrameFormat, stream: bytes, syntax: str, folder: Path) -> np.ndarray:
    """Signed values by a program that writes none: it clips them to zero.

    Without the sign in SIZ (ISO/IEC 15444-1, A.5.1) the same codestream is of values that are half their
    range higher.
    """
    at = stream.index(SIZ) + 40
    assert stream[at] & 0x80
    plain = stream[:at] + bytes([stream[at] & 0x7F]) + stream[at + 1 :]
    higher = FrameFormat(
        form.rows, form.columns, 1, form.allocated, form.stored, signed=False, photometric=form.photometric
    )
    return READERS["ojph_expand"](syntax, higher, plain, folder) - (1 << form.stored - 1)


def mixes_samples(syntax: str, made: Dataset) -> bool:
    """Whether GDCM 3.0 mixes the samples: of RLE in colours of more than 8 bits, which others read."""
    return syntax == uid.RLE_LOSSLESS and made.SamplesPerPixel == 3 and made.BitsAllocated > 8


def read_alike(path: Path, syntax: str, folder: Path) -> tuple[dict[str, dict[int, np.ndarray]], list[str]]:
    """What each program makes of a file in this transfer syntax, by its name, and which refuse it."""
    found, refused = {}, []
    made = pydicom.dcmread(path)
    for name, command in ((command[0], command) for command in BY_FILE.get(syntax, ())):
        if name == GDCM[0] and mixes_samples(syntax, made):
            continue
        try:
            found[name] = by_program(command, path, folder / "theirs.dcm")
        except (subprocess.SubprocessError, OSError) as error:
            refused.append(_said(name, error))
    for name in BY_FRAME.get(syntax, ()):
        try:
            found[name] = by_codestream(name, made, folder)
        except (subprocess.SubprocessError, OSError) as error:
            refused.append(_said(name, error))
    return found, refused


def _said(name: str, error: Exception) -> str:
    last = getattr(error, "stderr", b"") or b""
    words = last.decode(errors="replace").strip().splitlines()
    return f"{name} refuses it: {words[-1][-150:] if words else error}"
