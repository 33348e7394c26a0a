"""A JPEG's codestreams in JPEG XL, from which they come back byte by byte (PS3.5 section 10.19).

No pixel is decoded: what the image has lost before, it has lost, and nothing more. So the SOP Instance UID
and all flags of loss stay, and the Image Pixel module, too: it tells of the JPEG that comes back.
"""

from __future__ import annotations

from dataclasses import replace

from mapdr.dicom.write import splice
from mapdr.kernel import budget
from mapdr.kernel.item import Part, Payload, Treatment, total_length
from mapdr.kernel.stage import Settings
from mapdr.transform.codecs.foreign import ForeignFrames, decoders
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.frames import each_of, frame_room, frames_at_once, streams_room
from mapdr.transform.encode.icons import native_icons
from mapdr.transform.encode.streams import Streams
from mapdr.transform.fragments import OF_OTHER_FRAGMENTS
from mapdr.transform.image import LeaveAsIs
from mapdr.transform.scratch import Scratch


def recompressed(document: OpenImage, target: str, settings: Settings) -> Payload:
    """The payload of a document in a JPEG syntax, in `target`.

    Codestreams come from outside: decoder processes recompress them, and see that they come back. Raises
    LeaveAsIs("not-smaller"), and Permanent: "syntax" where nothing recompresses so, "fragments", "codec",
    "codec-crash", "codec-mismatch".
    """
    recompressor = document.codecs.recompressor(target)
    image, frames = document.image, document.frames
    assert isinstance(frames, ForeignFrames)
    before = document.source_bytes
    made = Streams(Scratch.of(settings))
    # One frame is in memory whatever its size.
    budget.need(2 * before if image.frames == 1 else 2 * streams_room(2 * before, made.scratch))
    pool = decoders(settings.workers)
    at_once = frames_at_once(image, settings)

    def pack(index: int) -> None:
        made.put(index, pool.recompress(recompressor, image.format, frames.stream(index)))

    each_of(range(image.frames), pack, frame_room(settings.workers), at_once)
    if made.size >= before:
        raise LeaveAsIs("not-smaller")
    offsets, pixels = made.encapsulated()
    # Nested pixel data is native or in the data set's syntax, and JPEG XL would ask icons to come back too.
    changes = dict.fromkeys(OF_OTHER_FRAGMENTS) | native_icons(document)
    header = splice(document.told.header, changes)
    parts: tuple[Part, ...] = (header + offsets, *pixels, document.tail)
    return replace(
        document.payload,
        transfer_syntax_uid=target,
        parts=parts,
        length=total_length(parts),
        treatment=Treatment.TRANSCODED,
    )
