"""Every route of the page, asked by nobody, a viewer and an operator, rightly and wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import httpx
import pytest

from mapdr.operate.deliveries import deliveries
from mapdr.operate.selection import Selection
from mapdr_web.app import PAGES, Route
from mapdr_web.gate import CHANGES
from web.conftest import Page

FILL = {"{study}": "1.2.3", "{image}": "1.2.3.4", "{name}": "archive"}
SOURCE = {"ae_title": "CT1", "host": "10.1.2.3"}
FORM = {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 2}
RULE = {
    "modality": ["CT"], "station": "", "calling_ae": "", "prefix": "", "compress": "none", "ratio": 10,
    "send_to": ["archive"],
}  # fmt: skip
BODIES = {
    "/api/v1/retry": {"state": "parked", "dry_run": True},
    "/api/v1/dismiss": {"state": "parked", "dry_run": True},
    "/api/v1/hold": {"modality": "CT", "dry_run": True},
    "/api/v1/release": {"modality": "CT", "dry_run": True},
    "/api/v1/reroute": {"modality": "CT", "dry_run": True},
    "/api/v1/priority": {"modality": "CT", "priority": "stat", "dry_run": True},
    "/api/v1/destinations/{name}/hold": {"dry_run": True},
    "/api/v1/destinations/{name}/release": {"dry_run": True},
    "/api/v1/webhooks/{name}/replay": {"dry_run": True},
    "/api/v1/settings/receivers/{name}/sources/save": {**SOURCE, "seen": "another file"},
    "/api/v1/settings/receivers/{name}/sources/remove": {**SOURCE, "seen": "another file"},
    "/api/v1/settings/destinations/{name}/save": {**FORM, "seen": "another file"},
    "/api/v1/settings/destinations/{name}/remove": {"seen": "another file"},
    "/api/v1/settings/destinations/{name}/echo": FORM,
    "/api/v1/settings/rules/{name}/save": {**RULE, "new": True, "seen": "another file"},
    "/api/v1/settings/rules/{name}/remove": {"seen": "another file"},
    "/api/v1/license/install": {"token": "no license"},
    **{
        f"/api/v1/{name}": {"first": "2026-01-01", "last": "2026-01-31"}
        for name in ("counts", "hours", "days", "counts.csv")
    },
}


def routes(page: Page) -> list[Route]:
    app = page.node.page._app  # type: ignore[union-attr]
    found: list[Route] = list(app.routes)
    assert len(found) > 30
    return found


def ask(client: httpx.Client, route: Route, **headers: str | None) -> httpx.Response:
    """A right request for the route, but for these headers; None leaves one out."""
    path = route.path
    for word, value in FILL.items():
        path = path.replace(word, value)
    sent = {"origin": str(client.base_url).rstrip("/")} if route.method in CHANGES else {}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    sent |= {name: value for name, value in given.items() if value is not None}
    query = BODIES.get(route.path, {}) if route.method == "GET" else {}
    asked = client.build_request(route.method, path, params=query, headers=sent)
    if route.path == "/api/v1/try":
        sent["content-type"] = "application/dicom"
        asked = client.build_request(route.method, path, content=b"no DICOM", headers=sent)
    elif route.method == "POST":
        body = BODIES.get(route.path, {})
        asked = client.build_request(route.method, path, json=body, headers=sent)
    for name, value in given.items():
        if value is None:
            asked.headers.pop(name, None)
    answer = client.send(asked, stream=True)
    try:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer
        answer.read()
        return answer
    finally:
        answer.close()


def expected(route: Route, role: str) -> set[int]:
    """What a right request is answered."""
    if route.path.endswith("/session") and route.method == "POST":
        return {400}  # it names no way to sign in
    if route.path == "/api/v1/try" and role == "operator":
        return {400}  # its body is no file
    if route.path == "/readyz":
        return {200, 503}
    if route.needs != "nothing" and role == "nobody":
        return {401}
    if route.needs == "operator" and role == "viewer":
        return {403}
    if "/webhooks/{name}/" in route.path:
        return {400}  # there is none
    if "/license/" in route.path:
        return {400}  # this build needs none
    return {204} if route.method == "DELETE" else {200}


@pytest.fixture
def clients(page: Page) -> Iterator[dict[str, httpx.Client]]:
    with ExitStack() as stack:
        made = (page.client(), page.signed_in("viewer"), page.signed_in("operator"))
        nobody, viewer, operator = (stack.enter_context(closing(each)) for each in made)
        yield {"nobody": nobody, "viewer": viewer, "operator": operator}


def test_every_route_answers_whom_it_may_and_nobody_else(
    page: Page, clients: dict[str, httpx.Client]
) -> None:
    wrong = []
    for route in sorted(routes(page), key=lambda each: each.method == "DELETE"):
        for role, client in clients.items():
            answer = ask(client, route)
            if answer.status_code not in expected(route, role):
                wrong.append((route.method, route.path, role, answer.status_code))
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"]
            open_file = route.path in PAGES or route.path.startswith("/static/")
            assert answer.headers["cache-control"] == ("no-cache" if open_file else "no-store"), route
    assert not wrong


def test_nobody_has_more_than_a_person_has_thought_of(page: Page) -> None:
    """A route that is added without thinking who may have it fails here."""
    needs = {(route.method, route.path): route.needs for route in routes(page)}
    files = {("GET", path) for path in PAGES}
    files |= {key for key in needs if key[1].startswith("/static/")}
    anybody = {
        *(("GET", path) for path in ("/healthz", "/readyz", "/metrics", "/api/v1/session")),
        ("POST", "/api/v1/session"),
    }
    assert {key for key, role in needs.items() if role == "nothing"} == files | anybody
    reading = {path for method, path in needs if method == "GET"}
    changing = {key for key in needs if key[0] != "GET" and key[1] not in reading}
    assert all(needs[key] == "operator" for key in changing)
    assert {key for key in needs if key[0] == "DELETE"} == {("DELETE", "/api/v1/session")}


def test_no_route_is_had_by_a_foreign_name(page: Page, clients: dict[str, httpx.Client]) -> None:
    foreign = ("evil.example", f"evil.example:{page.port}", "127.0.0.1.evil.example", "", "[::2]")
    wrong = []
    for route in routes(page):
        for role, client in clients.items():
            for host in foreign:
                answer = ask(client, route, host=host)
                if answer.status_code != 400:
                    wrong.append((route.method, route.path, role, host, answer.status_code))
    assert not wrong
    for path in ("/nowhere", "/api/v1/nowhere"):
        assert clients["operator"].get(path, headers={"host": "evil.example"}).status_code == 400
        assert clients["operator"].get(path).status_code == 404


def test_no_change_comes_from_another_page_or_without_the_token(
    page: Page, clients: dict[str, httpx.Client]
) -> None:
    wrong = []
    changes = [route for route in routes(page) if route.method in CHANGES]
    attacks: list[dict[str, str | None]] = [
        {"origin": "https://evil.example"},
        {"origin": f"http://localhost:{page.port}"},
        {"origin": f"https://127.0.0.1:{page.port}"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": None, "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"x_csrf_token": None},
        {"x_csrf_token": "x"},
        {"x_csrf_token": clients["viewer"].headers["x-csrf-token"] + "x"},
    ]
    for route in changes:
        for role, client in clients.items():
            for attack in attacks:
                answer = ask(client, route, **attack)
                signing_in = route.needs == "nothing"
                if signing_in and "x_csrf_token" in attack:
                    continue  # there is no session yet, and no token
                good = {401, 403} if not signing_in else {403}
                if answer.status_code not in good:
                    wrong.append((route.method, route.path, role, attack, answer.status_code))
    assert changes
    assert not wrong


def test_another_session_s_token_is_none(page: Page, clients: dict[str, httpx.Client]) -> None:
    token = clients["viewer"].headers["x-csrf-token"]
    route = next(each for each in routes(page) if each.path == "/api/v1/retry")
    assert ask(clients["operator"], route, x_csrf_token=token).status_code == 403
    assert ask(clients["operator"], route).status_code == 200


def test_a_wrong_method_is_said(page: Page, operator: httpx.Client) -> None:
    for method in ("PUT", "PATCH", "TRACE", "OPTIONS"):
        assert operator.request(method, "/api/v1/status").status_code == 405
    assert operator.get("/api/v1/retry").status_code == 405


def test_nothing_that_was_tried_in_vain_changed_anything(
    page: Page, clients: dict[str, httpx.Client]
) -> None:
    from mapdr.operate.access import access_of

    def states() -> list[tuple[int, str]]:
        with access_of(page.node.plan) as opened:
            return sorted((row.id, row.state) for row in deliveries(opened, Selection(state="parked")))

    before = states()
    body = {"state": "parked"}
    for client, headers in (
        (clients["nobody"], {"origin": page.url}),
        (clients["viewer"], {"origin": page.url}),
        (clients["operator"], {"origin": "https://evil.example"}),
        (clients["operator"], {"origin": page.url, "x-csrf-token": "no"}),
    ):
        for verb in ("retry", "dismiss"):
            answer = client.post(f"/api/v1/{verb}", json=body, headers=headers)
            assert answer.status_code in (401, 403)
    assert states() == before
    assert before
