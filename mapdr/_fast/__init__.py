"""The hot paths: each has a plain Python twin (`_*_py.py`), which is the reference and the documentation.

The compiled twins are used where all of them were built. MAPDR_NO_EXTENSIONS=1 leaves them aside;
MAPDR_REQUIRE_EXTENSIONS=1 makes a missing one an error. `BACKENDS` says which are in use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mapdr._fast._scan_py import items, unreadable

if TYPE_CHECKING or os.environ.get("MAPDR_NO_EXTENSIONS"):
    from mapdr._fast._command_py import command_elements
    from mapdr._fast._jpeg_lossless_py import encode as jpeg_lossless_encode
    from mapdr._fast._jpeg_scan_py import scan_end as jpeg_scan_end
    from mapdr._fast._pdata_py import Channel
    from mapdr._fast._pixels_py import (
        detail_bits,
        detail_level,
        details,
        differences,
        padding_gap,
        whole_pixels,
        ybr_to_rgb,
    )
    from mapdr._fast._receive_run_py import RunQueue, RunReceiver
    from mapdr._fast._rewrite_py import assemble, locate
    from mapdr._fast._rle_py import encode as rle_encode
    from mapdr._fast._scan_py import collect, elements, walk
    from mapdr._fast._send_run_py import send_run
else:
    try:
        from mapdr._fast._command import command_elements
        from mapdr._fast._jpeg_lossless import encode as jpeg_lossless_encode
        from mapdr._fast._jpeg_scan import scan_end as jpeg_scan_end
        from mapdr._fast._pdata import Channel
        from mapdr._fast._pixels import (
            detail_bits,
            detail_level,
            details,
            differences,
            padding_gap,
            whole_pixels,
            ybr_to_rgb,
        )
        from mapdr._fast._receive_run import RunQueue, RunReceiver
        from mapdr._fast._rewrite import assemble, locate
        from mapdr._fast._rle import encode as rle_encode
        from mapdr._fast._scan import collect, elements, walk
        from mapdr._fast._send_run import send_run
    except ModuleNotFoundError as error:
        # Only "there is no such extension" may fall back; a broken one must not pass unseen.
        missing = (error.name or "").startswith(f"{__name__}._")
        if not missing or os.environ.get("MAPDR_REQUIRE_EXTENSIONS"):
            raise
        from mapdr._fast._command_py import command_elements
        from mapdr._fast._jpeg_lossless_py import encode as jpeg_lossless_encode
        from mapdr._fast._jpeg_scan_py import scan_end as jpeg_scan_end
        from mapdr._fast._pdata_py import Channel
        from mapdr._fast._pixels_py import (
            detail_bits,
            detail_level,
            details,
            differences,
            padding_gap,
            whole_pixels,
            ybr_to_rgb,
        )
        from mapdr._fast._receive_run_py import RunQueue, RunReceiver
        from mapdr._fast._rewrite_py import assemble, locate
        from mapdr._fast._rle_py import encode as rle_encode
        from mapdr._fast._scan_py import collect, elements, walk
        from mapdr._fast._send_run_py import send_run

BACKENDS = {
    name: "python" if path.__module__.endswith("_py") else "cython"
    for name, path in (
        ("P-DATA", Channel),
        ("command sets", command_elements),
        ("header scan", walk),
        ("header rewrite", locate),
        ("C-STORE runs in", RunReceiver),
        ("C-STORE runs out", send_run),
        ("RLE", rle_encode),
        ("JPEG lossless", jpeg_lossless_encode),
        ("JPEG scans", jpeg_scan_end),
        ("pixels", differences),
    )
}
"""Hot path to the twin in use."""

BACKEND = "cython" if set(BACKENDS.values()) == {"cython"} else "python"
"""What is in use as a whole: "cython" only if every hot path is."""

__all__ = [
    "BACKEND",
    "BACKENDS",
    "Channel",
    "RunQueue",
    "RunReceiver",
    "assemble",
    "collect",
    "command_elements",
    "detail_bits",
    "detail_level",
    "details",
    "differences",
    "elements",
    "items",
    "jpeg_lossless_encode",
    "jpeg_scan_end",
    "locate",
    "padding_gap",
    "rle_encode",
    "send_run",
    "unreadable",
    "walk",
    "whole_pixels",
    "ybr_to_rgb",
]
