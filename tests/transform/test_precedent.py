"""Images that follow one of their series, against the whole way that each of them could have gone.

Two pipelines of one rule get the same series; the images of the second never follow (`whole_way`). What both
make, keep, count, and tell the budget has to be the same (`Twins`).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mapdr.dicom import tags
from mapdr.dicom.tags import PIXEL_DATA, PIXEL_TAGS
from mapdr.dicom.write import EXPLICIT_LITTLE, element, item, splice, walk
from mapdr.kernel import budget
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Instance, Payload
from mapdr.kernel.proof import Proof
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.transform.encode import precedent
from mapdr.transform.encode.compress import CompressStep
from mapdr.transform.encode.policy import SIGNATURES
from mapdr.transform.encode.precedent import LARGEST, OVERLAYS, READ
from mapdr.transform.image import Attributes
from mapdr.transform.pipeline import Pipeline, build_pipeline
from mapdr.transform.view import Held
from peers.data import DATA, REAL

from .helpers import CODECS, EXPLICIT, Notebook, encoded, image, instance_of, picture, settings

TAGS = {"type": "tags", "config": [{"set": "StationName", "to": "ER1"}]}
IMPLICIT = "1.2.840.10008.1.2"


def compress(**config: Any) -> dict[str, Any]:
    return {"type": "compress", "config": {"to": "jpeg2000", "ratio": 10, **config}}


def pipeline(*steps: dict[str, Any], within: Settings | None = None) -> Pipeline:
    return build_pipeline({"steps": list(steps)}, Registry(), within or settings(), CODECS)


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


class Told(budget.Limited):
    """A share that notes what is in use whenever more is needed."""

    def __init__(self) -> None:
        super().__init__(1 << 40)
        self.needs: list[int] = []

    def need(self, amount: int) -> None:
        super().need(amount)
        self.needs.append(self._used)


@dataclass
class Outcome:
    """What a pipeline made of an image, and all that it told."""

    made: Payload | str
    memory: Notebook
    needs: list[int]
    counted: dict[Any, Any] = field(default_factory=dict)


class Twins:
    """A rule whose images follow each other, beside the same whose images never do."""

    def __init__(self, *steps: dict[str, Any]) -> None:
        self._settings = settings(), settings()
        one, other = (pipeline(*steps, within=each) for each in self._settings)
        self._pipelines = one, whole_way(other)
        self.followed: list[bool] = []

    def prepare(self, instance: Instance, asked: str = "", facts: Any = None) -> Outcome:
        """What both make of an image, which is the same; `facts` are kept of it already."""
        step = self.steps[0]
        follow, found = step.follow, [False]

        def noting(*arguments: Any) -> Payload | None:
            made = follow(*arguments)
            found[0] = made is not None
            return made

        step.follow = noting  # type: ignore[method-assign]
        try:
            one, other = (self._one(number, instance, asked, facts) for number in (0, 1))
        finally:
            step.follow = follow  # type: ignore[method-assign]
        self.followed += found
        if isinstance(one.made, Payload) and isinstance(other.made, Payload):
            assert same(one.made, other.made)
        else:
            assert one.made == other.made
        assert repr(one.memory.facts) == repr(other.memory.facts)
        assert one.memory.kept == other.memory.kept
        assert one.counted == other.counted
        if found[0]:
            assert one.needs[-1] == max(one.needs) == max(other.needs)
        return one

    @property
    def steps(self) -> tuple[CompressStep, CompressStep]:
        found = [each._encode[1] for each in self._pipelines if each._encode]
        one, other = (each for each in found if isinstance(each, CompressStep))
        return one, other

    def _one(self, number: int, instance: Instance, asked: str, facts: Any) -> Outcome:
        memory, share = Notebook(), Told()
        memory.facts = facts
        made: Payload | str
        with share.held():
            try:
                made = self._pipelines[number].prepare(instance, memory, asked)
            except Permanent as error:
                made = f"{error.reason}: {error}"
        return Outcome(made, memory, share.needs, dict(self._settings[number].watch.counters()))


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


def overlay(tag: int) -> bool:
    return OVERLAYS[0] <= tag <= OVERLAYS[1]


@pytest.mark.parametrize("name", SERIES)
def test_the_whole_way_reads_nothing_else(spool: Spool, read_tags: set[int], name: str) -> None:
    whole_way(pipeline(compress())).prepare(spool.image(SERIES[name](0), 0), Notebook())
    assert len(read_tags) > 30
    known = {*READ, *PIXEL_TAGS, *(tag for tag in SIGNATURES if tag > PIXEL_DATA)}
    assert {tag for tag in read_tags - known if not overlay(tag)} == set()


OTHERS = sorted(
    tag
    for tag in DicomDictionary
    if 0x00080001 <= tag < 0x7FE00000 and tag & 0xFFFF and tag not in READ and not overlay(tag)
)
"""Elements of the dictionary before the pixel data that are not compared."""
NUMBERS = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i", "FL": "<f", "FD": "<d", "SV": "<q", "UV": "<Q"}


def anything(tag: int) -> bytes:
    """An element with a value that might mean something."""
    vr = str(DicomDictionary[tag][0]).split(" or ")[0]
    if vr == "SQ":
        inner = [element(tags.ROWS, "US", b"\x05\0"), element(tags.LOSSY_IMAGE_COMPRESSION, "CS", b"01")]
        return element(tag, "SQ", item(inner))
    if vr in NUMBERS:
        return element(tag, vr, struct.pack(NUMBERS[vr], 7))
    texts = {
        "UI": b"1.2.9",
        "DS": b"7",
        "IS": b"7",
        "CS": b"YES",
        "DA": b"20200101",
        "TM": b"10",
        "AS": b"007Y",
    }
    return element(tag, "UN" if vr == "NONE" else vr, texts.get(vr, b"7777"))


@pytest.mark.parametrize("group", sorted({tag >> 16 for tag in OTHERS}), ids=lambda group: f"{group:04X}")
def test_what_is_not_compared_makes_no_difference(spool: Spool, group: int) -> None:
    """Whoever reads it in whatever way: all other elements of a group at once."""
    twins = Twins(compress())
    twins.prepare(spool.image(padded(0), 0))
    data = padded(1)
    data.SOPInstanceUID = "1.2.3.4.2"
    blob = encoded(data)
    at = blob.index(b"\xe0\x7f\x10\x00")
    mine = {tags.SOP_CLASS_UID, tags.SOP_INSTANCE_UID}
    changes = {tag: anything(tag) for tag in OTHERS if tag >> 16 == group and tag not in mine}
    twins.prepare(spool.put(splice(blob[:at], changes) + blob[at:], data))
    assert twins.followed == [False, True]


def changed(data: Dataset, tag: int, number: int) -> bytes:
    """The bytes of image `number`, with another value of an element."""
    data.SOPInstanceUID = f"1.2.3.4.{number + 1}"
    blob = encoded(data)
    at = blob.index(b"\xe0\x7f\x10\x00")
    vr = "SQ" if tag in data and data[tag].VR == "SQ" else "LO"
    other = element(tag, "SQ", item([element(0x00081150, "UI", b"1.2.3")])) if vr == "SQ" else b""
    return splice(blob[:at], {tag: other or element(tag, "LO", b"99")}) + blob[at:]


@pytest.mark.parametrize(
    "tag", sorted([*READ, 0x60000010, 0x60023000, 0x60FF0001]), ids=lambda tag: f"{tag:08X}"
)
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


# --- One thing differs


def trailing(blob: bytes) -> bytes:
    return blob + element(0xFFFCFFFC, "OB", b"\0\0")


def with_group_length(group: int) -> Callable[[bytes], bytes]:
    """The length of a group (retired) before its elements."""

    def change(blob: bytes) -> bytes:
        header, rest = halves(blob)
        inside = [each for each in walk(header, EXPLICIT_LITTLE) if each.tag >> 16 == group]
        length = element(group << 16, "UL", struct.pack("<I", inside[-1].end - inside[0].start))
        return header[: inside[0].start] + length + header[inside[0].start :] + rest

    return change


def halves(blob: bytes) -> tuple[bytes, bytes]:
    """What stands before the pixel data, and the rest."""
    at = blob.index(b"\xe0\x7f\x10\x00O")
    return blob[:at], blob[at:]


def put(tag: int, made: bytes) -> Callable[[bytes], bytes]:
    """An element is there, or is another."""

    def change(blob: bytes) -> bytes:
        header, rest = halves(blob)
        return splice(header, {tag: made}) + rest

    return change


def sequence(tag: int, uid: bytes, *, open_items: bool, open_end: bool) -> bytes:
    """A sequence of one item, each with a length or without."""
    inner = element(tags.REFERENCED_SOP_CLASS_UID, "UI", b"1.2.840.10008.5.1.4.1.1.2")
    inner += element(tags.REFERENCED_SOP_INSTANCE_UID, "UI", uid)
    one = item([inner])
    if open_items:
        one = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    if not open_end:
        return element(tag, "SQ", one)
    head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, 0xFFFFFFFF)
    return head + one + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


SEQUENCES = (
    tags.SOURCE_IMAGE_SEQUENCE,
    tags.DERIVATION_CODE_SEQUENCE,
    0x00081140,  # Referenced Image Sequence
    0x00081032,  # Procedure Code Sequence
    0x00091002,
    tags.SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
    tags.PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
    0x4FFE0001,
)
PLAIN = (
    element(tags.IMAGE_TYPE, "CS", b"DERIVED\\PRIMARY"),
    element(tags.IMAGE_TYPE, "CS", b"ORIGINAL\\SECONDARY\\AXIAL"),
    element(tags.MODALITY, "CS", b"MR"),
    element(tags.DERIVATION_DESCRIPTION, "ST", b"averaged"),
    element(tags.DERIVATION_DESCRIPTION, "ST", b"x" * 1010),
    element(tags.MULTIENERGY_CT_ACQUISITION, "CS", b"YES"),
    element(tags.CONCATENATION_UID, "UI", b"1.2.9"),
    element(tags.SMALLEST_IMAGE_PIXEL_VALUE, "US", b"\0\0"),
    element(tags.LARGEST_IMAGE_PIXEL_VALUE, "US", b"\xff\x0f"),
    element(tags.PIXEL_PADDING_VALUE, "US", b"\0\0"),
    element(tags.PIXEL_PADDING_VALUE, "SS", b"\x30\xf8"),
    element(tags.PIXEL_PADDING_RANGE_LIMIT, "US", b"\x10\0"),
    element(tags.LOSSY_IMAGE_COMPRESSION, "CS", b"00"),
    element(tags.LOSSY_IMAGE_COMPRESSION, "CS", b"01"),
    element(tags.LOSSY_IMAGE_COMPRESSION_RATIO, "DS", b"2.5"),
    element(tags.LOSSY_IMAGE_COMPRESSION_METHOD, "CS", b"ISO_10918_1"),
    element(tags.BITS_STORED, "US", b"\x0e\0"),
    element(tags.HIGH_BIT, "US", b"\x0f\0"),
    element(tags.PIXEL_REPRESENTATION, "US", b"\1\0"),
    element(tags.NUMBER_OF_FRAMES, "IS", b"1"),
    element(tags.NUMBER_OF_FRAMES, "IS", b"2"),
    element(tags.PHOTOMETRIC_INTERPRETATION, "CS", b"MONOCHROME1"),
    element(0x00090010, "LO", b"PRIVATE"),
    element(0x00091001, "UN", b"\x28\0\x10\0"),
    element(0x60000010, "US", b"\x20\0"),
    element(0x60000102, "US", b"\x0f\0"),
    element(0x60003000, "OW", bytes(128)),
    element(0x60020102, "US", b"\0\0"),
    element(0x50000005, "US", b"\0\0"),
    element(0x7FE00001, "OV", bytes(8)),
    element(0x00200013, "IS", b"123"),
    struct.pack("<HH2sH", 0x0020, 0x4000, b"LT", 3) + b"odd",
    struct.pack("<HH2sH", 0x0010, 0x0000, b"UL", 0),
    struct.pack("<HH2sH", 0x7FE0, 0x0000, b"UL", 0),
    element(0x7FE00000, "UL", b"\0\1\0\0"),
)


def tag_of(made: bytes) -> int:
    group, number = struct.unpack_from("<HH", made)
    return int(group << 16 | number)


def sequences(drawn: tuple[int, bool, bool]) -> list[Callable[[bytes], bytes]]:
    """A sequence that is there with one item or with another."""
    tag, open_items, open_end = drawn
    uids = b"1.2.3.8", b"1.2.3.9"
    return [put(tag, sequence(tag, uid, open_items=open_items, open_end=open_end)) for uid in uids]


SAME_WAY = st.tuples(st.sampled_from(SEQUENCES), st.booleans(), st.booleans()).map(sequences)
CHANGES = st.one_of(
    st.sampled_from(PLAIN).map(lambda made: put(tag_of(made), made)),
    SAME_WAY.map(lambda found: found[0]),
    st.sampled_from([trailing, lambda blob: blob + bytes(8), lambda blob: blob[:-2]]),
    st.sampled_from([0x0008, 0x0010, 0x0028]).map(with_group_length),
)
THEMES = st.one_of(SAME_WAY, st.lists(CHANGES, min_size=1, max_size=3))
"""The things that images of a series differ in: each has some of them."""


def small(number: int, kind: str) -> Dataset:
    """Slice `number` of a series of 32 x 32 cells, of some kind."""
    random = np.random.default_rng(number)
    values = (picture(32, 32, 100, 3000, 1) + random.integers(0, 60, (32, 32))).astype(np.int64)
    if kind == "constant":
        values[:] = 77
    if kind == "outside":
        values[3, 3] = 5000
    if kind == "simple":
        values = picture(32, 32, 0, 8, 1)
    if kind == "signed":
        return image(values - 1500, signed=True)
    if kind == "octets":
        return image(values // 16, allocated=8, stored=8)
    if kind == "rgb":
        return image(np.stack([values // 16] * 3, axis=-1), allocated=8, stored=8, photometric="RGB")
    return image(values)


KINDS = ("usual", "constant", "outside", "simple", "signed", "octets", "rgb")
ASKED = (*[""] * 9, "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.90", EXPLICIT)
STEPS: tuple[tuple[dict[str, Any], ...], ...] = (
    (compress(ratio=6),),
    (compress(ratio=6, to=["jpeg2000", "htj2k"], color="ybr"),),
    (compress(ratio=5, to="htj2k", max_error=400, fallback="original"),),
    (compress(ratio=6, to="auto"),),
    (TAGS, compress(ratio=6, min_ssim=0.2)),
    ({"type": "tags", "config": [{"remove": "SourceImageSequence"}]}, compress(ratio=6)),
)
IMAGES = st.tuples(
    st.sampled_from([""] * 5 + list(KINDS)), st.sampled_from(ASKED), st.lists(st.integers(0, 2), max_size=2)
)
"""Of another kind than its series, asked for, and what of the series' theme it has."""


@given(
    st.sampled_from(STEPS),
    st.sampled_from(["usual", "signed", "octets", "rgb"]),
    THEMES,
    st.lists(IMAGES, min_size=2, max_size=5),
)
def test_a_series_of_any_images_is_what_the_whole_way_makes_of_it(
    tmp_path_factory: pytest.TempPathFactory, steps: Any, kind: str, theme: Any, images: Any
) -> None:
    spool, twins = Spool(tmp_path_factory.mktemp("spool")), Twins(*steps)
    for number, (own, asked, of_theme) in enumerate(images):
        data = small(number, own or kind)
        data.SOPInstanceUID = f"1.2.3.4.{number + 1}"
        blob = encoded(data)
        for change in (theme[each] for each in of_theme if each < len(theme)):
            blob = change(blob)
        twins.prepare(spool.put(blob, data), asked)


def pair(
    spool: Spool, *changes: Callable[[bytes], bytes], steps: tuple[dict[str, Any], ...] = ()
) -> list[bool]:
    """Whether images of one series followed each other, each changed in its own way; `steps` come before."""
    twins = Twins(*steps, compress())
    for number, change in enumerate(changes):
        data = unsigned(number)
        data.SOPInstanceUID = f"1.2.3.4.{number + 1}"
        twins.prepare(spool.put(change(encoded(data)), data))
    return twins.followed


@pytest.mark.parametrize("open_end", [True, False])
@pytest.mark.parametrize("open_items", [True, False])
@pytest.mark.parametrize("tag", [tags.SOURCE_IMAGE_SEQUENCE, tags.DERIVATION_CODE_SEQUENCE])
def test_sequences_are_compared_whole(spool: Spool, tag: int, open_items: bool, open_end: bool) -> None:
    """Those without a length too, of which a walk gives no value."""
    one, other = (
        put(tag, sequence(tag, uid, open_items=open_items, open_end=open_end)) for uid in (b"1.2.8", b"1.2.9")
    )
    assert pair(spool, one, other, other) == [False, False, True]


def test_overlays_go_the_whole_way(spool: Spool) -> None:
    """The first has its bits in the pixels as far as its header says, the second beside them."""
    in_cells = put(0x60000102, element(0x60000102, "US", b"\x0f\0"))
    beside = put(0x60003000, element(0x60003000, "OW", bytes(2048)))
    assert pair(spool, in_cells, in_cells) == [False, False]
    assert pair(spool, lambda blob: blob, beside) == [False, False]
    assert pair(spool, beside, lambda blob: blob, lambda blob: blob) == [False, False, True]


def test_a_sequence_that_is_not_regular_goes_the_whole_way(spool: Spool) -> None:
    """An item holds a value of odd length, which is padded."""
    odd = struct.pack("<HH2sH", 0x0008, 0x1155, b"UI", 5) + b"1.2.3"
    irregular = put(0x00081140, element(0x00081140, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 13) + odd))
    assert pair(spool, lambda blob: blob, irregular, irregular) == [False, False, False]


def test_an_empty_group_length_is_what_the_whole_way_makes_of_it(spool: Spool) -> None:
    """One of the pixel data's group is taken away, and others are set right then."""

    def change(blob: bytes) -> bytes:
        header, rest = halves(blob)
        first, last = (struct.pack("<HH2sH", group, 0, b"UL", 0) for group in (0x0008, 0x7FE0))
        return first + header + last + rest

    assert pair(spool, change, change) == [False, False]


@pytest.mark.parametrize("vr", [b"ZZ", b"  ", b"\0\0"])
def test_pixel_data_of_no_vr_is_no_precedent(spool: Spool, vr: bytes) -> None:
    """An edited header does not hold its head; the whole way writes all of such a data set anew."""

    def change(blob: bytes) -> bytes:
        header, rest = halves(blob)
        at = header.index(b"\x10\0\x10\0")
        header = header[:at] + struct.pack("<HH2sH", 0x0010, 0, b"UL", 0) + header[at:]
        return header + rest[:4] + vr + rest[6:]

    assert pair(spool, change, change, steps=(TAGS,)) == [False, False]


@pytest.mark.parametrize("asked", ["1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.91"])
def test_what_a_receiver_asked_for_is_no_precedent(spool: Spool, asked: str) -> None:
    twins = Twins(compress(to=["jpeg2000", "htj2k"]))
    for number, syntax in enumerate((asked, "", "", asked, "")):
        twins.prepare(spool.image(unsigned(number), number), syntax)
    assert twins.followed == [False, False, True, False, True]


def test_a_hint_of_nothing_is_none(spool: Spool) -> None:
    """As `aim.hit` has it, where it is made as the first of a series is."""
    twins = Twins(compress())
    twins.prepare(spool.image(unsigned(0), 0))
    for step in twins.steps:
        for key in list(step._hints._hints):
            step._hints.learn(key, 0.0)
    twins.prepare(spool.image(unsigned(1), 1))
    assert twins.followed == [False, False]


def test_large_headers_are_not_kept(spool: Spool) -> None:
    large = put(0x00091001, element(0x00091001, "OB", bytes(LARGEST)))
    assert pair(spool, large, large, large) == [False, False, False]


def test_a_retry_is_made_as_is_known(spool: Spool) -> None:
    twins = Twins(compress())
    first = twins.prepare(spool.image(unsigned(0), 0))
    again = twins.prepare(spool.image(unsigned(1), 1), facts=first.memory.facts)
    assert isinstance(again.made, Payload)
    assert twins.followed == [False, False]


def test_a_note_of_another_step_is_dropped_as_on_the_whole_way(spool: Spool, followed: list[bool]) -> None:
    one, other = pipeline(compress()), whole_way(pipeline(compress()))
    for number in range(2):
        instance = spool.image(unsigned(number), number)
        assert instance.proof is not None
        held = Held(instance.proof, instance.proof.read())
        span = FileSlice(instance.path, instance.data_offset, instance.size, instance.proof)
        uids = instance.sop_class_uid, instance.sop_instance_uid
        came = Payload(*uids, EXPLICIT, (span,), instance.size, note="edited")
        made, whole = (each.apply(came, instance, Notebook(), "", held) for each in (one, other))
        assert same(made, whole)
    assert followed == [False, True]


def test_a_codec_that_fails_is_told_of_by_the_whole_way(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = Twins(compress())
    for number in range(2):
        twins.prepare(spool.image(unsigned(number), number))
    encoder = type(CODECS.lossy_encoder("1.2.840.10008.1.2.4.91"))

    def fail(*arguments: Any) -> Any:
        raise Permanent("it does not come back", reason="codec")

    with monkeypatch.context() as patch:
        patch.setattr(encoder, "decode", fail)
        assert twins.prepare(spool.image(unsigned(2), 2)).made == "codec: it does not come back"
    twins.prepare(spool.image(unsigned(3), 3))
    assert twins.followed == [False, True, False, True]


def test_one_codestream_is_in_memory(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a level is searched for, the last one and the sizes of the others are kept."""
    twins = Twins(compress())
    twins.prepare(spool.image(unsigned(0), 0))
    for step in twins.steps:
        for key in list(step._hints._hints):
            step._hints.learn(key, 9.0)  # far off
    sizes: list[precedent._Sizes] = []
    call = precedent._Sizes.__call__

    def noting(self: precedent._Sizes, level: float) -> int:
        found = call(self, level)
        sizes.append(self)
        assert len(self.last) == found
        return found

    monkeypatch.setattr(precedent._Sizes, "__call__", noting)
    twins.prepare(spool.image(unsigned(1), 1))
    assert twins.followed == [False, True]
    assert sizes[0].encodes > 1


# --- What does not follow


@pytest.mark.parametrize("change", [trailing, with_group_length(0x0008), lambda blob: blob[:-2]])
def test_an_odd_data_set_goes_the_whole_way(spool: Spool, change: Any) -> None:
    assert pair(spool, lambda blob: blob, change) == [False, False]


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
