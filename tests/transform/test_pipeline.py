"""Recipes as pipelines: order, memory of each step, and syntaxes that a receiver insists on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from pydantic import TypeAdapter
from pydicom.dataset import Dataset

from mapdr.dicom import scan
from mapdr.dicom.uids import DEFLATED_IMAGE_FRAME
from mapdr.kernel import budget
from mapdr.kernel.codec import FrameFormat, Pixels
from mapdr.kernel.errors import Permanent, Unavailable
from mapdr.kernel.item import FileSlice, Instance, Payload, Treatment
from mapdr.kernel.proof import Proof
from mapdr.kernel.registry import Registry
from mapdr.kernel.step import Changes, Memory, Phase, Reads
from mapdr.transform import dataset
from mapdr.transform.codecs.foreign import Decoders
from mapdr.transform.codecs.jpeg2000 import Jpeg2000
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.dataset import DataSet
from mapdr.transform.image import NativeFrames
from mapdr.transform.pipeline import Pipeline, build_pipeline

from .helpers import CODECS, EXPLICIT, Notebook, image, payload_of, picture, read, settings, to_syntax

IMPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
GUIDE = Path(__file__).resolve().parents[2] / "docs/plugins"
REGISTRY = Registry()
LOSSLESS, LOSSY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
TAGS = {"type": "tags", "config": [{"set": "StationName", "to": "ER1"}]}
LOSSLESS_STEP = {"type": "compress", "config": {"to": "jpeg2000-lossless"}}
COMPRESS = {"type": "compress", "config": {"to": "jpeg2000", "ratio": 10}}


def pipeline(*steps: dict[str, Any]) -> Pipeline:
    return build_pipeline({"steps": list(steps)}, REGISTRY, settings(), CODECS)


@pytest.fixture
def spooled(tmp_path: Path) -> Instance:
    random = np.random.default_rng(0)
    values = picture(128, 128, 100, 3000) + random.integers(-40, 41, (128, 128))
    payload, instance = payload_of(image(values))
    path = tmp_path / "spooled.dcm"
    path.write_bytes(b"file meta" + b"".join(payload.chunks()))
    return replace(instance, path=path, data_offset=9, size=payload.length)


def test_an_empty_recipe_relays_the_spooled_bytes(spooled: Instance) -> None:
    payload = pipeline().prepare(spooled, Notebook())
    assert payload.parts == (FileSlice(spooled.path, 9, spooled.size),)
    assert payload.treatment is Treatment.RELAYED
    assert payload.transfer_syntax_uid == EXPLICIT
    of_instance = (spooled.study_instance_uid, spooled.series_instance_uid)
    assert (payload.study_instance_uid, payload.series_instance_uid) == of_instance
    assert all(of_instance)


def test_steps_work_on_each_others_results(spooled: Instance) -> None:
    notebook = Notebook()
    payload = pipeline(TAGS, COMPRESS).prepare(spooled, notebook)
    found = read(payload)
    assert found.StationName == "ER1"
    assert payload.transfer_syntax_uid == LOSSY
    assert payload.treatment is Treatment.TRANSCODED
    assert found.SourceImageSequence[0].ReferencedSOPInstanceUID == spooled.sop_instance_uid
    assert notebook.facts is not None
    assert set(notebook.facts) == {"compress"}
    again = pipeline(TAGS, COMPRESS).prepare(spooled, notebook)
    assert list(again.chunks()) == list(payload.chunks())
    assert notebook.kept == 1


def test_a_syntax_that_the_receiver_insists_on_replaces_the_recipes(spooled: Instance) -> None:
    steps = pipeline(TAGS, COMPRESS)
    native = steps.prepare(spooled, Notebook(), "1.2.840.10008.1.2")
    assert native.transfer_syntax_uid == "1.2.840.10008.1.2"
    assert read(native).StationName == "ER1"
    assert "LossyImageCompression" not in read(native)
    assert native.sop_instance_uid == spooled.sop_instance_uid
    lossless = steps.prepare(spooled, Notebook(), LOSSLESS)
    assert lossless.transfer_syntax_uid == LOSSLESS
    assert lossless.sop_instance_uid == spooled.sop_instance_uid
    same = steps.prepare(spooled, Notebook(), EXPLICIT)
    assert same.treatment is Treatment.EDITED


class Mask:
    """A step of somebody else: it blackens a rectangle, or all."""

    phase, reads, changes, copies = Phase.PIXELS, Reads.FRAMES, Changes.PIXELS, 0

    def __init__(self, rows: int = 1 << 16) -> None:
        self.rows = rows
        self.seen: list[int] = []

    def paint(self, frame: Pixels, form: FrameFormat, index: int, instance: Instance) -> Pixels:
        self.seen.append(index)
        assert not frame.flags.writeable
        masked = frame.copy()
        masked[: self.rows] = 0
        return masked


class WritingMask(Mask):
    """The same, as a step that writes pixels where the header is edited: no step may be two."""

    phase, reads, changes, copies = Phase.HEADER, Reads.DATA_SET, Changes.HEADER, 2

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
        data = Dataset(read(payload))
        data.PixelData = bytes(len(data.PixelData))
        return payload_of(data)[0]


def with_mask(mask: Any, *steps: dict[str, Any]) -> Pipeline:
    """A pipeline with a mask that its rule names last."""
    built = [(step["type"], REGISTRY.factory("transform", step["type"])) for step in steps]
    named = [
        (type_, factory.build(settings(), TypeAdapter(factory.config).validate_python(step["config"]), None))
        for (type_, factory), step in zip(built, steps, strict=True)
    ]
    return Pipeline([*named, ("mask", mask)], settings(), CODECS)


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("mask", [Mask, WritingMask])
@pytest.mark.parametrize("steps", [(), (LOSSLESS_STEP,), (TAGS, LOSSLESS_STEP)])
@pytest.mark.parametrize("syntax", ["", EXPLICIT, IMPLICIT, LOSSLESS])
def test_no_step_is_skipped_whatever_syntax_the_receiver_takes(
    spooled: Instance, mask: type[Mask], steps: tuple[dict[str, Any], ...], syntax: str
) -> None:
    masked = with_mask(mask(), *steps).prepare(spooled, Notebook(), syntax)
    assert masked.transfer_syntax_uid == (syntax or (LOSSLESS if steps else EXPLICIT))
    assert not np.any(read(to_syntax(masked, EXPLICIT)).pixel_array)
    if TAGS in steps:
        assert read(masked).StationName == "ER1"


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.2"]
)
def test_a_step_whose_result_the_receiver_cannot_get_parks_the_image(spooled: Instance, syntax: str) -> None:
    with pytest.raises(Permanent) as caught:
        with_mask(Mask()).prepare(spooled, Notebook(), syntax)
    assert caught.value.reason == "syntax"


class Counts:
    """How often a data set is opened and a frame read, and how often a frame is encoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = self.inflated = self.decoded = self.encoded = 0
        for owner, name, counter in (
            (DataSet, "__enter__", "opened"),
            (scan, "inflate_exactly", "inflated"),
            (dataset, "inflate_exactly", "inflated"),
            (NativeFrames, "cells", "decoded"),
            (Decoders, "decode", "decoded"),
            (Jpeg2000, "encode", "encoded"),
        ):
            self._count(monkeypatch, owner, name, counter)

    def _count(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, counter: str) -> None:
        real = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            setattr(self, counter, getattr(self, counter) + 1)
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, counted)


def on_disk(payload: Payload, instance: Instance, folder: Path) -> Instance:
    """The payload as the file of an image in the spool."""
    path = folder / "image.dcm"
    path.write_bytes(b"".join(payload.chunks()))
    syntax = payload.transfer_syntax_uid
    return replace(instance, path=path, data_offset=0, size=payload.length, transfer_syntax_uid=syntax)


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("source", [EXPLICIT, IMPLICIT, DEFLATED, LOSSLESS])
@pytest.mark.parametrize("order", [(TAGS, LOSSLESS_STEP), (LOSSLESS_STEP, TAGS)])
def test_an_image_is_opened_decoded_and_encoded_once_for_all_steps(
    source: str, order: tuple[dict[str, Any], ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.stack([picture(64, 64, 100, 3000, seed) for seed in range(3)])
    payload, instance = payload_of(image(values, frames=3))
    # Raw cells are larger than what comes out, whatever the mask leaves.
    came = on_disk(to_syntax(payload, source), instance, tmp_path)
    mask, counts = Mask(rows=20), Counts(monkeypatch)
    made = with_mask(mask, *order).prepare(came, Notebook())
    assert (counts.opened, counts.inflated) == (1, source == DEFLATED)
    assert (counts.decoded, counts.encoded) == (3, 3)
    assert sorted(mask.seen) == [0, 1, 2]
    assert made.transfer_syntax_uid == LOSSLESS
    found = read(made)
    assert found.StationName == "ER1"
    values[:, :20] = 0
    assert np.array_equal(read(to_syntax(made, EXPLICIT)).pixel_array, values)


@pytest.mark.usefixtures("own_decoders")
@pytest.mark.parametrize("steps", [(), (TAGS,), (COMPRESS,)])
def test_a_syntax_that_the_receiver_insists_on_is_written_by_the_codec_that_can(
    spooled: Instance, steps: tuple[dict[str, Any], ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The codec is that of the guide for plug-ins; decoder processes import it too."""
    monkeypatch.syspath_prepend(GUIDE / "deflate")
    registry = Registry()
    monkeypatch.setitem(registry._modules, ("codec", "deflate"), "mapdr_deflate")
    codecs = Codecs(registry, settings())
    made = build_pipeline({"steps": list(steps)}, registry, settings(), codecs).prepare(
        spooled, Notebook(), DEFLATED_IMAGE_FRAME
    )
    assert made.transfer_syntax_uid == DEFLATED_IMAGE_FRAME
    assert made.sop_instance_uid == spooled.sop_instance_uid
    assert made.unmet == ("compression-refused" if COMPRESS in steps else "")
    came = on_disk(made, spooled, tmp_path)
    back = build_pipeline({"steps": []}, registry, settings(), codecs).prepare(came, Notebook(), EXPLICIT)
    assert np.array_equal(read(back).pixel_array, read(pipeline().prepare(spooled, Notebook())).pixel_array)
    with pytest.raises(Permanent, match=r"not written here|no codec here") as caught:
        pipeline(*steps).prepare(spooled, Notebook(), DEFLATED_IMAGE_FRAME)
    assert caught.value.reason == "syntax"


def test_other_pixels_are_another_image_with_a_uid_that_a_retry_gives_again(spooled: Instance) -> None:
    first, again = (with_mask(Mask(rows=9), TAGS).prepare(spooled, Notebook()) for _ in range(2))
    assert first.sop_instance_uid == again.sop_instance_uid != spooled.sop_instance_uid
    assert read(first).SOPInstanceUID == first.sop_instance_uid
    other = with_mask(Mask(rows=10), TAGS).prepare(spooled, Notebook())
    assert other.sop_instance_uid != first.sop_instance_uid
    same = with_mask(Mask(rows=0), TAGS).prepare(spooled, Notebook())
    assert same.sop_instance_uid == read(same).SOPInstanceUID == spooled.sop_instance_uid
    lossless = with_mask(Mask(rows=9), LOSSLESS_STEP).prepare(spooled, Notebook())
    assert lossless.sop_instance_uid == read(lossless).SOPInstanceUID != spooled.sop_instance_uid


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("syntax", ["", IMPLICIT, LOSSLESS])
def test_colour_is_masked_in_any_planar_configuration(planar: int, syntax: str, tmp_path: Path) -> None:
    values = np.stack([picture(40, 50, 0, 255, seed) for seed in range(3)], -1)
    data = image(values, allocated=8, stored=8, photometric="RGB", planar=planar, sop_class=SECONDARY)
    made = with_mask(Mask(rows=7)).prepare(on_disk(*payload_of(data), tmp_path), Notebook(), syntax)
    values[:7] = 0
    assert np.array_equal(read(to_syntax(made, EXPLICIT)).pixel_array, values)


def test_pixels_that_are_no_frames_are_parked_where_a_step_changes_them(tmp_path: Path) -> None:
    one_bit = image(picture(16, 16, 0, 1), allocated=8, stored=1)
    one_bit.BitsAllocated, one_bit.PixelData = 1, bytes(32)
    floating = image(picture(16, 16, 0, 1))
    del floating.PixelData
    floating.FloatPixelData = bytes(4 * 16 * 16)
    short = image(picture(16, 16, 0, 1))
    short.PixelData = short.PixelData[:100]
    for data in (one_bit, floating, short):
        came = on_disk(*payload_of(data), tmp_path)
        for steps in ((), (LOSSLESS_STEP,)):
            with pytest.raises(Permanent) as caught:
                with_mask(Mask(), *steps).prepare(came, Notebook())
            assert caught.value.reason == "pixels"
    report = image(picture(16, 16, 0, 1))
    del report.PixelData
    came = on_disk(*payload_of(report), tmp_path)
    assert with_mask(Mask()).prepare(came, Notebook()).treatment is Treatment.RELAYED


class Failing(Mask):
    def paint(self, frame: Pixels, form: FrameFormat, index: int, instance: Instance) -> Pixels:
        raise ValueError("it does not know this manufacturer")


class Cropping(Mask):
    def paint(self, frame: Pixels, form: FrameFormat, index: int, instance: Instance) -> Pixels:
        return frame[1:]


@pytest.mark.parametrize("syntax", ["", EXPLICIT, IMPLICIT, LOSSLESS])
@pytest.mark.parametrize("steps", [(), (TAGS,), (LOSSLESS_STEP,), (COMPRESS,)])
def test_a_step_that_fails_lets_nothing_out(
    spooled: Instance, steps: tuple[dict[str, Any], ...], syntax: str
) -> None:
    with pytest.raises(ValueError, match="manufacturer"):
        with_mask(Failing(), *steps).prepare(spooled, Notebook(), syntax)
    with pytest.raises(Permanent) as caught:
        with_mask(Cropping(), *steps).prepare(spooled, Notebook(), syntax)
    assert caught.value.reason == "pixels"


def test_a_step_that_changes_what_it_does_not_declare_is_parked(spooled: Instance) -> None:
    class Sly(WritingMask):
        def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
            return replace(payload, transfer_syntax_uid=IMPLICIT)

    class Secret(WritingMask):
        changes = Changes.NOTHING

    for step in (Sly(), Secret()):
        with pytest.raises(Permanent) as caught:
            with_mask(step).prepare(spooled, Notebook())
        assert caught.value.reason == "transform"


class Lying(WritingMask):
    """A step of the header, or one that encodes, that gives `lie(payload)`."""

    def __init__(self, lie: Callable[[Payload], Payload], phase: Phase, changes: Changes) -> None:
        super().__init__()
        self.lie, self.phase, self.changes = lie, phase, changes

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
        return self.lie(payload)

    def encode(self, document: Any, instance: Instance, memory: Memory, syntax: str) -> Payload:
        return self.lie(document.payload)


def _copied(payload: Payload, **more: Any) -> Payload:
    return replace(payload, parts=(b"".join(payload.chunks()),), **more)


LIES: dict[str, tuple[Phase, Changes, Callable[[Payload], Payload]]] = {
    "another UID": (Phase.HEADER, Changes.NOTHING, lambda it: replace(it, sop_instance_uid="1.2.3")),
    "another length": (Phase.HEADER, Changes.HEADER, lambda it: _copied(it, length=it.length + 2)),
    "no bytes": (Phase.HEADER, Changes.HEADER, lambda it: replace(it, parts=(bytearray(it.length),))),
    "encodes": (Phase.ENCODE, Changes.NOTHING, _copied),
    "a syntax": (Phase.ENCODE, Changes.PIXELS, lambda it: _copied(it, transfer_syntax_uid=LOSSLESS)),
    "the same": (Phase.ENCODE, Changes.SYNTAX, lambda it: replace(it, transfer_syntax_uid=LOSSLESS)),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_step_gives_beyond_its_declaration_does_not_leave(spooled: Instance, lie: str) -> None:
    phase, changes, given = LIES[lie]
    with pytest.raises(Permanent) as caught:
        with_mask(Lying(given, phase, changes)).prepare(spooled, Notebook())
    assert caught.value.reason == "transform"


def test_an_encoder_that_leaves_out_what_was_painted_lets_nothing_out(spooled: Instance) -> None:
    class Reading(Lying):
        def encode(self, document: Any, instance: Instance, memory: Memory, syntax: str) -> Payload:
            document.frames.cells(0)
            return _copied(document.payload)

    every = Changes.HEADER | Changes.PIXELS | Changes.SYNTAX
    for encoder, words in ((Lying, "did not write the pixels"), (Reading, "the UID of the image")):
        steps = Pipeline(
            [("mask", Mask()), ("own", encoder(_copied, Phase.ENCODE, every))], settings(), CODECS
        )
        with pytest.raises(Permanent, match=words) as caught:
            steps.prepare(spooled, Notebook())
        assert caught.value.reason == "transform"


@pytest.mark.parametrize("given", [None, [[0]], "masked"])
def test_pixels_that_are_no_plain_array_do_not_leave(spooled: Instance, given: Any) -> None:
    class Odd(Mask):
        def paint(self, frame: Pixels, form: FrameFormat, index: int, instance: Instance) -> Pixels:
            odd: Pixels = np.ma.masked_array(frame.copy(), mask=True) if given == "masked" else given
            return odd

    with pytest.raises(Permanent) as caught:
        with_mask(Odd()).prepare(spooled, Notebook())
    assert caught.value.reason == "pixels"


@pytest.mark.parametrize("steps", [(), (TAGS,), (COMPRESS,), (TAGS, COMPRESS)])
def test_a_deflated_object_that_is_not_compressed_leaves_deflated(
    steps: tuple[dict[str, Any], ...], tmp_path: Path
) -> None:
    report = image(picture(16, 16, 0, 1))
    del report.PixelData
    payload, instance = payload_of(report)
    came = on_disk(to_syntax(payload, DEFLATED), instance, tmp_path)
    made = pipeline(*steps).prepare(came, Notebook())
    assert made.transfer_syntax_uid == DEFLATED
    assert made.treatment is (Treatment.EDITED if TAGS in steps else Treatment.RELAYED)
    assert made.note == ("not compressed: no-pixels" if COMPRESS in steps else "")
    if TAGS in steps:
        assert read(made).StationName == "ER1"
        assert list(made.chunks()) == list(pipeline(TAGS).prepare(came, Notebook()).chunks())
    else:
        assert b"".join(made.chunks()) == came.path.read_bytes()


def test_a_step_that_does_not_say_what_it_is_is_not_run() -> None:
    class Silent:
        def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
            return payload

    with pytest.raises(Permanent, match="Silent does not declare phase, reads, changes, copies") as caught:
        with_mask(Silent())
    assert caught.value.reason == "recipe"


def test_pixels_are_encoded_once() -> None:
    with pytest.raises(Permanent, match="encoded once") as caught:
        pipeline(COMPRESS, LOSSLESS_STEP)
    assert caught.value.reason == "recipe"


def test_a_compression_that_the_receiver_refuses_is_told(spooled: Instance) -> None:
    steps = pipeline(COMPRESS)
    assert steps.prepare(spooled, Notebook()).unmet == ""
    for syntax in (EXPLICIT, IMPLICIT):
        payload = steps.prepare(spooled, Notebook(), syntax)
        assert payload.transfer_syntax_uid == syntax
        assert payload.unmet == "compression-refused"
    payload = steps.prepare(spooled, Notebook(), LOSSLESS)
    assert (payload.transfer_syntax_uid, payload.unmet) == (LOSSLESS, "")
    assert payload.note == "compressed without loss: asked-for"
    lossless = pipeline(LOSSLESS_STEP)
    assert lossless.prepare(spooled, Notebook(), LOSSLESS).unmet == ""
    assert lossless.prepare(spooled, Notebook(), IMPLICIT).unmet == "compression-refused"


def test_what_would_not_have_been_compressed_lacks_nothing(spooled: Instance, tmp_path: Path) -> None:
    data = image(picture(8, 8, 0, 100))
    del data.PixelData
    payload, instance = payload_of(data)
    path = tmp_path / "report.dcm"
    path.write_bytes(b"".join(payload.chunks()))
    instance = replace(instance, path=path, size=payload.length)
    made = pipeline(COMPRESS).prepare(instance, Notebook(), IMPLICIT)
    assert (made.transfer_syntax_uid, made.unmet) == (IMPLICIT, "")
    assert made.note == "not compressed: no-pixels"


def test_a_syntax_that_cannot_be_had_is_permanent(spooled: Instance, tmp_path: Path) -> None:
    with pytest.raises(Permanent) as caught:
        pipeline().prepare(spooled, Notebook(), LOSSY)
    assert caught.value.reason == "syntax"
    data = image(picture(8, 8, 0, 100))
    del data.PixelData
    payload, instance = payload_of(data)
    path = tmp_path / "report.dcm"
    path.write_bytes(b"".join(payload.chunks()))
    with pytest.raises(Permanent) as caught:
        pipeline().prepare(replace(instance, path=path, size=payload.length), Notebook(), LOSSLESS)
    assert caught.value.reason == "syntax"
    assert "no-pixels" in str(caught.value)


def test_a_recipe_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(Unavailable):
        pipeline({"type": "colourise", "config": {}})
    with pytest.raises(Permanent) as caught:
        pipeline({"type": "compress", "config": {"to": "jpeg2000", "ratio": 10, "was_once": "known"}})
    assert caught.value.reason == "recipe"


def proved(spooled: Instance, *, damage: int | None = None) -> Instance:
    """The instance with the digest of what was received; then one bit of its file is flipped, or not."""
    content = bytearray(spooled.path.read_bytes())
    digest = xxhash.xxh3_128_digest(bytes(content[spooled.data_offset :]))
    if damage is not None:
        content[damage] ^= 1
        spooled.path.write_bytes(content)
    return replace(spooled, proof=Proof(spooled.path, spooled.data_offset, spooled.size, digest))


@pytest.mark.parametrize("steps", [(), (TAGS,), (TAGS, COMPRESS), (COMPRESS,)])
def test_what_a_recipe_makes_of_a_damaged_file_does_not_leave(
    spooled: Instance, steps: tuple[dict[str, Any], ...]
) -> None:
    assert list(pipeline(*steps).prepare(proved(spooled), Notebook()).chunks())
    for damage in (12, spooled.size // 2, spooled.data_offset + spooled.size - 1):
        original = spooled.path.read_bytes()
        with pytest.raises(Permanent) as caught:
            list(pipeline(*steps).prepare(proved(spooled, damage=damage), Notebook()).chunks())
        assert caught.value.reason == "damaged"
        spooled.path.write_bytes(original)
    gone = proved(spooled)
    spooled.path.unlink()
    with pytest.raises(Permanent) as caught:
        list(pipeline(*steps).prepare(gone, Notebook()).chunks())
    assert caught.value.reason == "missing"


@pytest.mark.parametrize("is_deflated", [False, True])
@pytest.mark.parametrize(("at_once", "often"), [(1 << 24, 1), (100, 2)])
def test_an_image_is_read_once_to_be_compared_and_changed(
    spooled: Instance,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
    often: int,
    is_deflated: bool,
    tmp_path: Path,
) -> None:
    """A large one as often as it takes, frame by frame; and it becomes the same."""
    if is_deflated:
        deflates = pipeline({"type": "compress", "config": {"to": "deflated"}})
        spooled = on_disk(deflates.prepare(spooled, Notebook()), spooled, tmp_path)
        assert spooled.transfer_syntax_uid == DEFLATED
    expected = b"".join(pipeline(COMPRESS).prepare(proved(spooled), Notebook()).chunks())
    opened: list[object] = []
    open_now = os.open

    def noting(path: Any, *some: Any) -> int:
        if path == spooled.path:
            opened.append(path)
        return open_now(path, *some)

    monkeypatch.setattr("mapdr.transform.pipeline.AT_ONCE", at_once)
    monkeypatch.setattr(os, "open", noting)
    made = pipeline(COMPRESS).prepare(proved(spooled), Notebook())
    assert len(opened) == often
    assert b"".join(made.chunks()) == expected


@pytest.mark.parametrize(("steps", "syntax"), [((COMPRESS,), ""), ((TAGS,), IMPLICIT), ((), LOSSLESS)])
def test_a_codec_is_given_no_bytes_before_they_are_proved(
    spooled: Instance, monkeypatch: pytest.MonkeyPatch, steps: tuple[dict[str, Any], ...], syntax: str
) -> None:
    given: list[object] = []

    def opened(payload: Payload, *arguments: object, **named: object) -> None:
        given.append(payload)
        raise ValueError("not of interest: what is asked is whether it comes to this")

    monkeypatch.setattr("mapdr.transform.pipeline.OpenImage", opened)
    with pytest.raises(Permanent) as caught:
        pipeline(*steps).prepare(proved(spooled, damage=100), Notebook(), syntax)
    assert caught.value.reason == "damaged"
    assert not given


class Touching(WritingMask):
    """A step of the header that copies the data set as often as it says, and changes nothing in it."""

    def __init__(self, copies: int, reads: Reads = Reads.HEADER) -> None:
        super().__init__()
        self.copies, self.reads = copies, reads

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
        return _copied(payload)


def test_what_is_quick_is_a_header_alone(spooled: Instance) -> None:
    """What is not goes to a codec's thread, with a share of the memory."""
    deflated, compressed = (replace(spooled, transfer_syntax_uid=uid) for uid in (DEFLATED, LOSSLESS))
    odd = replace(spooled, size=spooled.size + 1)
    relays, edits, compresses = pipeline(), pipeline(TAGS), pipeline(COMPRESS)
    both = pipeline(TAGS, COMPRESS)
    images = (spooled, compressed, deflated, odd)
    assert [relays.quick(each) for each in images] == [True, True, True, False]
    assert [edits.quick(each) for each in images] == [True, True, False, False]
    assert not any(each.quick(one) for each in (compresses, both, with_mask(Mask())) for one in images)
    assert with_mask(Touching(0)).quick(spooled)
    assert not with_mask(Touching(1)).quick(spooled)
    assert not with_mask(Touching(0, Reads.DATA_SET)).quick(spooled)
    opens = with_mask(Touching(0, Reads.CODESTREAMS))
    assert [opens.quick(each) for each in images] == [True, False, False, False]


@pytest.mark.parametrize("syntax", ["", EXPLICIT])
def test_an_edit_of_a_header_opens_no_image(
    spooled: Instance, syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.transform.pipeline.OpenImage", None)
    assert read(pipeline(TAGS).prepare(spooled, Notebook(), syntax)).StationName == "ER1"


class Tally(budget.Allowance):
    """A share without a limit that notes how much was in use each time that more was needed."""

    def __init__(self) -> None:
        super().__init__()
        self.used: list[int] = []

    @property
    def most(self) -> int:
        return 1 << 40

    def _reaches(self, amount: int) -> bool:
        self.used.append(amount)
        return True


def test_the_memory_of_steps_is_counted(spooled: Instance, tmp_path: Path) -> None:
    """What a step says that it copies, beside what those before it have left in memory."""

    def used(came: Instance, *steps: tuple[str, Any]) -> list[int]:
        tally = Tally()
        with tally.held():
            Pipeline(steps, settings(), CODECS).prepare(came, Notebook())
        return tally.used

    def peak(came: Instance, *steps: tuple[str, Any]) -> int:
        return max(used(came, *steps))

    size = spooled.size
    assert peak(spooled, ("one", Touching(2))) == 2 * size
    assert peak(spooled, ("one", Touching(2)), ("two", Touching(1))) == 2 * size
    assert peak(spooled, ("one", Touching(1)), ("two", Touching(2))) == 3 * size
    payload = pipeline().prepare(spooled, Notebook())
    deflated = on_disk(to_syntax(payload, DEFLATED), spooled, tmp_path)
    as_it_is = Lying(lambda it: it, Phase.ENCODE, Changes.NOTHING)
    as_it_is.copies = 0
    # It is in memory, inflated, and so is room for the pixels that an edit copies; then it is deflated again.
    assert peak(deflated, ("one", Touching(1)), ("own", as_it_is)) == 3 * size
    as_it_is.copies = 4
    assert peak(deflated, ("one", Touching(1)), ("own", as_it_is)) == 6 * size
    reads = Touching(1)
    reads.changes = Changes.NOTHING
    reads.apply = lambda payload, instance, memory: payload  # type: ignore[method-assign]
    as_it_is.copies = 0
    assert peak(deflated, ("one", reads), ("own", as_it_is)) == 2 * size, (
        "what changes nothing copies nothing"
    )
    # Asked for where it is known, before a step needs any: inflated, the copy of an edit, deflated again.
    assert used(deflated, ("one", Touching(0)), ("own", as_it_is)) == [size, 2 * size, 2 * size]
