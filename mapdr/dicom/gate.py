"""The gate: what an object must be before Success may be answered, whichever way it came in.

An object is refused (0xC000) if it is known to be incomplete, or if a UID that it would be known by is not
there or cannot be one. What is odd and complete is taken, and relayed as it came (docs/decisions/0012).
"""

from __future__ import annotations

from functools import lru_cache

from mapdr.dicom import tags
from mapdr.dicom.scan import ScannedHeader
from mapdr.dicom.uids import MEDIA_STORAGE_DIRECTORY
from mapdr.kernel.item import TagPath, is_uid
from mapdr.kernel.status import INVALID_SOP_INSTANCE, NO_SUCH_SOP_CLASS

SOP_CLASS_UID: TagPath = (tags.SOP_CLASS_UID,)
SOP_INSTANCE_UID: TagPath = (tags.SOP_INSTANCE_UID,)
STUDY_INSTANCE_UID: TagPath = (tags.STUDY_INSTANCE_UID,)

_KNOWN_BY = (
    (SOP_CLASS_UID, "SOP Class UID"),
    (SOP_INSTANCE_UID, "SOP Instance UID"),
    (STUDY_INSTANCE_UID, "Study Instance UID"),
)

_NO_STUDY = frozenset(
    (
        MEDIA_STORAGE_DIRECTORY,
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval
        "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
    )
)
"""Objects that belong to no patient (PS3.4, table GG.3-1): their IODs have no General Study module."""
_ELSEWHERE = ("1.2.840.10008.5.1.4.1.1.501.", "1.2.840.10008.5.1.4.1.1.601.")
"""Security screening (DICOS) and non-destructive testing (DICONDE): their IODs are not PS3.3's."""


@lru_cache(maxsize=2048)
def has_study(sop_class_uid: str) -> bool:
    """Whether the SOP class's IOD is known to have the General Study module (PS3.3, C.7.2.1).

    A private SOP class, and one of a later edition, may have none: nothing is asked of it.
    """
    if sop_class_uid in _NO_STUDY or sop_class_uid.startswith(_ELSEWHERE):
        return False
    from pydicom.uid import UID  # here: reading an index needs no dictionary

    uid = UID(sop_class_uid)
    return bool(uid.name != sop_class_uid and uid.type == "SOP Class")


def uid_objection(sop_class_uid: str, sop_instance_uid: str) -> tuple[int, str] | None:
    """Status and comment against the UIDs that a command set or a File Meta group gives; empty ones pass."""
    if sop_class_uid and not is_uid(sop_class_uid):
        return NO_SUCH_SOP_CLASS, "the SOP Class UID that was given is not a UID"
    if sop_instance_uid and not is_uid(sop_instance_uid):
        return INVALID_SOP_INSTANCE, "the SOP Instance UID that was given is not a UID"
    return None


def objection(header: ScannedHeader, sop_class_uid: str, *, cut: bool) -> str:
    """What stands against a data set, in fixed words for an error comment; "" if nothing does.

    `cut`: its bytes end before they should. `sop_class_uid` is the one given with it, which counts where the
    data set has none.
    """
    if cut:
        return "the data set is incomplete: it ends within an element"
    uids = [header.uid(path) for path, _ in _KNOWN_BY]
    for uid, (_, name) in zip(uids, _KNOWN_BY, strict=True):
        if uid is None:
            return f"the data set's {name} cannot be a UID"
    if not uids[-1] and has_study(uids[0] or sop_class_uid):
        return "the data set has no Study Instance UID"
    return ""
