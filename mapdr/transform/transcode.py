"""The `compress` step: pixels into JPEG 2000, without loss or at a ratio, verified before they leave.

Every frame that was encoded is decoded again and compared. A ratio counts against the native pixel data as
allocated, over all frames. When lossless reaches it, lossless is sent: same UID, no flags. A lossy image is
another image: it gets a new UID and says what was done to it. What the search chose is kept before the image
is sent, so that a retry makes the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Literal

from pydantic import Field, model_validator

from mapdr.dicom.transfer_syntax import NATIVE
from mapdr.dicom.uids import JPEG2000, JPEG2000_LOSSLESS, derived_uid
from mapdr.dicom.write import splice
from mapdr.kernel import budget
from mapdr.kernel.codec import Encoder
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance, Part, Payload, Treatment, total_length
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Factory, Memory, Settings, StageConfig
from mapdr.transform.codecs.foreign import KEEP, foreign_frames
from mapdr.transform.codecs.jpeg2000 import METHOD
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.dataset import DataSet
from mapdr.transform.derive import Loss, lossy_changes, overlay_changes, pixel_changes
from mapdr.transform.encoding import Encoded, FrameEncoder, Objection, Setting, frame_pool
from mapdr.transform.fragments import encapsulate
from mapdr.transform.image import Attributes, Frames, Image, LeaveAsIs, NativeFrames
from mapdr.transform.policy import Course, Decision, decide, unsuited, untouchable
from mapdr.transform.quality import Guard, Padding
from mapdr.transform.search import Hints

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


class Transcoder:
    """The transform; `apply` may run in many threads at once."""

    says_need = True

    def __init__(self, settings: Settings, config: CompressConfig) -> None:
        self._settings = settings
        self._config = config
        self._codecs = Codecs(Registry(), settings)
        self._guard = Guard(config.max_error, config.min_psnr)
        self._pool = frame_pool(settings.workers)
        self._hints = Hints()

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
        """The compressed payload, or the same one with a `note` that says why it was left alone.

        Raises Permanent: "unreadable", "fragments", "codec", "codec-crash", "codec-mismatch", "quality".
        """
        known = memory.recall() or {}
        if known.get("course") == Course.ORIGINAL:
            return self._leave(payload, str(known.get("reason", "")))
        try:
            with DataSet(payload) as data:
                result, facts = self._compress(data, instance, known)
        except LeaveAsIs as left:
            facts = {"course": Course.ORIGINAL.value, "reason": left.reason}
            result = self._leave(payload, left.reason)
        if facts != known:
            memory.keep(facts)
        return result

    def apply_for(self, payload: Payload, instance: Instance, memory: Memory, syntax: str) -> Payload:
        """See `mapdr.kernel.stage.Encodes`: only the encoding gives way: the step does nothing else."""
        if syntax == JPEG2000:
            return self.apply(payload, instance, memory)
        try:
            with DataSet(payload) as data:
                _, decision, _ = self._examine(data, {})
        except LeaveAsIs as left:
            return self._leave(payload, left.reason)
        if syntax == JPEG2000_LOSSLESS and decision.course is Course.LOSSLESS:
            return payload
        self._settings.watch.count("compress.refused")
        return replace(payload, unmet="compression-refused")

    @property
    def _encoder(self) -> Encoder:
        return self._codecs.encoder(JPEG2000_LOSSLESS)

    def _examine(self, data: DataSet, known: Mapping[str, Any]) -> tuple[Image, Decision, bytes]:
        """The image, what is to be done with it, and what stands behind its pixels. Raises LeaveAsIs."""
        payload = data.payload
        syntax = payload.transfer_syntax_uid
        if data.pixel is None:
            raise LeaveAsIs("no-pixels")
        attributes = Attributes(data.header())
        tail = data.tail(attributes.header)
        reason = untouchable(payload.sop_class_uid, syntax, attributes, Attributes(tail), data.pixel)
        if reason:
            raise LeaveAsIs(reason)
        image = Image.of(attributes)
        if syntax not in NATIVE and not self._codecs.reads(syntax):
            raise LeaveAsIs("transfer-syntax")
        takes, transform_colour = self._encoder.takes, self._config.color == "ybr"
        if reason := unsuited(image, payload.sop_class_uid, takes, transform_colour=transform_colour):
            raise LeaveAsIs(reason)
        decision = self._decide(image, payload, known)
        if decision.course is Course.ORIGINAL:
            raise LeaveAsIs(decision.reason)
        return image, decision, tail

    def _compress(
        self, data: DataSet, instance: Instance, known: Mapping[str, Any]
    ) -> tuple[Payload, dict[str, Any]]:
        payload = data.payload
        syntax = payload.transfer_syntax_uid
        image, decision, tail = self._examine(data, known)
        assert data.pixel is not None
        native = syntax in NATIVE
        at_once = self._frames_at_once(image)
        kept = 0 if native else min(KEEP, image.native_bytes)
        budget.need(at_once * image.work_bytes + image.native_bytes // 2 + kept)
        frames: Frames
        if native:
            frames = NativeFrames(image, data.view, data.pixel, big_endian=data.encoding.big)
        else:
            decoder = self._codecs.decoder(syntax)
            frames = foreign_frames(image, data.view, data.pixel, decoder, self._settings.workers)
        source_bytes = image.native_bytes if native else data.pixel.end - data.pixel.value
        encoder = FrameEncoder(
            (self._encoder, self._codecs.lossy_encoder(JPEG2000)),
            frames,
            self._pool,
            self._guard,
            Padding.of(image.attributes, image),
            transform_colour=self._config.color == "ybr",
            at_once=at_once,
        )
        encoded, facts = self._encode(encoder, decision, instance, known, frames)
        if encoded.size >= source_bytes:
            raise LeaveAsIs("not-smaller")
        return self._assemble(payload, frames, encoded, tail, facts.get("reason", "")), facts

    def _frames_at_once(self, image: Image) -> int:
        """As many as there are threads, unless they take more than a quarter of the node's memory."""
        fit = self._settings.memory // 4 // image.work_bytes
        return max(1, min(self._settings.workers, image.frames, fit))

    def _decide(self, image: Image, payload: Payload, known: Mapping[str, Any]) -> Decision:
        if known.get("course") in (Course.LOSSLESS, Course.LOSSY):
            return Decision(Course(known["course"]), str(known.get("reason", "")))
        return decide(
            image,
            payload.sop_class_uid,
            payload.transfer_syntax_uid,
            JPEG2000_LOSSLESS,
            lossy=self._config.to == "jpeg2000",
            excluded=frozenset(self._config.exclude),
        )

    def _encode(
        self,
        encoder: FrameEncoder,
        decision: Decision,
        instance: Instance,
        known: Mapping[str, Any],
        frames: Frames,
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
            image = frames.image
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

    def _assemble(
        self, payload: Payload, frames: Frames, encoded: Encoded, tail: bytes, reason: str
    ) -> Payload:
        image = frames.image
        uid, syntax = payload.sop_instance_uid, JPEG2000_LOSSLESS
        changes = pixel_changes(image, encoded.photometric)
        if image.overlays:
            changes.update(overlay_changes(image, frames.cells(0)))
        if encoded.setting is not None:
            syntax = JPEG2000
            uid = derived_uid(self._settings.site_key, payload.sop_instance_uid, _digest(encoded.frames))
            loss = Loss(image.native_bytes / encoded.size, METHOD, encoded.padding)
            changes.update(lossy_changes(image, loss, payload.sop_class_uid, payload.sop_instance_uid, uid))
        tables, pixel_parts = encapsulate(encoded.frames)
        # A group length of the pixel data's group would lie now; it is retired (PS3.5 section 7.2).
        changes.update(dict.fromkeys((0x7FE00000, 0x7FE00001, 0x7FE00002)))
        parts: tuple[Part, ...] = (splice(image.attributes.header, changes) + tables, *pixel_parts, tail)
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


def _facts(course: Course, reason: str, setting: Setting | None = None) -> dict[str, Any]:
    facts: dict[str, Any] = {"course": course.value}
    if reason:
        facts["reason"] = reason
    if setting is not None:
        facts |= asdict(setting)
    return facts


def _digest(frames: list[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    for frame in frames:
        digest.update(len(frame).to_bytes(8, "little"))
        digest.update(frame)
    return digest.digest()


def build(settings: Settings, config: CompressConfig, next: None) -> Transcoder:
    """The transform for a node."""
    return Transcoder(settings, config)


STAGE = Factory("transform", "compress", CompressConfig, build, order=90)
