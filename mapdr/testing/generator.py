"""Generated studies: plausible CT, MR and US images of nobody, for tests and the demo.

Everything follows from the seed: pixels, names, UIDs (2.25 and a hash). The data sets hold the modules that
their IODs ask for (PS3.3 A.3, A.4, A.6), so that a validator finds no error in them. Nothing here is random
between two runs, so a test that failed once fails again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.sequence import Sequence

from mapdr.dicom import uids
from mapdr.testing import phantom

CT_IMAGE = uids.CT_IMAGE_STORAGE
MR_IMAGE = uids.MR_IMAGE_STORAGE
US_IMAGE = uids.ULTRASOUND_IMAGE_STORAGE
EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN
IMPLICIT = uids.IMPLICIT_VR_LITTLE_ENDIAN

FIRST_DAY = datetime(2026, 1, 15, 9, 0)
"""When studies take place unless the caller says otherwise: a fixed moment keeps the bytes the same."""

PATIENTS = (
    ("ISO_IR 192", "Müller^Jürgen"),
    ("ISO_IR 100", "Lefèvre^Hélène"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("ISO_IR 192", "Łukasiewicz^Żaneta"),
    ("ISO_IR 144", "Люксембург^Пётр"),
    ("ISO_IR 192", "Hong^Gildong=洪^吉洞=홍^길동"),
    ("ISO_IR 126", "Διονυσιος^Αθηνα"),
    ("ISO_IR 6", "Example^Anne"),
)
"""Character sets and the (invented) names written in them."""

SIZES = {"CT": (512, 512), "MR": (256, 256), "US": (480, 640)}
"""Rows and columns of an image unless the caller asks for others."""


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One image: its identity, its data set encoded in `transfer_syntax_uid`, without File Meta."""

    modality: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    accession_number: str
    dataset: bytes

    def part10(self) -> bytes:
        """The image as a DICOM file (PS3.10)."""
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = self.sop_class_uid
        meta.MediaStorageSOPInstanceUID = self.sop_instance_uid
        meta.TransferSyntaxUID = self.transfer_syntax_uid
        empty = Dataset()
        empty.file_meta = meta
        file = io.BytesIO()
        dcmwrite(file, empty, enforce_file_format=True)
        return file.getvalue() + self.dataset


def uid(*parts: object) -> str:
    """The UID that belongs to `parts`: always the same one, and no other parts have it."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"


def study(
    modality: str,
    *,
    seed: int = 0,
    images: int = 8,
    size: tuple[int, int] | None = None,
    when: datetime | None = None,
    transfer_syntax_uid: str = EXPLICIT,
    institution: str = "Generated Hospital",
) -> Iterator[GeneratedImage]:
    """The images of one generated study, made one at a time.

    `modality` is CT (16 bit in 12, rescaled to HU), MR (12 bit) or US (8 bit RGB); `size` rows and columns.
    Raises ValueError for another modality or transfer syntax.
    """
    if modality not in _MODALITIES:
        raise ValueError(f"no generator for modality {modality}; known: {', '.join(_MODALITIES)}")
    if transfer_syntax_uid not in (EXPLICIT, IMPLICIT):
        raise ValueError(f"{transfer_syntax_uid} is not generated; known: {EXPLICIT}, {IMPLICIT}")
    rows, columns = size or SIZES[modality]
    plan = _Plan(modality, seed, images, rows, columns, when or FIRST_DAY, institution)
    for number in range(1, images + 1):
        yield _image(plan, number, transfer_syntax_uid)


@dataclass(frozen=True, slots=True)
class _Plan:
    modality: str
    seed: int
    images: int
    rows: int
    columns: int
    when: datetime
    institution: str

    def uid(self, *parts: object) -> str:
        return uid("mapdr.testing", self.modality, self.seed, self.rows, self.columns, *parts)

    @property
    def accession_number(self) -> str:
        return f"{self.modality}{self.seed % 10**8:08d}"


def _image(plan: _Plan, number: int, transfer_syntax_uid: str) -> GeneratedImage:
    ds = Dataset()
    _patient_and_study(ds, plan)
    _series_and_equipment(ds, plan)
    sop_class_uid, fill = _MODALITIES[plan.modality]
    ds.SOPClassUID = sop_class_uid
    ds.SOPInstanceUID = plan.uid("instance", number)
    ds.InstanceNumber = number
    moment = plan.when + timedelta(seconds=number)
    ds.ContentDate, ds.ContentTime = f"{moment:%Y%m%d}", f"{moment:%H%M%S}"
    ds.AcquisitionDate, ds.AcquisitionTime = ds.ContentDate, ds.ContentTime
    random = np.random.default_rng([plan.seed, number, sum(map(ord, plan.modality))])
    fill(ds, plan, number, random)
    return GeneratedImage(
        modality=plan.modality,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=ds.SOPInstanceUID,
        series_instance_uid=ds.SeriesInstanceUID,
        study_instance_uid=ds.StudyInstanceUID,
        transfer_syntax_uid=transfer_syntax_uid,
        accession_number=plan.accession_number,
        dataset=encode(ds, transfer_syntax_uid),
    )


def encode(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    """The data set's bytes in one of the two plain little endian transfer syntaxes."""
    file = DicomBytesIO()
    file.is_little_endian = True
    file.is_implicit_VR = transfer_syntax_uid == IMPLICIT
    write_dataset(file, ds)
    data: bytes = file.getvalue()
    return data


def _patient_and_study(ds: Any, plan: _Plan) -> None:
    charset, name = PATIENTS[plan.seed % len(PATIENTS)]
    ds.SpecificCharacterSet = charset
    ds.PatientName = name
    ds.PatientID = f"GEN-{plan.seed:06d}"
    ds.PatientBirthDate = f"{1930 + plan.seed % 80}0{1 + plan.seed % 9}1{plan.seed % 10}"
    ds.PatientSex = "FMO"[plan.seed % 3]
    ds.PatientAge = f"{max(1, plan.when.year - 1930 - plan.seed % 80):03d}Y"
    ds.StudyInstanceUID = plan.uid("study")
    ds.StudyDate, ds.StudyTime = f"{plan.when:%Y%m%d}", f"{plan.when:%H%M%S}"
    ds.ReferringPhysicianName = "Referrer^Ruth"
    ds.StudyID = str(1 + plan.seed % 9999)
    ds.AccessionNumber = plan.accession_number
    ds.StudyDescription = {"CT": "CT Thorax", "MR": "MR Head", "US": "US Abdomen"}[plan.modality]


def _series_and_equipment(ds: Any, plan: _Plan) -> None:
    ds.Modality = plan.modality
    ds.SeriesInstanceUID = plan.uid("series")
    ds.SeriesNumber = 1
    ds.SeriesDate, ds.SeriesTime = ds.StudyDate, ds.StudyTime
    ds.SeriesDescription = {"CT": "Thorax 5.0 B30f", "MR": "T2 TSE ax", "US": "Liver"}[plan.modality]
    ds.Manufacturer = "MAPDR generator"
    ds.ManufacturerModelName = "Phantom"
    ds.DeviceSerialNumber = "1"
    ds.SoftwareVersions = "1"
    ds.InstitutionName = plan.institution
    ds.StationName = f"ER{plan.modality}1"
    request = Dataset()
    request.RequestedProcedureID = f"RP{plan.seed % 10**6}"
    request.ScheduledProcedureStepID = f"SPS{plan.seed % 10**6}"
    ds.RequestAttributesSequence = Sequence([request])


def _pixels(ds: Any, pixels: NDArray[Any], stored: int, photometric: str) -> None:
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    ds.PhotometricInterpretation = photometric
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit = stored, stored - 1
    ds.PixelRepresentation = 0
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"


def _volume(ds: Any, plan: _Plan, number: int, spacing: float, thickness: float) -> None:
    ds.FrameOfReferenceUID = plan.uid("frame")
    ds.PositionReferenceIndicator = None
    ds.PixelSpacing = [spacing, spacing]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    where = (number - 1) * thickness
    ds.ImagePositionPatient = [-spacing * plan.columns / 2, -spacing * plan.rows / 2, where]
    ds.SliceThickness = thickness
    ds.SliceLocation = where
    ds.AcquisitionNumber = 1
    ds.PatientPosition = "HFS"


def _ct(ds: Any, plan: _Plan, number: int, random: np.random.Generator) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.BodyPartExamined = "CHEST"
    ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime = 120, 180, 500
    ds.ConvolutionKernel = "B30f"
    _volume(ds, plan, number, 0.7, 5.0)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 400
    _pixels(ds, phantom.thorax(plan.rows, plan.columns, number / plan.images, random), 12, "MONOCHROME2")


def _mr(ds: Any, plan: _Plan, number: int, random: np.random.Generator) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    ds.BodyPartExamined = "HEAD"
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "SE", "SK", ""
    ds.MRAcquisitionType = "2D"
    ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = 4000, 98, 15
    ds.MagneticFieldStrength, ds.FlipAngle = 1.5, 150
    _volume(ds, plan, number, 0.9, 4.0)
    ds.WindowCenter, ds.WindowWidth = 700, 1400
    _pixels(ds, phantom.head(plan.rows, plan.columns, number / plan.images, random), 12, "MONOCHROME2")


def _us(ds: Any, plan: _Plan, number: int, random: np.random.Generator) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL", "0001"]
    ds.BodyPartExamined = "ABDOMEN"
    ds.PatientOrientation = None
    ds.LossyImageCompression = "00"
    ds.TransducerData = ["C5-1", "", ""]
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 2
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = plan.columns - 1, plan.rows - 1
    region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection = 3, 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.03, 0.03
    ds.SequenceOfUltrasoundRegions = Sequence([region])
    _pixels(ds, phantom.sector(plan.rows, plan.columns, number / plan.images, random), 8, "RGB")


_Fill = Callable[[Any, _Plan, int, np.random.Generator], None]
_MODALITIES: dict[str, tuple[str, _Fill]] = {
    "CT": (CT_IMAGE, _ct),
    "MR": (MR_IMAGE, _mr),
    "US": (US_IMAGE, _us),
}
