"""What lies between this node and a DICOMweb server, up to a STOW-RS request without an image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from mapdr.egress.http import HttpEgressConfig
from mapdr.egress.reach_http import bounded, no_answer, not_let_in, reach_server, speaks_tls
from mapdr.kernel.errors import ConfigurationError, Temporary
from mapdr.kernel.examine import Examination, Level, PeerFinding
from mapdr.net.http.client import Answer, HttpClient, Server
from mapdr.net.http.status import Kind, kind, meaning

PART = "STOW-RS"

_ROOT = "correct url: it is the service root, without /studies (Orthanc: http://host:8042/dicom-web)"


def examine(
    config: HttpEgressConfig,
    url: str,
    ask: Callable[[HttpClient], Answer],
    asked: Examination,
    *,
    absent: frozenset[int],
    away: frozenset[int],
) -> Iterator[PeerFinding]:
    """Every step up to the test image. `ask` makes the request without an image.

    `absent` are statuses that say that nothing can be stored there, `away` those that say so for now.
    """
    server = Server(bounded(config, asked.seconds), "examination")
    if not (yield from reach_server(config, url, server, asked.seconds)):
        return
    client = server.client()
    started = time.perf_counter()
    try:
        answer = ask(client)
    except (Temporary, ConfigurationError) as error:
        yield no_answer(error, config, url, PART, asked.seconds)
        return
    finally:
        client.close()
    took = (time.perf_counter() - started) * 1000
    yield PeerFinding("HTTP", Level.GOOD, f"{answer.version}, answered by status {answer.status}", "", took)
    status, words = answer.status, meaning(answer.status)
    if kind(status) is Kind.NOT_LET_IN:
        yield not_let_in(answer, config)
    elif kind(status) is Kind.REDIRECTED:
        cure = "set url to where the service is: redirects are followed to the same host over https alone"
        yield PeerFinding(PART, Level.BAD, words, cure)
    elif status in absent:
        yield PeerFinding(PART, Level.BAD, words, _ROOT)
    elif status in away:
        yield PeerFinding(PART, Level.BAD, words, "look after the server; images wait meanwhile")
    elif _is_page(answer) and config.proxy is None and speaks_tls(url, asked.seconds):
        yield PeerFinding(
            PART, Level.BAD, "the server speaks TLS, and the URL says http", "write https://..."
        )
    elif kind(status) is Kind.TAKEN and _is_page(answer):
        text = (
            f"a web page came with status {status}: this is no STOW-RS service, or a login page is before it"
        )
        yield PeerFinding(PART, Level.BAD, text, _ROOT)
    elif kind(status) is Kind.TROUBLE:
        text = f"{words}: that may be due to the request without an image"
        yield PeerFinding(
            PART, Level.WARN, text, "store a test image (--test-image) to know; read the server's log"
        )
    else:
        text = f"a request without an image got {status}; 200, 202, 204, 400, 409 and 415 are expected"
        yield PeerFinding(PART, Level.GOOD, text)


def _is_page(answer: Answer) -> bool:
    return "html" in answer.headers.get("content-type", "").lower()
