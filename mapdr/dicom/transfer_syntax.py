"""Every transfer syntax that MAPDR knows something of: the one table, and the sets that follow from it.

What is not in the table (video, private syntaxes) is explicit VR little endian with pixel data that is
relayed as it came. Which codec reads or writes the pixels of which syntax: `mapdr.transform.codecs.table`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from mapdr.dicom import uids

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


TRANSFER_SYNTAXES = (
    TransferSyntax(uids.IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian", "native", implicit=True),
    TransferSyntax(uids.EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian", "native"),
    TransferSyntax(uids.EXPLICIT_VR_BIG_ENDIAN, "Explicit VR Big Endian", "native", big_endian=True),
    TransferSyntax(
        uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "Deflated Explicit VR Little Endian", "native", deflated=True
    ),
    # The data set is implicit VR little endian, the pixel cells are big endian.
    TransferSyntax(uids.GE_IMPLICIT_VR_BIG_ENDIAN_PIXELS, "GE Private Implicit VR", "other", implicit=True),
    TransferSyntax(uids.RLE_LOSSLESS, "RLE Lossless"),
    TransferSyntax(uids.JPEG_BASELINE, "JPEG Baseline", loss="always"),
    TransferSyntax(uids.JPEG_EXTENDED, "JPEG Extended", loss="always"),
    TransferSyntax(uids.JPEG_SPECTRAL_SELECTION, "JPEG Spectral Selection", loss="always"),
    TransferSyntax(uids.JPEG_FULL_PROGRESSION, "JPEG Full Progression", loss="always"),
    TransferSyntax(uids.JPEG_LOSSLESS, "JPEG Lossless"),
    TransferSyntax(uids.JPEG_LOSSLESS_SV1, "JPEG Lossless SV1"),
    TransferSyntax(uids.JPEG_LS_LOSSLESS, "JPEG-LS Lossless"),
    TransferSyntax(uids.JPEG_LS_NEAR_LOSSLESS, "JPEG-LS Near-Lossless", loss="possible"),
    TransferSyntax(uids.JPEG2000_LOSSLESS, "JPEG 2000 Lossless"),
    TransferSyntax(uids.JPEG2000, "JPEG 2000", loss="possible"),
    TransferSyntax(uids.JPIP_REFERENCED, "JPIP Referenced", "other", "possible"),
    TransferSyntax(
        uids.JPIP_REFERENCED_DEFLATE, "JPIP Referenced Deflate", "other", "possible", deflated=True
    ),
    TransferSyntax(uids.JPEG_XL_LOSSLESS, "JPEG XL Lossless"),
    # A JPEG that was lossy before it was packed again.
    TransferSyntax(uids.JPEG_XL_JPEG_RECOMPRESSION, "JPEG XL JPEG Recompression", loss="possible"),
    TransferSyntax(uids.JPEG_XL, "JPEG XL", loss="possible"),
    TransferSyntax(uids.HTJ2K_LOSSLESS, "High-Throughput JPEG 2000 Lossless"),
    TransferSyntax(uids.HTJ2K_LOSSLESS_RPCL, "High-Throughput JPEG 2000 RPCL Lossless"),
    TransferSyntax(uids.HTJ2K, "High-Throughput JPEG 2000", loss="possible"),
    TransferSyntax(uids.JPIP_HTJ2K_REFERENCED, "JPIP HTJ2K Referenced", "other", "possible"),
    TransferSyntax(
        uids.JPIP_HTJ2K_REFERENCED_DEFLATE,
        "JPIP HTJ2K Referenced Deflate",
        "other",
        "possible",
        deflated=True,
    ),
    TransferSyntax(uids.DEFLATED_IMAGE_FRAME, "Deflated Image Frame Compression"),
)

BY_UID = {syntax.uid: syntax for syntax in TRANSFER_SYNTAXES}

IMPLICIT = frozenset(syntax.uid for syntax in TRANSFER_SYNTAXES if syntax.implicit)
"""Data sets in implicit VR."""
BIG_ENDIAN_SYNTAXES = frozenset(syntax.uid for syntax in TRANSFER_SYNTAXES if syntax.big_endian)
"""Data sets in big endian."""
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
