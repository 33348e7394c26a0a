"""One small file of each kind that MAPDR handles, made here: what the suite has where the test data is not.

Codestreams come from imagecodecs and pydicom, never from MAPDR's own encoder; the two retired progressive
JPEG syntaxes, which neither of them writes, are kept as streams that DCMTK's dcmcjpeg made of a generated
image.
"""

from __future__ import annotations

import base64
import io
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pydicom.data
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels.encoders.native import _encode_frame
from pydicom.sequence import Sequence

from mapdr.testing import generator, phantom
from mapdr.transform.encode.policy import MAY_BE_LOSSY, NEVER_LOSSY, NEVER_TOUCHED

Pixels = np.ndarray[Any, Any]

ROWS, COLUMNS = 128, 120
SYNTAX = "1.2.840.10008.1.2"
EXPLICIT, IMPLICIT, BIG, DEFLATED = f"{SYNTAX}.1", SYNTAX, f"{SYNTAX}.2", f"{SYNTAX}.1.99"
DEFLATED_FRAMES, VIDEO, PRIVATE_SYNTAX = f"{SYNTAX}.8.1", f"{SYNTAX}.4.102", "1.2.840.113619.5.2"
CLASS = "1.2.840.10008.5.1.4.1.1."
CT, MR, US, US_MULTIFRAME, SECONDARY, SEGMENTATION, DOSE, PARAMETRIC, PHOTO = (
    CLASS + suffix for suffix in ("2", "4", "6.1", "3.1", "7", "66.4", "481.2", "30", "77.1.4")
)
PRIVATE_CLASS = generator.uid("variety", "a private SOP class")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")


@dataclass(frozen=True)
class Kind:
    """The Image Pixel module of one file, its transfer syntax (the end of its UID) and SOP class."""

    syntax: str = ".1"
    sop_class: str = CT
    photometric: str = "MONOCHROME2"
    stored: int = 12
    signed: bool = False
    frames: int = 1
    planar: int = 0

    @property
    def transfer_syntax_uid(self) -> str:
        return SYNTAX + self.syntax if self.syntax != PRIVATE_SYNTAX else PRIVATE_SYNTAX

    @property
    def allocated(self) -> int:
        return next(bits for bits in (1, 8, 16, 32) if self.stored <= bits)

    @property
    def samples(self) -> int:
        return 3 if self.photometric in COLOURS else 1

    @property
    def name(self) -> str:
        """The name of its file."""
        facts = (
            self.syntax.lstrip(".") or "implicit",
            self.sop_class.removeprefix(CLASS),
            self.photometric.replace(" ", ""),
            f"{self.stored}{'s' if self.signed else 'u'}",
            f"{self.frames}x{self.planar}",
        )
        return "_".join(facts) + ".dcm"

    def pixels(self) -> Pixels:
        """The stored values, (frames, rows, columns) and samples if there are three; RGB for every colour."""
        random = np.random.default_rng([self.stored, self.frames])
        if self.samples > 1:
            frames = [phantom.sector(ROWS, COLUMNS, z / 4, random) for z in range(self.frames)]
            return np.stack(frames).astype(np.int64) * (257 if self.stored == 16 else 1)
        grey = np.stack([phantom.thorax(ROWS, COLUMNS, 0.2 + z / 8, random) for z in range(self.frames)])
        if self.stored == 1:
            return (grey > 1000).astype(np.int64)
        values = grey.astype(np.int64) * ((1 << self.stored) - 1) // 4095
        return values - (1 << self.stored - 1) if self.signed else values


def _kinds() -> Iterator[Kind]:
    yield from _native()
    yield from _encapsulated()
    for sop_class in sorted(MAY_BE_LOSSY | NEVER_LOSSY.keys() | NEVER_TOUCHED.keys()):
        yield _of_class(sop_class)


def _native() -> Iterator[Kind]:
    for syntax in ("", ".1", ".2", ".1.99"):
        yield Kind(syntax)
        yield Kind(syntax, stored=16, signed=True)
        yield Kind(syntax, MR, stored=16, frames=3)
        yield Kind(syntax, US, stored=8)
        yield Kind(syntax, US, "RGB", 8)
        yield Kind(syntax, US_MULTIFRAME, "RGB", 8, planar=1, frames=2)
    for syntax in ("", ".1"):
        yield Kind(syntax, SEGMENTATION, stored=1, frames=3)
        yield Kind(syntax, DOSE, stored=32, frames=2)
        yield Kind(syntax, CLASS + "1", "MONOCHROME1", 10)
        yield Kind(syntax, US, "PALETTE COLOR", 8)
        yield Kind(syntax, SECONDARY, "YBR_FULL", 8)
        yield Kind(syntax, SECONDARY, "YBR_FULL_422", 8)
        yield Kind(syntax, MR, stored=12, signed=True)
        yield Kind(syntax, CT, stored=8, signed=True)
        yield Kind(syntax, SECONDARY, "RGB", 16)


def _encapsulated() -> Iterator[Kind]:
    for syntax in (".5", ".4.57", ".4.70", ".4.90", ".4.201", ".4.202"):
        yield Kind(syntax)
        yield Kind(syntax, stored=16, signed=True)
        yield Kind(syntax, US, stored=8, frames=2)
        yield Kind(syntax, CLASS + "1", "MONOCHROME1", 16)
    for syntax in (".4.80", ".4.110"):
        yield Kind(syntax, stored=16)
        yield Kind(syntax, US, stored=8, frames=2)
        yield Kind(syntax, CLASS + "1", "MONOCHROME1", 16)
    for syntax in (".5", ".4.57", ".4.70", ".4.80", ".4.110"):
        yield Kind(syntax, SECONDARY, "RGB", 8)
        yield Kind(syntax, US_MULTIFRAME, "RGB", 8, frames=2)
    for syntax in (".4.90", ".4.201", ".4.202"):
        yield Kind(syntax, US, "YBR_RCT", 8)
        yield Kind(syntax, US_MULTIFRAME, "YBR_RCT", 8, frames=2)
    yield Kind(".4.80", stored=16, signed=True)
    yield Kind(".5", DOSE, stored=32, frames=2)
    yield Kind(".4.50", SECONDARY, stored=8)
    yield Kind(".4.50", SECONDARY, "YBR_FULL", 8)
    yield Kind(".4.50", US_MULTIFRAME, "YBR_FULL_422", 8, frames=2)
    yield Kind(".4.51", SECONDARY)
    yield Kind(".4.53", SECONDARY, stored=8)
    yield Kind(".4.55", SECONDARY, stored=8)
    for syntax in (".4.81", ".4.91", ".4.112", ".4.203"):
        yield Kind(syntax, CT, stored=16)
        yield Kind(syntax, US, stored=8, frames=2)
    yield Kind(".4.91", CT, stored=16, signed=True)
    yield Kind(".4.91", US, "YBR_ICT", 8)
    yield Kind(".4.203", US, "YBR_ICT", 8)
    yield Kind(".4.81", SECONDARY, "RGB", 8)
    yield Kind(".4.112", SECONDARY, "RGB", 8)
    yield Kind(".4.111", SECONDARY, stored=8)
    yield Kind(".4.111", SECONDARY, "YBR_FULL", 8)
    # What MAPDR relays and opens as far as the pixels.
    yield Kind(".8.1", CT)
    yield Kind(".4.102", US_MULTIFRAME, "YBR_FULL", 8, frames=2)
    yield Kind(PRIVATE_SYNTAX, MR)


def _of_class(sop_class: str) -> Kind:
    suffix = sop_class.removeprefix(CLASS)
    if suffix in ("66.4", "7.1"):
        return Kind(sop_class=sop_class, stored=1, frames=2)
    if suffix == "481.2":
        return Kind(sop_class=sop_class, stored=32)
    if suffix == "7.4" or (suffix.startswith("77.1.") and suffix != "77.1.5.7"):
        return Kind(sop_class=sop_class, photometric="RGB", stored=8)
    if suffix.startswith(("3", "6", "7")) and suffix != "7.3":
        return Kind(sop_class=sop_class, stored=8)
    return Kind(sop_class=sop_class, photometric="MONOCHROME1" if suffix.startswith("1.") else "MONOCHROME2")


KINDS = tuple(dict.fromkeys(_kinds()))
"""Every kind of image, once."""


# --- data sets ----------------------------------------------------------------------------------------------


@lru_cache
def _base(modality: str, seed: int) -> bytes:
    return next(generator.study(modality, seed=seed, images=1, size=(8, 8))).part10()


def header(name: str, sop_class: str, *, modality: str = "CT", seed: int = 0) -> Dataset:
    """A generated image's data set without its pixels, as an object of its own."""
    # A plain data set: one that came from a file would be written with a preamble.
    data = Dataset(dict(pydicom.dcmread(io.BytesIO(_base(modality, seed)))))
    del data.PixelData
    data.SOPClassUID, data.SOPInstanceUID = sop_class, generator.uid("variety", name)
    data.StudyInstanceUID = generator.uid("variety", name, "study")
    data.SeriesInstanceUID = generator.uid("variety", name, "series")
    return data


def data_set(kind: Kind, seed: int = 0) -> Dataset:
    """The object of this kind; `seed` chooses the patient, whose name has its own character set."""
    data = header(kind.name, kind.sop_class, modality="US" if kind.samples > 1 else "CT", seed=seed)
    pixels = kind.pixels()
    data.Rows, data.Columns = (16, 16) if kind.syntax in PROGRESSIVE else pixels.shape[1:3]
    data.SamplesPerPixel, data.PhotometricInterpretation = kind.samples, kind.photometric
    if kind.samples > 1:
        data.PlanarConfiguration = kind.planar
    elif "PlanarConfiguration" in data:
        del data.PlanarConfiguration
    if kind.frames > 1:
        data.NumberOfFrames = kind.frames
    data.BitsAllocated, data.BitsStored, data.HighBit = kind.allocated, kind.stored, kind.stored - 1
    data.PixelRepresentation = int(kind.signed)
    if kind.photometric == "PALETTE COLOR":
        for number, factor in enumerate((257, 200, 100)):
            data.add_new(0x00281101 + number, "US", [256, 0, 16])
            data.add_new(0x00281201 + number, "OW", (np.arange(256) * factor).astype("<u2").tobytes())
    if kind.syntax in LOSSY:
        data.LossyImageCompression = "01"
    if kind.syntax in ENCODERS:
        data.PixelData = encapsulate([ENCODERS[kind.syntax](kind, frame) for frame in pixels])
        data["PixelData"].is_undefined_length = True
        data["PixelData"].VR = "OB"
    else:
        data.PixelData = _native_bytes(kind, pixels)
        data["PixelData"].VR = "OB" if kind.allocated <= 8 else "OW"
    return data


def _native_bytes(kind: Kind, pixels: Pixels) -> bytes:
    if kind.stored == 1:
        raw = np.packbits(pixels.astype(np.uint8).ravel(), bitorder="little").tobytes()
    elif kind.photometric == "YBR_FULL_422":
        ybr = ybr_full(pixels)
        pairs = np.stack([ybr[..., ::2, 0], ybr[..., 1::2, 0], ybr[..., ::2, 1], ybr[..., ::2, 2]], -1)
        raw = pairs.tobytes()
    elif kind.photometric == "YBR_FULL":
        raw = ybr_full(pixels).tobytes()
    else:
        cells = np.moveaxis(pixels, -1, 1) if kind.planar else pixels
        raw = cells.astype(f"{'>' if kind.syntax == '.2' else '<'}{_cell(kind)}").tobytes()
    return raw + b"\0" * (len(raw) % 2)


def _cell(kind: Kind) -> str:
    return f"{'i' if kind.signed else 'u'}{kind.allocated // 8}"


def ybr_full(pixels: Pixels) -> Pixels:
    """RGB of 8 bits as YBR_FULL (PS3.3 section C.7.6.3.1.2)."""
    matrix = np.array([[0.2990, 0.5870, 0.1140], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    values = pixels @ matrix.T + np.array([0, 128, 128])
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


# --- codestreams --------------------------------------------------------------------------------------------


def _rle(kind: Kind, frame: Pixels) -> bytes:
    from pydicom.pixels.encoders import RLELosslessEncoder
    from pydicom.pixels.encoders.base import EncodeRunner

    runner = EncodeRunner(RLELosslessEncoder.UID)
    runner.set_options(
        rows=frame.shape[0],
        columns=frame.shape[1],
        samples_per_pixel=kind.samples,
        bits_allocated=kind.allocated,
        bits_stored=kind.stored,
        number_of_frames=1,
        pixel_representation=int(kind.signed),
        photometric_interpretation=kind.photometric,
        planar_configuration=0,
        byteorder="<",
    )
    return bytes(_encode_frame(frame.astype(f"<{_cell(kind)}").tobytes(), runner))


def _unsigned(kind: Kind, frame: Pixels) -> Pixels:
    """Cells for a codec that knows no sign: two's complement within Bits Allocated."""
    return frame.astype(f"<{_cell(kind)}").view(f"<u{kind.allocated // 8}")


def _jpeg_lossless(predictor: int) -> Callable[[Kind, Pixels], bytes]:
    def encoded(kind: Kind, frame: Pixels) -> bytes:
        space = "RGB" if kind.samples > 1 else None
        bits = kind.allocated if kind.signed else kind.stored
        return imagecodecs.jpeg8_encode(
            _unsigned(kind, frame),
            lossless=True,
            predictor=predictor,
            bitspersample=bits,
            colorspace=space,
            outcolorspace=space,
        )

    return encoded


def _jpeg(kind: Kind, frame: Pixels) -> bytes:
    sampling = "422" if kind.photometric == "YBR_FULL_422" else "444"
    return imagecodecs.jpeg8_encode(frame.astype(np.uint8), level=95, subsampling=sampling)


def _jpeg12(kind: Kind, frame: Pixels) -> bytes:
    return imagecodecs.jpeg8_encode(frame.astype(np.uint16), level=95, bitspersample=12)


def _jpegls(near: int) -> Callable[[Kind, Pixels], bytes]:
    return lambda kind, frame: imagecodecs.jpegls_encode(_unsigned(kind, frame), level=near)


def _jpeg2000(level: int) -> Callable[[Kind, Pixels], bytes]:
    return lambda kind, frame: imagecodecs.jpeg2k_encode(
        frame.astype(_cell(kind)),
        level=level,
        codecformat="j2k",
        reversible=not level,
        bitspersample=kind.stored,
        mct=kind.samples > 1,
    )


def _htj2k(**options: Any) -> Callable[[Kind, Pixels], bytes]:
    return lambda kind, frame: imagecodecs.htj2k_encode(frame.astype(_cell(kind)), **options)


def _jpegxl(**options: Any) -> Callable[[Kind, Pixels], bytes]:
    return lambda kind, frame: imagecodecs.jpegxl_encode(frame.astype(_cell(kind)), **options)


def _progressive(kind: Kind, frame: Pixels) -> bytes:
    return PROGRESSIVE[kind.syntax]


def _deflated_frame(kind: Kind, frame: Pixels) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(frame.astype(f"<{_cell(kind)}").tobytes()) + packer.flush()


PROGRESSIVE = {
    ".4.53": base64.b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQ"
        "ERMUFRUVDA8XGBYUGBIUFRT/wgALCAAQABABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAACAb/2gAIAQEAAAAAJDElGJ//xAAb"
        "EAABBQEBAAAAAAAAAAAAAAAHAQIDBAYFFf/aAAgBAQABBQAPDF9+Ueix/PUNZDz5cFlEvp//xAAiEAEBAAIABAcAAAAAAAAA"
        "AAABAgADBBFBsSEiMZHB4fD/2gAIAQEABj8A1TOskkGqT0+84dYLinkUTy9/3TNa6WosCg7984eI0M65R8x4r8dc/9k="
    ),
    ".4.55": base64.b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQ"
        "ERMUFRUVDA8XGBYUGBIUFRT/wgALCAAQABABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAABwX/2gAIAQEAAAABI2KUxf/EABkQ"
        "AAIDAQAAAAAAAAAAAAAAAAQFAAESE//aAAgBAQABBQJOs3a9XziYTnYAu5//xAAXEAADAQAAAAAAAAAAAAAAAAAAASEC/9oA"
        "CAEBAAY/AlDIoZkP/8QAGhABAAIDAQAAAAAAAAAAAAAAAQARITFBUf/aAAgBAQABPyFSFK2x9Fj2p1EdzDFR7P/aAAgBAQAA"
        "ABDP/8QAHhABAAEEAgMAAAAAAAAAAAAAAQARIUGxMZHB4fD/2gAIAQEAAT8QLwAKHHuLJLqAo7+xK6UMAb3DK6BsuvjM///Z"
    ),
}
"""16 by 16 pixels of 8 bits, spectral selection and full progression, written by dcmcjpeg."""

LOSSY = frozenset((".4.50", ".4.51", ".4.53", ".4.55", ".4.81", ".4.91", ".4.111", ".4.112", ".4.203"))
ENCODERS: dict[str, Callable[[Kind, Pixels], bytes]] = {
    ".5": _rle,
    ".4.50": _jpeg,
    ".4.51": _jpeg12,
    ".4.53": _progressive,
    ".4.55": _progressive,
    ".4.57": _jpeg_lossless(4),
    ".4.70": _jpeg_lossless(1),
    ".4.80": _jpegls(0),
    ".4.81": _jpegls(2),
    ".4.90": _jpeg2000(0),
    ".4.91": _jpeg2000(70),
    ".4.110": _jpegxl(lossless=True),
    ".4.111": lambda kind, frame: imagecodecs.jpegxl_encode_jpeg(_jpeg(kind, frame)),
    ".4.112": _jpegxl(distance=1.0),
    ".4.201": _htj2k(),
    ".4.202": _htj2k(tlm=True, resolutions=2),
    ".4.203": _htj2k(level=0.002, reversible=False),
    ".8.1": _deflated_frame,
    ".4.102": lambda kind, frame: b"\0\0\0\x18ftypmp42" + bytes(200),  # relayed unseen
}


# --- files --------------------------------------------------------------------------------------------------


def encoded(data: Dataset, transfer_syntax_uid: str) -> bytes:
    """The data set's bytes in its transfer syntax, without File Meta."""
    out = io.BytesIO()
    implicit = transfer_syntax_uid in (IMPLICIT, PRIVATE_SYNTAX)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(
            out, data, implicit_vr=implicit, little_endian=transfer_syntax_uid != BIG, force_encoding=True
        )
    if transfer_syntax_uid != DEFLATED:
        return out.getvalue()
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(out.getvalue()) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


def part10(data: Dataset, transfer_syntax_uid: str) -> bytes:
    """The object as a file (PS3.10)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax_uid
    out = io.BytesIO()
    write_file_meta_info(out, meta, enforce_standard=True)
    return bytes(128) + b"DICM" + out.getvalue() + encoded(data, transfer_syntax_uid)


def objects() -> Iterator[tuple[str, Dataset, str]]:
    """(file name, data set, transfer syntax) of each kind, and of objects that are no images."""
    for seed, kind in enumerate(KINDS):
        yield kind.name, data_set(kind, seed), kind.transfer_syntax_uid
    yield from _others()


NO_IMAGES = {
    "pdf.dcm": CLASS + "104.1",
    "grayscale_presentation_state.dcm": CLASS + "11.1",
    "key_objects.dcm": CLASS + "88.59",
    "raw_data.dcm": CLASS + "66",
    "private_class.dcm": PRIVATE_CLASS,
    "hanging_protocol.dcm": "1.2.840.10008.5.1.4.38.1",
}
"""Objects without pixels, by file name, and their SOP classes."""


def _others() -> Iterator[tuple[str, Dataset, str]]:
    for name, sop_class in NO_IMAGES.items():
        data = header(name, sop_class)
        if name == "pdf.dcm":
            data.MIMETypeOfEncapsulatedDocument = "application/pdf"
            data.EncapsulatedDocument = b"%PDF-1.4\n" + bytes(1000)
        if name == "hanging_protocol.dcm":
            del data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality
            data.HangingProtocolName = "CHEST"
        yield name, data, EXPLICIT
    parametric = data_set(Kind(sop_class=PARAMETRIC, stored=32))
    parametric.SOPInstanceUID = generator.uid("variety", "float")
    del parametric.PixelData, parametric.PixelRepresentation, parametric.BitsStored, parametric.HighBit
    parametric.FloatPixelData = np.linspace(0, 1, ROWS * COLUMNS, dtype="<f4").tobytes()
    yield "float_pixels.dcm", parametric, EXPLICIT
    yield "padded.dcm", _padded(), EXPLICIT
    yield "overlay.dcm", _overlay(), EXPLICIT
    yield from _structures()


def _padded() -> Dataset:
    """A signed CT whose corners outside the scanned circle hold Pixel Padding Value (PS3.3 C.7.5.1.1.2)."""
    kind = Kind(stored=16, signed=True)
    data = data_set(kind)
    data.SOPInstanceUID = generator.uid("variety", "padded")
    values = kind.pixels()[0] // 256
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    values[y * y + x * x > 1] = -400
    data.add_new(0x00280120, "SS", -400)
    data.PixelData = values.astype("<i2").tobytes()
    return data


def _overlay() -> Dataset:
    """A CT with an overlay in bit 12 of its cells (retired; PS3.5 section 8.1.2)."""
    kind = Kind()
    data = data_set(kind)
    data.SOPInstanceUID = generator.uid("variety", "overlay")
    values = kind.pixels()[0]
    data.PixelData = (values | (values > 1000).astype(np.int64) << 12).astype("<u2").tobytes()
    data.add_new(0x60000010, "US", ROWS)
    data.add_new(0x60000011, "US", COLUMNS)
    data.add_new(0x60000040, "CS", "G")
    data.add_new(0x60000050, "SS", [1, 1])
    data.add_new(0x60000100, "US", 16)
    data.add_new(0x60000102, "US", 12)
    return data


def _structures() -> Iterator[tuple[str, Dataset, str]]:
    """Data sets whose elements, not whose pixels, are unusual, in each way of writing them."""
    for syntax in (IMPLICIT, EXPLICIT, BIG):
        name = f"structure_{syntax.removeprefix(SYNTAX).lstrip('.') or 'implicit'}"
        data = data_set(Kind(syntax.removeprefix(SYNTAX)))
        data.SOPInstanceUID = generator.uid("variety", name)
        inner, empty = Dataset(), Dataset()
        inner.CodeValue, inner.CodeMeaning = "T1", "within"
        data.ProcedureCodeSequence = Sequence([inner, empty])
        data["ProcedureCodeSequence"].is_undefined_length = True
        inner.is_undefined_length_sequence_item = True
        block = data.private_block(0x0011, "VARIETY", create=True)
        block.add_new(0x01, "LO", "private")
        block.add_new(0x02, "OB", bytes(3000))
        data.OtherPatientIDs = ["A", "B"]
        data.PatientComments = "x" * 9000
        data.add_new(0xFFFCFFFC, "OB", bytes(64))
        yield f"{name}.dcm", data, syntax


def write(folder: Path) -> list[Path]:
    """Writes every object into `folder` and beside it the files that come with pydicom; their paths."""
    made, copies = folder / "variety", folder / "pydicom"
    made.mkdir(parents=True)
    copies.mkdir()
    for name, data, syntax in objects():
        (made / name).write_bytes(part10(data, syntax))
    # Those of the package itself: pydicom's own search would also download others.
    for path in (Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"):
        shutil.copyfile(path, copies / path.name)
    return sorted((*made.iterdir(), *copies.iterdir()))
