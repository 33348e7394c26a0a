"""What a rule aims at with loss: searches on any dial, and the step by codecs that there are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from mapdr.dicom import uids
from mapdr.kernel.codec import Dial, FrameFormat
from mapdr.kernel.errors import Permanent
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.encode.compress import STAGE, CompressStep
from mapdr.transform.encode.frames import FrameEncoder
from mapdr.transform.encode.methods import METHODS
from mapdr.transform.encode.plan import Writers
from mapdr.transform.encode.quality import measure
from mapdr.transform.encode.search import MOST_WHOLE_ENCODES, TOLERANCE, find_quality, find_whole
from mapdr.transform.encode.wish import CompressConfig

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

NEAR = Dial(-255, -1, "NEAR", 0.1, -4, whole=True)
DB = Dial(2.0, 120.0, "dB", 0.07, 60.0)


@pytest.mark.parametrize("goal", [1_000, 20_000, 100_000, 900_000])
@pytest.mark.parametrize("start", [-255, -40, -4, -1])
def test_a_whole_dial_ends_at_the_greatest_level_that_fits(goal: int, start: float) -> None:
    def size_at(level: float) -> int:
        assert level == int(level)
        assert NEAR.lowest <= level <= NEAR.highest
        return int(1_000_000 / (1 - level))

    found = find_whole(size_at, goal, start, NEAR)
    assert found.encodes <= MOST_WHOLE_ENCODES
    if goal < size_at(-255):
        assert not found.exact
        return
    assert found.exact
    assert found.size <= goal * (1 + TOLERANCE)
    within = abs(goal / found.size - 1) <= TOLERANCE
    assert within or found.level == NEAR.highest or size_at(found.level + 1) > goal


@pytest.mark.parametrize("dial", [NEAR, DB])
@pytest.mark.parametrize("per", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("start", [-300.0, 0.0, 50.0, 300.0])
def test_a_quality_is_met_with_little_to_spare(dial: Dial, per: float, start: float) -> None:
    zero = (dial.lowest + dial.highest) / 2
    asked: list[float] = []

    def margin_at(level: float) -> float:
        asked.append(level)
        return per * (level - zero)

    level = find_quality(margin_at, start, dial, 0.3)
    assert level is not None
    assert margin_at(level) >= 0
    finest = 1.0 if dial.whole else 0.21
    assert margin_at(level) <= 0.3 or margin_at(level - finest) < 0
    assert all(dial.lowest <= each <= dial.highest for each in asked)


def test_a_quality_out_of_reach_is_told_and_one_always_met_takes_the_lowest() -> None:
    assert find_quality(lambda level: -math.inf, 60, DB, 0.3) is None
    assert find_quality(lambda level: math.inf, 60, DB, 0.3) == DB.lowest


# The step


def noisy(seed: int = 0, rows: int = 160, columns: int = 144) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = picture(rows, columns, 100, 3900, seed) + random.normal(0, 6, (rows, columns))
    return np.clip(values, 0, 4095).astype(int)


def step(**config: Any) -> CompressStep:
    return STAGE.build(settings(), CompressConfig(**config), None)


def lossy_names() -> list[str]:
    """The lossy methods that take grey images of 12 bits here."""
    form = image_form()
    return [
        method.name
        for method in METHODS.values()
        if method.lossy
        and (row := CODECS.rows.get(method.lossy)) is not None
        and row.lossy_encoder is not None
        and row.lossy_encoder.takes.holds(form)
    ]


def image_form() -> FrameFormat:
    return FrameFormat(160, 144, 1, 16, 12, False, "MONOCHROME2")


def made(values: np.ndarray, notebook: Notebook | None = None, **config: Any) -> tuple[str, Any, Any]:
    """The syntax, the data set and the facts."""
    notebook = notebook or Notebook()
    frames = len(values) if values.ndim == 3 else 1
    result = applied(step(**config), *payload_of(image(values, stored=12, frames=frames)), notebook)
    return result.transfer_syntax_uid, read(result), notebook.facts


def seen(data: Any, syntax: str) -> np.ndarray:
    """The frames of a compressed data set, by the codec that reads its syntax."""
    codecs: Codecs = CODECS
    count = int(data.get("NumberOfFrames", 1))
    decoder = codecs.decoder(syntax)
    streams = generate_frames(data.PixelData, number_of_frames=count)
    return np.stack([decoder.decode(image_form(), stream) for stream in streams])


@pytest.mark.parametrize("name", lossy_names())
def test_a_ratio_is_met_by_any_method(name: str) -> None:
    values = noisy()
    syntax, data, facts = made(values, to=name, ratio=12)
    assert syntax == METHODS[name].lossy
    assert facts["ratio"] == pytest.approx(float(data.LossyImageCompressionRatio), abs=0.01)
    whole = CODECS.lossy_encoder(syntax).dial(image_form()).whole
    assert facts["ratio"] > 12 * 0.95
    assert whole or facts["ratio"] < 12 * 1.05
    quality = measure(values, seen(data, syntax)[0])
    assert facts["max_error"] == quality.max_error
    assert facts["psnr"] == pytest.approx(quality.psnr, abs=0.01)
    assert facts["encodes"] >= 1
    method = {"jpeg2000": "ISO_15444_1", "htj2k": "ISO_15444_15", "jpegls-near": "ISO_14495_1"}.get(name)
    assert method in (None, data.LossyImageCompressionMethod)


@pytest.mark.parametrize("name", [name for name in lossy_names() if name != "jpegls-near"])
@pytest.mark.parametrize("target", [{"ratio": 10}, {"psnr": 50}, {"max_error": 4}])
def test_an_image_of_fewer_bytes_than_the_ratio_loses_nothing(name: str, target: dict[str, Any]) -> None:
    """JPEG-LS on Python 3.11 parks them."""
    for side in (1, 2):
        values = noisy()[:side, :side]
        data = image(values, stored=12)
        result = applied(step(to=name, **target), *payload_of(data), Notebook())
        assert result.note.startswith("not compressed: ")
        assert read(result) == data


@pytest.mark.parametrize("name", lossy_names())
def test_a_psnr_is_met_by_any_method_with_little_to_spare(name: str) -> None:
    values = noisy(1)
    syntax, data, facts = made(values, to=name, psnr=56)
    assert syntax == METHODS[name].lossy
    assert measure(values, seen(data, syntax)[0]).psnr >= 56
    whole = CODECS.lossy_encoder(syntax).dial(image_form()).whole
    assert facts["psnr"] <= (64 if whole else 56.5)


@pytest.mark.parametrize("name", lossy_names())
def test_a_greatest_error_alone_is_the_target(name: str) -> None:
    values = noisy(2)
    syntax, data, facts = made(values, to=name, max_error=24)
    assert syntax == METHODS[name].lossy
    error = measure(values, seen(data, syntax)[0]).max_error
    assert 16 <= error == facts["max_error"] <= 24


def test_each_frame_of_an_image_has_the_quality() -> None:
    frames = np.stack([noisy(seed, 64, 64) for seed in range(6)])
    syntax, data, facts = made(frames, to="jpeg2000", psnr=54)
    worst = min(measure(a, b).psnr for a, b in zip(frames, seen(data, syntax), strict=True))
    assert 54 <= worst == pytest.approx(facts["psnr"], abs=0.01)


def test_a_target_finer_than_lossless_is_met_without_loss() -> None:
    syntax, data, facts = made(noisy(3), to="jpeg2000", psnr=110)
    assert (syntax, facts["course"]) == (uids.JPEG2000_LOSSLESS, "lossless")
    assert "LossyImageCompression" not in data


def test_a_similarity_is_a_limit_and_what_was_reached_is_kept() -> None:
    values = noisy(4)
    _, _, facts = made(values, to="jpeg2000", ratio=20, min_ssim=0.5)
    assert 0.5 < facts["ssim"] <= 1
    _, _, facts = made(values, to="jpeg2000", ratio=20, min_ssim=0.9999)
    assert (facts["course"], facts["reason"]) == ("lossless", "min-ssim")
    with pytest.raises(Permanent) as caught:
        made(values, to="jpeg2000", ratio=20, min_ssim=0.9999, fallback="park")
    assert caught.value.reason == "quality"


def test_a_retry_needs_one_encode_and_makes_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    values, notebook = noisy(5), Notebook()
    config = {"to": ("htj2k", "jpeg2000"), "max_error": 12}
    syntax, first, facts = made(values, notebook, **config)
    assert (syntax, facts["method"]) == (uids.HTJ2K, "htj2k")
    monkeypatch.setattr("mapdr.transform.encode.compress.hit", None)
    kept = notebook.kept
    _, again, _ = made(values, notebook, **config)
    assert again.PixelData == first.PixelData
    assert again.SOPInstanceUID == first.SOPInstanceUID
    assert notebook.kept == kept


def test_facts_of_before_there_were_methods_mean_jpeg_2000() -> None:
    notebook = Notebook()
    notebook.facts = {"course": "lossy", "level": 55.0, "reversible": False, "resolutions": 0}
    syntax, _, facts = made(noisy(6), notebook, to="jpeg2000", ratio=10)
    assert syntax == uids.JPEG2000
    assert facts == {"course": "lossy", "level": 55.0, "reversible": False, "resolutions": 0}


def test_what_comes_next_in_a_list_is_told_with_the_payload() -> None:
    payload, instance = payload_of(image(noisy(7), stored=12))
    found = applied(step(to=("htj2k", "jpeg2000"), ratio=12), payload, instance, Notebook())
    assert found.others == (uids.JPEG2000,)
    assert found.need.others == (uids.JPEG2000,)
    assert applied(step(to="jpeg2000", ratio=12), payload, instance, Notebook()).others == ()


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("name", ["deflated", "native"])
def test_a_data_set_is_deflated_or_decompressed(name: str) -> None:
    payload, instance = payload_of(image(noisy(8), stored=12))
    if name == "native":
        payload = applied(step(to="jpeg2000-lossless"), payload, instance, Notebook())
    found = applied(step(to=name), payload, instance, Notebook())
    assert found.transfer_syntax_uid == METHODS[name].lossless
    assert np.array_equal(read(found).pixel_array, noisy(8))
    assert found.sop_instance_uid == payload.sop_instance_uid


@pytest.mark.usefixtures("decoders")
def test_a_jpeg_is_recompressed_and_comes_back_byte_by_byte() -> None:
    row = CODECS.rows[uids.JPEG_XL_JPEG_RECOMPRESSION]
    if row.recompressor is None:
        pytest.skip(row.no_encode)
    values = noisy(9, 200, 300) // 16
    payload, instance = payload_of(image(values, allocated=8, stored=8))
    jpeg = applied(step(to="jpeg", ratio=5), payload, instance, Notebook())
    assert jpeg.transfer_syntax_uid == uids.JPEG_BASELINE
    made = applied(step(to="jpegxl-recompress"), jpeg, instance, Notebook())
    assert made.transfer_syntax_uid == uids.JPEG_XL_JPEG_RECOMPRESSION
    assert made.length < jpeg.length
    before, after = read(jpeg), read(made)
    (stream,) = generate_frames(before.PixelData, number_of_frames=1)
    (packed,) = generate_frames(after.PixelData, number_of_frames=1)
    assert row.recompressor.restore(packed).rstrip(b"\0") == stream.rstrip(b"\0")
    del before.PixelData, after.PixelData
    assert before == after
    assert made.sop_instance_uid == jpeg.sop_instance_uid
    again = applied(step(to="jpegxl-recompress"), made, instance, Notebook())
    assert again.note == "not compressed: already-compressed"
    # An icon in JPEG would be in a syntax that the data set is not in any more (PS3.5 section A.4).
    holder, icon = read(jpeg), Dataset()
    icon.update({each.tag: each for each in read(jpeg) if each.tag.group in (0x0028, 0x7FE0)})
    holder.IconImageSequence = [icon]
    holder.preamble = None
    del holder.file_meta
    with_icon, instance = payload_of(holder, uids.JPEG_BASELINE)
    found = read(applied(step(to="jpegxl-recompress"), with_icon, instance, Notebook()))
    assert found.file_meta.TransferSyntaxUID == uids.JPEG_XL_JPEG_RECOMPRESSION
    assert len(found.IconImageSequence[0].PixelData) == values.size
    pixels = np.frombuffer(found.IconImageSequence[0].PixelData, "u1").reshape(values.shape)
    assert np.array_equal(pixels, read(to_syntax(jpeg, EXPLICIT)).pixel_array)


@pytest.mark.skipif("jpegls-near" not in lossy_names(), reason="JPEG-LS is not written here")
def test_near_is_the_parameter_of_the_codestream() -> None:
    syntax, data, facts = made(noisy(10), to="jpegls-near", near=7)
    assert (syntax, facts["max_error"], facts["encodes"]) == (uids.JPEG_LS_NEAR_LOSSLESS, 7, 1)
    (stream,) = generate_frames(data.PixelData, number_of_frames=1)
    scan = stream.index(b"\xff\xda")
    assert stream[scan + 5 + 2 * stream[scan + 4]] == 7


def test_a_method_that_is_not_written_here_parks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mapdr.transform.encode.compress.writers_of", lambda codecs: Writers(lossless={}, lossy={})
    )
    with pytest.raises(Permanent, match="no codec that is installed here writes htj2k") as caught:
        made(noisy(11), to="htj2k", ratio=10)
    assert caught.value.reason == "syntax"


def series(step: CompressStep, slices: list[np.ndarray]) -> list[tuple[str, float, bool]]:
    """Of each slice the course, the encodes, and whether it is in a syntax of HTJ2K, one after the other."""
    found = []
    for values in slices:
        notebook = Notebook()
        result = applied(step, *payload_of(image(values, stored=12)), notebook)
        is_first = result.transfer_syntax_uid in (uids.HTJ2K, uids.HTJ2K_LOSSLESS)
        found.append((notebook.facts["course"], notebook.facts.get("encodes", 1), is_first))
    return found


def test_auto_looks_once_a_series_whether_an_image_meets_the_ratio_without_loss() -> None:
    slices = [noisy(seed) for seed in range(5)]
    encoder = CODECS.encoder(uids.HTJ2K_LOSSLESS)
    cells = [values.astype("<u2") for values in slices]
    lossless_ratio = [each.nbytes / len(encoder.encode(each, image_form())) for each in cells]
    tried: list[float] = []
    real = FrameEncoder.try_lossless

    def counted(self: FrameEncoder, ratio: float) -> Any:
        tried.append(ratio)
        return real(self, ratio)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameEncoder, "try_lossless", counted)
        # Just out of reach: the forecast alone would try each slice in vain.
        above = series(step(to="auto", ratio=1.2 * max(lossless_ratio)), slices)
        assert len(tried) == 1
        tried.clear()
        below = series(step(to="auto", ratio=0.9 * min(lossless_ratio)), slices)
        assert len(tried) == len(slices)
    assert {course for course, _, _ in above} == {"lossy"}
    assert {course for course, _, _ in below} == {"lossless"}
    assert all(is_first for _, _, is_first in above + below)


def test_auto_sends_a_simpler_slice_of_a_lossy_series_without_loss() -> None:
    slices = [noisy(0), np.full((160, 144), 1000) + np.eye(160, 144, dtype=int), noisy(1)]
    courses = [course for course, _, _ in series(step(to="auto", ratio=8, fallback="park"), slices)]
    assert courses == ["lossy", "lossless", "lossy"]


@pytest.mark.parametrize(
    ("taken", "form"),
    [
        ((uids.JPEG2000, uids.JPEG2000_LOSSLESS), "12 bits"),
        ((uids.JPEG_LS_NEAR_LOSSLESS, uids.JPEG_LS_LOSSLESS), "12 bits"),
        ((uids.JPEG_BASELINE, uids.JPEG_LOSSLESS_SV1), "8 bits"),
    ],
)
def test_auto_takes_the_first_method_that_the_receiver_takes(taken: tuple[str, str], form: str) -> None:
    values = noisy(3) if form == "12 bits" else noisy(3) // 16
    bits = 12 if form == "12 bits" else 8
    data = image(values, stored=bits, allocated=16 if bits > 8 else 8)
    payload, instance = payload_of(data)
    first = applied(step(to="auto", ratio=10), payload, instance, Notebook())
    assert first.transfer_syntax_uid == uids.HTJ2K
    assert taken[0] in first.others
    made = applied(step(to="auto", ratio=10), payload, instance, Notebook(), taken[0])
    assert (made.transfer_syntax_uid, made.unmet) == (taken[0], "")
