"""What a node does as its license stands: it receives and keeps always, forwards while it may, says why."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from license.vendor import FACTS, FAR, OTHER_KEY, token
from mapdr.kernel.registry import Registry
from mapdr.license.code import KINDS
from mapdr.license.facts import Machine
from mapdr.license.standing import Record
from mapdr.node import licensing
from mapdr.node.assembly import Node as Running
from mapdr.node.configuration import examine
from mapdr.operate.signin import Doors
from mapdr.testing import generator
from mapdr.testing.ris import Ris
from mapdr.testing.wait import until
from mapdr_cli.main import main
from peers.node import Node, destination
from peers.part10 import in_memory
from peers.rawsender import send_all
from peers.rawsink import RawSink

DAY = timedelta(days=1)
LICENSED = token()
HELD = Record(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), held=True)


def now() -> datetime:
    return datetime.now(UTC)


def other(*kinds: str) -> dict[str, str]:
    """The machine with other facts of these kinds."""
    return {**FACTS, **{kind: f"another {kind}" for kind in kinds}}


@dataclass
class Case:
    """An installation, and how its license is to stand."""

    kind: str
    reason: str = ""
    token: str | None = LICENSED
    facts: Mapping[str, str] = field(default_factory=lambda: FACTS)
    record: Record | None = None


def _ago(**days: float) -> Record:
    """A record with these moments so many days ago (negative: ahead)."""
    moments: dict[str, Any] = {name: now() - timedelta(days=each) for name, each in days.items()}
    return replace(HELD, **moments)


NEW = replace(HELD, held=False)
VIRTUAL = {kind: FACTS[kind] for kind in ("machine", "firmware", "network")}
TWO = ("disk", "network")
CASES = {
    "the machine": Case("licensed"),
    **{f"another {kind}": Case("licensed", facts=other(kind)) for kind in KINDS},
    "another disk and network card": Case("licensed", facts=other(*TWO)),
    "three others": Case("over", "another machine", facts=other(*KINDS[:3]), record=_ago(wrong_since=15)),
    "all others": Case("over", "another machine", facts=other(*KINDS), record=_ago(wrong_since=15)),
    "all others, in grace": Case("grace", "another machine", facts=other(*KINDS), record=_ago(wrong_since=1)),
    "a virtual machine cloned": Case(
        "trial",
        "another machine",
        facts={kind: f"cloned {kind}" for kind in VIRTUAL},
    ),
    "nothing can be read": Case("over", "another machine", facts={}, record=_ago(wrong_since=15)),
    "expired, in grace": Case("grace", "expired", token((now() - 3 * DAY).date()), record=_ago(first_at=90)),
    "expired": Case("over", "expired", token((now() - 16 * DAY).date()), record=_ago(first_at=90)),
    "the clock is set back": Case(
        "over", "expired", token((now() + DAY).date()), record=_ago(seen_at=-30, first_at=90)
    ),
    "a trial": Case("trial", "no license", None),
    "a trial that ends": Case("trial", "no license", None, record=replace(NEW, first_at=now() - 27 * DAY)),
    "a trial that is over": Case("over", "no license", None, record=replace(NEW, first_at=now() - 31 * DAY)),
    "another vendor's": Case(
        "over",
        "not signed by the vendor",
        token(key=OTHER_KEY),
        record=replace(NEW, first_at=now() - 31 * DAY),
    ),
    "cut": Case("over", "license", LICENSED[:-7], record=replace(NEW, first_at=now() - 31 * DAY)),
}


@pytest.fixture
def installed(
    tmp_path: Path, vendor_build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Case], tuple[Node, Running, RawSink, Ris]]]:
    """Start a node of an installation, with a PACS and a webhook."""
    ends: list[Callable[[], object]] = []
    monkeypatch.setattr(licensing, "FACTS_FOR", 0.0)

    def install(case: Case) -> tuple[Node, Running, RawSink, Ris]:
        sink = RawSink().__enter__()
        ris = Ris().__enter__()
        ends.extend([lambda: sink.__exit__(None, None, None), lambda: ris.__exit__(None, None, None)])
        node = Node(
            tmp_path / "node",
            egress={"pacs": destination(sink.port)},
            rules=[
                {"name": "urgent", "when": {"Modality": "MR"}, "send_to": ["pacs"], "priority": "stat"},
                {"name": "others", "when": {"Modality": "CT"}, "send_to": ["pacs"]},
            ],
            web={"host": "127.0.0.1", "port": 0},
            webhook={"ris": {"url": ris.url, "on": ["study.received", "license.ends", "license.holds"]}},
        )
        node.data.mkdir()
        monkeypatch.setattr(licensing, "machine", lambda: Machine(case.facts))
        if case.token is not None:
            licensing.keep_token(node.data, case.token)
        if case.record is not None:
            (node.data / licensing.RECORD).write_text(json.dumps(licensing._plain(case.record)))
        checked = examine(node.config, Registry(), resolve=True)
        assert checked.plan is not None
        running = Running(checked.loaded, checked.plan, Registry())
        running.start()
        ends.insert(0, lambda: running.stop(time.monotonic() + 10))
        return node, running, sink, ris

    yield install
    for end in ends:
        end()


def push(node: Node, modality: str, images: int, **more: Any) -> None:
    made = generator.study(modality, images=images, size=(32, 32), **more)
    statuses = send_all(node.port, [in_memory(image) for image in made])
    assert set(statuses.values()) == {0}, "receiving never asks for a license"


def faces_say(node: Node, running: Running, attention: Sequence[Mapping[str, Any]], kind: str) -> None:
    """The dashboard and the page's API tell of a license what `mapdr status` does."""
    top = ["top", "--once", "--config", str(node.config)]
    drawn = CliRunner().invoke(main, top, env={"COLUMNS": "300"}).output
    if attention:
        (said,) = attention
        assert said["text"] in drawn
    assert ("license" in drawn) == bool(attention)
    assert running.page is not None
    url = f"http://127.0.0.1:{running.page.describe().port}"
    with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
        link = Doors(node.data).make_link("ann", "viewer")
        client.post("/api/v1/session", json={"token": link}).raise_for_status()
        told = client.get("/api/v1/status").json()["attention"]
        assert [each for each in told if each["kind"] == "license"] == attention
        assert client.get("/api/v1/license").json()["state"] == kind


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_a_node_does_under_its_license(
    case: Case, installed: Callable[[Case], tuple[Node, Running, RawSink, Ris]]
) -> None:
    node, running, sink, ris = installed(case)
    push(node, "CT", 2)
    push(node, "MR", 1)
    until(lambda: node.status()["today"]["received"].get("MR"), 10, "what was received")
    standing = running.licensing.standing
    assert (standing.kind, standing.set_back) == (
        case.kind,
        case.record is not None and case.record.seen_at > now(),
    )
    assert case.reason in standing.reason
    told = [each for each in node.status()["attention"] if each["kind"] == "license"]
    faces_say(node, running, told, case.kind)
    if case.kind == "over":
        until(lambda: [each for each in ris.answered() if each.json["type"] == "study.received"], 10)
        assert node.status()["pending"] == 3
        rows = node.json("deliveries")["deliveries"]
        assert {(row["state"], row["attempts"], row["reason"]) for row in rows} == {("pending", 0, "license")}
        (pacs,) = node.status()["destinations"]
        assert (pacs["state"], pacs["reason"], sink.received) == ("waiting", "license", [])
        assert (told[0]["level"], case.reason in told[0]["text"]) == ("bad", True)
        assert "PAUSES" in told[0]["text"]
    else:
        until(lambda: len(sink.received) == 3, 10, "what goes out")
        ends = case.kind == "grace" or case is CASES["a trial that ends"]
        assert [each["level"] for each in told] == ["warn"] * ends
    if told:
        until(
            lambda: [each for each in ris.answered() if each.json["type"] == "license.ends"], 10, "the event"
        )
    else:
        assert not [event for event in running.watch.recent() if event.kind == "license.ends"]


def test_a_paused_node_that_gets_its_license_sends_all_that_it_kept(
    installed: Callable[[Case], tuple[Node, Running, RawSink, Ris]],
) -> None:
    node, running, sink, ris = installed(CASES["a trial that is over"])
    push(node, "CT", 30)
    push(node, "MR", 3)
    until(lambda: node.status()["pending"] == 33, 10)
    licensing.keep_token(node.data, token(FAR, OTHER_KEY))
    until(lambda: "not signed" in running.licensing.standing.reason, 10)
    assert sink.received == []
    licensing.keep_token(node.data, LICENSED)
    until(lambda: len(sink.received) == 33, 15, "all that was kept")
    until(lambda: node.status()["pending"] == 0, 10)
    assert running.licensing.resumed_at > time.time() - 60
    assert not [each for each in node.status()["attention"] if each["kind"] == "license"]
    until(lambda: [each for each in ris.answered() if each.json["type"] == "license.holds"], 10)
    kept = licensing.read_record(node.data)
    assert kept is not None
    assert (kept.held, kept.paused) == (True, False)


def test_without_a_gate_nothing_is_kept_and_nothing_said(
    installed: Callable[[Case], tuple[Node, Running, RawSink, Ris]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.license.gate.compiled", None)
    node, running, sink, _ = installed(Case("unneeded", token=None))
    push(node, "CT", 1)
    until(lambda: len(sink.received) == 1, 10)
    assert running.licensing.facts() == {}
    assert not (node.data / licensing.RECORD).exists()


def test_a_damaged_record_keeps_no_node_from_its_work(
    installed: Callable[[Case], tuple[Node, Running, RawSink, Ris]],
) -> None:
    node, running, sink, _ = installed(Case("licensed"))
    rest = '"wrong_since": null, "resumed_at": null, "held": true, "paused": false}'
    before_all = f'{{"first_at": "0001-01-01T00:00+14:00", "seen_at": "0001-01-01T00:00+14:00", {rest}'
    after_all = before_all.replace("0001-01-01", "9999-12-31")
    damaged = ("", "{", "[]", '{"first_at": 1}', '{"first_at": null, "seen_at": null}', "[" * 100_000)
    for text in (*damaged, before_all, after_all):
        (node.data / licensing.RECORD).write_text(text)
        assert licensing.read_record(node.data) is None
    push(node, "CT", 1)
    until(lambda: len(sink.received) == 1, 10)
    assert running.licensing.standing.kind == "licensed"


@pytest.mark.parametrize("name", [licensing.TOKEN, licensing.RECORD])
def test_a_file_that_cannot_be_read_pauses_nothing_at_once(
    name: str, tmp_path: Path, vendor_build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that starts with one of both unreadable: the token has its grace, as a wrong one."""
    monkeypatch.setattr(licensing, "machine", lambda: Machine(FACTS))
    licensing.keep_token(tmp_path, LICENSED)
    (tmp_path / licensing.RECORD).write_text(json.dumps(licensing._plain(HELD)))
    (tmp_path / name).rename(tmp_path / "aside")
    (tmp_path / name).mkdir()
    found = licensing.Licensing(tmp_path)
    with pytest.raises(OSError, match=r"director|denied"):
        found.look()
    kind = "grace" if name == licensing.TOKEN else "licensed"
    assert (found.standing.kind, found.pause) == (kind, "")
    assert licensing.standing_in(tmp_path).kind == kind
    assert (f"{name} in the data folder cannot be read" in found.standing.reason) == (kind == "grace")
    (tmp_path / name).rmdir()
    (tmp_path / "aside").rename(tmp_path / name)
    found.look()
    assert found.standing.kind == "licensed"
    kept = licensing.read_record(tmp_path)
    assert kept is not None
    assert kept.first_at == HELD.first_at, "it remembers what it could not read for a while"


def test_a_token_that_cannot_be_read_any_more_stays_as_it_was_seen(
    tmp_path: Path, vendor_build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(licensing, "machine", lambda: Machine(FACTS))
    licensing.keep_token(tmp_path, LICENSED)
    found = licensing.Licensing(tmp_path)
    found.look()
    (tmp_path / licensing.TOKEN).unlink()
    (tmp_path / licensing.TOKEN).mkdir()
    with pytest.raises(OSError, match=r"director|denied"):
        found.look()
    assert found.standing.kind == "licensed"


def test_whatever_is_wrong_with_the_license_the_node_receives(
    installed: Callable[[Case], tuple[Node, Running, RawSink, Ris]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("not foreseen")

    monkeypatch.setattr("mapdr.license.gate.judge", broken)
    node, running, sink, _ = installed(Case("over"))
    push(node, "CT", 1)
    assert running.licensing.pause == "license"
    assert not sink.received
