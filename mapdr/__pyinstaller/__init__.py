"""How PyInstaller freezes MAPDR: its hooks find this folder by the entry point `pyinstaller40`.

They name what is loaded by name at run time, which PyInstaller cannot see: stages, commands, the page, and
the extensions of imagecodecs.
"""

from __future__ import annotations

from pathlib import Path

CODECS = ("_htj2k", "_imcd", "_jpeg2k", "_jpeg8", "_jpegls", "_jpegxl", "_ljpeg", "_shared", "_shared_cython")
"""The modules of imagecodecs that `mapdr.transform.codecs` uses, and what these import: 8 of about 60."""


def hook_dirs() -> list[str]:
    """The folders of hooks, as PyInstaller asks for them."""
    return [str(Path(__file__).parent)]
