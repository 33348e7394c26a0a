"""Which images are compressed how: what is never lossy, and what is never touched.

The grounds: PS3.5 section A.4 (what may be encapsulated), PS3.3 sections C.7.6.1.1.5 and C.8.20.2.2, and
the practice that measurements are made on SUV, dose, label and quantitative images. A SOP class that is not
in the tables goes on unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mapdr.dicom import tags
from mapdr.dicom.tags import PIXEL_DATA
from mapdr.dicom.transfer_syntax import LOSSLESS_COMPRESSED, MAYBE_LOSSY, NATIVE
from mapdr.dicom.write import Element
from mapdr.kernel.codec import PixelRange
from mapdr.transform.image import Attributes, Image

_STORAGE = "1.2.840.10008.5.1.4.1.1."

MAY_BE_LOSSY = frozenset(
    _STORAGE + suffix
    for suffix in (
        "1",  # Computed Radiography
        "1.1",  # Digital X-Ray, for presentation
        "1.3",  # Digital Intra-Oral X-Ray, for presentation
        "2",  # CT
        "3",  # Ultrasound Multi-frame (retired)
        "3.1",  # Ultrasound Multi-frame
        "4",  # MR
        "6",  # Ultrasound (retired)
        "6.1",  # Ultrasound
        "12.1",  # X-Ray Angiographic
        "12.2",  # X-Ray Radiofluoroscopic
        "77.1.1",  # VL Endoscopic
        "77.1.2",  # VL Microscopic
        "77.1.3",  # VL Slide-Coordinates Microscopic
        "77.1.4",  # VL Photographic
        "77.1.7",  # Dermoscopic Photography
        "2.1",  # Enhanced CT
        "2.2",  # Legacy Converted Enhanced CT
        "4.1",  # Enhanced MR
        "4.3",  # Enhanced MR Color
        "4.4",  # Legacy Converted Enhanced MR
        "6.2",  # Enhanced US Volume
        "12.1.1",  # Enhanced XA
        "12.2.1",  # Enhanced XRF
        "13.1.1",  # X-Ray 3D Angiographic
        "13.1.2",  # X-Ray 3D Craniofacial
    )
)
"""SOP classes (PS3.4 section B.5) for which the user's choice of lossy compression is taken."""

NEVER_LOSSY = {
    _STORAGE + suffix: why
    for why, suffixes in {
        "for-processing": ("1.1.1", "1.2.1", "1.3.1"),
        "mammography": ("1.2", "13.1.3", "13.1.4", "13.1.5"),
        "nuclear": ("5", "20", "128", "128.1", "130"),
        "secondary-capture": ("7", "7.1", "7.2", "7.3", "7.4"),
        "parametric": ("30", "77.1.5.7", "77.1.5.8"),
        "ophthalmic": ("77.1.5.1", "77.1.5.2", "77.1.5.3", "77.1.5.4", "77.1.5.5", "77.1.5.6"),
        "intravascular-oct": ("14.1", "14.2"),
        "segmentation": ("66.4",),
        "label-map": ("66.7",),
        "dose": ("481.2",),
        "radiotherapy-image": ("481.1",),
    }.items()
    for suffix in suffixes
}
"""SOP classes that are sent without loss, and why."""

NEVER_TOUCHED = {_STORAGE + "77.1.6": "whole-slide"}
"""SOP classes that go on as they are, and why."""

ONLY_TRANSFORMED = {
    **{_STORAGE + suffix: "ultrasound-colour" for suffix in ("3", "3.1", "6", "6.1")},
    _STORAGE + "7.4": "true-color-capture",
}
"""SOP classes that know colour in JPEG 2000 as YBR_RCT and YBR_ICT only, and what it is called when a rule
does not want them (PS3.3, sections C.8.5.6.1.2 and A.8.5.4)."""
RGB = ("RGB", "YBR_RCT")
"""Photometric interpretations whose pixels are RGB once they are decoded."""

PHOTOMETRIC = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
}
"""What can be encoded, with its samples per pixel: what decoded frames are called."""

_SIGNATURES = (0xFFFAFFFA, 0x4FFE0001)


class Course(StrEnum):
    """What is done with an image."""

    ORIGINAL = "original"
    LOSSLESS = "lossless"
    LOSSY = "lossy"


@dataclass(frozen=True, slots=True)
class Decision:
    """The course and, when it is not what was asked for, the reason as a short stable word."""

    course: Course
    reason: str = ""


def untouchable(sop_class_uid: str, syntax: str, header: Attributes, tail: Attributes, pixel: Element) -> str:
    """Why a data set must go on as it is, or an empty string: what can be told without the pixel module.

    Whether compressed pixels can be read here is for the codecs to say.
    """
    if pixel.tag != PIXEL_DATA:
        return "float-pixels"
    if any(tag in header or tag in tail for tag in _SIGNATURES):
        return "digital-signature"
    if sop_class_uid in NEVER_TOUCHED:
        return NEVER_TOUCHED[sop_class_uid]
    if sop_class_uid not in MAY_BE_LOSSY and sop_class_uid not in NEVER_LOSSY:
        return "unknown-sop-class"
    if syntax in MAYBE_LOSSY:
        return "already-lossy"
    return "" if syntax in NATIVE or syntax in LOSSLESS_COMPRESSED else "transfer-syntax"


def unsuited(image: Image, sop_class_uid: str, takes: PixelRange, *, transform_colour: bool) -> str:
    """Why the pixels cannot be taken by the codec, which `takes` so much, or an empty string."""
    if image.allocated == 1 or image.stored == 1:
        return "one-bit"
    if image.allocated not in takes.allocated:
        return "bits-allocated"
    if PHOTOMETRIC.get(image.photometric) != image.samples:
        return "photometric"
    if image.photometric == "PALETTE COLOR" and image.signed:
        return "photometric"
    if image.photometric in RGB and not transform_colour:
        return ONLY_TRANSFORMED.get(sop_class_uid, "")
    return "" if takes.holds(image.format) else "pixel-format"


def decide(
    image: Image,
    sop_class_uid: str,
    syntax: str,
    target: str,
    *,
    lossy: bool,
    excluded: frozenset[str] = frozenset(),
) -> Decision:
    """The course for an image with pixels that the codec takes, from `syntax`.

    `target` is the syntax of the lossless course; `lossy` is what the rule asks for; `excluded` holds
    modalities and SOP class UIDs that the rule wants without loss.
    """
    attributes = image.attributes
    lossless = Decision(Course.LOSSLESS)
    if lossy:
        if attributes.text(tags.LOSSY_IMAGE_COMPRESSION) == "01":
            return Decision(Course.ORIGINAL, "already-lossy")
        reason = _never_lossy(image, sop_class_uid, excluded)
        if not reason:
            return Decision(Course.LOSSY)
        lossless = Decision(Course.LOSSLESS, reason)
    if syntax == target:
        return Decision(Course.ORIGINAL, lossless.reason or "already-compressed")
    return lossless


def _never_lossy(image: Image, sop_class_uid: str, excluded: frozenset[str]) -> str:
    attributes = image.attributes
    if sop_class_uid in excluded or attributes.text(tags.MODALITY) in excluded:
        return "excluded"
    if sop_class_uid in NEVER_LOSSY:
        return NEVER_LOSSY[sop_class_uid]
    if image.photometric == "PALETTE COLOR":
        return "palette"
    if attributes.text(tags.MULTIENERGY_CT_ACQUISITION) == "YES":
        return "multi-energy"
    # Its other members would refer to frames of another image (PS3.3 section C.7.6.16.2.2.4).
    return "concatenation" if tags.CONCATENATION_UID in attributes else ""
