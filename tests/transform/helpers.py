"""Payloads, instances and memories for the tests of the transforms."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset

from mapdr.kernel.item import FileSlice, Instance, Payload, Source
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.step import Memory
from mapdr.kernel.watch import Watch
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.compress import CompressStep
from mapdr.transform.pipeline import Pipeline

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


class Notebook:
    """A `Memory` that counts what is kept."""

    def __init__(self) -> None:
        self.facts: Mapping[str, Any] | None = None
        self.kept = 0

    def recall(self) -> Mapping[str, Any] | None:
        return self.facts

    def keep(self, facts: Mapping[str, Any]) -> None:
        self.facts = dict(facts)
        self.kept += 1


def settings(tmp: Path = Path("no-folder"), workers: int = 2) -> Settings:
    return Settings("test", "node", tmp, b"k" * 32, Watch(), workers)


CODECS = Codecs(Registry(), settings())


def to_syntax(payload: Payload, target: str) -> Payload:
    """The payload in another transfer syntax, as for a receiver that takes no other."""
    size, syntax = payload.length, payload.transfer_syntax_uid
    instance = instance_of(Dataset(), syntax, Path("none"), 0, size)
    return Pipeline([], settings(), CODECS).apply(payload, instance, Notebook(), target)


def applied(
    step: CompressStep, payload: Payload, instance: Instance, memory: Memory, syntax: str = ""
) -> Payload:
    """What an encode step makes of a payload that no other step has changed, for a receiver that takes
    `syntax` alone."""
    with OpenImage(payload, CODECS, workers=2) as document:
        return step.encode(document, instance, memory, syntax)


def spooled(path: Path) -> tuple[Payload, Instance]:
    """A Part 10 file as the chain starts with it: one slice after the File Meta group."""
    with path.open("rb") as file:
        meta = pydicom.filereader.read_file_meta_info(path)
        head = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    blob = path.read_bytes()
    offset = 0
    if blob[128:132] == b"DICM":
        offset = 132
        while blob[offset : offset + 2] == b"\x02\x00":
            vr, short = blob[offset + 4 : offset + 6], int.from_bytes(blob[offset + 6 : offset + 8], "little")
            long = vr in (b"OB", b"UN", b"UT", b"OW", b"SQ")
            offset += 12 + int.from_bytes(blob[offset + 8 : offset + 12], "little") if long else 8 + short
    syntax = str(meta.get("TransferSyntaxUID", EXPLICIT))
    size = len(blob) - offset
    instance = instance_of(head, syntax, path, offset, size)
    payload = Payload(
        instance.sop_class_uid, instance.sop_instance_uid, syntax, (FileSlice(path, offset, size),), size
    )
    return payload, instance


def instance_of(head: Dataset, syntax: str, path: Path, offset: int, size: int) -> Instance:
    return Instance(
        id="0" * 32,
        source=Source("modalities", "CT1", "MAPDR", "127.0.0.1"),
        sop_class_uid=str(head.get("SOPClassUID", "")),
        sop_instance_uid=str(head.get("SOPInstanceUID", "")),
        study_instance_uid=str(head.get("StudyInstanceUID", "")),
        series_instance_uid=str(head.get("SeriesInstanceUID", "")),
        modality=str(head.get("Modality", "")),
        transfer_syntax_uid=syntax,
        path=path,
        data_offset=offset,
        size=size,
        received_at=0.0,
    )


def encoded(data: Dataset, syntax: str = EXPLICIT) -> bytes:
    """The bytes of a data set, without File Meta."""
    out = BytesIO()
    implicit, little = syntax == "1.2.840.10008.1.2", syntax != "1.2.840.10008.1.2.2"
    pydicom.dcmwrite(out, data, implicit_vr=implicit, little_endian=little, force_encoding=True)
    return out.getvalue()


def payload_of(data: Dataset, syntax: str = EXPLICIT) -> tuple[Payload, Instance]:
    """A data set as a payload in memory."""
    blob = encoded(data, syntax)
    instance = instance_of(data, syntax, Path("none"), 0, len(blob))
    return Payload(instance.sop_class_uid, instance.sop_instance_uid, syntax, (blob,), len(blob)), instance


def read(payload: Payload) -> Dataset:
    """A payload as pydicom sees it."""
    blob = b"".join(payload.chunks())
    assert len(blob) == payload.length
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(payload.transfer_syntax_uid)
    meta.MediaStorageSOPClassUID = payload.sop_class_uid
    meta.MediaStorageSOPInstanceUID = payload.sop_instance_uid
    out = BytesIO()
    pydicom.filewriter.write_file_meta_info(out, meta, enforce_standard=True)
    return pydicom.dcmread(BytesIO(b"\0" * 128 + b"DICM" + out.getvalue() + blob))


def save(payload: Payload, path: Path) -> Path:
    """A payload as a Part 10 file."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(payload.transfer_syntax_uid)
    meta.MediaStorageSOPClassUID = payload.sop_class_uid
    meta.MediaStorageSOPInstanceUID = payload.sop_instance_uid
    with path.open("wb") as file:
        file.write(b"\0" * 128 + b"DICM")
        pydicom.filewriter.write_file_meta_info(file, meta, enforce_standard=True)
        for chunk in payload.chunks():
            file.write(chunk)
    return path


def picture(rows: int, columns: int, low: int, high: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Something like anatomy: smooth shapes with a little noise, within low and high."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns]
    shape = (
        np.sin(x / 17 + seed) + np.cos(y / 23) + ((x - columns / 2) ** 2 + (y - rows / 2) ** 2 < rows * 20)
    )
    shape = shape + random.normal(0, 0.02, shape.shape)
    shape = (shape - shape.min()) / (shape.max() - shape.min())
    return np.round(low + shape * (high - low)).astype(np.int64)


def image(
    pixels: np.ndarray[Any, Any],
    *,
    allocated: int = 16,
    stored: int = 12,
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    planar: int = 0,
    sop_class: str = CT,
    frames: int = 1,
) -> Dataset:
    """A data set with these stored values: (frames,) rows, columns (, samples)."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = sop_class, "1.2.3.4.5"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    data.Modality, data.PatientName, data.PatientID = "CT", "Marked^Value", "Marked"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    samples = 3 if pixels.shape[-1] == 3 and pixels.ndim - (frames > 1) == 3 else 1
    rows, columns = pixels.shape[frames > 1 : (frames > 1) + 2]
    data.SamplesPerPixel, data.PhotometricInterpretation = samples, photometric
    if samples > 1:
        data.PlanarConfiguration = planar
    data.Rows, data.Columns = rows, columns
    if frames > 1:
        data.NumberOfFrames = frames
    data.BitsAllocated, data.BitsStored, data.HighBit = allocated, stored, stored - 1
    data.PixelRepresentation = int(signed)
    cells = pixels.reshape(frames, rows, columns, samples)
    if planar:
        cells = np.moveaxis(cells, -1, 1)
    raw = cells.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes()
    data.PixelData = raw + b"\0" * (len(raw) % 2)
    data["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return data
