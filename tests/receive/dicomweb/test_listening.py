"""A DICOMweb receiver's port, what its web server is given, and its end: with a server that is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.stage import Rejection, Settings
from mapdr.kernel.watch import Watch
from mapdr.net.http import server
from mapdr.receive.dicomweb import app
from mapdr.receive.dicomweb import receiver as module
from mapdr.receive.dicomweb.config import DicomwebReceiveConfig
from mapdr.receive.dicomweb.receiver import SPARE, STAGE, DicomwebReceiver
from receive.fakes import FakeIntake
from receive.ports import ANY_PORT, Ports

REFUSED = Rejection("10.1.2.3", "", "", "rejected: it does not log in", "a cure", 3, 5.0)


class Server:
    """A web server that serves nobody; it has ended in time, or not."""

    made: list[Server] = []  # noqa: RUF012  emptied by each test

    def __init__(self, *facts: Any, **options: Any) -> None:
        self.facts, self.options = facts, options
        self.connections, self.ends_in_time = 3, True
        self.done: list[Any] = []
        Server.made.append(self)

    def start(self) -> None:
        self.done.append("start")

    def stop(self, deadline: float) -> bool:
        self.done.append(deadline)
        return self.ends_in_time


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> Ports:
    found = Ports()
    Server.made = []
    monkeypatch.setattr(module, "listen", found.listen)
    monkeypatch.setattr(server, "WebServer", Server)
    return found


def receiver(tmp_path: Path, name: str = "web", **options: Any) -> DicomwebReceiver:
    config = STAGE.config.model_validate({"port": 8042, **options})
    return STAGE.build(Settings(name, "node", tmp_path, bytes(32), Watch()), config, FakeIntake())


def socket_of(made: DicomwebReceiver) -> Any:
    return made._listener


def test_the_port_is_taken_once_and_given_back(
    tmp_path: Path, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = receiver(tmp_path, port=0, max_requests=5, idle_timeout=7.0, request_timeout=70.0)
    assert made.port == 0
    made.acquire()
    assert made.port == ANY_PORT
    made.start()
    assert ports.asked == [("127.0.0.1", 0)]
    (served,) = Server.made
    name, application, listener, limits = served.facts
    assert (name, listener, served.done) == ("web-web", socket_of(made), ["start"])
    assert limits == server.Limits(7.0, 70.0, 5 + SPARE)
    assert callable(application)
    assert (served.options["tls"], served.options["watch"]) == (None, made._settings.watch)
    assert made.describe().associations == 3
    pool: Any = made._pool
    assert pool._max_workers == 5
    made.stop(5.0)
    assert (served.done, listener.closed, made.port) == (["start", 5.0], True, 0)
    assert pool._shutdown
    assert (made._pool, made.describe().associations) == (None, 0)
    made.stop(5.0)
    assert served.done == ["start", 5.0], "once"
    made.start()
    assert len(Server.made) == len(ports.asked) == 2, "it may begin anew"
    assert not made._ending.is_set()
    made.stop(5.0)
    receiver(tmp_path).stop(5.0)


@pytest.mark.parametrize("in_time", [True, False])
def test_a_stop_waits_for_its_threads_only_where_they_have_ended(
    tmp_path: Path, ports: Ports, in_time: bool
) -> None:
    made = receiver(tmp_path)
    made.start()
    Server.made[0].ends_in_time = in_time
    asked: list[bool] = []
    made._pool = SimpleNamespace(shutdown=lambda *, wait: asked.append(wait))  # type: ignore[assignment]
    made.stop(5.0)
    assert asked == [in_time]
    assert made._ending.is_set()


def test_one_of_the_same_port_that_ends_shares_its_socket(tmp_path: Path, ports: Ports) -> None:
    same, other, gone = receiver(tmp_path, "same"), receiver(tmp_path, "other", port=81), receiver(tmp_path)
    same.acquire()
    other.acquire()
    ports.asked.clear()
    now = receiver(tmp_path)
    now.acquire(["a folder", gone, other, same])
    assert ports.asked == []
    assert socket_of(now) is socket_of(same).copies[0]
    assert (now.port, socket_of(same).closed) == (8042, False)
    elsewhere = receiver(tmp_path, host="127.0.0.2")
    elsewhere.acquire([same])
    assert ports.asked == [("127.0.0.2", 8042)]


@pytest.mark.parametrize(
    ("name", "options", "known"),
    [("web", {}, True), ("other", {}, False), ("web", {"tokens": {"ris": "env:WEB_TOKEN"}}, False)],
)
def test_whom_the_one_of_its_name_did_not_let_in_is_known_where_the_same_are_let_in(
    tmp_path: Path,
    ports: Ports,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, Any],
    known: bool,
) -> None:
    monkeypatch.setenv("WEB_TOKEN", "s3cret")
    before = receiver(tmp_path, name)
    before._rejections.carry_over([REFUSED])
    made = receiver(tmp_path, port=81, **options)
    made.acquire([receiver(tmp_path, "third"), before])
    for _ in range(2):
        made.start()
        assert [each.times for each in made.describe().rejected] == [3] * known
        made.stop(0.0)


def test_secrets_and_tls_files_are_read_before_the_port_is_taken(
    tmp_path: Path, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def files(place: str, config: Any) -> Any:
        read.append(place)
        if len(read) == 1:
            raise ConfigurationError("key.pem cannot be read")
        return SimpleNamespace(
            look=lambda: read.append("look"),
            certificates=(),
            trouble="its files changed",
            context="a context",
        )

    monkeypatch.setattr(module, "RenewingTls", files)
    for options in ({"tokens": {"ris": "env:NO_SUCH_TOKEN"}}, {"users": {"ris": "env:NO_SUCH_TOKEN"}}):
        with pytest.raises(ConfigurationError, match=r"^receive\.web: .*NO_SUCH_TOKEN"):
            receiver(tmp_path, **options).acquire()
    made = receiver(tmp_path, tls={"cert": "cert.pem", "key": "key.pem"})
    with pytest.raises(ConfigurationError, match=r"^receive\.web: key\.pem cannot be read$"):
        made.acquire()
    assert ports.asked == []
    made.start()
    assert Server.made[0].options["tls"] == "a context"
    made.stop(0.0)
    made.start()
    assert read == ["receive.web"] * 2
    told = made.describe()
    assert (told.tls, told.tls_trouble, read[-1]) == (True, "its files changed", "look")
    made.stop(0.0)


def test_what_its_application_is_given(tmp_path: Path, ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    make: Callable[..., Any] = app.StoreInstances

    def noted(*facts: Any, **options: Any) -> Any:
        given.append((facts, options))
        return make(*facts, **options)

    monkeypatch.setattr(app, "StoreInstances", noted)
    made = receiver(tmp_path, max_requests=5, max_requests_per_peer=2)
    made.start()
    ((facts, options),) = given
    assert facts == ("web", made._config, made._intake)
    assert (options["pool"], options["rejections"]) == (made._pool, made._rejections)
    requests = options["requests"]
    with requests.one_of("a") as one, requests.one_of("a") as two, requests.one_of("a") as three:
        assert (one, two, three) == (True, True, False)
    assert not options["stopping"]()
    made.stop(0.0)
    assert options["stopping"]()


def test_what_is_said_of_its_configuration(tmp_path: Path) -> None:
    tokens = {"ris": "env:WEB_TOKEN"}
    tls = {"cert": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    config = DicomwebReceiveConfig.model_validate(
        {"host": "0.0.0.0", "port": 443, "tokens": tokens, "tls": tls}
    )
    assert STAGE.listens is not None
    said = STAGE.listens(config)
    assert (said.host, said.port, said.ae_title, said.tls) == ("0.0.0.0", 443, "", True)
    assert len(list(STAGE.faults(config))) >= 1, "its files are not there"
    assert not [each for each in STAGE.doubts(config) if each.place == ("host",)]
    plain = DicomwebReceiveConfig.model_validate({"host": "0.0.0.0", "tokens": tokens})
    (doubt,) = STAGE.doubts(plain)
    assert doubt.place == ("host",)
    here = DicomwebReceiveConfig.model_validate({})
    assert (list(STAGE.faults(here)), list(STAGE.doubts(here))) == ([], [])
    assert not STAGE.listens(here).tls
    told = receiver(tmp_path).describe()
    assert (told.host, told.port, told.tls, told.associations) == ("127.0.0.1", 8042, False, 0)
    assert (told.rejected, told.certificates, told.tls_trouble) == ((), (), "")
