"""Every transfer syntax that MAPDR knows something of: the one table, and the sets that follow from it.

What is not in the table (video, private syntaxes) is explicit VR little endian with pixel data that is
relayed as it came. Which codec reads or writes the pixels of which syntax: `mapdr.transform.codecs.table`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

PixelCoding = Literal["native", "encapsulated", "other"]
"""How Pixel Data is written: cells, codestreams in fragments (PS3.5 section A.4), or as only a relay is right
for (elsewhere and referred to, or against the standard)."""

Loss = Literal["none", "possible", "always"]
"""Whether pixels in a transfer syntax have lost something: it cannot, it may have, it always has."""


class TransferSyntax(NamedTuple):
    """One transfer syntax (PS3.5 section 10, PS3.6 annex A)."""

    uid: str
    name: str
    pixels: PixelCoding = "encapsulated"
    loss: Loss = "none"
    implicit: bool = False
    big_endian: bool = False
    deflated: bool = False
    """The whole data set is deflated (PS3.5 section A.5)."""


IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_JPEG = "1.2.840.10008.1.2.4."
JPEG_BASELINE = _JPEG + "50"
JPEG_EXTENDED = _JPEG + "51"
JPEG_SPECTRAL_SELECTION = _JPEG + "53"
JPEG_FULL_PROGRESSION = _JPEG + "55"
JPEG_LOSSLESS = _JPEG + "57"
JPEG_LOSSLESS_SV1 = _JPEG + "70"
JPEG_LS_LOSSLESS = _JPEG + "80"
JPEG_LS_NEAR_LOSSLESS = _JPEG + "81"
JPEG_2000_LOSSLESS = _JPEG + "90"
JPEG_2000 = _JPEG + "91"
JPIP_REFERENCED = _JPEG + "94"
JPIP_REFERENCED_DEFLATE = _JPEG + "95"
JPEG_XL_LOSSLESS = _JPEG + "110"
JPEG_XL_RECOMPRESSION = _JPEG + "111"
JPEG_XL = _JPEG + "112"
HTJ2K_LOSSLESS = _JPEG + "201"
HTJ2K_LOSSLESS_RPCL = _JPEG + "202"
HTJ2K = _JPEG + "203"
JPIP_HTJ2K_REFERENCED = _JPEG + "204"
JPIP_HTJ2K_REFERENCED_DEFLATE = _JPEG + "205"
GE_PRIVATE_IMPLICIT = "1.2.840.113619.5.2"

TRANSFER_SYNTAXES = (
    TransferSyntax(IMPLICIT_LITTLE_ENDIAN, "Implicit VR Little Endian", "native", implicit=True),
    TransferSyntax(EXPLICIT_LITTLE_ENDIAN, "Explicit VR Little Endian", "native"),
    TransferSyntax(EXPLICIT_BIG_ENDIAN, "Explicit VR Big Endian", "native", big_endian=True),
    TransferSyntax(
        DEFLATED_EXPLICIT_LITTLE_ENDIAN, "Deflated Explicit VR Little Endian", "native", deflated=True
    ),
    # The data set is implicit VR little endian, the pixel cells are big endian.
    TransferSyntax(GE_PRIVATE_IMPLICIT, "GE Private Implicit VR", "other", implicit=True),
    TransferSyntax(RLE_LOSSLESS, "RLE Lossless"),
    TransferSyntax(JPEG_BASELINE, "JPEG Baseline", loss="always"),
    TransferSyntax(JPEG_EXTENDED, "JPEG Extended", loss="always"),
    TransferSyntax(JPEG_SPECTRAL_SELECTION, "JPEG Spectral Selection", loss="always"),
    TransferSyntax(JPEG_FULL_PROGRESSION, "JPEG Full Progression", loss="always"),
    TransferSyntax(JPEG_LOSSLESS, "JPEG Lossless"),
    TransferSyntax(JPEG_LOSSLESS_SV1, "JPEG Lossless SV1"),
    TransferSyntax(JPEG_LS_LOSSLESS, "JPEG-LS Lossless"),
    TransferSyntax(JPEG_LS_NEAR_LOSSLESS, "JPEG-LS Near-Lossless", loss="possible"),
    TransferSyntax(JPEG_2000_LOSSLESS, "JPEG 2000 Lossless"),
    TransferSyntax(JPEG_2000, "JPEG 2000", loss="possible"),
    TransferSyntax(JPIP_REFERENCED, "JPIP Referenced", "other", "possible"),
    TransferSyntax(JPIP_REFERENCED_DEFLATE, "JPIP Referenced Deflate", "other", "possible", deflated=True),
    TransferSyntax(JPEG_XL_LOSSLESS, "JPEG XL Lossless"),
    # A JPEG that was lossy before it was packed again.
    TransferSyntax(JPEG_XL_RECOMPRESSION, "JPEG XL JPEG Recompression", loss="possible"),
    TransferSyntax(JPEG_XL, "JPEG XL", loss="possible"),
    TransferSyntax(HTJ2K_LOSSLESS, "High-Throughput JPEG 2000 Lossless"),
    TransferSyntax(HTJ2K_LOSSLESS_RPCL, "High-Throughput JPEG 2000 RPCL Lossless"),
    TransferSyntax(HTJ2K, "High-Throughput JPEG 2000", loss="possible"),
    TransferSyntax(JPIP_HTJ2K_REFERENCED, "JPIP HTJ2K Referenced", "other", "possible"),
    TransferSyntax(
        JPIP_HTJ2K_REFERENCED_DEFLATE, "JPIP HTJ2K Referenced Deflate", "other", "possible", deflated=True
    ),
    TransferSyntax(DEFLATED_FRAMES, "Deflated Image Frame Compression"),
)

BY_UID = {syntax.uid: syntax for syntax in TRANSFER_SYNTAXES}

IMPLICIT = frozenset(syntax.uid for syntax in TRANSFER_SYNTAXES if syntax.implicit)
"""Data sets in implicit VR."""
DEFLATED = frozenset(syntax.uid for syntax in TRANSFER_SYNTAXES if syntax.deflated)
"""Data sets that are deflated whole."""
NATIVE = frozenset(syntax.uid for syntax in TRANSFER_SYNTAXES if syntax.pixels == "native")
"""Pixel data is cells, of one known length and byte order."""
LOSSLESS_COMPRESSED = frozenset(
    syntax.uid for syntax in TRANSFER_SYNTAXES if syntax.pixels == "encapsulated" and syntax.loss == "none"
)
"""Encapsulated, and cannot have lost anything."""
MAYBE_LOSSY = frozenset(
    syntax.uid for syntax in TRANSFER_SYNTAXES if syntax.pixels == "encapsulated" and syntax.loss != "none"
)
"""Encapsulated, and may have lost something: compressing again loses more."""
ALWAYS_LOSSY = frozenset(syntax.uid for syntax in TRANSFER_SYNTAXES if syntax.loss == "always")


def is_deflated(transfer_syntax_uid: str) -> bool:
    """Whether the whole data set is deflated (PS3.5 section A.5)."""
    return transfer_syntax_uid in DEFLATED


def name_of(transfer_syntax_uid: str) -> str:
    """The syntax's name, or its UID where it is not known."""
    known = BY_UID.get(transfer_syntax_uid)
    return known.name if known else transfer_syntax_uid
