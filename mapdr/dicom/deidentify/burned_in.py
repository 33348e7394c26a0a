"""Whether pixels may show who the patient is: by what the header says, for nobody reads them here.

PS3.15, section E.3.1; PS3.3, section C.7.6.1.1 (Burned In Annotation), C.8.6.1 (Conversion Type).
"""

from __future__ import annotations

from typing import NamedTuple

from mapdr.dicom.uids import ULTRASOUND_IMAGE_STORAGE

_SC = "1.2.840.10008.5.1.4.1.1.7"
_SOUND = frozenset(
    (
        "1.2.840.10008.5.1.4.1.1.9.4.1",  # Basic Voice Audio Waveform
        "1.2.840.10008.5.1.4.1.1.9.4.2",  # General Audio Waveform
    )
)
_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."
_CLASSES = frozenset(
    (
        "1.2.840.10008.5.1.4.1.1.3",  # Ultrasound Multi-frame, retired
        "1.2.840.10008.5.1.4.1.1.3.1",  # Ultrasound Multi-frame
        "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound, retired
        ULTRASOUND_IMAGE_STORAGE,
        "1.2.840.10008.5.1.4.1.1.6.2",  # Enhanced US Volume
    )
)
_VISIBLE_LIGHT = "1.2.840.10008.5.1.4.1.1.77.1."
_SLIDES = "1.2.840.10008.5.1.4.1.1.77.1.6"
"""Whole slide microscopy; its label is an image of its own."""
_MODALITIES = frozenset(("US", "IVUS", "OT", "XC", "SC", "ES", "HC", "DOC", "GM"))


class Facts(NamedTuple):
    """What a header says that bears on burned-in text; values without padding, in upper case."""

    sop_class_uid: str = ""
    burned_in_annotation: str = ""
    modality: str = ""
    image_type: tuple[str, ...] = ()
    conversion_type: str = ""
    has_pixels: bool = True
    overlay_in_pixels: bool = False
    """An overlay that is kept in unused bits of the pixel data (retired in PS3.5-2004)."""


def risk(facts: Facts) -> str:
    """Why the pixels, or what stands in their place, may identify the patient; empty if nothing says so."""
    if facts.sop_class_uid.startswith(_ENCAPSULATED):
        return "it is an encapsulated document, of which nothing can be cleaned"
    if facts.sop_class_uid in _SOUND:
        return "it is a recording of sound, in which somebody may say it"
    if not facts.has_pixels:
        return ""
    if facts.burned_in_annotation == "YES":
        return "Burned In Annotation is YES"
    if facts.overlay_in_pixels:
        return "an overlay is kept within the pixel data"
    if facts.burned_in_annotation == "NO":
        return ""
    kind = _kind(facts)
    return f"{kind}, and Burned In Annotation is not NO" if kind else ""


def _kind(facts: Facts) -> str:
    uid = facts.sop_class_uid
    if uid == _SC or uid.startswith(_SC + "."):
        return "it is a secondary capture image"
    if facts.conversion_type:
        return "it has a Conversion Type, as screenshots and digitized film have"
    if uid in _CLASSES or facts.modality in ("US", "IVUS"):
        return "it is an ultrasound image"
    if uid.startswith(_VISIBLE_LIGHT) and uid != _SLIDES:
        return "it is a photograph or an endoscopic image"
    if facts.modality in _MODALITIES:
        return "its modality often has text in its images"
    if any("SCREEN" in value or value == "LABEL" for value in facts.image_type):
        return "its Image Type says that it is a screenshot or a label"
    return ""
