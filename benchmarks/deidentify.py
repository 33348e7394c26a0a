"""De-identification by the Basic Profile: what it costs an image, and beside Orthanc and dicom-anonymizer.

python -m benchmarks.sections ROUNDS De-identification       measures it, into its section of RESULTS.md

The images are real CT slices with the headers of their scanners; generated ones where there are none. MAPDR's
side is its pipeline on one thread, as a destination's thread runs it, from files that the system has at hand.
dicom-anonymizer is an optional peer (`pip install dicom-anonymizer`): without it its row says "not here".
"""

from __future__ import annotations

import http.client
import importlib.util
import io
import json
import os
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom

from benchmarks import series
from benchmarks.edits import TEN, generated, instance_of, microseconds
from benchmarks.peers import orthanc, scratch
from benchmarks.rows import LARGE, Row
from mapdr.kernel.item import Instance
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.operate.explain import NoMemory
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import Pipeline, build_pipeline

ANONYMIZER = importlib.util.find_spec("dicomanonymizer") is not None
BASIC: Mapping[str, Any] = {"type": "deidentify", "config": {"profile": "basic"}}
DATES: Mapping[str, Any] = {
    "type": "deidentify",
    "config": {"profile": "basic", "options": ["modified-dates"]},
}
EDITS: Mapping[str, Any] = {"type": "tags", "config": TEN}
RECIPES: Mapping[str, tuple[Sequence[Mapping[str, Any]], str]] = {
    "ten edits of tags": ((EDITS,), "100"),
    "Basic Profile": ((BASIC,), "500"),
    "Basic Profile, modified-dates": ((DATES,), ""),
    "Basic Profile, ten edits": ((BASIC, EDITS), ""),
}
"""Steps, and the microseconds over pass-through that are asked at most."""
SLICES = 600
"""How many images one measurement of a single slice takes."""


def files(name: str, folder: Path) -> list[Path]:
    """The files of a series, in their order; one generated slice in `folder` where it is not there."""
    found = sorted((series.folder() / name).iterdir()) if series.folder().is_dir() else []
    return found or [generated(folder).path]


def images(folder: Path) -> Iterator[tuple[str, list[Instance]]]:
    """What is measured, with its name: a slice of each series, and the series."""
    for name in series.SERIES:
        found = [instance_of(path) for path in files(name, folder)]
        real = len(found) > 1
        yield f"one slice, {name if real else 'generated'}", found[:1]
        if not real:
            return
        yield f"{len(found)} slices, {name}", found


def pipeline_of(folder: Path, *steps: Mapping[str, Any]) -> Pipeline:
    """The pipeline of a recipe."""
    registry = Registry()
    settings = Settings("deidentify", "deidentify", folder, bytes(32), Watch())
    return build_pipeline({"steps": list(steps)}, registry, settings, Codecs(registry, settings))


def report(rounds: int = 5) -> list[str]:
    """What recipes cost an image over passing through, in Markdown: recipes take turns in every round."""
    lines = [
        "| images | recipe | CPU µs/image | over pass-through | asked at most | met |",
        "|---|---|---|---|---|---|",
    ]
    with scratch("deidentify") as folder:
        passing = pipeline_of(folder)
        pipelines = {name: pipeline_of(folder, *steps) for name, (steps, _) in RECIPES.items()}
        for what, instances in images(folder):
            took: dict[str, list[float]] = {name: [] for name in RECIPES}
            over: dict[str, list[float]] = {name: [] for name in RECIPES}
            for _ in range(rounds):
                none = microseconds(passing, instances)
                for name, pipeline in pipelines.items():
                    took[name].append(microseconds(pipeline, instances))
                    over[name].append(took[name][-1] - none)
            for name, (_, asked) in RECIPES.items():
                met = ("yes" if statistics.median(over[name]) <= float(asked) else "**no**") if asked else ""
                lines.append(
                    f"| {what} | {name} | {_spread(took[name])} | {_spread(over[name])} | {asked} | {met} |"
                )
    return lines


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


# --- one slice, to bytes ----------------------------------------------------------------------------------


def slice_to_bytes() -> float:
    """One slice again and again, from its file to the bytes that would be sent."""
    with scratch("deidentify") as folder:
        instance = instance_of(files(series.SERIES[1], folder)[0])
        pipeline, memory = pipeline_of(folder, BASIC), NoMemory()
        began = time.perf_counter()
        for _ in range(SLICES):
            b"".join(pipeline.prepare(instance, memory).chunks())
        return SLICES / (time.perf_counter() - began)


def slice_by_anonymizer() -> float:
    """The same by pydicom and dicom-anonymizer's own call, as its guide has it."""
    from dicomanonymizer import anonymize_dataset

    with scratch("deidentify") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = files(series.SERIES[1], folder)[0]
        count = SLICES // 20
        began = time.perf_counter()
        for _ in range(count):
            data = pydicom.dcmread(path)
            anonymize_dataset(data)
            data.save_as(io.BytesIO())
        return count / (time.perf_counter() - began)


class Rest:
    """Orthanc's REST API on one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of an answer. Raises RuntimeError for another status than 200."""
        self._connection.request(method, path, body)
        answer = self._connection.getresponse()
        found = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"Orthanc answers {answer.status} to {method} {path}")
        return found

    def keep(self, path: Path) -> dict[str, str]:
        """Have a file stored; Orthanc's own identifiers of it."""
        found: dict[str, str] = json.loads(self.ask("POST", "/instances", path.read_bytes()))
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def running_orthanc() -> Iterator[Rest]:
    """Orthanc as installed, with an empty store."""
    with scratch("orthanc") as folder, orthanc(folder) as (_, port):
        rest = Rest(port)
        try:
            yield rest
        finally:
            rest.close()


def slice_by_orthanc() -> float:
    """The same by `POST /instances/{id}/anonymize`, which stores nothing and answers with the bytes."""
    with scratch("deidentify") as folder, running_orthanc() as rest:
        path = f"/instances/{rest.keep(files(series.SERIES[1], folder)[0])['ID']}/anonymize"
        count = SLICES // 6
        began = time.perf_counter()
        for _ in range(count):
            rest.ask("POST", path, b"{}")
        return count / (time.perf_counter() - began)


# --- whole series, onto the disk --------------------------------------------------------------------------


def series_to_disk() -> float:
    """All slices of both series, each written to a file of its own and flushed."""
    with scratch("deidentify") as folder:
        instances = [instance_of(path) for name in series.SERIES for path in files(name, folder)]
        pipeline, memory = pipeline_of(folder, BASIC), NoMemory()
        began = time.perf_counter()
        for number, instance in enumerate(instances):
            with (folder / f"{number}.out").open("wb") as file:
                for chunk in pipeline.prepare(instance, memory).chunks():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        return len(instances) / (time.perf_counter() - began)


def series_by_orthanc() -> float:
    """The same by `POST /series/{id}/anonymize`, which stores the new series, flushed, and indexes it."""
    with scratch("deidentify") as folder, running_orthanc() as rest:
        parents = [rest.keep(path)["ParentSeries"] for name in series.SERIES for path in files(name, folder)]
        kept = len(json.loads(rest.ask("GET", "/instances")))  # a generated slice stands for both series
        began = time.perf_counter()
        for parent in dict.fromkeys(parents):
            rest.ask("POST", f"/series/{parent}/anonymize", b"{}")
        seconds = time.perf_counter() - began
        made = len(json.loads(rest.ask("GET", "/instances"))) - kept
        if made != kept:
            raise RuntimeError(f"Orthanc made {made} of {kept} images")
        return kept / seconds


def rows() -> list[Row]:
    """De-identification beside its peers, which have to be no faster."""
    one, whole = "de-identify a CT slice, to bytes", "de-identify two CT series, onto the disk"
    return [
        Row(one, LARGE, 1, slice_to_bytes, slice_by_orthanc, "Orthanc, over HTTP"),
        Row(
            one,
            LARGE,
            1,
            slice_to_bytes,
            slice_by_anonymizer if ANONYMIZER else None,
            "dicom-anonymizer",
        ),
        Row(whole, LARGE, 1, series_to_disk, series_by_orthanc, "Orthanc"),
    ]
