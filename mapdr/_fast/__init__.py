"""The hot paths: each has a plain Python twin (`_*_py.py`), which is the reference and the documentation.

A compiled twin is used where it was built. MAPDR_NO_EXTENSIONS=1 leaves them aside;
MAPDR_REQUIRE_EXTENSIONS=1 makes a missing one an error. `BACKENDS` says which is in use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mapdr._fast._scan_py import elements

if TYPE_CHECKING or os.environ.get("MAPDR_NO_EXTENSIONS"):
    from mapdr._fast._pdata_py import Channel
    from mapdr._fast._scan_py import collect, walk
else:
    try:
        from mapdr._fast._pdata import Channel
        from mapdr._fast._scan import collect, walk
    except ModuleNotFoundError as error:
        # Only "there is no such extension" may fall back; a broken one must not pass unseen.
        missing = error.name in (f"{__name__}._pdata", f"{__name__}._scan")
        if not missing or os.environ.get("MAPDR_REQUIRE_EXTENSIONS"):
            raise
        from mapdr._fast._pdata_py import Channel
        from mapdr._fast._scan_py import collect, walk

BACKENDS = {
    "P-DATA": "python" if Channel.__module__.endswith("_py") else "cython",
    "header scan": "python" if walk.__module__.endswith("_py") else "cython",
}
"""Hot path to the twin in use."""

BACKEND = "cython" if set(BACKENDS.values()) == {"cython"} else "python"
"""What is in use as a whole: "cython" only if every hot path is."""

__all__ = ["BACKEND", "BACKENDS", "Channel", "collect", "elements", "walk"]
