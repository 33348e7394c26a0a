"""What DCMTK, GDCM and pydicom read of files; many files in few processes."""

from __future__ import annotations

import re
import struct
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path

import pydicom

LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
SHORT = "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # noqa: SIM905  reads as a list
UNDEFINED = 0xFFFFFFFF
LAST = (0x00880140, 0x7FE00010)
"""What must be found in every file: the element behind the odd ones, and the pixels."""


def dcmtk_reads(paths: Sequence[Path]) -> list[bool]:
    """Whether dcmdump reads each file to its end; one process for all."""
    options = ["+F", *(word for tag in LAST for word in ("+P", f"{tag >> 16:04x},{tag & 0xFFFF:04x}"))]
    command = ["dcmdump", *options, *map(str, paths)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", timeout=120)
    parts = re.split(r"^# dcmdump \(\d+/\d+\): .*$", done.stdout, flags=re.MULTILINE)[1:]
    assert len(parts) == len(paths)
    failed = set(re.findall(r"reading file: (.*)$", done.stderr, flags=re.MULTILINE))
    found = []
    for part, path in zip(parts, paths, strict=True):
        found.append(_has_last(part) and str(path) not in failed and f"error: {path}" not in done.stderr)
    return found


def gdcm_reads(paths: Sequence[Path]) -> list[bool]:
    """Whether gdcmdump reads each file: all of a folder in one process, one by one if that fails."""
    folder = paths[0].parent
    if len(paths) > 1 and set(folder.iterdir()) == set(paths):
        dumps = _gdcmdump(folder).split("# Dicom-File-Format")[1:]
        if len(dumps) == len(paths) and all(map(_has_last, dumps)):
            return [True] * len(paths)
    return [_has_last(_gdcmdump(path)) for path in paths]


def _gdcmdump(path: Path) -> str:
    """What gdcmdump prints; nothing if it fails."""
    done = subprocess.run(
        ["gdcmdump", str(path)], check=False, capture_output=True, text=True, errors="replace", timeout=120
    )
    return done.stdout if done.returncode == 0 else ""


def _has_last(dump: str) -> bool:
    return all(f"({tag >> 16:04x},{tag & 0xFFFF:04x})" in dump for tag in LAST)


def pydicom_reads(paths: Sequence[Path]) -> list[bool]:
    """Whether pydicom reads each file and all its values."""
    found = []
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                data = pydicom.dcmread(path)
                for element in data.iterall():
                    _ = element.value
            found.append(all(tag in data for tag in LAST))
        except Exception:
            found.append(False)
    return found


JUDGES = {"dcmdump": dcmtk_reads, "gdcmdump": gdcm_reads, "pydicom": pydicom_reads}


class Strict:
    """Reads a data set as PS3.5 section 7 has it, and raises AssertionError at anything else."""

    def __init__(self, raw: bytes, *, implicit: bool, big: bool) -> None:
        self.raw = raw
        self.implicit = implicit
        self.order = ">" if big else "<"

    def data_set(self, at: int, end: int) -> None:
        """Elements up to `end`."""
        while at < end:
            at = self.element(at, end)
        assert at == end

    def element(self, at: int, end: int) -> int:
        """One element; the offset behind it."""
        group, number = struct.unpack_from(self.order + "HH", self.raw, at)
        assert 2 < group != 0xFFFE, f"({group:04x},{number:04x}) at {at}"
        vr = ""
        if self.implicit:
            length, value = struct.unpack_from(self.order + "I", self.raw, at + 4)[0], at + 8
        else:
            vr = self.raw[at + 4 : at + 6].decode("ascii")
            assert vr in LONG or vr in SHORT, f"VR {vr!r} at {at}"
            if vr in LONG:
                length, value = struct.unpack_from(self.order + "I", self.raw, at + 8)[0], at + 12
            else:
                length, value = struct.unpack_from(self.order + "H", self.raw, at + 6)[0], at + 8
        if length == UNDEFINED:
            return self.items(value, None, end, vr, fragments=(group, number) == (0x7FE0, 0x0010))
        assert not length & 1, f"({group:04x},{number:04x}) has an odd length"
        assert value + length <= end, f"({group:04x},{number:04x}) ends beyond {end}"
        if vr == "SQ":
            self.items(value, value + length, value + length, vr, fragments=False)
        return value + length

    def items(self, at: int, stop: int | None, end: int, vr: str, *, fragments: bool) -> int:
        """The items up to `stop`, or to their delimiter; the offset behind."""
        inner = Strict(self.raw, implicit=True, big=False) if vr == "UN" else self
        while at != stop:
            group, number, length = struct.unpack_from(inner.order + "HHI", self.raw, at)
            if stop is None and (group, number) == (0xFFFE, 0xE0DD):
                assert length == 0
                return at + 8
            assert (group, number) == (0xFFFE, 0xE000), f"({group:04x},{number:04x}) at {at} is no item"
            at += 8
            if length == UNDEFINED:
                while self.raw[at : at + 4] != struct.pack(inner.order + "HH", 0xFFFE, 0xE00D):
                    at = inner.element(at, end)
                assert self.raw[at + 4 : at + 8] == bytes(4)
                at += 8
                continue
            assert not length & 1, f"an item at {at} has an odd length"
            assert at + length <= end
            if not fragments:
                inner.data_set(at, at + length)
            at += length
        return at
