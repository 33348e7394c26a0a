"""The `deidentify` step: PS3.15 Annex E, before or behind the edits of `tags`.

Pixel data is not read, but for what its codestreams say beside their pixels
(`mapdr.transform.header.codestreams`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

import mapdr
from mapdr._fast.scan_tables import ODD_LENGTH
from mapdr.config.secret import Secret
from mapdr.config.units import LocalPath
from mapdr.dicom.deidentify.header import Deidentified, Deidentifier, Pseudonyms
from mapdr.dicom.deidentify.keys import Key, parse_key, project_key
from mapdr.dicom.deidentify.marks import MARKS, method_text
from mapdr.dicom.deidentify.table import Option
from mapdr.dicom.scan import Layout, deflate_pieces, layout
from mapdr.dicom.transfer_syntax import is_deflated
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from mapdr.dicom.write import UNDEFINED, Element, encoding_from
from mapdr.kernel import budget
from mapdr.kernel.errors import ConfigurationError, Permanent
from mapdr.kernel.finding import Finding, instead
from mapdr.kernel.item import Instance, Part, Payload, TagPath, Treatment, is_uid, total_length
from mapdr.kernel.stage import Factory, Settings, StageConfig
from mapdr.kernel.step import Changes, Memory, Phase, Reads
from mapdr.transform.dataset import COPIES, inflated
from mapdr.transform.even import even_pixels
from mapdr.transform.header.codestreams import silenced
from mapdr.transform.header.fingerprint import refuse_another
from mapdr.transform.header.pseudonym_file import read_pseudonyms
from mapdr.transform.header.pseudonyms import Emptied, FromFile, Generated
from mapdr.transform.pixels.blank import BlankStep
from mapdr.transform.pixels.entries import Entries, FromRegionFiles
from mapdr.transform.pixels.regions import RegionSet
from mapdr.transform.view import PartsView


class PseudonymFile(StageConfig):
    """`pseudonyms = { file = "patients.csv", unknown = "park" }`: pseudonyms from a file."""

    file: LocalPath
    unknown: Literal["park", "next"] = "park"
    prefix: str = Field(default="P", max_length=32, pattern=r"^[A-Za-z0-9_.-]*$")


class DeidentifyConfig(FromRegionFiles):
    """`deidentify = { profile = "basic", options = [...], key = "file:...", pseudonyms = ... }`.

    `dates` is how the option modified-dates modifies them, `age_limit` the highest age in years that the
    option retain-patient-characteristics keeps as it is. `regions` is what the option clean-pixel-data
    blanks: entries as those of `blank`.
    """

    profile: Literal["basic"]
    options: tuple[str, ...] = ()
    key: Secret | None = None
    pseudonyms: Literal["generated", "none"] | PseudonymFile = "generated"
    tags: Literal["after", "before"] = "after"
    dates: Literal["shift", "year"] = "shift"
    age_limit: int | None = Field(default=None, ge=1, le=998)
    regions: Entries | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_table(cls, raw: Any) -> Any:
        if isinstance(raw, bool | str | list):
            raise ValueError('is not a table; write { profile = "basic" }')
        return raw

    @field_validator("pseudonyms", mode="before")
    @classmethod
    def _is_no_file(cls, raw: Any) -> Any:
        if isinstance(raw, str) and raw not in ("generated", "none"):
            raise ValueError('is neither "generated" nor "none"; name a file with { file = "patients.csv" }')
        return raw

    @model_validator(mode="after")
    def _of_an_option(self) -> DeidentifyConfig:
        if self.dates == "year" and Option.MODIFIED_DATES not in self.options:
            raise ValueError(
                'dates = "year" says how dates are modified; add the option "modified-dates", or leave it out'
            )
        if self.age_limit is not None and Option.RETAIN_PATIENT_CHARACTERISTICS not in self.options:
            raise ValueError(
                'age_limit is for ages that are kept; add the option "retain-patient-characteristics", '
                "or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _regions_for_pixels(self) -> DeidentifyConfig:
        if (Option.CLEAN_PIXEL_DATA in self.options) != (self.regions is not None):
            raise ValueError(
                'the option "clean-pixel-data" and `regions`, which say what is blanked, go together; '
                'write both: options = ["clean-pixel-data"], regions = ["ultrasound"]'
            )
        if self.regions is not None and self.tags == "before":
            # What covers is asked of this step's header, what is blanked of the image as it was received:
            # edits between them could let an image through of which nothing is blanked.
            raise ValueError(
                'regions go by the image as it was received; leave out tags = "before", or the regions'
            )
        return self

    @field_validator("options")
    @classmethod
    def _options(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if option in ("recognisable-visual-features", "clean-recognizable-visual-features"):
                raise ValueError(
                    "is not offered here, for nothing here can make a face unrecognizable, and an image that "
                    "says so and shows one is worse than none; leave the option out"
                )
            if option not in set(Option):
                raise ValueError(f'there is no option "{option}"; {instead(option, list(Option))}')
        if {Option.FULL_DATES, Option.MODIFIED_DATES} <= set(options):
            raise ValueError("full-dates and modified-dates contradict each other; leave out one of them")
        return tuple(sorted(set(options)))

    @model_validator(mode="after")
    def _whole_path(self) -> DeidentifyConfig:
        """A key's file by its whole path: a recipe outlives the folder that it was written beside."""
        if self.key is not None and self.key.file is not None:
            whole = Secret(f"file:{os.path.abspath(self.key.file)}")
            object.__setattr__(self, "key", whole)
        return self


class DeidentifyStep:
    """The transform; keeps no state but the file of pseudonyms as it was read last."""

    phase = Phase.HEADER
    reads = Reads.CODESTREAMS
    changes = Changes.HEADER
    copies = 0

    def __init__(self, deidentifier: Deidentifier, regions: RegionSet | None = None) -> None:
        """`regions` are those of the option clean-pixel-data."""
        self._deidentifier = deidentifier
        self._regions = regions

    @property
    def brings(self) -> BlankStep | None:
        """The step that blanks the regions."""
        return None if self._regions is None else BlankStep(self._regions, parks=False)

    def account(self, path: TagPath, instance: Instance) -> str:
        """Which row of the standard's table an element was changed by: `mapdr.kernel.step.Accounts`."""
        tag = path[-1]
        return "PS3.15, E.1.1" if tag in MARKS else self._deidentifier.profile.row(tag)

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
        """The de-identified payload, never the same one. Raises as `Deidentifier.apply`."""
        if is_deflated(payload.transfer_syntax_uid):
            data = inflated(payload)
            budget.need(2 * payload.length)  # what is deflated, and there twice while it is put together
            done, parts = self._parts((data,), EXPLICIT_VR_LITTLE_ENDIAN)
            chunks = replace(payload, parts=parts, length=total_length(parts)).chunks()
            return self._changed(payload, done, (deflate_pieces(chunks),))
        return self._changed(payload, *self._parts(payload.parts, payload.transfer_syntax_uid))

    def _parts(self, parts: tuple[Part, ...], syntax: str) -> tuple[Deidentified, tuple[Part, ...]]:
        if len(parts) > 1:
            budget.need(total_length(parts))  # the buffer is a copy then
        with PartsView(parts) as view:
            with view.buffer() as buffer:
                where = layout(buffer, syntax)
            budget.need(COPIES * (where.size - (where.pixel_end - where.header_end)))
            header = view[: where.header_end]
            tail = None if where.pixels is None else view[where.pixel_end : where.size]
            done = self._deidentifier.apply(
                header,
                tail,
                syntax,
                tail_at=where.pixel_end,
                is_covered=self._regions is not None and self._regions.covers(header, syntax),
            )
            silent = silenced(view, where, syntax, done.frame_bits)
            if silent is None:
                return done, _around_pixels(done, view, where)
        with PartsView(silent) as view:
            return done, _around_pixels(done, view, where)

    def _changed(self, payload: Payload, done: Deidentified, parts: tuple[Part, ...]) -> Payload:
        uid = self._deidentifier.uid
        return replace(
            payload,
            # A data set without UIDs goes by those of its association (docs/decisions/0003).
            sop_class_uid=done.sop_class_uid if is_uid(done.sop_class_uid) else payload.sop_class_uid,
            sop_instance_uid=done.sop_instance_uid or uid(payload.sop_instance_uid),
            study_instance_uid=done.study_instance_uid or uid(payload.study_instance_uid),
            series_instance_uid=done.series_instance_uid or uid(payload.series_instance_uid),
            parts=parts,
            length=total_length(parts),
            treatment=Treatment.EDITED,
        )


def _around_pixels(done: Deidentified, view: PartsView, where: Layout) -> tuple[Part, ...]:
    """The new header and tail with the pixel data as it is, even where that alone was odd."""
    if where.pixels is None:
        return (done.header,)
    if where.remarks & ODD_LENGTH and not where.truncated:
        tag, vr, start, value, length, _ = where.pixels
        pixel = Element(tag, vr.decode("latin-1"), start, value, where.pixel_end, length == UNDEFINED)
        header, pixels = even_pixels(done.header, view, pixel, encoding_from(where.flags))
        return tuple(part for part in (header, *pixels, done.tail) if part)
    pixels = view.slice(where.header_end, where.pixel_end)
    return tuple(part for part in (done.header, *pixels, done.tail) if part)


def read_key(config: DeidentifyConfig, site_key: bytes) -> Key:
    """The key of a rule, or the one that is made of the node's. Raises ConfigurationError."""
    if config.key is None:
        return Key(project_key(site_key))
    try:
        return Key(parse_key(config.key.reveal()))
    except ValueError as error:
        raise ConfigurationError(f"the secret {config.key.place} {error}") from None


def build(settings: Settings, config: DeidentifyConfig, next: None) -> DeidentifyStep:
    """The transform for a node. Raises Permanent(reason="key") where the key cannot be had, or is another one
    than this node has used."""
    try:
        key = read_key(config, settings.site_key)
    except ConfigurationError as error:
        raise Permanent(str(error), reason="key") from None
    if config.key is not None:
        refuse_another(settings, config.key.place, key.fingerprint)
    pseudonyms: Pseudonyms
    if isinstance(config.pseudonyms, PseudonymFile):
        source = config.pseudonyms
        pseudonyms = FromFile(source.file, source.unknown, source.prefix, only_looks=settings.only_looks)
    else:
        pseudonyms = Generated(key) if config.pseudonyms == "generated" else Emptied()
    regions = None if config.regions is None else RegionSet(config.regions)
    deidentifier = Deidentifier(
        [Option(option) for option in config.options],
        key,
        pseudonyms,
        method_text(mapdr.__version__),
        year_only=config.dates == "year",
        age_limit=config.age_limit,
    )
    return DeidentifyStep(deidentifier, regions)


def faults(config: DeidentifyConfig) -> Iterator[Finding]:
    """What a rule would miss here and now: its key, its file of pseudonyms."""
    if config.key is not None:
        try:
            read_key(config, b"")
        except ConfigurationError as error:
            yield Finding(("key",), str(error), "make one with: mapdr key new NAME")
    if isinstance(config.pseudonyms, PseudonymFile):
        place: tuple[Any, ...] = ("pseudonyms", "file")
        try:
            read_pseudonyms(config.pseudonyms.file)
        except ConfigurationError as error:
            yield Finding(place, str(error), "correct the file")
        except FileNotFoundError:
            yield Finding(
                place, "there is no such file", "make one that begins with the line: patient_id,pseudonym"
            )
        except OSError as error:
            yield Finding(place, f"cannot be read: {error.strerror}", "name another file")


def _files(config: DeidentifyConfig) -> tuple[Path, ...]:
    return config.files


def _order(config: DeidentifyConfig) -> int:
    """Before or behind the edits of `tags`, whose order is 10."""
    return 5 if config.tags == "after" else 15


STAGE = Factory("transform", "deidentify", DeidentifyConfig, build, order=_order, faults=faults, files=_files)
