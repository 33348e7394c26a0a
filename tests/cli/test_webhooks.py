"""`mapdr webhooks`: what it prints, asks and ends with."""

from __future__ import annotations

import json
import time

import pytest

from mapdr.store import OutboxEntry
from mapdr.store.messages import OutboxSettlement
from mapdr.testing.ris import Ris
from mapdr_cli.commands import confirm
from paper.nodes import NodeFolder

HOOK = """
[webhook.ris]
url = "%s"
on = ["study.received"]
"""


def tell(node: NodeFolder, url: str = "http://127.0.0.1:9/") -> None:
    """Configure the hook, and put two messages into its outbox, one of them given up."""
    node.config.write_text(node.config.read_text() + HOOK % url)
    store = node.store()
    try:
        for number in (1, 2):
            body, shown = {"name": "DOE^JANE", "n": number}, {"name": "{PatientName}", "n": number}
            entry = OutboxEntry(f"k{number}", "ris", "study.received", body, number, shown)
            store.outbox.add([entry], time.time())
        (first,) = store.outbox.lease("ris", 1, 60, time.time())
        store.outbox.settle([OutboxSettlement(first.id, "parked", 0, 410, "answered 410")], time.time())
    finally:
        store.close()


def states(node: NodeFolder) -> list[str]:
    store = node.store()
    try:
        return [message.state for message in store.outbox.list("ris")]
    finally:
        store.close()


def test_hooks_are_listed(used: NodeFolder) -> None:
    assert used.mapdr("webhooks", "list").output == "There is no webhook.\n"
    tell(used)
    output = used.mapdr("webhooks", "list").output
    head, row = output.splitlines()
    assert head.split() == ["webhook", "waiting", "parked", "taken", "last", "answer", "next", "try"]
    assert row.split()[:4] == ["ris", "1", "1", "0"]
    assert row.endswith("answered 410  -") or "answered 410" in row


def test_a_hook_that_is_configured_no_more_is_said(used: NodeFolder) -> None:
    tell(used)
    used.config.write_text(used.config.read_text().replace("webhook.ris", "webhook.his"))
    output = used.mapdr("webhooks", "list").output
    assert "ris is not configured any more: nobody sends its messages" in output
    assert "his" in output


def test_messages_are_shown_without_who_it_is(used: NodeFolder) -> None:
    tell(used)
    rows = used.mapdr("webhooks", "show").output.splitlines()
    assert [row.split()[0] for row in rows] == ["id", "2", "1"]
    assert "parked" in rows[2]
    one = used.mapdr("webhooks", "show", "1").output
    assert '"name": "{PatientName}"' in one
    assert "DOE" not in one
    assert "webhook-id   msg_" in one
    assert "DOE^JANE" in used.mapdr("webhooks", "show", "1", "--identify").output
    assert used.mapdr("webhooks", "show", "--event", "study.delivered").output == "No message is chosen.\n"
    for words, said in (
        (["show", "9"], "there is no message 9"),
        (["show", "--hook", "rsi"], 'did you mean "ris"?'),
        (["show", "--hook", ""], "is empty"),
        (["show", "--made", "x"], "is not a date"),
    ):
        result = used.mapdr("webhooks", *words)
        assert result.exit_code == 2, words
        assert said in " ".join(result.output.split())


def test_sending_again_asks_and_says_how_many(used: NodeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(used)
    refused = used.mapdr("webhooks", "replay")
    assert refused.exit_code == 2
    assert "Send 1 message (ris 1) again? Nobody can be asked here" in " ".join(refused.output.split())
    dry = used.mapdr("webhooks", "replay", "--dry-run").output
    assert dry == "1 message (ris 1) would be sent again.\n"
    monkeypatch.setattr(confirm, "interactive", lambda: True)
    assert used.mapdr("webhooks", "replay", typed="n\n").exit_code == 1
    assert states(used) == ["pending", "parked"]
    assert "1 message (ris 1) will be sent again." in used.mapdr("webhooks", "replay", typed="y\n").output
    assert states(used) == ["pending", "pending"]
    assert used.mapdr("webhooks", "replay").output == "There is no such message to send again.\n"
    told = json.loads(used.mapdr("webhooks", "replay", "--study", "2", "--yes", "--json").stdout)
    assert told["mapdr"]["command"] == "webhooks replay"
    assert (told["messages"], told["to"], told["again"]) == (1, {"ris": 1}, 0)


def test_a_test_ends_with_1_if_it_was_not_taken(used: NodeFolder) -> None:
    with Ris(answer=lambda number: 200 if number == 0 else 503) as ris:
        used.config.write_text(used.config.read_text() + HOOK % ris.url)
        good, bad = used.mapdr("webhooks", "test", "ris"), used.mapdr("webhooks", "test", "ris", "--json")
    assert good.exit_code == 0
    assert good.output.startswith("ris took it (HTTP 200), study.received, ")
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["comment"] == "answered 503"
    assert all(call.json["test"] is True for call in ris.calls)
    assert used.mapdr("webhooks", "test", "rsi").exit_code == 2
