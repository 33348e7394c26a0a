"""What destinations that speak HTTP share: their keys, what a deliverer asks of them, and what becomes of an
image that a server has not said to have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from mapdr.config.units import Bandwidth as BandwidthField
from mapdr.config.units import Duration
from mapdr.egress.syntax import Syntax
from mapdr.kernel.errors import OWN_FAULT, ConfigurationError, OwnFault, Temporary
from mapdr.kernel.item import TAKEN, Acceptance, Need, Outcome, Pause, Verdict
from mapdr.kernel.stage import Description, EgressSession, Endpoint, Settings
from mapdr.kernel.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mapdr.net.hours import Hours, HoursField
from mapdr.net.http.client import Answer, Server
from mapdr.net.http.config import HttpConfig
from mapdr.net.http.status import Kind, kind, meaning
from mapdr.net.http.trouble import HttpTrouble, NoToken
from mapdr.net.rate import Bandwidth, Throttle
from mapdr.net.retry import Retry, RetryConfig

SOON = 0.1
"""Seconds of a pause that grows as for a receiver that is away; without any, as for one that rejects."""

_BUSY = {429: "busy", 503: "busy", 507: "no-room"}


class HttpEgressConfig(HttpConfig):
    """The keys of every destination that speaks HTTP, but for its URL."""

    requests: Annotated[int, Field(ge=1, le=64)] = 4
    bandwidth: BandwidthField | None = Field(default=None, ge=8000)
    hours: HoursField = None
    wait_for_study: Duration = 0.0
    syntaxes: tuple[Syntax, ...] = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    retry: RetryConfig = RetryConfig()


class HttpEgress:
    """A destination that speaks HTTP, but for its sessions. Nothing runs in it: sessions belong to whoever
    opened them."""

    def __init__(self, settings: Settings, config: HttpEgressConfig, url: str) -> None:
        """`url` is where images go, as far as it is the same for all."""
        self._server = Server(config, f"egress.{settings.name}")
        self._endpoint = endpoint(url)
        self._open: set[EgressSession] = set()
        self._bandwidth = None if config.bandwidth is None else Bandwidth(config.bandwidth)
        self._common = config

    @property
    def sessions(self) -> int:
        """How many requests may be under way at once."""
        return self._common.requests

    @property
    def retry(self) -> Retry:
        """The policy of this destination."""
        return self._common.retry.policy()

    @property
    def quiet_seconds(self) -> float:
        """For how long a study must have been quiet before it is sent."""
        return self._common.wait_for_study

    @property
    def hours(self) -> Hours | None:
        """When images may be sent there."""
        return self._common.hours

    def describe(self) -> Description:
        """See `mapdr.kernel.stage.Egress`; `associations` counts sessions."""
        tls, end = self._server.tls, self._endpoint
        if tls is not None:
            tls.look()
        return Description(
            end.host,
            end.port,
            tls=end.tls,
            associations=len(self._open),
            certificates=tls.certificates if tls is not None else (),
            tls_trouble=tls.trouble if tls is not None else "",
        )

    def acquire(self, ending: Sequence[object] = ()) -> None:
        """Read the TLS files and look at the secrets. Raises ConfigurationError if they cannot be used."""
        self._server.acquire()

    def start(self) -> None:
        """As `acquire`."""
        self._server.acquire()

    def stop(self, deadline: float) -> None:
        """Nothing runs here."""

    def _throttle(self) -> Throttle | None:
        """What one session asks before each piece of a request; the bandwidth is that of all together."""
        return None if self._bandwidth is None else Throttle(self._bandwidth)


class RefusedSyntaxes:
    """What kinds of images a server has refused for their transfer syntax on one session, which it is not
    asked about beforehand: they go in another of `syntaxes`; where none is left, each image is sent as it is,
    for the server may refuse one and take the next."""

    def __init__(self, syntaxes: Sequence[str]) -> None:
        self._syntaxes = syntaxes
        self._refused: dict[Need, Outcome] = {}

    def acceptance(self, need: Need) -> Acceptance:
        """As `mapdr.kernel.stage.EgressSession.acceptance` has it."""
        refusal = self._refused.get(need)
        instead = self.instead(need) if refusal is not None else ""
        return Acceptance(refusal, instead) if instead else TAKEN

    def instead(self, need: Need) -> str:
        """The first other transfer syntax that was not refused; empty if there is none."""
        for syntax in (*need.others, *self._syntaxes):
            other = Need(need.sop_class_uid, syntax)
            if other != need and other not in self._refused:
                return syntax
        return ""

    def noted(self, need: Need, outcome: Outcome) -> Outcome:
        """`outcome`, kept for images like this one if it refuses their transfer syntax."""
        if outcome.verdict is Verdict.SYNTAX_REFUSED:
            self._refused[need] = outcome
        return outcome


def by_status(answer: Answer, size: int) -> Outcome:
    """What becomes of an image of `size` bytes by a status that does not say that the server has it."""
    status, words = answer.status, meaning(answer.status)
    match kind(status):
        case Kind.NOT_LET_IN:
            return waits(status, words, "unauthorized")
        case Kind.REDIRECTED:
            return waits(status, words, "redirected")
        case Kind.TROUBLE if answer.wait or status in _BUSY:
            return waits(status, words, _BUSY.get(status, "busy"), answer.wait or SOON)
        case Kind.TROUBLE:
            return Outcome(Verdict.RETRY, status, words, peer_fault=True)
        case Kind.SYNTAX:
            return Outcome(Verdict.SYNTAX_REFUSED, status, words)
        case Kind.TOO_LARGE:
            large = f"{words}: an image of {size / 1e6:.1f} MB"
            return Outcome(Verdict.REFUSED, status, large, reason="too-large", final=True)
        case _:
            return Outcome(Verdict.REFUSED, status, words)


def waits(status: int | None, words: str, reason: str, seconds: float = 0.0) -> Outcome:
    """The server takes nothing at present, whatever it is sent: the destination waits."""
    return Outcome(Verdict.RETRY, status, words, peer_fault=True, pause=Pause(reason, seconds))


def unanswered(error: Temporary | ConfigurationError) -> Outcome:
    """What becomes of an image whose request had no answer.

    Where nothing of it went out, the way to the server is the cause: the destination waits.
    """
    words = str(error)
    if isinstance(error, HttpTrouble) and error.begun:
        return Outcome(Verdict.RETRY, comment=words, peer_fault=True, cut=True)
    if isinstance(error, ConfigurationError | NoToken):
        pause = Pause("unauthorized", SOON)
    else:
        pause = Pause(OWN_FAULT if isinstance(error, OwnFault) else "unreachable", SOON)
    return Outcome(Verdict.RETRY, comment=words, peer_fault=True, begun=False, pause=pause)


def endpoint(url: str) -> Endpoint:
    """Whom a URL leads to."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    return Endpoint(parts.hostname or "", parts.port or (443 if tls else 80), tls=tls)


def closed(error: Exception | None = None) -> Outcome:
    """What becomes of an image that is sent on a session which was closed; `error` is what a request ended
    with that was under way. What had gone out of it, the server may have."""
    begun = isinstance(error, HttpTrouble) and error.begun
    return Outcome(Verdict.RETRY, comment="the session is closed", peer_fault=True, begun=begun, cut=begun)
