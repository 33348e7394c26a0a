"""The codec for JPEG XL (ISO/IEC 18181-1; PS3.5 section A.4.12): it reads, and does not write."""

from __future__ import annotations

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import Decoder
from mapdr.transform.codecs import decode, headers
from mapdr.transform.codecs.reading import UNWANTED, reading_stage

_UNSIGNED = "imagecodecs' JPEG XL is unsigned only"

STAGE = reading_stage(
    "jpegxl",
    "JPEGXL",
    (Decoder(decode.jpegxl, headers.jpegxl), {uid.JPEG_XL_LOSSLESS: _UNSIGNED}),
    (
        # libjxl gives RGB of what was coded with loss: of a packed JPEG in YBR_FULL_422 too.
        Decoder(decode.jpegxl, headers.jpegxl, gives_rgb=True),
        {uid.JPEG_XL_JPEG_RECOMPRESSION: UNWANTED, uid.JPEG_XL: _UNSIGNED},
    ),
)
