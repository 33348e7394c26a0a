"""How far a lossy frame is from its original, and whether that is allowed (design, decision 18)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mapdr._fast import differences, padding_gap
from mapdr.dicom import tags
from mapdr.kernel.codec import Pixels
from mapdr.transform.encode.ssim import ssim
from mapdr.transform.image import Attributes, Image, octets

NOISE = 8
"""Stored values by which a pixel of a frame of few values may be off, and no codec be blamed."""


@dataclass(frozen=True, slots=True)
class Padding:
    """The range of stored values that mean *no pixel* (PS3.3 section C.7.5.1.1.2), both ends included."""

    low: int
    high: int

    @classmethod
    def of(cls, attributes: Attributes, image: Image) -> Padding | None:
        """The declared padding, or None."""
        value = _stored(attributes, tags.PIXEL_PADDING_VALUE, image)
        if value is None:
            return None
        limit = _stored(attributes, tags.PIXEL_PADDING_RANGE_LIMIT, image)
        limit = value if limit is None else limit
        return cls(min(value, limit), max(value, limit))

    def mask(self, frame: Pixels) -> Pixels:
        """Where `frame` is padding."""
        return (frame >= self.low) & (frame <= self.high)


def _stored(attributes: Attributes, tag: int, image: Image) -> int | None:
    """A value in pixel units: the VR may contradict the pixels' sign (US for signed pixels is common)."""
    number = attributes.number(tag)
    if number is None:
        return None
    bits = 16
    if image.signed and number >= 1 << bits - 1:
        return number - (1 << bits)
    return number + (1 << bits) if not image.signed and number < 0 else number


@dataclass(frozen=True, slots=True)
class Quality:
    """The largest error in stored values and the PSNR in dB (infinite if all is equal) of one frame.

    Padding is measured by neither; the peak is the frame's max - min without it.
    """

    max_error: int
    psnr: float
    mean_square: float
    peak: int
    ssim: float | None = None
    """None where it was not asked for: it costs ten times what all else does."""


def measure(
    original: Pixels, decoded: Pixels, padding: Padding | None = None, *, with_ssim: bool = False
) -> Quality:
    """Compare two frames of one shape."""
    found = _errors(original, decoded, padding)
    if not with_ssim:
        return found
    where = None if padding is None else padding.mask(original)
    return replace(found, ssim=ssim(original, decoded, found.peak, where))


def _errors(original: Pixels, decoded: Pixels, padding: Padding | None) -> Quality:
    kind = _common(original, decoded)
    low, high = (1, 0) if padding is None else (padding.low, padding.high)
    if kind.itemsize <= 2:
        found = differences(_cells(original, kind), _cells(decoded, kind), kind.char, low, high)
    else:
        found = _wide_differences(original, decoded, low, high)
    count, most, squares, least, greatest = found
    peak = greatest - least
    if not most:
        return Quality(0, math.inf, 0.0, peak)
    mean_square = squares / count
    psnr = 10 * math.log10(peak * peak / mean_square) if peak else -math.inf
    return Quality(most, psnr, mean_square, peak)


def _common(one: Pixels, other: Pixels) -> np.dtype[Any]:
    """The type that holds the values of both."""
    kind: np.dtype[Any] = one.dtype
    return kind if kind == other.dtype else np.promote_types(kind, other.dtype)


def _cells(frame: Pixels, kind: np.dtype[Any]) -> memoryview:
    return octets(frame if frame.dtype == kind else frame.astype(kind))


def _wide_differences(
    original: Pixels, decoded: Pixels, low: int, high: int
) -> tuple[int, int, int, int, int]:
    """`mapdr._fast.differences` of cells that hold more than 16 bits."""
    values, others = original.astype(np.int64), decoded.astype(np.int64)
    counts = (values < low) | (values > high)
    values, others = values[counts], others[counts]
    if not values.size:
        return 0, 0, 0, 0, 0
    off = np.abs(values - others).ravel()
    # A product of floats would go to BLAS, whose threads spin for milliseconds after each call on the cores
    # that the codec works on.
    squares = int(np.einsum("i,i->", off, off))
    return values.size, int(off.max()), squares, int(values.min()), int(values.max())


@dataclass(frozen=True, slots=True)
class Guard:
    """What a lossy frame may not exceed; None means no limit of that kind."""

    max_error: int | None = None
    min_psnr: float | None = None
    min_ssim: float | None = None

    def objection(self, quality: Quality, allowed: float = math.inf) -> str:
        """Why a frame may not leave, or an empty string.

        Beside the configured limits stands one against a codec that corrupts: an error of more than half the
        frame's range and more than noise, or a mean square error of more than `allowed` by what the codec was
        asked. An error as large as the range is never noise: of zeros and ones it makes the other. A frame of
        one value has no picture to lose.
        """
        if self.max_error is not None and quality.max_error > self.max_error:
            return "max-error"
        if self.min_psnr is not None and quality.psnr < self.min_psnr:
            return "min-psnr"
        if self.min_ssim is not None and quality.ssim is not None and quality.ssim < self.min_ssim:
            return "min-ssim"
        noise = min(NOISE, quality.peak - 1) if quality.peak else NOISE
        if quality.mean_square > allowed or quality.max_error > max(quality.peak / 2, noise):
            return "corrupted"
        return ""


@dataclass(frozen=True, slots=True)
class Reached:
    """What a lossy image has kept: of its frames, the worst. `ssim` is None where it was not measured."""

    max_error: int
    psnr: float
    ssim: float | None = None

    @classmethod
    def of(cls, qualities: Sequence[Quality]) -> Reached:
        """The worst of each."""
        similarities = [each.ssim for each in qualities if each.ssim is not None]
        return cls(
            max(each.max_error for each in qualities),
            min(each.psnr for each in qualities),
            min(similarities, default=None),
        )

    def told(self, ratio: float, encodes: float) -> dict[str, Any]:
        """What is kept and shown: `ratio`, `psnr` in dB, `max_error` in stored values, `ssim` if it was
        measured, and `encodes`, how often a frame was encoded for it in the mean."""
        found: dict[str, Any] = {"ratio": round(ratio, 2)}
        if math.isfinite(self.psnr):
            found["psnr"] = round(self.psnr, 2)
        found["max_error"] = self.max_error
        if self.ssim is not None:
            found["ssim"] = round(self.ssim, 5)
        return found | {"encodes": round(encodes, 1)}


@dataclass(frozen=True, slots=True)
class PaddingGap:
    """Where the padding of one decoded frame lies, and the image's values nearest to it on both sides."""

    low: int
    high: int
    below: float
    above: float

    @classmethod
    def of(cls, padding: Padding | None, frame: Pixels, decoded: Pixels) -> PaddingGap:
        """Measure one frame; without padding nothing is in the way."""
        if padding is None:
            return cls(0, 0, -math.inf, math.inf)
        kind = _common(frame, decoded)
        if kind.itemsize > 2:
            return cls._of_wide(padding, frame, decoded)
        found = padding_gap(_cells(frame, kind), _cells(decoded, kind), kind.char, padding.low, padding.high)
        low, high, below, above = found
        return cls(low, high, -math.inf if below is None else below, math.inf if above is None else above)

    @classmethod
    def _of_wide(cls, padding: Padding, frame: Pixels, decoded: Pixels) -> PaddingGap:
        """Of cells that hold more than 16 bits."""
        where = padding.mask(frame)
        padded, rest = decoded[where], decoded[~where]
        low = min(int(padded.min()), padding.low) if padded.size else padding.low
        high = max(int(padded.max()), padding.high) if padded.size else padding.high
        under, over = rest[rest <= low], rest[rest > low]
        return cls(
            low,
            high,
            float(under.max()) if under.size else -math.inf,
            float(over.min()) if over.size else math.inf,
        )

    @staticmethod
    def join(padding: Padding, gaps: list[PaddingGap], error: int) -> Padding | None:
        """The range that is padding in every frame and image in none; None when there is no such range, or
        when it reaches out of the declared one by more than twice the greatest `error` of the image's own
        pixels, and more than noise: what is padding alone has no error, and would be moved anywhere."""
        low = min([padding.low, *(gap.low for gap in gaps)])
        high = max([padding.high, *(gap.high for gap in gaps)])
        if max(padding.low - low, high - padding.high) > max(2 * error, NOISE):
            return None
        if any(gap.below >= low or gap.above <= high for gap in gaps):
            return None
        return Padding(low, high)
