"""Codecs: what turns pixels into codestreams and back. `table` says what this installation can do."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "1.2.840.10008.1.2."


@dataclass(frozen=True, slots=True)
class Ability:
    """One transfer syntax: whether it can be encoded and decoded here.

    `encode` and `decode` are empty when they work, else the reason after "unavailable, because".
    """

    uid: str
    name: str
    encode: str
    decode: str


_OLD = "the imagecodecs that Python 3.11 can have writes a wrong precision"
_UNWANTED = "it is not offered"
_ROWS = (
    # Transfer syntax, name, imagecodecs' class, why it is not encoded.
    ("5", "RLE Lossless", "DICOMRLE", "imagecodecs has no RLE encoder"),
    ("4.50", "JPEG Baseline", "JPEG8", _UNWANTED),
    ("4.51", "JPEG Extended", "JPEG8", _UNWANTED),
    ("4.53", "JPEG Spectral Selection", "JPEG8", _UNWANTED),
    ("4.55", "JPEG Full Progression", "JPEG8", _UNWANTED),
    ("4.57", "JPEG Lossless", "JPEG8", _UNWANTED),
    ("4.70", "JPEG Lossless SV1", "JPEG8", _UNWANTED),
    ("4.80", "JPEG-LS Lossless", "JPEGLS", _OLD),
    ("4.81", "JPEG-LS Near-Lossless", "JPEGLS", _OLD),
    ("4.90", "JPEG 2000 Lossless", "JPEG2K", ""),
    ("4.91", "JPEG 2000", "JPEG2K", ""),
    ("4.110", "JPEG XL Lossless", "JPEGXL", "imagecodecs' JPEG XL is unsigned only"),
    ("4.111", "JPEG XL JPEG Recompression", "JPEGXL", _UNWANTED),
    ("4.112", "JPEG XL", "JPEGXL", "imagecodecs' JPEG XL is unsigned only"),
    ("4.201", "High-Throughput JPEG 2000 Lossless", "JPEG2K", _OLD),
    ("4.202", "High-Throughput JPEG 2000 RPCL Lossless", "JPEG2K", _OLD),
    ("4.203", "High-Throughput JPEG 2000", "JPEG2K", _OLD),
)


def table() -> list[Ability]:
    """The encapsulated transfer syntaxes that MAPDR knows; video and all others are relayed as they are."""
    try:
        import imagecodecs
    except ImportError as error:
        reason = f"imagecodecs cannot be loaded ({type(error).__name__})"
        return [Ability(PREFIX + number, name, reason, reason) for number, name, _, _ in _ROWS]
    found = []
    for number, name, kind, why_not in _ROWS:
        missing = "" if getattr(imagecodecs, kind).available else "imagecodecs was built without it"
        found.append(Ability(PREFIX + number, name, missing or why_not, missing))
    return found
