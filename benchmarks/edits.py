"""What ten edits of tags cost an image, over an image that passes through.

python -m benchmarks.edits          prints Markdown; `benchmarks.more` puts it into RESULTS.md

Both are prepared as a destination's thread does it, from a file in the spool that the system has at hand.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.peers import scratch
from mapdr.kernel.item import Instance, Source
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.operate.explain import NoMemory
from mapdr.operate.part10 import locate
from mapdr.testing import generator
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import Pipeline, build_pipeline

TEN: Sequence[Mapping[str, Any]] = (
    {"set": "InstitutionName", "to": "Clinic North"},
    {"prefix": "AccessionNumber", "with": "CN-"},
    {"remove": "OtherPatientIDs"},
    {"replace": "StudyDescription", "pattern": r"^(\w+)", "with": r"\1 N"},
    {"map": "Modality", "table": {"CT": "MR"}, "otherwise": "keep"},
    {"copy": "StudyID", "to": "PatientComments", "if_empty": "skip"},
    {"shift_date": "StudyDate", "days": -30},
    {"upper": "PatientName"},
    {"trim": "SeriesDescription"},
    {"set": "StationName", "to": "ER1", "if": {"Modality": "MR"}},
)
"""As a rule has them: of each kind one, without those that need a file or a secret."""
IMAGES = 2000
ROUNDS = 7


def microseconds(pipeline: Pipeline, instances: Sequence[Instance]) -> float:
    """CPU time of one image in microseconds, of `IMAGES` in which the instances take turns."""
    memory = NoMemory()
    began = time.thread_time()
    for instance in islice(cycle(instances), IMAGES):
        pipeline.prepare(instance, memory)
    return (time.thread_time() - began) / IMAGES * 1e6


def generated(folder: Path) -> Instance:
    """A CT slice of 512 kB, as the spool has it."""
    path = folder / "ct.dcm"
    path.write_bytes(next(iter(generator.study("CT", images=1, size=(512, 512)))).part10())
    return instance_of(path)


def instance_of(path: Path, series: str = "", modality: str = "CT") -> Instance:
    """A file as the spool would have it."""
    file = locate(path)
    return Instance(
        id="0" * 32,
        source=Source("in", "CT1", "MAPDR", "127.0.0.1"),
        sop_class_uid=file.sop_class_uid,
        sop_instance_uid=file.sop_instance_uid,
        study_instance_uid="",
        series_instance_uid=series,
        modality=modality,
        transfer_syntax_uid=file.transfer_syntax_uid,
        path=file.path,
        data_offset=file.offset,
        size=file.length,
        received_at=0.0,
    )


def report() -> list[str]:
    """The table, in Markdown."""
    lines = ["| edits | CPU µs/image | over none |", "|---|---|---|"]
    with scratch("edits") as folder:
        instance = generated(folder)
        settings = Settings("edits", "edits", folder, bytes(32), Watch())
        registry = Registry()
        codecs = Codecs(registry, settings)
        none = 0.0
        for count in (0, 1, 3, 10):
            steps = [{"type": "tags", "config": TEN[:count]}] if count else []
            pipeline = build_pipeline({"steps": steps}, registry, settings, codecs)
            took = min(microseconds(pipeline, [instance]) for _ in range(ROUNDS))
            none = none or took
            lines.append(f"| {count} | {took:,.0f} | {took - none:,.0f} |")
    return lines


if __name__ == "__main__":
    print("\n".join(report()))
