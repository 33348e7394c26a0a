"""Parts of a pipeline by themselves: a step's share of what is remembered, what a step that fails lets out of
an image with a digest, and by which way pixels are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import xxhash

from mapdr.dicom import uids
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance, Payload
from mapdr.kernel.proof import Proof
from mapdr.kernel.step import Changes, Memory, Phase, Reads
from mapdr.transform import pipeline as module
from mapdr.transform.document import OpenImage
from mapdr.transform.pipeline import Pipeline, _StepMemory

from .helpers import CODECS, EXPLICIT, Notebook, image, payload_of, picture, settings

RLE, J2K = uids.RLE_LOSSLESS, uids.JPEG2000_LOSSLESS
IMPLICIT, BIG = uids.IMPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN


# --- What is remembered


class Series(Notebook):
    """A memory that knows other images of the series."""

    def __init__(self, *others: Mapping[str, Any]) -> None:
        super().__init__()
        self.others = others

    def of_series(self) -> Sequence[Mapping[str, Any]]:
        return self.others


def test_each_step_keeps_its_own_share_and_those_of_others_stay() -> None:
    memory = Notebook()
    first, second = _StepMemory(memory, "first"), _StepMemory(memory, "second")
    assert first.recall() is None
    first.keep({"a": 1})
    second.keep({"b": 2})
    first.keep({"a": 3})
    assert memory.facts == {"first": {"a": 3}, "second": {"b": 2}}
    assert (first.recall(), second.recall()) == ({"a": 3}, {"b": 2})
    memory.facts = {"first": "no share"}
    assert first.recall() is None


def test_of_other_images_a_step_is_told_its_own_shares() -> None:
    shares = {"first": {"a": 1}}, {"second": {"b": 2}}, {"first": "no share"}, {"first": {"a": 3}}
    assert _StepMemory(Series(*shares), "first").of_series() == [{"a": 1}, {"a": 3}]
    assert _StepMemory(Notebook(), "first").of_series() == []


# --- What a step that fails lets out


class Failing:
    """A step of the header that fails."""

    phase, reads, changes, copies = Phase.HEADER, Reads.HEADER, Changes.HEADER, 0

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
        raise Permanent("the step cannot be done", reason="edit")


def test_a_step_that_fails_parks_an_image_with_a_digest_too(tmp_path: Path) -> None:
    payload, instance = payload_of(image(picture(8, 8, 0, 4000)))
    content = b"".join(payload.chunks())
    path = tmp_path / "spooled.dcm"
    path.write_bytes(content)
    made = Pipeline([("failing", Failing())], settings(), CODECS)
    for last, reason in ((content[-1], "edit"), (content[-1] ^ 1, "damaged")):
        path.write_bytes(content[:-1] + bytes([last]))
        proof = Proof(path, 0, len(content), xxhash.xxh3_128_digest(content))
        spooled = replace(instance, path=path, data_offset=0, size=len(content), proof=proof)
        with pytest.raises(Permanent) as caught:
            made.prepare(spooled, Notebook())
        assert caught.value.reason == reason


# --- By which way pixels are written


@pytest.mark.parametrize(
    ("came", "wanted", "is_painted", "may_stay", "way"),
    [
        (RLE, "", False, True, "as it came"),
        (RLE, RLE, False, True, "as it came"),
        (RLE, "", True, True, "again"),
        (RLE, "", True, False, f"native {EXPLICIT}"),
        (RLE, RLE, True, True, "again"),
        (RLE, RLE, True, False, f"lossless {RLE}"),
        (RLE, J2K, True, True, f"lossless {J2K}"),
        (RLE, J2K, False, True, f"lossless {J2K}"),
        (RLE, EXPLICIT, True, True, f"native {EXPLICIT}"),
        (EXPLICIT, "", True, False, f"native {EXPLICIT}"),
        (EXPLICIT, EXPLICIT, True, False, f"native {EXPLICIT}"),
        (EXPLICIT, IMPLICIT, False, False, f"native {IMPLICIT}"),
        (EXPLICIT, RLE, True, False, f"lossless {RLE}"),
        (IMPLICIT, "", True, False, f"native {IMPLICIT}"),
        (BIG, "", True, False, f"native {EXPLICIT}"),
        (BIG, "", False, False, "as it came"),
    ],
)
def test_by_which_way_an_image_is_written(
    came: str, wanted: str, is_painted: bool, may_stay: bool, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Payload("1.2", "1.2.3", came, (b"came",), 4)
    document = cast(OpenImage, SimpleNamespace(payload=start, is_painted=is_painted))
    said = replace(start, note="a note", unmet="compression-refused")
    pipeline = Pipeline([], settings(), CODECS)

    def made(way: str) -> Payload:
        return replace(start, parts=(way.encode(),))

    monkeypatch.setattr(module, "may_stay", lambda document: may_stay)
    monkeypatch.setattr(module, "again", lambda *_: made("again"))
    monkeypatch.setattr(module, "native", lambda document, target, *_: made(f"native {target}"))
    monkeypatch.setattr(pipeline, "_lossless", lambda *some: made(f"lossless {some[-1]}"))
    monkeypatch.setattr(pipeline, "_encoded", lambda *_: said)
    found = pipeline._written(document, payload_of(image(picture(2, 2, 0, 9)))[1], Notebook(), came, wanted)
    if way == "as it came":
        assert found is said
        return
    assert found.parts == (way.encode(),)
    assert (found.note, found.unmet) == ("" if "lossless" in way else "a note", "compression-refused")
    encoded = replace(said, parts=(b"encoded",))
    monkeypatch.setattr(pipeline, "_encoded", lambda *_: encoded)
    assert pipeline._written(document, cast(Instance, None), Notebook(), came, wanted) is encoded
