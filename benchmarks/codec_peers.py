"""Other programs that write the code streams of MAPDR, and how each is called for one image."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.uid import UID

from benchmarks.deidentify import Rest
from benchmarks.peers import orthanc_process, scratch
from mapdr.kernel.codec import FrameFormat

CORNER = 64
"""Rows and columns of the image that stands for what a file costs whatever its size."""
REPEATS = 4
"""How often Orthanc is given each image: its time is told in hundredths of a second."""


class Picture:
    """One image of one grey frame, as a DICOM file, and beside it as other programs read it."""

    def __init__(self, path: Path, folder: Path) -> None:
        """What `path` holds is written into `folder` in other forms as well."""
        data = pydicom.dcmread(path)
        self.path = path
        self.pixels: NDArray[np.generic] = data.pixel_array
        self.form = FrameFormat(
            data.Rows,
            data.Columns,
            1,
            data.BitsAllocated,
            data.BitsStored,
            data.PixelRepresentation == 1,
            data.PhotometricInterpretation,
        )
        self.modality, self.series = data.Modality, data.SeriesInstanceUID
        self.size: float = self.pixels.size / 1e6
        """In megapixels."""
        cells = self.pixels.view(f"u{self.pixels.itemsize}")
        shifted = cells ^ cells.dtype.type(1 << self.form.stored - 1 if self.form.signed else 0)
        self.raw, self.pgm = folder / f"{path.name}.rawl", folder / f"{path.name}.pgm"
        self.wide = folder / f"{path.name}-wide.pgm"
        """A PGM that says 16 bits where there are more than 8: cjxl cuts the values of others."""
        self.raw.write_bytes(cells.tobytes())
        top = (1 << self.form.stored) - 1
        for file, most in ((self.pgm, top), (self.wide, 0xFFFF if top > 0xFF else 0xFF)):
            head = f"P5\n{self.form.columns} {self.form.rows}\n{most}\n".encode("ascii")
            file.write_bytes(head + shifted.astype(">u2" if top > 0xFF else "u1").tobytes())

    def corner(self, folder: Path) -> Picture:
        """Its upper left corner, under the same header."""
        data = pydicom.dcmread(self.path)
        data.Rows = data.Columns = CORNER
        data.PixelData = self.pixels[:CORNER, :CORNER].tobytes()
        path = folder / f"{self.path.name}-corner.dcm"
        data.save_as(path, enforce_file_format=True)
        return Picture(path, folder)

    def refuse_other(self, pixels: NDArray[np.generic], *, lossless: bool, is_shifted: bool) -> None:
        """Raises RuntimeError for what is not this image, decoded: of lossless ones, each stored bit.

        `is_shifted`: they were read from a PGM, which has no sign, so that signed values start from 0 there.
        """
        if pixels.shape != self.pixels.shape:
            raise RuntimeError("a peer wrote a frame of another shape")
        mask = (1 << self.form.stored) - 1
        shift = 1 << self.form.stored - 1 if is_shifted and self.form.signed else 0
        if lossless and np.any((pixels.astype("i8") & mask ^ shift) != (self.pixels.astype("i8") & mask)):
            raise RuntimeError("a peer wrote other pixels")


Command = Callable[[Picture, Path], Sequence[str | Path]]


@dataclass(frozen=True)
class Program:
    """A program that writes one file of a picture, into a file that ends with `suffix`."""

    command: Command
    suffix: str = ".dcm"
    reads_pgm: bool = False

    def is_here(self, picture: Picture) -> bool:
        """Whether it is installed."""
        return shutil.which(self.command(picture, Path())[0]) is not None

    def run(self, picture: Picture, folder: Path) -> Path:
        """The file that it writes. Raises RuntimeError where it writes none."""
        out = folder / f"out{self.suffix}"
        out.unlink(missing_ok=True)
        command = [str(word) for word in self.command(picture, out)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode or not out.exists():
            raise RuntimeError(f"{command[0]} ended with {done.returncode} and wrote no file")
        return out

    def seconds(self, pictures: Sequence[Picture], folder: Path) -> float:
        """CPU time of a run for each picture, user and system."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for picture in pictures:
            self.run(picture, folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def codestream(file: Path) -> tuple[UID | None, bytes]:
    """The transfer syntax and the code stream of a DICOM file's one frame; of another file, its bytes."""
    if file.suffix != ".dcm":
        return None, file.read_bytes()
    data = pydicom.dcmread(file)
    return data.file_meta.TransferSyntaxUID, next(generate_frames(data.PixelData, number_of_frames=1))


def _gdcmconv(*options: str) -> Program:
    return Program(lambda picture, out: ["gdcmconv", *options, picture.path, out])


def _dcmtk(program: str, *options: str) -> Program:
    return Program(lambda picture, out: [program, *options, picture.path, out])


def _opj(*options: str) -> Program:
    def command(picture: Picture, out: Path) -> Sequence[str | Path]:
        form = picture.form
        layout = f"{form.columns},{form.rows},1,{form.stored},{'su'[not form.signed]}"
        return ["opj_compress", "-i", picture.raw, "-F", layout, "-o", out, *options]

    return Program(command, ".j2k")


def _opj_tenth(picture: Picture, out: Path) -> Sequence[str | Path]:
    """Its ratio is against the bits stored, MAPDR's against those allocated."""
    ratio = 10 * picture.form.stored / picture.form.allocated
    return _opj("-I", "-r", f"{ratio:g}").command(picture, out)


PROGRAMS: Mapping[str, Mapping[str, Program]] = {
    "jpeg2000-lossless": {"gdcmconv": _gdcmconv("--j2k"), "opj_compress": _opj()},
    "jpeg2000": {
        "gdcmconv": _gdcmconv("--j2k", "--lossy", "--irreversible", "-r", "10"),
        "opj_compress": Program(_opj_tenth, ".j2k"),
    },
    "htj2k-lossless": {
        "ojph_compress": Program(
            lambda picture, out: ["ojph_compress", "-i", picture.pgm, "-o", out, "-reversible", "true"],
            ".j2c",
            reads_pgm=True,
        )
    },
    "jpegls": {"gdcmconv": _gdcmconv("--jpegls"), "dcmcjpls": _dcmtk("dcmcjpls")},
    "jpeg-lossless": {"gdcmconv": _gdcmconv("--jpeg"), "dcmcjpeg": _dcmtk("dcmcjpeg", "+e1")},
    "jpeg": {"gdcmconv": _gdcmconv("--jpeg", "--lossy"), "dcmcjpeg": _dcmtk("dcmcjpeg", "+eb")},
    "rle": {"gdcmconv": _gdcmconv("--rle"), "dcmcrle": _dcmtk("dcmcrle")},
    "jpegxl-lossless": {
        "cjxl": Program(
            lambda picture, out: ["cjxl", "-d", "0", "-e", "3", "--num_threads=0", picture.wide, out],
            ".jxl",
            reads_pgm=True,
        )
    },
}
"""By what a rule calls the method: the programs that write the same kind of code stream, one thread each."""


class Orthanc:
    """A running Orthanc without plug-ins: the codecs that it transcodes with are its own (DCMTK's)."""

    def __init__(self, pid: int, port: int) -> None:
        self._pid = pid
        self._port = port
        self._kept: dict[Path, str] = {}

    @contextmanager
    def _asked(self) -> Iterator[Rest]:
        """A connection of its own: Orthanc closes those that wait for a second."""
        rest = Rest(self._port)
        try:
            yield rest
        finally:
            rest.close()

    def transcoded(self, picture: Picture, syntax: str) -> bytes:
        """The picture's file in `syntax`. Raises RuntimeError where it cannot."""
        with self._asked() as rest:
            self._kept[picture.path] = rest.keep(picture.path)["ID"]
            return self._modified(rest, picture, syntax)

    def _modified(self, rest: Rest, picture: Picture, syntax: str) -> bytes:
        """The file with the same content, transcoded if `syntax` is not empty."""
        wish = {"Keep": ["SOPInstanceUID"], "Force": True} | ({"Transcode": syntax} if syntax else {})
        path = f"/instances/{self._kept[picture.path]}/modify"
        return rest.ask("POST", path, json.dumps(wish).encode())

    def seconds(self, pictures: Sequence[Picture], syntax: str) -> float:
        """CPU time of a request for each picture; without a `syntax`, of one that does not transcode."""
        before = self._cpu()
        with self._asked() as rest:
            for _ in range(REPEATS):
                for picture in pictures:
                    self._modified(rest, picture, syntax)
        return (self._cpu() - before) / REPEATS

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running_orthanc() -> Iterator[Orthanc | None]:
    """Orthanc as installed with an empty store, or None where it is not."""
    if shutil.which("Orthanc") is None:
        yield None
        return
    with scratch("orthanc") as folder, orthanc_process(folder) as (process, _, port):
        yield Orthanc(process.pid, port)
