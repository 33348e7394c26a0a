"""What will be done with an image, before a pixel of it is read: a pure function, and what it looks at.

`plan` takes what the header says (`Subject`), what the rule wants (`Wish`), what can be written here
(`Writers`) and what the receiver takes, and gives the course, the transfer syntax and the reason. Which SOP
classes are what stands in `mapdr.transform.encode.policy`.

An image may still turn out otherwise once its pixels are known, always to the safer side: lossless where that
meets the target, or where a guard fails; as it came where its values do not fit or nothing becomes smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from mapdr.dicom import uids
from mapdr.dicom.transfer_syntax import LOSSLESS_COMPRESSED, MAYBE_LOSSY, NATIVE, is_deflated
from mapdr.kernel.codec import FrameFormat, PixelRange
from mapdr.transform.encode.methods import Method
from mapdr.transform.encode.policy import (
    LIFTED,
    MAY_BE_LOSSY,
    NEVER_LOSSY,
    NEVER_TOUCHED,
    ONLY_TRANSFORMED,
    PHOTOMETRIC,
    RGB,
    WITH_YBR_FULL,
    YBR,
)
from mapdr.transform.rgb import may_be_rgb

REFUSED = "compression-refused"
"""The reason where the receiver takes none of the transfer syntaxes that the rule wants."""
ASKED = "asked-for"
"""The reason where the receiver takes no loss, but what one of the rule's methods writes without any."""
NO_CODEC = "no-codec"
"""The reason where nothing here writes what the rule wants: it is not sent otherwise, for that is no property
of the image."""


class Course(StrEnum):
    """What is done with an image; the values are kept in the index."""

    UNCHANGED = "original"
    """It leaves as it came."""
    LOSSLESS = "lossless"
    LOSSY = "lossy"
    REFUSE = "refuse"
    """It cannot leave: the receiver takes nothing that can be made of it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a plan knows of an image: its header, and whether its frames can be had here.

    `form` is that of its frames; None where there are none, or where the Image Pixel module is at `fault`.
    """

    sop_class_uid: str
    transfer_syntax_uid: str
    form: FrameFormat | None
    pixels: Literal["integer", "float", "none"] = "integer"
    modality: str = ""
    is_lossy: bool = False
    """Lossy Image Compression (0028,2110) is 01."""
    is_in_concatenation: bool = False
    """Other images hold the rest of its frames, and belong to it by its UIDs (PS3.3 C.7.6.16.2.2.4)."""
    is_multi_energy: bool = False
    has_signature: bool = False
    is_readable: bool = True
    """Its pixels are native, or a codec here decodes them."""
    is_painted: bool = False
    """Other steps change its pixels: it cannot leave as it came."""
    is_rgb: bool = False
    """It becomes RGB, which `form` says already: it cannot leave as it came."""
    was_deflated: bool = False
    """It came in a deflated transfer syntax; `transfer_syntax_uid` is what it was inflated to."""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a rule wants: methods, the best first, with loss or without.

    `transform_colour` has RGB written by the codec's component transform, `to_rgb` luminance and chrominance
    as RGB. `exclude` holds modalities and SOP class UIDs that it wants without loss; `allow` what it lifts of
    the reasons against loss (`policy.LIFTABLE`).
    """

    methods: tuple[Method, ...]
    lossy: bool = False
    transform_colour: bool = False
    to_rgb: bool = False
    exclude: frozenset[str] = frozenset()
    allow: frozenset[str] = frozenset()

    def lifts(self, reason: str) -> bool:
        """Whether the rule overrides a reason against loss."""
        return reason in self.allow or any(reason in LIFTED.get(word, ()) for word in self.allow)


@dataclass(frozen=True, slots=True)
class Writers:
    """Which frames can be written in which transfer syntax, without loss and with loss.

    `plugins` has what each plug-in writes by itself, by its name.
    """

    lossless: Mapping[str, PixelRange]
    lossy: Mapping[str, PixelRange]
    plugins: Mapping[str, Writers] = field(default_factory=dict)

    def of(self, method: Method) -> Writers:
        """Those that a method may use."""
        return self.plugins.get(method.codec, NOBODY) if method.codec else self


NOBODY = Writers({}, {})
"""Nothing is written."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done with an image, why (a short stable word; empty if it is what was asked for), and how.

    `method` is one of the rule's, None where none of them is used. `syntax` is the transfer syntax that the
    image leaves in; if a lossy course ends without loss, `lossless_syntax`, which is empty if the receiver
    takes no such one. `others` are the transfer syntaxes of the rule's other methods that would do as well,
    the best first. `to_rgb`: its luminance and chrominance become RGB before.
    """

    course: Course
    reason: str = ""
    method: Method | None = None
    syntax: str = ""
    lossless_syntax: str = ""
    others: tuple[str, ...] = ()
    to_rgb: bool = False


def plan(subject: Subject, wish: Wish, writers: Writers, accepts: Sequence[str] | None = None) -> Plan:
    """What will be done with an image whose receiver takes `accepts` (None where that is not known).

    The first of the rule's methods that takes the image and that the receiver takes is used; then the first
    that it takes without loss, for the reason `ASKED`. Where the receiver takes none of them, the pixels go
    without further loss in the first of `accepts` that they can be written in, with the reason `REFUSED` if
    the rule lacks something: its colours stay too.
    """
    recoloured = _recoloured(subject, wish)
    wished = list(_wished(recoloured, wish, writers))
    best = wished[0]
    if accepts is None:
        others = dict.fromkeys(each.syntax for each in wished[1:] if each.syntax != best.syntax)
        return replace(best, others=tuple(each for each in others if each))
    if best.course is Course.REFUSE:
        return best
    if best.course is Course.UNCHANGED:
        return _carried(subject, writers, accepts, best.reason)
    for each in wished:
        if each.method is not None and (found := _accepted(each, accepts)):
            return found
    for each in wished:
        if each.course is Course.LOSSY and (found := _without_loss(each, recoloured, wish, writers, accepts)):
            return found
    return _carried(subject, writers, accepts, REFUSED)


def _recoloured(subject: Subject, wish: Wish) -> Subject:
    """An image as the rule's methods get it: RGB, where that is wanted and can be."""
    form = subject.form
    if not wish.to_rgb or not subject.is_readable or form is None or not may_be_rgb(form):
        return subject
    return replace(subject, form=replace(form, photometric="RGB"), is_rgb=True)


def _wished(subject: Subject, wish: Wish, writers: Writers) -> Iterator[Plan]:
    """What each of the rule's methods would do, the best first; at the end that the image passes."""
    against = next(_against_loss(subject, wish), "") if wish.lossy else ""
    reasons: list[str] = []
    spoiled: list[Method] = []
    for method in wish.methods:
        lossy = wish.lossy and bool(method.lossy) and not against
        objection = _objection(subject, wish, method, writers, lossy=lossy)
        if not objection:
            yield _by(subject, writers, method, against if method.lossy else "", lossy=lossy)
            continue
        reasons.append(objection)
        if lossy:
            spoiled.append(method)
    for method in spoiled:
        # What a codec cannot write with loss, it may write without.
        if not _objection(subject, wish, method, writers, lossy=False):
            yield _by(subject, writers, method, reasons[0], lossy=False)
    if NO_CODEC in reasons:
        yield Plan(Course.REFUSE, NO_CODEC)
    else:
        yield Plan(Course.UNCHANGED, reasons[0] if reasons else "")


def _by(subject: Subject, writers: Writers, method: Method, reason: str, *, lossy: bool) -> Plan:
    """What a method does with an image that it takes."""
    if lossy:
        takes = writers.of(method).lossless.get(method.lossless)
        spared = takes is not None and subject.form is not None and takes.holds(subject.form)
        lossless = method.lossless if spared else ""
        return Plan(Course.LOSSY, "", method, method.lossy, lossless, to_rgb=subject.is_rgb)
    if _is_there(subject, method):
        return Plan(Course.UNCHANGED, reason or "already-compressed")
    return Plan(Course.LOSSLESS, reason, method, method.lossless, method.lossless, to_rgb=subject.is_rgb)


def _is_there(subject: Subject, method: Method) -> bool:
    """Whether an image came in what a method writes without loss, and may leave so."""
    if subject.is_painted or subject.is_rgb:
        return False
    if method.lossless == uids.EXPLICIT_VR_LITTLE_ENDIAN:
        return subject.transfer_syntax_uid in NATIVE and not subject.was_deflated
    if method.lossless == uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return subject.was_deflated
    return subject.transfer_syntax_uid == method.lossless


def _accepted(found: Plan, accepts: Sequence[str]) -> Plan | None:
    """A plan in the transfer syntaxes that a receiver takes; None where it takes none of the method's."""
    method = found.method
    assert method is not None
    if method.lossless == uids.EXPLICIT_VR_LITTLE_ENDIAN:
        native = next((each for each in accepts if each in NATIVE and not is_deflated(each)), "")
        return replace(found, syntax=native, lossless_syntax=native) if native else None
    lossless = found.lossless_syntax if found.lossless_syntax in accepts else ""
    if found.lossless_syntax and not lossless and method.both and method.lossy in accepts:
        lossless = method.lossy
    syntax = method.lossy if found.course is Course.LOSSY else lossless
    return replace(found, syntax=syntax, lossless_syntax=lossless) if syntax in accepts else None


def _without_loss(
    found: Plan, subject: Subject, wish: Wish, writers: Writers, accepts: Sequence[str]
) -> Plan | None:
    """What the method of a plan with loss does for a receiver that takes what it writes without; None where
    it takes neither, or the method does not write the image so."""
    method = found.method
    assert method is not None
    if method.lossless not in accepts or _objection(subject, wish, method, writers, lossy=False):
        return None
    made = _by(subject, writers, method, "", lossy=False)
    return replace(made, reason=made.reason or ASKED, syntax=method.lossless)


def _against_loss(subject: Subject, wish: Wish) -> Iterator[str]:
    """Why an image must not lose anything, but for what the rule lifts."""
    sop_class, form = subject.sop_class_uid, subject.form
    if sop_class in wish.exclude or subject.modality in wish.exclude:
        yield "excluded"
    reasons = (
        ("already-lossy", subject.is_painted and subject.is_lossy),
        (NEVER_LOSSY.get(sop_class, ""), sop_class in NEVER_LOSSY),
        ("palette", form is not None and form.photometric == "PALETTE COLOR"),
        ("multi-energy", subject.is_multi_energy),
        ("concatenation", subject.is_in_concatenation),
        ("already-lossy", subject.is_painted and subject.transfer_syntax_uid in MAYBE_LOSSY),
    )
    for reason, holds in reasons:
        if holds and not wish.lifts(reason):
            yield reason


def _objection(subject: Subject, wish: Wish, method: Method, writers: Writers, *, lossy: bool) -> str:
    """Why a method leaves an image alone, or an empty string."""
    if method.way == "data-set":
        return _data_set_objection(subject, method) or _stays_ybr(subject, wish)
    if method.way == "jpeg":
        return _untouchable(subject, wish, relays_loss=True) or _no_jpeg(subject, method)
    if objection := _untouchable(subject, wish) or subject.fault:
        return objection
    if not subject.is_readable:
        return "transfer-syntax"
    if objection := _stays_ybr(subject, wish):
        return objection
    assert subject.form is not None
    target, own = method.lossy if lossy else method.lossless, writers.of(method)
    if not target and method.lossy:
        return "only-with-loss"
    again = wish.lossy and bool(method.lossy) and subject.is_lossy and not subject.is_painted
    if again and not wish.lifts("already-lossy"):
        return "already-lossy"  # whoever would write it
    takes = (own.lossy if lossy else own.lossless).get(target)
    if takes is None:
        return NO_CODEC
    if subject.form.photometric == "YBR_FULL" and target not in WITH_YBR_FULL:
        return "photometric"
    return _unsuited(subject.form, subject.sop_class_uid, takes, method, wish)


def _stays_ybr(subject: Subject, wish: Wish) -> str:
    """Why an image cannot become RGB that the rule wants so, or an empty string."""
    form = subject.form
    is_ybr = form is not None and form.samples == 3 and form.photometric.startswith(YBR)
    return "no-rgb" if wish.to_rgb and is_ybr and not subject.is_rgb else ""


def _no_jpeg(subject: Subject, method: Method) -> str:
    """Why an image cannot be recompressed, or an empty string where it can, or is so already."""
    of_jpeg = (uids.JPEG_BASELINE, method.lossless)
    if subject.is_painted or subject.transfer_syntax_uid not in of_jpeg:
        return "not-jpeg"
    return subject.fault


def _untouchable(subject: Subject, wish: Wish, *, relays_loss: bool = False) -> str:
    """Why no codec may have a data set: what can be told without the Image Pixel module.

    `relays_loss`: what was lossy before stays exactly so.
    """
    if subject.pixels != "integer":
        return "no-pixels" if subject.pixels == "none" else "float-pixels"
    if subject.has_signature:
        return "digital-signature"
    sop_class, syntax = subject.sop_class_uid, subject.transfer_syntax_uid
    why = NEVER_TOUCHED.get(sop_class, "")
    if not why and sop_class not in MAY_BE_LOSSY and sop_class not in NEVER_LOSSY:
        why = "unknown-sop-class"
    if why and not wish.lifts(why):
        return why
    if subject.is_painted or relays_loss:
        return ""
    if syntax in MAYBE_LOSSY:
        return "" if wish.lifts("already-lossy") else "already-lossy"
    return "" if syntax in NATIVE or syntax in LOSSLESS_COMPRESSED else "transfer-syntax"


def _unsuited(form: FrameFormat, sop_class_uid: str, takes: PixelRange, method: Method, wish: Wish) -> str:
    """Why the pixels cannot be taken by a codec, which `takes` so much, or an empty string."""
    if 1 in (form.allocated, form.stored) and not takes.holds(form):
        return "one-bit"
    if form.allocated not in takes.allocated:
        return "bits-allocated"
    if PHOTOMETRIC.get(form.photometric) != form.samples:
        return "photometric"
    if form.photometric == "PALETTE COLOR" and form.signed:
        return "photometric"
    if method.is_wavelet and form.photometric in RGB and not wish.transform_colour:
        return ONLY_TRANSFORMED.get(sop_class_uid, "")
    return "" if takes.holds(form) else "pixel-format"


def _data_set_objection(subject: Subject, method: Method) -> str:
    """Why a data set is not deflated, or not decompressed; an empty string where it is, or is so already."""
    if subject.has_signature:
        return "digital-signature"
    if subject.transfer_syntax_uid in NATIVE:
        return ""
    if method.lossless != uids.EXPLICIT_VR_LITTLE_ENDIAN and not (subject.is_painted or subject.is_rgb):
        return "already-compressed"
    return _no_frames(subject)


def _no_frames(subject: Subject) -> str:
    """Why encapsulated pixels cannot be decompressed, or an empty string."""
    if subject.pixels != "integer":
        return "no-pixels"
    if not subject.is_readable:
        return "transfer-syntax"
    if subject.form is None:
        return subject.fault
    return "" if subject.form.allocated in (8, 16, 32) else "bits-allocated"


def _carried(subject: Subject, writers: Writers, accepts: Sequence[str], reason: str) -> Plan:
    """How an image gets to its receiver without the rule's methods: as it came, or without further loss."""
    came = subject.transfer_syntax_uid
    if subject.was_deflated:
        came = uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
    if came in accepts and not subject.is_painted:
        return Plan(Course.UNCHANGED, reason, syntax=came)
    for syntax in accepts:
        if syntax in NATIVE:
            objection = "" if subject.transfer_syntax_uid in NATIVE else _no_frames(subject)
        else:
            method = Method("", "", syntax)
            wish = Wish((method,), transform_colour=True)
            objection = _objection(subject, wish, method, writers, lossy=False)
        if not objection:
            return Plan(Course.LOSSLESS, reason, syntax=syntax, lossless_syntax=syntax)
    return Plan(Course.REFUSE, reason or "syntax")
