"""The endpoint without a web server: what is taken, what is refused with which words, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.kernel.watch import Event, Watch
from mapdr.receive.dicomweb.app import RETRY_AFTER, TOO_MANY, Requests, StoreInstances
from mapdr.receive.dicomweb.config import DicomwebReceiveConfig
from mapdr.receive.rejections import Rejections
from mapdr.testing.generator import study
from peers.stow_client import END, PATHS, TYPE, Answer, body, part
from receive.fakes import FakeIntake

FILES = [image.part10() for image in study("CT", images=2, size=(8, 8))]
UIDS = [image.sop_instance_uid for image in study("CT", images=2, size=(8, 8))]
Message = dict[str, Any]


def pieces(*bodies: bytes, more: bool = False) -> list[Message]:
    """A body in pieces; `more`: and its end never comes."""
    last = len(bodies) - 1
    return [
        {"type": "http.request", "body": each, "more_body": more or number < last}
        for number, each in enumerate(bodies)
    ]


class World:
    """An endpoint, and what was told of its requests."""

    def __init__(self, pool: ThreadPoolExecutor, watch: Watch, **config: Any) -> None:
        self.intake, self.watch = FakeIntake(), watch
        self.events: list[Event] = []
        watch.observe(self.events.append)
        self.requests, self.rejections = Requests(3, 2), Rejections()
        self.stops: Callable[[], bool] = lambda: False
        self.connection = SimpleNamespace(address="10.1.2.3", certificate=b"", broken=False)
        self.app = StoreInstances(
            "web",
            DicomwebReceiveConfig.model_validate({"idle_timeout": 5, **config}),
            self.intake,
            pool=pool,
            requests=self.requests,
            rejections=self.rejections,
            shown=lambda certificate: None,
            watch=watch,
            stopping=self._stopping,
        ).app()

    def _stopping(self) -> bool:
        return self.stops()

    def ask(
        self,
        messages: Iterable[Message | Exception] = (),
        path: str = "/studies",
        method: str = "POST",
        **headers: str,
    ) -> Answer:
        """A request: without a message more it waits for ever."""
        given = {"content-type": TYPE, **{name.replace("_", "-"): each for name, each in headers.items()}}
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), each.encode()) for name, each in given.items() if each],
            "state": {"connection": self.connection},
        }
        incoming, sent = iter(messages), list[Message]()

        async def receive() -> Message:
            for message in incoming:
                if isinstance(message, Exception):
                    raise message
                return message
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))  # type: ignore[arg-type, func-returns-value]
        start = next(each for each in sent if each["type"] == "http.response.start")
        told = {name.decode(): each.decode() for name, each in start["headers"]}
        return Answer(start["status"], told, b"".join(each.get("body", b"") for each in sent))

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(event.kind, str(event.facts["cause"])) for event in self.events]


@pytest.fixture
def make(watch: Watch) -> Iterator[Callable[..., World]]:
    with ThreadPoolExecutor(1) as pool:
        yield lambda **config: World(pool, watch, **config)


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make()


WHOLE = body(FILES)


@pytest.mark.parametrize("path", PATHS)
def test_instances_are_taken_at_each_path(world: World, path: str) -> None:
    answer = world.ask(pieces(WHOLE[:700], b"", WHOLE[700:]), path)
    assert (answer.status, answer.stored) == (200, UIDS)
    assert [kept.source.address for kept in world.intake.kept] == ["10.1.2.3"] * 2
    assert world.intake.kept[0].source.receiver == "web"
    assert world.requests.count == 0
    assert world.watch.counters()["receive.web.open"] == 0
    assert world.watch.counters()["receive.web.stored"] == 2
    assert world.told == []


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_study_in_the_path_counts(world: World, slash: str) -> None:
    answer = world.ask(pieces(WHOLE), f"/dicom-web/studies/1.2.3{slash}")
    assert (answer.status, sorted(answer.failed)) == (409, sorted(UIDS))
    answer = world.ask(pieces(WHOLE), f"/studies/no-uid{slash}")
    assert (answer.status, answer.text) == (400, "the path names a study, but no UID\n")


def test_nothing_else_is_there(world: World) -> None:
    answer = world.ask(path="/series")
    assert (answer.status, answer.text.split(":")[0]) == (404, "there is nothing here")
    answer = world.ask(method="GET")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert "nothing can be asked for here" in answer.text


@pytest.mark.parametrize(
    ("headers", "status", "word"),
    [
        ({"content_type": ""}, 415, "send multipart/related"),
        ({"content_type": "multipart"}, 400, "send multipart/related"),
        ({"content_type": "application/dicom"}, 415, "not of a type"),
        ({"content_type": "multipart/mixed; boundary=x"}, 415, "not of a type"),
        ({"content_type": 'multipart/related; type="application/dicom+json"; boundary=x'}, 415, "not of"),
        ({"content_type": 'multipart/related; type="application/dicom"'}, 400, "boundary"),
        ({"content_encoding": "gzip"}, 415, "Content-Encoding"),
        ({"accept": "text/html"}, 406, "application/dicom+json"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_before_its_body_is_read(
    world: World, headers: dict[str, str], status: int, word: str
) -> None:
    answer = world.ask(**headers)  # type: ignore[arg-type]
    assert answer.status == status
    assert word in answer.text
    assert (answer.headers.get("accept-encoding") == "identity") is ("content_encoding" in headers)
    assert world.intake.begun == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"content_encoding": " Identity "},
        {"content_type": TYPE.replace("application/dicom", "Application/DICOM")},
        {"content_type": TYPE.replace('type="application/dicom"; ', "")},
        {"accept": "text/html, application/dicom+json"},
    ],
)
def test_what_says_the_same_is_taken(world: World, headers: dict[str, str]) -> None:
    assert world.ask(pieces(WHOLE), **headers).status == 200  # type: ignore[arg-type]


def test_a_body_without_a_part_is_no_success(world: World) -> None:
    answer = world.ask(pieces(END))
    assert (answer.status, answer.text) == (400, "the body holds no part\n")


def test_a_body_that_ends_early_says_so_and_names_what_is_stored(world: World) -> None:
    answer = world.ask(pieces(part(FILES[0]) + part(FILES[1])[:900]))
    assert (answer.status, answer.stored) == (202, UIDS[:1])
    assert answer.headers["warning"].startswith("299 - ")
    world.connection.broken = True
    answer = world.ask(pieces(part(FILES[0])[:900]))
    assert "is not what HTTP says of it" in answer.headers["warning"]


def test_a_connection_that_goes_leaves_nothing_half(world: World) -> None:
    world.ask([*pieces(part(FILES[0]) + part(FILES[1])[:900], more=True), {"type": "http.disconnect"}])
    assert [kept.sop_instance_uid for kept in world.intake.kept] == UIDS[:1]
    assert world.intake.aborted == world.intake.begun - 1
    counters = world.watch.counters()
    assert (counters["receive.web.lost"], counters["receive.web.stored"]) == (1, 1)
    assert ("association.lost", "the connection broke within a request") in world.told
    assert world.requests.count == 0


def test_a_body_of_which_nothing_comes_between_two_looks_is_waited_for(world: World) -> None:
    """As long as `idle_timeout` has it, each time."""
    first, second = pieces(WHOLE[:700], WHOLE[700:])
    answer = world.ask([TimeoutError(), TimeoutError(), first, TimeoutError(), second])
    assert (answer.status, answer.stored) == (200, UIDS)


@pytest.mark.parametrize("config", [{"idle_timeout": 0.05}, {"request_timeout": 0.05}])
def test_a_body_that_does_not_come_is_not_waited_for(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch, config: dict[str, float]
) -> None:
    monkeypatch.setattr("mapdr.receive.dicomweb.app.LOOK", 0.02)
    answer = make(**config).ask()
    assert (answer.status, answer.text) == (408, "the body did not come in time\n")


def test_a_receiver_that_ends_lets_a_part_end_and_takes_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.receive.dicomweb.app.LOOK", 0.01)
    first = part(FILES[0])

    def messages() -> Iterator[Message]:
        yield from pieces(first[:700], more=True)
        world.stops = lambda: True
        yield from pieces(first[700:] + b"\r\n", part(FILES[1])[:20], more=True)
        yield from pieces(part(FILES[1])[20:] + END)

    answer = world.ask(messages())
    assert answer.stored[:1] == UIDS[:1]
    assert world.intake.kept[0].data
    early = world.ask(pieces(WHOLE))
    assert (early.status, early.headers["retry-after"]) == (503, RETRY_AFTER)
    assert early.text == "this receiver ends: send the rest again\n"
    assert len(world.intake.kept) <= 2


def test_too_many_at_once_are_told_to_come_again_and_counted(world: World) -> None:
    with ExitStack() as others:
        for _ in range(2):
            others.enter_context(world.requests.one_of("10.1.2.3"))
        answer = world.ask(pieces(WHOLE))
        assert (answer.status, answer.headers["retry-after"]) == (503, RETRY_AFTER)
        assert answer.text == "too many requests at once: try again later\n"
        assert world.told == [("association.rejected", TOO_MANY)]
        assert world.watch.counters() == {"receive.web.rejected": 1}
        (rejection,) = world.rejections.all()
        assert "max_requests_per_peer of [receive.web]" in rejection.cure
    assert world.intake.begun == 0
    with world.requests.one_of("10.1.2.4"):
        assert world.ask(pieces(WHOLE)).status == 200
    assert world.watch.counters()["receive.web.open"] == 1, "the other one is still open"


def test_a_page_that_calls_an_open_receiver_by_a_name_is_not_let_in(world: World) -> None:
    answer = world.ask(pieces(WHOLE), host="example.org:8080")
    assert (answer.status, world.intake.begun) == (403, 0)
    assert world.watch.counters() == {"receive.web.rejected": 1}
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
        assert world.ask(pieces(WHOLE), host=host).status == 200


def test_who_does_not_log_in_is_told_how_and_gets_no_further(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_TOKEN", "s3cret")
    world = make(tokens={"ris": "env:WEB_TOKEN"})
    for headers, cause in (({}, "does not log in"), ({"authorization": "Bearer x"}, "its token")):
        answer = world.ask(pieces(WHOLE), "/nothing", **headers)  # type: ignore[arg-type]
        assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="MAPDR"')
        assert cause in answer.text
        assert not answer.text.startswith("rejected")
    assert world.ask(pieces(WHOLE), host="example.org", authorization="Bearer s3cret").status == 200
    assert {kept.source.credential for kept in world.intake.kept} == {"token:ris"}
    assert [event.facts["peer"] for event in world.events] == ["10.1.2.3"] * 2
    assert world.watch.counters()["receive.web.rejected"] == 2
