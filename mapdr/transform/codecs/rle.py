"""The codec for RLE Lossless (PS3.5 annex G): it reads, and does not write."""

from __future__ import annotations

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import Decoder
from mapdr.transform.codecs import decode
from mapdr.transform.codecs.reading import reading_stage

STAGE = reading_stage(
    "rle", "DICOMRLE", (Decoder(decode.rle), {uid.RLE_LOSSLESS: "imagecodecs has no RLE encoder"})
)
