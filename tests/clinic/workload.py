"""What a clinic's devices make in a week, image by image, with what is known of each before it is sent.

The frames are small, so that thousands take minutes; all else is as it comes in a clinic: native and
compressed, implicit and deflated, multi-frame, colour, and an old CR with headers that are not as they
should be.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import write_file_meta_info

from mapdr.kernel.cached import cached_property
from mapdr.testing import generator, phantom
from peers.part10 import DEFLATED, EXPLICIT, IMPLICIT, MemoryObject

Pixels = NDArray[Any]

DAYS = 7
CR_IMAGE, US_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.3.1"
VL_PHOTO = "1.2.840.10008.5.1.4.1.1.77.1.4"
JPEG_BASELINE, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JPEG2000_LOSSLESS, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
SIZE = (48, 48)
POOL = 16
"""So many different pictures of each modality; images differ in their shift."""


@dataclass(frozen=True)
class Device:
    """A device of the clinic: what it makes, and how it sends."""

    name: str
    modality: str
    way: str
    station: str = ""


CT1, CT2 = Device("CT1", "CT", "plain"), Device("CT2", "CT", "tls", "ER1")
MR1, MR2 = Device("MR1", "MR", "plain"), Device("MR2", "MR", "stow")
US1, OLD_CR = Device("US1", "US", "plain"), Device("OLD_CR", "CR", "plain")
CD, PHOTO = Device("CD", "CT", "folder"), Device("PHOTO", "XC", "plain")
DEVICES = (CT1, CT2, MR1, MR2, US1, OLD_CR, CD, PHOTO)
ORDER = (
    *(CT1, CT2, MR1, US1, MR2),
    *(CT1, OLD_CR, CT2, MR1, CT1),
    *(MR2, CT2, US1, CT1, CD),
    *(MR1, OLD_CR, CT2, PHOTO, CT1),
)
"""Whose study comes next, over and over: of six that follow each other, one comes over TLS."""


@dataclass(frozen=True, eq=False)
class Image:
    """One image as it is sent, and its facts."""

    device: Device
    study_instance_uid: str
    number: int
    day: int
    accession_number: str
    item: MemoryObject = field(repr=False)
    picture: tuple[int, int] = field(repr=False)

    @property
    def uid(self) -> str:
        return self.item.sop_instance_uid

    @property
    def modality(self) -> str:
        return self.device.modality

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.item.data).hexdigest()

    def pixels(self) -> Pixels:
        """What was put into it, of all its frames."""
        return pixels(self.modality, *self.picture)

    def dataset(self) -> Dataset:
        """The data set as it was sent, elements unread."""
        return parsed(self.item.transfer_syntax_uid, self.item.data)

    def part10(self) -> bytes:
        """The image as a DICOM file."""
        return part10(self.item.sop_class_uid, self.uid, self.item.transfer_syntax_uid, self.item.data)


@dataclass(frozen=True)
class Study:
    """The images that one device makes of one patient."""

    device: Device
    uid: str
    day: int
    images: tuple[Image, ...]


def week(images: int, studies: int) -> list[list[Study]]:
    """The studies of each day; `images` in all, of `studies` studies."""
    days: list[list[Study]] = [[] for _ in range(DAYS)]
    for number in range(studies):
        size = images * (number + 1) // studies - images * number // studies
        day = number * DAYS // studies
        days[day].append(_study(ORDER[number % len(ORDER)], number, day, size))
    return days


def part10(sop_class: str, instance: str, syntax: str, data: bytes) -> bytes:
    """A data set as a DICOM file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, instance
    meta.TransferSyntaxUID = syntax
    head = io.BytesIO()
    write_file_meta_info(head, meta)
    return bytes(128) + b"DICM" + head.getvalue() + data


def parsed(syntax: str, data: bytes) -> Dataset:
    """A data set as pydicom reads it; its elements stay as they are encoded until somebody asks for them."""
    whole = part10("1.2.3", "1.2.3", syntax, data)
    return pydicom.dcmread(io.BytesIO(whole))


def pixels(modality: str, picture: int, shift: int) -> Pixels:
    """A picture's pixels: rows x columns (x 3), or frames x rows x columns x 3 for a negative shift."""
    found = _picture(modality, picture)
    if shift >= 0:
        return np.roll(found, shift, axis=0)
    return np.stack([np.roll(found, frame - shift, axis=0) for frame in range(3)])


_pictures: dict[tuple[str, int], Pixels] = {}


def _picture(modality: str, number: int) -> Pixels:
    if (modality, number) not in _pictures:
        drawing: dict[str, Callable[..., Pixels]] = {"MR": phantom.head, "US": phantom.sector}
        draw = drawing.get(modality, phantom.thorax)
        _pictures[modality, number] = draw(*SIZE, number / POOL, np.random.default_rng(number))
    return _pictures[modality, number]


def _study(device: Device, number: int, day: int, size: int) -> Study:
    """Of a study's header only the instance's own elements change from image to image."""
    kind = device.modality if device.modality in ("MR", "US") else "CT"
    (first,) = generator.study(kind, seed=number, images=1, size=SIZE)
    header = Dataset(dict(pydicom.dcmread(io.BytesIO(first.part10()))))
    header.Modality = device.modality
    header.StudyInstanceUID = generator.uid("clinic", number, "study")
    header.SeriesInstanceUID = generator.uid("clinic", number, "series")
    header.StationName = device.station or device.name
    header.OtherPatientIDs = f"OTHER-{number}"
    # Some come with the clinic's prefix already, some without an accession number at all.
    accession = "" if number % 9 == 5 else f"{'CN-' if number % 9 == 7 else ''}{number:08d}"
    header.AccessionNumber = accession
    del header.PixelData
    made = []
    for place in range(1, size + 1):
        instance = generator.uid("clinic", number, "instance", place)
        header.InstanceNumber = place
        header.SOPInstanceUID = instance
        header.ContentTime = f"{9 + place // 3600:02d}{place // 60 % 60:02d}{place % 60:02d}"
        item, picture = _encoded(header, device, number, place)
        made.append(Image(device, header.StudyInstanceUID, place, day, accession, item, picture))
    return Study(device, header.StudyInstanceUID, day, tuple(made))


def _encoded(
    header: Dataset, device: Device, number: int, place: int
) -> tuple[MemoryObject, tuple[int, int]]:
    """The image in the form in which this device makes such an image, and its picture."""
    multiframe = device.modality == "US" and place % 5 == 0
    picture = (place % POOL, -place if multiframe else place // POOL)
    values = pixels(device.modality, *picture)
    data = Dataset(dict(header))
    classes = {"CR": CR_IMAGE, "XC": VL_PHOTO}
    _put(data, "SOPClassUID", US_MULTIFRAME if multiframe else classes.get(device.modality, data.SOPClassUID))
    if multiframe:
        data.NumberOfFrames, data.FrameTime, data.FrameIncrementPointer = 3, 40, 0x00181063
    frames = list(values) if multiframe else [values]
    if device.modality == "CT" and place % 10 == 3:
        syntax = JPEG_LOSSLESS
        lossless = partial(imagecodecs.jpeg8_encode, lossless=True, predictor=1, bitspersample=12)
        streams = [lossless(each) for each in frames]
    elif device.modality == "MR" and place % 10 == 3:
        syntax = JPEG2000_LOSSLESS
        streams = [imagecodecs.jpeg2k_encode(each, codecformat="j2k", reversible=True) for each in frames]
    elif device.modality == "US" and place % 5 in (0, 3):
        syntax = JPEG_BASELINE
        streams = [imagecodecs.jpeg8_encode(each, level=90) for each in frames]
        _put(data, "PhotometricInterpretation", "YBR_FULL_422")
        _put(data, "LossyImageCompression", "01")
    else:
        syntax = EXPLICIT
        if device.modality == "MR":
            syntax = (EXPLICIT, EXPLICIT, IMPLICIT, DEFLATED)[number // 3 % 4]
        data.PixelData = values.tobytes()
        streams = []
    if streams:
        data.PixelData = encapsulate(streams)
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    encoded = generator.encode(data, IMPLICIT if syntax == IMPLICIT else EXPLICIT)
    if device.modality == "CR":
        encoded = _odd(data, place)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoded = packer.compress(encoded) + packer.flush()
        encoded += bytes(len(encoded) % 2)
    return MemoryObject(str(data.SOPClassUID), str(data.SOPInstanceUID), syntax, encoded), picture


def _put(data: Dataset, keyword: str, value: str) -> None:
    """A new element: the one that is there belongs to all images of the study."""
    data.add_new(tag_for_keyword(keyword), data[keyword].VR, value)


def _odd(data: Dataset, place: int) -> bytes:
    """As an old device writes: no character set, private elements, odd lengths, padding at the end."""
    del data.SpecificCharacterSet
    _put(data, "PatientName", "LATIN^ONE")
    if place % 3 == 1:
        block = data.private_block(0x0009, "OLD CR 1.0", create=True)
        block.add_new(0x01, "LO", "as it likes")
        block.add_new(0x02, "UN", bytes(range(32)))
    encoded = generator.encode(data, EXPLICIT).replace(b"LATIN^ONE ", "LEFÈVRE^É".encode("latin-1") + b" ")
    if place % 3 == 2:
        station = b"\x08\x00\x10\x10SH"
        even = station + b"\x06\x00OLD_CR"
        assert even in encoded
        encoded = encoded.replace(even, station + b"\x05\x00OLDCR")
    if place % 4 == 0:
        encoded += b"\xfc\xff\xfc\xffOB\x00\x00" + (16).to_bytes(4, "little") + bytes(16)
    return encoded


def pushed(days: list[list[Study]]) -> Iterator[Image]:
    """All images of a week."""
    for day in days:
        for study in day:
            yield from study.images
