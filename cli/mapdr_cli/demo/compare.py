"""Compares what a PACS received with what a modality sent: pixels, tags that a rule names, and all others.

It decodes on its own and knows nothing of how MAPDR did it, so it can be trusted to contradict it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000, ImplicitVRLittleEndian, JPEG2000Lossless

COMPRESSION = frozenset(
    pydicom.datadict.tag_for_keyword(keyword)
    for keyword in (
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "PixelData",
        "ImageType",
        "SOPInstanceUID",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
        "DerivationDescription",
        "DerivationCodeSequence",
        "SourceImageSequence",
    )
)
"""What a compressed image may have that the original had not (PS3.3, C.7.6.1.1.5)."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of comparing one image: `way` is exact or lossy; `faults` is empty when all is well."""

    original_uid: str
    way: str
    max_error: int
    sent_bytes: int
    arrived_bytes: int
    faults: tuple[str, ...]


def read(dataset: bytes, transfer_syntax_uid: str) -> Any:
    """A pydicom data set from a data set's bytes. Raises what pydicom raises for bytes it cannot read."""
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    ds = pydicom.dcmread(io.BytesIO(_meta(transfer_syntax_uid) + dataset), force=True)
    if implicit != ds.original_encoding[0]:
        raise ValueError("the data set is not in the transfer syntax that was negotiated")
    return ds


def _meta(transfer_syntax_uid: str) -> bytes:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = transfer_syntax_uid
    file = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(file, meta, enforce_standard=False)
    return b"\0" * 128 + b"DICM" + file.getvalue()


def pixels(ds: Any) -> NDArray[Any]:
    """The pixels as they are stored, decoded if need be: (frames x) rows x columns (x 3 for colour).

    Raises ValueError for what is neither native nor JPEG 2000.
    """
    syntax = str(ds.file_meta.TransferSyntaxUID)
    frames = int(ds.get("NumberOfFrames", 1) or 1)
    if syntax in (JPEG2000, JPEG2000Lossless):
        decoded = [
            imagecodecs.jpeg2k_decode(one) for one in generate_frames(ds.PixelData, number_of_frames=frames)
        ]
        return decoded[0] if frames == 1 else np.stack(decoded)
    if ds.file_meta.TransferSyntaxUID.is_compressed and not ds.file_meta.TransferSyntaxUID.is_deflated:
        raise ValueError("this transfer syntax is not decoded here")
    if ds.BitsAllocated not in (8, 16):
        raise ValueError("only 8 and 16 bits are compared here")
    order = "<" if ds.file_meta.TransferSyntaxUID.is_little_endian else ">"
    kind = np.dtype(f"{order}{'i' if ds.PixelRepresentation else 'u'}{ds.BitsAllocated // 8}")
    shape = [ds.Rows, ds.Columns]
    if ds.SamplesPerPixel > 1:
        shape = (
            [ds.SamplesPerPixel, *shape] if ds.get("PlanarConfiguration", 0) else [*shape, ds.SamplesPerPixel]
        )
    count = int(np.prod(shape)) * frames
    native = np.frombuffer(ds.PixelData, kind, count).reshape([frames, *shape] if frames > 1 else shape)
    if ds.SamplesPerPixel > 1 and ds.get("PlanarConfiguration", 0):
        native = np.moveaxis(native, -3, -1)
    return native


def original_uid(ds: Any) -> str:
    """The UID of the image that this one was made of: its own, unless it names a source image."""
    if "SourceImageSequence" in ds:
        return str(ds.SourceImageSequence[0].ReferencedSOPInstanceUID)
    return str(ds.SOPInstanceUID)


def compare(
    sent: tuple[bytes, str], arrived: tuple[bytes, str], *, edits: Mapping[str, str], max_error: int
) -> Compared:
    """Compare two data sets, each as bytes and transfer syntax.

    `edits` are keywords and the values that the arrived one must have; all other elements must be equal,
    pixels exactly, or within `max_error` if the arrived image says that it is lossy.
    """
    before, after = read(*sent), read(*arrived)
    lossy = str(after.get("LossyImageCompression", "00")) == "01"
    error = _error(pixels(before), pixels(after))
    faults = [*_pixel_faults(error, lossy, max_error), *_tag_faults(before, after, edits)]
    if lossy:
        faults += _lossy_faults(before, after)
    elif before.SOPInstanceUID != after.SOPInstanceUID:
        faults.append("a lossless image has another UID")
    way = "lossy" if lossy else "exact"
    return Compared(str(before.SOPInstanceUID), way, error, len(sent[0]), len(arrived[0]), tuple(faults))


def _error(before: NDArray[Any], after: NDArray[Any]) -> int:
    if before.shape != after.shape:
        return -1
    return int(np.abs(before.astype(np.int32) - after.astype(np.int32)).max())


def _pixel_faults(error: int, lossy: bool, max_error: int) -> list[str]:
    if error < 0:
        return ["the image has another size"]
    allowed = max_error if lossy else 0
    return [] if error <= allowed else [f"a pixel differs by {error} where {allowed} is allowed"]


def _tag_faults(before: Any, after: Any, edits: Mapping[str, str]) -> list[str]:
    faults = [
        f"{keyword} is not what the rule says"
        for keyword, value in edits.items()
        if str(after.get(keyword, "")) != value
    ]
    edited = {pydicom.datadict.tag_for_keyword(keyword) for keyword in edits}
    for tag in sorted({*before.keys(), *after.keys()} - edited - COMPRESSION):
        if before.get(tag) != after.get(tag):
            faults.append(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) changed though no rule names it")
    return faults


def _lossy_faults(before: Any, after: Any) -> list[str]:
    """What PS3.3, C.7.6.1.1.5 asks of a lossy image and this one lacks."""
    wanted = {
        "a UID of its own": after.SOPInstanceUID != before.SOPInstanceUID,
        "its source image": "SourceImageSequence" in after and original_uid(after) == before.SOPInstanceUID,
        "ImageType DERIVED": after.ImageType[0] == "DERIVED",
        "its compression ratio": float(after.get("LossyImageCompressionRatio", 0) or 0) > 1,
        "its compression method": after.get("LossyImageCompressionMethod") == "ISO_15444_1",
    }
    return [f"a lossy image lacks {what}" for what, there in wanted.items() if not there]
