"""Studies from a PACS: C-FIND says which, C-GET has them come here, C-MOVE has them sent (PS3.4, annex C).

pynetdicom is the SCU: what is asked for by hand is no hot path. By C-GET images come over the association
that asked, so each (SOP class, transfer syntax) needs a context of its own for a PACS to send it as it has
it; the images of the study are asked for first, which says the SOP classes, and afterwards whether all came.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mapdr.dicom import uids
from mapdr.kernel.errors import Permanent, Refused, Temporary
from mapdr.kernel.fetch import FoundStudy, Retrieved, StudyQuery
from mapdr.kernel.item import Source
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import Intake
from mapdr.kernel.status import PROCESSING_FAILURE, SUCCESS, code
from mapdr.wire.pdu import MAX_CONTEXTS

if TYPE_CHECKING:
    from pynetdicom.association import Association

log = logging.getLogger("mapdr.egress")

RECEIVER = "fetch"
"""What stands as the receiver of images that were asked for."""

COPIED = 1 << 20
"""Bytes that are copied at once."""

PENDING = (0xFF00, 0xFF01)
"""Statuses of C-FIND with which an answer comes (PS3.4, table C.4-1)."""
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
"""The Study Root Query/Retrieve Information Model."""
_SERVICES = {STUDY_FIND: "C-FIND", STUDY_MOVE: "C-MOVE", STUDY_GET: "C-GET (try --move)"}
NATIVE = (uids.EXPLICIT_VR_LITTLE_ENDIAN, uids.IMPLICIT_VR_LITTLE_ENDIAN)
OTHERS = (
    uids.JPEG_LOSSLESS_SV1,
    uids.JPEG2000_LOSSLESS,
    uids.JPEG2000,
    uids.JPEG_BASELINE,
    uids.JPEG_LS_LOSSLESS,
    uids.JPEG_LS_NEAR_LOSSLESS,
    uids.RLE_LOSSLESS,
    uids.JPEG_EXTENDED,
    uids.JPEG_LOSSLESS,
)
"""Transfer syntaxes that are proposed beside the native ones, the most frequent first."""

USUAL = tuple(
    f"1.2.840.10008.5.1.4.1.1.{rest}"
    for rest in (
        *("2", "4", "1", "1.1", "1.2", "6.1", "3.1", "12.1", "12.2", "20", "128", "7", "2.1", "4.1"),
        *("13.1.3", "11.1", "88.33", "88.67", "88.59", "104.1"),
    )
)
"""SOP classes that most sites have, for a PACS that does not say which a study is of."""


class PacsClient:
    """Asks one PACS; made by the destination that it is configured as."""

    def __init__(self, config: Any, tls: ssl.SSLContext | None) -> None:
        """`config` is a `DimseEgressConfig`."""
        self._config = config
        self._tls = tls

    def find(self, query: StudyQuery) -> list[FoundStudy]:
        """See `mapdr.kernel.fetch.Fetches`."""
        asked = {
            "StudyInstanceUID": query.study_instance_uid,
            "AccessionNumber": query.accession_number,
            "PatientID": query.patient_id,
            "StudyDate": query.dates,
            "ModalitiesInStudy": query.modality,
            "NumberOfStudyRelatedInstances": "",
        }
        with self._association([STUDY_FIND]) as association:
            found = [_study(answer) for answer in self._find(association, "STUDY", asked)]
            # Not every PACS tells the modalities of a study, but each those of a series.
            found = [one if one.modalities else self._with_modalities(association, one) for one in found]
        return [one for one in found if query.matches(one)]

    def retrieve(self, study_instance_uid: str, intake: Intake, told: Callable[[], object]) -> Retrieved:
        """By C-GET, see `mapdr.kernel.fetch.Fetches`."""
        from pynetdicom import build_role, evt

        expected, classes = self._images(study_instance_uid)
        source = Source(RECEIVER, self._config.ae_title, self._config.calling_ae, self._address())
        storing = _Storing(intake, source, told)
        contexts = _storage_contexts(classes)
        with self._association(
            [STUDY_GET],
            contexts,
            ext_neg=[build_role(uid, scp_role=True) for uid in classes],
            evt_handlers=[(evt.EVT_C_STORE, storing)],
        ) as association:
            identifier = _identifier("STUDY", {"StudyInstanceUID": study_instance_uid})
            status, _ = _last(association.send_c_get(identifier, STUDY_GET))
        missing = expected - storing.stored - storing.failed
        comment = storing.comment
        if not comment and status != SUCCESS:
            comment = (
                f"the PACS answered {code(status)}" if status is not None else "it ended the association"
            )
        return Retrieved(len(storing.stored), len(storing.failed), len(missing), comment)

    def move(self, study_instance_uid: str, ae_title: str, told: Callable[[int], object]) -> Retrieved:
        """By C-MOVE, see `mapdr.kernel.fetch.Moves`."""
        with self._association([STUDY_MOVE]) as association:
            identifier = _identifier("STUDY", {"StudyInstanceUID": study_instance_uid})
            answers = association.send_c_move(identifier, ae_title, STUDY_MOVE)
            status, counted = _last(answers, told)
        done, failed, left = counted
        comment = ""
        if status is None:
            comment = "it ended the association"
        elif status == 0xA801:
            comment = f'the PACS does not know "{ae_title}", to whom it should send; add it there'
        elif status != SUCCESS:
            comment = f"the PACS answered {code(status)}"
        return Retrieved(done, failed, left, comment)

    def _with_modalities(self, association: Association, study: FoundStudy) -> FoundStudy:
        keys = {"StudyInstanceUID": study.study_instance_uid, "SeriesInstanceUID": "", "Modality": ""}
        answers = list(self._find(association, "SERIES", keys))
        return replace(study, modalities=sorted({str(one.get("Modality", "")) for one in answers} - {""}))

    def _images(self, study_instance_uid: str) -> tuple[set[str], list[str]]:
        """The SOP Instance UIDs of a study as the PACS has it, and their SOP classes."""
        images: set[str] = set()
        classes: dict[str, None] = {}
        with self._association([STUDY_FIND]) as association:
            asked = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": ""}
            series = [
                str(one.get("SeriesInstanceUID", "")) for one in self._find(association, "SERIES", asked)
            ]
            for one in filter(None, series):
                asked = {
                    "StudyInstanceUID": study_instance_uid,
                    "SeriesInstanceUID": one,
                    "SOPInstanceUID": "",
                    "SOPClassUID": "",
                }
                for answer in self._find(association, "IMAGE", asked):
                    images.add(str(answer.get("SOPInstanceUID", "")))
                    classes[str(answer.get("SOPClassUID", ""))] = None
        if not classes or "" in classes:
            classes |= dict.fromkeys(USUAL)
        return images - {""}, [uid for uid in classes if uid]

    def _find(self, association: Association, level: str, keys: dict[str, str]) -> Iterator[Any]:
        """The identifiers of the answers to one C-FIND. Raises Temporary, Permanent."""
        for answer, identifier in association.send_c_find(_identifier(level, keys), STUDY_FIND):
            status = getattr(answer, "Status", None)
            if status is None:
                raise Temporary("the PACS did not answer the query, or ended the association")
            if status in PENDING:
                if identifier is not None:
                    yield identifier
            elif status != SUCCESS:
                raise Permanent(f"the PACS answered the query with {code(status)}", reason="refused")

    @contextmanager
    def _association(
        self, services: Sequence[str], contexts: Sequence[Any] = (), **more: Any
    ) -> Iterator[Association]:
        """An association with the PACS. Raises Temporary, Permanent."""
        from pynetdicom import AE, build_context

        config = self._config
        entity = AE(ae_title=config.calling_ae)
        entity.connection_timeout = config.connect_timeout
        entity.acse_timeout = config.acse_timeout
        entity.dimse_timeout = config.dimse_timeout
        entity.network_timeout = config.dimse_timeout
        proposed = [*(build_context(uid, list(NATIVE)) for uid in services), *contexts]
        tls = {} if self._tls is None else {"tls_args": (self._tls, config.tls.name or config.host)}
        association = entity.associate(
            config.host, config.port, contexts=proposed, ae_title=config.ae_title, **tls, **more
        )
        if association.is_rejected:
            raise Permanent(
                "the PACS rejected the association; does it know this AE title?", reason="rejected"
            )
        if not association.is_established:
            if association.rejected_contexts:  # all of them: it is left at once
                raise _not_supported(services)
            raise Temporary("there is no association with the PACS; `mapdr doctor peer` says why")
        try:
            accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
            if not accepted.issuperset(services):
                raise _not_supported(uid for uid in services if uid not in accepted)
            yield association
        finally:
            if association.is_established:
                association.release()
            else:
                association.abort()

    def _address(self) -> str:
        """The address that the rules know the PACS by, so that nothing is sent back to it."""
        try:
            return str(socket.getaddrinfo(self._config.host, self._config.port)[0][4][0])
        except OSError:
            return str(self._config.host)


class _Storing:
    """Answers C-STORE requests: Success once the image is safe, as a receiver does."""

    def __init__(self, intake: Intake, source: Source, told: Callable[[], object]) -> None:
        self._intake = intake
        self._source = source
        self._told = told
        self.stored: set[str] = set()
        self.failed: set[str] = set()
        self.comment = ""

    def __call__(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        try:
            self._keep(event, uid)
        except Refused as error:
            self.failed.add(uid)
            self.comment = str(error)
            return error.status
        except Exception as error:  # noqa: BLE001  not safe, so not Success
            self.failed.add(uid)
            self.comment = in_words(error)
            log.error("an image that was asked for could not be kept: %s", in_words(error))
            return PROCESSING_FAILURE
        self.stored.add(uid)
        self._told()
        return SUCCESS

    def _keep(self, event: Any, uid: str) -> None:
        incoming = self._intake.begin(
            self._source,
            str(event.request.AffectedSOPClassUID),
            uid,
            str(event.context.transfer_syntax),
        )
        try:
            with event.request.DataSet.getbuffer() as data:
                for start in range(0, len(data), COPIED):
                    incoming.write(data[start : start + COPIED])
            incoming.commit()
        except BaseException:
            incoming.abort()
            raise


def _not_supported(services: Iterable[str]) -> Permanent:
    lacking = " and ".join(_SERVICES[uid] for uid in services)
    return Permanent(f"the PACS accepts no {lacking}", reason="not-supported")


def _storage_contexts(classes: Sequence[str]) -> list[Any]:
    """A context for each class in the native syntaxes, and in as many others as there is room for."""
    from pynetdicom import build_context

    room = MAX_CONTEXTS - 1
    some = list(classes)[:room]
    others = OTHERS[: max(0, room // max(1, len(some)) - 1)]
    native = [build_context(uid, list(NATIVE)) for uid in some]
    return native + [build_context(uid, [syntax]) for syntax in others for uid in some]


def _identifier(level: str, keys: dict[str, str]) -> Any:
    from pydicom.dataset import Dataset

    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def _study(answer: Any) -> FoundStudy:
    modalities = answer.get("ModalitiesInStudy") or ()
    images = answer.get("NumberOfStudyRelatedInstances")
    return FoundStudy(
        study_instance_uid=str(answer.get("StudyInstanceUID", "")),
        study_date=str(answer.get("StudyDate", "") or ""),
        accession_number=str(answer.get("AccessionNumber", "") or ""),
        patient_id=str(answer.get("PatientID", "") or ""),
        modalities=[modalities] if isinstance(modalities, str) else [str(one) for one in modalities],
        images=int(images) if images not in (None, "") else None,
    )


def _last(
    answers: Iterator[tuple[Any, Any]], told: Callable[[int], object] = lambda done: None
) -> tuple[int | None, tuple[int, int, int]]:
    """The final status of a C-GET or C-MOVE, and how many were done, failed, and are left."""
    status: int | None = None
    counted = (0, 0, 0)
    for answer, _ in answers:
        status = getattr(answer, "Status", None)
        done, failed, left = (
            int(getattr(answer, f"NumberOf{which}Suboperations", None) or 0)
            for which in ("Completed", "Failed", "Remaining")
        )
        warned = int(getattr(answer, "NumberOfWarningSuboperations", None) or 0)
        if status is not None:
            counted = (done + warned, failed, left)
            told(done + warned)
    return status, counted
