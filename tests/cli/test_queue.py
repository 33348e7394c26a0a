"""retry, hold, release and reroute do what they say, to what was selected and to nothing else."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from mapdr_cli.commands import confirm
from paper.nodes import NodeFolder


def _json(node: NodeFolder, *words: str) -> Any:
    result = node.mapdr(*words, "--json")
    assert result.exit_code == 0, result.output
    # Of many lines the last has the sums.
    return json.loads(result.output if result.output.startswith("{\n") else result.output.splitlines()[-1])


def _answer(node: NodeFolder, *words: str) -> dict[str, Any]:
    """The answer without what every answer says of itself."""
    return {key: value for key, value in _json(node, *words).items() if key != "mapdr"}


def _states(node: NodeFolder) -> Counter[tuple[str, str]]:
    rows = _json(node, "deliveries", "--limit", "1000")["deliveries"]
    return Counter((row["destination"], row["state"]) for row in rows)


def test_retry_makes_parked_deliveries_due_again(used: NodeFolder) -> None:
    assert _answer(used, "retry", "--state", "parked", "--yes") == {
        "deliveries": 1,
        "outdated": 0,
        "to": {"telepacs": 1},
        "dry_run": False,
    }
    assert _states(used)["telepacs", "parked"] == 0
    assert _states(used)["telepacs", "delivered"] == 2


def test_holding_a_selection_and_releasing_it(used: NodeFolder) -> None:
    before = _states(used)
    assert _json(used, "hold", "--to", "archive", "--modality", "CT")["deliveries"] == 4
    assert _states(used)["archive", "held"] == 4
    assert _json(used, "release", "--to", "archive")["deliveries"] == 4
    assert _states(used) == before


def test_holding_a_destination_is_shown_and_ends(used: NodeFolder) -> None:
    assert used.mapdr("hold", "archive").exit_code == 0
    used.beat()
    (row,) = [row for row in _json(used, "status")["destinations"] if row["name"] == "archive"]
    assert row["state"] == "held"
    assert "held by the operator" in row["comment"]
    assert used.mapdr("release", "archive").exit_code == 0
    (row,) = [row for row in _json(used, "status")["destinations"] if row["name"] == "archive"]
    assert row["state"] != "held"


@pytest.mark.parametrize(
    "words",
    [
        ["hold"],
        ["release"],
        ["hold", "archive", "--modality", "CT"],
        ["hold", "archiv"],
        ["reroute"],
        ["dismiss"],
        ["dismiss", "--all", "--modality", "CT"],
        ["dismiss", "--state", "held"],
        ["dismiss", "--reason", "refused", "--patient", "", "--yes"],
        ["retry", "--accession", " ", "--yes"],
        ["reroute", "--modality", "CT", "--received", "..", "--yes"],
        ["find", "--study", "1.2.3", "--patient", ""],
    ],
)
def test_what_is_not_clear_is_status_2_and_changes_nothing(used: NodeFolder, words: list[str]) -> None:
    before = _states(used)
    assert used.mapdr(*words).exit_code == 2
    assert _states(used) == before


@pytest.mark.parametrize(
    "option", ["--patient", "--accession", "--study", "--from", "--reason", "--modality"]
)
def test_bytes_that_are_no_text_choose_nothing(used: NodeFolder, option: str) -> None:
    assert _json(used, "deliveries", option, "\udcff")["deliveries"] == []
    assert _json(used, "retry", option, "\udcff", "--yes")["deliveries"] == 0


def test_unrouted_images_go_by_today_s_rules(used: NodeFolder) -> None:
    assert _json(used, "reroute", "--yes", "--state", "unrouted")["unrouted"] == 1
    used.config.write_text(used.config.read_text().replace('["CT", "MR"]', '["CT", "MR", "US"]'))
    done = _json(used, "reroute", "--yes", "--state", "unrouted", "--to", "archive")
    assert (done["images"], done["deliveries"], done["unrouted"]) == (1, 1, 0)
    assert _json(used, "status")["unrouted"] == 0
    assert _states(used)["archive", "pending"] == 7


def _correct_the_rules(node: NodeFolder) -> None:
    text = node.config.read_text()
    assert "tags = [" in text
    node.config.write_text(text.replace("tags = [", "tags = [{ remove = 'PatientComments' }, ", 1))


def test_after_a_change_of_the_rules_retry_says_what_reroute_does(used: NodeFolder) -> None:
    _correct_the_rules(used)
    result = used.mapdr("retry", "--state", "parked", "--yes")
    assert result.exit_code == 0, result.output
    assert "these keep the recipe they were promised; `mapdr reroute --state parked`" in result.output


def test_rerouting_what_is_parked_clears_it_once(used: NodeFolder) -> None:
    _correct_the_rules(used)
    before = _states(used)
    done = _json(used, "reroute", "--yes", "--state", "parked", "--to", "telepacs")
    assert (done["deliveries"], done["superseded"], done["still_parked"]) == (1, 1, 0)
    after = _states(used)
    assert after["telepacs", "parked"] == 0
    assert after["telepacs", "pending"] == before["telepacs", "pending"] + 1
    assert after["telepacs", "delivered"] == before["telepacs", "delivered"]
    assert _json(used, "status")["parked"] == 0
    assert _json(used, "reroute", "--yes", "--state", "parked", "--to", "telepacs")["deliveries"] == 0
    (old,) = _json(used, "deliveries", "--state", "superseded")["deliveries"]
    assert old["destination"] == "telepacs"


def test_dismissing_asks_first_and_clears_what_is_parked(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm, "interactive", lambda: True)
    result = used.mapdr("dismiss", "--to", "telepacs", typed="n\n")
    assert result.exit_code == 1
    assert "Dismiss 1 parked delivery (telepacs 1), which will never be sent?" in result.output
    assert _states(used)["telepacs", "parked"] == 1
    assert _answer(used, "dismiss", "--all", "--yes") == {
        "deliveries": 1,
        "to": {"telepacs": 1},
        "dry_run": False,
    }
    assert _json(used, "status")["parked"] == 0
    (row,) = _json(used, "deliveries", "--state", "dismissed")["deliveries"]
    assert row["reason"] == "dismissed by the operator"
    assert used.mapdr("dismiss", "--all").output.strip() == "0 deliveries dismissed."


WORDS = {
    "retry": (["retry", "--state", "parked"], "Try 1 delivery again (telepacs 1)?"),
    "reroute": (
        ["reroute", "--modality", "CT"],
        "Promise 3 deliveries of 4 images (telepacs 3); 2 images were delivered there before and "
        "would be sent again; 1 delivery superseded by that?",
    ),
    "dismiss": (["dismiss", "--all"], "Dismiss 1 parked delivery (telepacs 1), which will never be sent?"),
}


@pytest.mark.parametrize("command", WORDS)
def test_what_sends_or_gives_up_says_how_many_and_where_to_and_asks(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    given, question = WORDS[command]
    before = _states(used)
    looked = used.mapdr(*given, "--dry-run")
    assert looked.exit_code == 0
    assert "would be" in looked.output
    assert _json(used, *given, "--dry-run")["dry_run"] is True
    assert _states(used) == before
    refused = used.mapdr(*given)
    assert refused.exit_code == 2, "nobody can be asked"
    assert question in " ".join(refused.output.split())
    assert "--yes" in refused.output
    assert _states(used) == before
    monkeypatch.setattr(confirm, "interactive", lambda: True)
    asked = used.mapdr(*given, typed="n\n")
    assert asked.exit_code == 1
    assert question in " ".join(asked.output.split())
    assert _states(used) == before
    assert used.mapdr(*given, typed="y\n").exit_code == 0
    assert _states(used) != before


def test_what_is_asked_is_what_is_done(used: NodeFolder) -> None:
    looked = _answer(used, "reroute", "--modality", "CT", "--dry-run")
    done = _answer(used, "reroute", "--modality", "CT", "--yes")
    assert {**looked, "dry_run": False} == done
    assert (done["deliveries"], done["again"], done["to"]) == (3, 2, {"telepacs": 3})


def test_a_purge_asks_and_says_what_goes_and_refuses_what_is_owed(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _states(used)
    looked = used.mapdr("purge", "--modality", "US", "--dry-run")
    assert looked.output.startswith("1 image in 1 study (")
    assert looked.output.endswith(" would be purged.\n")
    question = "and what identifies them, for good?"
    refused = used.mapdr("purge", "--modality", "US")
    assert (refused.exit_code, question in " ".join(refused.output.split())) == (2, True)
    monkeypatch.setattr(confirm, "interactive", lambda: True)
    assert used.mapdr("purge", "--modality", "US", typed="n\n").exit_code == 1
    assert _json(used, "status")["unrouted"] == 1
    assert used.mapdr("purge", "--modality", "US", typed="y\n").exit_code == 0
    assert _json(used, "status")["unrouted"] == 0
    looked = used.mapdr("purge", "--modality", "CT", "--dry-run")
    assert looked.output.startswith("Nothing would be purged of 4 images in ")
    assert looked.output.endswith(": archive 4, telepacs 2 still owed; --even-undelivered ends that.\n")
    looked = used.mapdr("purge", "--modality", "CT", "--even-undelivered", "--dry-run")
    assert looked.output.endswith(" would be purged; would be dismissed: archive 4, telepacs 2.\n")
    owed = used.mapdr("purge", "--modality", "CT", "--yes")
    assert owed.exit_code == 1
    said = "deliveries of it are still owed (archive 4, telepacs 2): nothing is purged"
    assert said in " ".join(owed.output.split())
    assert _states(used) == before
    done = _answer(used, "purge", "--modality", "CT", "--even-undelivered", "--yes")
    assert (done["images"], done["to"], done["on_the_way"], done["traces"]) == (
        4,
        {"archive": 4, "telepacs": 2},
        0,
        False,
    )
    assert _states(used)["telepacs", "dismissed"] == 2
    assert _answer(used, "purge", "--modality", "CT", "--yes")["images"] == 0
    assert _answer(used, "purge", "--modality", "CT", "--dry-run")["images"] == 0


@pytest.mark.parametrize("words", [[], ["--limit", "3"], ["--even-undelivered"]])
def test_a_purge_of_everything_is_refused(used: NodeFolder, words: list[str]) -> None:
    before = _states(used)
    for how in ("--yes", "--dry-run"):
        refused = used.mapdr("purge", *words, how)
        assert refused.exit_code == 2
        assert "say what is purged" in refused.output
    assert _states(used) == before


@pytest.mark.parametrize("words", [["retry", "--state", "held"], ["reroute", "--study-date", "1900-01-01"]])
def test_where_there_is_nothing_to_do_nobody_is_asked(used: NodeFolder, words: list[str]) -> None:
    result = used.mapdr(*words)
    assert result.exit_code == 0
    assert "0 " in result.output


def test_what_is_not_there_is_said(used: NodeFolder) -> None:
    for words in (["release", "archive"], ["release", "archive", "--dry-run"]):
        assert used.mapdr(*words).output == "Nothing was held: archive is not on hold.\n"
    used.mapdr("hold", "archive")
    assert used.mapdr("release", "archive", "telepacs").output == "archive: released.\n"
    for words in (
        ["retry", "--webhooks"],
        ["retry", "--webhooks", "--yes"],
        ["retry", "--webhooks", "--dry-run"],
    ):
        done = used.mapdr(*words)
        assert done.exit_code == 0
        assert done.output == "There is no webhook message to try again: none waits, none was given up.\n"


@pytest.mark.parametrize(
    "command", ["retry", "reroute", "dismiss", "purge", "hold", "release", "deliveries", "studies"]
)
def test_an_unknown_destination_is_named_with_what_there_is(used: NodeFolder, command: str) -> None:
    result = used.mapdr(command, "--to", "nope")
    assert result.exit_code == 2
    assert 'there is no destination "nope"; destinations: archive, telepacs' in " ".join(
        result.output.split()
    )


def test_a_destination_of_an_earlier_configuration_can_be_chosen(used: NodeFolder) -> None:
    used.config.write_text(used.config.read_text().replace("telepacs", "telepax"))
    assert len(_json(used, "deliveries", "--to", "telepacs")["deliveries"]) == 6
    assert _json(used, "dismiss", "--to", "telepacs", "--dry-run")["deliveries"] == 1
    assert 'did you mean "telepax"' in used.mapdr("deliveries", "--to", "telepay").output


@pytest.mark.parametrize("words", [["studies"], ["deliveries"], ["hold", "archive"], ["send", "."]])
def test_an_index_that_was_removed_under_the_node_is_said_as_status_does(
    used: NodeFolder, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (used.config.parent / "data" / "index.db").rename(used.config.parent / "aside.db")
    monkeypatch.setattr("mapdr.operate.access.claimed", lambda path: True)
    result = used.mapdr(*words)
    assert "removed or replaced under it" in " ".join(result.output.split())
