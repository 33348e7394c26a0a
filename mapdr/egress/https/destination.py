"""One POST or PUT of a DICOM file (PS3.10) for each image, to a URL that its tags are put into.

Such servers answer with a status alone, so the configuration says which ones mean that they have the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field

from mapdr.dicom.template import Template
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
from mapdr.egress.https.examine import examine as examine_server
from mapdr.egress.part10 import Part10
from mapdr.egress.tags import tags_of
from mapdr.kernel.errors import ConfigurationError, Permanent, Temporary
from mapdr.kernel.examine import Examination, PeerFinding, and_test_image
from mapdr.kernel.finding import Finding
from mapdr.kernel.item import Acceptance, Need, Outcome, Payload, TagPath, Verdict
from mapdr.kernel.stage import Factory, Settings
from mapdr.net.http.client import Body, Server
from mapdr.net.http.config import check_url
from mapdr.net.http.status import Kind, kind, meaning
from mapdr.net.rate import Throttle
from mapdr.net.tls import certificates

LONGEST_URL = 1 << 16
"""Characters of a URL that can be asked for; most servers take an eighth of it."""

AWAY = frozenset({401, 407, 429, 502, 503, 504, 507})
"""Statuses to a HEAD request with which no image would be taken: 403, 404 and 405 may be due to HEAD."""


def _url(text: str) -> str:
    try:
        template = Template.parse(text)
    except ValueError as error:
        # A URL may hold a token, and so is not repeated; a placeholder's name may be.
        if "a lone" in str(error):
            raise ValueError("has a lone brace; write {{ or }} for the brace itself") from None
        raise
    check_url(template.render(lambda path: "x"))
    before = template.parts[0] if template.parts and isinstance(template.parts[0], str) else ""
    if before.count("/") < 3:
        raise ValueError("has a placeholder before its path; write host and port as they are")
    return text


def _delivered(status: int) -> int:
    if kind(status) not in (Kind.TAKEN, Kind.REFUSED):
        raise ValueError(f"is not possible: HTTP {status} never says that a server has the image")
    return status


class HttpsEgressConfig(HttpEgressConfig):
    """`[egress.NAME]` with `type = "https"`; `url` may hold tags, as `{SOPInstanceUID}`."""

    url: Annotated[str, AfterValidator(_url)]
    method: Literal["PUT", "POST"] = "PUT"
    delivered: tuple[Annotated[int, Field(ge=200, le=499), AfterValidator(_delivered)], ...] = Field(
        default=(200, 201, 204), min_length=1
    )


class HttpsEgress(HttpEgress):
    """A destination reached by uploads of single files."""

    def __init__(self, settings: Settings, config: HttpsEgressConfig) -> None:
        template = Template.parse(config.url)
        super().__init__(settings, config, _base(template))
        self._config = config
        self._template = template

    def connect(self, needs: Sequence[Need]) -> UploadSession:
        """A client of its own; nothing is sent yet."""
        session = UploadSession(
            self._server, self._throttle(), self._config, self._template, self._open.discard
        )
        self._open.add(session)
        return session

    def probe(self) -> Outcome:
        """HEAD of the folder before the first placeholder: nothing is stored, any answer shows the server."""
        client = self._server.client()
        try:
            answer = client.request("HEAD", _base(self._template))
        except (Temporary, ConfigurationError) as error:
            return unanswered(error)
        finally:
            client.close()
        if answer.status in AWAY:
            outcome = by_status(answer, 0)
            words = meaning(answer.status)
            return outcome if outcome.pause is not None else waits(answer.status, words, "unreachable", SOON)
        return Outcome(Verdict.DELIVERED, answer.status)

    def examine(self, examination: Examination) -> Iterator[PeerFinding]:
        """See `mapdr.kernel.examine.Examines`."""
        config = self._config
        found = examine_server(config, _base(self._template), config.method, examination, away=AWAY)
        return and_test_image(found, self, examination)


class UploadSession:
    """One client, for one thread; `close` may come from another and then ends the request under way."""

    def __init__(
        self,
        server: Server,
        throttle: Throttle | None,
        config: HttpsEgressConfig,
        template: Template,
        ended: Callable[[UploadSession], object],
    ) -> None:
        """`throttle` is what this session keeps to. `template` is that of the URL; `ended` is called when the
        session is closed."""
        self._client = server.client(throttle)
        self._throttle = throttle
        self._config = config
        self._template = template
        self._ended = ended
        self._syntaxes = RefusedSyntaxes(config.syntaxes)

    def acceptance(self, need: Need) -> Acceptance | None:
        """See `RefusedSyntaxes`."""
        return None if self._client.closed else self._syntaxes.acceptance(need)

    def send(self, payload: Payload) -> Outcome:
        """One request; raises what reading the image's own file raises, and Permanent if its tags make no
        URL."""
        if self._client.closed:
            return closed()
        url, file = url_of(self._template, payload), Part10(payload)
        headers = {"content-type": "application/dicom"}
        if self._throttle is not None:
            self._throttle.passes = payload.stat
        try:
            answer = self._client.request(
                self._config.method, url, headers=headers, body=Body(file, file.length)
            )
        except (Temporary, ConfigurationError) as error:
            return closed(error) if self._client.closed else unanswered(error)
        status = answer.status
        if status in self._config.delivered:
            return Outcome(Verdict.DELIVERED, status)
        if kind(status) is Kind.TAKEN:
            words = f"HTTP {status} is not among the statuses that mean delivered"
            return Outcome(Verdict.RETRY, status, words, reason="unconfirmed")
        need = payload.need
        return self._syntaxes.noted(need, by_status(answer, payload.length))

    def close(self) -> None:
        """Give the connection back. Safe twice."""
        self._ended(self)
        self._client.close()


def url_of(template: Template, payload: Payload) -> str:
    """The URL for an image as it leaves; values are percent-encoded, with `/` and all (RFC 3986).

    Raises Permanent(reason="url") for an empty value, for one of dots, which would name another folder, and
    for values that make no URL that can be sent.
    """
    header = tags_of(payload, template.paths) if template.paths else None

    def lookup(path: TagPath) -> str:
        assert header is not None
        value = header.text(path)
        if not value.strip("."):
            tag = f"({path[-1] >> 16:04X},{path[-1] & 0xFFFF:04X})"
            what = "names another folder" if value else "is empty or missing"
            raise Permanent(f"no URL can be made: {tag} {what}", reason="url")
        return quote(value, safe="")

    url = template.render(lookup)
    if len(url) > LONGEST_URL:
        raise Permanent("no URL can be made: its values are too long", reason="url")
    return url


def _base(template: Template) -> str:
    """The URL up to the folder in which the first placeholder stands."""
    before = str(template.parts[0])
    return before if len(template.parts) == 1 else before[: before.rindex("/", 8) + 1]


def _doubts(config: HttpsEgressConfig) -> Iterator[Finding]:
    if Template.parse(config.url).constant is not None and config.method == "PUT":
        what = "is the same for all images: each replaces the one before"
        yield Finding(("url",), what, "put {SOPInstanceUID} into it")
    yield from config.doubts(config.url)


def build(settings: Settings, config: HttpsEgressConfig, next: None) -> HttpsEgress:
    """The destination for a node."""
    return HttpsEgress(settings, config)


STAGE = Factory(
    "egress",
    "https",
    HttpsEgressConfig,
    build,
    faults=lambda config: config.faults(),
    doubts=_doubts,
    certificates=lambda config: certificates(config.tls),
    peer=lambda config: endpoint(_base(Template.parse(config.url))),
)
