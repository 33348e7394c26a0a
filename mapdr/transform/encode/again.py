"""Painted frames in the lossless syntax that they came in: what no step has changed keeps its codestream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mapdr.dicom.transfer_syntax import LOSSLESS_COMPRESSED
from mapdr.dicom.write import splice
from mapdr.kernel import budget
from mapdr.kernel.codec import Encoder, FrameFormat
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Part, Payload, Treatment, total_length
from mapdr.kernel.stage import Settings
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.derive import FrameDigest, uid_changes
from mapdr.transform.encode.frames import each_of, frame_room, frames_at_once, streams_room
from mapdr.transform.encode.streams import Streams, merged
from mapdr.transform.fragments import (
    EXTENDED_OFFSETS,
    OF_OTHER_FRAGMENTS,
    Spans,
    around,
    fragment_head,
    frame_spans,
)
from mapdr.transform.image import Image, same
from mapdr.transform.painted import PaintedFrames
from mapdr.transform.scratch import Scratch
from mapdr.transform.view import PartsView

_OFFSETS = 1 << 32
"""What a Basic Offset Table cannot hold (PS3.5 section A.4)."""


def may_stay(document: OpenImage) -> bool:
    """Whether a painted document can be written in the encapsulated syntax that it came in.

    It can where that loses nothing, a codec here writes it, and the codestreams hold the cells as they are
    described: a frame that keeps its own and one that gets another have one header.
    """
    syntax, image = document.payload.transfer_syntax_uid, document.image
    if syntax not in LOSSLESS_COMPRESSED:
        return False
    if image.samples > 1 and document.shown.photometric != "RGB":
        return False  # a codestream that says nothing of its colours, or another thing, would be guessed at
    row = document.codecs.rows.get(syntax)
    if row is None or row.encoder is None or image.high != image.stored - 1 or image.overlays:
        return False
    return row.encoder.takes.holds(image.format)


def again(document: OpenImage, settings: Settings) -> Payload:
    """The payload of a painted document (`may_stay`), in its own syntax.

    Frames that a step changed are encoded, decoded again and compared; the others keep their fragments.
    Raises Permanent: "codec", "fragments", what decoding raises; "syntax" for more than 4 GiB of fragments.
    """
    payload, image, frames = document.payload, document.image, document.frames
    assert isinstance(frames, PaintedFrames)
    assert document.data.pixel is not None
    encoder, view = document.codecs.encoder(payload.transfer_syntax_uid), document.data.view
    table = image.attributes.value(EXTENDED_OFFSETS)
    spans = frame_spans(view, document.data.pixel, image.frames, table)
    at_once = frames_at_once(image, settings)
    made = Streams(Scratch.of(settings))
    room = streams_room(image.native_bytes, made.scratch)
    budget.need(at_once * image.work_bytes + room + document.kept_bytes)

    def work(index: int) -> None:
        stream = _changed_stream(frames, index, image, encoder)
        if stream is not None:
            made.put(index, stream)

    each_of(range(image.frames), work, frame_room(settings.workers), at_once)
    budget.need(max(made.in_memory - room, 0))
    digest = FrameDigest()  # of changed frames: what the others hold follows from the image
    lengths: list[int] = []
    for index in range(image.frames):
        if index in made:
            digest.add(made[index])
            sizes = [made.length(index)]
        else:
            digest.add(b"")
            sizes = [stop - start for start, stop in spans[index]]
        # Of a frame in several fragments the heads of the others count: the next one's offset follows.
        lengths.append(sum(8 + size + (size & 1) for size in sizes) - 8)
    if sum(lengths) + 8 * image.frames >= _OFFSETS:
        raise Permanent("the pixel data is larger than 4 GiB", reason="syntax")
    pixels = merged(
        part
        for index in range(image.frames)
        for part in (made.fragment(index) if index in made else _kept(view, spans[index]))
    )
    made.close()
    changes: dict[int, bytes | None] = dict.fromkeys(OF_OTHER_FRAGMENTS)
    uid = payload.sop_instance_uid
    if document.pixels_changed:
        uid = digest.uid(settings.site_key, uid)
        changes.update(uid_changes(uid))
    header = splice(document.told.header, changes)
    parts = (header, *around(lengths, pixels)[1], document.tail)
    return replace(
        payload, sop_instance_uid=uid, parts=parts, length=total_length(parts), treatment=Treatment.TRANSCODED
    )


def _kept(view: PartsView, spans: Spans) -> Iterator[Part]:
    """The fragments of a frame that keeps its own, as they lie there; an odd one is padded."""
    for start, stop in spans:
        if (stop - start) & 1:
            yield fragment_head(stop - start + 1)
            yield from view.slice(start, stop)
            yield b"\0"
        else:
            yield from view.slice(start - 8, stop)


def _changed_stream(frames: PaintedFrames, index: int, image: Image, encoder: Encoder) -> bytes | None:
    """The codestream of a frame that a step has changed; None for one that keeps its own."""
    frames.cells(index)
    if not frames.was_changed(index):
        return None
    form: FrameFormat = image.format
    pixels = frames.frame(index)
    stream = encoder.encode(pixels, form)
    if not same(encoder.decode(stream, form), pixels):
        raise Permanent("a frame decodes to other pixels than were encoded", reason="codec")
    return stream
