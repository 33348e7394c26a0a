"""What an image costs to compress, beside other programs that write the same code streams.

python -m benchmarks.sections ROUNDS "Codecs beside other programs"     into its section of RESULTS.md

All figures are CPU time (user and system) of one thread, so that what else the machine does changes them
little; what remains of that makes them larger, so each time is the least of the rounds. Programs take one
image a run, whose start would weigh as much as a CT slice: so every side is given the images, and their upper
left corners under the same headers. A megapixel's cost is the difference of the two over that of the pixels;
what an image costs besides, start or header, is told apart. *Encode alone* is MAPDR without the verifying
decode, which no other program here does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pydicom

from benchmarks import edits, series, tenfold
from benchmarks.__main__ import version
from benchmarks.codec_peers import PROGRAMS, Orthanc, Picture, Program, codestream, running_orthanc
from benchmarks.peers import scratch
from mapdr.dicom import uids
from mapdr.egress.part10 import Part10
from mapdr.kernel.cached import cached_property
from mapdr.kernel.codec import Encoder, FrameFormat, LossyEncoder, Pixels
from mapdr.kernel.item import Instance
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.operate.explain import NoMemory
from mapdr.transform.codecs.table import Codecs, Row
from mapdr.transform.pipeline import build_pipeline

T = TypeVar("T", Encoder, LossyEncoder)

METHODS: Mapping[str, str] = {
    "jpeg2000-lossless": uids.JPEG2000_LOSSLESS,
    "jpeg2000": uids.JPEG2000,
    "htj2k-lossless": uids.HTJ2K_LOSSLESS,
    "jpegls": uids.JPEG_LS_LOSSLESS,
    "jpeg-lossless": uids.JPEG_LOSSLESS_SV1,
    "jpeg": uids.JPEG_BASELINE,
    "rle": uids.RLE_LOSSLESS,
    "jpegxl-lossless": uids.JPEG_XL_LOSSLESS,
}
"""What a rule calls each, and the transfer syntax."""
LOSSY = {"jpeg2000": "jpeg2000-lossless", "jpeg": "jpeg-lossless"}
"""At 10:1, in MAPDR's case with the search for it; `jpeg` of other programs at their own quality. With the
method that a corner is written by."""
BY_ORTHANC = ("jpegls", "jpeg-lossless", "jpeg")
REAL: Mapping[str, str] = {
    "CT, 12 bits": "ct_philips_phantom_140",
    "CT, 16 bits signed": "ct_ge_head_28",
}
"""Series of the test data; of smaller images the start of a program hides what their pixels cost."""
SLICES = 10
"""Of each series, from its middle: as they follow each other, so that a level is sought once."""
GENERATED = {"DX, 14 bits, generated": "DX", "SC, 8 bits, generated": "SC"}
IMAGES = 2
"""Of each kind that is generated."""


def timed(encoder: T, spent: list[float]) -> T:
    """An encoder that notes the CPU seconds of its decodes in `spent`."""
    decode: Callable[[bytes, FrameFormat], Pixels] = encoder.decode

    def noting(stream: bytes, form: FrameFormat) -> Pixels:
        began = time.process_time()
        pixels = decode(stream, form)
        spent.append(time.process_time() - began)
        return pixels

    twin = copy(encoder)
    twin.decode = noting  # type: ignore[method-assign]
    return twin


class TimedCodecs(Codecs):
    """The table of codecs with encoders whose decodes are noted in `spent`."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        super().__init__(registry, settings)
        self.spent: list[float] = []

    @cached_property
    def rows(self) -> dict[str, Row]:
        """As `Codecs.rows`."""
        return {uid: self._timed(row) for uid, row in super().rows.items()}

    def _timed(self, row: Row) -> Row:
        encoder = row.encoder and timed(row.encoder, self.spent)
        return replace(
            row, encoder=encoder, lossy_encoder=row.lossy_encoder and timed(row.lossy_encoder, self.spent)
        )


@dataclass
class Side:
    """One program's figures for one kind of images in one syntax."""

    ratio: float
    """Native bytes over bytes of code stream."""
    size: float
    """Megapixels by which the images are larger than their corners, all together."""
    whole: list[float] = field(default_factory=list)
    corners: list[float] = field(default_factory=list)
    """CPU seconds of all images, and of all their corners, by round."""

    @property
    def cost(self) -> float:
        """Milliseconds a megapixel."""
        return 1000 * (min(self.whole) - min(self.corners)) / self.size

    def __str__(self) -> str:
        usual = 1000 * (statistics.median(self.whole) - statistics.median(self.corners)) / self.size
        return f"{self.cost:.1f} ({usual:.1f})"


@dataclass(frozen=True)
class Run:
    """How a side is measured."""

    written: Callable[[Picture], int]
    """Writes a picture, refuses what is not that picture, and gives the bytes of the code stream."""
    seconds: Callable[[Sequence[Picture]], float]
    base: Callable[[Sequence[Picture]], float]
    """The same for corners; of Orthanc, of the pictures in requests that do not transcode."""


class Bench:
    """MAPDR's pipelines and the other programs, over pictures in one folder."""

    def __init__(self, folder: Path, orthanc: Orthanc | None) -> None:
        self._folder = folder
        self._orthanc = orthanc
        self._registry = Registry()
        self._settings = Settings("codecs", "codecs", folder, bytes(32), Watch(), workers=1)
        self._codecs = Codecs(self._registry, self._settings)
        self._timed = TimedCodecs(self._registry, self._settings)
        self._made: dict[tuple[Path, str], tuple[str, int]] = {}

    def writes(self, pictures: Sequence[Picture], method: str) -> bool:
        """Whether MAPDR writes all of them in this syntax."""
        return all(self._ours(picture, method)[0] == METHODS[method] for picture in pictures)

    def compare(self, pictures: Sequence[Picture], method: str, rounds: int) -> dict[str, Side]:
        """Every side's figures, in turn in each round: MAPDR, MAPDR's encode alone, the others by name."""
        corners = [picture.corner(self._folder) for picture in pictures]
        native = sum(picture.form.size for picture in pictures)
        size = sum(picture.size for picture in pictures) - sum(corner.size for corner in corners)
        runs = self._runs(pictures, method)
        sides = {
            name: Side(native / sum(run.written(picture) for picture in pictures), size)
            for name, run in runs.items()
        }
        for _ in range(rounds):
            for name, side in sides.items():
                side.whole.append(runs[name].seconds(pictures))
                side.corners.append(runs[name].base(corners if name != "Orthanc" else pictures))
        return sides

    def _runs(self, pictures: Sequence[Picture], method: str) -> dict[str, Run]:
        """How each side is measured that is here."""
        # A corner has not the sizes of a series: no level is sought on it.
        plain = LOSSY.get(method, method)
        runs = {}
        for name, codecs in (("MAPDR", self._codecs), ("encode alone", self._timed)):
            runs[name] = Run(
                lambda picture: self._ours(picture, method)[1],
                partial(self._seconds, method=method, codecs=codecs),
                partial(self._seconds, method=plain, codecs=codecs),
            )
        for name, program in PROGRAMS[method].items():
            if program.is_here(pictures[0]):
                timed = partial(program.seconds, folder=self._folder)
                runs[name] = Run(partial(self._theirs, method=method, program=program), timed, timed)
        orthanc = self._orthanc if method in BY_ORTHANC else None
        if orthanc is not None:
            runs["Orthanc"] = Run(
                partial(self._by_orthanc, orthanc, method=method),
                partial(orthanc.seconds, syntax=METHODS[method]),
                partial(orthanc.seconds, syntax=""),
            )
        return runs

    def _seconds(self, pictures: Sequence[Picture], method: str, codecs: Codecs) -> float:
        """CPU time of images that one rule compresses one after the other, each into a file; without that of
        decodes, if they are timed."""
        pipeline = self._pipeline(method, codecs)
        instances = [self._instance(picture) for picture in pictures]
        self._timed.spent.clear()
        began = time.process_time()
        for instance in instances:
            with (self._folder / "ours.dcm").open("wb") as file:
                for chunk in Part10(pipeline.prepare(instance, NoMemory())).chunks():
                    file.write(chunk)
        return time.process_time() - began - sum(self._timed.spent)

    def _pipeline(self, method: str, codecs: Codecs) -> Any:
        rule: dict[str, Any] = {"to": method, "allow": ["secondary-capture"]}
        if method in LOSSY:
            rule["ratio"] = 10.0
        steps = {"steps": [{"type": "compress", "config": rule}]}
        return build_pipeline(steps, self._registry, self._settings, codecs)

    @staticmethod
    def _instance(picture: Picture) -> Instance:
        return edits.instance_of(picture.path, picture.series, picture.modality)

    def _ours(self, picture: Picture, method: str) -> tuple[str, int]:
        """The transfer syntax of what MAPDR makes of a picture, and the bytes of its code stream."""
        key = picture.path, method
        if key not in self._made:
            payload = self._pipeline(method, self._codecs).prepare(self._instance(picture), NoMemory())
            size = 0
            if payload.transfer_syntax_uid == METHODS[method]:
                out = self._folder / "ours.dcm"
                out.write_bytes(b"".join(Part10(payload).chunks()))
                size = len(codestream(out)[1])
            self._made[key] = payload.transfer_syntax_uid, size
        return self._made[key]

    def _theirs(self, picture: Picture, method: str, program: Program) -> int:
        """The bytes of a program's code stream. Raises RuntimeError for another syntax or other pixels."""
        return self._checked(program.run(picture, self._folder), picture, method, program.reads_pgm)

    def _by_orthanc(self, orthanc: Orthanc, picture: Picture, *, method: str) -> int:
        out = self._folder / "orthanc.dcm"
        out.write_bytes(orthanc.transcoded(picture, METHODS[method]))
        return self._checked(out, picture, method)

    def _checked(self, out: Path, picture: Picture, method: str, is_shifted: bool = False) -> int:
        syntax, stream = codestream(out)
        if syntax not in (None, METHODS[method]):
            raise RuntimeError(f"a peer wrote {syntax} for {method}")
        pixels = self._codecs.decoder(METHODS[method]).decode(picture.form, stream)
        picture.refuse_other(pixels, lossless=method not in LOSSY, is_shifted=is_shifted)
        return len(stream)


def kinds(folder: Path) -> Iterator[tuple[str, list[Picture]]]:
    """The images of each kind, with its name: real ones where there are any."""
    for kind, name in REAL.items():
        place = series.folder() / name
        if place.is_dir():
            yield kind, [Picture(path, folder) for path in _middle(place)]
    if not series.folder().is_dir():
        yield "CT, generated", [Picture(edits.generated(folder).path, folder)]
    for kind, modality in GENERATED.items():
        paths = [tenfold.generated(modality, folder, number) for number in range(IMAGES)]
        yield kind, [Picture(path, folder) for path in paths]


def _middle(place: Path) -> list[Path]:
    """Slices from the middle of a series."""
    heads = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in place.iterdir()}
    ordered = sorted(heads, key=lambda path: int(heads[path].InstanceNumber))
    start = max(len(ordered) - SLICES, 0) // 2
    return ordered[start : start + SLICES]


def line(kind: str, method: str, sides: Mapping[str, Side]) -> str:
    """One line of the table."""
    ours, alone = sides["MAPDR"], sides["encode alone"]
    others = {name: side for name, side in sides.items() if side not in (ours, alone)}
    best = min((other.cost for other in others.values()), default=None)
    said = "no other here"
    if best is not None:
        said = "yes" if ours.cost <= best else "encode alone" if alone.cost <= best else "**no**"
    shown = "; ".join(f"{name} {side}, {side.ratio:.2f}:1" for name, side in others.items())
    return f"| {kind} | {method} | {ours} | {alone} | {ours.ratio:.2f}:1 | {shown} | {said} |"


def besides(kind: str, images: int, found: Sequence[Mapping[str, Side]]) -> str:
    """One line of what an image costs besides its pixels, by program: the median over the syntaxes."""
    costs: dict[str, list[float]] = {}
    for sides in found:
        for name, side in sides.items():
            costs.setdefault(name, []).append(1000 * min(side.corners) / images)
    shown = "; ".join(
        f"{name} {statistics.median(each):.1f}"
        for name, each in costs.items()
        if name not in ("encode alone", "Orthanc")
    )
    return f"- {kind}: {shown}"


def report(rounds: int = 3) -> list[str]:
    """The table, in Markdown."""
    lines = [
        "Milliseconds of CPU time a megapixel on one thread, from the least times of the rounds, in brackets",
        "from their medians; what an image costs besides is below. *Encode alone* is MAPDR without the",
        "verifying decode, which the others do not do. Ratios are against the bits allocated. What others",
        "wrote has the same transfer syntax and decodes, to the same pixels where nothing is lost. *Ahead*:",
        "of all that are named.",
        "",
        *(f"- {one}" for one in versions()),
        "",
        "| images | as | MAPDR | encode alone | ratio | others | ahead |",
        "|---|---|---|---|---|---|---|",
    ]
    more = [
        "",
        "Milliseconds of CPU time that an image costs besides: MAPDR's header and file; a program's start.",
        "",
    ]
    with scratch("codecs") as folder, running_orthanc() as orthanc:
        bench = Bench(folder, orthanc)
        for kind, pictures in kinds(folder):
            found = []
            for method in METHODS:
                if bench.writes(pictures, method):
                    found.append(bench.compare(pictures, method, rounds))
                    lines.append(line(kind, method, found[-1]))
                    print(lines[-1], flush=True)
            more.append(besides(kind, len(pictures), found))
    return [*lines, *more]


def versions() -> list[str]:
    """What the other programs and MAPDR's codecs are."""
    import imagecodecs

    found = [version(*each) for each in (("gdcmconv", "--version"), ("dcmcjpls", "--version"))]
    found += [version("cjxl", "--version"), version("Orthanc", "--version")]
    return [f"imagecodecs {imagecodecs.__version__}", *found]
