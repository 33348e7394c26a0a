"""The hot paths: each has a plain Python twin (`_*_py.py`), which is the reference and the documentation."""

from mapdr._fast._pdata_py import Channel
from mapdr._fast._scan_py import elements, walk

__all__ = ["Channel", "elements", "walk"]
