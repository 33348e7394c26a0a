"""Signing in by link and by password, how sessions end, wrong passwords, and what the audit is told."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest

from mapdr.operate import signin
from mapdr.operate.errors import RequestError
from mapdr.operate.signin import Doors, Grant
from mapdr_web import sessions, throttle
from mapdr_web.sessions import Sessions
from mapdr_web.throttle import Throttle
from web.conftest import Page

PASSWORD = "correct horse battery"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    return Doors(tmp_path)


def sign_in(client: httpx.Client, **given: str) -> httpx.Response:
    return client.post("/api/v1/session", json=given)


def audited(page: Page) -> list[tuple[str, str, str]]:
    """(user, what, outcome) of each sign-in and sign-out."""
    found = []
    for path in sorted((page.node.plan.node.data / "audit").glob("*.log")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = ET.fromstring(line)
            event, who = record.find("EventIdentification"), record.find("ActiveParticipant")
            assert event is not None
            assert who is not None
            kind = event.find("EventTypeCode")
            assert kind is not None
            found.append(
                (who.attrib["UserID"], kind.attrib["originalText"], event.attrib["EventOutcomeIndicator"])
            )
    return found


def test_a_link_signs_in_once(page: Page, nobody: httpx.Client) -> None:
    token = page.doors.make_link("ann", "operator")
    answer = sign_in(nobody, token=token)
    assert answer.status_code == 200
    assert (answer.json()["user"], answer.json()["role"]) == ("ann", "operator")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"mapdr-{page.port}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    with closing(page.client()) as another:
        assert sign_in(another, token=token).status_code == 401
        assert another.get("/api/v1/status").status_code == 401
    assert nobody.get("/api/v1/status").status_code == 200
    assert audited(page) == [("ann", "Login", "0"), ("unknown", "Login", "4")]


@pytest.mark.parametrize(
    ("later", "holds"),
    [(0.0, True), (signin.LINK_SECONDS + 1, False), (-5.0, True), (-365 * 86_400.0, False)],
)
def test_a_link_ends(doors: Doors, monkeypatch: pytest.MonkeyPatch, later: float, holds: bool) -> None:
    """When its time is over, and when the clock was set back: it would hold for as long."""
    token = doors.make_link("ann", "viewer")
    now = time.time() + later
    monkeypatch.setattr(signin.time, "time", lambda: now)
    assert (doors.take_link(token) is not None) == holds
    assert doors.take_link("../../users") is None


def test_a_password_signs_in(page: Page, nobody: httpx.Client) -> None:
    page.doors.set_password("bea", "viewer", PASSWORD)
    assert sign_in(nobody, user="bea", password="wrong").status_code == 401
    assert sign_in(nobody, user="nobody", password=PASSWORD).status_code == 401
    assert sign_in(nobody, user="bea", password=PASSWORD).json()["role"] == "viewer"
    assert nobody.get("/api/v1/session").json()["user"] == "bea"
    assert audited(page) == [("bea", "Login", "4"), ("nobody", "Login", "4"), ("bea", "Login", "0")]


def test_a_changed_password_ends_the_sessions_of_its_user(page: Page, nobody: httpx.Client) -> None:
    page.doors.set_password("bea", "viewer", PASSWORD)
    assert sign_in(nobody, user="bea", password=PASSWORD).status_code == 200
    page.doors.set_password("cid", "viewer", PASSWORD)
    assert nobody.get("/api/v1/status").status_code == 200
    page.doors.set_password("bea", "viewer", PASSWORD + "!")
    assert nobody.get("/api/v1/status").status_code == 401


def test_signing_out_ends_the_session(page: Page, nobody: httpx.Client) -> None:
    csrf = sign_in(nobody, token=page.doors.make_link("ann", "operator")).json()["csrf"]
    kept = dict(nobody.cookies)
    assert nobody.delete("/api/v1/session", headers={"x-csrf-token": csrf}).status_code == 204
    with closing(page.client()) as thief:
        thief.cookies.update(kept)
        assert thief.get("/api/v1/status").status_code == 401
    assert audited(page)[-1] == ("ann", "Logout", "0")


def test_a_new_sign_in_has_a_new_session(page: Page, nobody: httpx.Client) -> None:
    sign_in(nobody, token=page.doors.make_link("ann", "viewer"))
    before = dict(nobody.cookies)
    sign_in(nobody, token=page.doors.make_link("ann", "operator"))
    assert dict(nobody.cookies) != before
    with closing(page.client()) as thief:
        thief.cookies.update(before)
        assert thief.get("/api/v1/status").status_code == 401


def test_wrong_passwords_are_slowed(
    page: Page, nobody: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "FIRST", 60.0)  # a busy machine takes longer than 2 s for two tries
    page.doors.set_password("bea", "operator", PASSWORD)
    answers = [sign_in(nobody, user="bea", password=f"wrong{n}") for n in range(throttle.FREE + 1)]
    assert [each.status_code for each in answers] == [401] * throttle.FREE + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    # Neither does the right one come in now; a link does.
    assert sign_in(nobody, user="bea", password=PASSWORD).status_code == 429
    assert sign_in(nobody, token=page.doors.make_link("ann", "operator")).status_code == 200
    assert len(audited(page)) == throttle.FREE + 1


@pytest.mark.parametrize(
    "given",
    [{}, {"token": 1}, {"user": "x"}, {"user": "x", "password": None}, {"token": "x", "user": "y"}],
)
def test_other_ways_to_sign_in_are_none(nobody: httpx.Client, given: object) -> None:
    assert nobody.post("/api/v1/session", json=given).status_code == 400


@pytest.mark.parametrize(
    ("content", "type_", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 60000, "application/json", 400),
        (b"[]", "application/json", 400),
        (b"token=x", "application/x-www-form-urlencoded", 415),
        (b'{"token": "x"}', "text/plain", 415),
        (b'"' + b"x" * 70000 + b'"', "application/json", 413),
    ],
)
def test_a_body_that_is_none(nobody: httpx.Client, content: bytes, type_: str, status: int) -> None:
    answer = nobody.post("/api/v1/session", content=content, headers={"content-type": type_})
    assert answer.status_code == status


def test_where_the_audit_cannot_be_written_nobody_comes_in(page: Page, nobody: httpx.Client) -> None:
    token = page.doors.make_link("ann", "operator")
    (page.node.plan.node.data / "audit").write_text("a file in its place")
    answer = sign_in(nobody, token=token)
    assert answer.status_code == 503
    assert "set-cookie" not in answer.headers


def test_sessions_end_by_idleness_and_by_age() -> None:
    clock = Clock()
    known = Sessions(clock)
    operator, _ = known.begin(Grant("ann", "operator"))
    viewer, _ = known.begin(Grant("bea", "viewer"))
    clock.now += sessions.IDLE["operator"] - 1
    assert known.find(operator)
    clock.now += sessions.IDLE["operator"] - 1
    assert known.find(operator, used=False)
    clock.now += 2
    assert known.find(operator) is None, "a stream alone keeps nobody signed in"
    assert known.find(viewer)
    clock.now += sessions.LONGEST
    assert known.find(viewer) is None
    assert known.find("") is None


def test_what_a_page_asks_by_itself_keeps_nobody_signed_in(page: Page, operator: httpx.Client) -> None:
    known = page.node.page._app._sessions  # type: ignore[union-attr]
    (session,) = known._sessions.values()
    before = session.used_at
    assert operator.get("/api/v1/sources", headers={"x-unattended": "1"}).status_code == 200
    assert session.used_at == before
    assert operator.get("/api/v1/sources").status_code == 200
    assert session.used_at > before


def test_there_are_so_many_sessions_at_most() -> None:
    clock = Clock()
    known = Sessions(clock)
    first, _ = known.begin(Grant("ann", "viewer"))
    second, _ = known.begin(Grant("bea", "viewer"))
    clock.now += 1
    assert known.find(first)
    for _ in range(sessions.MOST - 1):
        known.begin(Grant("x", "viewer"))
    assert known.find(second) is None, "the one that was idle for longest"
    assert known.find(first)


def test_the_throttle_is_bounded_and_forgets() -> None:
    clock = Clock()
    known = Throttle(clock)
    for _ in range(throttle.FREE):
        assert known.wait("a") == 0
    assert known.wait("a") == pytest.approx(throttle.FIRST)
    clock.now += throttle.FIRST
    assert known.wait("a") == 0
    assert known.wait("a") == pytest.approx(2 * throttle.FIRST)
    assert known.wait("b") == 0, "another address"
    known.right("b")
    clock.now += throttle.FORGET + 1
    assert known.wait("a") == 0
    for number in range(throttle.MOST * 2):
        clock.now += throttle.IN_ALL
        known.wait(str(number))
    assert len(known._wrong) <= throttle.MOST


def test_many_addresses_are_slowed_together() -> None:
    clock = Clock()
    known = Throttle(clock)
    waits = [known.wait(str(number)) for number in range(throttle.FREE_IN_ALL + 1)]
    assert not any(waits[:-1])
    assert waits[-1] == pytest.approx(throttle.IN_ALL)


@pytest.mark.parametrize(
    ("user", "password"), [("", PASSWORD), (" x", PASSWORD), ("x\n", PASSWORD), ("x", "short")]
)
def test_a_password_that_is_none_is_refused(doors: Doors, user: str, password: str) -> None:
    with pytest.raises(RequestError):
        doors.set_password(user, "viewer", password)


def test_the_file_of_users_holds_no_password_and_is_nobody_else_s(doors: Doors, tmp_path: Path) -> None:
    doors.set_password("bea", "operator", PASSWORD)
    doors.set_password("cid", "viewer", PASSWORD)
    file = tmp_path / "web" / "users.json"
    users = json.loads(file.read_text())["users"]
    assert PASSWORD not in file.read_text()
    assert users["bea"]["hash"] != users["cid"]["hash"], "each has a salt of its own"
    assert doors.users() == {"bea": "operator", "cid": "viewer"}
    if os.name != "nt":
        assert file.stat().st_mode & 0o077 == 0
        assert file.parent.stat().st_mode & 0o077 == 0
    doors.remove("bea")
    assert doors.check("bea", PASSWORD) is None
    with pytest.raises(RequestError, match="users: cid"):
        doors.remove("bea")
