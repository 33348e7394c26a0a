"""What the listings say of a node's index, in words and as JSON; and what they keep to themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mapdr.operate.view import NodeView
from mapdr.testing import generator
from paper.nodes import NodeFolder


def _json(node: NodeFolder, *words: str) -> Any:
    result = node.mapdr(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_the_status_of_a_node_that_never_ran_makes_nothing(node: NodeFolder) -> None:
    status = _json(node, "status")
    assert status["today"] == {"received": {}, "delivered": {}}
    assert (status["pending"], status["parked"], status["unrouted"]) == (0, 0, 0)
    assert status["node"]["state"] == "stopped"
    assert not (node.config.parent / "data").exists()


def test_the_status_has_the_keys_of_the_design(used: NodeFolder) -> None:
    status = _json(used, "status")
    assert status["today"] == {
        "received": {
            "CT": {"images": 4, "studies": 1},
            "MR": {"images": 2, "studies": 1},
            "US": {"images": 1, "studies": 1},
        },
        "delivered": {"telepacs": {"CT": {"images": 2, "studies": 1}}},
    }
    assert (status["pending"], status["parked"], status["unrouted"]) == (9, 1, 1)
    rows = {row["name"]: row for row in status["destinations"]}
    assert rows["telepacs"]["parked_reasons"] == {"refused": 1}
    assert (rows["telepacs"]["pending"], rows["archive"]["pending"]) == (3, 6)
    texts = [item["text"] for item in status["attention"]]
    assert "1 image parked for telepacs: refused (1)" in texts
    assert "1 image unrouted: no rule takes it" in texts


def test_images_without_a_modality_are_called_so_everywhere(node: NodeFolder) -> None:
    node.config.write_text(node.config.read_text().replace('when = { Modality = ["CT", "MR"] }', "when = {}"))
    named = b"\x08\x00\x60\x00CS\x02\x00CT"
    (image,) = generator.study("CT", images=1, size=(16, 16))
    assert named in image.dataset
    node.receive([replace(image, dataset=image.dataset.replace(named, named[:6] + b"\0\0"))])
    node.settle("archive", "delivered", 1)
    once = {"(none)": {"images": 1, "studies": 1}}
    assert _json(node, "status")["today"] == {"received": once, "delivered": {"archive": once}}
    assert _json(node, "studies")["studies"][0]["modalities"] == {"(none)": 1}
    assert {row["modality"] for row in _json(node, "deliveries")["deliveries"]} == {None}
    for listing in ("status", "studies", "deliveries"):
        assert "(none)" in node.mapdr(listing).output


@pytest.mark.parametrize("words", [(), ("--identify",)])
def test_a_narrow_terminal_shows_all_that_was_said_of_a_delivery(
    used: NodeFolder, words: tuple[str, ...]
) -> None:
    answer = "the association was rejected by the service user: " + "called AE title not recognised, " * 4
    used.settle("archive", "pending", 1, status=None, verdict="retry", comment=answer, reason="not-connected")
    output = used.mapdr("deliveries", *words, width=80).output
    assert max(map(len, output.splitlines())) <= 80
    said = " ".join(output.split())
    assert "not-connected: " + " ".join(answer.split()) in said
    own = "the receiver cannot understand it" if words else "the data set does not match its SOP class"
    assert f"refused: {own}" in said
    (row,) = [line for line in output.splitlines() if "parked" in line]
    assert row.split()[-2:] == ["parked", "0xA900"]


def test_the_status_in_words(used: NodeFolder) -> None:
    used.beat()
    output = used.mapdr("status").output
    assert "clinic-north" in output
    assert "running" in output
    assert "1 image parked for telepacs" in output


def test_top_draws_once_and_as_json(used: NodeFolder) -> None:
    result = used.mapdr("top", "--once")
    assert result.exit_code == 0
    assert "destination " in result.output
    assert _json(used, "top")["parked"] == 1


def test_deliveries_say_what_the_receiver_said(used: NodeFolder) -> None:
    rows = _json(used, "deliveries")["deliveries"]
    assert len(rows) == 12
    delivered = [row for row in rows if row["state"] == "delivered"]
    assert [(row["status"], row["tries"], row["destination"]) for row in delivered] == [
        (0, 1, "telepacs")
    ] * 2
    (parked,) = _json(used, "deliveries", "--state", "parked")["deliveries"]
    assert (parked["status"], parked["reason"]) == (0xA900, "refused")
    output = used.mapdr("deliveries", "--state", "parked").output
    assert "0xA900 refused" in " ".join(output.split())


@pytest.mark.parametrize(
    ("selection", "number"),
    [
        (["--modality", "MR"], 4),
        (["--to", "archive"], 6),
        (["--to", "telepacs", "--modality", "CT"], 4),
        (["--state", "pending", "--to", "telepacs"], 3),
        (["--study-date", "2026-01-15"], 12),
        (["--study-date", "2026-01-16.."], 0),
        (["--study-date", "..2026-01-15"], 12),
        (["--study-date", "2026-01-01..2026-01-14"], 0),
        (["--since", "1 h"], 12),
        (["--since", "2999-01-01"], 0),
        (["--received", "today"], 12),
        (["--received", "today.."], 12),
        (["--received", "..2026-01-14"], 0),
        (["--received", "2999-01-01"], 0),
        (["--from", "CT1"], 12),
        (["--from", "MR1"], 0),
        (["--patient", "nobody"], 0),
        (["--accession", "nothing"], 0),
        (["--limit", "5"], 5),
        (["--reason", "refused"], 1),
    ],
)
def test_one_grammar_of_selections(used: NodeFolder, selection: list[str], number: int) -> None:
    assert len(_json(used, "deliveries", *selection)["deliveries"]) == number


@pytest.mark.parametrize(
    "selection",
    [
        ["--study-date", "yesterday"],
        ["--study-date", "2026-13-01"],
        ["--since", "soon"],
        ["--state", "x"],
        ["--received", "now"],
        ["--received", "today", "--since", "1 h"],
    ],
)
def test_a_selection_that_is_none_is_status_2(used: NodeFolder, selection: list[str]) -> None:
    assert used.mapdr("deliveries", *selection).exit_code == 2


def test_studies_are_whole_and_say_what_each_destination_has(used: NodeFolder) -> None:
    rows = {next(iter(row["modalities"])): row for row in _json(used, "studies")["studies"]}
    assert set(rows) == {"CT", "MR", "US"}
    states = {
        name: {one["state"]: one["images"] for one in standings}
        for name, standings in rows["CT"]["destinations"].items()
    }
    assert states == {"archive": {"pending": 4}, "telepacs": {"delivered": 2, "parked": 1, "pending": 1}}
    assert rows["US"]["unrouted"] == 1
    (only,) = _json(used, "studies", "--modality", "MR")["studies"]
    assert only["images"] == 2
    output = used.mapdr("studies").output
    assert "telepacs 2/4 (1 parked)" in " ".join(output.split())


def test_identifying_values_are_shown_only_on_request(used: NodeFolder) -> None:
    """The generated accession number, patient ID and name appear nowhere unless --identify asks."""
    image = next(generator.study("CT", images=1, size=(16, 16)))
    secrets = (image.accession_number, "GEN-000000", "Müller", "19300110")
    used.beat()
    for words in (["status"], ["top", "--once"], ["studies"], ["deliveries"]):
        for more in ([], ["--json"]):
            output = used.mapdr(*words, *more).output
            assert not [secret for secret in secrets if secret in output], words
    asked = used.mapdr("studies", "--identify").output
    assert image.accession_number in asked
    assert "GEN-000000" in asked
    tags = _json(used, "studies", "--identify", "--modality", "CT")["studies"][0]["tags"]
    assert tags["AccessionNumber"] == image.accession_number


def test_deliveries_identify_in_text_and_json_and_tell_images_apart(used: NodeFolder) -> None:
    image = next(generator.study("CT", images=1, size=(16, 16)))
    for width in (80, 200):
        asked = used.mapdr("deliveries", "--identify", width=width).output
        for value in (image.accession_number, "GEN-000000", "20260115", image.sop_instance_uid[-6:]):
            assert value in asked, width
    plain = used.mapdr("deliveries").output
    assert f"..{image.sop_instance_uid[-6:]}" in plain
    assert max(map(len, plain.splitlines())) <= 80
    row = _json(used, "deliveries", "--identify", "--modality", "CT")["deliveries"][0]
    assert row["tags"]["AccessionNumber"] == image.accession_number
    assert row["study_date"] == "20260115"


def test_a_receivers_own_words_are_shown_only_on_request(node: NodeFolder) -> None:
    node.receive(generator.study("CT", images=1, size=(16, 16)))
    said = "bad patient ID GEN-000000"
    node.settle("telepacs", "parked", 1, comment=said, reason="refused")
    for words in (["deliveries"], ["deliveries", "--json"], ["deliveries", "--json", "--attempts"]):
        output = node.mapdr(*words, width=200).output
        assert "GEN-000000" not in output
        assert "the data set does not match its SOP class" in output
    (row,) = _json(node, "deliveries", "--identify", "--to", "telepacs")["deliveries"]
    assert row["comment"] == said


def test_a_study_uid_can_be_copied(used: NodeFolder) -> None:
    (study,) = _json(used, "studies", "--modality", "MR")["studies"]
    for words in ([], ["--identify"]):
        lines = used.mapdr("studies", "--uids", *words).output.splitlines()
        assert any(line.split()[-1] == study["study_instance_uid"] for line in lines)
    named = used.mapdr("studies", "--identify", "--modality", "MR").output
    assert study["study_instance_uid"][-8:] in named


def test_an_image_that_came_again_counts_once(node: NodeFolder) -> None:
    for _ in range(2):
        node.receive(generator.study("CT", images=3, size=(16, 16)))
        node.settle("telepacs", "delivered", 2)
    node.receive(generator.study("US", images=1, size=(16, 16)))
    node.receive(generator.study("US", images=1, size=(16, 16), seed=1))
    rows = {next(iter(row["modalities"])): row for row in _json(node, "studies")["studies"]}
    there = rows["CT"]["destinations"]["telepacs"]
    assert sum(one["images"] for one in there if not one["again"]) == 3
    assert [(one["state"], one["images"]) for one in there if one["again"]] == [("pending", 1)]
    status = _json(node, "status")
    assert status["unrouted"] == sum(row["unrouted"] for row in _json(node, "studies")["studies"])
    assert status["repeats"]["received"] >= 3
    assert "repeat" in node.mapdr("status").output


def test_unrouted_images_have_no_deliveries_and_that_is_said(used: NodeFolder) -> None:
    result = used.mapdr("deliveries", "--state", "unrouted")
    assert result.exit_code == 2
    assert "mapdr studies --state unrouted" in result.output


def test_a_node_without_an_index_is_status_1_for_listings(node: NodeFolder) -> None:
    result = node.mapdr("studies")
    assert result.exit_code == 1
    assert "the node has not run yet" in result.output


def test_a_damaged_index_is_named_with_cause_and_cure(used: NodeFolder) -> None:
    index = used.config.parent / "data" / "index.db"
    for more in index.parent.glob("index.db-*"):
        more.unlink()
    index.write_bytes(b"no database at all" * 1000)
    for words in (["status"], ["studies"], ["top", "--once"], ["run", "--plain"]):
        result = used.mapdr(*words)
        said = " ".join(result.output.split())
        assert result.exit_code == 1
        assert said.startswith(f"mapdr: the index {index} cannot be used (file is not a database)"), said
        assert "move index.db aside" in said
    assert "cannot be used (file is not a database)" in " ".join(
        used.mapdr("doctor", width=400).output.split()
    )


def test_a_pending_row_says_that_its_destination_is_away_or_held(used: NodeFolder) -> None:
    down = {"state": "open", "reason": "unreachable", "comment": "connection refused", "retry_at": 4e9}
    used.beat(destinations={"telepacs": down, "archive": {"state": "closed"}})
    used.mapdr("hold", "archive")
    rows = _json(used, "deliveries", "--state", "pending")["deliveries"]
    told = {(row["destination"], row["reason"]) for row in rows}
    assert told == {("telepacs", "unreachable"), ("archive", "held")}
    assert all("connection refused" in row["comment"] for row in rows if row["destination"] == "telepacs")
    (parked,) = _json(used, "deliveries", "--state", "parked")["deliveries"]
    assert parked["reason"] == "refused"
    output = " ".join(
        used.mapdr("deliveries", "--to", "telepacs", "--state", "pending", width=200).output.split()
    )
    assert "unreachable: connection refused" in output


def test_a_delivery_without_the_compression_of_its_rule_shows_that(used: NodeFolder) -> None:
    used.settle("archive", "delivered", 1, reason="compression-refused", treatment="re-encoded")
    (row,) = _json(used, "deliveries", "--reason", "compression-refused")["deliveries"]
    assert (row["state"], row["treatment"]) == ("delivered", "re-encoded")
    assert "compression-refused" in used.mapdr("deliveries", "--to", "archive", width=200).output


def test_deliveries_count_nothing_to_say_what_a_row_waits_for(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: NodeView) -> None:
        raise AssertionError("all was counted")

    used.mapdr("hold", "archive")
    monkeypatch.setattr(NodeView, "gather", fail)
    rows = _json(used, "deliveries", "--state", "pending")["deliveries"]
    assert {row["reason"] for row in rows if row["destination"] == "archive"} == {"held"}
