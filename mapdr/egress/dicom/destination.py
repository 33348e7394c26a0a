"""C-STORE to a DICOM receiver (PS3.4, annex B), over associations that are kept and reused.

Each (SOP class, transfer syntax) is proposed in a context of its own, because a receiver picks one transfer
syntax per context (PS3.8, section 7.1.1.13): so the preferred syntax and every fallback can be accepted side
by side. A transfer syntax that was refused is an answer, not a failure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from pydantic import Field

from mapdr.config.units import Bandwidth as BandwidthField
from mapdr.config.units import Duration
from mapdr.egress.dicom.examine import Called
from mapdr.egress.dicom.examine import examine as examine_receiver
from mapdr.egress.dicom.fetch import PacsClient
from mapdr.egress.syntax import Syntax
from mapdr.kernel.certificate import PEER, Certificate
from mapdr.kernel.errors import (
    ConfigurationError,
    LocalProtocolError,
    MapdrError,
    OwnFault,
    Permanent,
    RemoteProtocolError,
    Temporary,
)
from mapdr.kernel.examine import Examination, PeerFinding, and_test_image
from mapdr.kernel.fetch import FoundStudy, Retrieved, StudyQuery
from mapdr.kernel.finding import Finding
from mapdr.kernel.item import Acceptance, Need, Outcome, Payload, Sent, Verdict
from mapdr.kernel.stage import (
    Batch,
    Description,
    EgressSession,
    Endpoint,
    Factory,
    Intake,
    Settings,
    StageConfig,
)
from mapdr.kernel.status import SUCCESS
from mapdr.kernel.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from mapdr.net.ae_title import AeTitle
from mapdr.net.certificate import certificate_of
from mapdr.net.host import Host
from mapdr.net.hours import Hours, HoursField
from mapdr.net.rate import Bandwidth, Throttle
from mapdr.net.renewal import RenewingTls
from mapdr.net.retry import Retry, RetryConfig
from mapdr.net.tls import ClientTlsField, certificates, ending_soon
from mapdr.wire import pdu, status
from mapdr.wire.contexts import MAY_PASS, REJECTIONS
from mapdr.wire.link import Limits, LinkLost
from mapdr.wire.pdu import MAX_CONTEXTS
from mapdr.wire.requestor import Requestor, StoreResponse

LOOK_AFTER = 0.2
"""Seconds of rest after which a session looks whether the peer has ended it meanwhile."""

MOST_AT_ONCE = 128
"""The most images that are sent in one call ..."""

SECONDS_AT_ONCE = 0.05
"""... and about how long one takes: others wait for what it has not begun, and a stop for it all."""

NOT_ACCEPTED = "the receiver accepts no such presentation context"

PROBED = 16
"""Storage contexts proposed beside Verification: some receivers reject an association without any."""


class DimseEgressConfig(StageConfig):
    """`[egress.NAME]` with `type = "dicom"`."""

    ae_title: AeTitle
    host: Host
    port: int = Field(ge=1, le=65535)
    calling_ae: AeTitle = "MAPDR"
    tls: ClientTlsField = None
    associations: int = Field(default=2, ge=1, le=64)
    bandwidth: BandwidthField | None = Field(default=None, ge=8000)
    hours: HoursField = None
    wait_for_study: Duration = 0.0
    syntaxes: tuple[Syntax, ...] = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    connect_timeout: Duration = Field(default=10.0, gt=0)
    acse_timeout: Duration = Field(default=30.0, gt=0)
    dimse_timeout: Duration = Field(default=120.0, gt=0)
    pdu_timeout: Duration = Field(default=60.0, gt=0)
    retry: RetryConfig = RetryConfig()

    def limits(self) -> Limits:
        """The time limits of an association."""
        return Limits(
            connect_timeout=self.connect_timeout,
            acse_timeout=self.acse_timeout,
            dimse_timeout=self.dimse_timeout,
            pdu_timeout=self.pdu_timeout,
        )


class DimseEgress:
    """A destination reached by DICOM associations."""

    def __init__(self, settings: Settings, config: DimseEgressConfig) -> None:
        self._name = settings.name
        self._config = config
        self._limits = config.limits()
        self._bandwidth = None if config.bandwidth is None else Bandwidth(config.bandwidth)
        self._last: tuple[tuple[str, tuple[str, ...]], ...] = ()
        self._open: set[DimseSession] = set()
        self._tls: RenewingTls | None = None
        self._shown: Certificate | None = None

    @property
    def sessions(self) -> int:
        """How many associations may be open at once."""
        return self._config.associations

    @property
    def retry(self) -> Retry:
        """The policy of this destination."""
        return self._config.retry.policy()

    @property
    def quiet_seconds(self) -> float:
        """For how long a study must have been quiet before it is sent."""
        return self._config.wait_for_study

    @property
    def hours(self) -> Hours | None:
        """When images may be sent there."""
        return self._config.hours

    def describe(self) -> Description:
        """See `mapdr.kernel.stage.Egress`."""
        config, tls, shown = self._config, self._tls, self._shown
        if tls is not None:
            tls.look()
        peers = (shown,) if shown is not None and shown.ends_soon(time.time()) else ()
        return Description(
            config.host,
            config.port,
            config.ae_title,
            config.tls is not None,
            associations=len(self._open),
            certificates=(*(tls.certificates if tls is not None else ()), *peers),
            tls_trouble=tls.trouble if tls is not None else "",
        )

    def start(self) -> None:
        """Read the TLS files. Raises ConfigurationError if they cannot be used."""
        if self._config.tls is not None:
            self._tls = RenewingTls(f"egress.{self._name}", self._config.tls)
        pdu.load()

    def stop(self, deadline: float) -> None:
        """Nothing runs here: sessions belong to whoever opened them."""

    def connect(self, needs: Sequence[Need]) -> EgressSession:
        """Open an association for `needs` and the fallbacks of their SOP classes, the first needs first.

        What does not fit into 128 presentation contexts is left to another session. Raises Temporary when the
        receiver is away, OwnFault when no connection can be opened here, Permanent with the reason
        "association-rejected" when it rejects this node for good.
        """
        proposals = propose(needs, self._config.syntaxes)
        throttle = None if self._bandwidth is None else Throttle(self._bandwidth)
        requestor = self._associate(proposals, throttle)
        self._last = proposals[:PROBED]
        proposed = frozenset(Need(sop_class, each) for sop_class, syntaxes in proposals for each in syntaxes)
        made = DimseBatchSession if throttle is None else DimseSession
        session = made(
            requestor,
            proposed,
            self._config.syntaxes,
            throttle,
            self._open.discard,
            credential=self._proved(requestor.peer_certificate),
        )
        self._open.add(session)
        return session

    def probe(self) -> Outcome:
        """C-ECHO; a receiver that accepts the association but not Verification is there, too."""
        verification = (VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))
        try:
            requestor = self._associate((verification, *self._last))
        except Permanent as error:
            return Outcome(Verdict.REFUSED, comment=str(error), peer_fault=True)
        except Temporary as error:
            return Outcome(Verdict.RETRY, comment=str(error), peer_fault=not isinstance(error, OwnFault))
        try:
            answer = requestor.c_echo()
        except LocalProtocolError:
            return Outcome(Verdict.DELIVERED, comment="the receiver is there, without C-ECHO")
        except (Temporary, RemoteProtocolError) as error:
            return Outcome(Verdict.RETRY, comment=str(error), peer_fault=True)
        finally:
            requestor.release()
        if answer == SUCCESS:
            return Outcome(Verdict.DELIVERED, answer)
        return Outcome(
            Verdict.RETRY, answer, f"C-ECHO was answered: {status.meaning(answer)}", peer_fault=True
        )

    def examine(self, examination: Examination) -> Iterator[PeerFinding]:
        """See `mapdr.kernel.examine.Examines`."""
        config = self._config
        called = Called(
            config.host,
            config.port,
            config.ae_title,
            config.calling_ae,
            config.tls,
            config.syntaxes,
            self._limits,
        )
        context = self._tls.context() if self._tls is not None else None
        found = examine_receiver(called, context, examination)
        return and_test_image(found, self, examination, beside="contexts")

    def find(self, query: StudyQuery) -> Sequence[FoundStudy]:
        """See `mapdr.kernel.fetch.Fetches`."""
        return self._pacs().find(query)

    def retrieve(self, study_instance_uid: str, intake: Intake, told: Callable[[], object]) -> Retrieved:
        """See `mapdr.kernel.fetch.Fetches`."""
        return self._pacs().retrieve(study_instance_uid, intake, told)

    def move(self, study_instance_uid: str, ae_title: str, told: Callable[[int], object]) -> Retrieved:
        """See `mapdr.kernel.fetch.Moves`."""
        return self._pacs().move(study_instance_uid, ae_title, told)

    def _pacs(self) -> PacsClient:
        return PacsClient(self._config, self._tls.context() if self._tls is not None else None)

    def _associate(
        self, proposals: Sequence[tuple[str, tuple[str, ...]]], throttle: Throttle | None = None
    ) -> Requestor:
        config = self._config
        if config.tls is not None and self._tls is None:
            raise ConfigurationError("the destination was not started: its TLS files are not read")
        tls = config.tls
        return Requestor.connect(
            config.host,
            config.port,
            calling_ae=config.calling_ae,
            called_ae=config.ae_title,
            proposals=proposals,
            limits=self._limits,
            tls=self._tls.context() if self._tls is not None else None,
            expected=tls.name if tls is not None else None,
            pace=throttle,
        )

    def _proved(self, certificate: bytes | None) -> str:
        """Who the receiver has proved to be, as `Outcome.credential`."""
        if certificate is None:
            return ""
        try:
            self._shown = certificate_of(certificate, PEER)
        except ValueError:  # OpenSSL is content with it, and somebody has signed it
            return ""
        return self._shown.credential


class DimseSession:
    """One association. `send` belongs to one thread; `close` may come from another and then ends a send."""

    def __init__(
        self,
        requestor: Requestor,
        proposed: frozenset[Need],
        fallbacks: Sequence[str],
        throttle: Throttle | None,
        closed: Callable[[DimseSession], object],
        *,
        credential: str = "",
    ) -> None:
        """`proposed` are the association's contexts, `fallbacks` transfer syntaxes, the best first.

        `throttle` is what the association keeps to. `closed` is called when the session ends. `credential` is
        what the receiver has proved to be.
        """
        self._requestor = requestor
        self._closed = closed
        self._proposed = proposed
        self._accepted = requestor.accepted
        self._fallbacks = fallbacks
        self._said: dict[Need, Acceptance] = {}
        self._throttle = throttle
        self._credential = credential
        self._busy = threading.Lock()
        self._closing = threading.Event()
        self._used_at = time.monotonic()

    def acceptance(self, need: Need) -> Acceptance | None:
        """By the presentation contexts that were negotiated; None for what was not proposed, or once the
        association has ended, which is looked for after a rest."""
        said = None if need.others else self._said.get(need)
        if said is None:
            if need not in self._proposed:
                return None
            said = Acceptance(self._refusal(need), self._instead(need))
            if not need.others:
                self._said[need] = said
        if self._closing.is_set():
            return None
        now = time.monotonic()
        if now - self._used_at >= LOOK_AFTER:
            with self._busy:
                self._used_at = now
                if not self._requestor.alive:
                    self._closing.set()
                    return None
        return said

    def _refusal(self, need: Need) -> Outcome | None:
        """Why no context was accepted for `need`, by the receiver's result (PS3.8, table 9-18)."""
        context = (need.sop_class_uid, need.transfer_syntax_uid)
        if context in self._accepted:
            return None
        result = self._requestor.rejected.get(context)
        words = NOT_ACCEPTED if result is None else REJECTIONS.get(result, NOT_ACCEPTED)
        not_now = result in MAY_PASS
        return Outcome(Verdict.RETRY if not_now else Verdict.SYNTAX_REFUSED, comment=words, not_now=not_now)

    def _instead(self, need: Need) -> str:
        """The first other syntax of its recipe, or fallback, but for that of `need` itself, in which the SOP
        class was accepted."""
        for syntax in (*need.others, *self._fallbacks):
            if syntax != need.transfer_syntax_uid and (need.sop_class_uid, syntax) in self._accepted:
                return syntax
        return ""

    def send(self, payload: Payload) -> Outcome:
        """C-STORE; raises OSError, EOFError or Permanent when the payload's own file cannot be read."""
        refusal = self._refusal(Need(payload.sop_class_uid, payload.transfer_syntax_uid))
        if refusal is not None:
            return refusal
        with self._busy:
            if self._throttle is not None:
                self._throttle.passes = payload.stat
            try:
                response = self._requestor.c_store(payload)
            except (LocalProtocolError, RemoteProtocolError, Temporary) as error:
                return self._by(_trouble(error))
            finally:
                self._used_at = time.monotonic()
        return self._by(status.outcome(response.status, response.comment))

    def _by(self, outcome: Outcome) -> Outcome:
        """The outcome, with what its receiver has proved to be."""
        return replace(outcome, credential=self._credential) if self._credential else outcome

    def close(self) -> None:
        """Release the association; one that is in use is cut."""
        self._closing.set()
        self._closed(self)
        in_use = not self._busy.acquire(blocking=False)
        if in_use:
            # Before the wait for a share ends: what is left of the image would go out at full speed.
            self._requestor.channel.kill()
        if self._throttle is not None:
            self._throttle.end()
        if not in_use:
            try:
                self._requestor.release()
            finally:
                self._busy.release()


class DimseBatchSession(DimseSession):
    """An association without a bandwidth limit: it can send several images in one call of the compiled code,
    which does not pause."""

    seconds = SECONDS_AT_ONCE
    """No image is begun so long after the first of a call."""

    _batch = Batch(1)

    @property
    def batch(self) -> Batch:
        """As many as the receiver takes in `seconds` at its last pace, at most twice as many as before, or as
        were answered before one ended the run."""
        return self._batch

    def send_batch(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
        """See `mapdr.kernel.stage.SendsBatches`; none is begun after one that was not delivered."""
        answers: list[tuple[StoreResponse, float]] = []
        trouble = None
        at, clock = time.time(), time.perf_counter()
        with self._busy:
            try:
                self._requestor.c_store_run(payloads, self.seconds, answers)
            except (LocalProtocolError, RemoteProtocolError, Temporary) as error:
                trouble = _trouble(error)
            finally:
                took = time.perf_counter() - clock
                self._used_at = time.monotonic()
                fit = int(self.seconds * max(1, len(answers)) / max(took, 1e-6))
                # What was made ready behind an image that ended the run was made in vain.
                whole = len(answers) == len(payloads)
                most = 2 * (self._batch.images if whole else len(answers))
                self._batch = Batch(max(1, min(MOST_AT_ONCE, most, fit)))
                for response, each in answers:
                    # One begins where the one before it has ended.
                    outcome = self._by(status.outcome(response.status, response.comment))
                    sent.append(Sent(outcome, at, each))
                    at += each
                    took -= each
        if trouble is not None:
            sent.append(Sent(self._by(trouble), at, took))


def _trouble(error: MapdrError) -> Outcome:
    """The outcome of an image whose C-STORE was not answered, by the error that ended the association.

    A breach of the protocol by this side (LocalProtocolError) is not the peer's fault.
    """
    return Outcome(
        Verdict.RETRY,
        comment=str(error),
        peer_fault=not isinstance(error, LocalProtocolError),
        begun=not (isinstance(error, LinkLost) and error.unasked),
        cut=isinstance(error, LinkLost) and error.cut,
    )


def propose(needs: Sequence[Need], fallbacks: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """One context per SOP class and transfer syntax, at most 128, in the order of `needs`.

    Each SOP class is followed by its recipe's other syntaxes and the fallbacks, so that the last one that
    fits has at least one.
    """
    found: dict[tuple[str, str], None] = {}
    for need in needs:
        wanted = [
            (need.sop_class_uid, syntax)
            for syntax in (need.transfer_syntax_uid, *need.others, *fallbacks)
            if (need.sop_class_uid, syntax) not in found
        ]
        if len(found) + len(wanted) > MAX_CONTEXTS:
            break
        found.update(dict.fromkeys(wanted))
    return tuple((sop_class, (syntax,)) for sop_class, syntax in found)


def _faults(config: DimseEgressConfig) -> Iterable[Finding]:
    return () if config.tls is None else config.tls.faults()


def build(settings: Settings, config: DimseEgressConfig, next: None) -> DimseEgress:
    """The destination for a node."""
    return DimseEgress(settings, config)


STAGE = Factory(
    "egress",
    "dicom",
    DimseEgressConfig,
    build,
    faults=_faults,
    doubts=lambda config: ending_soon(config.tls, time.time()),
    certificates=lambda config: certificates(config.tls),
    peer=lambda config: Endpoint(config.host, config.port, config.ae_title, config.tls is not None),
)
