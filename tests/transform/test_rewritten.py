"""Documents written otherwise: decompressed, painted, recompressed, with frames that no process decodes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments, generate_frames

from mapdr.dicom import uids
from mapdr.kernel.budget import Budget, Share
from mapdr.kernel.codec import Decoder, FrameFormat, Pixels, Recompressor
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Payload, Treatment
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.transform.codecs.foreign import ForeignFrames
from mapdr.transform.codecs.table import Codecs, Row
from mapdr.transform.dataset import COPIES
from mapdr.transform.document import OpenImage
from mapdr.transform.encode import icons as of_icons
from mapdr.transform.encode import recompress as of_recompress
from mapdr.transform.encode.again import again, may_stay
from mapdr.transform.encode.derive import new_uid
from mapdr.transform.encode.native import native
from mapdr.transform.encode.recompress import recompressed
from mapdr.transform.image import LeaveAsIs

from .helpers import EXPLICIT, image, payload_of, read, settings
from .toy import FramesAt, Lossless

IMPLICIT, BIG = uids.IMPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN
DEFLATED, RLE, JPEG = uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, uids.RLE_LOSSLESS, uids.JPEG_BASELINE


def decode(form: FrameFormat, stream: bytes) -> Pixels:
    raise AssertionError("nobody decodes here")


def node_codecs(
    syntax: str = RLE, *, gives_rgb: bool = False, encoder: Any = None, packer: Any = None
) -> Codecs:
    made = Codecs(Registry(), settings())
    row = Row(syntax, "toy", Decoder(decode, gives_rgb=gives_rgb), encoder, None)
    packed = Row(uids.JPEG_XL_JPEG_RECOMPRESSION, "packed", None, None, None, packer)
    made.__dict__.update(rows={row.uid: row, packed.uid: packed}, own={})
    return made


def holding(data: Dataset, streams: list[bytes], syntax: str = RLE, fragments: int = 1) -> Payload:
    """A data set with such codestreams, which mean nothing, in so many fragments each; 0: in one of their
    length, though it is odd."""
    if fragments:
        data.PixelData = encapsulate(streams, fragments_per_frame=fragments)
    else:
        items = (b"", *streams)
        data.PixelData = b"".join(struct.pack("<2HI", 0xFFFE, 0xE000, len(each)) + each for each in items)
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    payload, _ = payload_of(data)
    return replace(payload, transfer_syntax_uid=syntax)


@pytest.fixture
def budget() -> Iterator[Share]:
    shares: list[Share] = []
    Budget(10**9).ask(0, shares.append)
    with shares[0].held():
        yield shares[0]


def decompressed(
    data: Dataset,
    values: np.ndarray,
    target: str = EXPLICIT,
    paint: Callable[..., Any] | None = None,
    **codec: Any,
) -> Payload:
    """`data`, whose frames are decoded to `values`, in a native transfer syntax."""
    count = int(data.get("NumberOfFrames", 1))
    payload = holding(data, [b"frame%d" % number for number in range(count)])
    cells = list(values.reshape(count, *values.shape[count > 1 :]))
    paints = (paint,) if paint else ()
    with OpenImage(payload, node_codecs(**codec), paints=paints) as document:
        frames = FramesAt(document.shown, cells)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mapdr.transform.document.foreign_frames", lambda *_, **__: frames)
            return native(document, target, settings())


def noise(*shape: int, bits: int = 12, dtype: str = "<u2") -> np.ndarray:
    return np.random.default_rng(5).integers(0, 1 << bits, shape).astype(dtype)


# Decompressed


@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT, DEFLATED])
@pytest.mark.parametrize(("shape", "frames"), [((3, 5), 1), ((3, 3, 5), 3)])
@pytest.mark.parametrize("allocated", [8, 16, 32])
def test_frames_stand_one_behind_the_other(
    target: str, shape: tuple[int, ...], frames: int, allocated: int
) -> None:
    values = noise(*shape, bits=8, dtype=f"<u{allocated // 8}")
    data = image(values, allocated=allocated, stored=allocated, frames=frames)
    data.ExtendedOffsetTable = bytes(8 * frames)
    data.ExtendedOffsetTableLengths = bytes(8 * frames)
    data.DataSetTrailingPadding = b"ab"
    made = decompressed(data, values, target)
    found = read(made)
    assert (made.transfer_syntax_uid, made.treatment) == (target, Treatment.TRANSCODED)
    assert made.sop_instance_uid == data.SOPInstanceUID
    assert found.PixelData == values.tobytes() + b"\0" * (values.nbytes % 2)
    if target != IMPLICIT:
        assert (found["PixelData"].VR == "OB") == (allocated == 8)
    assert not found["PixelData"].is_undefined_length
    assert "ExtendedOffsetTable" not in found
    assert "ExtendedOffsetTableLengths" not in found
    assert found.DataSetTrailingPadding == b"ab"
    assert "PlanarConfiguration" not in found
    assert found.PhotometricInterpretation == "MONOCHROME2"


@pytest.mark.parametrize(("gives_rgb", "photometric"), [(True, "RGB"), (False, "YBR_FULL")])
def test_colours_are_those_that_were_decoded_and_stand_pixel_by_pixel(
    gives_rgb: bool, photometric: str
) -> None:
    values = noise(3, 4, 3, bits=8, dtype="u1")
    data = image(values, allocated=8, stored=8, photometric="YBR_FULL", planar=1)
    found = read(decompressed(data, values, gives_rgb=gives_rgb))
    assert (found.PhotometricInterpretation, found.PlanarConfiguration) == (photometric, 0)
    assert found.PixelData == values.tobytes()


def test_memory_is_asked_for_one_frame_at_work_and_the_pixels(budget: Share) -> None:
    values = noise(2, 30, 50)
    decompressed(image(values, frames=2), values)
    assert 2 * 3000 + 14 * 1500 <= budget._used <= 2 * 3000 + 14 * 1500 + 6000


@pytest.mark.parametrize("painted", ["", "alike", "otherwise"])
def test_an_image_that_a_step_changed_is_another(painted: str) -> None:
    values = noise(2, 3, 4)
    steps = {"": None, "alike": lambda cells, *_: cells, "otherwise": lambda cells, *_: cells ^ 1}
    data = image(values, frames=2)
    made = decompressed(data, values, paint=steps[painted])
    after = values ^ 1 if painted == "otherwise" else values
    assert read(made).PixelData == after.tobytes()
    expected = data.SOPInstanceUID
    if painted == "otherwise":
        expected = new_uid(b"k" * 32, data.SOPInstanceUID, [frame.tobytes() for frame in after])
    assert made.sop_instance_uid == read(made).SOPInstanceUID == expected


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({}, BIG),
        ({}, RLE),
        ({"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63}, EXPLICIT),
        ({"Rows": 65535, "Columns": 65535}, EXPLICIT),
    ],
)
def test_where_there_is_no_way_it_is_said(changes: dict[str, int], target: str) -> None:
    values = noise(3, 4)
    data = image(values)
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    with pytest.raises(Permanent) as caught:
        decompressed(data, values, target)
    assert caught.value.reason == "syntax"


def test_a_broken_pixel_module_is_no_image() -> None:
    data = image(noise(3, 4))
    data.Rows = 0
    payload = holding(data, [b"frame1"])
    with (
        OpenImage(payload, node_codecs()) as document,
        pytest.raises(Permanent, match="pixel-module") as caught,
    ):
        native(document, EXPLICIT, settings())
    assert caught.value.reason == "syntax"


@pytest.mark.parametrize(
    ("rows", "columns", "frames", "is_written"),
    [(65534, 32769, 1, True), (1, 1, 0x7FFFFFFF, False)],  # 0xFFFFFFFC and 0xFFFFFFFE bytes
)
def test_native_pixels_have_a_length_of_32_bits(
    rows: int, columns: int, frames: int, is_written: bool
) -> None:
    data = image(noise(3, 4))
    data.Rows, data.Columns, data.NumberOfFrames = rows, columns, frames
    payload = holding(data, [b"frame1"])
    with OpenImage(payload, node_codecs()) as document:
        document.__dict__["frames"] = FramesAt(document.shown, [noise(1)])
        if is_written:
            assert read(native(document, EXPLICIT, settings())).PixelData == noise(1).tobytes()
            return
        with pytest.raises(Permanent, match="4 GiB"):
            native(document, EXPLICIT, settings())


# Native to native


@pytest.mark.parametrize(
    ("vr", "allocated", "is_clear"),
    [
        ("OW", 16, True),
        ("OW", 8, True),
        ("OB", 8, True),
        ("OB", 1, True),
        ("OB", 16, False),
        ("OW", 1, False),
        ("OW", 32, False),
    ],
)
def test_big_endian_has_pixels_whose_order_is_clear(vr: str, allocated: int, is_clear: bool) -> None:
    data = image(noise(4, 4))
    data.BitsAllocated, data.BitsStored, data.HighBit = allocated, allocated, allocated - 1
    data["PixelData"].VR = vr
    payload, _ = payload_of(data)
    with OpenImage(payload, node_codecs()) as document:
        if is_clear:
            assert native(document, BIG, settings()).treatment is Treatment.REENCODED
            return
        with pytest.raises(Permanent) as caught:
            native(document, BIG, settings())
        assert caught.value.reason == "syntax"


@pytest.mark.parametrize(("target", "copies"), [(IMPLICIT, 1), (BIG, 3)])
def test_re_encoding_says_what_it_copies(target: str, copies: int, budget: Share) -> None:
    values = noise(100, 100)
    payload, _ = payload_of(image(values))
    with OpenImage(payload, node_codecs()) as document:
        native(document, target, settings())
    around = payload.length - values.nbytes
    assert copies * values.nbytes <= budget._used <= copies * (values.nbytes + 12) + 4 * around + 100


def test_pixels_of_an_odd_length_become_even() -> None:
    payload, _ = payload_of(image(noise(3, 4)))
    blob = b"".join(payload.chunks())
    at = blob.index(b"\xe0\x7f\x10\x00")
    cut = blob[: at + 8] + (21).to_bytes(4, "little") + blob[at + 12 : at + 12 + 21]
    payload = replace(payload, parts=(cut,), length=len(cut))
    with OpenImage(payload, node_codecs()) as document:
        made = b"".join(native(document, IMPLICIT, settings()).chunks())
    at = made.index(b"\xe0\x7f\x10\x00")
    assert made[at + 4 : at + 8] == (22).to_bytes(4, "little")
    assert made[at + 8 :] == blob[-24:-3] + b"\0"


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_pixels_keep_their_representation_where_a_data_set_is_set_right(vr: str) -> None:
    data = image(noise(4, 4, bits=8), allocated=8, stored=8)
    data["PixelData"].VR = vr
    payload, _ = payload_of(data)
    blob = b"".join(payload.chunks())
    at = blob.index(b"\x10\x00\x20\x00LO")
    odd = blob[: at + 6] + b"\x05\x00Marke" + blob[at + 14 :]  # of an odd length, which none may have
    payload = replace(payload, parts=(odd,), length=len(odd))
    with OpenImage(payload, node_codecs()) as document:
        made = native(document, EXPLICIT, settings())
    assert made.length == len(blob)
    found = read(made)["PixelData"]
    assert (found.VR, found.value) == (vr, data.PixelData)


def test_deflated_is_what_inflates_to_explicit() -> None:
    payload, _ = payload_of(image(noise(3, 4)))
    with OpenImage(payload, node_codecs()) as document:
        made = native(document, DEFLATED, settings())
    inflated = zlib.decompressobj(-15).decompress(b"".join(made.chunks()))
    assert inflated == b"".join(payload.chunks())


def test_deflating_says_what_it_holds(budget: Share) -> None:
    payload, _ = payload_of(image(noise(100, 100)))
    with OpenImage(payload, node_codecs()) as document:
        native(document, DEFLATED, settings())
    assert payload.length <= budget._used <= payload.length + 10_000


@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_an_object_without_pixels_is_its_header(target: str) -> None:
    data = image(noise(3, 4))
    del data.PixelData
    payload, _ = payload_of(data)
    with OpenImage(payload, node_codecs()) as document:
        assert read(native(document, target, settings())).PatientID == "Marked"


def test_memory_is_asked_for_an_object_without_pixels(budget: Share) -> None:
    data = image(noise(3, 4))
    del data.PixelData
    data.ImageComments = "a" * 5000
    payload, _ = payload_of(data)
    with OpenImage(payload, node_codecs()) as document:
        assert not budget._used
        native(document, IMPLICIT, settings())
    assert budget._used == COPIES * payload.length


def test_pixels_of_another_kind_are_not_decompressed() -> None:
    data = image(noise(3, 4))
    del data.PixelData
    data.FloatPixelData = bytes(4 * 12)
    payload = replace(payload_of(data)[0], transfer_syntax_uid=RLE)
    with OpenImage(payload, node_codecs()) as document, pytest.raises(Permanent) as caught:
        native(document, EXPLICIT, settings())
    assert caught.value.reason == "syntax"


def test_pixels_of_unknown_depth_are_not_swapped() -> None:
    data = image(noise(4, 4))
    del data.BitsAllocated
    data["PixelData"].VR = "OB"
    payload, _ = payload_of(data)
    with OpenImage(payload, node_codecs()) as document, pytest.raises(Permanent) as caught:
        native(document, BIG, settings())
    assert caught.value.reason == "syntax"


# Icons


def with_icon(icon: Dataset, *, nested: bool = False, beside: Dataset | None = None) -> Dataset:
    data = image(noise(3, 4))
    holder = data
    if nested:
        holder = Dataset()
        data.ReferencedImageSequence = [holder]
    holder.IconImageSequence = [icon, beside] if beside else [icon]
    return data


def icon(values: np.ndarray, **facts: Any) -> Dataset:
    data = image(values, **facts)
    found = Dataset()
    found.update({each.tag: each for each in data if each.tag.group in (0x0028, 0x7FE0)})
    found.PixelData = encapsulate([b"icon"])
    found["PixelData"].VR = "OB"
    found["PixelData"].is_undefined_length = True
    return found


def shown(data: Dataset, values: np.ndarray | None, **codec: Any) -> Dataset:
    """`data` decompressed, whose icons are decoded to `values`, or not at all."""

    def frames(image: Any, *_: Any, **__: Any) -> FramesAt:
        if values is None:
            raise Permanent("no", reason="codec")
        return FramesAt(image, [values])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of_icons, "foreign_frames", frames)
        return read(decompressed(data, noise(3, 4), **codec))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("allocated", "columns"), [(8, 2), (8, 3), (16, 3)])
def test_an_icon_is_decompressed(allocated: int, columns: int, nested: bool, budget: Share) -> None:
    values = noise(3, columns, bits=8, dtype=f"<u{allocated // 8}")
    found = shown(with_icon(icon(values, allocated=allocated, stored=8), nested=nested), values)
    (made,) = (found.ReferencedImageSequence[0] if nested else found).IconImageSequence
    assert made.PixelData == values.tobytes() + b"\0" * (values.nbytes % 2)
    assert (made["PixelData"].VR == "OB") == (allocated == 8)
    assert not made["PixelData"].is_undefined_length
    assert (made.PhotometricInterpretation, made.Rows) == ("MONOCHROME2", 3)
    assert "PlanarConfiguration" not in made


def test_an_icon_in_colours_is_called_what_it_was_decoded_to() -> None:
    values = noise(3, 4, 3, bits=8, dtype="u1")
    coloured = icon(values, allocated=8, stored=8, photometric="YBR_FULL", planar=1)
    (made,) = shown(with_icon(coloured), values, gives_rgb=True).IconImageSequence
    assert (made.PhotometricInterpretation, made.PlanarConfiguration) == ("RGB", 0)
    del coloured.PlanarConfiguration
    (made,) = shown(with_icon(coloured), values).IconImageSequence
    assert (made.PhotometricInterpretation, made.PlanarConfiguration) == ("YBR_FULL", 0)


def test_memory_is_asked_for_an_icon(budget: Share) -> None:
    values = noise(60, 70, bits=8, dtype="u1")
    plain = decompressed(image(noise(3, 4)), noise(3, 4))
    before = budget._used
    shown(with_icon(icon(values, allocated=8, stored=8)), values)
    assert plain
    assert budget._used - 2 * before >= 60 * 70 * 15


@pytest.mark.parametrize("nested", [False, True])
def test_an_icon_that_cannot_be_decoded_is_left_out(nested: bool) -> None:
    found = shown(with_icon(icon(noise(3, 4, bits=8), allocated=16, stored=8), nested=nested), None)
    assert "IconImageSequence" not in found
    assert ("ReferencedImageSequence" in found) is False
    deep = icon(noise(3, 4, bits=8), allocated=16, stored=8)
    deep.BitsAllocated = 32
    assert "IconImageSequence" not in shown(with_icon(deep), noise(3, 4))


def test_native_icons_and_other_sequences_stay_as_they_are() -> None:
    native_icon = image(noise(3, 4, bits=8), allocated=16, stored=8)
    kept = Dataset()
    kept.update({each.tag: each for each in native_icon if each.tag.group in (0x0028, 0x7FE0)})
    data = with_icon(icon(noise(3, 4, bits=8), allocated=16, stored=8), beside=kept)
    data.ReferencedStudySequence = [Dataset()]
    data.add_new(0x00090010, "LO", "TOY")
    data.add_new(0x00091001, "OB", of_icons._FRAGMENTED)  # no sequence, whatever its bytes say
    found = shown(data, noise(3, 4, bits=8))
    assert found.IconImageSequence[1] == kept
    assert len(found.ReferencedStudySequence) == 1
    assert found[0x00091001].value == of_icons._FRAGMENTED


# Painted, in the syntax that it came in


def painted(
    data: Dataset,
    values: np.ndarray,
    changed: set[int],
    encoder: Lossless | None = None,
    fragments: int = 1,
    streams: list[bytes] | None = None,
) -> Payload:
    """What is sent where a step changes the frames `changed`."""
    count = int(data.get("NumberOfFrames", 1))
    streams = streams or [b"frame %03d ab" % number for number in range(count)]
    payload = holding(data, streams, fragments=fragments)
    codecs = node_codecs(encoder=encoder or Lossless(21))
    step = lambda cells, form, index: cells ^ 1 if index in changed else cells  # noqa: E731
    cells = list(values.reshape(count, *values.shape[count > 1 :]))
    with OpenImage(payload, codecs, paints=(step,)) as document:
        frames = FramesAt(document.shown, cells)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mapdr.transform.document.foreign_frames", lambda *_, **__: frames)
            assert may_stay(document)
            return again(document, settings())


@pytest.mark.parametrize("fragments", [1, 2])
def test_a_frame_that_no_step_changed_keeps_its_fragments(fragments: int) -> None:
    values = noise(3, 4, 5)
    data = image(values, frames=3)
    data.ExtendedOffsetTable = struct.pack("<3Q", *(number * (12 + 8 * fragments) for number in range(3)))
    data.DataSetTrailingPadding = b"ab"
    before = [b"frame %03d ab" % number for number in range(3)]
    made = painted(data, values, {1}, fragments=fragments)
    found = read(made)
    after = list(generate_frames(found.PixelData, number_of_frames=3))
    assert (after[0], after[2]) == (before[0], before[2])
    assert len(after[1]) == 22
    table, *pieces = generate_fragments(found.PixelData)
    assert len(pieces) == (3 if fragments == 1 else 5)
    # The Basic Offset Table says where each frame begins.
    assert struct.unpack("<3I", table) == (0, 12 + 8 * fragments, 12 + 8 * fragments + 8 + 22)
    stream = after[1][:-1]
    assert made.sop_instance_uid == new_uid(b"k" * 32, data.SOPInstanceUID, [b"", stream, b""])
    assert found.SOPInstanceUID == made.sop_instance_uid
    assert (made.transfer_syntax_uid, made.treatment) == (RLE, Treatment.TRANSCODED)
    assert "ExtendedOffsetTable" not in found
    assert found.DataSetTrailingPadding == b"ab"


def test_memory_is_asked_for_what_is_worked_on_and_kept(budget: Share) -> None:
    values = noise(3, 40, 50)
    pixels, before = 2 * values.size, budget._used
    painted(image(values, frames=3), values, {0, 1, 2}, Lossless(size=6000))
    work, room, kept = 2 * 14 * 40 * 50, pixels // 2, pixels
    # Of the codestreams, 18,000 bytes, 6,000 were asked for before.
    least = work + room + kept + 3 * 6000 - room
    assert least <= budget._used - before <= least + 10_000


@pytest.mark.parametrize(("limit", "is_written"), [(30 + 30, False), (30 + 31, True)])
def test_more_fragments_than_a_table_holds_are_refused(
    limit: int, is_written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.transform.encode.again._OFFSETS", limit)
    values = noise(2, 4, 5)
    if is_written:
        assert painted(image(values, frames=2), values, {0, 1}).length
        return
    with pytest.raises(Permanent) as caught:
        painted(image(values, frames=2), values, {0, 1})
    assert caught.value.reason == "syntax"


def test_an_image_of_which_nothing_was_changed_is_the_same_image() -> None:
    values = noise(2, 4, 5)
    data = image(values, frames=2)
    made = painted(data, values, set())
    assert made.sop_instance_uid == read(made).SOPInstanceUID == data.SOPInstanceUID
    assert [frame.rstrip(b"\0") for frame in generate_frames(read(made).PixelData, number_of_frames=2)] == [
        b"frame 000 ab",
        b"frame 001 ab",
    ]


def test_fragments_of_an_odd_length_become_even() -> None:
    values = noise(4, 4, 5)
    streams = [b"frame 0", b"frame 01", b"frame 002", b"changing"]
    made = painted(image(values, frames=4), values, {3}, Lossless(21), fragments=0, streams=streams)
    table, *pieces = generate_fragments(read(made).PixelData)
    assert pieces[:3] == [b"frame 0\0", b"frame 01", b"frame 002\0"]
    assert struct.unpack("<4I", table) == (0, 16, 32, 50)
    assert len(pieces[3]) == 22


def test_a_frame_of_several_fragments_keeps_them_and_one_of_two_codestreams_parks() -> None:
    values = noise(4, 5)
    soi = b"\xff\xd8\xff\xe0"
    encoder = Lossless(21)
    painted(image(values), values, set(), encoder, fragments=2, streams=[soi + bytes(20)])
    assert not encoder.encoded
    two = [soi + bytes(8) + soi + bytes(8)]
    with pytest.raises(Permanent) as caught:
        painted(image(values), values, set(), encoder, fragments=2, streams=two)
    assert caught.value.reason == "fragments"


def test_a_changed_frame_that_does_not_come_back_parks() -> None:
    values = noise(4, 5)
    with pytest.raises(Permanent) as caught:
        painted(image(values), values, {0}, Lossless(21, error=1))
    assert caught.value.reason == "codec"


@pytest.mark.parametrize(
    ("changes", "syntax", "stays"),
    [
        ({}, RLE, True),
        ({}, JPEG, False),
        ({"HighBit": 15}, RLE, False),
        ({"BitsStored": 13, "HighBit": 12}, RLE, False),  # the codec takes 12 bits alone
    ],
)
def test_an_image_may_stay_in_what_loses_nothing_and_holds_its_cells(
    changes: dict[str, int], syntax: str, stays: bool
) -> None:
    data = image(noise(4, 5))
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    encoder = Lossless()
    encoder.takes = replace(encoder.takes, stored=(12,))
    with OpenImage(holding(data, [b"frame1"], syntax), node_codecs(syntax, encoder=encoder)) as document:
        assert may_stay(document) == stays
    with OpenImage(holding(data, [b"frame1"], syntax), node_codecs(syntax)) as document:
        assert not may_stay(document)
    with OpenImage(holding(data, [b"frame1"], syntax), node_codecs(uids.JPEG2000_LOSSLESS)) as document:
        assert not may_stay(document)


@pytest.mark.parametrize(("photometric", "stays"), [("RGB", True), ("YBR_FULL", False)])
def test_colours_stay_where_they_are_rgb(photometric: str, stays: bool) -> None:
    data = image(noise(4, 5, 3, bits=8), allocated=8, stored=8, photometric=photometric)
    with OpenImage(holding(data, [b"frame1"]), node_codecs(encoder=Lossless())) as document:
        assert may_stay(document) == stays


def test_overlays_in_the_cells_do_not_stay() -> None:
    data = image(noise(4, 5))
    for element, vr, value in ((0x10, "US", 4), (0x11, "US", 5), (0x100, "US", 16), (0x102, "US", 12)):
        data.add_new(0x60000000 | element, vr, value)
    with OpenImage(holding(data, [b"frame1"]), node_codecs(encoder=Lossless())) as document:
        assert not may_stay(document)


# Recompressed


class Packing:
    """A pool whose recompressed streams have `size` bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.given: list[tuple[FrameFormat, bytes]] = []

    def recompress(self, recompressor: Recompressor, form: FrameFormat, stream: bytes) -> bytes:
        self.given.append((form, stream))
        return stream[:1] * self.size

    def decode(self, *_: object) -> bytes:
        raise AssertionError("no pixel is decoded")


def packed(
    data: Dataset,
    pool: Packing,
    streams: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    node: Settings | None = None,
) -> Payload:
    monkeypatch.setattr(of_recompress, "decoders", lambda workers: pool)
    packer = Recompressor((JPEG,), bytes, bytes, lambda stream: None)
    payload = holding(data, streams, JPEG)
    with OpenImage(payload, node_codecs(JPEG, packer=packer)) as document:
        assert isinstance(document.frames, ForeignFrames)
        return recompressed(document, uids.JPEG_XL_JPEG_RECOMPRESSION, node or settings())


def test_the_streams_of_a_jpeg_are_packed_one_by_one(monkeypatch: pytest.MonkeyPatch, budget: Share) -> None:
    data = image(noise(2, 4, 5, bits=8), allocated=8, stored=8, frames=2)
    data.ExtendedOffsetTable = bytes(16)
    data.DataSetTrailingPadding = b"ab"
    pool = Packing(5)
    made = packed(data, pool, [b"a" * 40, b"b" * 40], monkeypatch)
    found = read(made)
    assert sorted(stream for _, stream in pool.given) == [b"a" * 40, b"b" * 40]
    assert pool.given[0][0] == FrameFormat(4, 5, 1, 8, 8, False, "MONOCHROME2")
    assert list(generate_frames(found.PixelData, number_of_frames=2)) == [b"aaaaa\0", b"bbbbb\0"]
    assert made.transfer_syntax_uid == uids.JPEG_XL_JPEG_RECOMPRESSION
    assert made.treatment is Treatment.TRANSCODED
    assert made.sop_instance_uid == found.SOPInstanceUID == data.SOPInstanceUID
    assert found.LossyImageCompression == "01"
    assert "ExtendedOffsetTable" not in found
    assert found.DataSetTrailingPadding == b"ab"


@pytest.mark.parametrize(("size", "is_sent"), [(87, True), (88, False)])
def test_what_is_not_smaller_is_left(size: int, is_sent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = image(noise(4, 5, bits=8), allocated=8, stored=8)
    # As they came, the pixels have a stream of 60 bytes, and 28 of tables and items around it.
    if is_sent:
        assert packed(data, Packing(size), [bytes(60)], monkeypatch).length
        return
    with pytest.raises(LeaveAsIs) as caught:
        packed(data, Packing(size), [bytes(60)], monkeypatch)
    assert caught.value.reason == "not-smaller"


@pytest.mark.parametrize(("frames", "needed"), [(1, 60_000), (2, 2 * 1000)])
def test_memory_is_asked_for_streams_twice_as_large_or_for_what_is_held(
    frames: int, needed: int, monkeypatch: pytest.MonkeyPatch, budget: Share
) -> None:
    values = noise(frames, 4, 5, bits=8)[slice(None) if frames > 1 else 0]
    data = image(values, allocated=8, stored=8, frames=frames)
    small = replace(settings(), memory=8 * 1000)
    packed(data, Packing(5), [bytes(30_000)] * frames, monkeypatch, small)
    assert needed <= budget._used <= needed + 10_000
