"""The `compress` step: pixels into JPEG 2000, without loss or at a ratio, verified before they leave.

Every frame that was encoded is decoded again and compared. A ratio counts against the native pixel data as
allocated, over all frames. When lossless reaches it, lossless is sent: same UID, no flags. A lossy image is
another image: it gets a new UID and says what was done to it. What the search chose is kept before the image
is sent, so that a retry makes the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Literal

from pydantic import Field, model_validator

from mapdr.dicom import tags
from mapdr.dicom.transfer_syntax import MAYBE_LOSSY, NATIVE
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, JPEG2000, JPEG2000_LOSSLESS
from mapdr.dicom.write import splice
from mapdr.kernel import budget
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance, Part, Payload, Treatment, total_length
from mapdr.kernel.stage import Factory, Settings, StageConfig
from mapdr.kernel.step import Changes, Memory, Phase, Reads
from mapdr.transform.codecs.jpeg2000 import METHOD
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.derive import (
    Loss,
    lossy_changes,
    new_uid,
    overlay_changes,
    pixel_changes,
    uid_changes,
)
from mapdr.transform.encode.frames import Encoded, FrameEncoder, Objection, Setting, frame_pool
from mapdr.transform.encode.icons import native_icons
from mapdr.transform.encode.policy import Course, Decision, decide, unsuited, untouchable
from mapdr.transform.encode.quality import Guard, Padding
from mapdr.transform.encode.search import Hints
from mapdr.transform.fragments import encapsulate
from mapdr.transform.image import Attributes, Image, LeaveAsIs, OutsideBitsStored

MET = 0.95
"""Share of the ratio at which it counts as met: the 5 % that are promised."""


class CompressConfig(StageConfig):
    """`compress = { to = "jpeg2000", ratio = 10, max_error = 16 }`

    `max_error` is in stored pixel values, `min_psnr` in dB against the frame's range without padding. When
    one of them fails, or the ratio cannot be met, `fallback` says what is sent: the lossless image, the
    original, or nothing (the image is parked). `exclude` names modalities or SOP class UIDs that are never
    made lossy. `color = "ybr"` has RGB transformed (YBR_RCT, YBR_ICT): a fifth smaller, and the only way for
    colour ultrasound, but not every receiver can show it (docs/decisions/0009).
    """

    to: Literal["jpeg2000", "jpeg2000-lossless"]
    ratio: float | None = Field(default=None, gt=1, le=1000)
    max_error: int | None = Field(default=None, ge=1)
    min_psnr: float | None = Field(default=None, gt=0)
    fallback: Literal["lossless", "park", "original"] = "lossless"
    exclude: tuple[str, ...] = ()
    color: Literal["rgb", "ybr"] = "rgb"

    @model_validator(mode="after")
    def _ratio_fits(self) -> CompressConfig:
        if self.to == "jpeg2000" and self.ratio is None:
            raise ValueError('to = "jpeg2000" needs a ratio, such as ratio = 10; or use "jpeg2000-lossless"')
        lossy_only = [key for key in ("ratio", "max_error", "min_psnr") if getattr(self, key) is not None]
        if self.to == "jpeg2000-lossless" and lossy_only:
            raise ValueError(f'"jpeg2000-lossless" takes no {lossy_only[0]}; remove it, or use "jpeg2000"')
        return self


class CompressStep:
    """The step; `encode` may run in many threads at once."""

    phase = Phase.ENCODE
    reads = Reads.FRAMES
    changes = Changes.HEADER | Changes.PIXELS | Changes.SYNTAX
    copies = 0

    def __init__(
        self, settings: Settings, config: CompressConfig, lossless_uid: str = JPEG2000_LOSSLESS
    ) -> None:
        """`lossless_uid` is the transfer syntax of what is compressed without loss."""
        self._settings = settings
        self._config = config
        self._lossless_uid = lossless_uid
        self._guard = Guard(config.max_error, config.min_psnr)
        self._pool = frame_pool(settings.workers)
        self._hints = Hints()

    def encode(self, document: OpenImage, instance: Instance, memory: Memory, syntax: str) -> Payload:
        """The compressed payload, or the document's with a `note` that says why it was left alone.

        Raises Permanent: "unreadable", "fragments", "codec", "codec-crash", "codec-mismatch", "quality".
        """
        if syntax not in ("", JPEG2000):
            return self._for_another(document, syntax)
        known = memory.recall() or {}
        if known.get("course") == Course.ORIGINAL:
            return self._leave(document.payload, str(known.get("reason", "")))
        try:
            try:
                result, facts = self._compress(document, instance, known)
            except OutsideBitsStored as outside:
                document.keep_whole_cells()
                result, facts = self._compress(document, instance, self._without_loss(outside.reason))
        except LeaveAsIs as left:
            facts = {"course": Course.ORIGINAL.value, "reason": left.reason}
            result = self._leave(document.payload, left.reason)
        if facts != known:
            memory.keep(facts)
        return result

    def _for_another(self, document: OpenImage, syntax: str) -> Payload:
        """The document's payload, and what the rule does not get if the receiver takes `syntax` alone."""
        try:
            decision = self._examine(document, {})
        except LeaveAsIs as left:
            return self._leave(document.payload, left.reason)
        if syntax == self._lossless_uid and decision.course is Course.LOSSLESS:
            return document.payload
        self._settings.watch.count("compress.refused")
        return replace(document.payload, unmet="compression-refused")

    def _without_loss(self, reason: str) -> dict[str, Any]:
        """Facts of an image that is to be compressed without loss, for `reason` if loss was asked for."""
        return _facts(Course.LOSSLESS, reason if self._config.to == "jpeg2000" else "")

    def _examine(self, document: OpenImage, known: Mapping[str, Any]) -> Decision:
        """What is to be done with an image. Raises LeaveAsIs."""
        payload, pixel = document.payload, document.data.pixel
        syntax = payload.transfer_syntax_uid
        if pixel is None:
            raise LeaveAsIs("no-pixels")
        if document.is_painted:
            syntax = EXPLICIT_VR_LITTLE_ENDIAN  # what was decoded, and changed, is like native pixels
        reason = untouchable(
            payload.sop_class_uid, syntax, document.attributes, Attributes(document.tail), pixel
        )
        if reason:
            raise LeaveAsIs(reason)
        if syntax not in NATIVE and not document.codecs.reads(syntax):
            raise LeaveAsIs("transfer-syntax")
        image = _image(document)
        takes = document.codecs.encoder(self._lossless_uid).takes
        transform_colour = self._config.color == "ybr"
        if reason := unsuited(image, payload.sop_class_uid, takes, transform_colour=transform_colour):
            raise LeaveAsIs(reason)
        decision = self._decide(document, known)
        if decision.course is Course.ORIGINAL:
            raise LeaveAsIs(decision.reason)
        return decision

    def _compress(
        self, document: OpenImage, instance: Instance, known: Mapping[str, Any]
    ) -> tuple[Payload, dict[str, Any]]:
        decision = self._examine(document, known)
        image, codecs = _image(document), document.codecs
        at_once = self._frames_at_once(image)
        budget.need(at_once * image.work_bytes + image.native_bytes // 2 + document.kept_bytes)
        encoder = FrameEncoder(
            (
                codecs.encoder(self._lossless_uid),
                codecs.lossy_encoder(JPEG2000) if self._config.ratio is not None else None,
            ),
            document.frames,
            self._pool,
            self._guard,
            Padding.of(image.attributes, image),
            transform_colour=self._config.color == "ybr",
            at_once=at_once,
        )
        encoded, facts = self._encode(encoder, decision, instance, known, image)
        if encoded.size >= document.source_bytes:
            raise LeaveAsIs("not-smaller")
        return self._assemble(document, encoded, facts.get("reason", "")), facts

    def _frames_at_once(self, image: Image) -> int:
        """As many as there are threads, unless they take more than a quarter of the node's memory."""
        fit = self._settings.memory // 4 // image.work_bytes
        return max(1, min(self._settings.workers, image.frames, fit))

    def _decide(self, document: OpenImage, known: Mapping[str, Any]) -> Decision:
        payload = document.payload
        if known.get("course") in (Course.LOSSLESS, Course.LOSSY):
            return Decision(Course(known["course"]), str(known.get("reason", "")))
        found = decide(
            _image(document),
            payload.sop_class_uid,
            "" if document.is_painted else payload.transfer_syntax_uid,
            self._lossless_uid,
            lossy=self._config.to == "jpeg2000",
            excluded=frozenset(self._config.exclude),
        )
        if document.is_painted and (
            found.course is Course.ORIGINAL or payload.transfer_syntax_uid in MAYBE_LOSSY
        ):
            # It cannot go as it came, and is not made lossy twice.
            lossy = self._config.to == "jpeg2000"
            return Decision(Course.LOSSLESS, found.reason or ("already-lossy" if lossy else ""))
        return found

    def _encode(
        self,
        encoder: FrameEncoder,
        decision: Decision,
        instance: Instance,
        known: Mapping[str, Any],
        image: Image,
    ) -> tuple[Encoded, dict[str, Any]]:
        """Encode by the decision, or exactly as `known` says that it was done before."""
        if decision.course is Course.LOSSLESS or self._config.ratio is None:
            return encoder.lossless(), _facts(Course.LOSSLESS, decision.reason)
        try:
            if "level" in known:
                setting = Setting(
                    float(known["level"]), bool(known.get("reversible")), int(known.get("resolutions", 0))
                )
                return encoder.lossy(setting), dict(known)
            key = (instance.series_instance_uid, image.rows, image.columns, image.samples, image.stored)
            encoded = encoder.to_ratio(self._config.ratio, MET, self._hints, key)
        except Objection as objection:
            return self._fall_back(encoder, objection.reason)
        if encoded.setting is None:
            return encoded, _facts(Course.LOSSLESS, "")
        return encoded, _facts(Course.LOSSY, "", encoded.setting)

    def _fall_back(self, encoder: FrameEncoder, reason: str) -> tuple[Encoded, dict[str, Any]]:
        self._settings.watch.count(f"compress.fallback.{reason}")
        if self._config.fallback == "park":
            raise Permanent(
                f"the lossy image fails its guard ({reason}); raise the limit, lower the ratio, or set "
                'fallback = "lossless"',
                reason="quality",
            )
        if self._config.fallback == "original":
            raise LeaveAsIs(reason)
        return encoder.lossless(), _facts(Course.LOSSLESS, reason)

    def _assemble(self, document: OpenImage, encoded: Encoded, reason: str) -> Payload:
        payload, whole = document.payload, document.shown.whole
        image = replace(document.image, attributes=document.told, whole=whole)
        uid, syntax = payload.sop_instance_uid, self._lossless_uid
        changes = pixel_changes(image, encoded.photometric)
        if payload.transfer_syntax_uid not in NATIVE:
            changes.update(native_icons(document))
        if image.overlays:
            changes.update(overlay_changes(document.frames))
        if encoded.setting is not None or document.pixels_changed:
            uid = new_uid(self._settings.site_key, payload.sop_instance_uid, encoded.frames)
            changes.update(uid_changes(uid))
        if encoded.setting is not None:
            syntax = JPEG2000
            loss = Loss(_image(document).native_bytes / encoded.size, METHOD, encoded.padding)
            changes.update(lossy_changes(image, loss, payload.sop_class_uid, payload.sop_instance_uid))
        tables, pixel_parts = encapsulate(encoded.frames)
        # A group length of the pixel data's group would lie now; it is retired (PS3.5 section 7.2).
        changes.update(
            dict.fromkeys(
                (tags.PIXEL_GROUP_LENGTH, tags.EXTENDED_OFFSET_TABLE, tags.EXTENDED_OFFSET_TABLE_LENGTHS)
            )
        )
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
            note=f"compressed without loss: {reason}" if reason else "",
        )

    def _leave(self, payload: Payload, reason: str) -> Payload:
        self._settings.watch.count(f"compress.left.{reason}")
        return replace(payload, note=f"not compressed: {reason}")


def _image(document: OpenImage) -> Image:
    """What there is to encode: what the cells of its frames hold. Raises LeaveAsIs."""
    try:
        return document.shown
    except Permanent as error:
        raise LeaveAsIs("photometric") from error


def _facts(course: Course, reason: str, setting: Setting | None = None) -> dict[str, Any]:
    facts: dict[str, Any] = {"course": course.value}
    if reason:
        facts["reason"] = reason
    if setting is not None:
        facts |= asdict(setting)
    return facts


def build(settings: Settings, config: CompressConfig, next: None) -> CompressStep:
    """The transform for a node."""
    return CompressStep(settings, config)


STAGE = Factory("transform", "compress", CompressConfig, build, order=90)
