"""What a login proves, by the header alone: each way in, and each that is near it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapdr.receive.dicomweb.config import DicomwebReceiveConfig
from mapdr.receive.dicomweb.login import Login
from peers.stow_client import basic, bearer

TOKENS = {"ris": "t0ken", "pacs": "0ther"}
USERS = {"gateway": "pässword:with:colons", "none": ""}


@pytest.fixture
def login(tmp_path: Path) -> Login:
    return made(tmp_path)


def made(
    folder: Path, tokens: tuple[str, ...] = ("ris", "pacs"), users: tuple[str, ...] = ("gateway",)
) -> Login:
    """A login by secrets in files."""
    for name, text in (TOKENS | USERS).items():
        (folder / name).write_text(text, encoding="utf-8")
    config = {
        "tokens": {name: f"file:{folder / name}" for name in tokens},
        "users": {name: f"file:{folder / name}" for name in users},
    }
    return Login("web", DicomwebReceiveConfig.model_validate(config))


def given(headers: dict[str, str]) -> list[str]:
    return list(headers.values())


@pytest.mark.parametrize(
    ("authorization", "credential"),
    [
        (given(bearer("t0ken")), "token:ris"),
        (given(bearer("0ther")), "token:pacs"),
        (["  bearer   t0ken  "], "token:ris"),
        (given(basic("gateway", USERS["gateway"])), "user:gateway"),
        (["BASIC " + given(basic("gateway", USERS["gateway"]))[0].split()[1]], "user:gateway"),
        ([], None),
        ([""], None),
        (["Bearer"], None),
        (given(bearer("t0ken")) * 2, None),
        (given(bearer("t0ken")) + given(bearer("wrong")), None),
        (given(bearer("t0ke")), None),
        (given(bearer("T0ken")), None),
        (["Digest t0ken"], None),
        (["t0ken"], None),
        (given(basic("gateway", "wrong")), None),
        (given(basic("ris", "t0ken")), None),
        (given(basic("", "")), None),
        (["Basic Z2F0ZXdheQ"], None),
        (["Basic !" + given(basic("gateway", USERS["gateway"]))[0].split()[1]], None),
        (["Basic " + "/w=="], None),
    ],
)
def test_one_login_proves_one_name(login: Login, authorization: list[str], credential: str | None) -> None:
    assert login.credential(authorization, "certificate:x") == credential


def test_a_certificate_counts_where_no_login_is_asked_for(tmp_path: Path) -> None:
    login = made(tmp_path, (), ())
    assert login.credential([], "certificate:x") == "certificate:x"
    assert login.credential(given(bearer("t0ken")), "") == ""


def test_a_secret_that_cannot_be_read_lets_nobody_in_and_is_told_once(
    login: Login, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("ris", "gateway"):
        (tmp_path / name).unlink()
    for headers in (bearer(""), basic("gateway", ""), basic("gateway", "None"), basic("", "")):
        assert login.credential(given(headers), "certificate:x") is None
    assert login.credential(given(bearer("0ther")), "") == "token:pacs"
    told = [each.getMessage() for each in caplog.records]
    assert told
    assert all(each.startswith("web: nobody can log in by it: ") for each in told)


@pytest.mark.parametrize(
    ("tokens", "users", "schemes"),
    [
        (("ris",), ("gateway",), ["Bearer", "Basic"]),
        (("ris",), (), ["Bearer"]),
        ((), ("gateway",), ["Basic"]),
        ((), (), []),
    ],
)
def test_what_a_receiver_asks_for(
    tmp_path: Path, tokens: tuple[str, ...], users: tuple[str, ...], schemes: list[str]
) -> None:
    login = made(tmp_path, tokens, users)
    assert login.challenges == [f'{scheme} realm="MAPDR"' for scheme in schemes]


@pytest.mark.parametrize(
    ("host", "foreign"),
    [
        ("", False),
        ("localhost", False),
        ("localhost:8080", False),
        ("127.0.0.1", False),
        ("[::1]", False),
        ("[::1]:8080", False),
        ("example.org", True),
        ("example.org:8080", True),
        ("[2001:db8::1]:8080", True),
        ("localhost.example.org", True),
    ],
)
def test_an_open_receiver_is_called_by_a_local_name(tmp_path: Path, host: str, foreign: bool) -> None:
    assert made(tmp_path, (), ()).foreign(host) is foreign
    assert not made(tmp_path).foreign(host), "who logs in may call it what it likes"
