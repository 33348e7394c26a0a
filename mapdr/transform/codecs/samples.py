"""A small frame in every compressed transfer syntax that MAPDR reads: what `mapdr selftest` decodes.

Encoded once, by imagecodecs 2026.3.6, and kept: a program that was frozen without encoders is tested with
them too, and a decoder is not judged by its own twin.
"""

from __future__ import annotations

from base64 import b64decode

import numpy as np

from mapdr.dicom import uids
from mapdr.kernel.codec import FrameFormat, Pixels

SIDE = 16
"""Rows and columns."""


def frame() -> Pixels:
    """The frame that was encoded: 12 bits in 16, and every bit of them used."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    found: Pixels = (((rows * SIDE + columns) * 13 + rows * columns % 7) % 4096).astype("<u2")
    return found


def form(allocated: int) -> FrameFormat:
    """What a data set says of it, with so many bits allocated: all 12 are stored in 16, the upper 8 in 8."""
    stored = min(allocated, 12)
    return FrameFormat(SIDE, SIDE, 1, allocated, stored, False, "MONOCHROME2")


_JPEG2000 = b64decode(
    "/0//UQApAAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABCwEB/1IADAAAAAEAAQQEAAH/XAAHQGBoaHD/ZAAl"
    "AAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAADRAAH/k9/hXBIrBRUgvGx9jEXxZg3BAFeb79a9"
    "ujTn5JjC5uWuS/TE3UZbGc5BO5iQHwGCymHd6lAKjHITIm15mT4zDmX1HGkqR6dxniUgQ0d3KiiQGy0REa9uPa2pDcAfOggf"
    "gSQAPhaAN+uar/CqP3vjqaUpnsuUL5xljz+MMv9TAcGuaWSLfH89pi8VW5RXfP4na24FTiC5KzHHieU6w3ltAhgVIgPSK9Om"
    "Sw8VtKwgTGK3IFCKOnIkxru+2LuuhErdfETWD//Z"
)
"""JPEG 2000 by OpenJPEG, reversible, 12 bits."""

_HTJ2K = b64decode(
    "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wA"
    "EyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAPsAAf+TwAAmE/gFB3QAAMAAEsAA"
    "E0AAEYDuAQd0ANr+Awd0AABjAMAAE8AAFTAABGACYeMAQrQAArAtALUBRrQAB7MAwAAVsAAFpQAAVYBIwFpYBEpDOLgFNpcA"
    "woAEiAYgWoBo0UBjAFj0lZgAIAoByiT1ANzptQDAAC6KAAF1sAALfNUERCZhGwAQ4RNCsEeAJxBEQQszCe8U0K+JVxNfKz19"
    "4QERIwhQNi4LFiYJ4IkgCmCK2sDTgFQ1AOhgBjAjgjGALHDxZboWVCr08puPVQGb5qhI5Ciloixa0qW1jTnv8u39Oobbqn6u"
    "8h/7pFEB/9k="
)
"""HTJ2K by OpenJPH, reversible."""

_JPEGLS = b64decode(
    "/9j/6AAgU1BJRkYAAgAAAQAAABAAAAAQChAGAQAAASwAAAEs/+gACAAAAAH/2P/3AAsQABAAEAEBEQD/+AANAf//ABIAQwEU"
    "AED/2gAIAQEAAAAAoMwZgzBeFYTgzBeFYTiMPhsLibQQcg1DELRSJQKHR0ZFRURCwctBFRUVFkSIsiRIjyI0eDlnpEiLIiyI"
    "siRFololhznKo6o6o46o6paJZYc5qqOOqOOOqOOqOOOOWghNDBiC0MMFoihhSEoxhKE1nolCEIQiUQhCEIRCDHMSlKUpblKU"
    "pS3EuWpSmaUzSlM0xMS5Tu/v7+7+/viXJI1Go3UajUbslyCrtV3artV3clzkamGQqZhUtMRDTMREXNREREREQ0kkiIU47bbY"
    "+22x4gD/2Q=="
)
"""JPEG-LS by CharLS, lossless."""

_JPEGXL = b64decode(
    "AAAADEpYTCANCocKAAAAFGZ0eXBqeGwgAAAAAGp4bCAAAAAJanhsbAoAAADhanhsY/8KQ/ADFC0CCAQBACwDSxLFggVSYEFl"
    "QRBFxthzYV+8Kt7FGGM7mnF9Aequq/q9rqo4lyq1OGHgsBdY7kEEkfVwQnUCykHSZe2DqmCqjCC4cYVpgChyhbz+AKL9bEcY"
    "NZpT9iufzWhihidRcCTwJ08VF0DJPgbABMBerM/K2tKJVjhWRBoKT3lbFwaJgKoTsGWr3MnZJypVVApWBjOMUhFVrjDMXwCe"
    "jtmWjx7M9/7kIxFh1NoS8cYOf8kzFg/QkRphanb8rVt8qt6fa/WNXsgbajYlMDBAmQA="
)
"""JPEG XL by libjxl, lossless."""

_JPEG_LOSSLESS = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALDAAQABABAREA/8QAGAABAQEBAQAAAAAAAAAAAAAABAUIAwz/2gAIAQEAAQAA8/8A"
    "ta1rWta1rWta3aDnOc53dznOc7u7aD3vQ96Hveh70P2hQoJoJoJoUE0E0E0NoUVUVUVKoqoqoqVR2hSWukta6S10lrXS2hTY"
    "xjGMpsYxjGU9oNa1rWta1rWta3aDnOc53dznOc7u7aD3vQ96Hveh70P2hQoJoJoJoUE0E0E0NoUVUVUVKoqoqoqVR2hSWukt"
    "a6S10lrXS2hTYxjGMpsYxjGU9oNa1rWta1rWta3aDnOc53dznOc7u7//2Q=="
)
"""JPEG by libjpeg-turbo, process 14, predictor 1, 12 bits."""

_JPEG_BASELINE = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsI"
    "CQoKCgoKBggLDAsKDAkKCgr/wAALCAAQABABAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgED"
    "AwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RF"
    "RkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJ"
    "ytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/APy/sf2EgP8AmDf+Q62rD9hIcf8AEm/8h1+w1h+wkO2j"
    "f+Q62rD9hLgf8Sb/AMh1/9k="
)
"""JPEG by libjpeg-turbo, 8 bits, quality 95: of FRAME >> 4, within 2."""

_JPEG_EXTENDED = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsI"
    "CQoKCgoKBggLDAsKDAkKCgr/wQALDAAQABABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAACQ3/xAAqEAABAgQFAAsAAAAAAAAA"
    "AAABAhEDBAgMAAYJEiETIiMpQUZRY3OB8P/aAAgBAQAAPwCYO0JWJjARAk+5yRu2J8iAkkj4+P300NCtiYS4TJQxo5o5KA4y"
    "ID4jl+jxYYKEbE0Al5MQ9HInqJfbkI+nL9lhoqFbE0QUSSU6OR2ugEjIRZnHtY//2Q=="
)
"""JPEG by libjpeg-turbo, 12 bits, quality 95: within 8."""

_RLE = b64decode(
    "AgAAAEAAAABCAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAH8AAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAEBAQEBAQEBAQEBAQEBAQEBAQEBAgICAgICAgICAgICAgICAgICAgMDAwMDAwMDAwMDAwMDAwMDAwMD"
    "BAQEBAQEBAQEBAQEBAQEBAQEBAQFBQUFBQUFBQUFBQUFBQUFBQUFBQYGBgYGBgYGBn8GBgYGBgYGBgYGBwcHBwcHBwcHBwcH"
    "BwcHBwcHBwcICAgICAgICAgICAgICAgICAgICQkJCQkJCQkJCQkJCQkJCQkJCQkKCgoKCgoKCgoKCgoKCgoKCgoKCgsLCwsL"
    "CwsLCwsLCwsLCwsLCwsLDAwMDAwMDAwMDAwMDAwMDAwMDH8ADRonNEFOW2h1go+cqbbD0N7s+ggWJCs5R1VjcX+GlKCvvs3V"
    "5PP7ChkoMD9OVmVwgJCZqbLCy9vr9AQNHSY2QFFbbHaHkZustsfR4uz2BxAiLThKVWBrfYiTpbC7xtjg8/8LFyMvO05aZnJ+"
    "ipapsL3K1+Tx/gsYJTI/TFlmc3+AjpyquMbU2+n3BRMhLzZEUF9ufYWUo6u6ydjg7/4GFSAwQElZYnJ7i5uktL3N1ubwAQsc"
    "JjdBS1xmd4GSnKa3wNLd6PoFEBstOENVYGt2iJCjr7vH09/r/goWIi46RllgbXqHlKGuu8jV4u/8CRYjMD5MWmh2hIuZp7XD"
    "0d/m9A=="
)
"""RLE Lossless, literal runs only."""

STREAMS = {
    uids.JPEG_BASELINE: (_JPEG_BASELINE, 8, 2),
    uids.JPEG_EXTENDED: (_JPEG_EXTENDED, 16, 8),
    uids.JPEG_SPECTRAL_SELECTION: (_JPEG_EXTENDED, 16, 8),
    uids.JPEG_FULL_PROGRESSION: (_JPEG_EXTENDED, 16, 8),
    uids.JPEG_LOSSLESS: (_JPEG_LOSSLESS, 16, 0),
    uids.JPEG_LOSSLESS_SV1: (_JPEG_LOSSLESS, 16, 0),
    uids.JPEG_LS_LOSSLESS: (_JPEGLS, 16, 0),
    uids.JPEG_LS_NEAR_LOSSLESS: (_JPEGLS, 16, 0),
    uids.JPEG2000_LOSSLESS: (_JPEG2000, 16, 0),
    uids.JPEG2000: (_JPEG2000, 16, 0),
    uids.HTJ2K_LOSSLESS: (_HTJ2K, 16, 0),
    uids.HTJ2K_LOSSLESS_RPCL: (_HTJ2K, 16, 0),
    uids.HTJ2K: (_HTJ2K, 16, 0),
    uids.JPEG_XL_LOSSLESS: (_JPEGXL, 16, 0),
    uids.JPEG_XL_JPEG_RECOMPRESSION: (_JPEGXL, 16, 0),
    uids.JPEG_XL: (_JPEGXL, 16, 0),
    uids.RLE_LOSSLESS: (_RLE, 16, 0),
}
"""Transfer syntax UID -> a codestream that its decoder reads, the bits allocated of its frame, and by how
much values may differ from `frame`. Syntaxes that one decoder reads share one."""
