"""The table `compress` of a rule: which methods, what they aim at, and what stops them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mapdr.kernel.finding import Finding, instead
from mapdr.kernel.stage import StageConfig
from mapdr.transform.encode.methods import AUTO, METHODS, Method, Name
from mapdr.transform.encode.named import is_known, lacking, methods_named, plugin_names
from mapdr.transform.encode.plan import Wish
from mapdr.transform.encode.policy import LIFTABLE, LIFTED

TARGETS = ("ratio", "psnr", "max_error", "near")
"""What a lossy method may aim at; `max_error` beside `ratio` or `psnr` is a limit."""
LIMITS = ("min_psnr", "min_ssim")
"""What a lossy image must keep, whatever it was aimed at."""

_MODALITY = re.compile(r"[A-Z0-9_ ]{1,16}")
"""A CS (PS3.5 table 6.2-1)."""
_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)+")


class CompressConfig(StageConfig):
    """`compress = { to = ["htj2k", "jpeg2000"], ratio = 10, max_error = 16 }`

    `to` is one method or several, the best first: the first that takes the image and that its receiver
    takes. A codec of a plug-in has the name of its entry point. "auto" stands for all of `AUTO_METHODS`
    that can be written here, and sends the images of a series alike: without loss where they meet the ratio
    so together. Lossy methods need one target: `ratio` counts against the native pixel data as allocated,
    `psnr` is in dB against the frame's range without padding, `max_error` and `near` (for JPEG-LS) in stored
    pixel values; or `lossless = true`. A limit that fails (`max_error` beside `ratio` or `psnr`, `min_psnr`,
    `min_ssim`), or a target that cannot be met, has `fallback` sent: the lossless image, the original, or
    nothing (the image is parked). `exclude` names modalities or SOP class UIDs that are never made lossy,
    `allow` reasons against loss that do not count for this rule (docs/compression.md). `color = "ybr"` has
    RGB transformed (YBR_RCT, YBR_ICT): a fifth smaller, and the only way for colour ultrasound in JPEG 2000
    and HTJ2K, but not every receiver can show it (docs/decisions/0009). `ybr_to_rgb` has luminance and
    chrominance (YBR_FULL, YBR_FULL_422) converted to RGB (docs/decisions/0100).
    """

    to: Name | str | tuple[Name | str, ...]
    ratio: float | None = Field(default=None, gt=1, le=1000)
    psnr: float | None = Field(default=None, gt=0, le=200)
    max_error: int | None = Field(default=None, ge=1)
    near: int | None = Field(default=None, ge=1, le=255)
    lossless: bool = False
    min_psnr: float | None = Field(default=None, gt=0)
    min_ssim: float | None = Field(default=None, gt=0, le=1)
    fallback: Literal["lossless", "park", "original"] = "lossless"
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    color: Literal["rgb", "ybr"] = "rgb"
    ybr_to_rgb: bool = False

    @field_validator("to", mode="before")
    @classmethod
    def _known_methods(cls, value: Any) -> Any:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError('is no method; write one, such as "jpeg2000", or a list of several')
        if not names:
            raise ValueError('is an empty list; write one method at least, such as "jpeg2000"')
        for name in names:
            if name == AUTO and len(names) > 1:
                raise ValueError('has "auto" beside others, which it chooses itself; write to = "auto"')
            if not is_known(name):
                raise ValueError(
                    f"is not one of the methods; {instead(name, (AUTO, *METHODS, *plugin_names()))}"
                )
        if len(set(names)) < len(names):
            raise ValueError("names a method twice; leave one of them out")
        return value

    @field_validator("exclude")
    @classmethod
    def _may_stand_in_an_image(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            if not (_MODALITY.fullmatch(word) or _UID.fullmatch(word)):
                meant = word.upper() if _MODALITY.fullmatch(word.upper()) else "MG"
                raise ValueError(
                    f'has what is no modality and no SOP class UID; write such as "{meant}", or the UID'
                )
        return value

    @field_validator("allow")
    @classmethod
    def _known_reasons(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            if word not in LIFTABLE and word not in LIFTED:
                raise ValueError(f"has a word that lifts nothing; {instead(word, (*LIFTED, *LIFTABLE))}")
        return value

    @model_validator(mode="after")
    def _targets_fit(self) -> CompressConfig:
        asked = [key for key in TARGETS if getattr(self, key) is not None]
        limits = [key for key in LIMITS if getattr(self, key) is not None]
        named = " and ".join(f'"{name}"' for name in self.names)
        methods = self.methods
        if not all(method.lossless or method.lossy for method in methods):
            return self  # a plug-in that is unavailable: `unavailable` says so
        if self.ybr_to_rgb and all(method.way == "jpeg" for method in methods):
            raise ValueError(f"{named} keeps a JPEG as it is; remove ybr_to_rgb, or name another method")
        if self.lossless and (lossy := next((each.name for each in methods if not each.lossless), "")):
            raise ValueError(
                f'"{lossy}" always loses something; remove lossless = true, or name another method'
            )
        if self.lossless or not any(method.lossy for method in methods):
            if asked or limits:
                key = (asked + limits)[0]
                why = "lossless = true" if self.lossless else named
                raise ValueError(f"{why} takes no {key}; remove it, or name a method with loss")
            return self
        if not self.target:
            raise ValueError(
                f"{named} needs a ratio, such as ratio = 10, a psnr, or a max_error; or lossless = true"
            )
        rivals = [key for key in asked if key != "max_error"]
        if len(rivals) > 1:
            raise ValueError(f"aims at {' and '.join(rivals)} at once; keep one of them")
        if self.near is not None:
            if self.max_error is not None:
                raise ValueError("near is a greatest error by itself; remove max_error")
            if others := [each.name for each in self.methods if each.lossy and each.name != "jpegls-near"]:
                other = AUTO if self.is_auto else others[0]
                raise ValueError(f'near is for "jpegls-near"; use max_error for "{other}"')
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the methods, as the rule has them."""
        return (self.to,) if isinstance(self.to, str) else self.to

    @property
    def is_auto(self) -> bool:
        """Whether the methods are chosen here."""
        return AUTO in self.names

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods, the best first; of "auto" all, be they written here or not."""
        return methods_named(self.names)

    @property
    def target(self) -> str:
        """What a lossy method aims at; empty for an image that must lose nothing."""
        if self.lossless:
            return ""
        order = ("ratio", "psnr", "near", "max_error")
        return next((key for key in order if getattr(self, key) is not None), "")

    @property
    def wish(self) -> Wish:
        """What of it a plan looks at; of "auto" the methods that can be written here."""
        methods = self.methods
        if self.is_auto:
            methods = tuple(method for method in methods if not lacking(method.name))
        return Wish(
            methods,
            lossy=bool(self.target),
            transform_colour=self.color == "ybr",
            to_rgb=self.ybr_to_rgb,
            exclude=frozenset(self.exclude),
            allow=frozenset(self.allow),
        )


def without_effect(config: CompressConfig) -> Iterator[Finding]:
    """What a rule says, other than the defaults, that changes nothing by the methods that it names."""
    named = " and ".join(f'"{name}"' for name in config.names)
    if config.color != "rgb" and not any(method.is_wavelet for method in config.methods):
        what = f"has no effect on {named}: it is for JPEG 2000 and HTJ2K"
        yield Finding(("color",), what, "remove it, or name one of those methods")
    if config.target:
        return
    recompresses = any(method.way == "jpeg" for method in config.methods)
    if config.fallback != "lossless" and not recompresses:
        what = "has no effect: without loss no limit can fail"
        yield Finding(("fallback",), what, "remove it, or name a method and a target with loss")
    if config.exclude:
        what = "has no effect: nothing is compressed with loss"
        yield Finding(("exclude",), what, "remove it; to leave images as they came, use the rule's when")


def unavailable(config: CompressConfig) -> Iterator[Finding]:
    """The methods of a rule that no codec here writes, and why."""
    if config.is_auto:
        reasons = [lacking(method.name) for method in config.methods]
        if all(reasons):
            yield Finding(("to",), f'"{AUTO}" is unavailable, because {reasons[0]}', "name a method")
        return
    for index, name in enumerate(config.names):
        why = lacking(name)
        if why:
            place = ("to",) if isinstance(config.to, str) else ("to", index)
            yield Finding(place, f'"{name}" is unavailable, because {why}', "name another method")
