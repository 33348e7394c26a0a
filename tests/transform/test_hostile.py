"""Hostile codestreams through a rule that compresses: parked by their headers, before memory is taken."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate

from .helpers import encoded
from .helpers import image as data_set
from .test_headers import ENCODERS, SMALL, enlarged
from .test_memory import MB, taken

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell of memory")

SYNTAXES = ("4.50", "4.57", "4.80", "4.90", "4.201", "4.110", "5")
EACH = [pytest.param(each, marks=[] if each == "4.90" else pytest.mark.long) for each in SYNTAXES]
"""One in the suite: each starts three processes. All of them by `make codecs`."""
SIDE = 60000
SHORT_HEADERS = {"4.110": 2000}
"""A JPEG XL packs its size in bits: one is encoded of a size that still would show."""


def stream_of(syntax: str, *, large: bool) -> bytes:
    """A codestream of 16 x 16 pixels, or one whose header says far more; an RLE says no size."""
    return enlarged(syntax, SHORT_HEADERS.get(syntax, SIDE)) if large else bytes(ENCODERS[syntax](SMALL))


def compressed(syntax: str, stream: bytes, path: Path, side: int = 16) -> dict[str, object]:
    """What became of an image of one frame that says to be `side` squared, in a process of its own."""
    source = data_set(np.zeros((16, 16), "u1"), allocated=8, stored=8)
    source.Rows = source.Columns = side
    source.PixelData = encapsulate([stream])
    source["PixelData"].VR = "OB"
    source["PixelData"].is_undefined_length = True
    full = f"1.2.840.10008.1.2.{syntax}"
    path.write_bytes(encoded(source, full))
    return taken(path, full, "implicit", 512 * MB)


@pytest.mark.parametrize("syntax", EACH)
def test_a_frame_of_60000_by_60000_parks_and_takes_nothing(syntax: str, tmp_path: Path) -> None:
    """Where the data set says the size too, where the stream alone does, and one that is as it should be."""
    usual = compressed(syntax, stream_of(syntax, large=False), tmp_path / "usual")
    assert "reason" not in usual, usual
    huge = compressed(syntax, stream_of(syntax, large=syntax != "5"), tmp_path / "huge", SIDE)
    cases = [(huge, ("memory", "codec", "codec-mismatch"))]
    if syntax != "5":
        lie = compressed(syntax, stream_of(syntax, large=True), tmp_path / "lie")
        cases.append((lie, ("codec-mismatch",)))
    for said, reasons in cases:
        assert said["reason"] in reasons, said
        assert said["left"] == 0
        assert said["took"] < usual["took"] + 40 * MB
        assert said["decoder"] < usual["decoder"] + 40 * MB
