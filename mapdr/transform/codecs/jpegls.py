"""The codec for JPEG-LS (ISO/IEC 14495-1; PS3.5 section A.4.3): it reads, and does not write."""

from __future__ import annotations

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import Decoder
from mapdr.transform.codecs import decode, headers
from mapdr.transform.codecs.reading import OLD, reading_stage

STAGE = reading_stage(
    "jpegls",
    "JPEGLS",
    (
        Decoder(decode.jpegls, headers.jpegls),
        dict.fromkeys((uid.JPEG_LS_LOSSLESS, uid.JPEG_LS_NEAR_LOSSLESS), OLD),
    ),
)
