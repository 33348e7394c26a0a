"""What a codec is: it reads and writes the frames of encapsulated transfer syntaxes (PS3.5 section A.4).

A codec comes through the registry as every stage does: a `Factory("codec", ...)`, built in or found by an
entry point of the group `mapdr.codec`. What its `build` gives has `abilities`, one for each transfer syntax;
that is all. MAPDR takes a frame's codestream out of its fragments and puts it back, checks what comes out,
and writes the header. For reading, and separately for writing, the first codec that can do it is used: those
of MAPDR, then the others by name.

- **Reading** is a function: the codestream of one frame to an array. Streams come from outside, so it runs in
  a decoder process, where a crash parks one image. It is sent there by reference: a function of a module, no
  lambda, no method. Give `Decoder.header` too if the codec takes memory by what the stream says of its size.
- **Writing** is an object with `encode` and `decode`. Frames come from many threads at once: let go of the
  GIL. What was encoded is decoded again, and the image parks if it is not equal.

This module imports nothing: decoder processes load it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pixels: TypeAlias = "NDArray[Any]"
"""One frame: (rows, columns), or (rows, columns, samples) where there are several samples per pixel."""


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """What the data set says of each of its frames (PS3.3 section C.7.6.3).

    `samples` per pixel, bits `allocated` and `stored` per sample. `photometric` is the photometric
    interpretation that the data set has for the codestream: as found when it is read, as it will be when it
    is written.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str

    @property
    def size(self) -> int:
        """Bytes of the frame as allocated."""
        return self.rows * self.columns * self.samples * self.allocated // 8


@dataclass(frozen=True, slots=True)
class Figures:
    """The size of a frame by its codestream; `precision` is the bits of its deepest component."""

    rows: int
    columns: int
    samples: int
    precision: int


class Mismatch(ValueError):
    """The codestream contradicts the data set: another size, sign or depth. Any decoder may raise it."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """How the frames of one transfer syntax are read.

    `decode(format, stream)` gives the frame as integers of any size, samples interleaved: the bits that the
    data set's cells hold, those of negative values too unless `is_signed`. It raises whatever it likes.
    `header(stream)` gives the size that the stream says, before `decode` is called, or None for a stream that
    it does not understand, which is not decoded then.
    """

    decode: Callable[[FrameFormat, bytes], Pixels]
    header: Callable[[bytes], Figures | None] | None = None
    is_signed: bool = False
    """The codestream says whether its samples are signed, and `decode` gives signed integers where they
    are."""
    gives_rgb: bool = False
    """Frames of three samples come as RGB, whatever photometric interpretation the data set names."""


@dataclass(frozen=True, slots=True)
class PixelRange:
    """Frames that an encoder takes, by bits allocated and stored, sign, and samples per pixel.

    `signed_with_unused_bits`: signed ones too whose cells have bits that are not stored. `bytes_in_words`:
    also those of 8 bits and fewer in cells of 16.
    """

    allocated: Container[int] = (8, 16)
    stored: Container[int] = range(1, 17)
    samples: Container[int] = (1, 3)
    signed: bool = True
    signed_with_unused_bits: bool = True
    bytes_in_words: bool = True

    def holds(self, form: FrameFormat) -> bool:
        """Whether frames of this format are taken."""
        return not self.lacks(form)

    def lacks(self, form: FrameFormat) -> str:
        """Why frames of this format are not taken, as it follows "because"; empty if they are."""
        if form.allocated not in self.allocated:
            return f"it takes no {form.allocated} bits allocated"
        if form.stored not in self.stored:
            return f"it takes no {form.stored} bits stored"
        if form.samples not in self.samples:
            return f"it takes no {form.samples} samples per pixel"
        if form.signed and not self.signed:
            return "it takes no signed values"
        if form.signed and not self.signed_with_unused_bits and form.stored != form.allocated:
            return "it takes no signed values in cells with unused bits"
        if form.stored <= 8 < form.allocated and not self.bytes_in_words:
            return "it takes no 8 bits stored in 16 bits allocated"
        return ""


@runtime_checkable
class Encoder(Protocol):
    """How the frames of one transfer syntax are written without loss. Used from many threads at once.

    Frames hold stored values (PS3.5 section 8.1.1), signed integers where the data set's are.
    """

    @property
    def takes(self) -> PixelRange:
        """What it can write; an image beyond it is parked, or left as it is."""

    @property
    def colour_transform(self) -> str:
        """The photometric interpretation of RGB frames that it writes by a transform of its own, such as
        YBR_RCT; empty if it has none. It is asked for by `FrameFormat.photometric`."""

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        """The codestream of one frame. Raises Permanent(reason="codec")."""

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that `encode` has made. Raises Permanent(reason="codec")."""


@dataclass(frozen=True, slots=True)
class Dial:
    """What sets how much a lossy encoder loses: a number from `lowest` to `highest`, greater is better.

    `whole`: only whole numbers. `unit` names it for a person. `slope` is about how much the logarithm of the
    codestream's size rises per 1 of it, and `start` where it is about a tenth of the frame, for a search.
    """

    lowest: float
    highest: float
    unit: str
    slope: float
    start: float
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """A variant of a lossy process. `reversible`: by the transform that reaches up to lossless.
    `resolutions`: the most that there may be, 0 for the codec's own choice."""

    reversible: bool = False
    resolutions: int = 0


OWN_WAY = Way()
"""The codec's own."""


@runtime_checkable
class LossyEncoder(Protocol):
    """How the frames of one transfer syntax are written with loss. Used from many threads at once.

    Frames hold stored values, signed integers where the data set's are. The same frame, format, level and way
    give the same codestream.
    """

    @property
    def takes(self) -> PixelRange:
        """What it can write."""

    @property
    def method(self) -> str:
        """The term of Lossy Image Compression Method (0028,2114; PS3.3 section C.7.6.1.1.5.1)."""

    @property
    def ways(self) -> tuple[Way, ...]:
        """How it can write: its own way first, then what is worth a try where that meets no target."""

    def dial(self, form: FrameFormat) -> Dial:
        """What `level` may be for frames of this format."""

    def rgb_as(self, way: Way) -> tuple[str, ...]:
        """The photometric interpretations that RGB frames may be written in, that of the codec's colour
        transform first; `FrameFormat.photometric` says which of them is wanted."""

    def encode_at(self, pixels: Pixels, form: FrameFormat, level: float, way: Way = OWN_WAY) -> bytes:
        """The codestream of one frame at `level` of the dial. Raises Permanent(reason="codec")."""

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that `encode_at` has made, RGB where RGB was given.

        Raises Permanent(reason="codec").
        """


@runtime_checkable
class RateControlEncoder(LossyEncoder, Protocol):
    """A lossy encoder of MAPDR whose dial is in dB, and which on some machines meets a size in one encode."""

    def no_rate_control(self) -> str:
        """Why it does not on this machine, as it follows "because"; empty if it does."""

    def encode_to_size(self, pixels: Pixels, form: FrameFormat, size: int, way: Way = OWN_WAY) -> bytes:
        """The codestream of one frame that comes nearest to `size` bytes from below, but for some headers; or
        all that the way gives. The same frame, format, size and way give the same codestream.

        Raises Permanent(reason="codec"), Unavailable, and OwnFault for what the machine lacks at the moment.
        """


@dataclass(frozen=True, slots=True)
class Recompressor:
    """How a codestream of one transfer syntax becomes one of another, and comes back bit by bit.

    `sources` are the UIDs of the transfer syntaxes whose codestreams it takes, `header` reads their size, as
    in `Decoder`. `recompress(stream)` gives the codestream of the same frame in this syntax, and `restore`
    gives back what `recompress` was given. All are functions of a module, for streams from outside go to a
    decoder process; they raise whatever they like.
    """

    sources: tuple[str, ...]
    recompress: Callable[[bytes], bytes]
    restore: Callable[[bytes], bytes]
    header: Callable[[bytes], Figures | None]


@dataclass(frozen=True, slots=True)
class Ability:
    """What a codec can do with one transfer syntax.

    `decode` and `encode` are what does it, or the reason why nothing does, as it follows "unavailable,
    because".
    """

    transfer_syntax_uid: str
    decode: Decoder | str
    encode: Encoder | LossyEncoder | Recompressor | str = "it is not offered"


class Codec(Protocol):
    """What the `build` of a codec's factory gives."""

    @property
    def abilities(self) -> Sequence[Ability]:
        """One for each transfer syntax that it knows."""
