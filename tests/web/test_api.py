"""What the API answers: the same as the command line, to who may see it, by its own description."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import ExitStack, closing
from datetime import date
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import jsonschema
import pytest
from click.testing import CliRunner

from mapdr.testing import generator
from mapdr.testing.wait import until
from mapdr_cli.main import main
from web.conftest import Page

FORM = {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 2}


def cli(page: Page, *words: str) -> Any:
    done = CliRunner().invoke(main, [*words, "--json", "--config", str(page.config)])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def without_times(value: Any) -> Any:
    """The same, without what differs from one moment to the next."""
    moving = ("at", "_at", "_seconds")
    if isinstance(value, dict):
        return {
            key: without_times(each)
            for key, each in value.items()
            if not key.endswith(moving) and key not in ("mapdr", "disk_free", "rates", "events", "comment")
        }
    return [without_times(each) for each in value] if isinstance(value, list) else value


def schema_of(document: dict[str, Any], path: str, method: str) -> dict[str, Any]:
    found = document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    return {**found, "components": document["components"]}


def identifying(page: Page) -> list[str]:
    """Values in the node's index that identify somebody."""
    found = cli(page, "studies", "--identify")["studies"]
    values = [value for study in found for value in (study["tags"] or {}).values() if value]
    assert values
    return values


def test_the_status_is_that_of_the_command_line(page: Page, viewer: httpx.Client) -> None:
    answer = viewer.get("/api/v1/status").json()
    told = cli(page, "status")
    assert answer["mapdr"]["command"] == "status"
    assert answer.keys() == told.keys()
    assert answer["today"] == told["today"]
    assert without_times(answer["node"]) == without_times(told["node"])
    assert (answer["parked"], answer["unrouted"]) == (told["parked"], told["unrouted"]) == (1, 1)


@pytest.mark.parametrize("listing", ["studies", "deliveries", "sources"])
def test_listings_are_those_of_the_command_line(page: Page, viewer: httpx.Client, listing: str) -> None:
    answer = viewer.get(f"/api/v1/{listing}").json()
    told = cli(page, listing)
    # One is tried all the time: its state, and what is told of its last attempt, differ between two looks.
    states = ("state", "reason", "tries", "attempts", "status", "milliseconds", "last_comment")
    states += ("bytes", "sent_sop_instance_uid", "transfer_syntax_uid", "treatment")
    assert len(answer[listing]) == len(told[listing]) > 0
    for one, other in zip(answer[listing], told[listing], strict=True):
        assert one.keys() == other.keys()
        same = {key: value for key, value in without_times(other).items() if key not in states}
        if listing != "studies":
            assert {key: without_times(one)[key] for key in same} == same


def test_every_answer_is_as_the_document_says(page: Page, operator: httpx.Client) -> None:
    with page.config.open("a") as file:
        file.write('\n[webhook.ris]\nurl = "http://127.0.0.1:9/"\non = ["study.received"]\n')
    assert page.node.reload(page.config) == ()
    document = operator.get("/api/v1/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    (study,) = operator.get("/api/v1/studies", params={"modality": "CT"}).json()["studies"]
    uid = study["study_instance_uid"]
    (image, *_) = operator.get(f"/api/v1/studies/{uid}/images").json()["images"]
    asked: list[tuple[str, str, str, dict[str, Any]]] = [
        ("get", "/api/v1/status", "/api/v1/status", {}),
        ("get", "/api/v1/destinations", "/api/v1/destinations", {}),
        ("get", "/api/v1/events", "/api/v1/events", {}),
        ("get", "/api/v1/studies", "/api/v1/studies", {"identify": "1"}),
        ("get", "/api/v1/studies/{study}/images", f"/api/v1/studies/{uid}/images", {}),
        (
            "get",
            "/api/v1/images/{image}/timeline",
            f"/api/v1/images/{image['sop_instance_uid']}/timeline",
            {},
        ),
        (
            "get",
            "/api/v1/images/{image}/header",
            f"/api/v1/images/{image['sop_instance_uid']}/header",
            {"study": uid, "identify": "1"},
        ),
        ("get", "/api/v1/deliveries", "/api/v1/deliveries", {"attempts": "1"}),
        ("get", "/api/v1/stuck", "/api/v1/stuck", {}),
        ("get", "/api/v1/sources", "/api/v1/sources", {}),
        ("get", "/api/v1/counts", "/api/v1/counts", {"first": "2026-01-01", "last": "2026-12-31"}),
        ("get", "/api/v1/hours", "/api/v1/hours", {"first": "2026-01-01", "last": "2026-12-31"}),
        ("get", "/api/v1/days", "/api/v1/days", {"first": "2026-01-01", "last": "2026-12-31"}),
        ("get", "/api/v1/report", "/api/v1/report", {"month": "2026-01"}),
        ("get", "/api/v1/surroundings", "/api/v1/surroundings", {}),
        ("get", "/api/v1/about", "/api/v1/about", {}),
        ("get", "/api/v1/license", "/api/v1/license", {}),
        ("post", "/api/v1/studies", "/api/v1/studies", {"patient_id": "NOBODY"}),
        ("post", "/api/v1/retry", "/api/v1/retry", {"state": "parked", "dry_run": True}),
        ("post", "/api/v1/dismiss", "/api/v1/dismiss", {"state": "parked", "dry_run": True}),
        ("post", "/api/v1/hold", "/api/v1/hold", {"modality": "CT", "dry_run": True}),
        ("post", "/api/v1/release", "/api/v1/release", {"everything": True, "dry_run": True}),
        ("post", "/api/v1/reroute", "/api/v1/reroute", {"state": "unrouted", "dry_run": True}),
        (
            "post",
            "/api/v1/priority",
            "/api/v1/priority",
            {"priority": "stat", "modality": "CT", "dry_run": True},
        ),
        (
            "post",
            "/api/v1/destinations/{name}/hold",
            "/api/v1/destinations/archive/hold",
            {"dry_run": True},
        ),
        (
            "post",
            "/api/v1/destinations/{name}/release",
            "/api/v1/destinations/archive/release",
            {"dry_run": True},
        ),
        ("get", "/api/v1/webhooks", "/api/v1/webhooks", {}),
        *(
            (method, f"/api/v1/webhooks/{{name}}/{verb}", f"/api/v1/webhooks/ris/{verb}", given)
            for method, verb, given in (
                ("get", "messages", {}),
                ("post", "replay", {"dry_run": True}),
                ("post", "test", {}),
            )
        ),
        *(
            (
                "post",
                f"/api/v1/settings/receivers/{{name}}/sources/{verb}",
                f"/api/v1/settings/receivers/modalities/sources/{verb}",
                {"ae_title": "CT1", "host": "", "seen": "another file"},
            )
            for verb in ("save", "remove")
        ),
        ("get", "/api/v1/rules", "/api/v1/rules", {"identify": "1"}),
        ("get", "/api/v1/settings", "/api/v1/settings", {"identify": "1"}),
        *(
            (
                "post",
                f"/api/v1/settings/destinations/{{name}}/{verb}",
                f"/api/v1/settings/destinations/archive/{verb}",
                given,
            )
            for verb, given in (
                ("echo", FORM),
                ("save", {**FORM, "seen": "another file"}),
                ("remove", {"seen": "another file"}),
            )
        ),
        (
            "post",
            "/api/v1/settings/rules/{name}/save",
            "/api/v1/settings/rules/x/save",
            {
                "modality": ["CT"],
                "station": "",
                "calling_ae": "",
                "prefix": "",
                "compress": "none",
                "ratio": 10,
                "send_to": [],
                "seen": "another file",
            },
        ),
        (
            "post",
            "/api/v1/settings/rules/{name}/remove",
            "/api/v1/settings/rules/x/remove",
            {"seen": "another file"},
        ),
    ]
    for method, path, url, given in asked:
        answer = operator.get(url, params=given) if method == "get" else operator.post(url, json=given)
        assert answer.status_code == 200, (path, answer.text)
        jsonschema.validate(answer.json(), schema_of(document, path, method))
    told = {(method, path) for path, methods in document["paths"].items() for method in methods}
    listed = {(method, path) for method, path, _, _ in asked}
    assert {path for _, path in told - listed} <= {
        "/api/v1/session",
        "/api/v1/stream",
        "/api/v1/webhooks/{name}/messages",
        "/api/v1/deliveries",
        "/api/v1/counts",
        "/api/v1/hours",
        "/api/v1/days",
        "/api/v1/report",
        "/api/v1/rules",
        "/api/v1/settings",
        "/api/v1/try",
        "/api/v1/images/{image}/header",
        "/api/v1/images/{image}/timeline",
        "/api/v1/studies/{study}/images",
        "/api/v1/license/request",  # of a vendor's build: tests/license/test_page.py
        "/api/v1/license/install",
    }
    assert listed <= told


def test_a_file_is_tried_and_nothing_is_kept(page: Page, operator: httpx.Client) -> None:
    image = next(iter(generator.study("CT", images=1, size=(16, 16), seed=3)))
    headers = {"origin": page.url, "content-type": "application/dicom"}
    before = operator.get("/api/v1/status").json()["today"]
    answer = operator.post("/api/v1/try", content=image.part10(), headers=headers)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    jsonschema.validate(told, schema_of(operator.get("/api/v1/openapi.json").json(), "/api/v1/try", "post"))
    assert [one["matched"] for one in told["rules"]] == [True, True]
    (telepacs,) = [each for each in told["deliveries"] if each["destination"] == "telepacs"]
    assert not telepacs["error"]
    (change,) = [each for each in telepacs["changes"] if each["tag"] == "(0008,0050)"]
    assert change["after"].startswith("CN-")
    assert operator.get("/api/v1/status").json()["today"] == before
    assert not list((page.node.plan.node.data / "web").glob("try-*"))
    for content, words in ((b"x" * 200, "400"), (b"", "400")):
        wrong = operator.post("/api/v1/try", content=content, headers=headers)
        assert str(wrong.status_code) == words, wrong.text
    assert (
        operator.post(
            "/api/v1/try", content=b"x", headers={**headers, "content-type": "text/plain"}
        ).status_code
        == 415
    )
    long = operator.post("/api/v1/try", content=(b"x" * (1 << 20) for _ in range(66)), headers=headers)
    assert long.status_code == 413
    assert not list((page.node.plan.node.data / "web").glob("try-*"))


def test_who_it_is_is_shown_to_operators_and_told_to_the_audit(
    page: Page, viewer: httpx.Client, operator: httpx.Client
) -> None:
    audit = page.node.plan.node.data / "audit"
    before = sum(len(path.read_text().splitlines()) for path in audit.iterdir())
    plain = operator.get("/api/v1/studies").json()["studies"]
    assert {study["tags"] for study in plain} == {None}
    assert {study["study_date"] for study in plain} == {None}
    assert viewer.get("/api/v1/studies", params={"identify": "1"}).status_code == 403
    assert viewer.post("/api/v1/studies", json={"patient_id": "X"}).status_code == 403
    assert operator.get("/api/v1/studies", params={"patient_id": "X"}).status_code == 400
    assert sum(len(path.read_text().splitlines()) for path in audit.iterdir()) == before
    known = operator.get("/api/v1/studies", params={"identify": "1"}).json()["studies"]
    assert all(study["tags"] for study in known)
    assert operator.post("/api/v1/studies", json={"patient_id": "X"}).json()["studies"] == []
    lines = [line for path in sorted(audit.iterdir()) for line in path.read_text().splitlines()][before:]
    told = [ET.fromstring(line) for line in lines]
    assert len(told) == 2
    who = told[0].find("ActiveParticipant")
    assert who is not None
    assert (who.attrib["UserID"], who.attrib["NetworkAccessPointID"]) == ("operator-1", "127.0.0.1")


def test_the_values_of_a_header_are_shown_to_operators_and_told_to_the_audit(
    page: Page, viewer: httpx.Client, operator: httpx.Client
) -> None:
    audit = page.node.plan.node.data / "audit"
    (parked,) = operator.get("/api/v1/deliveries", params={"state": "parked"}).json()["deliveries"]
    path, known = (
        f"/api/v1/images/{parked['sop_instance_uid']}/header",
        {"study": parked["study_instance_uid"]},
    )
    for client in (viewer, operator):
        answer = client.get(path, params=known)
        told = {each["destination"]: each for each in answer.json()["promises"]}
        (change,) = told["telepacs"]["changes"]
        assert (change["tag"], change["change"], change["before"]) == ("(0008,0050)", "changed", None)
        assert not [mark for mark in identifying(page) if mark in answer.text]
    assert viewer.get(path, params={**known, "identify": "1"}).status_code == 403
    before = sum(len(each.read_text().splitlines()) for each in audit.iterdir())
    shown = operator.get(path, params={**known, "identify": "1"}).json()["promises"]
    assert [one["after"] for each in shown for one in each["changes"]] == [f"CN-{change_of(shown)}"]
    lines = [line for each in sorted(audit.iterdir()) for line in each.read_text().splitlines()]
    assert len(lines) == before + 1
    assert "view header" in lines[-1]


def change_of(promises: list[dict[str, Any]]) -> str:
    """The value before of the one element that changes."""
    (found,) = [one["before"] for each in promises for one in each["changes"]]
    return str(found)


def test_nothing_identifying_stands_where_nobody_asked(
    page: Page, operator: httpx.Client, nobody: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    marks = identifying(page)
    uids = [study["study_instance_uid"] for study in operator.get("/api/v1/studies").json()["studies"]]
    bodies = [nobody.get(path).text for path in ("/", "/stuck", "/healthz", "/readyz", "/metrics")]
    bodies += [
        operator.get(f"/api/v1/{path}").text
        for path in ("status", "destinations", "events", "studies", "deliveries", "stuck", "sources")
    ]
    bodies += [operator.get(f"/api/v1/studies/{uid}/images").text for uid in uids]
    operator.post("/api/v1/retry", json={"patient_id": marks[0]})
    operator.post("/api/v1/studies", json={"patient_id": marks[0], "state": "nowhere"})
    bodies.append(operator.get("/api/v1/events").text)
    bodies.append(caplog.text)
    for body in bodies:
        assert not [mark for mark in marks if mark in body]


def test_an_action_says_how_many_and_then_does_it(page: Page, operator: httpx.Client) -> None:
    asked = {"state": "parked", "destination": "telepacs", "reason": "refused"}
    told = operator.post("/api/v1/retry", json={**asked, "dry_run": True}).json()
    assert (told["deliveries"], told["to"], told["dry_run"]) == (1, {"telepacs": 1}, True)
    (group,) = operator.get("/api/v1/stuck").json()["parked"]
    assert (group["reason"], group["deliveries"]) == ("refused", 1)
    assert group["cure"]
    done = operator.post("/api/v1/dismiss", json=asked).json()
    assert (done["deliveries"], done["dry_run"]) == (1, False)
    assert operator.get("/api/v1/stuck").json()["parked"] == []
    held = operator.post("/api/v1/destinations/archive/hold", json={}).json()
    assert held["destinations"] == ["archive"]
    (one,) = operator.get("/api/v1/stuck").json()["destinations"]
    assert (one["name"], one["waiting"]) == ("archive", 6)
    assert operator.post("/api/v1/destinations/archive/release", json={}).status_code == 200
    assert operator.get("/api/v1/stuck").json()["destinations"] == []


UNCLEAR: list[tuple[str, dict[str, Any], str | None]] = [
    ("retry", {}, None),
    ("retry", {"stat": "parked"}, "stat"),
    ("retry", {"state": "nowhere"}, "state"),
    ("retry", {"state": ""}, "state"),
    ("retry", {"limit": 0}, "limit"),
    ("retry", {"limit": True}, "limit"),
    ("retry", {"limit": 2**63}, "limit"),
    ("retry", {"study_date": "\ud800"}, None),
    ("retry", {"everything": "yes"}, "everything"),
    ("retry", {"modality": 1}, "modality"),
    ("retry", {"destination": "nowhere"}, "destination"),
    ("retry", {"study_date": "yesterday"}, "study_date"),
    ("dismiss", {"state": "pending"}, "state"),
    ("priority", {"modality": "CT"}, "priority"),
    ("priority", {"modality": "CT", "priority": "high"}, "priority"),
    ("counts", {"first": "2026-02-01", "last": "2026-01-01"}, "last"),
    ("counts", {"first": "soon", "last": "2026-01-01"}, "first"),
    ("destinations/nowhere/hold", {}, "destination"),
    ("destinations/archive/hold", {"name": "telepacs"}, None),
    ("deliveries", {"state": "unrouted"}, "state"),
]
"""A path, what is sent, and the field that the answer names."""


def test_what_is_not_clear_is_refused(operator: httpx.Client) -> None:
    for path, given, field in UNCLEAR:
        content = json.dumps(given)  # httpx would refuse half of a pair of surrogates
        answer = operator.post(
            f"/api/v1/{path}", content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400, (path, given, answer.text)
        assert answer.json()["error"], (path, given)
        assert answer.json().get("field") == field, (path, given)


def test_a_parameter_given_twice_is_refused(operator: httpx.Client) -> None:
    assert operator.get("/api/v1/studies?limit=1&limit=2").status_code == 400
    assert operator.get("/api/v1/studies?limit=1").status_code == 200


def test_the_state_is_streamed_while_the_session_lasts(page: Page, viewer: httpx.Client) -> None:
    events: list[str] = []
    with viewer.stream("GET", "/api/v1/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event:"):
                events.append(line)
                if len(events) == 2:
                    # Signed out elsewhere: the stream says so, and ends.
                    with closing(page.client()) as other:
                        other.cookies.update(viewer.cookies)
                        headers = {"x-csrf-token": viewer.headers["x-csrf-token"]}
                        assert other.delete("/api/v1/session", headers=headers).status_code == 204
            if line.startswith('data: {"mapdr"'):
                assert json.loads(line.removeprefix("data: "))["node"]["name"] == "clinic-north"
    assert events[0] == events[1] == "event: status"
    assert events[-1] == "event: signed-out"


def test_a_stream_ends_when_nobody_can_say_who_may(page: Page, viewer: httpx.Client) -> None:
    page.doors.set_password("ann", "viewer", "a long password")
    with closing(page.client()) as client:
        given = {"user": "ann", "password": "a long password"}
        assert client.post("/api/v1/session", json=given).status_code == 200
        events: list[str] = []
        with client.stream("GET", "/api/v1/stream") as answer:
            for line in answer.iter_lines():
                if line.startswith("event:"):
                    events.append(line)
                    (page.node.plan.node.data / "web" / "users.json").write_text("{")
    assert events[0] == "event: status"
    assert events[-1] == "event: signed-out"


def test_no_more_streams_than_there_may_be(
    page: Page, viewer: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr_web.app.STREAMS", 2)
    with ExitStack() as stack:
        asked = [stack.enter_context(viewer.stream("GET", "/api/v1/stream")) for _ in range(4)]
        assert sorted(answer.status_code for answer in asked) == [200, 200, 503, 503]

    def free() -> bool:
        with viewer.stream("GET", "/api/v1/stream") as answer:
            return answer.status_code == 200

    until(free, 10, "an end of those that were closed")


def test_the_probes_say_little_and_the_metrics_no_name(page: Page, nobody: httpx.Client) -> None:
    assert nobody.get("/healthz").json() == {"status": "ok"}
    assert nobody.get("/readyz").json() == {"status": "ready"}
    text = ""

    def waits() -> bool:  # and is not just on its way
        nonlocal text
        text = nobody.get("/metrics").text
        return 'mapdr_deliveries{destination="archive",state="pending"} 6.0' in text

    until(waits, 20, "six images that wait for the archive")
    assert 'mapdr_parked{destination="telepacs",reason="refused"} 1.0' in text
    assert "mapdr_ready 1.0" in text


def test_files_have_the_figures_of_the_command_line(page: Page, viewer: httpx.Client) -> None:
    today = date.today()
    month = f"{today:%Y-%m}"

    def told_alike() -> httpx.Response | None:
        """The answer of the page, if no attempt was counted between it and the command's."""
        told = viewer.get("/api/v1/report.csv", params={"month": month})
        done = CliRunner().invoke(main, ["report", "--month", month, "--csv", "--config", str(page.config)])
        return told if told.text == done.output else None

    told = until(told_alike)
    assert told is not None
    assert told.headers["content-type"] == "text/csv; charset=utf-8"
    assert told.headers["content-disposition"] == f'attachment; filename="mapdr-report-{month}.csv"'
    counted = viewer.get("/api/v1/counts.csv", params={"first": f"{today}", "last": f"{today}"}).text
    assert counted.splitlines()[:3] == [
        "first,last,destination,modality,images,studies,bytes_received,bytes_sent",
        f"{today},{today},,(all),7,3,,",
        f"{today},{today},,CT,4,1,,",
    ]
    for path in ("report.html?month=soon", "report.csv?month=2026-13", "counts.csv?first=2026-01-01"):
        assert viewer.get(f"/api/v1/{path}").status_code == 400


def test_a_report_s_style_is_allowed_by_its_hash_alone(viewer: httpx.Client) -> None:
    told = viewer.get("/api/v1/report.html")
    (style,) = re.findall("<style>(.*?)</style>", told.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = told.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    assert "sha256" not in viewer.get("/api/v1/report").headers["content-security-policy"]
