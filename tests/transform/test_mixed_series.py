"""Images of one series through one recipe, in any order and mix, by many threads: each as if it were alone.

An oracle of pydicom and imagecodecs says what each has to be (`oracle`). And a node that knows of an image
only what was kept of it makes the same bytes: so nothing that was kept of other images of the series is in
it.
"""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mapdr.dicom import uids
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance, Payload
from mapdr.kernel.registry import Registry
from mapdr.transform.pipeline import Pipeline, build_pipeline

from .helpers import CODECS, EXPLICIT, Notebook, settings
from .mixed import IMPLICIT, LARGE, SMALL, Case, mixed
from .oracle import Oracle, Promise, differences

EDITS = [{"set": "StationName", "to": "ROOM 1"}, {"remove": "SmallestImagePixelValue"}]
EDITED = {0x00081010: "ROOM 1", 0x00280106: None}
RULES: dict[str, tuple[dict[str, Any], Promise]] = {
    "jpeg2000": ({"to": "jpeg2000", "ratio": 10}, Promise(ratio=10)),
    "auto": ({"to": "auto", "ratio": 8}, Promise(ratio=8, is_dialled=False)),
    "list": ({"to": ["htj2k", "jpeg2000"], "max_error": 4}, Promise(max_error=4)),
    "near": ({"to": "jpegls-near", "near": 2}, Promise(max_error=2, left={"pixel-format"})),
    "psnr": ({"to": "htj2k", "psnr": 60}, Promise(psnr=60)),
    "lossless": ({"to": "jpeg2000-lossless"}, Promise(lossy=False)),
    "large": ({"to": "htj2k", "ratio": 6}, Promise(ratio=6, is_dialled=False)),
    "edited": ({"to": "jpeg2000", "ratio": 10}, Promise(ratio=10, edits=EDITED)),
}
WRITTEN = [
    name
    for name in RULES
    if name != "near" or CODECS.rows[uids.JPEG_LS_NEAR_LOSSLESS].lossy_encoder is not None
]
"""Those whose codec this installation has."""


@dataclass(frozen=True)
class Made:
    """What a recipe made of a case, and what was kept of it."""

    case: Case
    instance: Instance
    payload: Payload | Permanent
    memory: Notebook


def pipeline(config: dict[str, Any], promise: Promise) -> Pipeline:
    steps: list[dict[str, Any]] = [{"type": "compress", "config": {"exclude": ["MG"], **config}}]
    if promise.edits:
        steps.insert(0, {"type": "tags", "config": EDITS})
    return build_pipeline({"steps": steps}, Registry(), settings(), CODECS)


def prepared(rule: Pipeline, instance: Instance, memory: Notebook, asked: str) -> Payload | Permanent:
    """What a rule makes of an image, or why it is parked."""
    try:
        return rule.prepare(instance, memory, asked)
    except Permanent as error:
        return error


def all_of(rule: Pipeline, cases: list[Case], folder: Path, threads: int) -> list[Made]:
    """The images through one pipeline, in their order, by so many threads."""

    def one(case: Case) -> Made:
        memory, instance = Notebook(), spooled[id(case)]
        return Made(case, instance, prepared(rule, instance, memory, case.asked), memory)

    spooled = {id(case): case.spooled(folder) for case in cases}
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, cases))


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("name", WRITTEN)
def test_each_image_of_a_mixed_series_is_what_it_has_to_be(name: str, threads: int, tmp_path: Path) -> None:
    config, promise = RULES[name]
    cases = mixed(threads, LARGE if name == "large" else SMALL)
    faults: list[str] = []
    ends: Counter[str] = Counter()
    for number, made in enumerate(all_of(pipeline(config, promise), cases, tmp_path, threads)):
        facts = (made.memory.facts or {}).get("compress", {})
        if isinstance(made.payload, Permanent):
            if name == "near" and made.case.name == "one-pixel" and sys.version_info < (3, 12):
                continue  # what writes JPEG-LS there has no room for it (docs/known-limits.md)
            # Nothing is sent to a receiver that takes nothing that the image may be written in.
            if made.case.loss != "left" or made.case.asked in ("", EXPLICIT, IMPLICIT):
                faults.append(f"{number}: {made.case.name}, {made.case.asked}: {made.payload}")
            continue
        try:
            ends[Oracle(made.case, made.payload, facts, promise).check()] += 1
        except (AssertionError, KeyError, AttributeError, ValueError) as error:
            faults.append(f"{number}: {made.case.name}, {made.case.syntax}, {made.case.asked}: {error!r}")
            continue
        again = Notebook()
        again.facts = made.memory.facts
        alone = prepared(pipeline(config, promise), made.instance, again, made.case.asked)
        assert isinstance(alone, Payload)
        if found := list(differences(made.payload, alone)):
            faults.append(f"{number}: {made.case.name}: alone it differs in {', '.join(found)}")
        if again.facts != made.memory.facts:
            faults.append(f"{number}: {made.case.name}: alone other facts are kept")
    assert not faults, "\n".join(faults)
    assert ends["lossless"] > 15
    assert (ends["lossy"] > 20) == promise.lossy


def test_images_of_a_mixed_series_follow_each_other(tmp_path: Path, followed: list[bool]) -> None:
    """So what is said above is said of them too (`mapdr.transform.encode.precedent`)."""
    all_of(pipeline(*RULES["jpeg2000"]), mixed(1, SMALL), tmp_path, 1)
    assert sum(followed) > 5
