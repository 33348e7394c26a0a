"""Studies from a PACS, as if it had sent them: asked for, kept, and sent on by today's rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.fetch import Fetches, FoundStudy, Moves, Retrieved, StudyQuery
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import Intake
from mapdr.operate.access import Access
from mapdr.operate.configuration import Configuration
from mapdr.operate.echo import build
from mapdr.operate.errors import RequestError
from mapdr.operate.names import known_destinations
from mapdr.operate.orders import note
from mapdr.operate.send import open_store, taking
from mapdr.store.index.fault import index_named

if TYPE_CHECKING:
    from mapdr.node.plan import Plan


@dataclass(frozen=True, slots=True)
class FetchedStudy:
    """A study that the PACS has, and what came of it: images `stored`, `failed`, and announced but `missing`.

    `images` is how many the PACS says it has, None if it does not say. Date, accession number and patient
    ID are None unless what identifies is shown.
    """

    study_instance_uid: str
    study_date: str | None
    accession_number: str | None
    patient_id: str | None
    modalities: Sequence[str]
    images: int | None
    stored: int = 0
    failed: int = 0
    missing: int = 0
    comment: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing of it failed, as far as is known."""
        return not (self.failed or self.missing or self.comment)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The studies that were found at `source`, and fetched unless it was a dry run. `not_indexed` images are
    safe in the spool, and the index did not take them; `node_runs` says whether they go out now."""

    source: str
    studies: Sequence[FetchedStudy]
    not_indexed: int
    node_runs: bool
    dry_run: bool


_NOTHING = Retrieved()

Told = Callable[[int, int | None], object]
"""Told how many images have come, and of how many, if that is known."""


def look(configuration: Configuration, name: str, query: StudyQuery, *, identify: bool = False) -> Fetched:
    """What would be fetched. Raises RequestError for a query that is not clear, MapdrError."""
    if identify:
        _tell_who_sees(Access(configuration.plan), query)
    with _Peer(configuration, name) as peer:
        found = peer.find(query)
    return Fetched(name, [_study(one, identify) for one in found], 0, False, True)


def fetch(
    configuration: Configuration,
    name: str,
    query: StudyQuery,
    *,
    move: bool = False,
    identify: bool = False,
    told: Told = lambda done, of: None,
) -> Fetched:
    """Have the studies come that a destination's peer has.

    They come into the store of the configured node by C-GET or WADO-RS; with `move` the peer is told to send
    them to the node's own receiver, which must run. Raises as `look`.
    """
    plan = configuration.plan
    with index_named(plan.node.database_url(), plan.node.data), _Peer(configuration, name) as peer:
        opened = Access(plan)
        try:
            opened.look_for_the_index()
            if identify:
                _tell_who_sees(opened, query)
            running = opened.running() is not None
            found = peer.find(query)
            if move and not running:
                raise MapdrError("the node does not run: nobody would take what is sent (mapdr run)")
            counted = _Counted([one.images for one in found], told)
            if move:
                studies = [_study(one, identify, peer.move(one, _own_title(plan), counted)) for one in found]
                left = 0
            else:
                studies, left = _into_store(configuration, peer, found, counted, identify)
            stored = sum(one.stored for one in studies)
            if stored:
                note(opened, "fetch", stored, {}, of="images")
        finally:
            opened.close()
    return Fetched(name, studies, left, running, False)


def _tell_who_sees(opened: Access, query: StudyQuery) -> None:
    """Tell the audit that the answer shows who the patients are. Raises AuditError."""
    asked = {key: value for key, value in asdict(query).items() if value}
    opened.audit.viewed(opened.actor, "fetch", asked)


def _into_store(
    configuration: Configuration,
    peer: _Peer,
    found: Sequence[FoundStudy],
    counted: _Counted,
    identify: bool,
) -> tuple[list[FetchedStudy], int]:
    """What came of each study, and how many images the index did not take."""
    store = open_store(configuration.plan)
    try:
        taking(store, configuration.loaded, configuration.plan)
        studies = [_study(one, identify, peer.retrieve(one, store.spool, counted)) for one in found]
        store.stop(time.monotonic() + 60)
        return studies, store.writer.waiting + store.writer.set_aside
    finally:
        store.close()


class _Counted:
    """Counts images over all studies."""

    def __init__(self, images: Sequence[int | None], told: Told) -> None:
        self._of = None if None in images else sum(one or 0 for one in images)
        self._told = told
        self._before = 0
        self.now = 0

    def one(self) -> None:
        """One more image has come."""
        self.now += 1
        self._told(self.now, self._of)

    def of_study(self, done: int) -> None:
        """So many of the study in hand have come."""
        self.now = self._before + done
        self._told(self.now, self._of)

    def next(self) -> None:
        """The next study."""
        self._before = self.now


class _Peer:
    """The destination as one that is asked."""

    def __init__(self, configuration: Configuration, name: str) -> None:
        known_destinations(configuration.plan, [name])
        self._stage = build(configuration.plan, name)
        if not isinstance(self._stage, Fetches):
            raise RequestError(f'"{name}" is of a type that cannot be asked for studies', field="destination")
        self._asks: Fetches = self._stage

    def __enter__(self) -> _Peer:
        self._stage.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stage.stop(time.monotonic() + 5)

    def find(self, query: StudyQuery) -> Sequence[FoundStudy]:
        """The studies. Raises RequestError for a query that would match more than it says."""
        _check(query)
        return self._asks.find(query)

    def retrieve(self, study: FoundStudy, intake: Intake, counted: _Counted) -> Retrieved:
        """A study by what the peer is; what fails as a whole is a comment."""
        counted.next()
        try:
            came = self._asks.retrieve(study.study_instance_uid, intake, counted.one)
        except (MapdrError, OSError) as error:
            return Retrieved(comment=in_words(error))
        return came if came != _NOTHING else replace(came, comment="nothing was sent")

    def move(self, study: FoundStudy, ae_title: str, counted: _Counted) -> Retrieved:
        """As `retrieve`, to the node's own receiver."""
        counted.next()
        if not isinstance(self._stage, Moves):
            return Retrieved(comment="this type of destination knows no C-MOVE")
        try:
            return self._stage.move(study.study_instance_uid, ae_title, counted.of_study)
        except (MapdrError, OSError) as error:
            return Retrieved(comment=in_words(error))


def _check(query: StudyQuery) -> None:
    if not any((query.study_instance_uid, query.accession_number, query.patient_id, query.dates)):
        raise RequestError("say what is fetched: a study, an accession number, a patient ID, or a study date")
    for field in ("study_instance_uid", "accession_number", "patient_id", "modality"):
        value = getattr(query, field)
        if any(mark in value for mark in "*?\\"):
            raise RequestError("holds *, ? or \\, which would choose more than one", field=field)


def _own_title(plan: Plan) -> str:
    """The AE title that the PACS is told to send to."""
    for receiver in plan.receivers.values():
        if receiver.endpoint is not None and receiver.endpoint.ae_title:
            return receiver.endpoint.ae_title
    raise RequestError("the node has no DICOM receiver to which could be sent", field="move")


def _study(found: FoundStudy, identify: bool, came: Retrieved = _NOTHING) -> FetchedStudy:
    shown = FetchedStudy(
        study_instance_uid=found.study_instance_uid,
        study_date=found.study_date,
        accession_number=found.accession_number,
        patient_id=found.patient_id,
        modalities=found.modalities,
        images=found.images,
        stored=came.stored,
        failed=came.failed,
        missing=came.missing,
        comment=came.comment,
    )
    return shown if identify else replace(shown, study_date=None, accession_number=None, patient_id=None)
