"""What a STOW-RS answer says of each image: the Store Instances Response Module (PS3.18, 10.5.3 and annex I).

Only ReferencedSOPSequence (0008,1199) says that an image is stored, and only of the one whose UID it names:
not the HTTP status (one server answers 200 and keeps nothing, another 400 and keeps the good ones), not the
absence from FailedSOPSequence (0008,1198), and no other sequence (DICOMcloud has used 0008,114A). So the
status is not asked here at all.

Where an answer contradicts itself, the image counts as failed: sending it again is allowed, losing it is not.
That holds for one that both sequences name, and for one that is referenced with a FailureReason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mapdr.egress.dicomweb.native import from_json, from_xml
from mapdr.egress.dicomweb.reasons import failure, warning
from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.item import is_uid

REFERENCED_SOP_SEQUENCE = "00081199"
FAILED_SOP_SEQUENCE = "00081198"
OTHER_FAILURES_SEQUENCE = "0008119A"
REFERENCED_SOP_INSTANCE_UID = "00081155"
RETRIEVE_URL = "00081190"
WARNING_REASON = "00081196"
FAILURE_REASON = "00081197"

_UTF_8, _UTF_16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
"""The byte order marks that a text may begin with."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The receiver has the image; with a warning if there is a reason for one."""

    reason: int | None = None

    @property
    def words(self) -> str:
        """The warning, or nothing."""
        return "" if self.reason is None else warning(self.reason)


@dataclass(frozen=True, slots=True)
class Failed:
    """The receiver has not taken the image. `contradicted`: it was called stored as well."""

    reason: int | None = None
    contradicted: bool = False

    @property
    def words(self) -> str:
        """Why."""
        also = "; the answer calls it stored as well" if self.contradicted else ""
        return failure(self.reason) + also


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """What was said of images, by SOP Instance UID.

    `others` are the reasons of failures that name no image (OtherFailuresSequence: a part that could not be
    read, say); `nameless` counts items of the two sequences that name none.
    """

    instances: Mapping[str, Stored | Failed] = field(default_factory=dict)
    others: tuple[int | None, ...] = ()
    nameless: int = 0

    def of(self, sop_instance_uid: str) -> Stored | Failed | None:
        """What became of an image; None if the answer does not name it."""
        return self.instances.get(sop_instance_uid)


def read_answer(body: bytes) -> StoreAnswer:
    """The answer in `body`, in DICOM JSON or as a native DICOM model; an empty body names nobody.

    Which of the two it is, is told by its first character: servers label either with any media type. Raises
    RemoteProtocolError for what is neither, such as a page for people.
    """
    text = body.removeprefix(_UTF_8).strip()
    if not text:
        return StoreAnswer()
    if text.startswith((b"{", b"[")):
        return _answer(from_json(text))
    if text.startswith(b"<"):
        return _answer(from_xml(text))
    if text.startswith(_UTF_16):
        return _answer(from_xml(body))
    raise RemoteProtocolError("the answer is neither DICOM JSON nor a native DICOM model")


def _answer(data_sets: list[Mapping[str, Any]]) -> StoreAnswer:
    stored: dict[str, Stored] = {}
    failed: dict[str, Failed] = {}
    others: list[int | None] = []
    nameless = 0
    for data_set in data_sets:
        for item in _items(data_set, REFERENCED_SOP_SEQUENCE):
            uid = _uid(item) or _uid_of_url(item)
            if not uid:
                nameless += 1
            elif _values(item, FAILURE_REASON) and _number(item, FAILURE_REASON) != 0:
                _add(failed, uid, Failed(_number(item, FAILURE_REASON), contradicted=True))
            else:
                _add(stored, uid, Stored(_number(item, WARNING_REASON)))
        for item in _items(data_set, FAILED_SOP_SEQUENCE):
            uid = _uid(item)
            if uid:
                _add(failed, uid, Failed(_number(item, FAILURE_REASON)))
            else:
                nameless += 1
        others += [_number(item, FAILURE_REASON) for item in _items(data_set, OTHER_FAILURES_SEQUENCE)]
    both = {uid: Failed(said.reason, contradicted=True) for uid, said in failed.items() if uid in stored}
    return StoreAnswer({**stored, **failed, **both}, tuple(others), nameless)


def _add(found: dict[str, Any], uid: str, said: Stored | Failed) -> None:
    """Of an image that is named again, the first reason counts."""
    earlier = found.get(uid)
    if earlier is None or earlier.reason is None:
        found[uid] = said


def _items(data_set: Mapping[str, Any], tag: str) -> Iterator[Mapping[str, Any]]:
    for value in _values(data_set, tag):
        if isinstance(value, Mapping):
            yield value


def _values(data_set: Mapping[str, Any], tag: str) -> list[Any]:
    element = data_set.get(tag)
    value = element.get("Value") if isinstance(element, Mapping) else element
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _text(item: Mapping[str, Any], tag: str) -> str:
    values = _values(item, tag)
    return values[0].strip("\0 \t\r\n") if len(values) == 1 and isinstance(values[0], str) else ""


def _uid(item: Mapping[str, Any]) -> str:
    """The image that an item names; empty if that is no UID, and then it can be none of ours."""
    uid = _text(item, REFERENCED_SOP_INSTANCE_UID)
    return uid if is_uid(uid) else ""


def _uid_of_url(item: Mapping[str, Any]) -> str:
    """The image that can be retrieved, for an item that says no more than where (PS3.18, 10.4.1.1)."""
    _, found, uid = _text(item, RETRIEVE_URL).rpartition("/instances/")
    uid = uid.rstrip("/")
    return uid if found and is_uid(uid) else ""


def _number(item: Mapping[str, Any], tag: str) -> int | None:
    """A reason; None for what is none. Some servers write it as text."""
    values = _values(item, tag)
    value = values[0] if len(values) == 1 else None
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= 0xFFFF else None
