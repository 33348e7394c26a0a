"""The codec for JPEG, lossy and lossless (ISO/IEC 10918-1; PS3.5 section A.4.1): it only reads."""

from __future__ import annotations

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import Decoder
from mapdr.transform.codecs import decode, headers
from mapdr.transform.codecs.reading import UNWANTED, reading_stage

STAGE = reading_stage(
    "jpeg",
    "JPEG8",
    (
        Decoder(decode.jpeg, headers.jpeg, gives_rgb=True),
        dict.fromkeys(
            (
                uid.JPEG_BASELINE,
                uid.JPEG_EXTENDED,
                uid.JPEG_SPECTRAL_SELECTION,
                uid.JPEG_FULL_PROGRESSION,
            ),
            UNWANTED,
        ),
    ),
    (
        Decoder(decode.jpeg_lossless, headers.jpeg),
        dict.fromkeys((uid.JPEG_LOSSLESS, uid.JPEG_LOSSLESS_SV1), UNWANTED),
    ),
)
