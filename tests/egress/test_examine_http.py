"""The examination of web servers: the way there, the login, and a request that stores nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egress.dicomweb.answers import REFERENCED, Entry, in_json
from mapdr.kernel.examine import Examination, Examines, Level, PeerFinding
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Egress, Settings
from mapdr.kernel.watch import Watch
from mapdr.testing.marked import PATIENT_ID, marked_image
from mapdr.testing.peer import Line, Listener
from peers.httpd import Asked, Httpd, Said, certificate, server_tls, serving
from peers.orthanc import DICOMWEB, Orthanc
from peers.stow import uids_of

SECRET = "hunter2hunter2"


def made(type_: str, url: str, **config: Any) -> Egress:
    factory = Registry().factory("egress", type_)
    settings = Settings("cloud", "north", Path(), bytes(32), Watch())
    stage: Egress = factory.build(settings, factory.config.model_validate({"url": url, **config}), None)
    stage.start()
    return stage


def found(type_: str, url: str, *, image: bool = False, **config: Any) -> list[PeerFinding]:
    stage = made(type_, url, **config)
    assert isinstance(stage, Examines)
    asked = Examination(images=marked_image() if image else (), seconds=2)
    findings = list(stage.examine(asked))
    assert all(each.cure for each in findings if each.level in (Level.WARN, Level.BAD))
    assert SECRET not in repr(findings)
    return findings


def stow(url: str, **more: Any) -> list[PeerFinding]:
    return found("dicomweb", url + "/dicom-web", **more)


def bad(findings: list[PeerFinding]) -> PeerFinding:
    (only,) = [each for each in findings if each.level is Level.BAD]
    return only


def part(findings: list[PeerFinding], name: str) -> PeerFinding:
    (only,) = [each for each in findings if each.part == name]
    return only


# --- DICOMweb -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202, 204, 400, 409, 415])
def test_a_service_answers_a_request_without_an_image(status: int) -> None:
    with serving(lambda asked: Said(status)) as server:
        findings = stow(server.url)
        (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/dicom-web/studies")
    assert not uids_of(asked)
    assert {each.level for each in findings} <= {Level.GOOD, Level.INFO}
    assert str(status) in part(findings, "STOW-RS").text
    assert part(findings, "HTTP").text.startswith("HTTP/1.1")


@pytest.mark.parametrize(
    ("said", "name", "words", "cure"),
    [
        (Said(401), "login", "asks for a login, or does not accept this one", "set auth"),
        (Said(401, headers={"WWW-Authenticate": 'Basic realm="x"'}), "login", "401", "user and password"),
        (Said(403), "login", "does not allow this", "allow storing"),
        (Said(407), "login", "proxy", "proxy_auth"),
        (Said(302, headers={"Location": "http://else.example/"}), "STOW-RS", "redirects", "set url"),
        (Said(404), "STOW-RS", "knows no such path", "service root"),
        (Said(405), "STOW-RS", "takes nothing at this path", "service root"),
        (Said(501), "STOW-RS", "cannot do this", "service root"),
        (Said(503), "STOW-RS", "out of service", "images wait"),
        (Said(507), "STOW-RS", "no room", "images wait"),
        (Said(200, b"<html>", {"Content-Type": "text/html"}), "STOW-RS", "web page", "service root"),
    ],
)
def test_each_answer_that_keeps_images_away(said: Said, name: str, words: str, cure: str) -> None:
    with serving(lambda asked: said) as server:
        last = bad(stow(server.url))
    assert last.part == name
    assert words in last.text
    assert cure in last.cure


def test_a_failure_may_be_due_to_the_request_without_an_image() -> None:
    with serving(lambda asked: Said(500)) as server:
        told = part(stow(server.url), "STOW-RS")
    assert (told.level, "--test-image" in told.cure) == (Level.WARN, True)


def test_a_login_that_is_refused_names_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", SECRET)
    with serving(lambda asked: Said(401)) as server:
        findings = stow(server.url, auth={"user": "me", "password": "env:PASSWORD"})
    told = [each for each in findings if each.part == "login"]
    assert [each.level for each in told] == [Level.INFO, Level.BAD]
    assert "correct auth" in told[1].cure


def test_a_secret_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", SECRET)
    with serving(lambda asked: Said()) as server:
        stage = made("dicomweb", server.url, auth={"user": "me", "password": "env:PASSWORD"})
        monkeypatch.delenv("PASSWORD")
        assert isinstance(stage, Examines)
        (told,) = stage.examine(Examination(seconds=1))
    assert (told.level, "PASSWORD" in told.text) == (Level.BAD, True)


@pytest.mark.parametrize("given", [True, False])
def test_a_token_is_got_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool) -> None:
    monkeypatch.setenv("CLIENT", SECRET)
    files = certificate(tmp_path)

    def script(asked: Asked) -> Said:
        if asked.path == "/token" and given:
            return Said(200, b'{"access_token": "abc", "token_type": "Bearer"}')
        return Said(400, b'{"error": "invalid_client"}')

    with serving(script, server_tls(files)) as server:
        auth = {"token_url": server.url + "/token", "client_id": "me", "client_secret": "env:CLIENT"}
        findings = stow(server.url, auth=auth, tls={"ca": str(files[0])})
    assert part(findings, "certificate").level is Level.WARN  # it is valid for a day
    told = part(findings, "login")
    if given:
        assert (told.level, "gave a token" in told.text) == (Level.GOOD, True)
        assert part(findings, "STOW-RS").level is Level.GOOD
    else:
        assert (told.level, "invalid_client" in told.text) == (Level.BAD, True)
        assert "token_url" in told.cure


def test_a_url_that_says_http_to_a_server_with_tls(tmp_path: Path) -> None:
    with serving(lambda asked: Said(), server_tls(certificate(tmp_path))) as server:
        last = bad(stow(server.url.replace("https", "http")))
    assert last.text == "the server speaks TLS, and the URL says http"
    assert "https://" in last.cure


def test_a_url_that_says_https_to_a_server_without_tls() -> None:
    with serving(lambda asked: Said(400)) as server:
        last = bad(stow(server.url.replace("http", "https")))
    assert (last.part, "does not speak TLS" in last.text) == ("TLS", True)
    assert "http://" in last.cure


def test_a_server_that_never_answers() -> None:
    def silent(line: Line) -> None:
        line.closed()

    with Listener(silent) as listener:
        last = bad(stow(f"http://127.0.0.1:{listener.port}"))
    assert "timed out" in last.text


def test_a_proxy_that_is_not_there_is_what_is_told(free_port: int) -> None:
    findings = found("dicomweb", "https://cloud.example/dicom-web", proxy=f"http://127.0.0.1:{free_port}")
    assert part(findings, "proxy").level is Level.INFO
    assert bad(findings).part == "TCP"


def test_a_test_image_is_stored_only_if_it_is_asked_for() -> None:
    def script(asked: Asked) -> Said:
        return Said(200, in_json([Entry(REFERENCED, uid) for uid in uids_of(asked)]))

    with serving(script) as server:
        assert "test image" not in [each.part for each in stow(server.url)]
        assert not any(uids_of(asked) for asked in server.asked)
        told = part(stow(server.url, image=True), "test image")
        (image,) = [asked for asked in server.asked if uids_of(asked)]
    assert PATIENT_ID.encode() in image.body
    assert (told.level, "HTTP 200" in told.text) == (Level.GOOD, True)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if not DICOMWEB.is_file():
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    peer = Orthanc(tmp_path_factory.mktemp("orthanc"), dicomweb=True)
    yield peer
    peer.stop()


@pytest.mark.peer("Orthanc")
def test_orthanc_is_examined_and_takes_the_test_image(orthanc: Orthanc) -> None:
    assert "knows no such path" in bad(found("dicomweb", orthanc.dicomweb_url + "/else")).text
    findings = found("dicomweb", orthanc.dicomweb_url)
    assert {each.level for each in findings} <= {Level.GOOD, Level.INFO}
    assert not orthanc.instances()
    told = part(found("dicomweb", orthanc.dicomweb_url, image=True), "test image")
    assert told.level is Level.GOOD
    assert len(orthanc.instances()) == 1


# --- plain HTTPS --------------------------------------------------------------------------------------------


def uploads(server: Httpd, **more: Any) -> list[PeerFinding]:
    return found("https", server.url + "/in/{SOPInstanceUID}", **more)


def test_a_folder_of_a_web_server_is_asked_without_storing() -> None:
    with serving(lambda asked: Said(200, headers={"Allow": "GET, PUT"})) as server:
        findings = uploads(server)
        methods = [(asked.method, asked.path) for asked in server.asked]
    assert methods == [("HEAD", "/in/"), ("OPTIONS", "/in/")]
    assert {each.level for each in findings} <= {Level.GOOD, Level.INFO}
    assert "PUT" in part(findings, "methods").text


@pytest.mark.parametrize(
    ("said", "name", "level"),
    [
        (Said(401), "login", Level.BAD),
        (Said(503), "HTTP", Level.BAD),
        (Said(301, headers={"Location": "http://else.example/"}), "HTTP", Level.BAD),
        (Said(404), "HTTP", Level.INFO),
        (Said(405), "HTTP", Level.INFO),
        (Said(200, headers={"Allow": "GET, HEAD"}), "methods", Level.WARN),
    ],
)
def test_each_answer_to_head(said: Said, name: str, level: Level) -> None:
    with serving(lambda asked: said) as server:
        assert [each for each in uploads(server) if each.part == name][-1].level is level


@pytest.mark.parametrize(("status", "level"), [(201, Level.GOOD), (403, Level.BAD), (507, Level.BAD)])
def test_a_test_image_over_https(status: int, level: Level) -> None:
    with serving(lambda asked: Said(status if asked.method == "PUT" else 200)) as server:
        told = part(uploads(server, image=True), "test image")
        assert [asked.method for asked in server.asked] == ["HEAD", "OPTIONS", "PUT"]
    assert (told.level, str(status) in told.text) == (level, True)
