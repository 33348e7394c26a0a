"""What lies between this node and a web server that takes files: HEAD and OPTIONS, which store nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

from mapdr.egress.http import HttpEgressConfig
from mapdr.egress.reach_http import bounded, no_answer, not_let_in, reach_server
from mapdr.kernel.errors import ConfigurationError, Temporary
from mapdr.kernel.examine import Examination, Level, PeerFinding
from mapdr.net.http.client import Answer, HttpClient, Server
from mapdr.net.http.status import Kind, kind, meaning

PART = "HTTP"


def examine(
    config: HttpEgressConfig, url: str, method: str, asked: Examination, *, away: frozenset[int]
) -> Iterator[PeerFinding]:
    """Every step up to the test image. `url` is the folder that files go into, `method` how they are sent.

    `away` are statuses to HEAD with which no image would be taken.
    """
    server = Server(bounded(config, asked.seconds), "examination")
    if not (yield from reach_server(config, url, server, asked.seconds)):
        return
    client = server.client()
    try:
        yield from _requests(client, config, url, method, away)
    except (Temporary, ConfigurationError) as error:
        yield no_answer(error, config, url, PART, asked.seconds)
    finally:
        client.close()


def _requests(
    client: HttpClient, config: HttpEgressConfig, url: str, method: str, away: frozenset[int]
) -> Iterator[PeerFinding]:
    started = time.perf_counter()
    head = client.request("HEAD", url)
    took = (time.perf_counter() - started) * 1000
    if head.status in (401, 407):
        yield not_let_in(head, config)
        return
    if kind(head.status) is Kind.REDIRECTED:
        cure = "set url to where the service is: redirects are followed to the same host over https alone"
        yield PeerFinding(PART, Level.BAD, meaning(head.status), cure)
        return
    if head.status in away:
        yield PeerFinding(
            PART, Level.BAD, meaning(head.status), "look after the server; images wait meanwhile"
        )
        return
    text = f"{head.version}: HEAD of the folder was answered by {head.status}"
    if kind(head.status) is not Kind.TAKEN:
        text += ", which may be due to HEAD; whether files are taken shows with one (--test-image)"
    yield PeerFinding(PART, Level.GOOD if kind(head.status) is Kind.TAKEN else Level.INFO, text, "", took)
    yield _allowed(client.request("OPTIONS", url), method)


def _allowed(answer: Answer, method: str) -> PeerFinding:
    """Whether OPTIONS (RFC 9110, section 9.3.7) names the method that files are sent with."""
    allowed = {each.strip().upper() for each in answer.headers.get("allow", "").split(",") if each.strip()}
    if not allowed:
        return PeerFinding("methods", Level.INFO, f"OPTIONS ({answer.status}) names none, as most servers do")
    if method in allowed:
        return PeerFinding("methods", Level.GOOD, f"OPTIONS names {method} among those that are allowed")
    text = f"OPTIONS does not name {method} among those that are allowed for the folder"
    return PeerFinding("methods", Level.WARN, text, "set method to what the server takes, or correct url")
