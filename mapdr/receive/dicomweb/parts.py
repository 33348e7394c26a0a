"""The parts of one STOW-RS request, from the body's bytes into the store.

    body ──▶ multipart ──▶ File Meta ──▶ Intake.begin ──▶ write ──▶ commit ──▶ "stored"
                               │              │             │          │
                               └──────────────┴─────────────┴──────────┴─▶ "failed", with a reason

Each part is an object of its own: it is called stored when `commit` has returned, and never before; what
becomes of the others does not matter to it. A part that fails costs itself: its bytes are read over.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from mapdr.dicom.file_meta import FileMeta, read_file_meta
from mapdr.dicom.scan import NeedMore, ScannedHeader, scan
from mapdr.kernel import status
from mapdr.kernel.errors import Permanent, Refused, RemoteProtocolError
from mapdr.kernel.item import Source, is_uid
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import Incoming, Intake
from mapdr.net.media_type import media_type
from mapdr.net.multipart import BodyEnds, Limits, MultipartReader, PartBegins, PartData, PartEnds
from mapdr.store.spool.headers import (
    PREFIX,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    identity,
    read_header,
)

log = logging.getLogger("mapdr.receive")

MOST_PARTS = 10_000
"""Parts of a request: what is said of each is kept until the answer."""
OTHER_STUDY = 0xA900
"""The failure reason of an instance that is not of the study that the request names (PS3.18, table I.2-2:
the data set does not match)."""
_KNOWN_BY = frozenset((SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID))


@dataclass(frozen=True, slots=True)
class PartResult:
    """What became of a part: stored if `reason` is None, else failed, with a code (PS3.18, annex I) and why.

    UIDs that are not known, or are none, are empty. `size` counts the bytes of its data set.
    """

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    reason: int | None = None
    words: str = ""
    size: int = 0


class PartStore:
    """Takes the body of one request, in a thread of a pool: `feed`, then `end`; `close` at last, always.

    `study_uid` is the study that all instances must be of; empty for any. `results` has one for each part
    that has ended, in their order.
    """

    def __init__(self, intake: Intake, source: Source, boundary: bytes, study_uid: str = "") -> None:
        self.results: list[PartResult] = []
        self._intake = intake
        self._source = source
        self._study_uid = study_uid
        self._reader = MultipartReader(boundary, Limits(parts=MOST_PARTS))
        self._part: _Part | None = None
        self._lock = threading.Lock()  # `close` may come while a thread is still at work

    @property
    def between_parts(self) -> bool:
        """Whether no part has begun that has not ended."""
        return self._part is None

    def feed(self, data: bytes) -> None:
        """The next bytes of the body. Raises RemoteProtocolError for a body that is broken."""
        with self._lock:
            for event in self._reader.feed(data):
                match event:
                    case PartBegins(headers):
                        self._part = _Part(self._intake, self._source, self._study_uid)
                        self._part.begin(headers)
                    case PartData(piece):
                        assert self._part is not None
                        self._part.data(piece)
                    case PartEnds():
                        assert self._part is not None
                        part, self._part = self._part, None
                        self.results.append(part.end())
                    case BodyEnds():
                        pass

    def end(self) -> None:
        """The body has ended. Raises RemoteProtocolError if that was too early."""
        self._reader.close()

    def close(self, words: str = "") -> None:
        """Forget the part that has not ended; with `words`, say why among the results."""
        with self._lock:
            part, self._part = self._part, None
            if part is not None:
                part.abort()
                if words:
                    self.results.append(part.failed(status.CANNOT_UNDERSTAND, words))


class _Part:
    """One part. Nothing is raised for what the peer or the store does: `end` says it."""

    def __init__(self, intake: Intake, source: Source, study_uid: str) -> None:
        self._intake = intake
        self._source = source
        self._study_uid = study_uid
        self._head = bytearray()
        self._meta: FileMeta | None = None
        self._incoming: Incoming | None = None
        self._begun = bytearray()
        self._size = 0
        self._uids = ("", "")
        self._failure: tuple[int, str] | None = None

    def begin(self, headers: Mapping[str, str]) -> None:
        """Its headers; without a content type it is taken for what the request says of all."""
        encoding = headers.get("content-transfer-encoding", "binary")
        try:
            kind = media_type(headers.get("content-type", "application/dicom")).essence
        except RemoteProtocolError as error:
            self._fail(status.CANNOT_UNDERSTAND, str(error))
            return
        if kind not in ("application/dicom", "application/octet-stream"):
            self._fail(status.CANNOT_UNDERSTAND, "the part's content type is not application/dicom")
        elif encoding.lower() not in ("binary", "8bit", "7bit"):
            self._fail(status.CANNOT_UNDERSTAND, "the part's content transfer encoding is not binary")

    def data(self, piece: memoryview) -> None:
        """Its next bytes."""
        if self._failure is not None:
            return
        try:
            if self._incoming is not None:
                self._write(self._incoming, piece)
            else:
                self._head += piece
                self._try_to_open(ended=False)
        except Exception as error:  # noqa: BLE001  a part that cannot be kept is failed, by whoever's fault
            self._fail_with(error)

    def end(self) -> PartResult:
        """It is whole: make it safe."""
        try:
            if self._failure is None and self._incoming is None:
                self._try_to_open(ended=True)
            if self._failure is None:
                assert self._incoming is not None
                self._identify(self._incoming)
                self._incoming.commit()
                return PartResult(*self._uids, size=self._size)
        except Exception as error:  # noqa: BLE001  as above: it is not safe, so it is not called stored
            self._fail_with(error)
        assert self._failure is not None
        return self.failed(*self._failure)

    def failed(self, reason: int, words: str) -> PartResult:
        """The result of a part that is not stored; one that has failed before keeps its own reason."""
        return PartResult(*self._uids, *(self._failure or (reason, words)), size=self._size)

    def abort(self) -> None:
        """Forget it."""
        if self._incoming is not None:
            self._incoming.abort()

    def _try_to_open(self, *, ended: bool) -> None:
        """Begin the object once its File Meta group is there."""
        meta = read_file_meta(self._head, ended=ended)
        if meta is None:
            return
        self._uids = _known(meta.sop_class_uid), _known(meta.sop_instance_uid)
        if not is_uid(meta.transfer_syntax_uid):
            raise Refused(status.CANNOT_UNDERSTAND, "the File Meta Information names no transfer syntax")
        self._meta = meta
        self._incoming = self._intake.begin(
            self._source, meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid
        )
        with memoryview(self._head) as view, view[meta.length :] as rest:
            self._write(self._incoming, rest)
        self._head = bytearray()

    def _write(self, incoming: Incoming, piece: memoryview) -> None:
        if not piece:
            return
        incoming.write(bytes(piece) if self._size < PREFIX else piece)
        if self._size < PREFIX:
            self._begun += piece[: PREFIX - self._size]
        self._size += len(piece)

    def _identify(self, incoming: Incoming) -> None:
        """The UIDs that the answer names it by, which are those that the store takes: the data set's.

        Raises Refused for one of another study than the request's. A data set that cannot be read is left
        for `commit` to refuse, in its words.
        """
        assert self._meta is not None
        try:
            header = self._header(incoming, self._meta.transfer_syntax_uid)
        except Permanent:
            return
        self._uids = (
            _known(identity(header.text(SOP_CLASS_UID), self._meta.sop_class_uid)),
            _known(identity(header.text(SOP_INSTANCE_UID), self._meta.sop_instance_uid)),
        )
        if self._study_uid and header.text(STUDY_INSTANCE_UID) != self._study_uid:
            raise Refused(OTHER_STUDY, "the data set is not of the study that the request names")

    def _header(self, incoming: Incoming, syntax: str) -> ScannedHeader:
        begun = bytes(self._begun)
        try:
            return scan(begun, syntax, _KNOWN_BY, complete=len(begun) >= self._size, size=self._size)
        except NeedMore:
            file = incoming.fileno()
            offset = os.lseek(file, 0, os.SEEK_CUR) - self._size
            return read_header(file, offset, self._size, begun, transfer_syntax_uid=syntax, wanted=_KNOWN_BY)

    def _fail_with(self, error: Exception) -> None:
        if isinstance(error, Refused):
            self._fail(error.status, error.comment)
        elif isinstance(error, RemoteProtocolError):
            self._fail(status.CANNOT_UNDERSTAND, str(error))
        else:
            self._fail(status.PROCESSING_FAILURE, "internal error")
            log.error("%s: an object could not be kept: %s", self._source.receiver, in_words(error))

    def _fail(self, reason: int, words: str) -> None:
        self.abort()
        self._failure = reason, words
        self._head, self._begun = bytearray(), bytearray()


def _known(uid: str) -> str:
    """`uid` if it can be one, else nothing: what is none is not repeated."""
    return uid if is_uid(uid) else ""
