"""The keys of stages that speak HTTP: what is taken, what is refused in which words, what is doubted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mapdr.config.validate import validate
from mapdr.kernel.finding import Finding
from mapdr.net.http.config import AuthConfig, HttpConfig, ServiceRoot, check_url

SECRET = "hunter2"


class Config(HttpConfig):
    url: ServiceRoot


def read(**raw: Any) -> tuple[Config | None, list[str]]:
    findings: list[Finding] = []
    config = validate(Config, {"url": "https://pacs.example/dicom-web/", **raw}, (), Path(), findings)
    return config, [f"{'.'.join(map(str, each.place))}: {each.what}; {each.cure}" for each in findings]


def test_all_keys_are_read() -> None:
    config, told = read(
        auth={
            "token_url": "https://id.example/token",
            "client_id": "a",
            "client_secret": "env:S",
            "scope": "b",
        },
        tls={"ca": "ca.pem"},
        proxy="http://proxy.example:3128",
        proxy_auth="env:P",
        http2=True,
        connect_timeout="5 s",
        timeout="2 min",
    )
    assert told == []
    assert config is not None
    assert (config.url, config.http2, config.timeout) == ("https://pacs.example/dicom-web", True, 120)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (
            {"url": "ftp://x/"},
            "url: is not a URL; write https://host/path",
        ),
        (
            {"url": "https://pacs.example/?a=1"},
            "url: holds a query, and paths are added to it; leave out ? and what follows",
        ),
        (
            {"url": f"https://me:{SECRET}@pacs.example/"},
            "url: holds a user or a password; move them to auth (of a proxy: proxy_auth)",
        ),
        (
            {"url": "https://pacs.example/a b"},
            "url: holds characters that no URL has; write them as %XX, a host as xn--...",
        ),
        (
            {"url": "https://pacs.example/#a"},
            "url: holds a fragment, which no server gets to see; leave out # and what follows",
        ),
        (
            {"auth": {"token": SECRET}},
            'auth.token: is not a secret\'s place; write where the secret is kept: "env:NAME" or "file:PATH"',
        ),
        (
            {"auth": {"user": "me"}},
            "auth: lacks password; add password = ...",
        ),
        (
            {"auth": {"token_url": "https://id.example/", "client_id": "me"}},
            "auth: lacks client_secret; add client_secret = ...",
        ),
        (
            {"auth": {"user": "me", "password": "env:A", "token": "env:B"}},
            "auth: is not one way to log in; write { user, password }, { token } "
            "or { token_url, client_id, client_secret }",
        ),
        (
            {"auth": {}},
            "auth: is not one way to log in; write { user, password }, { token } "
            "or { token_url, client_id, client_secret }",
        ),
        (
            {"auth": {"token": "env:B", "scope": "x"}},
            "auth: has a scope without token_url; leave out scope",
        ),
        (
            {"auth": {"user": "a:b", "password": "env:A"}},
            "auth: has a user with a colon, which HTTP cannot send; use another user",
        ),
        (
            {"auth": {"token_url": "http://id.example/", "client_id": "me", "client_secret": "env:A"}},
            "auth: has a token_url without TLS (RFC 6749, section 3.2); write https://...",
        ),
        ({"auth": {"tokn": "env:B"}}, 'auth.tokn: unknown key; did you mean "token"?'),
        ({"proxy": "http://proxy:3128/path"}, "proxy: is not a proxy; write http://host:port"),
        (
            {"tls": {"name": "pacs"}, "proxy": "http://proxy:3128"},
            ": has a tls.name, which no proxy can be told; leave out one of them",
        ),
        ({"proxy_auth": "env:A"}, ": has proxy_auth without proxy; add proxy = ..."),
    ],
)
def test_what_is_wrong_is_told_with_its_cure_and_without_a_value(raw: dict[str, Any], told: str) -> None:
    config, found = read(**raw)
    assert config is None
    assert told in found
    assert SECRET not in "".join(found)


def test_another_word_for_http2_is_refused() -> None:
    config, found = read(http2="yes")
    assert config is None
    assert found[0].startswith("http2: ")


@pytest.mark.parametrize(
    "url", ["http://localhost:8042/", "http://127.0.0.9/x", "http://[::1]:80/", "https://pacs.example/"]
)
def test_what_stays_here_or_has_tls_is_not_doubted(url: str) -> None:
    assert not list(HttpConfig().doubts(check_url(url)))


@pytest.mark.parametrize("url", ["http://pacs.example/", "http://10.0.0.1:80/", "http://localhost.example/"])
def test_plain_http_over_a_network_is_doubted(url: str) -> None:
    (found,) = HttpConfig().doubts(url)
    assert found.place == ("url",)
    assert "sends without TLS" in found.what
    assert "logs in" not in found.what
    auth = AuthConfig.model_validate({"token": "env:A"})
    assert "logs in" in next(iter(HttpConfig(auth=auth).doubts(url))).what


def test_a_tls_table_beside_plain_http_is_doubted() -> None:
    config, _ = read(url="http://localhost/", tls={"ca": "ca.pem"})
    assert config is not None
    (found,) = config.doubts(config.url)
    assert found.place == ("tls",)


def test_tls_files_that_are_not_there_are_faults() -> None:
    config, _ = read(tls={"ca": "nowhere.pem"})
    assert config is not None
    assert [each.place for each in config.faults()] == [("tls", "ca")]
