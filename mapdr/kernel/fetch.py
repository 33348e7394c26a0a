"""Asking a destination for studies that it has: which, and have them come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mapdr.kernel.item import is_uid
from mapdr.kernel.stage import Intake


@dataclass(frozen=True, slots=True)
class StudyQuery:
    """What studies are looked for; empty is any. Dates are YYYYMMDD, both included; one may be open."""

    study_instance_uid: str = ""
    accession_number: str = ""
    patient_id: str = ""
    study_date_from: str = ""
    study_date_to: str = ""
    modality: str = ""

    @property
    def dates(self) -> str:
        """The range as DICOM matches it (PS3.4, section C.2.2.2.5); empty without one."""
        if self.study_date_from == self.study_date_to:
            return self.study_date_from
        return f"{self.study_date_from}-{self.study_date_to}"

    def matches(self, found: FoundStudy) -> bool:
        """Whether a study is one that was asked for, as far as it is known: some peers do not match all keys,
        and what was not asked for is not fetched."""
        pairs = (
            (self.study_instance_uid, found.study_instance_uid),
            (self.accession_number, found.accession_number),
            (self.patient_id, found.patient_id),
        )
        exact = all(not asked or asked == said.strip() for asked, said in pairs)
        day = found.study_date.replace("-", "")
        dated = not self.dates or self.study_date_from <= day <= (self.study_date_to or "99999999")
        modality = not self.modality or not found.modalities or self.modality in found.modalities
        return is_uid(found.study_instance_uid) and exact and dated and modality


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study that is there, as the peer describes it; `images` is None where it does not say how many."""

    study_instance_uid: str
    study_date: str = ""
    accession_number: str = ""
    patient_id: str = ""
    modalities: Sequence[str] = ()
    images: int | None = None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What came of a study: images that are `stored`, that `failed` here or there, and that the peer said
    it has and never sent (`missing`). `comment` says what went wrong, empty if nothing did."""

    stored: int = 0
    failed: int = 0
    missing: int = 0
    comment: str = ""


@runtime_checkable
class Fetches(Protocol):
    """An optional ability of an egress: its peer can be asked for what it has.

    Both raise Temporary, Permanent or ConfigurationError where the peer cannot be asked at all.
    """

    def find(self, query: StudyQuery) -> Sequence[FoundStudy]:
        """The studies that the peer has."""

    def retrieve(self, study_instance_uid: str, intake: Intake, told: Callable[[], object]) -> Retrieved:
        """Have a study's images come into `intake`. The peer is told that one is stored once it is safe.

        `told` is called for each.
        """


@runtime_checkable
class Moves(Protocol):
    """An optional ability beside `Fetches`: the peer can be told to send a study to somebody."""

    def move(self, study_instance_uid: str, ae_title: str, told: Callable[[int], object]) -> Retrieved:
        """Have a study sent to who has that AE title; `stored` are those that were taken there.

        `told` is called with how many were so far.
        """
