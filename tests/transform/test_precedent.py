"""Images that follow one of their series, against the whole way that each of them could have gone."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import xxhash
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mapdr.dicom.tags import PIXEL_DATA, PIXEL_TAGS
from mapdr.dicom.write import element, item, splice
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance, Payload
from mapdr.kernel.proof import Proof
from mapdr.kernel.registry import Registry
from mapdr.transform.encode.compress import CompressStep
from mapdr.transform.encode.policy import SIGNATURES
from mapdr.transform.encode.precedent import READ
from mapdr.transform.image import Attributes
from mapdr.transform.pipeline import Pipeline, build_pipeline
from peers.data import DATA, REAL

from .helpers import CODECS, EXPLICIT, Notebook, encoded, image, instance_of, picture, settings

TAGS = {"type": "tags", "config": [{"set": "StationName", "to": "ER1"}]}
IMPLICIT = "1.2.840.10008.1.2"


def compress(**config: Any) -> dict[str, Any]:
    return {"type": "compress", "config": {"to": "jpeg2000", "ratio": 10, **config}}


def pipeline(*steps: dict[str, Any]) -> Pipeline:
    return build_pipeline({"steps": list(steps)}, Registry(), settings(), CODECS)


def grain(number: int, low: int, high: int) -> np.ndarray[Any, Any]:
    """Slice `number` of a series: anatomy that moves, under noise."""
    random = np.random.default_rng(number)
    noise = random.normal(0, (high - low) / 60, (128, 128))
    return np.clip(picture(128, 128, low, high, 1) + noise + number, low, high).round().astype(np.int64)


def unsigned(number: int) -> Dataset:
    return image(grain(number, 0, 4000))


def padded(number: int) -> Dataset:
    values = grain(number, -1000, 3000)
    y, x = np.mgrid[0:128, 0:128]
    values[(x - 64) ** 2 + (y - 64) ** 2 > 60**2] = -2000
    data = image(values, stored=16, signed=True)
    data.PixelPaddingValue = -2000
    data.SourceImageSequence = Sequence([referenced()])
    data.DerivationDescription = "Filtered"
    return data


def octets(number: int) -> Dataset:
    data = image(grain(number, 0, 255), allocated=8, stored=8)
    data.SmallestImagePixelValue, data.LargestImagePixelValue = 0, 255
    return data


def coloured(number: int) -> Dataset:
    values = np.stack([grain(number + step, 0, 255) for step in range(3)], axis=-1)
    return image(values, allocated=8, stored=8, photometric="RGB")


def planar(number: int) -> Dataset:
    values = np.stack([grain(number + step, 0, 255) for step in range(3)], axis=-1)
    return image(values, allocated=8, stored=8, photometric="RGB", planar=1)


def shifted(number: int) -> Dataset:
    data = image(grain(number, 0, 4000) << 4)
    data.HighBit = 15
    return data


def referenced() -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.99"
    return made


SERIES = {made.__name__: made for made in (unsigned, padded, octets, coloured, planar, shifted)}


class Spool:
    """Data sets as they were received."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def put(self, blob: bytes, data: Dataset, syntax: str = EXPLICIT) -> Instance:
        """One that was received as `blob`; `data` names its UIDs."""
        self._count += 1
        path = self._folder / f"{self._count}"
        path.write_bytes(b"meta" + blob)
        proof = Proof(path, 4, len(blob), xxhash.xxh3_128_digest(blob))
        return replace(instance_of(data, syntax, path, 4, len(blob)), proof=proof)

    def image(self, data: Dataset, number: int, syntax: str = EXPLICIT) -> Instance:
        """Image `number` of a series."""
        data.SOPInstanceUID, data.InstanceNumber = f"1.2.3.4.{number + 1}", number
        return self.put(encoded(data, syntax), data, syntax)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each image that was prepared followed another."""
    found: list[bool] = []
    follow = CompressStep.follow

    def noting(self: CompressStep, *arguments: Any) -> Payload | None:
        made = follow(self, *arguments)
        found.append(made is not None)
        return made

    monkeypatch.setattr(CompressStep, "follow", noting)
    return found


def whole_way(made: Pipeline) -> Pipeline:
    """A pipeline whose images never follow each other."""
    step = made._encode[1] if made._encode else None
    assert isinstance(step, CompressStep)
    step.follow = lambda *arguments: None  # type: ignore[method-assign]
    return made


def same(made: Payload, expected: Payload) -> bool:
    return b"".join(made.chunks()) == b"".join(expected.chunks()) and replace(made, parts=()) == replace(
        expected, parts=()
    )


# --- Both ways


@pytest.mark.parametrize("before", [(), (TAGS,)], ids=["as it came", "edited"])
@pytest.mark.parametrize("name", SERIES)
def test_an_image_that_follows_is_what_the_whole_way_makes_of_it(
    spool: Spool, followed: list[bool], name: str, before: tuple[dict[str, Any], ...]
) -> None:
    one, other = pipeline(*before, compress()), whole_way(pipeline(*before, compress()))
    for number in range(4):
        instance = spool.image(SERIES[name](number), number)
        memory, expected = Notebook(), Notebook()
        made, whole = (each.prepare(instance, notes) for each, notes in ((one, memory), (other, expected)))
        assert same(made, whole)
        assert memory.facts == expected.facts
        assert memory.kept == 1
    assert followed == [False, True, True, True]


@pytest.mark.parametrize(
    "config",
    [
        {"min_psnr": 30.0},
        {"min_ssim": 0.5},
        {"max_error": 2000},
        {"color": "ybr"},
        {"to": ["jpeg2000", "htj2k"]},
        {"ratio": 4},
    ],
    ids=str,
)
def test_every_rule_with_a_ratio_is_followed(
    spool: Spool, followed: list[bool], config: dict[str, Any]
) -> None:
    one, other = pipeline(compress(**config)), whole_way(pipeline(compress(**config)))
    for number in range(3):
        instance = spool.image(padded(number), number)
        memory, expected = Notebook(), Notebook()
        assert same(one.prepare(instance, memory), other.prepare(instance, expected))
        assert memory.facts == expected.facts
    assert followed == [False, True, True]


@pytest.mark.skipif(not REAL, reason="MAPDR_TEST_DATA has none of these files")
def test_real_series_are_followed(spool: Spool, followed: list[bool]) -> None:
    """Slices of two scanners, in the order of their numbers."""
    for name, least in (("ct_philips_phantom_140", 15), ("ct_ge_head_28", 15)):
        followed.clear()
        one, other = pipeline(compress()), whole_way(pipeline(compress()))
        found = [pydicom.dcmread(path) for path in (DATA / "series" / name).iterdir()]
        for data in sorted(found, key=lambda each: int(each.InstanceNumber))[:20]:
            instance = spool.put(encoded(Dataset(data)), data)
            made, whole = one.prepare(instance, Notebook()), other.prepare(instance, Notebook())
            assert same(made, whole)
        assert sum(followed) >= least


# --- What is read


@pytest.fixture
def read_tags(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The tags that are asked for of headers."""
    found: set[int] = set()
    for name in ("__contains__", "element", "value", "texts", "text", "number"):
        function = getattr(Attributes, name)

        def noting(self: Attributes, tag: int, *more: Any, _function: Any = function) -> Any:
            found.add(tag)
            return _function(self, tag, *more)

        monkeypatch.setattr(Attributes, name, noting)
    return found


@pytest.mark.parametrize("name", SERIES)
def test_the_whole_way_reads_nothing_else(spool: Spool, read_tags: set[int], name: str) -> None:
    whole_way(pipeline(compress())).prepare(spool.image(SERIES[name](0), 0), Notebook())
    assert len(read_tags) > 30
    assert read_tags - {*READ, *PIXEL_TAGS, *(tag for tag in SIGNATURES if tag > PIXEL_DATA)} == set()


def changed(data: Dataset, tag: int, number: int) -> bytes:
    """The bytes of image `number`, with another value of an element."""
    data.SOPInstanceUID = f"1.2.3.4.{number + 1}"
    blob = encoded(data)
    at = blob.index(b"\xe0\x7f\x10\x00")
    vr = "SQ" if tag in data and data[tag].VR == "SQ" else "LO"
    other = element(tag, "SQ", item([element(0x00081150, "UI", b"1.2.3")])) if vr == "SQ" else b""
    return splice(blob[:at], {tag: other or element(tag, "LO", b"99")}) + blob[at:]


@pytest.mark.parametrize("tag", sorted(READ), ids=lambda tag: f"{tag:08X}")
def test_an_image_that_says_anything_else_goes_the_whole_way(
    spool: Spool, followed: list[bool], tag: int
) -> None:
    one, other = pipeline(compress()), whole_way(pipeline(compress()))
    first = spool.image(padded(0), 0)
    for made in (one, other):
        made.prepare(first, Notebook())
    data = padded(1)
    instance = spool.put(changed(data, tag, 1), data)
    results: list[object] = []
    for made in (one, other):
        try:
            results.append(b"".join(made.prepare(instance, Notebook()).chunks()))
        except Permanent as error:
            results.append(str(error))
    assert results[0] == results[1]
    assert followed == [False, False]


# --- What does not follow


def trailing(blob: bytes) -> bytes:
    return blob + element(0xFFFCFFFC, "OB", b"\0\0")


def with_group_length(blob: bytes) -> bytes:
    return element(0x00080000, "UL", (4).to_bytes(4, "little")) + blob


def cut(blob: bytes) -> bytes:
    return blob[:-2]


@pytest.mark.parametrize("change", [trailing, with_group_length, cut])
def test_an_odd_data_set_goes_the_whole_way(spool: Spool, followed: list[bool], change: Any) -> None:
    one = pipeline(compress())
    one.prepare(spool.image(unsigned(0), 0), Notebook())
    data = unsigned(1)
    data.SOPInstanceUID = "1.2.3.4.2"
    instance = spool.put(change(encoded(data)), data)
    with suppress(Permanent):
        one.prepare(instance, Notebook())
    assert followed == [False, False]


def test_other_syntaxes_and_retries_go_the_whole_way(spool: Spool, followed: list[bool]) -> None:
    one = pipeline(compress())
    memory = Notebook()
    first = spool.image(unsigned(0), 0)
    made = one.prepare(first, memory)
    assert b"".join(one.prepare(first, memory).chunks()) == b"".join(made.chunks())
    one.prepare(spool.image(unsigned(1), 1, IMPLICIT), Notebook())
    assert followed == [False, False, False]
    one.prepare(spool.image(unsigned(2), 2), Notebook(), "1.2.840.10008.1.2.4.90")
    assert len(followed) == 3, "what a receiver insists on is not asked for"
    one.prepare(spool.image(unsigned(3), 3), Notebook())
    assert followed[3:] == [True]


def test_an_image_of_another_kind_goes_its_own_way(spool: Spool, followed: list[bool]) -> None:
    """Air, noise, values beyond the bits stored, and padding where the others have none."""
    one, other = pipeline(compress()), whole_way(pipeline(compress()))
    random = np.random.default_rng(0)
    air, noise = np.zeros((128, 128), np.int64), random.integers(0, 4096, (128, 128))
    beyond = grain(5, 0, 4000)
    beyond[3, 3] = 5000
    for number, values in enumerate((grain(0, 0, 4000), air, noise, beyond, grain(4, 0, 4000))):
        instance = spool.image(image(values), number)
        memory, expected = Notebook(), Notebook()
        assert same(one.prepare(instance, memory), other.prepare(instance, expected))
        assert memory.facts == expected.facts
    assert not followed[0]
    assert not followed[1]
    assert not followed[3]
    assert followed[4]


def test_what_a_guard_objects_to_is_judged_by_the_whole_way(spool: Spool, followed: list[bool]) -> None:
    """Its limit is between what the first and the second image lose."""
    lost = []
    for number in (0, 1):
        memory = Notebook()
        pipeline(compress()).prepare(spool.image(of_contrast(number), number), memory)
        assert memory.facts is not None
        lost.append(memory.facts["compress"]["max_error"])
    assert lost[1] > 2 * lost[0]
    followed.clear()
    config = compress(max_error=2 * lost[0], fallback="lossless")
    one, other = pipeline(config), whole_way(pipeline(config))
    for number in (0, 1):
        instance = spool.image(of_contrast(number), number)
        memory, expected = Notebook(), Notebook()
        assert same(one.prepare(instance, memory), other.prepare(instance, expected))
        assert memory.facts == expected.facts
    assert memory.facts == {"compress": {"course": "lossless", "reason": "max-error", **ratio(memory)}}
    assert followed == [False, False]


def of_contrast(number: int) -> Dataset:
    """The same anatomy, of which the second image has four times the contrast."""
    return image(grain(0, 0, 900) * (1 + 3 * number))


def ratio(memory: Notebook) -> dict[str, float]:
    assert memory.facts is not None
    return {"ratio": memory.facts["compress"]["ratio"]}


def test_bytes_that_were_not_received_are_no_image(spool: Spool, followed: list[bool]) -> None:
    one = pipeline(compress())
    one.prepare(spool.image(unsigned(0), 0), Notebook())
    instance = spool.image(unsigned(1), 1)
    content = bytearray(instance.path.read_bytes())
    content[-1] ^= 1
    instance.path.write_bytes(content)
    with pytest.raises(Permanent) as caught:
        one.prepare(instance, Notebook())
    assert caught.value.reason == "damaged"
    os.unlink(instance.path)
    with pytest.raises(Permanent) as caught:
        one.prepare(replace(instance, proof=replaced(instance)), Notebook())
    assert caught.value.reason == "missing"
    assert followed == [False]


def replaced(instance: Instance) -> Proof:
    assert instance.proof is not None
    return Proof(instance.path, instance.data_offset, instance.size, instance.proof.digest)
