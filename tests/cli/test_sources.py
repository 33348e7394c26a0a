from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest

from mapdr.kernel.item import Source
from paper.nodes import NodeFolder, with_images

STRANGER = {
    "address": "10.1.2.9",
    "calling_ae": "CT9",
    "called_ae": "MAPDR",
    "cause": "rejected: its AE title is not in the allow list for its address",
    "cure": 'add { ae_title = "CT9", host = "10.1.2.9" } to allow of [receive.modalities]',
    "times": 4,
    "last_at": time.time(),
}


def listed(node: NodeFolder) -> list[dict[str, Any]]:
    result = node.mapdr("sources", "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.output)["sources"]
    return found


def test_who_sends_is_listed_with_the_images_of_today(node: NodeFolder) -> None:
    used = with_images(node)  # these very images, and not a copy of earlier ones
    (row,) = listed(used)
    source = row["source"]
    assert (source["calling_ae"], source["called_ae"], source["address"]) == ("CT1", "MAPDR", "127.0.0.1")
    assert (source["receiver"], row["today"], row["rejected"]) == ("modalities", 7, 0)
    assert time.time() - datetime.fromisoformat(row["last_at"]).timestamp() < 120
    output = used.mapdr("sources").output
    assert "CT1" in output
    assert "rejected" not in output


def test_who_is_rejected_is_listed_with_the_cure(used: NodeFolder) -> None:
    used.beat(receivers={"modalities": {"rejected": [STRANGER]}})
    known, stranger = listed(used)
    assert known["source"]["calling_ae"] == "CT1"
    assert (stranger["source"]["calling_ae"], stranger["last_at"], stranger["today"]) == ("CT9", None, 0)
    assert (stranger["rejected"], stranger["cure"]) == (4, STRANGER["cure"])
    assert str(STRANGER["cure"]) in used.mapdr("sources", width=200).output


def test_rejections_for_several_causes_are_all_counted_and_the_latest_says_why(used: NodeFolder) -> None:
    before = {
        **STRANGER,
        "times": 2,
        "last_at": float(str(STRANGER["last_at"])) - 60,
        "cause": "rejected: no",
    }
    for told in ([STRANGER, before], [before, STRANGER]):
        used.beat(receivers={"modalities": {"rejected": told}})
        _, stranger = listed(used)
        assert (stranger["rejected"], stranger["cause"]) == (6, STRANGER["cause"])


def test_a_peer_that_has_shown_a_certificate_is_listed_once(used: NodeFolder) -> None:
    peer = {**STRANGER, "calling_ae": "CT1", "address": "127.0.0.1"}
    store = used.store()
    try:
        with store.database.write() as connection:
            connection.exec_driver_sql("UPDATE source SET credential = 'certificate:ct1'")
    finally:
        store.close()
    for told in (peer, {**peer, "credential": "certificate:ct1"}):
        used.beat(receivers={"modalities": {"rejected": [told]}})
        (row,) = listed(used)
        assert (row["source"]["credential"], row["today"], row["rejected"]) == ("certificate:ct1", 7, 4)
    used.beat(receivers={"modalities": {"rejected": [{**peer, "credential": "certificate:other"}]}})
    assert [row["source"]["credential"] for row in listed(used)] == ["certificate:ct1", "certificate:other"]


def test_a_rejected_peer_needs_attention(used: NodeFolder) -> None:
    used.beat(receivers={"modalities": {"rejected": [STRANGER]}})
    items = json.loads(used.mapdr("status", "--json").output)["attention"]
    (text,) = [item["text"] for item in items if item["kind"] == "rejected"]
    assert text == (
        "modalities: CT9 at 10.1.2.9 was rejected: its AE title is not in the allow list for its address, "
        '4 times; add { ae_title = "CT9", host = "10.1.2.9" } to allow of [receive.modalities]'
    )


def test_nobody_has_sent_anything(node: NodeFolder) -> None:
    node.store().close()
    result = node.mapdr("sources")
    assert (result.exit_code, result.output.strip()) == (0, "Nobody has sent anything yet.")


def chosen(node: NodeFolder, *options: str) -> int:
    result = node.mapdr("deliveries", "--json", *options)
    assert result.exit_code == 0, result.output
    return len(json.loads(result.output)["deliveries"])


@pytest.mark.parametrize(
    ("calling_ae", "credential", "shown"),
    [
        ("", "token:clinic", "token:clinic"),
        ("", "certificate:gw sha256:00ff", "certificate:gw sha256:00ff"),
        ("CT1", "certificate:gw sha256:00ff", "CT1"),
        ("", "", "modalities"),
    ],
)
def test_a_peer_is_chosen_by_the_name_that_it_is_shown_under(
    node: NodeFolder, calling_ae: str, credential: str, shown: str
) -> None:
    used = with_images(node)
    store = used.store()
    try:
        with store.database.write() as connection:
            connection.exec_driver_sql(
                "UPDATE source SET calling_ae = ?, credential = ?", (calling_ae, credential)
            )
    finally:
        store.close()
    (row,) = listed(used)
    assert Source(**row["source"]).peer == shown
    every = chosen(used)
    assert every > 0
    names = {"CT1", "token:clinic", "certificate:gw sha256:00ff", "modalities"}
    assert {name: chosen(used, "--from", name) for name in names} == {
        name: every if name == shown else 0 for name in names
    }
