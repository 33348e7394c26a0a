"""Which SOP classes are compressed how: what is never lossy, and what is never touched.

The grounds: PS3.5 section A.4 (what may be encapsulated), PS3.3 sections C.7.6.1.1.5 and C.8.20.2.2, and
the practice that measurements are made on SUV, dose, label and quantitative images. A SOP class that is not
in the tables goes on unchanged. What follows for an image is for `mapdr.transform.encode.plan` to say.
"""

from __future__ import annotations

from mapdr.dicom import uids

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

YBR = ("YBR_FULL", "YBR_PARTIAL")
"""How photometric interpretations begin whose pixels are luminance and chrominance once they are decoded."""

PHOTOMETRIC = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
}
"""What can be encoded, with its samples per pixel: what decoded frames are called."""

WITH_YBR_FULL = frozenset(
    (
        uids.JPEG_LOSSLESS,
        uids.JPEG_LOSSLESS_SV1,
        uids.JPEG_LS_LOSSLESS,
        uids.JPEG_LS_NEAR_LOSSLESS,
        uids.JPEG2000_LOSSLESS,
        uids.JPEG2000,
        uids.HTJ2K_LOSSLESS,
        uids.HTJ2K_LOSSLESS_RPCL,
        uids.HTJ2K,
        uids.RLE_LOSSLESS,
    )
)
"""Transfer syntaxes that know YBR_FULL, its components encoded as they are (PS3.5, 8.2.1 to 8.2.4)."""

SIGNATURES = (0xFFFAFFFA, 0x4FFE0001)
"""Digital Signatures Sequence and MAC Parameters Sequence: another encoding of pixels would break them."""

LIFTABLE = (
    "already-lossy",
    *dict.fromkeys(NEVER_LOSSY.values()),
    "multi-energy",
    *NEVER_TOUCHED.values(),
    "unknown-sop-class",
)
"""The reasons that a rule may override (`allow`). Not palettes, for an index is no brightness and PS3.5
section 8.2 knows them in lossless syntaxes alone; not members of a concatenation, which must stay one."""

LIFTED = {"quantitative": ("nuclear", "parametric", "dose", "multi-energy", "radiotherapy-image")}
"""Words for several of them at once."""
