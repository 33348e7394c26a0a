"""The `compress` step with a codec that does what the test says: what is sent, kept, counted and told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from mapdr.dicom import uids
from mapdr.kernel.budget import Budget, Share
from mapdr.kernel.codec import OWN_WAY, PixelRange, Way
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance, Payload, Treatment
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.transform.codecs.table import Codecs, Row
from mapdr.transform.document import OpenImage
from mapdr.transform.encode import compress as module
from mapdr.transform.encode.compress import CompressStep
from mapdr.transform.encode.derive import new_uid
from mapdr.transform.encode.wish import CompressConfig

from .helpers import EXPLICIT, Notebook, image, payload_of, read, settings
from .toy import Lossless, Lossy

LOSSLESS, LOSSY = uids.JPEG2000_LOSSLESS, uids.JPEG2000
NATIVE = 40 * 64 * 2
"""Bytes of the frame of `ct`."""


def ct(frames: int = 1, **more: Any) -> Dataset:
    """Noise of 12 bits in 16."""
    values = np.random.default_rng(3).integers(0, 4096, (frames, 40, 64)[frames == 1 :])
    return image(values, frames=frames, **more)


def fixed(size: int = 500, error: int = 3) -> Lossy:
    """A lossy codec whose codestreams have that size at any level, each value off by `error`."""
    return Lossy(lambda level: size, lambda level: error)


def codecs_of(lossless: Lossless | None = None, lossy: Lossy | None = None) -> Codecs:
    """A node whose only codec writes JPEG 2000, and reads nothing."""
    made = Codecs(Registry(), settings())
    rows = [Row(LOSSLESS, "without", None, lossless, None), Row(LOSSY, "with", None, None, lossy)]
    made.__dict__.update(rows={row.uid: row for row in rows}, own={})
    return made


class Node:
    """One `compress` step on a node with such codecs."""

    def __init__(
        self,
        lossless: Lossless | None = None,
        lossy: Lossy | None = None,
        lossless_uid: str = "",
        **config: Any,
    ) -> None:
        self.settings: Settings = settings()
        self.codecs = codecs_of(lossless, lossy)
        self.step = CompressStep(
            self.settings, CompressConfig(**({"to": "jpeg2000", "ratio": 10} | config)), lossless_uid
        )

    def encode(
        self,
        data: Dataset | tuple[Payload, Instance],
        memory: Notebook | None = None,
        syntax: str = "",
        paint: Any = None,
    ) -> Payload:
        payload, instance = data if isinstance(data, tuple) else payload_of(data)
        paints = (paint,) if paint else ()
        with OpenImage(payload, self.codecs, paints=paints) as document:
            return self.step.encode(document, instance, memory or Notebook(), syntax)

    @property
    def counts(self) -> Mapping[str, float]:
        return self.settings.watch.counters()


def stream_of(payload: Payload, frames: int = 1) -> list[bytes]:
    return list(generate_frames(read(payload).PixelData, number_of_frames=frames))


# What is made


def test_a_lossy_image_is_another_image_and_what_it_reached_is_kept() -> None:
    node, notebook, codec = Node(Lossless(9000), lossy := fixed(512)), Notebook(), lossy
    pair = payload_of(ct())
    made = node.encode(pair, notebook)
    assert (made.transfer_syntax_uid, made.treatment, made.note) == (LOSSY, Treatment.TRANSCODED, "")
    (stream,) = stream_of(made)
    assert len(stream) == 512
    assert made.sop_instance_uid == new_uid(b"k" * 32, pair[0].sop_instance_uid, [stream])
    found = read(made)
    assert found.SOPInstanceUID == made.sop_instance_uid
    assert (found.LossyImageCompression, str(found.LossyImageCompressionRatio)) == ("01", "10.00")
    assert found.LossyImageCompressionMethod == "TOY"
    assert found.SourceImageSequence[0].ReferencedSOPInstanceUID == pair[0].sop_instance_uid
    (level,) = codec.levels
    assert dict(notebook.facts) == {
        "course": "lossy",
        "level": level,
        "reversible": False,
        "resolutions": 0,
        "ratio": 10.0,
        "psnr": notebook.facts["psnr"],
        "max_error": 3,
        "encodes": 1.0,
    }
    assert notebook.facts["psnr"] == pytest.approx(10 * np.log10(4095**2 / 9), abs=0.1)
    assert node.counts == {"compress.lossy": 1}


def test_what_was_measured_is_kept_and_what_is_infinite_is_not() -> None:
    notebook = Notebook()
    Node(Lossless(9000), fixed(512, error=0), min_ssim=0.5).encode(ct(), notebook)
    assert (notebook.facts["ssim"], notebook.facts["max_error"]) == (1.0, 0)
    assert "psnr" not in notebook.facts
    notebook = Notebook()
    Node(Lossless(9000), fixed(512), to=["htj2k", "jpeg2000"]).encode(ct(), notebook)
    assert notebook.facts["method"] == "jpeg2000"


def test_lossless_keeps_the_image_and_its_name() -> None:
    node, notebook = Node(Lossless(1000), to="jpeg2000-lossless", ratio=None), Notebook()
    pair = payload_of(ct())
    made = node.encode(pair, notebook)
    assert (made.transfer_syntax_uid, made.treatment) == (LOSSLESS, Treatment.TRANSCODED)
    assert made.sop_instance_uid == pair[0].sop_instance_uid == read(made).SOPInstanceUID
    assert "LossyImageCompression" not in read(made)
    assert notebook.facts == {"course": "lossless", "ratio": 5.12}
    assert node.counts == {"compress.lossless": 1}


def test_the_ratio_that_lossless_reaches_is_lossless() -> None:
    notebook = Notebook()
    simple = image(np.zeros((40, 64), int))
    made = Node(Lossless(500), fixed(400)).encode(simple, notebook)
    assert (made.transfer_syntax_uid, made.note) == (LOSSLESS, "")
    assert notebook.facts == {"course": "lossless", "ratio": 10.24}


@pytest.mark.parametrize(("size", "note"), [(NATIVE - 2, ""), (NATIVE, "not compressed: not-smaller")])
def test_what_does_not_become_smaller_stays(size: int, note: str) -> None:
    node, notebook = Node(Lossless(size), to="jpeg2000-lossless", ratio=None), Notebook()
    pair = payload_of(ct())
    made = node.encode(pair, notebook)
    assert made.note == note
    assert (made.parts is pair[0].parts) == bool(note)
    if note:
        assert notebook.facts == {"course": "original", "reason": "not-smaller"}
        assert node.counts == {"compress.left.not-smaller": 1}
        # The second time nothing is tried.
        node = Node(to="jpeg2000-lossless", ratio=None)
        assert node.encode(pair, notebook) == made
        assert (node.counts, notebook.kept) == ({"compress.left.not-smaller": 1}, 1)


def test_what_a_receiver_insists_on_is_written_without_loss_be_it_larger() -> None:
    node = Node(Lossless(NATIVE + 10), fixed(), lossless_uid=LOSSLESS)
    made = node.encode(ct())
    assert (made.transfer_syntax_uid, made.note) == (LOSSLESS, "")


def test_a_painted_image_is_another_image_without_loss_too() -> None:
    def painted(cells: Any, form: Any, index: int) -> Any:
        return cells + cells.dtype.type(1)

    node = Node(Lossless(1000), to="jpeg2000-lossless", ratio=None)
    values = np.random.default_rng(3).integers(0, 4000, (40, 64))
    pair = payload_of(image(values))
    made = node.encode(pair, paint=painted)
    assert made.sop_instance_uid == new_uid(b"k" * 32, pair[0].sop_instance_uid, stream_of(made))
    assert read(made).SOPInstanceUID == made.sop_instance_uid
    assert "LossyImageCompression" not in read(made)
    same = node.encode(pair, paint=lambda cells, form, index: cells)
    assert same.sop_instance_uid == pair[0].sop_instance_uid


def test_memory_is_asked_for_before_a_frame_is_read() -> None:
    node = Node(Lossless(1000), to="jpeg2000-lossless", ratio=None)
    shares: list[Share] = []
    Budget(10**9).ask(0, shares.append)
    with shares[0].held():
        node.encode(ct(4))
    # Two frames at once, as there are two threads; half of the native pixels for the codestreams.
    assert shares[0].amount >= 2 * 14 * 40 * 64 + 4 * NATIVE // 2
    assert shares[0].amount < 3 * 14 * 40 * 64


# A retry


def test_a_retry_goes_by_what_was_kept() -> None:
    memory, pair = Notebook(), payload_of(ct())
    memory.facts = {"course": "lossy", "level": 41.5, "reversible": True, "resolutions": 3}
    codec = fixed(700)
    made = Node(Lossless(100), codec).encode(pair, memory)
    assert [what[1:] for what in codec.encoded] == [(41.5, Way(True, 3))]
    assert (made.transfer_syntax_uid, len(stream_of(made)[0])) == (LOSSY, 700)
    assert memory.kept == 0
    memory.facts = {"course": "lossy", "level": 41.5}
    codec = fixed(700)
    Node(Lossless(100), codec).encode(pair, memory)
    assert [what[1:] for what in codec.encoded] == [(41.5, OWN_WAY)]
    memory.facts = {"course": "lossless", "reason": "max-error", "ratio": 51.2}
    codec = fixed(700)
    made = Node(Lossless(100), codec).encode(pair, memory)
    assert (made.transfer_syntax_uid, made.note) == (LOSSLESS, "compressed without loss: max-error")
    assert not codec.encoded
    assert memory.kept == 0


def test_a_retry_whose_image_fails_now_falls_back_and_that_is_kept() -> None:
    memory = Notebook()
    memory.facts = {"course": "lossy", "level": 41.5}
    made = Node(Lossless(100), fixed(error=9), max_error=8).encode(ct(), memory)
    assert made.note == "compressed without loss: max-error"
    assert memory.facts == {"course": "lossless", "reason": "max-error", "ratio": 51.2}


def test_a_retry_goes_by_the_method_of_then() -> None:
    pair, both = payload_of(ct()), {"to": ["jpeg2000", "jpeg2000-lossless"]}
    lossless, lossy = Lossless(100), fixed()
    memory = Notebook()
    memory.facts = {"course": "lossless", "method": "jpeg2000-lossless"}
    made = Node(lossless, lossy, **both).encode(pair, memory)
    assert (made.transfer_syntax_uid, bool(lossy.encoded)) == (LOSSLESS, False)
    assert memory.facts == {"course": "lossless", "method": "jpeg2000-lossless", "ratio": 51.2}
    # One that is not known any more: as it is planned today.
    memory.facts = {"course": "lossy", "method": "wavelet9000", "level": 50.0}
    assert Node(lossless, lossy, **both).encode(pair, memory).transfer_syntax_uid == LOSSY
    # A course that nobody has yet is none.
    memory.facts = {"course": "sideways"}
    assert Node(lossless, fixed(512), **both).encode(pair, memory).transfer_syntax_uid == LOSSY


def test_a_series_is_led_by_its_last_image_of_the_same_size() -> None:
    def sized(level: float) -> float:
        return 512 * np.exp(0.05 * (level - 45.0))

    codec = Lossy(sized, lambda level: 3)
    node = Node(Lossless(9000), codec)

    def encodes(data: Dataset) -> int:
        before = len(codec.encoded)
        node.encode(data)
        return len(codec.encoded) - before

    first = encodes(ct())
    assert first > 1
    assert encodes(ct()) == 1
    other = ct()
    other.SeriesInstanceUID = "1.2.3.5"
    assert encodes(other) == first
    assert encodes(ct(stored=13)) > 1


def test_auto_tries_the_first_of_a_series_without_loss_and_a_named_method_none() -> None:
    for to, tries in (("auto", [1, 1]), ("jpeg2000", [0, 0])):
        lossless = Lossless(9000)
        node = Node(lossless, fixed(512), to=to)
        found = []
        for _ in tries:
            node.encode(ct())
            found.append(len(lossless.encoded))
        assert found == tries


@pytest.mark.parametrize(
    ("to", "color", "photometric"),
    [
        ("jpeg2000", "rgb", "RGB"),
        ("jpeg2000", "ybr", "YBR_ICT"),
        ("jpeg", "rgb", "YBR_ICT"),  # whose readers expect the transform
    ],
)
def test_colours_are_as_the_rule_and_the_readers_of_the_method_want_them(
    to: str, color: str, photometric: str
) -> None:
    values = np.random.default_rng(3).integers(0, 250, (40, 64, 3))
    codec = Lossy(lambda level: 768, lambda level: 1, colours=("YBR_ICT", "RGB"))
    node = Node(Lossless(9000), codec, to=to, color=color)
    node.codecs.rows[uids.JPEG_BASELINE] = Row(uids.JPEG_BASELINE, "baseline", None, None, codec)
    made = read(node.encode(image(values, allocated=8, stored=8, photometric="RGB")))
    assert made.PhotometricInterpretation == photometric
    assert made.file_meta.TransferSyntaxUID == (LOSSY if to == "jpeg2000" else uids.JPEG_BASELINE)


# Limits and fallbacks


@pytest.mark.parametrize(
    ("fallback", "note", "syntax"),
    [
        ("lossless", "compressed without loss: max-error", LOSSLESS),
        ("original", "not compressed: max-error", EXPLICIT),
    ],
)
def test_a_guard_that_fails_has_the_fallback_sent(fallback: str, note: str, syntax: str) -> None:
    node, memory = Node(Lossless(1000), fixed(512), max_error=2, fallback=fallback), Notebook()
    pair = payload_of(ct())
    made = node.encode(pair, memory)
    assert (made.note, made.transfer_syntax_uid) == (note, syntax)
    assert made.sop_instance_uid == pair[0].sop_instance_uid
    assert memory.facts["reason"] == "max-error"
    assert memory.facts["course"] == ("lossless" if fallback == "lossless" else "original")
    sent = "compress.lossless" if fallback == "lossless" else "compress.left.max-error"
    assert node.counts == {"compress.fallback.max-error": 1, sent: 1}


def test_or_parks() -> None:
    node, memory = Node(Lossless(1000), fixed(512), max_error=2, fallback="park"), Notebook()
    with pytest.raises(Permanent, match="max-error") as caught:
        node.encode(ct(), memory)
    assert caught.value.reason == "quality"
    assert memory.kept == 0
    assert node.counts == {"compress.fallback.max-error": 1}


def test_where_nothing_is_written_without_loss_the_original_is_the_fallback() -> None:
    only_with = Lossless(1000)
    only_with.takes = PixelRange(stored=range(1, 8))
    made = Node(only_with, fixed(512), max_error=2).encode(ct())
    assert (made.note, made.transfer_syntax_uid) == ("not compressed: max-error", EXPLICIT)


@pytest.mark.parametrize(("config", "error"), [({"min_psnr": 62.0}, 4), ({"min_ssim": 0.9999999}, 4)])
def test_each_limit_of_the_rule_is_a_guard(config: dict[str, float], error: int) -> None:
    made = Node(Lossless(1000), fixed(512, error), **config).encode(ct())
    assert made.note == f"compressed without loss: {next(iter(config)).replace('_', '-')}"


def test_near_and_max_error_are_limits_too() -> None:
    node = Node(ratio=None, near=3, to="jpegls-near")
    assert node.step._guard.max_error == 3
    assert (node.step._aim.near, node.step._aim.max_error) == (3, None)
    node = Node(ratio=None, max_error=3)
    assert (node.step._guard.max_error, node.step._aim.max_error) == (3, 3)
    node = Node(max_error=3)
    assert (node.step._guard.max_error, node.step._aim.max_error) == (3, None)


# Cells with more than their stored values


def stray() -> Dataset:
    values = np.random.default_rng(3).integers(0, 4096, (40, 64))
    values[3, 4] |= 0x8000
    return image(values)


def test_bits_outside_those_stored_are_kept_without_loss() -> None:
    memory, lossless, lossy = Notebook(), Lossless(1000), fixed()
    made = Node(lossless, lossy).encode(stray(), memory)
    assert made.note == "compressed without loss: values-outside-bits-stored"
    assert memory.facts == {"course": "lossless", "reason": "values-outside-bits-stored", "ratio": 5.12}
    form = lossless.encoded[-1][0]
    assert (form.stored, int(lossless.decode(stream_of(made)[0], form)[3, 4]) >> 12) == (16, 8)
    memory, lossless = Notebook(), Lossless(1000)
    made = Node(lossless, to="jpeg2000-lossless", ratio=None).encode(stray(), memory)
    assert (made.note, memory.facts) == ("", {"course": "lossless", "ratio": 5.12})


def test_or_left_where_nothing_is_written_without_loss() -> None:
    none = Lossless()
    none.takes = PixelRange(stored=range(1, 8))
    memory = Notebook()
    made = Node(none, fixed()).encode(stray(), memory)
    assert made.note == "not compressed: values-outside-bits-stored"
    assert memory.facts == {"course": "original", "reason": "values-outside-bits-stored"}


# What the receiver takes


def test_an_image_that_is_left_has_the_colours_that_came() -> None:
    """Of pixel data that is cut off RGB cannot be made, and who writes it for a receiver finds what came."""
    values = np.random.default_rng(3).integers(0, 250, (40, 64, 3))
    data = image(values, allocated=8, stored=8, photometric="YBR_FULL")
    data.PixelData = data.PixelData[:-2]
    payload, instance = payload_of(data)
    node = Node(to="native", ybr_to_rgb=True, ratio=None)
    with OpenImage(payload, node.codecs) as document:
        made = node.step.encode(document, instance, Notebook(), "")
        assert (made.note, made.parts) == ("not compressed: pixel-length", payload.parts)
        assert document.shown.photometric == "YBR_FULL"
        assert not document.is_rewritten


def test_what_the_receiver_does_not_take_is_told_and_not_kept() -> None:
    node, memory = Node(Lossless(), fixed()), Notebook()
    pair = payload_of(ct())
    made = node.encode(pair, memory, EXPLICIT)
    assert (made.unmet, made.note, made.parts) == ("compression-refused", "", pair[0].parts)
    assert (node.counts, memory.kept) == ({"compress.refused": 1}, 0)


def test_the_syntax_of_the_rule_that_a_receiver_asks_for_is_written_be_it_larger() -> None:
    pair = payload_of(ct())
    made = Node(Lossless(NATIVE + 10), to="jpeg2000-lossless", ratio=None).encode(pair, syntax=LOSSLESS)
    assert (made.transfer_syntax_uid, made.note) == (LOSSLESS, "")
    made = Node(Lossless(1000), fixed(512)).encode(pair, syntax=LOSSY)
    assert made.transfer_syntax_uid == LOSSY
    made = Node(Lossless(1000), fixed(512, error=9), max_error=2).encode(pair, syntax=LOSSY)
    assert (made.transfer_syntax_uid, made.note) == (LOSSY, "compressed without loss: max-error")
    assert "LossyImageCompression" not in read(made)


def test_what_is_left_for_one_receiver_says_nothing_of_others() -> None:
    data = ct()
    data.LossyImageCompression = "01"
    for syntax, kept in ((EXPLICIT, 0), ("", 1)):
        memory = Notebook()
        node = Node(Lossless(), fixed())
        made = node.encode(data, memory, syntax)
        assert (made.note, memory.kept) == ("not compressed: already-lossy", kept)
        assert node.encode(data, memory, syntax).note == made.note
        assert memory.kept == kept
    assert memory.facts == {"course": "original", "reason": "already-lossy"}


def test_other_methods_are_told_with_what_one_has_made_and_not_with_the_original() -> None:
    both = {"to": ["jpeg2000", "jpeg2000-lossless"]}
    pair = payload_of(ct())
    assert Node(Lossless(9000), fixed(512), **both).encode(pair).others == (LOSSLESS,)
    left = Node(Lossless(9000), fixed(512), max_error=2, fallback="original", **both).encode(pair)
    assert (left.others, left.parts) == ((), pair[0].parts)


def test_a_rule_whose_codec_is_missing_parks() -> None:
    with pytest.raises(Permanent, match="writes htj2k, jpegls-near") as caught:
        Node(Lossless(), fixed(), to=["htj2k", "jpegls-near"]).encode(ct())
    assert caught.value.reason == "syntax"


# Without a codec


@pytest.mark.parametrize(
    ("fallback", "reason", "note"),
    [
        ("original", "codec", "not compressed: not-recompressed"),
        ("original", "codec-mismatch", "not compressed: not-recompressed"),
        ("original", "syntax", None),
        ("lossless", "codec", None),
    ],
)
def test_a_jpeg_that_does_not_come_back_is_left_where_the_rule_says_so(
    monkeypatch: pytest.MonkeyPatch, fallback: str, reason: str, note: str | None
) -> None:
    def refuse(*_: object) -> Payload:
        raise Permanent("no", reason=reason)

    monkeypatch.setattr(module, "recompressed", refuse)
    payload, instance = payload_of(ct(allocated=16))
    payload = replace(payload, transfer_syntax_uid=uids.JPEG_BASELINE)
    node = Node(to="jpegxl-recompress", ratio=None, fallback=fallback)
    if note is None:
        with pytest.raises(Permanent) as caught:
            node.encode((payload, instance))
        assert caught.value.reason == reason
        return
    made = node.encode((payload, instance))
    assert (made.note, made.parts) == (note, payload.parts)


@pytest.mark.parametrize(
    ("to", "more", "is_painted", "is_sent"),
    [
        ("deflated", -1, False, True),
        ("deflated", 0, False, False),
        ("deflated", 9, True, True),  # as it came, it may not leave
        ("native", 9, False, True),  # it is to be read by whoever takes nothing else
    ],
)
def test_what_deflate_does_not_make_smaller_is_left(
    monkeypatch: pytest.MonkeyPatch, to: str, more: int, is_painted: bool, is_sent: bool
) -> None:
    def written(document: OpenImage, target: str, _: object) -> Payload:
        size = document.payload.length + more
        return replace(document.payload, transfer_syntax_uid=target, parts=(bytes(size),), length=size)

    monkeypatch.setattr(module, "native", written)
    payload, instance = payload_of(ct())
    if to == "native":
        payload = replace(payload, transfer_syntax_uid=uids.RLE_LOSSLESS)
        monkeypatch.setattr(Codecs, "reads", lambda self, uid: True)
        monkeypatch.setattr(OpenImage, "shown", property(lambda self: self.image))
    node, memory = Node(to=to, ratio=None), Notebook()
    paint = (lambda cells, form, index: cells) if is_painted else None
    made = node.encode((payload, instance), memory, paint=paint)
    assert made.note == ("" if is_sent else "not compressed: not-smaller")
    assert made.length == payload.length + (more if is_sent else 0)
    assert node.counts == {"compress.lossless" if is_sent else "compress.left.not-smaller": 1}
    assert memory.facts["course"] == ("lossless" if is_sent else "original")
