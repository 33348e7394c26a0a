"""The `tags` step: header edits by rule. Pixel data is not read; it streams from the spool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import GenericAlias
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr, create_model, model_validator

from mapdr._fast.scan_tables import ODD_LENGTH
from mapdr.dicom.edit.plan import EditPlan
from mapdr.dicom.edit.tree import Edited, apply_edits
from mapdr.dicom.edit.verbs import VERBS, Edit, IfEmpty, Overflow, Takes, Verb
from mapdr.dicom.recode import recode
from mapdr.dicom.scan import Layout, deflate_pieces, layout
from mapdr.dicom.transfer_syntax import is_deflated
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mapdr.dicom.write import UNDEFINED, Element, encoding_from
from mapdr.kernel import budget
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.item import FileSlice, Instance, Part, Payload, Treatment, is_uid, total_length
from mapdr.kernel.stage import Factory, Settings, StageConfig
from mapdr.kernel.step import Changes, Memory, Phase, Reads
from mapdr.transform.dataset import inflated
from mapdr.transform.even import even_pixels
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


class TagEdit(StageConfig):
    """One edit: a verb with a tag, and what the verb needs; `edit_config` adds the verbs and their keys.

    `{ set = "InstitutionName", to = "Clinic North" }`, `{ copy = "StudyID", to = "AccessionNumber" }`,
    `{ remove = "OtherPatientIDs" }`, `{ prefix = "AccessionNumber", with = "CN-" }`. `overflow` and
    `if_empty` say what is done with a value that does not fit, and with one that there is nothing for; by
    default the image is parked.
    """

    verbs: ClassVar[Mapping[str, Verb]] = {}
    overflow: Overflow = "error"
    if_empty: IfEmpty = "error"
    _edit: Edit = PrivateAttr()

    @model_validator(mode="after")
    def _compile(self) -> TagEdit:
        given = [verb for verb in self.verbs.values() if self._get(verb.name) is not None]
        if len(given) != 1:
            raise ValueError(f"an edit has one verb of {', '.join(self.verbs)}; this one has {len(given)}")
        verb = given[0]
        argument = self._get(verb.takes.key) if verb.takes.key else None
        if verb.takes.key and argument is None:
            raise ValueError(f"{verb.name} needs {verb.takes.key} = ...")
        for key in sorted({each.takes.key for each in self.verbs.values()} - {"", verb.takes.key}):
            if self._get(key) is not None:
                raise ValueError(f"{verb.name} takes no {key}")
        if verb.takes is Takes.NOTHING and (self.overflow != "error" or self.if_empty != "error"):
            raise ValueError(f"{verb.name} takes neither overflow nor if_empty")
        self._edit = verb.parse(self._get(verb.name), argument, self.overflow, self.if_empty)
        return self

    def _get(self, key: str) -> Any:
        return getattr(self, key + "_")

    @property
    def edit(self) -> Edit:
        """The compiled edit."""
        return self._edit


def edit_config(verbs: Sequence[Verb]) -> type[TagEdit]:
    """The table that a rule writes for one edit: a key for each verb, and those that the verbs take."""
    written: dict[str, Any] = {verb.name: str for verb in verbs}
    for verb in verbs:
        if verb.takes is Takes.CONTENT:
            written[verb.takes.key] = str | list[dict[str, Any]]
        elif verb.takes is not Takes.NOTHING:
            written.setdefault(verb.takes.key, str)
    fields: dict[str, Any] = {
        key + "_": (kind | None, Field(default=None, alias=key)) for key, kind in written.items()
    }
    model: type[TagEdit] = create_model("TagEdit", __base__=TagEdit, __doc__=TagEdit.__doc__, **fields)
    model.verbs = {verb.name: verb for verb in verbs}
    return model


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
        if is_deflated(payload.transfer_syntax_uid):
            return self._deflated(payload, instance.assumed)
        return self._from_beginning(payload, instance.assumed) or self._from_whole(payload, instance.assumed)

    def _from_beginning(self, payload: Payload, assumed: Assumed) -> Payload | None:
        """The edited payload if the plan can tell from its first bytes: of a spooled file read at once, or of
        a header that another step has made, with the pixel data behind it."""
        is_native = payload.transfer_syntax_uid in _NATIVE
        begun = _begun(payload.parts, is_native=is_native) if self._plan is not None else None
        if self._plan is None or begun is None or (payload.length > BEGINNING and not is_native):
            return None
        done = self._plan.apply(begun, payload.length, payload.transfer_syntax_uid, assumed)
        if done is None:
            return None
        edited, start, end = done
        pixels = PartsView(payload.parts).slice(start, end)
        return _changed(payload, edited, (edited.header, *pixels, edited.tail))

    def _from_whole(self, payload: Payload, assumed: Assumed) -> Payload:
        if len(payload.parts) > 1:
            budget.need(payload.length)  # the buffer is a copy then
        with PartsView(payload.parts) as view:
            edited, start, end, odd = self._edit(view, payload.transfer_syntax_uid, assumed)
            parts = (
                _evened(edited, view, odd) if odd else (edited.header, *view.slice(start, end), edited.tail)
            )
        return _changed(payload, edited, parts)

    def _deflated(self, payload: Payload, assumed: Assumed) -> Payload:
        data = inflated(payload)
        budget.need(2 * payload.length)  # what is deflated, and there twice while it is put together
        with PartsView((data,)) as view:
            edited, start, end, odd = self._edit(view, EXPLICIT_VR_LITTLE_ENDIAN, assumed)
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

    def _edit(self, view: PartsView, syntax: str, assumed: Assumed) -> tuple[Edited, int, int, Layout | None]:
        """The edits applied to a whole data set: around which bytes of it, and its layout to make it even."""
        with view.buffer() as buffer:
            done = self._plan.apply(buffer, len(buffer), syntax, assumed) if self._plan else None
            where = None if done else layout(buffer, syntax)
        if done is not None:
            return *done, None
        assert where is not None
        budget.need(COPIES * (where.size - (where.pixel_end - where.header_end)))
        tail = None if where.pixels is None else view[where.pixel_end :]
        header = view[: where.header_end]
        edited = apply_edits(header, syntax, self._edits, tail=tail, tail_at=where.pixel_end, assumed=assumed)
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
    """The transform for a node."""
    return TagEditor([edit.edit for edit in config])


STAGE = Factory("transform", "tags", GenericAlias(tuple, (edit_config(VERBS), ...)), build, order=10)
