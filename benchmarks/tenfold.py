"""JPEG 2000 at 10:1 over the images of a clinic: the ratio that is met, and what is kept.

python -m benchmarks.sections 1 "Ten to one"       measures it, into its section of RESULTS.md

Each kind is real files where the test data has them, and generated ones where it has none. What is told is
what a node keeps of each image (`mapdr deliveries` shows it): nothing is measured here a second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks import series
from benchmarks.edits import instance_of
from benchmarks.peers import scratch
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import Pipeline, build_pipeline

RATIO = 10.0
RULE: Mapping[str, Any] = {
    "to": "jpeg2000",
    "ratio": RATIO,
    "min_ssim": 0.01,  # has it measured
    "color": "ybr",
    "allow": ["mammography", "nuclear", "secondary-capture"],
}
"""As a clinic that wants everything ten times smaller would write it."""
REAL: Mapping[str, tuple[str, ...]] = {
    "CT": ("series/ct_ge_head_28/*", "series/ct_philips_phantom_140/I1?0"),
    "MR": ("series/mr_ge_mprage_130/*",),
    "DX": ("highdicom/dx_image.dcm",),
    "US (colour)": ("generated/us_src.dcm", "pydicom/examples_rgb_color.dcm", "pydicom/ExplVR_BigEnd.dcm"),
}
"""Patterns of files by kind."""
GENERATED: Mapping[str, tuple[str, int, int, int, int]] = {
    "CR": ("1.2.840.10008.5.1.4.1.1.1", 2140, 1760, 10, 1),
    "DX": ("1.2.840.10008.5.1.4.1.1.1.1", 2022, 2022, 14, 1),
    "MG": ("1.2.840.10008.5.1.4.1.1.1.2", 3328, 2560, 12, 1),
    "XA": ("1.2.840.10008.5.1.4.1.1.12.1", 512, 512, 8, 8),
    "RF": ("1.2.840.10008.5.1.4.1.1.12.2", 1024, 1024, 10, 4),
    "NM": ("1.2.840.10008.5.1.4.1.1.20", 256, 256, 16, 24),
    "SC": ("1.2.840.10008.5.1.4.1.1.7", 1024, 1024, 8, 1),
}
"""SOP class, rows, columns, bits stored and frames by modality."""


def projection(rows: int, columns: int, bits: int, seed: int) -> NDArray[np.uint16]:
    """Like a radiograph: soft shadows, edges of bones, and noise as of counted quanta."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    shadow = np.zeros((rows, columns))
    for _ in range(12):
        at_y, at_x, wide, high = random.uniform((-1, -1, 0.05, 0.05), (1, 1, 0.5, 0.5))
        distance = ((x - at_x) / wide) ** 2 + ((y - at_y) / high) ** 2
        shadow += random.uniform(0.2, 1) * (np.exp(-distance) + 0.3 * (distance < 0.5))
    top = (1 << bits) - 1
    quanta = 4000 * np.exp(-shadow)
    values = top * random.poisson(quanta) / 4600
    return np.clip(values, 0, top).astype("u2")


def generated(modality: str, folder: Path, number: int = 0) -> Path:
    """A file of a modality that the test data has no image of: another one for each `number`."""
    sop_class, rows, columns, bits, count = GENERATED[modality]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = (
        f"1.2.{sum(map(ord, modality))}.{number}"
    )
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.3", f"1.3.{sum(map(ord, modality))}"
    data.Modality = "OT" if modality == "SC" else modality
    data.Rows, data.Columns, data.SamplesPerPixel = rows, columns, 1
    data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
    data.BitsStored, data.HighBit, data.BitsAllocated = bits, bits - 1, 8 if bits == 8 else 16
    if count > 1:
        data.NumberOfFrames = count
    frames = [projection(rows, columns, bits, seed) for seed in range(number, number + count)]
    data.PixelData = np.stack(frames).astype("u1" if bits == 8 else "<u2").tobytes()
    path = folder / f"{modality}-{number}.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


class Kept:
    """What a node would remember of one image."""

    def __init__(self) -> None:
        self.facts: Mapping[str, Any] = {}

    def recall(self) -> Mapping[str, Any] | None:
        """Nothing: it is the image's first time."""
        return None

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Keep what was found."""
        self.facts = dict(facts)


def kinds(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """The files of each kind, with its name; those that are generated in `folder`."""
    data = series.folder().parent
    for kind, patterns in REAL.items():
        found = [path for pattern in patterns for path in sorted(data.glob(pattern))]
        if found:
            yield kind, found
    for modality in GENERATED:
        yield f"{modality}, generated", [generated(modality, folder)]


def facts_of(path: Path, pipeline: Pipeline) -> Mapping[str, Any]:
    """What is kept of an image that goes through the pipeline."""
    kept = Kept()
    head = pydicom.dcmread(path, stop_before_pixels=True)
    pipeline.prepare(instance_of(path, head.SeriesInstanceUID, head.Modality), kept)
    facts: Mapping[str, Any] = kept.facts["compress"]
    return facts


def line(kind: str, facts: list[Mapping[str, Any]]) -> str:
    """One line of the table: of the lossy images the figures, the worst where there is a worst."""
    ends = Counter(each["course"] for each in facts)
    lossy = [each for each in facts if each["course"] == "lossy"]
    met = [abs(each["ratio"] / RATIO - 1) <= 0.05 for each in lossy]
    met += [each.get("ratio", 1.0) >= RATIO * 0.95 for each in facts if each["course"] != "lossy"]

    def shown(name: str, of: Callable[[Any], float], form: str) -> str:
        values = [each[name] for each in lossy if name in each]
        return format(of(values), form) if values else ""

    ratios = [each["ratio"] for each in facts if "ratio" in each]
    return (
        f"| {kind} | {len(facts)} | {', '.join(f'{number} {end}' for end, number in ends.items())} | "
        f"{min(ratios):.2f} to {max(ratios):.2f} | {shown('psnr', min, '.1f')} | "
        f"{shown('ssim', min, '.4f')} | {shown('max_error', max, 'd')} | {shown('encodes', mean, '.1f')} | "
        f"{'yes' if all(met) else '**no**'} |"
    )


def report(rounds: int = 1) -> list[str]:
    """The table, in Markdown. It does not depend on how fast the machine is: one round is all it takes."""
    lines = [
        "| images | how many | left | ratio | PSNR, worst | SSIM, worst | greatest error | encodes | met |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    registry = Registry()
    with scratch("tenfold") as folder:
        settings = Settings("tenfold", "tenfold", folder, bytes(32), Watch())
        steps = {"steps": [{"type": "compress", "config": RULE}]}
        pipeline = build_pipeline(steps, registry, settings, Codecs(registry, settings))
        for kind, paths in kinds(folder):
            lines.append(line(kind, [facts_of(path, pipeline) for path in paths]))
            print(lines[-1], flush=True)
    return [
        "Met: within 5 % of 10:1, or without loss and better. PSNR is against the range of each frame's",
        "values; the greatest error is in stored values; encodes are those of a frame, in the mean.",
        "",
        *lines,
    ]
