"""Who is let in to a DICOMweb receiver, and what is said of those who are not."""

from __future__ import annotations

import ssl
import time
from http.client import HTTPException
from pathlib import Path

import pytest
from pydantic import ValidationError

from mapdr.kernel import tls_words
from mapdr.kernel.certificate import OWN, PEER
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.item import Source
from mapdr.kernel.watch import Event, Watch
from mapdr.receive.dicomweb.receiver import STAGE
from mapdr.testing.generator import study
from mapdr.testing.wait import until
from peers.httpd import certificate
from peers.stow_client import TYPE, Raw, basic, bearer, request, store
from receive.dicomweb.conftest import Start
from receive.fakes import FakeIntake

IMAGE = next(iter(study("CT", images=1, size=(16, 16))))
TOKEN, PASSWORD = "t0ken-of-the-ris", "pässword:with:colons"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    monkeypatch.setenv("WEB_TOKEN", TOKEN)
    (tmp_path / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    return {"tokens": {"ris": "env:WEB_TOKEN"}, "users": {"gateway": f"file:{tmp_path / 'password'}"}}


@pytest.mark.parametrize(
    ("headers", "credential"), [(bearer(TOKEN), "token:ris"), (basic("gateway", PASSWORD), "user:gateway")]
)
def test_who_logs_in_is_known_by_the_name_of_its_login(
    web: Start, intake: FakeIntake, secrets: dict[str, str], headers: dict[str, str], credential: str
) -> None:
    assert store(web(**secrets).port, [IMAGE], headers=headers).status == 200
    assert intake.kept[0].source == Source("web", "", "", "127.0.0.1", "dicomweb", credential)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer(TOKEN + "x"),
        bearer(TOKEN[:-1]),
        basic("gateway", "wrong"),
        basic("ris", TOKEN),
        basic("gateway", ""),
        basic("", PASSWORD),
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Basic ####"},
        {"Authorization": TOKEN},
        {"Authorization": f"Digest {TOKEN}"},
    ],
)
def test_who_does_not_log_in_is_not_let_in_and_shown(
    web: Start,
    intake: FakeIntake,
    watch: Watch,
    secrets: dict[str, str],
    headers: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver = web(**secrets)
    for _ in range(2):
        answer = store(receiver.port, [IMAGE], headers=headers)
        assert answer.status == 401
        assert "Bearer" in answer.headers["www-authenticate"]
        assert "Basic" in answer.headers["www-authenticate"]
        assert len(answer.text.split()) > 3
    assert intake.begun == 0
    (rejection,) = receiver.describe().rejected
    assert (rejection.address, rejection.times) == ("127.0.0.1", 2)
    assert "[receive.web]" in rejection.cure
    assert watch.counters()["receive.web.rejected"] == 2
    told = caplog.text + str(watch.recent()) + str(rejection)
    assert TOKEN not in told
    assert PASSWORD not in told


def test_a_stranger_does_not_fill_the_log(
    web: Start,
    watch: Watch,
    secrets: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mapdr.receive.dicomweb.app.KEPT", 1)
    events: list[Event] = []
    watch.observe(events.append)
    receiver = web(**secrets)
    for _ in range(10):
        for headers in ({}, bearer("wrong")):  # by turns, so that one cause does not hide the other
            assert store(receiver.port, [IMAGE], headers=headers).status == 401
    lines = [record for record in caplog.records if "rejected:" in record.getMessage()]
    assert [record.levelname for record in lines] == ["WARNING"] * 2
    assert [event.facts["peer"] for event in events if event.kind == "association.rejected"] == [
        "127.0.0.1",
        "others",
    ]
    assert watch.counters()["receive.web.rejected"] == 20
    assert sum(one.times for one in receiver.describe().rejected) == 20


def test_nothing_is_told_to_who_is_not_let_in(web: Start, secrets: dict[str, str]) -> None:
    port = web(**secrets).port
    assert request(port, path="/nothing", method="GET").status == 401
    assert request(port, method="GET").status == 401
    with Raw(port) as raw:
        line = f"Authorization: Bearer {TOKEN}"
        assert raw.head(line, line, "Content-Length: 0").answer().status == 401


def test_who_waits_for_100_continue_need_not_send_for_nothing(web: Start, secrets: dict[str, str]) -> None:
    with Raw(web(**secrets).port) as raw:
        raw.head(f"Content-Type: {TYPE}", "Content-Length: 1000000", "Expect: 100-continue")
        assert raw.answer().status == 401
        assert raw.at_end()


def test_who_goes_on_sending_after_a_refusal_keeps_nobody_out(web: Start, secrets: dict[str, str]) -> None:
    receiver = web(max_requests=2, **secrets)
    raws = [Raw(receiver.port).head("Content-Length: 1000000") for _ in range(60)]
    assert store(receiver.port, [IMAGE], headers=bearer(TOKEN)).status == 200
    assert receiver.describe().associations <= 2 + 16 + 2
    for raw in raws:
        raw.close()


def test_a_secret_that_changes_counts_from_the_next_request_on(
    web: Start, secrets: dict[str, str], tmp_path: Path
) -> None:
    port = web(**secrets).port
    (tmp_path / "password").write_text("another")
    assert store(port, [IMAGE], headers=basic("gateway", PASSWORD)).status == 401
    assert store(port, [IMAGE], headers=basic("gateway", "another")).status == 200
    (tmp_path / "password").unlink()
    assert store(port, [IMAGE], headers=basic("gateway", "")).status == 401
    assert store(port, [IMAGE], headers=bearer(TOKEN)).status == 200


def test_a_secret_that_is_not_there_keeps_it_from_starting(web: Start) -> None:
    with pytest.raises(ConfigurationError, match=r"receive\.web: .*env:NO_SUCH_TOKEN"):
        web(tokens={"ris": "env:NO_SUCH_TOKEN"})


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::", "pacs.example"])
def test_everybody_is_let_in_on_loopback_only(host: str) -> None:
    with pytest.raises(ValidationError) as raised:
        STAGE.config.model_validate({"host": host})
    assert "add tokens" in str(raised.value)
    STAGE.config.model_validate({"host": host, "tokens": {"ris": "env:WEB_TOKEN"}})
    STAGE.config.model_validate({"host": host, "tls": {"cert": "c", "key": "k", "ca": "a"}})
    with pytest.raises(ValidationError):
        STAGE.config.model_validate({"host": host, "tls": {"cert": "c", "key": "k"}})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_login(host: str) -> None:
    assert STAGE.config.model_validate({"host": host}).open


@pytest.mark.parametrize("name", ["", "a:b", "a b", 'a"b', "ä", "x" * 65])
def test_names_that_cannot_be_shown_or_sent(name: str) -> None:
    with pytest.raises(ValidationError):
        STAGE.config.model_validate({"users": {name: "env:WEB_TOKEN"}})
    STAGE.config.model_validate({"users": {"x": "env:WEB_TOKEN", "x" * 64: "env:WEB_TOKEN"}})


def test_an_open_receiver_is_no_way_in_for_web_pages(web: Start, intake: FakeIntake) -> None:
    """A name that leads here is not enough: a page from elsewhere may have it."""
    receiver = web()
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "[2001:db8::1]:8080"):
        answer = store(receiver.port, [IMAGE], headers={"Host": host})
        assert answer.status == 403
        assert "localhost" in answer.text
    assert intake.begun == 0
    assert receiver.describe().rejected[0].times == 4
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "127.1.2.3"):
        assert store(receiver.port, [IMAGE], headers={"Host": host}).status == 200


class TestTls:
    @pytest.fixture
    def files(self, tmp_path: Path) -> dict[str, Path]:
        cert, key = certificate(tmp_path)
        return {"cert": cert, "key": key}

    @pytest.fixture
    def client(self, tmp_path: Path) -> tuple[Path, Path]:
        folder = tmp_path / "client"
        folder.mkdir()
        return certificate(folder, "gateway.example")

    def trusting(self, files: dict[str, Path], shown: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=files["cert"])
        if shown is not None:
            context.load_cert_chain(*shown)
        return context

    def test_instances_come_in(self, web: Start, intake: FakeIntake, files: dict[str, Path]) -> None:
        receiver = web(tls=files)
        images = list(study("CT", images=3, size=(256, 256)))
        assert store(receiver.port, images, tls=self.trusting(files)).status == 200
        assert [kept.data for kept in intake.kept] == [image.dataset for image in images]
        assert receiver.describe().tls

    def test_a_certificate_is_what_the_peer_has_proved(
        self, web: Start, intake: FakeIntake, files: dict[str, Path], client: tuple[Path, Path]
    ) -> None:
        receiver = web(tls={**files, "ca": client[0]})
        assert store(receiver.port, [IMAGE], tls=self.trusting(files, client)).status == 200
        credential = intake.kept[0].source.credential
        assert credential.startswith("certificate:gateway.example sha256:")
        # It ends tomorrow, and so does this side's: both are to be warned about.
        told = receiver.describe().certificates
        assert {each.whose for each in told if each.ends_soon(time.time())} >= {OWN, PEER}

    def test_peers_that_show_none_are_shown(
        self, web: Start, intake: FakeIntake, files: dict[str, Path], client: tuple[Path, Path], watch: Watch
    ) -> None:
        receiver = web(tls={**files, "ca": client[0]})
        for context in (self.trusting(files), None):
            with pytest.raises((OSError, HTTPException)):
                store(receiver.port, [IMAGE], tls=context)
        until(lambda: len(receiver.describe().rejected) == 2, 5, "both rejections")
        causes = [one.cause for one in receiver.describe().rejected]
        assert any("certificate" in cause for cause in causes)
        assert any("does not speak TLS" in cause for cause in causes)
        assert set(causes) == {f"rejected: {tls_words.NO_CERTIFICATE}", f"rejected: {tls_words.NOT_TLS}"}
        assert all("[receive.web]" in one.cure for one in receiver.describe().rejected)
        assert watch.counters()["receive.web.rejected"] == 2

    def test_a_handshake_that_does_not_come_keeps_nobody_out(
        self, web: Start, files: dict[str, Path]
    ) -> None:
        receiver = web(tls=files, max_requests=2)
        raws = [Raw(receiver.port) for _ in range(30)]
        assert store(receiver.port, [IMAGE], tls=self.trusting(files)).status == 200
        began = time.monotonic()
        receiver.stop(time.monotonic() + 3)
        assert time.monotonic() - began < 2
        for raw in raws:
            raw.close()

    def test_a_file_that_cannot_be_used_is_named(self, web: Start, tmp_path: Path) -> None:
        (tmp_path / "none.pem").write_text("none")
        with pytest.raises(ConfigurationError, match=r"receive\.web: .*none\.pem"):
            web(tls={"cert": tmp_path / "none.pem", "key": tmp_path / "none.pem"})

    def test_a_changed_certificate_is_taken_into_use(
        self, web: Start, files: dict[str, Path], tmp_path: Path
    ) -> None:
        receiver = web(tls=files)
        assert store(receiver.port, [IMAGE], tls=self.trusting(files)).status == 200
        folder = tmp_path / "renewed"
        folder.mkdir()
        cert, key = certificate(folder)
        files["cert"].write_bytes(cert.read_bytes())
        files["key"].write_bytes(key.read_bytes())

        def renewed() -> bool:
            try:
                return store(receiver.port, [IMAGE], tls=self.trusting(files)).status == 200
            except ssl.SSLError:
                return False

        until(renewed, 10, "the new certificate")


def test_without_tls_a_network_is_warned_about() -> None:
    config = STAGE.config.model_validate({"host": "0.0.0.0", "tokens": {"ris": "env:WEB_TOKEN"}})
    (doubt,) = STAGE.doubts(config)
    assert doubt.place == ("host",)
    assert not list(STAGE.doubts(STAGE.config.model_validate({})))
