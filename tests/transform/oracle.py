"""What a compressed image has to be, worked out with pydicom and imagecodecs alone: pixels, header, bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from mapdr.dicom import uids
from mapdr.kernel.item import Payload

from .helpers import EXPLICIT, read
from .mixed import Case, cell_values
from .walked import elements, streams

_J2K = imagecodecs.jpeg2k_decode
DECODERS: Mapping[str, Callable[[bytes], Any]] = {
    **dict.fromkeys((uids.JPEG2000, uids.JPEG2000_LOSSLESS, uids.HTJ2K, uids.HTJ2K_LOSSLESS), _J2K),
    **dict.fromkeys((uids.JPEG_LS_LOSSLESS, uids.JPEG_LS_NEAR_LOSSLESS), imagecodecs.jpegls_decode),
    uids.JPEG_BASELINE: imagecodecs.jpeg8_decode,
    uids.JPEG_LOSSLESS_SV1: imagecodecs.ljpeg_decode,
}
METHODS = {
    uids.JPEG2000: "ISO_15444_1",
    uids.HTJ2K: "ISO_15444_15",
    uids.JPEG_LS_NEAR_LOSSLESS: "ISO_14495_1",
    uids.JPEG_BASELINE: "ISO_10918_1",
}
"""The terms of PS3.3 section C.7.6.1.1.5.1 for what was lost in a transfer syntax."""
NATIVE = (EXPLICIT, uids.IMPLICIT_VR_LITTLE_ENDIAN)
GUARDED = {"ratio", "target", "padding", "corrupted", "max-error", "min-psnr", "min-ssim", "asked-for"}
"""Why an image that may lose something goes without loss, though that is larger than the ratio."""
PIXELS = 0x7FE00010


@dataclass(frozen=True)
class Promise:
    """What a rule promises: which targets, which elements it sets (values by tag), and the reasons for which
    images may be left as they came."""

    ratio: float | None = None
    psnr: float | None = None
    max_error: int | None = None
    lossy: bool = True
    left: Collection[str] = ()
    edits: Mapping[int, Any] = field(default_factory=dict)
    is_dialled: bool = True
    """Whether the ratio is met within 5 % from above too: not by methods of whole levels."""


class Oracle:
    """Compares what a recipe made of an image with what it has to be."""

    def __init__(self, case: Case, made: Payload, facts: Mapping[str, Any], promise: Promise) -> None:
        """`facts`: what the `compress` step has kept of the image. `promise`: that of the recipe."""
        self._case, self._made, self._facts, self._promise = case, made, facts, promise
        self._asked = case.asked
        self._blob = b"".join(made.chunks())
        self._data = read(made)
        source = BytesIO(case.blob)
        is_implicit = case.syntax == uids.IMPLICIT_VR_LITTLE_ENDIAN
        is_little = case.syntax != uids.EXPLICIT_VR_BIG_ENDIAN
        self._source = pydicom.filereader.read_dataset(source, is_implicit, is_little)
        self._source_elements = self._elements(case.blob) if case.syntax == EXPLICIT else {}

    def _elements(self, blob: bytes) -> dict[int, bytes]:
        return elements(blob, ordered=not self._case.disordered)

    def check(self) -> str:
        """How the image goes: "left", "lossless", "lossy". AssertionError where it is not as promised."""
        case, made = self._case, self._made
        assert self._asked in ("", made.transfer_syntax_uid)
        assert (made.sop_class_uid, made.sop_instance_uid) == (
            self._data.SOPClassUID,
            self._data.SOPInstanceUID,
        )
        if made.transfer_syntax_uid == case.syntax and self._data.PixelData == self._source.PixelData:
            return self._left()
        syntax = made.transfer_syntax_uid
        is_lossy = self._facts.get("course") == "lossy" and syntax in METHODS
        assert case.loss == "may" or not is_lossy
        assert (made.sop_instance_uid != case.data.SOPInstanceUID) == is_lossy
        if syntax in NATIVE:
            assert np.array_equal(cell_values(self._data, whole=case.whole), case.values)
            self._header(self._promise.edits)
            return "lossless"
        values = self._pixels()
        changes = {**self._promise.edits, **self._of_pixels()}
        if is_lossy:
            changes |= self._of_loss() | self._of_padding(values)
            self._targets(values)
        else:
            assert np.array_equal(values, case.values)
            self._lossless()
        self._header(changes)
        return "lossy" if is_lossy else "lossless"

    def _left(self) -> str:
        # What a receiver has asked for is not kept.
        reason = self._facts.get("reason") or self._made.note.removeprefix("not compressed: ")
        assert self._promise.edits or self._blob == self._case.blob
        self._header(self._promise.edits)
        if not self._made.unmet and self._made.note:
            assert self._case.loss == "left" or reason in self._promise.left or self._case.tiny, reason
        return "left"

    # Pixels

    def _codestreams(self) -> list[bytes]:
        return streams(self._elements(self._blob)[PIXELS], len(self._case.values))

    def _pixels(self) -> np.ndarray[Any, Any]:
        """The decoded frames, whose codestreams say of bits and sign what the header says."""
        decode, found = DECODERS[self._made.transfer_syntax_uid], []
        data = self._data
        for stream in self._codestreams():
            if decode is _J2K:
                at = stream.index(b"\xff\x51")
                depth = stream[at + 40]
                bits = data.BitsAllocated if self._case.whole else data.BitsStored
                assert (depth >> 7, (depth & 0x7F) + 1) == (data.PixelRepresentation, bits)
            found.append(np.asarray(decode(stream)).astype(np.int64))
        values = np.stack(found)
        assert values.shape == self._case.values.shape
        return values

    def _padding(self) -> tuple[int, int] | None:
        """The ends of the padding that the source declares."""
        if "PixelPaddingValue" not in self._source:
            return None
        value = self._source.PixelPaddingValue
        low, high = sorted((value, self._source.get("PixelPaddingRangeLimit", value)))
        return low, high

    def _seen(self) -> np.ndarray[Any, Any]:
        """Where the source is no padding."""
        values, padding = self._case.values, self._padding()
        if padding is None:
            return np.ones(values.shape, bool)
        return (values < padding[0]) | (values > padding[1])

    def _targets(self, values: np.ndarray[Any, Any]) -> None:
        """What was promised of pixels and size is so, and so is what is told of it."""
        facts, promise, seen = self._facts, self._promise, self._seen()
        off = np.abs(values - self._case.values)
        assert facts["max_error"] == int(off[seen].max(initial=0))
        reached = [self._psnr(*each) for each in zip(self._case.values, values, seen, strict=True)]
        if math.isfinite(min(reached)):
            assert abs(facts["psnr"] - min(reached)) < 0.006
        assert abs(facts["ratio"] - self._ratio()) < 0.006
        if promise.ratio is not None:
            assert self._ratio() >= 0.95 * promise.ratio - 0.01
            assert not promise.is_dialled or self._ratio() <= 1.05 * promise.ratio + 0.01
        if promise.psnr is not None:
            assert min(reached) >= promise.psnr
        if promise.max_error is not None:
            assert off[seen].max(initial=0) <= promise.max_error

    def _lossless(self) -> None:
        facts = self._facts
        is_wished = self._promise.lossy and self._case.loss == "may" and not self._made.unmet
        if is_wished and self._promise.ratio is not None and not facts.get("reason"):
            assert self._ratio() >= 0.95 * self._promise.ratio / 2  # with other images of its series
        assert not is_wished or facts.get("reason", "ratio") in {*GUARDED, *self._promise.left}

    @staticmethod
    def _psnr(original: Any, decoded: Any, seen: Any) -> float:
        original, decoded = original[seen], decoded[seen]
        square = float(np.mean((original - decoded) ** 2)) if original.size else 0.0
        peak = int(original.max() - original.min()) if original.size else 0
        return 10 * math.log10(peak * peak / square) if square and peak else math.inf

    def _ratio(self) -> float:
        """By the codestreams, which may end with one byte of padding each."""
        image = self._data
        native = self._case.values.size * image.BitsAllocated // 8
        size = sum(map(len, self._codestreams()))
        told = self._data.get("LossyImageCompressionRatio")
        for at_most in range(len(self._case.values) + 1):
            if (
                self._facts.get("course") == "lossy"
                and told
                and f"{native / (size - at_most):.2f}"
                == str((told if isinstance(told, (list, pydicom.multival.MultiValue)) else [told])[-1])
            ):
                return native / (size - at_most)
        return native / size

    # Header

    def _header(self, changes: Mapping[int, Any]) -> None:
        """Each element is as it came, byte by byte, but for these `changes`: by tag None where it must not be
        there, else its value."""
        is_explicit = self._made.transfer_syntax_uid not in (NATIVE[1], uids.EXPLICIT_VR_BIG_ENDIAN)
        found = self._elements(self._blob) if is_explicit else {}
        tags = {*self._data.keys()} - {PIXELS}
        wanted = {*self._source.keys(), *changes} - {PIXELS}
        wanted -= {tag for tag, value in changes.items() if value is None}
        assert tags == wanted, sorted(f"{tag:08x}" for tag in {int(each) for each in tags ^ wanted})
        for tag in sorted(tags):
            if tag in changes:
                assert _plain(self._data[tag].value) == _plain(changes[tag]), f"{tag:08x}"
            elif found and not tag & 0xFFFF:
                rest = sum(len(each) for at, each in found.items() if at >> 16 == tag >> 16 and at != tag)
                assert self._data[tag].value == rest, f"{tag:08x}"
            elif found and self._source_elements:
                assert found[tag] == self._source_elements[tag], f"{tag:08x}"
            else:
                assert _as_read(self._data, tag) == _as_read(self._source, tag), f"{tag:08x}"
        if found:
            assert set(found) == tags | {PIXELS}

    def _of_pixels(self) -> dict[int, Any]:
        """What a codestream changes of the Image Pixel and Overlay modules."""
        source, changes = self._source, dict[int, Any]()
        if source.SamplesPerPixel == 3:
            changes[0x00280006] = 0
            if self._made.transfer_syntax_uid == uids.JPEG_BASELINE:
                changes[0x00280004] = "YBR_FULL_422"
            elif self._asked == uids.JPEG2000_LOSSLESS and self._made.unmet:
                # What a receiver insists on, and no method of the rule writes, has the codec's own colours.
                assert self._data.PhotometricInterpretation in ("RGB", "YBR_RCT")
                changes[0x00280004] = self._data.PhotometricInterpretation
        if source.HighBit != source.BitsStored - 1 and not self._case.whole:
            changes[0x00280102] = source.BitsStored - 1
        if source.get(0x60000102) is not None and 0x60003000 not in source:
            cells = np.frombuffer(self._case.data.PixelData, "<u2")
            bits = np.packbits(cells >> source[0x60000102].value & 1, bitorder="little")
            changes |= {0x60000100: 1, 0x60000102: 0, 0x60003000: bits.tobytes()}
        return changes

    def _of_loss(self) -> dict[int, Any]:
        """What a lossy copy of another image says (PS3.3 sections C.7.6.1.1.2, C.7.6.1.1.5, C.12.4)."""
        source, method = self._source, METHODS[self._made.transfer_syntax_uid]
        ratio = f"{self._ratio():.2f}"
        text = f"Lossy compression {method} {ratio}:1"
        before = source.get("DerivationDescription", "")
        text = f"{before}; {text}" if before else text
        code = _items(source.get("DerivationCodeSequence"), _code("113040", "Lossy Compression"))
        origin = Dataset()
        origin.ReferencedSOPClassUID, origin.ReferencedSOPInstanceUID = (
            source.SOPClassUID,
            source.SOPInstanceUID,
        )
        origin.PurposeOfReferenceCodeSequence = Items([_code("121320", "Uncompressed predecessor")])
        return {
            0x00080008: ["DERIVED", *(list(source.get("ImageType") or ())[1:] or ["PRIMARY"])],
            0x00080018: self._made.sop_instance_uid,
            0x00082111: text if len(text) <= 1024 else before,
            0x00082112: _items(source.get("SourceImageSequence"), origin),
            0x00089215: code,
            0x00280106: None,
            0x00280107: None,
            0x00282110: "01",
            0x00282112: [*_values(source.get("LossyImageCompressionRatio")), ratio],
            0x00282114: [*_values(source.get("LossyImageCompressionMethod")), method],
        }

    def _of_padding(self, values: np.ndarray[Any, Any]) -> dict[int, Any]:
        """Padding is a range that holds all that was padding, and nothing else (PS3.3 C.7.5.1.1.2)."""
        before, data = self._padding(), self._data
        if before is None:
            return {}
        value, limit = data.PixelPaddingValue, data.PixelPaddingRangeLimit
        low, high = sorted((value, limit))
        assert low <= before[0] <= before[1] <= high
        # The limit is the end towards the image, which is darker the higher it is in MONOCHROME1.
        assert value == limit or (value < limit) == (data.PhotometricInterpretation != "MONOCHROME1")
        inside = (values >= low) & (values <= high)
        assert np.array_equal(inside, ~self._seen())
        vr = "SS" if data.PixelRepresentation else "US"
        assert data["PixelPaddingValue"].VR == data["PixelPaddingRangeLimit"].VR == vr
        return {0x00280120: value, 0x00280121: limit}


def _code(value: str, meaning: str) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, "DCM", meaning
    return made


def _items(before: Any, added: Dataset) -> Items:
    return Items([*(before or ()), added])


def _values(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    return [str(each) for each in ([value] if isinstance(value, str | float) else value)]


def _as_read(data: Dataset, tag: int) -> Any:
    """A value; in bytes where it is private, for its VR is lost in implicit VR."""
    value = data[tag].value
    if tag >> 16 & 1 and not isinstance(value, bytes):
        value = str(value).encode("ascii")
    return value.rstrip(b" ") if tag >> 16 & 1 else _plain(value)


def _plain(value: Any) -> Any:
    """A value in a form in which two that mean the same are equal."""
    if isinstance(value, Items):
        return [_tree(each) for each in value]
    if isinstance(value, pydicom.multival.MultiValue | list):
        return [str(each) for each in value] if len(value) != 1 else str(value[0])
    if value is None or isinstance(value, bytes):
        return value or b"" if isinstance(value, bytes) else ""
    return str(value)


def _tree(data: Dataset) -> list[tuple[int, Any]]:
    return [(int(element.tag), _plain(element.value)) for element in data]


def differences(one: Payload, other: Payload) -> Iterator[str]:
    """Where two payloads are not the same image, byte by byte."""
    for name in ("sop_class_uid", "sop_instance_uid", "transfer_syntax_uid", "length", "treatment", "note",
                 "unmet", "others", "study_instance_uid", "series_instance_uid"):  # fmt: skip
        if getattr(one, name) != getattr(other, name):
            yield name
    if b"".join(one.chunks()) != b"".join(other.chunks()):
        yield "bytes"
