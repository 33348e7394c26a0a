"""What was corrected of images on their way, by whom and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapdr.dicom.path import format_path
from mapdr.operate.access import Access
from mapdr.operate.selection import Selection, limited


@dataclass(frozen=True, slots=True)
class Change:
    """A value that was corrected, by its keyword; `old` and `new` are None where nothing that identifies is
    shown."""

    tag: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Correction:
    """What was corrected of one image for the deliveries of one `batch`; no `changes` are known any more
    once the image was purged on a person's word."""

    at: float
    operator: str
    instance: str
    study_instance_uid: str
    sop_instance_uid: str
    batch: int
    changes: Sequence[Change]


def corrections(opened: Access, chosen: Selection, *, identify: bool = False) -> list[Correction]:
    """The corrections of the images that are chosen, the newest first. Raises MapdrError if there is no
    index, and AuditError (`identify`)."""
    store = opened.index(chosen)
    if identify:
        opened.show_who("corrections", chosen)
    found = store.corrections.select(limited(chosen))
    return [
        Correction(
            at=one.at,
            operator=one.operator,
            instance=one.instance,
            study_instance_uid=one.study_instance_uid,
            sop_instance_uid=one.sop_instance_uid,
            batch=one.batch,
            changes=[
                Change(format_path(path), old if identify else None, new if identify else None)
                for path, old, new in one.changes
            ],
        )
        for one in found
    ]
