"""Certificates that end soon are said by every face: check, doctor, status, and the node's log and events."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from mapdr.kernel.certificate import Certificate, ending
from mapdr.node.certificates import ending_soon
from mapdr.node.upkeep import Upkeep
from mapdr.operate.access import Access
from mapdr.operate.doctor import examine
from mapdr.operate.events import event_line
from mapdr.testing import generator
from node.test_upkeep import Kept
from paper.nodes import NodeFolder
from peers.certificates import Authority, Pair

DAY = 86400.0


def secured(node: NodeFolder, pair: Pair, ca: Path) -> None:
    """Have the node's receiver show `pair` and ask for one of `ca`."""
    table = (
        f'tls = {{ cert = "{pair.cert.as_posix()}", key = "{pair.key.as_posix()}", ca = "{ca.as_posix()}" }}'
    )
    text = node.config.read_text()
    head, receiver, rest = text.partition("[receive.modalities]\n")
    assert receiver
    node.config.write_text(f"{head}{receiver}{table}\n{rest}")


@pytest.mark.parametrize(
    ("days", "said", "level"),
    [
        (300, "", "ok"),
        (29.5, "ends in 29 days", "note"),
        (-1, "holds a certificate that has expired", "bad"),
    ],
)
def test_check_and_doctor_say_it(
    node: NodeFolder, tmp_path: Path, days: float, said: str, level: str
) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.sign("mapdr", since=-10, days=days)
    secured(node, pair, authority.path)
    result = node.mapdr("check")
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if "tls" in line]
    assert bool(lines) == bool(said)
    assert all(said in line and "receive.modalities.tls.cert" in line for line in lines)
    found = [each for each in examine(node.config) if each.part == "certificates"]
    assert [(each.name, each.level) for each in found] == [
        ("receive.modalities", level),
        ("receive.modalities", "ok"),
    ]
    assert pair.fingerprint[:16] in found[0].text


def told(name: str, days: float, whose: str) -> dict[str, Any]:
    return {"whose": whose, "name": name, "fingerprint": name, "expires_at": time.time() + days * DAY}


SIGN: dict[str, Any] = {
    "receivers": {
        "modalities": {
            "certificates": [
                told("mapdr", 12.5, "own"),
                told("ca", 200, "ca"),
                told("ct1\x1b[2J", 0.5, "peer"),
            ],
            "tls_trouble": "",
        },
        "plain": {},
    },
    "destinations": {
        "telepacs": {"certificates": [told("pacs", -3, "peer")], "tls_trouble": "me.pem cannot be used"}
    },
}


def test_status_says_it(used: NodeFolder) -> None:
    used.beat(**SIGN)
    items = json.loads(used.mapdr("status", "--json").output)["attention"]
    found = [(item["level"], item["text"]) for item in items if item["kind"] == "certificate"]
    assert found == [
        ("bad", "egress.telepacs: changed TLS files are not in use: me.pem cannot be used"),
        ("warn", "receive.modalities: its own TLS certificate, mapdr, expires in 12 days"),
        ("warn", "receive.modalities: the TLS certificate of ct1?[2J expires within a day"),
        ("bad", "egress.telepacs: the TLS certificate of pacs has EXPIRED"),
    ]
    assert "its own TLS certificate, mapdr, expires in 12 days" in used.mapdr("status", width=200).output


def test_doctor_knows_those_of_peers_from_a_running_node(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    used.beat(**SIGN)
    monkeypatch.setattr(Access, "alive", False)
    assert not [each for each in examine(used.config) if each.part == "certificates"]
    monkeypatch.setattr(Access, "alive", True)
    found = [each for each in examine(used.config) if each.part == "certificates"]
    assert [(each.name, each.level) for each in found] == [
        ("receive.modalities", "note"),
        ("egress.telepacs", "bad"),
    ]
    assert "the TLS certificate of pacs has EXPIRED" in found[1].text


def test_a_node_that_does_not_run_says_nothing_of_them(used: NodeFolder) -> None:
    used.beat(**{**SIGN, "state": "stopped"})
    items = json.loads(used.mapdr("status", "--json").output)["attention"]
    assert not [item for item in items if item["kind"] == "certificate"]


def test_the_log_and_an_event_say_it_once_a_day(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Told(Kept):
        def counters(self) -> dict[str, Any]:
            return SIGN

    node = Told(tmp_path / "running")
    works = Upkeep(node)
    works._certificates()
    works._certificates()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    events = [event for event in node.watch.recent() if event.kind == "certificate.ends"]
    assert [event.facts["stage"] for event in events] == ["receive.modalities"] * 2 + ["egress.telepacs"]
    line = event_line({"at": 1.0, "kind": events[0].kind, **events[0].facts})
    assert (line.level, line.text) == (
        "warn",
        "receive.modalities: its own TLS certificate, mapdr, expires in 12 days",
    )


def test_what_ends_is_known_by_a_sign_of_life() -> None:
    now = time.time()
    stage, first = next(ending_soon(SIGN, now))
    assert (stage, first.name) == ("receive.modalities", "mapdr")
    assert len(list(ending_soon(SIGN, now))) == 3
    assert len(list(ending_soon(SIGN, now + 180 * DAY))) == 4
    assert list(ending_soon({}, now)) == []


@pytest.mark.parametrize(("days", "words"), [(1.5, "in 1 day"), (0.9, "within a day"), (-0.1, "has EXPIRED")])
def test_the_words(days: float, words: str) -> None:
    assert ending("own", "mapdr", days).endswith(words)


def test_deliveries_say_which_certificate_the_receiver_showed(node: NodeFolder) -> None:
    node.receive(generator.study("CT", images=3, size=(16, 16)))
    shown = Certificate("peer", "pacs.clinic.example", "ab" * 32, 0.0).credential
    later = Certificate("peer", "pacs.clinic.example", "cd" * 32, 0.0).credential
    node.settle("telepacs", "pending", 1, credential=shown)
    node.settle("telepacs", "delivered", 2, credential=later)
    answer = json.loads(node.mapdr("deliveries", "--attempts", "--to", "telepacs", "--json").output)
    made = [[one["credential"] for one in row["attempts_made"]] for row in answer["deliveries"]]
    assert sorted(made) == sorted([[shown, later], [later], []])
    assert sorted(row["credential"] for row in answer["deliveries"]) == ["", later, later]
    output = node.mapdr("deliveries", "--to", "telepacs", width=200).output
    assert "by pacs.clinic.example" in output
    assert "cdcdcdcd" in output


def test_a_certificate_says_which_it_is() -> None:
    assert Certificate("peer", "ct1", "ab12", 0.0).credential == "certificate:ct1 sha256:ab12"
