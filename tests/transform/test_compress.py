"""The `compress` step: pixels, ratios, flags, what is left alone, and repeatability."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from mapdr.dicom import uids
from mapdr.dicom.write import EXPLICIT_LITTLE, walk
from mapdr.kernel.errors import Permanent, Unavailable
from mapdr.kernel.item import FileSlice, Payload, Treatment
from mapdr.transform.codecs.jpeg2000 import Jpeg2000
from mapdr.transform.encode import aim
from mapdr.transform.encode.compress import STAGE, CompressStep
from mapdr.transform.encode.wish import CompressConfig
from mapdr.transform.pipeline import Pipeline

from .helpers import (
    CODECS,
    EXPLICIT,
    Notebook,
    applied,
    image,
    payload_of,
    picture,
    read,
    settings,
    to_syntax,
)

LOSSLESS, LOSSY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
RLE = "1.2.840.10008.1.2.5"
US, SC, SEG, MG, VL = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("6.1", "7", "66.4", "1.2", "77.1.4"))


def noisy(rows: int = 128, columns: int = 128, high: int = 4000, low: int = 0, seed: int = 0):
    """Pixels that need loss to be ten times smaller."""
    random = np.random.default_rng(seed)
    values = picture(rows, columns, low, high, seed) + random.integers(-20, 21, (rows, columns))
    return np.clip(values, low, high)


def compressing(**config) -> CompressStep:
    return STAGE.build(settings(), CompressConfig(**config), None)


def lossless() -> CompressStep:
    return compressing(to="jpeg2000-lossless")


def to_ten(**more) -> CompressStep:
    return compressing(to="jpeg2000", ratio=10, **more)


def compressed(step: CompressStep, data: Dataset, syntax: str = EXPLICIT) -> tuple[Payload, Dataset]:
    result = applied(step, *payload_of(data, syntax), Notebook())
    return result, read(result)


def decoded(data: Dataset) -> np.ndarray:
    codec = Jpeg2000()
    streams = generate_frames(data.PixelData, number_of_frames=int(data.get("NumberOfFrames", 1)))
    return np.stack([codec.decode(stream) for stream in streams])


def ratio_of(data: Dataset, native: int) -> float:
    streams = generate_frames(data.PixelData, number_of_frames=int(data.get("NumberOfFrames", 1)))
    return native / sum(map(len, streams))


def elements(payload: Payload) -> dict[int, bytes]:
    blob = b"".join(payload.chunks())
    return {each.tag: blob[each.start : each.end] for each in walk(blob, EXPLICIT_LITTLE)}


# Lossless


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB"])
@pytest.mark.parametrize(
    ("allocated", "stored", "signed"), [(8, 8, False), (16, 8, False), (16, 12, True), (16, 16, False)]
)
@pytest.mark.parametrize("planar", [0, 1])
def test_lossless_keeps_every_pixel(
    photometric: str, allocated: int, stored: int, signed: bool, planar: int
) -> None:
    colour = photometric == "RGB"
    if (planar and not colour) or (photometric == "PALETTE COLOR" and signed):
        pytest.skip("there is no such image")
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    values = picture(40, 60, low, high)
    if colour:
        values = np.stack([values, values[::-1], values[:, ::-1]], -1)
    data = image(
        values, allocated=allocated, stored=stored, signed=signed, photometric=photometric, planar=planar
    )
    result, found = compressed(lossless(), data)
    assert result.transfer_syntax_uid == LOSSLESS
    assert result.treatment is Treatment.TRANSCODED
    assert result.note == ""
    assert np.array_equal(decoded(found)[0], values)
    assert found.SOPInstanceUID == data.SOPInstanceUID == result.sop_instance_uid
    assert "LossyImageCompression" not in found
    assert found.ImageType[0] == "ORIGINAL"
    assert found.PhotometricInterpretation == photometric
    if colour:
        assert found.PlanarConfiguration == 0


def test_untouched_elements_keep_their_bytes() -> None:
    data = image(noisy())
    data.add_new(0x00091001, "UN", b"odd private bytes!")
    data.add_new(0x00090010, "LO", "SOMEBODY")
    data.add_new(0xFFFCFFFC, "OB", b"\0" * 6)
    payload, _ = payload_of(data)
    before, after = elements(payload), elements(applied(lossless(), payload, _, Notebook()))
    changed = {tag for tag in before | after if before.get(tag) != after.get(tag)}
    assert changed == {0x7FE00010}
    after = elements(applied(to_ten(), payload, _, Notebook()))
    changed = {tag for tag in before | after if before.get(tag) != after.get(tag)}
    assert changed == {
        0x00080008,
        0x00080018,
        0x00082111,
        0x00082112,
        0x00089215,
        0x00282110,
        0x00282112,
        0x00282114,
        0x7FE00010,
    }


def test_small_images_meet_it_too_although_their_sizes_lie_far_apart() -> None:
    for seed in range(6):
        data = image(noisy(96, 96, seed=seed))
        _, found = compressed(to_ten(), data)
        assert abs(ratio_of(found, len(data.PixelData)) / 10 - 1) <= 0.05


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
def test_other_native_syntaxes_come_out_explicit_and_equal(syntax: str) -> None:
    values = picture(32, 32, -2000, 2000)
    data = image(values, signed=True)
    data.SmallestImagePixelValue = -2000
    data["SmallestImagePixelValue"].VR = "SS"
    if syntax.endswith(".2.2"):
        data.PixelData = values.astype(">i2").tobytes()
    _, found = compressed(lossless(), data, syntax)
    assert np.array_equal(decoded(found)[0], values)
    assert found.SmallestImagePixelValue == -2000
    assert found["SmallestImagePixelValue"].VR == "SS"
    assert found.PatientName == "Marked^Value"


def test_frames_are_one_fragment_each_with_a_table() -> None:
    values = np.stack([picture(24, 25, 0, 4000, seed) for seed in range(3)])
    result, found = compressed(lossless(), image(values, frames=3))
    assert np.array_equal(decoded(found), values)
    blob = b"".join(part for part in result.parts[1:] if isinstance(part, bytes))
    assert blob.startswith(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\x0c\0\0\0\0\0\0\0")
    assert blob.count(b"\xff\x4f\xff\x51") == 3
    assert all(len(part) % 2 == 0 for part in result.parts if isinstance(part, bytes))


def test_high_bit_and_overlays_become_what_a_codestream_can_carry() -> None:
    values, overlay = picture(30, 30, 0, 4095), np.random.default_rng(1).integers(0, 2, (30, 30))
    data = image(values)
    data.PixelData = (values | overlay << 14).astype("<u2").tobytes()
    for tag, value in ((0x10, 30), (0x11, 30), (0x100, 16), (0x102, 14)):
        data.add_new(0x60000000 | tag, "US", value)
    _, found = compressed(lossless(), data)
    assert np.array_equal(decoded(found)[0], values)
    assert np.array_equal(found.overlay_array(0x6000), overlay)
    assert (found[0x60000100].value, found[0x60000102].value) == (1, 0)
    shifted = image(values << 4, stored=16)
    shifted.BitsStored, shifted.HighBit = 12, 15
    _, found = compressed(lossless(), shifted)
    assert np.array_equal(decoded(found)[0], values)
    assert (found.BitsStored, found.HighBit) == (12, 11)


# Lossy


@pytest.mark.parametrize("ratio", [6, 10, 25])
@pytest.mark.parametrize(("stored", "signed"), [(12, False), (16, True), (12, True)])
def test_the_ratio_is_met_within_a_twentieth(ratio: float, stored: int, signed: bool) -> None:
    values = noisy(low=-1000 if signed else 0, high=2000)
    data = image(values, stored=stored, signed=signed)
    result, found = compressed(compressing(to="jpeg2000", ratio=ratio), data)
    assert result.transfer_syntax_uid == LOSSY
    reached = ratio_of(found, len(data.PixelData))
    assert abs(reached / ratio - 1) <= 0.05
    (stream,) = generate_frames(found.PixelData, number_of_frames=1)
    unpadded = len(data.PixelData) / len(stream.rstrip(b"\0"))  # a codestream ends with EOC
    assert float(found.LossyImageCompressionRatio) == pytest.approx(unpadded, abs=0.02)


def test_a_lossy_image_says_what_it_is() -> None:
    data = image(noisy())
    data.SmallestImagePixelValue, data.LargestImagePixelValue = 0, 4000
    data.WindowCenter, data.WindowWidth = 40, 400
    result, found = compressed(to_ten(), data)
    assert found.SOPInstanceUID != data.SOPInstanceUID
    assert found.SOPInstanceUID == result.sop_instance_uid
    assert found.SOPInstanceUID.startswith("2.25.")
    assert found.SeriesInstanceUID == data.SeriesInstanceUID
    assert list(found.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert found.LossyImageCompression == "01"
    assert found.LossyImageCompressionMethod == "ISO_15444_1"
    assert "SmallestImagePixelValue" not in found
    assert "LargestImagePixelValue" not in found
    assert found.WindowCenter == 40
    assert found.DerivationDescription.startswith("Lossy compression ISO_15444_1 ")
    code = found.DerivationCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113040", "DCM")
    source = found.SourceImageSequence[0]
    assert source.ReferencedSOPClassUID == data.SOPClassUID
    assert source.ReferencedSOPInstanceUID == data.SOPInstanceUID
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"


@pytest.mark.parametrize("undefined", [False, True])
def test_what_was_derived_before_stays_on_record(undefined: bool) -> None:
    data = image(noisy())
    data.DerivationDescription = "Averaged"
    earlier = Dataset()
    earlier.CodeValue, earlier.CodingSchemeDesignator, earlier.CodeMeaning = "113037", "DCM", "Earlier step"
    data.DerivationCodeSequence = [earlier]
    data["DerivationCodeSequence"].is_undefined_length = undefined
    data.ImageType = ["DERIVED", "SECONDARY"]
    _, found = compressed(to_ten(), data)
    assert [item.CodeValue for item in found.DerivationCodeSequence] == ["113037", "113040"]
    assert found.DerivationDescription.startswith("Averaged; Lossy compression")
    assert list(found.ImageType) == ["DERIVED", "SECONDARY"]


@pytest.mark.parametrize(
    ("color", "sop_class", "photometric"),
    [("ybr", US, "YBR_ICT"), ("ybr", VL, "YBR_ICT"), ("rgb", VL, "RGB")],
)
def test_colour_is_transformed_where_the_rule_says_so(color: str, sop_class: str, photometric: str) -> None:
    values = np.stack([noisy(high=255, seed=seed) for seed in range(3)], -1)
    data = image(values, allocated=8, stored=8, photometric="RGB", planar=1, sop_class=sop_class)
    _, found = compressed(to_ten(color=color), data)
    assert found.PhotometricInterpretation == photometric
    assert found.PlanarConfiguration == 0
    assert np.abs(decoded(found)[0].astype(int) - values).max() < 128


def test_lossless_that_reaches_the_ratio_is_sent_instead() -> None:
    data = image(picture(256, 256, 0, 40) // 8 * 8)
    result, found = compressed(to_ten(), data)
    assert result.transfer_syntax_uid == LOSSLESS
    assert found.SOPInstanceUID == data.SOPInstanceUID
    assert "LossyImageCompression" not in found


def test_the_frames_of_an_image_meet_the_ratio_together() -> None:
    values = np.stack([noisy(64, 64, high=4000 if seed % 2 else 400, seed=seed) for seed in range(9)])
    data = image(values, frames=9, sop_class=US)
    notebook = Notebook()
    result = applied(to_ten(), *payload_of(data), notebook)
    assert abs(ratio_of(read(result), values.size * 2) - 10) <= 0.5
    assert notebook.facts is not None
    assert notebook.facts["course"] == "lossy"


def test_other_pixels_give_another_uid() -> None:
    first, second = noisy(), noisy()
    second[5, 5] += 100
    uids = {compressed(to_ten(), image(values))[0].sop_instance_uid for values in (first, second, first)}
    assert len(uids) == 2


def test_padding_becomes_a_range() -> None:
    values = noisy(low=0, high=2000)
    values[:30] = -1500
    data = image(values, stored=16, signed=True)
    data.PixelPaddingValue = -1500
    _, found = compressed(to_ten(), data)
    low, high = found.PixelPaddingValue, found.PixelPaddingRangeLimit
    assert low <= -1500 <= high
    pixels = decoded(found)[0]
    assert np.array_equal((pixels >= low) & (pixels <= high), values == -1500)


def test_padding_of_monochrome1_lies_at_the_bright_end() -> None:
    # PS3.3, C.7.5.1.1.2: in MONOCHROME1 the padding value is the greater end of the range, else the lesser.
    values = noisy(low=0, high=2000)
    values[:30] = 3500
    ends = {}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        data = image(values, stored=16, signed=True, photometric=photometric)
        data.PixelPaddingValue = 3500
        _, found = compressed(to_ten(), data)
        ends[photometric] = found.PixelPaddingValue, found.PixelPaddingRangeLimit
        low, high = sorted(ends[photometric])
        assert low < high
        assert low <= 3500 <= high
    assert ends["MONOCHROME1"] == ends["MONOCHROME2"][::-1]
    assert ends["MONOCHROME1"][0] > ends["MONOCHROME1"][1]


@pytest.mark.parametrize("target", [{"psnr": 40}, {"max_error": 16}, {"ratio": 50}])
@pytest.mark.parametrize("method", ["jpeg2000", "htj2k"])
@pytest.mark.parametrize("shape", ["one value", "a range", "its ends"])
def test_what_is_padding_alone_stays_within_its_range(
    method: str, target: dict[str, int], shape: str
) -> None:
    # Without pixels that count, a PSNR and a greatest error are met at the lowest level that there is.
    values = noisy(low=-2000, high=-1000)
    if shape != "a range":
        values = (
            np.where(values < -1500, -2000, -1000) if shape == "its ends" else np.full_like(values, -1000)
        )
    data = image(values, stored=16, signed=True)
    data.PixelPaddingValue, data.PixelPaddingRangeLimit = -2000, -1000
    if shape == "one value":
        data.PixelPaddingValue = -1000
    step = STAGE.build(settings(), CompressConfig(to=method, **target), None)
    _, found = compressed(step, data)
    low, high = found.PixelPaddingValue, found.PixelPaddingRangeLimit
    assert data.PixelPaddingValue - 8 <= low <= high <= -1000 + 8
    pixels = decoded(found)[0]
    assert ((pixels >= low) & (pixels <= high)).all()


def test_padding_that_would_mix_with_the_image_stays_lossless() -> None:
    values = noisy(low=2, high=2000)
    values[::7] = 0
    data = image(values)
    data.PixelPaddingValue = 0
    result, found = compressed(to_ten(), data)
    assert result.note == "compressed without loss: padding"
    assert np.array_equal(decoded(found)[0], values)


# Guards


def test_a_guard_that_fails_falls_back_to_lossless() -> None:
    data = image(noisy())
    for guard in ({"max_error": 1}, {"min_psnr": 90}):
        result, found = compressed(to_ten(**guard), data)
        assert result.transfer_syntax_uid == LOSSLESS
        assert (
            result.note == f"compressed without loss: {'max-error' if 'max_error' in guard else 'min-psnr'}"
        )
        assert np.array_equal(decoded(found)[0], noisy())
        assert found.SOPInstanceUID == data.SOPInstanceUID


def test_or_parks_or_leaves_the_original() -> None:
    payload, instance = payload_of(image(noisy()))
    with pytest.raises(Permanent) as caught:
        applied(to_ten(max_error=1, fallback="park"), payload, instance, Notebook())
    assert caught.value.reason == "quality"
    left = applied(to_ten(max_error=1, fallback="original"), payload, instance, Notebook())
    assert left == replace(payload, note="not compressed: max-error")


def test_a_guard_that_holds_is_not_in_the_way() -> None:
    result, found = compressed(to_ten(max_error=200, min_psnr=20), image(noisy()))
    assert result.transfer_syntax_uid == LOSSY
    assert np.abs(decoded(found)[0].astype(int) - noisy()).max() <= 200


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The codec damages one pixel."""
    decode = Jpeg2000.decode

    def lying(self: Jpeg2000, stream: bytes, size: int = 0):
        pixels = decode(self, stream, size).copy()
        pixels[3, 3] = 4095 - pixels[3, 3]
        return pixels

    monkeypatch.setattr(Jpeg2000, "decode", lying)


@pytest.mark.usefixtures("liar")
def test_what_does_not_come_back_equal_never_leaves() -> None:
    step = lossless()
    with pytest.raises(Permanent) as caught:
        applied(step, *payload_of(image(noisy())), Notebook())
    assert caught.value.reason == "codec"


@pytest.mark.usefixtures("liar")
def test_a_lossy_stream_with_a_wild_pixel_is_not_believed() -> None:
    values = noisy()
    values[3, 3] = 0
    step = to_ten(fallback="park")
    # Lossless is probed first, and the lie is found there; go straight to the lossy stream.
    known = Notebook()
    known.facts = {"course": "lossy", "level": 60.0, "reversible": False}
    with pytest.raises(Permanent) as caught:
        applied(step, *payload_of(image(values)), known)
    assert caught.value.reason == "quality"


# What is left alone


def without_pixels() -> Dataset:
    data = image(noisy())
    del data.PixelData
    return data


def with_change(**values: object) -> Dataset:
    data = image(noisy())
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def signed_document() -> Dataset:
    data = image(noisy())
    data.DigitalSignaturesSequence = [Dataset()]
    return data


def float_pixels() -> Dataset:
    data = without_pixels()
    data.FloatPixelData = noisy().astype("<f4").tobytes()
    return data


def incompressible() -> Dataset:
    return image(np.random.default_rng(0).integers(0, 1 << 16, (64, 64)), stored=16)


def colour(sop_class: str) -> Dataset:
    values = np.stack([picture(40, 60, 0, 255, seed) for seed in range(3)], -1)
    return image(values, allocated=8, stored=8, photometric="RGB", sop_class=sop_class)


LEFT = {
    "no-pixels": without_pixels,
    "float-pixels": float_pixels,
    "digital-signature": signed_document,
    "unknown-sop-class": lambda: with_change(SOPClassUID="1.2.3.4"),
    "whole-slide": lambda: with_change(SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6"),
    "bits-allocated": lambda: with_change(BitsAllocated=32),
    "photometric": lambda: with_change(PhotometricInterpretation="YBR_PARTIAL_422"),
    "ultrasound-colour": lambda: colour(US),
    "true-color-capture": lambda: colour("1.2.840.10008.5.1.4.1.1.7.4"),
    "pixel-length": lambda: with_change(Rows=127),
}


@pytest.mark.parametrize("reason", LEFT)
@pytest.mark.parametrize("step", [lossless, to_ten])
def test_what_no_codec_may_touch_goes_on_as_it_is(reason: str, step) -> None:
    payload, instance = payload_of(LEFT[reason]())
    notebook = Notebook()
    assert applied(step(), payload, instance, notebook) == replace(payload, note=f"not compressed: {reason}")
    assert notebook.facts == {"course": "original", "reason": reason}


def test_what_would_not_become_smaller_goes_on_as_it_is() -> None:
    payload, instance = payload_of(incompressible())
    left = applied(lossless(), payload, instance, Notebook())
    assert left == replace(payload, note="not compressed: not-smaller")


@pytest.mark.usefixtures("decoders")
def test_what_came_smaller_goes_by_the_rule_where_its_own_syntax_is_not_taken() -> None:
    """A receiver is offered both, and nobody is told that it refused what it was not offered."""
    payload, instance = payload_of(image(np.full((8, 8), 7), allocated=8, stored=8))
    came = to_syntax(payload, RLE)
    instance, memory, step = replace(instance, transfer_syntax_uid=RLE), Notebook(), lossless()
    left = applied(step, came, instance, memory)
    assert left == replace(came, note="not compressed: not-smaller", others=(LOSSLESS,))
    assert applied(step, came, instance, memory) == left
    pipeline = Pipeline([("compress", step)], settings(), CODECS)
    made = pipeline.apply(came, instance, Notebook(), LOSSLESS)
    assert (made.transfer_syntax_uid, made.unmet) == (LOSSLESS, "")


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize(("color", "told"), [("rgb", "RGB"), ("ybr", "YBR_RCT")])
def test_what_a_rule_with_loss_writes_without_has_the_rule_s_colours(color: str, told: str) -> None:
    """An image that came smaller than the rule makes it is offered so (PS3.5 section 8.2.4)."""
    payload, instance = payload_of(image(np.full((8, 8, 3), 7), allocated=8, stored=8, photometric="RGB"))
    came = to_syntax(payload, RLE)
    instance = replace(instance, transfer_syntax_uid=RLE)
    pipeline = Pipeline([("compress", to_ten(color=color, allow=["secondary-capture"]))], settings(), CODECS)
    assert pipeline.apply(came, instance, Notebook()).others == (LOSSLESS,)
    memory = Notebook()
    made = pipeline.apply(came, instance, memory, LOSSLESS)
    assert (made.transfer_syntax_uid, made.unmet) == (LOSSLESS, "")
    assert made.note == "compressed without loss: asked-for"
    assert read(made).PhotometricInterpretation == told
    assert memory.facts == {"compress": {"course": "lossless", "reason": "asked-for", "ratio": ANY}}
    assert pipeline.apply(came, instance, memory, LOSSLESS) == made


def test_an_image_that_lost_something_already_loses_no_more() -> None:
    payload, instance = payload_of(with_change(LossyImageCompression="01"))
    assert applied(to_ten(), payload, instance, Notebook()).note == "not compressed: already-lossy"
    # Without loss there is no harm, and the flags stay.
    result = applied(lossless(), payload, instance, Notebook())
    assert read(result).LossyImageCompression == "01"
    assert result.transfer_syntax_uid == LOSSLESS


@pytest.mark.parametrize("syntax", ["50", "81", "91", "100", "203"])
def test_lossy_and_video_streams_are_not_opened(syntax: str) -> None:
    payload, instance = payload_of(image(noisy()))
    payload = replace(payload, transfer_syntax_uid=f"1.2.840.10008.1.2.4.{syntax}")
    for step in (lossless(), to_ten()):
        reason = "transfer-syntax" if syntax == "100" else "already-lossy"
        assert applied(step, payload, instance, Notebook()).note == f"not compressed: {reason}"


@pytest.mark.parametrize(
    ("sop_class", "reason"), [(SC, "secondary-capture"), (SEG, "segmentation"), (MG, "mammography")]
)
def test_some_images_are_never_lossy(sop_class: str, reason: str) -> None:
    result, found = compressed(to_ten(), image(noisy(), sop_class=sop_class))
    assert result.transfer_syntax_uid == LOSSLESS
    assert result.note == f"compressed without loss: {reason}"
    assert np.array_equal(decoded(found)[0], noisy())


def test_palette_multi_energy_concatenations_and_what_the_rule_excludes() -> None:
    cases = {
        "palette": image(noisy(high=255), allocated=8, stored=8, photometric="PALETTE COLOR", sop_class=US),
        "multi-energy": with_change(MultienergyCTAcquisition="YES"),
        "concatenation": with_change(ConcatenationUID="1.2.3"),
    }
    for reason, data in cases.items():
        assert compressed(to_ten(), data)[0].note == f"compressed without loss: {reason}"
    for excluded in ("CT", "1.2.840.10008.5.1.4.1.1.2"):
        step = to_ten(exclude=[excluded])
        assert compressed(step, image(noisy()))[0].note == "compressed without loss: excluded"


def test_an_unreadable_data_set_is_parked() -> None:
    payload, instance = payload_of(image(noisy()))
    blob = b"".join(payload.chunks())
    broken = replace(payload, parts=(blob[:20],))
    with pytest.raises(Permanent) as caught:
        applied(lossless(), broken, instance, Notebook())
    assert caught.value.reason == "truncated"
    assert "Marked" not in str(caught.value)


def test_a_deflated_file_that_is_none_is_parked(tmp_path: Path) -> None:
    """Its file is mapped: no slice of it may be left open by the error."""
    path = tmp_path / "spooled.dcm"
    path.write_bytes(zlib.compress(b"".join(payload_of(image(noisy()))[0].chunks())))
    payload, instance = payload_of(image(noisy()))
    part = FileSlice(path, 0, path.stat().st_size)
    spoiled = replace(
        payload,
        transfer_syntax_uid=uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        parts=(part,),
        length=part.length,
    )
    with pytest.raises(Permanent) as caught:
        Pipeline([("compress", lossless())], settings(), CODECS).apply(spoiled, instance, Notebook())
    assert caught.value.reason == "bad-deflate"


# Repeats


def digest(payload: Payload) -> str:
    return hashlib.sha256(b"".join(payload.chunks())).hexdigest()


def test_a_retry_makes_the_same_bytes_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    payload, instance = payload_of(image(noisy()))
    notebook = Notebook()
    step = to_ten()
    # Another image of the series sets the search's start elsewhere.
    applied(step, *payload_of(image(noisy(high=900, seed=4))), Notebook())
    first = applied(step, payload, instance, notebook)
    assert notebook.kept == 1

    def no_search(*_: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(aim, "find_level", no_search)
    again = applied(to_ten(), payload, instance, notebook)
    assert digest(again) == digest(first)
    assert again.sop_instance_uid == first.sop_instance_uid
    assert notebook.kept == 1


def test_a_retry_where_no_size_can_be_had_any_more_seeks_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    data = image(noisy())
    payload, instance = payload_of(data)
    notebook = Notebook()
    applied(to_ten(), payload, instance, notebook)
    if "size" not in notebook.facts:
        pytest.skip("nothing here encodes to a size")

    def gone(self: Jpeg2000) -> None:
        raise Unavailable("it is gone")

    monkeypatch.setattr(Jpeg2000, "_rate_control", gone)
    again = applied(to_ten(), payload, instance, notebook)
    assert "size" not in notebook.facts
    assert notebook.kept == 2
    assert abs(ratio_of(read(again), len(data.PixelData)) / 10 - 1) <= 0.05


@pytest.mark.parametrize("config", [{"max_error": 1}, {}])
def test_a_lossless_outcome_is_repeated_too(config: dict[str, int]) -> None:
    payload, instance = payload_of(image(noisy() if config else picture(256, 256, 0, 40) // 8 * 8))
    notebook = Notebook()
    first = applied(to_ten(**config), payload, instance, notebook)
    again = applied(to_ten(**config), payload, instance, notebook)
    assert (digest(again), again.note) == (digest(first), first.note)
    assert notebook.kept == 1


def test_facts_are_kept_before_the_payload_is_given_out() -> None:
    class Full(Notebook):
        def keep(self, facts: object) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        applied(to_ten(), *payload_of(image(noisy())), Full())


# Configuration


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"to": "jpeg2000"}, "needs a ratio"),
        ({"to": "jpeg2000-lossy", "ratio": 10}, "write jpeg2000 instead"),
        ({"to": "j2k", "ratio": 10}, "write jpeg2000 instead"),
        ({"to": "jpeg2000", "ratio": 10, "exclude": ["CT", "mg"]}, 'write such as "MG"'),
        ({"to": "jpeg2000", "ratio": 10, "exclude": ["1.2.840.10008.5.1.4.1.1.2."]}, "no SOP class UID"),
        ({"to": "jpeg2000-lossless", "ratio": 10}, "takes no ratio"),
        ({"to": "jpeg2000-lossless", "max_error": 10}, "takes no max_error"),
        ({"to": "jpeg2000", "ratio": 1}, "greater than 1"),
        ({"to": "jpeg2000", "ratio": 10, "max_error": 0}, "greater than or equal to 1"),
        ({"to": "jpeg200"}, "jpeg2000"),
        ({"to": "jpeg2000", "ratio": 10, "quality": 3}, "Extra inputs"),
    ],
)
def test_a_wrong_configuration_is_told(config: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CompressConfig.model_validate(config)


def test_a_spooled_file_is_read_where_it_lies(tmp_path) -> None:
    payload, instance = payload_of(image(noisy()))
    blob = b"".join(payload.chunks())
    path = tmp_path / "spooled.dcm"
    path.write_bytes(b"File Meta" + blob + b"beyond")
    sliced = replace(payload, parts=(FileSlice(path, 9, len(blob)),))
    split = replace(payload, parts=(blob[:100], FileSlice(path, 109, len(blob) - 100)))
    wanted = digest(applied(lossless(), payload, instance, Notebook()))
    assert digest(applied(lossless(), sliced, instance, Notebook())) == wanted
    assert digest(applied(lossless(), split, instance, Notebook())) == wanted
    path.write_bytes(b"short")
    with pytest.raises(Permanent) as caught:
        applied(lossless(), sliced, instance, Notebook())
    assert caught.value.reason == "damaged"


def test_a_receiver_that_refuses_the_first_method_gets_the_colours_of_the_rule() -> None:
    """A list without loss, of which it takes the second: RGB stays RGB, which not each of them shows else."""
    shape = np.stack([picture(48, 48, 0, 255, seed) for seed in range(3)], axis=-1)
    data = image(shape, allocated=8, stored=8, photometric="RGB", sop_class=VL)
    for color, photometric in (("rgb", "RGB"), ("ybr", "YBR_RCT")):
        step = compressing(to=["htj2k-lossless", "jpeg2000-lossless"], color=color)
        made = Pipeline([("compress", step)], settings(), CODECS).apply(
            *payload_of(data), Notebook(), LOSSLESS
        )
        assert made.transfer_syntax_uid == LOSSLESS
        assert read(made).PhotometricInterpretation == photometric
