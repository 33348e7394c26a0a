"""The names of `compress.to`: what each is called and which transfer syntaxes it writes (PS3.5 section 10).

What an installation can write of them is for its codecs to say (`mapdr.transform.codecs.table`); the methods
of plug-ins are made from theirs (`mapdr.transform.encode.named`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mapdr.dicom import uids
from mapdr.dicom.transfer_syntax import BY_UID

_WAVELET = frozenset(
    (uids.JPEG2000_LOSSLESS, uids.JPEG2000, uids.HTJ2K_LOSSLESS, uids.HTJ2K_LOSSLESS_RPCL, uids.HTJ2K)
)

Way = Literal["codec", "data-set", "jpeg"]
"""How a method works: frame by frame with a codec, on the data set's bytes, or on the streams of a JPEG."""


@dataclass(frozen=True, slots=True)
class Method:
    """One name of `compress.to`.

    `lossless` and `lossy` are the transfer syntaxes of what is written without and with loss; `lossy` is
    empty for a method that loses nothing, `lossless` for a plug-in's that always loses something. `codec` is
    the name of the plug-in that writes them; empty where it is whichever codec comes first.
    """

    name: str
    title: str
    lossless: str
    lossy: str = ""
    way: Way = "codec"
    codec: str = ""

    @property
    def is_wavelet(self) -> bool:
        """Whether it is of the JPEG 2000 family, whose colour may be transformed (YBR_RCT, YBR_ICT)."""
        return self.lossless in _WAVELET or self.lossy in _WAVELET

    @property
    def both(self) -> bool:
        """Whether its lossy syntax may hold what was written without loss too (PS3.5 sections A.4.3,
        A.4.4, 10.18, 10.19)."""
        known = BY_UID.get(self.lossy)  # of a private one nothing is known
        return known is not None and known.loss == "possible"


METHODS = {
    method.name: method
    for method in (
        Method("jpeg2000", "JPEG 2000", uids.JPEG2000_LOSSLESS, uids.JPEG2000),
        Method("jpeg2000-lossless", "JPEG 2000", uids.JPEG2000_LOSSLESS),
        Method("htj2k", "HTJ2K", uids.HTJ2K_LOSSLESS, uids.HTJ2K),
        Method("htj2k-lossless", "HTJ2K", uids.HTJ2K_LOSSLESS),
        Method("jpegls", "JPEG-LS", uids.JPEG_LS_LOSSLESS),
        Method("jpegls-near", "JPEG-LS", uids.JPEG_LS_LOSSLESS, uids.JPEG_LS_NEAR_LOSSLESS),
        Method("jpeg-lossless", "JPEG Lossless", uids.JPEG_LOSSLESS_SV1),
        Method("jpeg", "JPEG Baseline", uids.JPEG_LOSSLESS_SV1, uids.JPEG_BASELINE),
        Method("jpeg-extended", "JPEG Extended", uids.JPEG_LOSSLESS_SV1, uids.JPEG_EXTENDED),
        Method("jpegxl", "JPEG XL", uids.JPEG_XL_LOSSLESS, uids.JPEG_XL),
        Method("jpegxl-lossless", "JPEG XL", uids.JPEG_XL_LOSSLESS),
        Method("jpegxl-recompress", "JPEG XL recompression", uids.JPEG_XL_JPEG_RECOMPRESSION, way="jpeg"),
        Method("rle", "RLE", uids.RLE_LOSSLESS),
        Method("deflated", "deflate", uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, way="data-set"),
        Method("native", "no compression", uids.EXPLICIT_VR_LITTLE_ENDIAN, way="data-set"),
    )
}
"""By name, in the order in which they are told."""

AUTO = "auto"
"""The name that stands for AUTO_METHODS."""

AUTO_METHODS = tuple(METHODS[name] for name in ("htj2k", "jpeg2000", "jpeg", "jpegls-near"))
"""What "auto" chooses among, the best first. HTJ2K encodes fastest; JPEG 2000 is the lossy method that most
receivers take; JPEG is for colours that its receivers expect so, and comes before JPEG-LS, of whose images
more structure is lost at the ratios that rules ask for (8-bit ultrasound at 10:1: SSIM)."""

Name = Literal[
    "auto",
    "jpeg2000",
    "jpeg2000-lossless",
    "htj2k",
    "htj2k-lossless",
    "jpegls",
    "jpegls-near",
    "jpeg-lossless",
    "jpeg",
    "jpeg-extended",
    "jpegxl",
    "jpegxl-lossless",
    "jpegxl-recompress",
    "rle",
    "deflated",
    "native",
]
"""The names as a type, for configurations; a test compares it with `METHODS`."""
