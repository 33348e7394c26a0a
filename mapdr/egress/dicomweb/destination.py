"""STOW-RS to a DICOMweb server (PS3.18, section 10.5): many images in a request, each with its own outcome.

The answer's body says of each image whether it is stored (`egress.dicomweb.answer`), for the statuses with
which servers send one: 2xx, 400 and 409. Any other status is about the request as a whole, or about the
destination.

A request that is refused as a whole, by 413 or without a word on any image, may be refused for one image in
it: its halves are sent, down to the one that is to blame. After a failure of the server requests begin anew
with one image and double, so that one image on which a server fails does not keep others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Literal

from pydantic import Field

from mapdr.config.units import Size
from mapdr.egress.dicomweb.answer import Failed, StoreAnswer, Stored, read_answer
from mapdr.egress.dicomweb.examine import examine as examine_server
from mapdr.egress.dicomweb.fetch import find_studies, retrieve_study
from mapdr.egress.dicomweb.reasons import Cause, cause, failure
from mapdr.egress.dicomweb.request import ACCEPT, StowRequest, batches
from mapdr.egress.http import (
    SOON,
    HttpEgress,
    HttpEgressConfig,
    RefusedSyntaxes,
    by_status,
    closed,
    endpoint,
    unanswered,
    waits,
)
from mapdr.kernel.errors import ConfigurationError, RemoteProtocolError, Temporary
from mapdr.kernel.examine import Examination, PeerFinding, and_test_image
from mapdr.kernel.fetch import FoundStudy, Retrieved, StudyQuery
from mapdr.kernel.finding import Finding
from mapdr.kernel.item import Acceptance, Need, Outcome, Payload, Sent, Verdict
from mapdr.kernel.stage import Batch, Factory, Intake, Settings
from mapdr.kernel.status import DUPLICATE_SOP_INSTANCE
from mapdr.net.http.client import Answer, Body, HttpClient, Server
from mapdr.net.http.config import ServiceRoot
from mapdr.net.http.status import Kind, kind, meaning
from mapdr.net.rate import Throttle
from mapdr.net.tls import certificates

BY_BODY = frozenset({400, 409})
"""The statuses of failure whose body may say of single images that they are stored (PS3.18, 10.5.3.1)."""

NO_SERVICE = frozenset({404, 405, 410, 501, 505})
"""Statuses that say of the path or the method that nothing can be stored so, whatever the image."""

AWAY = frozenset({429, 502, 503, 504, 507})
"""Statuses that say that asking again for images would be useless by now. A plain 500 may be due to the empty
request that the probe is."""


SECONDS_PER_REQUEST = 1.0
"""How long the images of one request take at most where a bandwidth is set, but for a larger one."""


class DicomwebEgressConfig(HttpEgressConfig):
    """`[egress.NAME]` with `type = "dicomweb"`; `url` is the service root, without `/studies`."""

    url: ServiceRoot
    images_per_request: int = Field(default=50, ge=1, le=1000)
    bytes_per_request: Size = Field(default=32_000_000, ge=1)
    unnamed: Literal["owed", "trust-2xx"] = "owed"


class RequestSize:
    """How much goes into one request of a destination: less than configured after trouble. Thread-safe."""

    def __init__(self, images: int, size: int) -> None:
        self._lock = threading.Lock()
        self._most = images
        self._batch = Batch(images, size)

    @property
    def batch(self) -> Batch:
        """The images and bytes of the next request."""
        return self._batch

    def too_large(self, size: int) -> None:
        """A request with `size` bytes of data sets was too large; so it stays until a reload or restart."""
        with self._lock:
            self._batch = Batch(self._batch.images, max(1, min(self._batch.bytes, size // 2)))

    def failed(self) -> None:
        """The server failed over a request."""
        with self._lock:
            self._batch = Batch(1, self._batch.bytes)

    def answered(self) -> None:
        """The server did not fail."""
        if self._batch.images < self._most:
            with self._lock:
                self._batch = Batch(min(self._most, self._batch.images * 2), self._batch.bytes)


class DicomwebEgress(HttpEgress):
    """A destination reached by STOW-RS."""

    def __init__(self, settings: Settings, config: DicomwebEgressConfig) -> None:
        super().__init__(settings, config, config.url)
        self._config = config
        size = config.bytes_per_request
        if config.bandwidth is not None:
            # What is stat waits for the requests under way, and so does a stop.
            size = max(1, min(size, int(config.bandwidth * SECONDS_PER_REQUEST)))
        self._size = RequestSize(config.images_per_request, size)

    def connect(self, needs: Sequence[Need]) -> StowSession:
        """A client of its own; nothing is sent yet."""
        session = StowSession(self._server, self._throttle(), self._config, self._size, self._open.discard)
        self._open.add(session)
        return session

    def find(self, query: StudyQuery) -> Sequence[FoundStudy]:
        """See `mapdr.kernel.fetch.Fetches`."""
        return find_studies(self._server, self._config.url, query)

    def retrieve(self, study_instance_uid: str, intake: Intake, told: Callable[[], object]) -> Retrieved:
        """See `mapdr.kernel.fetch.Fetches`."""
        return retrieve_study(self._server, self._config.url, study_instance_uid, intake, told)

    def probe(self) -> Outcome:
        """A STOW-RS request without an image: it asks for the right and the path that storing needs.

        Whatever the server says to that, it is there, but for what keeps every image away.
        """
        request = StowRequest(())
        client = self._server.client()
        try:
            answer = _post(client, self._config.url, request)
        except (Temporary, ConfigurationError) as error:
            return unanswered(error)
        finally:
            client.close()
        return _away(answer) or Outcome(Verdict.DELIVERED, answer.status)

    def examine(self, examination: Examination) -> Iterator[PeerFinding]:
        """See `mapdr.kernel.examine.Examines`."""

        def ask(client: HttpClient) -> Answer:
            return _post(client, self._config.url, StowRequest(()))

        config = self._config
        found = examine_server(config, config.url, ask, examination, absent=NO_SERVICE, away=AWAY)
        return and_test_image(found, self, examination)


class StowSession:
    """One client, for one thread; `close` may come from another and then ends the request under way."""

    def __init__(
        self,
        server: Server,
        throttle: Throttle | None,
        config: DicomwebEgressConfig,
        size: RequestSize,
        ended: Callable[[StowSession], object],
    ) -> None:
        """`throttle` is what this session keeps to; `size` is shared by the destination's sessions; `ended`
        is called when this one is closed."""
        self._client = server.client(throttle)
        self._throttle = throttle
        self._config = config
        self._size = size
        self._ended = ended
        self._syntaxes = RefusedSyntaxes(config.syntaxes)

    @property
    def batch(self) -> Batch:
        """As configured, less after the server's trouble."""
        return self._size.batch

    def acceptance(self, need: Need) -> Acceptance | None:
        """See `RefusedSyntaxes`."""
        return None if self._client.closed else self._syntaxes.acceptance(need)

    def send(self, payload: Payload) -> Outcome:
        """A request with one image; raises what reading the image's own file raises."""
        sent: list[Sent] = []
        self.send_batch([payload], sent)
        return sent[0].outcome

    def send_batch(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
        """One request for as many as may be in one, of one transfer syntax and stat or not; more where that
        is refused as a whole. See `mapdr.kernel.stage.SendsBatches`."""
        first = payloads[0]
        alike = list(takewhile(lambda each: _kind(each) == _kind(first), payloads))
        if self._throttle is not None:
            self._throttle.passes = first.stat
        limit = self.batch
        images = next(batches(alike, images=limit.images, size=limit.bytes))
        told: dict[int, Sent] = {}
        try:
            self._store_all(images, told)
        finally:
            for place in range(len(images)):
                if place not in told:
                    break  # those behind it that were answered are sent again: that is allowed
                sent.append(told[place])

    def _store_all(self, images: list[Payload], told: dict[int, Sent]) -> None:
        """Ask until each image has an outcome, in `told` by its place, or the server takes nothing now."""
        waiting = [list(range(len(images)))]
        while waiting:
            part = waiting.pop()
            at, clock = time.time(), time.perf_counter()
            said = self._store([images[place] for place in part])
            if isinstance(said, int):
                waiting += [part[said:], part[:said]]
                continue
            took, pairs = time.perf_counter() - clock, list(zip(part, said, strict=True))
            for place, outcome in pairs:
                if outcome is not None:
                    # Of a request that was answered each image has its share: a long one is no slow answer.
                    share = took if outcome.status is None else took / len(part)
                    told[place] = Sent(outcome, at, share)
            if again := [place for place, outcome in pairs if outcome is None]:
                waiting.append(again)
            elif _is_over(told[part[-1]].outcome):
                return

    def close(self) -> None:
        """Give the connection back. Safe twice."""
        self._ended(self)
        self._client.close()

    def _store(self, part: list[Payload]) -> Sequence[Outcome | None] | int:
        """What became of each image of one request, None for one that is to be asked for again; or where to
        divide the request, because nobody is known to be to blame."""
        if self._client.closed:
            return [closed()] * len(part)
        request = StowRequest(part)
        try:
            answer = _post(self._client, self._config.url, request)
        except (Temporary, ConfigurationError) as error:
            if self._client.closed:
                return [closed(error)] * len(part)
            outcome = unanswered(error)
            if outcome.begun:
                self._size.failed()
            return [outcome] * len(part)
        except Exception:
            # An image's own file cannot be read: those before it are sent without it first.
            blamed = request.reading
            at = next((at for at, each in enumerate(part) if each is blamed), len(part) // 2)
            if at:
                return at
            raise
        return self._said(part, answer)

    def _said(self, part: list[Payload], answer: Answer) -> Sequence[Outcome | None] | int:
        """As `_store`, by the answer."""
        status, many = answer.status, len(part) > 1
        class_ = kind(status)
        if class_ is Kind.TROUBLE:
            self._size.failed()
        else:
            self._size.answered()
        if class_ is Kind.TAKEN or status in BY_BODY:
            return self._by_body(part, answer)
        if class_ is Kind.TOO_LARGE and many:
            self._size.too_large(sum(each.length for each in part))
        if status in NO_SERVICE:
            return [waits(status, meaning(status), "no-service")] * len(part)
        last = class_ is Kind.SYNTAX and not all(self._syntaxes.instead(each.need) for each in part)
        if many and (last or class_ in (Kind.TOO_LARGE, Kind.REFUSED)):
            return len(part) // 2
        return [self._syntaxes.noted(each.need, by_status(answer, each.length)) for each in part]

    def _by_body(self, part: list[Payload], answer: Answer) -> Sequence[Outcome | None] | int:
        """As `_store`, by the answer's body. A request that failed may have ended at the image to blame: what
        it does not name is asked for again without the others."""
        status = answer.status
        try:
            said, why = _read(answer), ""
        except RemoteProtocolError as error:
            if status not in BY_BODY:
                return [waits(status, f"{error} (HTTP {status})", "unreadable-answer")] * len(part)
            said, why = StoreAnswer(), f"; {error}"
        named = [said.of(each.sop_instance_uid) for each in part]
        if status in BY_BODY and not any(named):
            if len(part) > 1:
                return len(part) // 2
            return [Outcome(Verdict.REFUSED, status, f"{meaning(status)}{_others(said)}{why}")]
        unnamed = None if status in BY_BODY else self._unnamed(said, status)
        return [
            unnamed if one is None else self._syntaxes.noted(each.need, _of_instance(one, status))
            for each, one in zip(part, named, strict=True)
        ]

    def _unnamed(self, said: StoreAnswer, status: int) -> Outcome:
        """An image that the answer does not name; it is trusted only where nothing else failed unnamed."""
        trusted = self._config.unnamed == "trust-2xx" and kind(status) is Kind.TAKEN
        if trusted and not said.others and not said.nameless:
            return Outcome(Verdict.DELIVERED, status, "not named in the answer: trusted by its status alone")
        words = f"the answer does not name the image (HTTP {status}){_others(said)}"
        return Outcome(Verdict.RETRY, status, words, reason="unnamed")


def _is_over(outcome: Outcome) -> bool:
    """Whether asking for more is of no use now: the destination waits, or the connection is lost."""
    return outcome.pause is not None or (outcome.peer_fault and outcome.status is None)


def _kind(payload: Payload) -> tuple[str, bool]:
    return payload.transfer_syntax_uid, payload.stat


def _post(client: HttpClient, root: str, request: StowRequest) -> Answer:
    headers = {"content-type": request.content_type, "accept": ACCEPT}
    body = Body(request, request.length)
    return client.request("POST", f"{root}/studies", headers=headers, body=body)


def _read(answer: Answer) -> StoreAnswer:
    if not answer.whole:
        raise RemoteProtocolError("the answer is too long")
    return read_answer(answer.body)


def _others(said: StoreAnswer) -> str:
    """What failed without a name, in words."""
    if said.others:
        return f"; of an image without a name it says: {failure(said.others[0])}"
    return "; it holds images without a name" if said.nameless else ""


def _of_instance(said: Stored | Failed, status: int) -> Outcome:
    """What the receiver says of one image; its reason is the status that is kept, else that of HTTP."""
    shown = status if said.reason is None else said.reason
    if isinstance(said, Stored):
        duplicate = said.reason == DUPLICATE_SOP_INSTANCE
        return Outcome(Verdict.DELIVERED, shown, said.words, duplicate=duplicate)
    match cause(said.reason):
        case Cause.DUPLICATE if not said.contradicted:
            return Outcome(Verdict.DELIVERED, shown, said.words, duplicate=True)
        case Cause.TROUBLE:
            return Outcome(Verdict.RETRY, shown, said.words, peer_fault=True)
        case Cause.SYNTAX:
            return Outcome(Verdict.SYNTAX_REFUSED, shown, said.words)
        case Cause.REFUSED:
            return Outcome(Verdict.REFUSED, shown, said.words)
        case _:
            return Outcome(Verdict.RETRY, shown, said.words)


def _away(answer: Answer) -> Outcome | None:
    """Why no image would be taken now, by the answer to a request without one."""
    status, words = answer.status, meaning(answer.status)
    if status in NO_SERVICE:
        return waits(status, words, "no-service")
    if status in AWAY or kind(status) in (Kind.NOT_LET_IN, Kind.REDIRECTED):
        outcome = by_status(answer, 0)
        return outcome if outcome.pause is not None else waits(status, words, "unreachable", SOON)
    return None


def _doubts(config: DicomwebEgressConfig) -> Iterator[Finding]:
    if config.url.endswith("/studies"):
        yield Finding(("url",), "ends in /studies, which is added to it", "write the service root alone")
    yield from config.doubts(config.url)


def build(settings: Settings, config: DicomwebEgressConfig, next: None) -> DicomwebEgress:
    """The destination for a node."""
    return DicomwebEgress(settings, config)


STAGE = Factory(
    "egress",
    "dicomweb",
    DicomwebEgressConfig,
    build,
    faults=lambda config: config.faults(),
    doubts=_doubts,
    certificates=lambda config: certificates(config.tls),
    peer=lambda config: endpoint(config.url),
)
