"""One image of nobody that says of itself, in its tags and its pixels, that it is a test."""

from __future__ import annotations

import time
import uuid
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mapdr.kernel.item import Payload
from mapdr.testing import phantom
from mapdr.testing.generator import CT_IMAGE, EXPLICIT, IMPLICIT, encode

PATIENT_ID = "MAPDR-TEST"
PATIENT_NAME = "TEST^MAPDR DOCTOR"
TEXT = "MAPDR test image, of no patient: may be deleted"
SIDE = 128

_LETTERS = {
    "T": ("#####", "..#..", "..#..", "..#..", "..#..", "..#..", "..#.."),
    "E": ("#####", "#....", "#....", "####.", "#....", "#....", "#####"),
    "S": (".####", "#....", "#....", ".###.", "....#", "....#", "####."),
}


def marked_image(now: float | None = None) -> tuple[Payload, ...]:
    """A CT image with UIDs of its own, in explicit and in implicit VR: a receiver gets one of them."""
    moment = datetime.fromtimestamp(time.time() if now is None else now)
    ds = _data_set(moment)
    made = []
    for syntax in (EXPLICIT, IMPLICIT):
        data = encode(ds, syntax)
        made.append(
            Payload(
                CT_IMAGE,
                ds.SOPInstanceUID,
                syntax,
                (data,),
                len(data),
                study_instance_uid=ds.StudyInstanceUID,
                series_instance_uid=ds.SeriesInstanceUID,
            )
        )
    return tuple(made)


def _data_set(moment: datetime) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    ds.SOPClassUID = CT_IMAGE
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(), _uid(), _uid()
    ds.FrameOfReferenceUID = _uid()
    for name in ("Study", "Series", "Content", "Acquisition"):
        setattr(ds, f"{name}Date", f"{moment:%Y%m%d}")
        setattr(ds, f"{name}Time", f"{moment:%H%M%S}")
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = PATIENT_ID, "TEST", ""
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", "MAPDR", "Phantom"
    ds.StudyDescription = ds.SeriesDescription = ds.ImageComments = TEXT
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = PATIENT_NAME, PATIENT_ID, "", "O"
    ds.BodyPartExamined, ds.PatientPosition, ds.KVP = "PHANTOM", "HFS", "120"
    ds.SeriesNumber = ds.InstanceNumber = ds.AcquisitionNumber = 1
    ds.PositionReferenceIndicator = ""
    ds.PixelSpacing, ds.SliceThickness = [2.8, 2.8], 5
    ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-180, -180, 0]
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 1000
    ds.BurnedInAnnotation = "YES"
    pixels = phantom.thorax(SIDE, SIDE, 0.5, np.random.default_rng(1))
    _write(pixels, "TEST")
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def _uid() -> str:
    return f"2.25.{uuid.uuid4().int}"


def _write(pixels: NDArray[np.uint16], word: str, scale: int = 3) -> None:
    """A word in white across the upper part of the pixels."""
    left = (pixels.shape[1] - 6 * scale * len(word)) // 2
    for place, letter in enumerate(word):
        bits = np.array([[cell == "#" for cell in row] for row in _LETTERS[letter]])
        shape = np.kron(bits, np.ones((scale, scale), bool))
        at = left + 6 * scale * place
        pixels[8 : 8 + shape.shape[0], at : at + shape.shape[1]][shape] = 4095
