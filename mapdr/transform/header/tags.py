"""The `tags` step: header edits by rule. Pixel data is not read; it streams from the spool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import GenericAlias

from mapdr._fast.scan_tables import ODD_LENGTH
from mapdr.dicom.edit.plan import EditPlan
from mapdr.dicom.edit.tree import Edited, apply_edits
from mapdr.dicom.edit.verbs import VERBS, Edit
from mapdr.dicom.recode import recode
from mapdr.dicom.scan import Layout, deflate_pieces, layout
from mapdr.dicom.transfer_syntax import is_deflated
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mapdr.dicom.write import UNDEFINED, Element, encoding_from
from mapdr.kernel import budget
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.finding import Finding
from mapdr.kernel.item import FileSlice, Instance, Part, Payload, Source, Treatment, is_uid, total_length
from mapdr.kernel.stage import Factory, Settings
from mapdr.kernel.step import Changes, Memory, Phase, Reads
from mapdr.transform.dataset import inflated
from mapdr.transform.even import even_pixels
from mapdr.transform.header.edit import TagEdit, edit_config
from mapdr.transform.header.fingerprint import refuse_another
from mapdr.transform.view import PartsView, beginning

BEGINNING = 1 << 14
"""Bytes read of an image at first: the headers of CT and of most MR, CR and US images are shorter."""
COPIES = 4
"""How often the bytes around the pixel data are in memory at once while they are edited."""
_PIXEL_HEAD = 12
"""Bytes of tag, VR and length of the pixel data."""
Assumed = tuple[AssumedSet, ...]
_NATIVE = frozenset([IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN])
"""Where pixel data has a length. Elsewhere its end must be looked for in the whole file."""


class TagEditor:
    """The transform; keeps no state."""

    phase = Phase.HEADER
    reads = Reads.HEADER
    changes = Changes.HEADER
    copies = 0

    def __init__(self, edits: Sequence[Edit]) -> None:
        self._edits = tuple(edits)
        self._plan = EditPlan.of(self._edits)

    def parts(self) -> Sequence[tuple[str, TagEditor]]:
        """Each edit by itself: `mapdr.kernel.step.Divides`."""
        return [
            (f"edit {number}: {edit.words}", TagEditor([edit])) for number, edit in enumerate(self._edits, 1)
        ]

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
        """The edited payload, or the same one where nothing changed. Raises Permanent as `apply_edits`."""
        assumed, source = instance.assumed, instance.source
        if is_deflated(payload.transfer_syntax_uid):
            return self._deflated(payload, assumed, source)
        return self._from_beginning(payload, assumed, source) or self._from_whole(payload, assumed, source)

    def _from_beginning(self, payload: Payload, assumed: Assumed, source: Source) -> Payload | None:
        """The edited payload if the plan can tell from its first bytes: of a spooled file read at once, or of
        a header that another step has made, with the pixel data behind it."""
        is_native = payload.transfer_syntax_uid in _NATIVE
        begun = _begun(payload.parts, is_native=is_native) if self._plan is not None else None
        if self._plan is None or begun is None or (payload.length > BEGINNING and not is_native):
            return None
        done = self._plan.apply(begun, payload.length, payload.transfer_syntax_uid, assumed, source=source)
        if done is None:
            return None
        edited, start, end = done
        pixels = PartsView(payload.parts).slice(start, end)
        return _changed(payload, edited, (edited.header, *pixels, edited.tail))

    def _from_whole(self, payload: Payload, assumed: Assumed, source: Source) -> Payload:
        if len(payload.parts) > 1:
            budget.need(payload.length)  # the buffer is a copy then
        with PartsView(payload.parts) as view:
            edited, start, end, odd = self._edit(view, payload.transfer_syntax_uid, assumed, source)
            parts = (
                _evened(edited, view, odd) if odd else (edited.header, *view.slice(start, end), edited.tail)
            )
        return _changed(payload, edited, parts)

    def _deflated(self, payload: Payload, assumed: Assumed, source: Source) -> Payload:
        data = inflated(payload)
        budget.need(2 * payload.length)  # what is deflated, and there twice while it is put together
        with PartsView((data,)) as view:
            edited, start, end, odd = self._edit(view, EXPLICIT_VR_LITTLE_ENDIAN, assumed, source)
            if not edited.changed:
                return payload
            if odd:
                budget.need(len(data))  # the pixel data's own bytes again
                parts = _evened(edited, view, odd)
                packed = deflate_pieces(replace(payload, parts=parts, length=total_length(parts)).chunks())
            else:
                with memoryview(data)[start:end] as pixels:
                    packed = deflate_pieces((edited.header, pixels, edited.tail))
        return _changed(payload, edited, (packed,))

    def _edit(
        self, view: PartsView, syntax: str, assumed: Assumed, source: Source
    ) -> tuple[Edited, int, int, Layout | None]:
        """The edits applied to a whole data set: around which bytes of it, and its layout to make it even."""
        with view.buffer() as buffer:
            done = (
                self._plan.apply(buffer, len(buffer), syntax, assumed, source=source) if self._plan else None
            )
            where = None if done else layout(buffer, syntax)
        if done is not None:
            return *done, None
        assert where is not None
        budget.need(COPIES * (where.size - (where.pixel_end - where.header_end)))
        tail = None if where.pixels is None else view[where.pixel_end :]
        header = view[: where.header_end]
        edited = apply_edits(
            header, syntax, self._edits, tail=tail, tail_at=where.pixel_end, assumed=assumed, source=source
        )
        is_odd = edited.changed and where.remarks & ODD_LENGTH and not where.truncated
        return edited, where.header_end, where.pixel_end, where if is_odd else None


def _begun(parts: tuple[Part, ...], *, is_native: bool) -> bytes | None:
    """The first bytes of a payload, its header among them if that is short; None for other payloads."""
    match parts:
        case (FileSlice() as part,):
            return beginning(part, BEGINNING)
        case (bytes() as header, FileSlice() as pixels) if is_native:
            return header + beginning(pixels, _PIXEL_HEAD)
    return None


def _evened(edited: Edited, view: PartsView, where: Layout) -> tuple[Part, ...]:
    """The parts of an edited data set with even lengths, of which some were odd."""
    encoding = encoding_from(where.flags)
    header = recode(edited.header, encoding, encoding)
    if where.pixels is None:
        return (header,)
    tag, vr, start, value, length, _ = where.pixels
    pixel = Element(tag, vr.decode("latin-1"), start, value, where.pixel_end, length == UNDEFINED)
    header, pixels = even_pixels(header, view, pixel, encoding)
    return (header, *pixels, recode(edited.tail, encoding, encoding))


def _changed(payload: Payload, edited: Edited, parts: tuple[Part, ...]) -> Payload:
    if not edited.changed:
        return payload
    return replace(
        payload,
        # A data set without UIDs goes by those of its association (docs/decisions/0003).
        sop_class_uid=_uid(edited.sop_class_uid, payload.sop_class_uid),
        sop_instance_uid=_uid(edited.sop_instance_uid, payload.sop_instance_uid),
        parts=parts,
        length=total_length(parts),
        treatment=Treatment.EDITED,
    )


def _uid(found: str, known: str) -> str:
    return found if is_uid(found) else known


def build(settings: Settings, config: Sequence[TagEdit], next: None) -> TagEditor:
    """The transform for a node. Raises Permanent where a table or key cannot be had, or is another one."""
    edits = [edit.edit for edit in config]
    for secret in (each for edit in config for each in edit.secrets):
        refuse_another(settings, secret.place, secret.reveal().encode())
    return TagEditor(edits)


def faults(config: Sequence[TagEdit]) -> Iterator[Finding]:
    """What of tables and keys cannot be had here and now."""
    for index, edit in enumerate(config):
        yield from (Finding((index, *each.place), each.what, each.cure) for each in edit.faults())


STAGE = Factory(
    "transform", "tags", GenericAlias(tuple, (edit_config(VERBS), ...)), build, order=10, faults=faults
)
