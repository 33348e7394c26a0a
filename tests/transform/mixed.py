"""A series in which each image differs from the one before it in one thing that compression has to see."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydicom
import xxhash
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items

from mapdr.dicom import uids
from mapdr.kernel.item import Instance
from mapdr.kernel.proof import Proof

from .helpers import CT, EXPLICIT, encoded, image, instance_of, picture

IMPLICIT, BIG = uids.IMPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN
SMALL, LARGE = 64, 192
"""Rows and columns of most images: of 8 KiB, and of more than are read in search of pixel data (64 KiB)."""

Loss = Literal["may", "never", "left"]
"""What compression with loss may do to an image: it; write it without loss; nothing at all."""


@dataclass(frozen=True)
class Case:
    """An image as it is sent, and what an oracle has to know of it.

    `values` are what its frames mean: (frames, rows, columns[, samples]). `whole`: they are cells that use
    bits outside of Bits Stored. `tiny`: no codestream of it needs to be smaller than it is. `disordered`:
    its elements are not in the order of their tags, and keep their places. `asked`: the only transfer syntax
    that the receiver takes, empty if it takes any.
    """

    name: str
    data: Dataset
    values: np.ndarray[Any, Any]
    blob: bytes
    syntax: str = EXPLICIT
    loss: Loss = "may"
    whole: bool = False
    tiny: bool = False
    disordered: bool = False
    asked: str = ""

    def spooled(self, folder: Path) -> Instance:
        """The image in a file of `folder`, as the spool has it."""
        path = folder / f"{self.data.get('InstanceNumber')}-{self.name}.dcm"
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.UID(self.syntax)
        meta.MediaStorageSOPClassUID = self.data.SOPClassUID
        meta.MediaStorageSOPInstanceUID = self.data.SOPInstanceUID
        with path.open("wb") as file:
            file.write(b"\0" * 128 + b"DICM")
            pydicom.filewriter.write_file_meta_info(file, meta, enforce_standard=True)
            offset = file.tell()
            file.write(self.blob)
        found = instance_of(self.data, self.syntax, path, offset, len(self.blob))
        return replace(found, proof=Proof(path, offset, len(self.blob), xxhash.xxh3_128(self.blob).digest()))


def slice_of(
    number: int, size: int = SMALL, seed: int = 0, *, low: int = 200, high: int = 3000
) -> np.ndarray[Any, Any]:
    """The pixels of the slice `number`: like those of its neighbours, and not the same."""
    return picture(size, size, low, high, seed * 1000 + number)


def plain(number: int, values: np.ndarray[Any, Any], **pixels: Any) -> Dataset:
    """A slice as the scanner makes them; all headers have one length, and differ in some values."""
    data = image(values, **pixels)
    data.SOPInstanceUID = f"1.2.826.0.1.9.{100000 + number}1"
    data.SeriesInstanceUID = "1.2.826.0.1.8.1"
    data.InstanceNumber = f"{number:05}"
    data.SliceLocation = f"{number:05}.5"
    data.AcquisitionNumber = "1"
    data.RescaleIntercept, data.RescaleSlope = "-1024", "1"
    data.WindowCenter = ["40", f"{300 + number:05}"]
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = CT, f"1.2.826.0.1.7.{100000 + number}1"
    data.ReferencedStudySequence = Items([study])
    block = data.private_block(0x0029, "MIXED SERIES", create=True)
    block.add_new(0x10, "LO", f"private {number:05}")
    block.add_new(0x11, "OB", struct.pack("<HHI", 0x0028, 0x0010, number))  # looks like Rows
    return data


Change = Callable[[Dataset, int], "Dataset | None"]
"""Changes a plain slice, which has this number, or gives another data set."""


def _item(**elements: Any) -> Dataset:
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def _set(**elements: Any) -> Change:
    def change(data: Dataset, number: int) -> None:
        for name, value in elements.items():
            setattr(data, name, value)

    return change


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _sourced(data: Dataset, number: int) -> None:
    """It was derived before, of two others, and says so."""
    data.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    data.DerivationDescription = "averaged"
    data.DerivationCodeSequence = Items([_code("113085", "DCM", "Spatial resampling")])
    data.SourceImageSequence = Items(
        [
            _item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=f"1.2.3.{number}.{each}")
            for each in (1, 2)
        ]
    )


def _noted(data: Dataset, number: int) -> None:
    """It tells of a loss that it does not say it has: what is appended to must be read."""
    data.LossyImageCompression = "00"
    data.LossyImageCompressionRatio, data.LossyImageCompressionMethod = "2.5", "ISO_10918_1"


def _padded(data: Dataset, number: int, *, limit: int | None = None, vr: str = "US") -> None:
    """A tenth of it is padding, at the value 0 or below a limit."""
    cells = slice_of(number, data.Rows)
    random_ = np.random.default_rng(number)
    cells[:6] = 0 if limit is None else random_.integers(0, limit + 1, (6, data.Rows))
    data.PixelData = cells.astype("<u2").tobytes()
    data.add_new(0x00280120, vr, 0)
    if limit is not None:
        data.add_new(0x00280121, vr, limit)


def _overlaid(data: Dataset, number: int) -> None:
    """An overlay in bit 12 of its cells (retired)."""
    size = data.Rows
    bits = np.random.default_rng(number).integers(0, 2, (size, size))
    data.PixelData = (slice_of(number, size) | bits << 12).astype("<u2").tobytes()
    data.add_new(0x60000010, "US", size)
    data.add_new(0x60000011, "US", size)
    data.add_new(0x60000040, "CS", "G")
    data.add_new(0x60000050, "SS", [1, 1])
    data.add_new(0x60000100, "US", 16)
    data.add_new(0x60000102, "US", 12)


def _overlay_beside(data: Dataset, number: int) -> None:
    """An overlay of its own bits."""
    _overlaid(data, number)
    data.PixelData = slice_of(number, data.Rows).astype("<u2").tobytes()
    data.add_new(0x60000100, "US", 1)
    data.add_new(0x60000102, "US", 0)
    data.add_new(0x60003000, "OW", bytes(range(256)) * (data.Rows**2 // 8 // 256))


def _high(data: Dataset, number: int) -> None:
    """Its values stand four bits higher."""
    data.PixelData = (slice_of(number, data.Rows) << 4).astype("<u2").tobytes()
    data.HighBit = 15


def _outside(data: Dataset, number: int) -> None:
    """It uses bits that it says are unused, and has no overlay."""
    cells = slice_of(number, data.Rows)
    cells[3, 3] |= 0x4000
    data.PixelData = cells.astype("<u2").tobytes()


def _outside_high(data: Dataset, number: int) -> None:
    """Its values stand four bits higher, and a bit below them is used."""
    data.PixelData = (slice_of(number, data.Rows) << 4 | 1).astype("<u2").tobytes()
    data.HighBit = 15


def _signed(data: Dataset, number: int) -> Dataset:
    return plain(number, slice_of(number, data.Rows, low=-1000, high=1000), signed=True)


def _of(values: Callable[[int, int], np.ndarray[Any, Any]], **pixels: Any) -> Change:
    return lambda data, number: plain(number, values(number, data.Rows), **pixels)


def _colour(number: int, size: int) -> np.ndarray[Any, Any]:
    return np.stack([picture(size, size, 0, 255, 3 * number + each) for each in range(3)], axis=-1)


def _palette(data: Dataset, number: int) -> Dataset:
    made = plain(number, slice_of(number, data.Rows, low=0, high=255), stored=8, photometric="PALETTE COLOR")
    for tag in (0x00281101, 0x00281102, 0x00281103):
        made.add_new(tag, "US", [256, 0, 16])
        made.add_new(tag + 0x100, "OW", bytes(range(256)) * 2)
    return made


def _odd(number: int, size: int) -> np.ndarray[Any, Any]:
    return slice_of(number, size, low=0, high=255)[: size - 1, : size - 1]


def _noise(number: int, size: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(number).integers(0, 1 << 16, (size, size))


def _open_sequences(data: Dataset, number: int) -> None:
    """Its sequences and items have no length, as scanners write them."""
    for each in (data, data.ReferencedStudySequence[0]):
        if each is data:
            each["ReferencedStudySequence"].is_undefined_length = True
        else:
            each.is_undefined_length_sequence_item = True


def _short(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def _at(blob: bytes, tag: int) -> int:
    """Where an element of explicit VR little endian begins, whose tag and VR are found once."""
    vr = b"UI" if tag == 0x0008_0016 else b"US"
    mark = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    assert blob.count(mark) == 1
    return blob.index(mark)


def _with_group_lengths(blob: bytes) -> bytes:
    """The lengths of groups (retired) stand before two groups that a lossy image changes."""
    first, second = blob.index(struct.pack("<H", 0x0008)), _at(blob, 0x0028_0002)
    third = blob.index(struct.pack("<HH", 0x0029, 0x0010))
    behind = next(
        at
        for at in (blob.find(struct.pack("<HH", *each)) for each in ((0x0010, 0x0010), (0x0018, 0x0050)))
        if at > 0
    )
    return b"".join(
        (
            _short(0x0008_0000, b"UL", struct.pack("<I", behind - first)),
            blob[first:second],
            _short(0x0028_0000, b"UL", struct.pack("<I", third - second)),
            blob[second:],
        )
    )


def _out_of_order(blob: bytes) -> bytes:
    """Bits Stored stands before Bits Allocated."""
    at = _at(blob, 0x0028_0100)
    return blob[:at] + blob[at + 10 : at + 20] + blob[at : at + 10] + blob[at + 20 :]


def _with_long_sequence(blob: bytes) -> bytes:
    """A private sequence without VR (UN), in implicit VR, without length (PS3.5 section 6.2.2, note 4)."""
    at = blob.index(struct.pack("<HH", 0x7FE0, 0x0010))
    head = struct.pack("<HH2sHI", 0x0029, 0x1012, b"UN", 0, 0xFFFFFFFF)
    inner = struct.pack("<HHI", 0x0028, 0x0010, 2) + b"\7\0"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    return blob[:at] + head + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + blob[at:]


CHANGES: Sequence[tuple[str, Change, dict[str, Any]]] = (
    ("plain", _set(), {}),
    ("bits-10", _of(lambda n, size: slice_of(n, size, low=0, high=1023), stored=10), {}),
    ("bits-16", _of(lambda n, size: slice_of(n, size, low=0, high=60000), stored=16), {}),
    ("bits-8-of-8", _of(lambda n, size: slice_of(n, size, low=0, high=255), allocated=8, stored=8), {}),
    ("signed", _signed, {}),
    ("high-bit", _high, {}),
    ("outside-bits-stored", _outside, {"whole": True, "loss": "never"}),
    ("outside-high-bit", _outside_high, {"whole": True, "loss": "never"}),
    ("rows", _of(lambda n, size: slice_of(n, size)[: size - 16]), {}),
    ("columns", _of(lambda n, size: slice_of(n, size)[:, : size - 1]), {}),
    ("odd-length", _of(_odd, allocated=8, stored=8), {}),
    ("one-pixel", _of(lambda n, size: slice_of(n, size)[:1, :1]), {"tiny": True}),
    ("one-row", _of(lambda n, size: slice_of(n, size)[:1]), {"tiny": True}),
    ("constant", _of(lambda n, size: np.full((size, size), 7 + n)), {}),
    ("noise", _of(_noise, stored=16), {"tiny": True}),
    ("monochrome1", _set(PhotometricInterpretation="MONOCHROME1"), {}),
    ("rgb", _of(_colour, allocated=8, stored=8, photometric="RGB"), {}),
    ("rgb-planar", _of(_colour, allocated=8, stored=8, photometric="RGB", planar=1), {}),
    ("palette", _palette, {"loss": "never"}),
    ("frames", _of(lambda n, size: np.stack([slice_of(n, size, each) for each in range(3)]), frames=3), {}),
    ("one-frame", _set(NumberOfFrames="1"), {}),
    ("padding", _padded, {}),
    ("padding-ss", lambda data, n: _padded(data, n, vr="SS"), {}),
    ("padding-range", lambda data, n: _padded(data, n, limit=20), {}),
    ("padding-mono1", lambda d, n: _padded(d, n) or _set(PhotometricInterpretation="MONOCHROME1")(d, n), {}),
    ("all-padding", lambda d, n: _padded(d, n) or _set(PixelData=bytes(2 * d.Rows**2))(d, n), {}),
    ("overlay-in-cells", _overlaid, {}),
    ("overlay-beside", _overlay_beside, {}),
    ("lossy-no", _set(LossyImageCompression="00"), {}),
    ("lossy-yes", _set(LossyImageCompression="01", LossyImageCompressionRatio="3"), {"loss": "left"}),
    ("lossy-told", _noted, {}),
    ("derived", _set(ImageType=["DERIVED", "PRIMARY", "AXIAL"]), {}),
    ("image-type-short", _set(ImageType=["ORIGINAL", "PRIMARY"]), {}),
    ("no-image-type", lambda data, _: data.__delattr__("ImageType"), {}),
    ("sourced", _sourced, {}),
    ("described-long", _set(DerivationDescription="x" * 1010), {}),
    ("smallest", _set(SmallestImagePixelValue=0, LargestImagePixelValue=4000), {}),
    ("other-class", _set(SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), {}),
    ("capture", _set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), {"loss": "never"}),
    ("unknown-class", _set(SOPClassUID="1.2.840.10008.5.1.4.1.1.99"), {"loss": "left"}),
    ("excluded", _set(Modality="MG"), {"loss": "never"}),
    ("multi-energy", _set(MultienergyCTAcquisition="YES"), {"loss": "never"}),
    ("no-multi-energy", _set(MultienergyCTAcquisition="NO"), {}),
    ("concatenation", _set(ConcatenationUID="1.2.3.9"), {"loss": "never"}),
    ("signed-digitally", _set(MACParametersSequence=Items([_item(MACIDNumber=1)])), {"loss": "left"}),
    ("signature-behind", _set(DigitalSignaturesSequence=Items([_item(MACIDNumber=1)])), {"loss": "left"}),
    ("trailing-padding", _set(DataSetTrailingPadding=b"ab" * 5), {}),
    ("other-series", _set(SeriesInstanceUID="1.2.826.0.1.8.2"), {}),
    ("same-uid", _set(SOPInstanceUID="1.2.826.0.1.9.1000001"), {}),
    ("names-itself", lambda data, n: data.ReferencedStudySequence[0].__setattr__(
        "ReferencedSOPInstanceUID", data.SOPInstanceUID), {}),
    ("character-set", _set(SpecificCharacterSet="ISO_IR 192", PatientName="Ärger^Ölaf"), {}),
    ("empty-values", _set(PatientName="", SliceLocation=None, RescaleIntercept=None), {}),
    ("open-sequences", _open_sequences, {}),
    ("group-lengths", _set(), {"raw": _with_group_lengths}),
    ("out-of-order", _set(), {"raw": _out_of_order, "disordered": True}),
    ("unknown-sequence", _set(), {"raw": _with_long_sequence}),
    ("icon", _set(IconImageSequence=Items([_item(Rows=2, Columns=2, BitsAllocated=8, PixelData=b"ab")])), {}),
)  # fmt: skip
"""By name: what is different, and what the oracle has to know of it."""


def cell_values(data: Dataset, *, whole: bool) -> np.ndarray[Any, Any]:
    """What the native little endian cells of a data set mean, by PS3.5 section 8.1.1, bit by bit."""
    bits, stored, high = data.BitsAllocated, data.BitsStored, data.HighBit
    frames = int(data.get("NumberOfFrames", 1) or 1)
    shape = [frames, data.Rows, data.Columns] + [3] * (data.SamplesPerPixel == 3)
    raw = np.frombuffer(data.PixelData, f"<u{bits // 8}", count=int(np.prod(shape))).astype(np.int64)
    if not whole:
        raw = raw >> (high + 1 - stored) & (1 << stored) - 1
        raw = raw - (raw >> (stored - 1) << stored) if data.PixelRepresentation else raw
    if data.SamplesPerPixel == 3 and data.PlanarConfiguration:
        return np.moveaxis(raw.reshape(frames, 3, data.Rows, data.Columns), 1, -1)
    return raw.reshape(shape)


def made_case(name: str, number: int, syntax: str = EXPLICIT, size: int = SMALL) -> Case:
    """The image `number` of a series, with the change of this name, in a native transfer syntax."""
    change, more = next((change, more) for each, change, more in CHANGES if each == name)
    data = plain(number, slice_of(number, size))
    data = change(data, number) or data
    values = cell_values(data, whole=bool(more.get("whole")))
    more = dict(more)
    raw = more.pop("raw", bytes)
    sent = data
    if syntax == BIG and data.BitsAllocated == 16:
        sent = deepcopy(data)
        sent.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
        sent["PixelData"].VR = "OW"
    return Case(name, data, values, raw(encoded(sent, syntax)), syntax, **more)


_EXPLICIT = (
    "overlay-beside",
    "palette",
    "group-lengths",
    "out-of-order",
    "unknown-sequence",
    "open-sequences",
)
"""With OW elements beside the pixels, which pydicom does not turn round for big endian, or with what is of
this encoding alone."""
_ASKED = (EXPLICIT, IMPLICIT, uids.JPEG2000_LOSSLESS)


def mixed(seed: int, size: int = SMALL) -> list[Case]:
    """Every change once, in an order of its own, for a receiver that takes any transfer syntax; between them
    plain slices, and changed ones for receivers that take one transfer syntax alone. A third came in other
    native transfer syntaxes, and one image comes twice."""
    chosen = random.Random(seed)
    names = [name for name, _, _ in CHANGES]
    order = [
        *((name, "") for name in names),
        *((chosen.choice(names), chosen.choice(_ASKED)) for _ in range(20)),
    ]
    order += [("plain", "")] * 15
    chosen.shuffle(order)
    made: list[Case] = []
    for name, asked in order:
        syntax = chosen.choice((EXPLICIT, EXPLICIT, EXPLICIT, EXPLICIT, IMPLICIT, BIG))
        case = made_case(name, len(made), EXPLICIT if name in _EXPLICIT else syntax, size)
        made.append(replace(case, asked=asked))
    made.append(made[chosen.randrange(len(made))])
    return made
