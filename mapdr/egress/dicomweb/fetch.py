"""Studies from a DICOMweb server: QIDO-RS says which, WADO-RS has their images come (PS3.18, 10.4 and 10.6).

The images of a study come in one answer, part by part, and go into the store as their bytes come. What the
server has of the study is asked for first, so that it is known whether all of it came.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

from mapdr.dicom.file_meta import read_file_meta
from mapdr.kernel.errors import Permanent, Refused, RemoteProtocolError, Temporary
from mapdr.kernel.fetch import FoundStudy, Retrieved, StudyQuery
from mapdr.kernel.item import Source, is_uid
from mapdr.kernel.stage import Incoming, Intake
from mapdr.net.http.client import Answer, HttpClient, Server
from mapdr.net.http.status import meaning
from mapdr.net.media_type import media_type
from mapdr.net.multipart import MultipartReader, PartBegins, PartData, PartEnds, boundary

RECEIVER = "fetch"
"""What stands as the receiver of images that were asked for."""

MOST = 64 << 20
"""Bytes of an answer to a query that are read: 100,000 images take a third of it."""

_JSON = {"accept": "application/dicom+json"}
_ANY_SYNTAX = {"accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
_STUDY_UID, _DATE, _ACCESSION, _PATIENT = "0020000D", "00080020", "00080050", "00100020"
_MODALITIES, _IMAGES, _SOP_UID = "00080061", "00201208", "00080018"


def find_studies(server: Server, root: str, query: StudyQuery) -> list[FoundStudy]:
    """See `mapdr.kernel.fetch.Fetches`."""
    keys = {
        "StudyInstanceUID": query.study_instance_uid,
        "AccessionNumber": query.accession_number,
        "PatientID": query.patient_id,
        "StudyDate": query.dates,
        "ModalitiesInStudy": query.modality,
    }
    asked = [(key, value) for key, value in keys.items() if value]
    asked += [("includefield", tag) for tag in (_MODALITIES, _IMAGES)]
    client = server.client()
    try:
        found = [_study(one) for one in _query(client, f"{root}/studies?{urlencode(asked)}")]
    finally:
        client.close()
    return [one for one in found if query.matches(one)]


def retrieve_study(
    server: Server, root: str, study_instance_uid: str, intake: Intake, told: Callable[[], object]
) -> Retrieved:
    """See `mapdr.kernel.fetch.Fetches`."""
    client = server.client()
    source = Source(RECEIVER, "", "", urlsplit(root).hostname or "", protocol="dicomweb")
    parts = _Parts(intake, source, told)
    try:
        study = f"{root}/studies/{study_instance_uid}"
        expected = {_first(one, _SOP_UID) for one in _query(client, f"{study}/instances")}
        answer = client.request("GET", study, headers=_ANY_SYNTAX, taken=parts.feed)
        if not 200 <= answer.status < 300:
            raise _refused(answer)
    except (Temporary, RemoteProtocolError) as error:
        if not parts.stored:
            raise
        parts.comment = str(error)  # what came is safe, and what did not is told
    finally:
        parts.close()
        client.close()
    missing = expected - parts.stored - parts.failed - {""}
    return Retrieved(len(parts.stored), len(parts.failed), len(missing), parts.comment)


class _Parts:
    """Takes the body of a WADO-RS answer, and keeps each part as one image."""

    def __init__(self, intake: Intake, source: Source, told: Callable[[], object]) -> None:
        self._intake = intake
        self._source = source
        self._told = told
        self._reader: MultipartReader | None = None
        self._head = bytearray()
        self._uid = ""
        self._incoming: Incoming | None = None
        self._over = False  # the rest of this part is not wanted
        self.stored: set[str] = set()
        self.failed: set[str] = set()
        self.comment = ""

    def feed(self, headers: Mapping[str, str], data: bytes) -> None:
        """The next bytes. Raises RemoteProtocolError for a body that is broken."""
        if self._reader is None:
            self._reader = MultipartReader(boundary(media_type(headers.get("content-type", ""))))
        for event in self._reader.feed(data):
            match event:
                case PartBegins():
                    self._head, self._uid, self._over = bytearray(), "", False
                case PartData(piece):
                    self._guarded(partial(self._write, piece))
                case PartEnds():
                    self._guarded(self._end)
                case _:
                    pass

    def close(self) -> None:
        """Forget the part that has not ended."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.abort()

    def _guarded(self, work: Callable[[], None]) -> None:
        """A part that the store refuses costs itself alone; its bytes are read over."""
        if self._over:
            return
        try:
            work()
        except (Refused, RemoteProtocolError) as error:
            self.close()
            self._over = True
            self.failed.add(self._uid or f"part {len(self.failed)}")
            self.comment = str(error)

    def _write(self, piece: memoryview) -> None:
        if self._incoming is not None:
            self._incoming.write(piece)
            return
        self._head += piece
        self._open(ended=False)

    def _open(self, *, ended: bool) -> None:
        """Begin the object once its File Meta group is there."""
        meta = read_file_meta(self._head, ended=ended)
        if meta is None:
            return
        if not is_uid(meta.transfer_syntax_uid):
            raise RemoteProtocolError("the File Meta Information of a part names no transfer syntax")
        self._uid = meta.sop_instance_uid if is_uid(meta.sop_instance_uid) else ""
        uids = (meta.sop_class_uid, meta.sop_instance_uid)
        self._incoming = self._intake.begin(self._source, *uids, meta.transfer_syntax_uid)
        rest = bytes(self._head[meta.length :])
        if rest:
            self._incoming.write(rest)
        self._head = bytearray()

    def _end(self) -> None:
        if self._incoming is None:
            self._open(ended=True)
        if self._incoming is None:
            raise RemoteProtocolError("a part is no DICOM file")
        self._incoming.commit()
        self._incoming = None
        self.stored.add(self._uid)
        self._told()


def _query(client: HttpClient, url: str) -> list[Mapping[str, Any]]:
    """The answer to a QIDO-RS query. Raises Temporary, Permanent."""
    answer = client.request("GET", url, headers=_JSON, most=MOST)
    if answer.status == 204:
        return []
    if answer.status != 200:
        raise _refused(answer)
    try:
        found = json.loads(answer.body) if answer.whole else None
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise Permanent("the server answered the query with something else than DICOM JSON", reason="refused")
    return [one for one in found if isinstance(one, dict)]


def _refused(answer: Answer) -> Temporary | Permanent:
    words = f"the server answered {meaning(answer.status)}"
    if answer.status >= 500 or answer.status in (408, 429):
        return Temporary(words)
    return Permanent(words, reason="refused")


def _study(one: Mapping[str, Any]) -> FoundStudy:
    images = _first(one, _IMAGES)
    return FoundStudy(
        study_instance_uid=_first(one, _STUDY_UID),
        study_date=_first(one, _DATE),
        accession_number=_first(one, _ACCESSION),
        patient_id=_first(one, _PATIENT),
        modalities=_values(one, _MODALITIES),
        images=int(images) if images.isdecimal() else None,
    )


def _values(one: Mapping[str, Any], tag: str) -> list[str]:
    element = one.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [str(value) for value in values if value is not None] if isinstance(values, list) else []


def _first(one: Mapping[str, Any], tag: str) -> str:
    return next(iter(_values(one, tag)), "")
