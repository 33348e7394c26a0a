"""Recipes as chains: order, memory of each step, and syntaxes that a receiver insists on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xxhash
from pydicom.dataset import Dataset

from mapdr.kernel.errors import Permanent, Unavailable
from mapdr.kernel.item import FileSlice, Instance, Payload, Proof, Treatment
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Memory
from mapdr.transform.chain import Chain, build_chain

from .helpers import CODECS, EXPLICIT, Notebook, image, payload_of, picture, read, settings, to_syntax

IMPLICIT = "1.2.840.10008.1.2"
LOSSLESS, LOSSY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
TAGS = {"type": "tags", "config": [{"set": "StationName", "to": "ER1"}]}
LOSSLESS_STEP = {"type": "compress", "config": {"to": "jpeg2000-lossless"}}
COMPRESS = {"type": "compress", "config": {"to": "jpeg2000", "ratio": 10}}


def chain(*steps: dict[str, object]) -> Chain:
    return build_chain({"steps": list(steps)}, Registry(), settings())


@pytest.fixture
def spooled(tmp_path: Path) -> Instance:
    random = np.random.default_rng(0)
    values = picture(128, 128, 100, 3000) + random.integers(-40, 41, (128, 128))
    payload, instance = payload_of(image(values))
    path = tmp_path / "spooled.dcm"
    path.write_bytes(b"file meta" + b"".join(payload.chunks()))
    return replace(instance, path=path, data_offset=9, size=payload.length)


def test_an_empty_recipe_relays_the_spooled_bytes(spooled: Instance) -> None:
    payload = chain().prepare(spooled, Notebook())
    assert payload.parts == (FileSlice(spooled.path, 9, spooled.size),)
    assert payload.treatment is Treatment.RELAYED
    assert payload.transfer_syntax_uid == EXPLICIT
    of_instance = (spooled.study_instance_uid, spooled.series_instance_uid)
    assert (payload.study_instance_uid, payload.series_instance_uid) == of_instance
    assert all(of_instance)


def test_steps_work_on_each_others_results(spooled: Instance) -> None:
    notebook = Notebook()
    payload = chain(TAGS, COMPRESS).prepare(spooled, notebook)
    found = read(payload)
    assert found.StationName == "ER1"
    assert payload.transfer_syntax_uid == LOSSY
    assert payload.treatment is Treatment.TRANSCODED
    assert found.SourceImageSequence[0].ReferencedSOPInstanceUID == spooled.sop_instance_uid
    assert notebook.facts is not None
    assert set(notebook.facts) == {"compress"}
    again = chain(TAGS, COMPRESS).prepare(spooled, notebook)
    assert list(again.chunks()) == list(payload.chunks())
    assert notebook.kept == 1


def test_a_syntax_that_the_receiver_insists_on_replaces_the_recipes(spooled: Instance) -> None:
    steps = chain(TAGS, COMPRESS)
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
    """A foreign step that blackens pixels and also chooses a transfer syntax, as it may say of itself."""

    sets_syntax = True

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
        data = Dataset(read(payload))
        data.PixelData = bytes(len(data.PixelData))
        masked, _ = payload_of(data)
        compress = build_chain({"steps": [LOSSLESS_STEP]}, Registry(), settings())._steps[0][1]
        return compress.apply(masked, instance, memory)


class ToldMask(Mask):
    """The same, which can do without its choice."""

    def apply_for(self, payload: Payload, instance: Instance, memory: Memory, syntax: str) -> Payload:
        return to_syntax(self.apply(payload, instance, memory), EXPLICIT)


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("step", [Mask(), ToldMask()])
@pytest.mark.parametrize("syntax", ["", EXPLICIT, IMPLICIT, LOSSLESS])
def test_no_step_is_skipped_whatever_syntax_the_receiver_takes(
    spooled: Instance, step: Mask, syntax: str
) -> None:
    masked = Chain([("mask", step)], settings(), CODECS).prepare(spooled, Notebook(), syntax)
    assert masked.transfer_syntax_uid == (syntax or LOSSLESS)
    assert not np.any(read(to_syntax(masked, EXPLICIT)).pixel_array)


def test_a_step_whose_result_the_receiver_cannot_get_parks_the_image(spooled: Instance) -> None:
    with pytest.raises(Permanent) as caught:
        Chain([("mask", Mask())], settings(), CODECS).prepare(spooled, Notebook(), "1.2.840.10008.1.2.4.50")
    assert caught.value.reason == "syntax"


def test_a_compression_that_the_receiver_refuses_is_told(spooled: Instance) -> None:
    steps = chain(COMPRESS)
    assert steps.prepare(spooled, Notebook()).unmet == ""
    for syntax in (EXPLICIT, IMPLICIT, LOSSLESS):
        payload = steps.prepare(spooled, Notebook(), syntax)
        assert payload.transfer_syntax_uid == syntax
        assert payload.unmet == "compression-refused"
    lossless = chain(LOSSLESS_STEP)
    assert lossless.prepare(spooled, Notebook(), LOSSLESS).unmet == ""
    assert lossless.prepare(spooled, Notebook(), IMPLICIT).unmet == "compression-refused"


def test_what_would_not_have_been_compressed_lacks_nothing(spooled: Instance, tmp_path: Path) -> None:
    data = image(picture(8, 8, 0, 100))
    del data.PixelData
    payload, instance = payload_of(data)
    path = tmp_path / "report.dcm"
    path.write_bytes(b"".join(payload.chunks()))
    instance = replace(instance, path=path, size=payload.length)
    made = chain(COMPRESS).prepare(instance, Notebook(), IMPLICIT)
    assert (made.transfer_syntax_uid, made.unmet) == (IMPLICIT, "")
    assert made.note == "not compressed: no-pixels"


def test_a_syntax_that_cannot_be_had_is_permanent(spooled: Instance, tmp_path: Path) -> None:
    with pytest.raises(Permanent) as caught:
        chain().prepare(spooled, Notebook(), LOSSY)
    assert caught.value.reason == "syntax"
    data = image(picture(8, 8, 0, 100))
    del data.PixelData
    payload, instance = payload_of(data)
    path = tmp_path / "report.dcm"
    path.write_bytes(b"".join(payload.chunks()))
    with pytest.raises(Permanent) as caught:
        chain().prepare(replace(instance, path=path, size=payload.length), Notebook(), LOSSLESS)
    assert caught.value.reason == "syntax"
    assert "no-pixels" in str(caught.value)


def test_a_recipe_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(Unavailable):
        chain({"type": "colourise", "config": {}})
    with pytest.raises(Permanent) as caught:
        chain({"type": "compress", "config": {"to": "jpeg2000", "ratio": 10, "was_once": "known"}})
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
    spooled: Instance, steps: tuple[dict[str, object], ...]
) -> None:
    assert list(chain(*steps).prepare(proved(spooled), Notebook()).chunks())
    for damage in (12, spooled.size // 2, spooled.data_offset + spooled.size - 1):
        original = spooled.path.read_bytes()
        with pytest.raises(Permanent) as caught:
            list(chain(*steps).prepare(proved(spooled, damage=damage), Notebook()).chunks())
        assert caught.value.reason == "damaged"
        spooled.path.write_bytes(original)
    gone = proved(spooled)
    spooled.path.unlink()
    with pytest.raises(Permanent) as caught:
        list(chain(*steps).prepare(gone, Notebook()).chunks())
    assert caught.value.reason == "missing"


def test_a_codec_is_given_no_bytes_before_they_are_proved(
    spooled: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("a step was given a damaged image")

    steps = chain(COMPRESS)
    for _, step in steps._steps:
        monkeypatch.setattr(step, "apply", never)
    with pytest.raises(Permanent) as caught:
        steps.prepare(proved(spooled, damage=100), Notebook())
    assert caught.value.reason == "damaged"
