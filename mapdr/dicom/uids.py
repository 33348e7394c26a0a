"""Unique identifiers (PS3.5, section 9): the registered ones that MAPDR names, checked ones, derived ones.

Every UID that the package uses stands here once (those that the wire needs in `mapdr.kernel.uids`), under
its name in PS3.6, annex A. What a transfer syntax is (lossy, encapsulated) stands in
`mapdr.dicom.transfer_syntax`.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from mapdr.kernel import uids as protocol

# Transfer syntaxes.
IMPLICIT_VR_LITTLE_ENDIAN = protocol.IMPLICIT_VR_LITTLE_ENDIAN
EXPLICIT_VR_LITTLE_ENDIAN = protocol.EXPLICIT_VR_LITTLE_ENDIAN
EXPLICIT_VR_BIG_ENDIAN = protocol.EXPLICIT_VR_BIG_ENDIAN
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
GE_IMPLICIT_VR_BIG_ENDIAN_PIXELS = "1.2.840.113619.5.2"
"""GE's private syntax: the data set in implicit VR little endian, the pixel data in big endian."""
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_SPECTRAL_SELECTION = "1.2.840.10008.1.2.4.53"
"""Spectral Selection, Non-Hierarchical (processes 6 and 8), retired."""
JPEG_FULL_PROGRESSION = "1.2.840.10008.1.2.4.55"
"""Full Progression, Non-Hierarchical (processes 10 and 12), retired."""
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
JPEG2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG2000 = "1.2.840.10008.1.2.4.91"
JPIP_REFERENCED = "1.2.840.10008.1.2.4.94"
JPIP_REFERENCED_DEFLATE = "1.2.840.10008.1.2.4.95"
JPEG_XL_LOSSLESS = "1.2.840.10008.1.2.4.110"
JPEG_XL_JPEG_RECOMPRESSION = "1.2.840.10008.1.2.4.111"
JPEG_XL = "1.2.840.10008.1.2.4.112"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"
JPIP_HTJ2K_REFERENCED = "1.2.840.10008.1.2.4.204"
JPIP_HTJ2K_REFERENCED_DEFLATE = "1.2.840.10008.1.2.4.205"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"

# SOP classes.
VERIFICATION = protocol.VERIFICATION
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
ULTRASOUND_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.6.1"

_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")


def is_valid_uid(text: str) -> bool:
    """Whether `text` is a UID: at most 64 digits and dots, no component with a leading zero."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def derived_uid(site_key: bytes, original_uid: str, content_digest: bytes) -> str:
    """The UID of an image derived from `original_uid` whose pixel data has `content_digest`.

    The same input gives the same UID, other pixels another, and nobody without the site key (1 to 64
    bytes) can tell which original it came from. The keyed BLAKE2b hash is made a UUID of version 8 (RFC
    9562) under the root 2.25 (PS3.5, B.2). Raises ValueError for an empty or longer key.
    """
    if not 1 <= len(site_key) <= 64:
        raise ValueError("a site key has 1 to 64 bytes")
    message = original_uid.encode("ascii", "replace") + b"\0" + content_digest
    number = int.from_bytes(
        blake2b(message, digest_size=16, key=site_key, person=b"mapdr uid").digest(), "big"
    )
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return f"2.25.{number}"
