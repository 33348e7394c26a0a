"""The `compress` step: pixels into the rule's transfer syntax, without loss or at a target, verified before
they leave.

What will be done is planned from the header (`plan`). Every frame that was encoded is decoded again and
compared. A ratio counts against the native pixel data as allocated, over all frames. When lossless reaches
it, lossless is sent: same UID, no flags. A lossy image is another image: it gets a new UID and says what was
done to it. What the search chose is kept before the image is sent, so that a retry makes the same bytes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from mapdr.dicom.transfer_syntax import NATIVE, is_deflated
from mapdr.dicom.write import splice
from mapdr.kernel import budget
from mapdr.kernel.codec import OWN_WAY
from mapdr.kernel.errors import Permanent, Unavailable
from mapdr.kernel.item import Instance, Part, Payload, Treatment, total_length
from mapdr.kernel.stage import Factory, Settings
from mapdr.kernel.step import Changes, Memory, Phase, Reads
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.aim import Aim, hit
from mapdr.transform.encode.derive import (
    Loss,
    lossy_changes,
    new_uid,
    overlay_changes,
    pixel_changes,
    uid_changes,
)
from mapdr.transform.encode.frames import (
    Encoded,
    FrameEncoder,
    Objection,
    Setting,
    frame_room,
    frames_at_once,
    streams_room,
)
from mapdr.transform.encode.icons import native_icons
from mapdr.transform.encode.methods import METHODS, Method
from mapdr.transform.encode.native import native
from mapdr.transform.encode.plan import NO_CODEC, REFUSED, Course, Plan, Subject, Wish, plan
from mapdr.transform.encode.precedent import Decided, Goal, Precedents, follow
from mapdr.transform.encode.quality import Guard, Padding
from mapdr.transform.encode.recompress import recompressed
from mapdr.transform.encode.search import Hints
from mapdr.transform.encode.series import SeriesCourses, of_series
from mapdr.transform.encode.subject import image_of, subject_of, writers_of
from mapdr.transform.encode.wish import CompressConfig, unavailable, without_effect
from mapdr.transform.fragments import OF_OTHER_FRAGMENTS
from mapdr.transform.image import Image, LeaveAsIs, OutsideBitsStored
from mapdr.transform.scratch import Scratch
from mapdr.transform.view import Held

NOT_SMALLER = "not-smaller"
"""Why an image leaves as it came that the rule's method would make larger."""
PLANS = 256
"""Plans that are kept for images that say the same of themselves."""


class CompressStep:
    """The step; `encode` may run in many threads at once."""

    phase = Phase.ENCODE
    reads = Reads.FRAMES
    changes = Changes.HEADER | Changes.PIXELS | Changes.SYNTAX
    copies = 0

    def __init__(self, settings: Settings, config: CompressConfig, lossless_uid: str = "") -> None:
        """`lossless_uid` is a transfer syntax in which everything is written without loss, instead of what
        `config` names."""
        self._settings = settings
        self._config = config
        self._wish = config.wish
        self._may_grow = bool(lossless_uid)  # what a receiver insists on is written, be it larger
        if lossless_uid:
            self._wish = replace(self._wish, methods=(Method("", "", lossless_uid),), lossy=False)
        is_aim = config.target == "max_error"
        self._aim = Aim(config.ratio, config.psnr, config.near, config.max_error if is_aim else None)
        self._guard = Guard(config.max_error or config.near, config.min_psnr, config.min_ssim)
        self._room = frame_room(settings.workers)
        self._scratch = Scratch.of(settings)
        self._hints = Hints()
        self._courses = SeriesCourses() if config.is_auto else None
        self._plans: dict[tuple[Codecs, Subject, str], Plan] = {}
        self._precedents = Precedents()
        self._goal = None
        if config.ratio is not None and not config.is_auto:
            self._goal = Goal(config.ratio, self._guard, self._hints, settings.site_key, self._scratch)

    def encode(self, document: OpenImage, instance: Instance, memory: Memory, syntax: str) -> Payload:
        """The compressed payload, or the document's with a `note` that says why it was left alone, or with
        what is `unmet` where the receiver takes `syntax` alone.

        Raises Permanent: "unreadable", "fragments", "codec", "codec-crash", "codec-mismatch", "quality".
        """
        known, is_asked = memory.recall() or {}, bool(syntax)
        left = str(known.get("reason", "")) if known.get("course") == Course.UNCHANGED else None
        if left not in (None, NOT_SMALLER):
            return self._leave(document.payload, left)
        planned = self._planned(document, instance, syntax)
        if left is not None:
            return self._larger(document.payload, planned)
        if planned.method is None:
            return self._unchanged(document, planned, memory, known, is_asked=is_asked)
        document.as_rgb(planned.to_rgb)
        try:
            try:
                result, facts = self._compress(document, instance, planned, known, memory, is_asked=is_asked)
            except OutsideBitsStored as outside:
                document.keep_whole_cells()
                spared = _spared(planned, outside.reason)
                result, facts = self._compress(document, instance, spared, {}, memory, is_asked=is_asked)
        except LeaveAsIs as objection:
            document.as_rgb(False)
            why = objection.reason
            facts = {"course": Course.UNCHANGED.value, "reason": why}
            payload = document.payload
            result = self._larger(payload, planned) if why == NOT_SMALLER else self._leave(payload, why)
        if facts != known:
            memory.keep(facts)
        if result.parts is document.payload.parts:
            return result
        return replace(result, others=planned.others)

    def follow(self, payload: Payload, held: Held, instance: Instance, memory: Memory) -> Payload | None:
        """The payload that `encode` would give, of an image that says of itself what one of its series said
        before it (`precedent`). None where there is none, or it has to go the whole way. Raises Short.

        No receiver has asked for a transfer syntax. `payload` is as it came, or has another header before its
        own pixels; `held` is what came. Where it gives None, what it told the budget counts still.
        """
        precedent = self._precedents.of(payload, instance)
        if precedent is None or self._goal is None or memory.recall():
            return None
        followed = follow(precedent, payload, held, self._goal)
        if followed is None:
            return None
        made, facts = followed
        self._settings.watch.count("compress.lossy")
        memory.keep(self._facts(Course.LOSSY, precedent.decided.planned) | facts)
        return made

    def _planned(self, document: OpenImage, instance: Instance, syntax: str) -> Plan:
        """The plan of an image. One that says the same of itself has the same: it is made once a series."""
        key = document.codecs, subject_of(document, instance, self._wish), syntax
        found = self._plans.get(key)
        if found is None:
            codecs, subject, _ = key
            found = plan(subject, self._wish, writers_of(codecs), (syntax,) if syntax else None)
            if len(self._plans) >= PLANS:
                self._plans.clear()
            self._plans[key] = found
        return found

    def _unchanged(
        self, document: OpenImage, planned: Plan, memory: Memory, known: Mapping[str, Any], *, is_asked: bool
    ) -> Payload:
        """The document's payload, and why none of the rule's methods has it."""
        if planned.reason == NO_CODEC:
            names = ", ".join(method.name for method in self._wish.methods)
            raise Permanent(f"no codec that is installed here writes {names}", reason="syntax")
        if planned.reason == REFUSED:
            self._settings.watch.count("compress.refused")
            return replace(document.payload, unmet=REFUSED)
        facts = {"course": Course.UNCHANGED.value, "reason": planned.reason}
        if not is_asked and facts != known:
            memory.keep(facts)
        return self._leave(document.payload, planned.reason)

    def _compress(
        self,
        document: OpenImage,
        instance: Instance,
        planned: Plan,
        known: Mapping[str, Any],
        memory: Memory,
        *,
        is_asked: bool,
    ) -> tuple[Payload, dict[str, Any]]:
        """What the planned method makes, and what is kept of it. `is_asked`: the receiver takes no other
        syntax. Raises LeaveAsIs."""
        planned = _as_before(planned, known, self._wish)
        method = planned.method
        assert method is not None
        if method.way != "codec":
            made = (self._packed if method.way == "jpeg" else self._recoded)(document, planned)
            self._settings.watch.count("compress.lossless")
            return made, self._facts(planned.course, planned) | _cut_off(document)
        image, codecs = image_of(document), document.codecs
        padding = None if planned.to_rgb else Padding.of(image.attributes, image)
        at_once = frames_at_once(image, self._settings)
        room = streams_room(image.native_bytes, self._scratch)
        budget.need(at_once * image.work_bytes + room + document.kept_bytes)
        encoder = FrameEncoder(
            (
                codecs.encoder(method.lossless, method.codec) if planned.lossless_syntax else None,
                codecs.lossy_encoder(method.lossy, method.codec) if planned.course is Course.LOSSY else None,
            ),
            document.frames,
            self._room,
            self._guard,
            padding,
            scratch=self._scratch,
            # JPEG has no other colours that its readers expect (PS3.5 section 8.2.1).
            transform_colour=self._wish.transform_colour or not method.is_wavelet,
            at_once=at_once,
        )
        encoded, facts = self._encode(encoder, planned, instance, known, memory)
        # Where a receiver asks for a syntax without loss, what came does not do, be it smaller.
        may_grow = self._may_grow or planned.to_rgb or (is_asked and encoded.setting is None)
        if encoded.size >= document.source_bytes and not may_grow:
            raise LeaveAsIs(NOT_SMALLER)
        if encoded.setting is None:
            facts["ratio"] = round(image.native_bytes / encoded.size, 2)
        elif not known and not is_asked:
            self._note(document, instance, planned, encoder, encoded, padding=padding)
        if "cells" in known:
            facts["cells"] = known["cells"]  # by which a node that restarts knows the image's series
        facts |= _cut_off(document)
        return self._assemble(document, planned, encoded, facts.get("reason", "")), facts

    def _note(
        self,
        document: OpenImage,
        instance: Instance,
        planned: Plan,
        encoder: FrameEncoder,
        encoded: Encoded,
        *,
        padding: Padding | None,
    ) -> None:
        """Keep a lossy image as a precedent, where others of its series may follow it: they meet a ratio at a
        level in dB, in the codec's own way."""
        method, setting, dial = planned.method, encoded.setting, encoder.dial
        assert method is not None
        assert setting is not None
        if self._goal is None or planned.to_rgb or setting.way != OWN_WAY or dial.unit != "dB" or dial.whole:
            return
        decided = Decided(
            planned,
            document.codecs.lossy_encoder(method.lossy, method.codec),
            encoder.form(setting),
            padding,
            _changed_pixels(encoder.image, encoded, planned),
            _learnt_under(instance, method, encoder.image),
        )
        self._precedents.note(document, instance, decided)

    def _packed(self, document: OpenImage, planned: Plan) -> Payload:
        """A JPEG in a syntax from which it comes back."""
        try:
            return recompressed(document, planned.syntax, self._settings)
        except Permanent as error:
            if self._config.fallback != "original" or error.reason not in ("codec", "codec-mismatch"):
                raise
            raise LeaveAsIs("not-recompressed") from error

    def _recoded(self, document: OpenImage, planned: Plan) -> Payload:
        """The data set deflated, or its pixels without a codec."""
        if planned.to_rgb:
            _ = document.frames  # raises LeaveAsIs for what cannot be had as frames, and stays as it came
        made = native(document, planned.syntax, self._settings)
        is_larger = is_deflated(planned.syntax) and made.length >= document.payload.length
        if is_larger and not document.is_rewritten:
            raise LeaveAsIs(NOT_SMALLER)
        return replace(made, note=_noted("", document))

    def _encode(
        self,
        encoder: FrameEncoder,
        planned: Plan,
        instance: Instance,
        known: Mapping[str, Any],
        memory: Memory,
    ) -> tuple[Encoded, dict[str, Any]]:
        """Encode by the plan, or exactly as `known` says that it was done before."""
        if planned.course is Course.LOSSLESS:
            return encoder.lossless(), self._facts(Course.LOSSLESS, planned, planned.reason)
        assert planned.method is not None
        reason = ""
        try:
            if "level" in known:
                with suppress(Unavailable):  # what made it is gone: it is made anew
                    return encoder.lossy(Setting.of(known)), dict(known)
            image, method = encoder.image, planned.method.name
            cells = _cells(image)
            others = partial(of_series, memory, method, cells)
            key = _learnt_under(instance, planned.method, image)
            encoded = hit(encoder, self._aim, self._hints, key, self._courses, others=others)
        except Objection as objection:
            reason = objection.reason
        if reason:  # out of the block above, for its exception holds the codestreams that failed
            return self._fall_back(encoder, planned, reason)
        course = Course.LOSSLESS if encoded.setting is None else Course.LOSSY
        facts = self._facts(course, planned)
        if self._courses is not None:
            facts["cells"] = list(cells)
        if encoded.setting is None:
            return encoded, facts
        assert encoded.reached is not None
        reached = encoded.reached.told(image.native_bytes / encoded.size, encoder.encodes)
        return encoded, facts | encoded.setting.told() | reached

    def _fall_back(self, encoder: FrameEncoder, planned: Plan, reason: str) -> tuple[Encoded, dict[str, Any]]:
        self._settings.watch.count(f"compress.fallback.{reason}")
        if self._config.fallback == "park":
            raise Permanent(
                f"the lossy image fails its guard ({reason}); raise the limit, lower the ratio, or set "
                'fallback = "lossless"',
                reason="quality",
            )
        if self._config.fallback == "original" or not planned.lossless_syntax:
            raise LeaveAsIs(reason)
        return encoder.lossless(), self._facts(Course.LOSSLESS, planned, reason)

    def _facts(self, course: Course, planned: Plan, reason: str = "") -> dict[str, Any]:
        """What is kept of an image, so that a retry makes the same bytes."""
        facts: dict[str, Any] = {"course": course.value}
        # Of "auto" there may be more another day, and by the method a node knows the series again.
        may_be_another = self._config.is_auto or len(self._wish.methods) > 1
        if may_be_another and planned.method is not None:
            facts["method"] = planned.method.name
        if reason:
            facts["reason"] = reason
        return facts

    def _assemble(self, document: OpenImage, planned: Plan, encoded: Encoded, reason: str) -> Payload:
        """The payload of the codestreams, with a header that is true of them."""
        payload, image, shown = document.payload, document.image, document.shown
        if shown.whole or document.told is not image.attributes:
            image = replace(image, attributes=document.told, whole=shown.whole)
        assert planned.method is not None
        uid, syntax = payload.sop_instance_uid, planned.lossless_syntax
        changes = _changed_pixels(image, encoded, planned)
        if image.overlays:
            changes.update(overlay_changes(document.frames))
        if payload.transfer_syntax_uid not in NATIVE:
            changes.update(native_icons(document))
        if encoded.setting is not None or document.pixels_changed:
            uid = new_uid(self._settings.site_key, payload.sop_instance_uid, encoded.frames)
            changes.update(uid_changes(uid))
        if encoded.setting is not None:
            syntax = planned.syntax
            method = document.codecs.lossy_encoder(planned.method.lossy, planned.method.codec).method
            loss = Loss(shown.native_bytes / encoded.size, method, encoded.padding)
            changes.update(lossy_changes(image, loss, payload.sop_class_uid, payload.sop_instance_uid))
        tables, pixel_parts = encoded.frames.encapsulated()
        parts: tuple[Part, ...] = (
            splice(image.attributes.header, changes) + tables,
            *pixel_parts,
            document.tail,
        )
        self._settings.watch.count(f"compress.{'lossless' if encoded.setting is None else 'lossy'}")
        return replace(
            payload,
            sop_instance_uid=uid,
            transfer_syntax_uid=syntax,
            parts=parts,
            length=total_length(parts),
            treatment=Treatment.TRANSCODED,
            note=_noted(f"compressed without loss: {reason}" if reason else "", document),
        )

    def _larger(self, payload: Payload, planned: Plan) -> Payload:
        """The payload that came, for a receiver that takes its transfer syntax: it is the smallest.
        Another one gets the image by the rule's method, which is smaller than without a codec."""
        offers = planned.lossless_syntax and payload.transfer_syntax_uid not in NATIVE
        others = (planned.lossless_syntax,) if offers else ()
        return replace(self._leave(payload, NOT_SMALLER), others=others)

    def _leave(self, payload: Payload, reason: str) -> Payload:
        self._settings.watch.count(f"compress.left.{reason}")
        return replace(payload, note=f"not compressed: {reason}")


Cells = tuple[int, int, int, int]


def _cells(image: Image) -> Cells:
    """What images of a series have to have in common, to tell each other anything: rows, columns, samples,
    bits stored."""
    return image.rows, image.columns, image.samples, image.stored


def _learnt_under(instance: Instance, method: Method, image: Image) -> Hashable:
    """What hints on an image's series are kept under."""
    return instance.series_instance_uid, method.name, *_cells(image)


def _changed_pixels(image: Image, encoded: Encoded, planned: Plan) -> dict[int, bytes | None]:
    """Changes of a header that do not depend on what the codestreams hold."""
    syntax = planned.lossless_syntax if encoded.setting is None else planned.syntax
    changes = pixel_changes(image, encoded.photometric, syntax)
    return changes | dict.fromkeys(OF_OTHER_FRAGMENTS)


def _noted(note: str, document: OpenImage) -> str:
    """A note on how an image was written, and on the pixels whose colours RGB has not."""
    cut_off = document.cut_off
    return "; ".join(filter(None, (note, f"to RGB: {cut_off} pixels cut off" if cut_off else "")))


def _cut_off(document: OpenImage) -> dict[str, Any]:
    """What is kept of an image that became RGB: its pixels whose colours RGB has not."""
    return {"cut_off": document.cut_off} if document.cut_off else {}


def _spared(planned: Plan, reason: str) -> Plan:
    """The plan of an image that turns out to be for lossless alone. Raises LeaveAsIs where that is no way."""
    if not planned.lossless_syntax:
        raise LeaveAsIs(reason)
    why = reason if planned.course is Course.LOSSY else planned.reason
    return replace(planned, course=Course.LOSSLESS, syntax=planned.lossless_syntax, reason=why)


def _as_before(planned: Plan, known: Mapping[str, Any], wish: Wish) -> Plan:
    """The plan of an image that was compressed before: the same course and method again."""
    if known.get("course") not in (Course.LOSSLESS, Course.LOSSY):
        return planned
    methods = {**METHODS, **{method.name: method for method in wish.methods}}
    method = methods.get(str(known.get("method")), planned.method)
    assert method is not None
    course, lossless = Course(known["course"]), planned.lossless_syntax
    if method is not planned.method:
        lossless = method.lossless
    syntax = method.lossy if course is Course.LOSSY else lossless
    return replace(
        planned,
        course=course,
        reason=str(known.get("reason", "")),
        method=method,
        syntax=syntax,
        lossless_syntax=lossless,
    )


def build(settings: Settings, config: CompressConfig, next: None) -> CompressStep:
    """The transform for a node."""
    return CompressStep(settings, config)


STAGE = Factory(
    "transform", "compress", CompressConfig, build, order=90, faults=unavailable, doubts=without_effect
)
