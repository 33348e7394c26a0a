"""What the encoders write, read by programs that share nothing with MAPDR, and mostly not the library.

DCMTK, GDCM and OpenJPEG's and OpenJPH's own programs; libjxl's, of another version, for JPEG XL.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import FrameFormat, Pixels
from peers.data import DATA, REAL

from .helpers import CODECS
from .test_encoders import frame_of

FILES = (
    "series/ct_philips_phantom_140/I10",
    "series/ct_ge_head_28/15.dcm",
    "series/mr_ge_mprage_130/i152.MRDC.5",
    "pydicom/examples_overlay.dcm",
    "pydicom/examples_rgb_color.dcm",
    "pydicom-data/693_UNCI.dcm",
    "pydicom-data/SC_rgb_16bit.dcm",
    "dcm4che/ovly_p01.dcm",
    "dcm4che/test16signed.dcm",
    "highdicom/dx_image.dcm",
)
"""Each another kind: by modality, bits stored, sign, samples."""
BITS = ((8, 8, False), (16, 10, False), (16, 12, False), (16, 12, True), (16, 16, False), (16, 16, True))

Reader = Callable[[str, FrameFormat, bytes, Path], Pixels]


def frames() -> Iterator[tuple[FrameFormat, Pixels]]:
    """Real frames where there are, and generated ones of the same kinds."""
    for allocated, stored, signed in BITS:
        for samples in (1, 3):
            colour = "MONOCHROME2" if samples == 1 else "RGB"
            form = FrameFormat(37, 50, samples, allocated, stored, signed, colour)
            yield form, frame_of(form)
    for name in FILES if REAL else ():
        source = pydicom.dcmread(DATA / name)
        frame = source.pixel_array
        stored = min(source.BitsAllocated, source.BitsStored)
        form = FrameFormat(
            source.Rows,
            source.Columns,
            source.SamplesPerPixel,
            source.BitsAllocated,
            stored,
            bool(source.PixelRepresentation),
            "MONOCHROME2" if source.SamplesPerPixel == 1 else "RGB",
        )
        yield form, frame


def dicom_file(syntax: str, form: FrameFormat, stream: bytes, path: Path) -> Path:
    """The smallest data set that tells readers what the codestream is of."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.4", "1.2.5"
    data.Rows, data.Columns, data.SamplesPerPixel = form.rows, form.columns, form.samples
    data.BitsAllocated, data.BitsStored, data.HighBit = form.allocated, form.stored, form.stored - 1
    data.PixelRepresentation, data.PhotometricInterpretation = int(form.signed), form.photometric
    if form.samples == 3:
        data.PlanarConfiguration = 0
    data.PixelData = encapsulate([stream])
    data["PixelData"].VR = "OB"
    data.save_as(path, enforce_file_format=True)
    return path


def by_dicom(*command: str) -> Reader:
    """A program that writes a file with native pixel data."""

    def read(syntax: str, form: FrameFormat, stream: bytes, folder: Path) -> Pixels:
        source, out = dicom_file(syntax, form, stream, folder / "in.dcm"), folder / "out.dcm"
        subprocess.run([*command, str(source), str(out)], check=True, capture_output=True)
        data = pydicom.dcmread(out)
        assert data.BitsStored == form.stored
        return stored_values(form, np.frombuffer(data.PixelData, f"<u{data.BitsAllocated // 8}"), data)

    return read


def stored_values(form: FrameFormat, cells: Pixels, data: pydicom.Dataset) -> Pixels:
    """What cells of native pixel data hold (PS3.5 section 8.1.1), in RGB."""
    size = form.rows * form.columns * form.samples
    if form.samples == 3 and data.PlanarConfiguration == 1:
        cells = np.moveaxis(cells[:size].reshape(3, form.rows, form.columns), 0, -1)
    shape = (form.rows, form.columns) if form.samples == 1 else (form.rows, form.columns, 3)
    cells = cells.reshape(-1)[:size].reshape(shape)
    if data.PhotometricInterpretation.startswith("YBR"):
        cells = convert_color_space(cells, "YBR_FULL", "RGB")
    return with_sign(form, cells.astype("i8"))


def with_sign(form: FrameFormat, values: Pixels) -> Pixels:
    """Values of the bits that are stored."""
    values = values & (1 << form.stored) - 1
    if not form.signed:
        return values
    return np.where(values >= 1 << form.stored - 1, values - (1 << form.stored), values)


def by_openjpeg(syntax: str, form: FrameFormat, stream: bytes, folder: Path) -> Pixels:
    """opj_decompress: raw components, one after the other, in as many bits as are stored."""
    source, out = folder / "in.j2k", folder / "out.rawl"
    source.write_bytes(stream)
    subprocess.run(["opj_decompress", "-i", str(source), "-o", str(out)], check=True, capture_output=True)
    values = with_sign(form, np.fromfile(out, f"<u{1 if form.stored <= 8 else 2}").astype("i8"))
    if form.samples == 1:
        return values.reshape(form.rows, form.columns)
    return np.moveaxis(values.reshape(3, form.rows, form.columns), 0, -1)


def by_openjph(syntax: str, form: FrameFormat, stream: bytes, folder: Path) -> Pixels:
    """ojph_expand: a PGM or PPM."""
    source, out = folder / "in.j2c", folder / ("out.pgm" if form.samples == 1 else "out.ppm")
    source.write_bytes(stream)
    subprocess.run(["ojph_expand", "-i", str(source), "-o", str(out)], check=True, capture_output=True)
    return netpbm(form, out)


def by_libjxl(syntax: str, form: FrameFormat, stream: bytes, folder: Path) -> Pixels:
    """djxl: a PNM, whose values fill all bits."""
    source, out = folder / "in.jxl", folder / ("out.pgm" if form.samples == 1 else "out.ppm")
    source.write_bytes(stream)
    subprocess.run(["djxl", str(source), str(out)], check=True, capture_output=True)
    values = netpbm(form, out)
    full = (1 << (8 if form.stored <= 8 else 16)) - 1
    return np.rint(values * ((1 << form.stored) - 1) / full).astype("i8")


def netpbm(form: FrameFormat, path: Path) -> Pixels:
    """The samples of a PGM or PPM, which stand at its end."""
    cell = np.dtype("u1" if form.stored <= 8 else ">u2")
    size = form.rows * form.columns * form.samples
    values = np.frombuffer(path.read_bytes()[-size * cell.itemsize :], cell).astype("i8")
    shape = (form.rows, form.columns) if form.samples == 1 else (form.rows, form.columns, 3)
    return values.reshape(shape)


GDCM = by_dicom("gdcmconv", "--raw")
READERS: dict[str, Reader] = {
    "dcmdjpeg": by_dicom("dcmdjpeg"),
    "dcmdjpls": by_dicom("dcmdjpls"),
    "dcmdrle": by_dicom("dcmdrle"),
    "gdcmconv": GDCM,
    "opj_decompress": by_openjpeg,
    "ojph_expand": by_openjph,
    "djxl": by_libjxl,
}
HTJ2K = ("opj_decompress", "ojph_expand")
OF_CODESTREAMS = {*HTJ2K, "djxl"}
"""The programs that know codestreams and no DICOM."""
LOSSLESS = {
    uid.JPEG_LOSSLESS: ("dcmdjpeg", "gdcmconv"),
    uid.JPEG_LOSSLESS_SV1: ("dcmdjpeg", "gdcmconv"),
    uid.JPEG_LS_LOSSLESS: ("dcmdjpls", "gdcmconv"),
    uid.JPEG2000_LOSSLESS: ("opj_decompress", "gdcmconv"),
    uid.HTJ2K_LOSSLESS: HTJ2K,
    uid.HTJ2K_LOSSLESS_RPCL: HTJ2K,
    uid.JPEG_XL_LOSSLESS: ("djxl",),
    RLELossless: ("dcmdrle", "gdcmconv"),
}
LOSSY = {
    uid.JPEG_BASELINE: {"dcmdjpeg": 3, "gdcmconv": 3},
    uid.JPEG_EXTENDED: {"dcmdjpeg": 3, "gdcmconv": 3},
    uid.JPEG_LS_NEAR_LOSSLESS: {"dcmdjpls": 0, "gdcmconv": 0},
    uid.JPEG2000: {"opj_decompress": 1, "gdcmconv": 1},
    uid.HTJ2K: {"opj_decompress": 1, "ojph_expand": 3},
    uid.JPEG_XL: {"djxl": 1},
}
"""By how much a reader's pixels may differ from what the encoder says it made: rounding, no more."""
UNSIGNED = {"ojph_expand", "djxl"}
"""What writes files that know no sign."""


def is_read(syntax: str, reader: str, form: FrameFormat) -> bool:
    """Whether a reader can show such a frame: GDCM 3.0 mixes the samples of RLE in colours of 16 bits."""
    if syntax == RLELossless and reader == "gdcmconv" and form.samples == 3:
        return form.allocated == 8
    return not (form.signed and reader in UNSIGNED)


def pairs(table: dict[str, tuple[str, ...]] | dict[str, dict[str, int]]) -> list[object]:
    return [
        pytest.param(syntax, reader, marks=pytest.mark.peer(reader), id=f"{syntax[17:]}-{reader}")
        for syntax, readers in table.items()
        for reader in readers
    ]


def test_every_encoder_is_read_by_others() -> None:
    rows = CODECS.rows.values()
    assert set(LOSSLESS) == {row.uid for row in rows if row.encoder}
    assert set(LOSSY) == {row.uid for row in rows if row.lossy_encoder}


@pytest.mark.parametrize(("syntax", "reader"), pairs(LOSSLESS))
def test_lossless_frames_are_read_as_they_were(syntax: str, reader: str, tmp_path: Path) -> None:
    encoder = CODECS.encoder(syntax)
    read = 0
    for form, frame in frames():
        if not encoder.takes.holds(form) or not is_read(syntax, reader, form):
            continue
        colours = [form.photometric]
        if form.samples == 3 and encoder.colour_transform:
            colours.append(encoder.colour_transform)
        for colour in colours:
            wanted = replace(form, photometric=colour)
            found = READERS[reader](syntax, wanted, encoder.encode(frame, wanted), tmp_path)
            assert np.array_equal(found, frame), wanted
            read += 1
    assert read >= 3


@pytest.mark.parametrize("reader", [pytest.param(each, marks=pytest.mark.peer(each)) for each in HTJ2K])
def test_small_frames_in_htj2k_are_read_as_they_were(reader: str, tmp_path: Path) -> None:
    """Debian's OpenJPH 0.9 shows other pixels where a transform goes on when one pixel is left."""
    encoder = CODECS.encoder(uid.HTJ2K_LOSSLESS)
    for rows, columns in ((1, 1), (1, 2), (2, 3), (1, 17), (16, 16), (17, 16), (33, 2)):
        form = FrameFormat(rows, columns, 1, 8, 8, False, "MONOCHROME2")
        frame = np.random.default_rng(rows).integers(0, 256, (rows, columns)).astype("u1")
        found = READERS[reader](uid.HTJ2K_LOSSLESS, form, encoder.encode(frame, form), tmp_path)
        assert np.array_equal(found, frame), form


@pytest.mark.parametrize(("syntax", "reader"), pairs(LOSSY))
def test_lossy_frames_are_read_as_they_were_verified(syntax: str, reader: str, tmp_path: Path) -> None:
    encoder, allowed = CODECS.lossy_encoder(syntax), LOSSY[syntax][reader]
    read = 0
    for form, frame in frames():
        if not encoder.takes.holds(form) or not is_read(syntax, reader, form):
            continue
        dial = encoder.dial(form)
        level = dial.start + (dial.highest - dial.start) // 2
        colours = encoder.rgb_as(encoder.ways[0]) if form.samples == 3 else (form.photometric,)
        for colour in colours:
            wanted = replace(form, photometric=colour)
            stream = encoder.encode_at(frame, wanted, level)
            found = READERS[reader](syntax, wanted, stream, tmp_path)
            expected = encoder.decode(stream, wanted).astype("i8")
            assert int(np.abs(found - expected).max()) <= allowed, wanted
            read += 1
    assert read >= 1
