from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mapdr.testing import generator
from paper.nodes import NodeFolder


def found(node: NodeFolder, *words: str) -> list[dict[str, Any]]:
    result = node.mapdr("find", *words, "--json")
    assert result.exit_code == 0, result.output
    studies: list[dict[str, Any]] = json.loads(result.output)["studies"]
    return studies


def tags(node: NodeFolder) -> dict[str, dict[str, str]]:
    """Modality to what the index keeps of its study."""
    rows = json.loads(node.mapdr("studies", "--json", "--identify").output)["studies"]
    return {next(iter(row["modalities"])): {**row["tags"], "uid": row["study_instance_uid"]} for row in rows}


def test_a_study_by_each_of_its_names(used: NodeFolder) -> None:
    known = tags(used)["CT"]
    image = json.loads(used.mapdr("deliveries", "--json", "--modality", "CT").output)["deliveries"][0]
    for words in (
        ("--accession", known["AccessionNumber"]),
        ("--study", known["uid"]),
        ("--uid", image["sop_instance_uid"]),
        ("--patient", known["PatientID"], "--study", known["uid"]),
    ):
        (study,) = found(used, *words)
        assert study["study_instance_uid"] == known["uid"], words
        assert (study["images"], study["modalities"]) == (4, {"CT": 4})
        (source,) = study["sources"]
        assert (source["calling_ae"], source["address"]) == ("CT1", "127.0.0.1")
        assert study["destinations"] == {
            "archive": [{"state": "pending", "reason": "", "images": 4, "again": False}],
            "telepacs": [
                {"state": "pending", "reason": "", "images": 1, "again": False},
                {"state": "parked", "reason": "refused", "images": 1, "again": False},
                {"state": "delivered", "reason": "", "images": 2, "again": False},
            ],
        }


def test_nothing_found_is_an_empty_list_and_status_0(used: NodeFolder) -> None:
    assert found(used, "--patient", "nobody") == []
    result = used.mapdr("find", "--patient", "nobody")
    assert (result.exit_code, result.output.strip()) == (0, "Nothing was found.")


def test_what_to_find_must_be_said(used: NodeFolder) -> None:
    result = used.mapdr("find")
    assert result.exit_code == 2
    assert "--patient, --accession, --study or --uid" in result.output


@pytest.mark.parametrize("identify", [False, True])
def test_who_it_is_is_said_on_request_alone(used: NodeFolder, identify: bool) -> None:
    known = tags(used)["CT"]
    words = ["--study", known["uid"], *(["--identify"] if identify else [])]
    for output in (used.mapdr("find", *words).output, used.mapdr("find", *words, "--json").output):
        assert (known["PatientID"] in output) == identify
        assert (known["AccessionNumber"] in output) == identify


def test_it_reads_like_an_answer(used: NodeFolder) -> None:
    known = tags(used)
    text = used.mapdr("find", "--study", known["CT"]["uid"]).output
    assert "from CT1 at 127.0.0.1" in text
    assert "to telepacs: 1 pending, 1 parked (refused), 2 delivered" in text
    assert "1 image that no rule takes" in used.mapdr("find", "--study", known["US"]["uid"]).output


def test_a_uid_without_its_option_is_told_which_there_are(used: NodeFolder) -> None:
    for words in (["1.2.3"], ["--study", "1.2.3", "1.2.4"]):
        result = used.mapdr("find", *words)
        assert result.exit_code == 2
        assert "write --uid, --study, --patient or --accession before" in result.stderr


def test_what_mapdr_send_brought_says_so(node: NodeFolder, tmp_path: Path) -> None:
    (image,) = generator.study("CT", images=1, size=(16, 16))
    file = tmp_path / "image.dcm"
    file.write_bytes(image.part10())
    assert node.mapdr("send", str(file)).exit_code == 0
    text = node.mapdr("find", "--study", image.study_instance_uid).stdout
    assert "  by mapdr send on this machine" in text.splitlines()
    assert " at " not in text.replace("received at", "")


def test_what_was_dismissed_is_shown(used: NodeFolder) -> None:
    uid = tags(used)["CT"]["uid"]
    assert used.mapdr("dismiss", "--to", "telepacs", "--study", uid, "--yes").exit_code == 0
    assert "to telepacs: 1 pending, 2 delivered, 1 dismissed" in used.mapdr("find", "--study", uid).output
    assert "2/4 (1 dismissed)" in _confirmed(used, uid)


def test_what_is_promised_again_is_said_beside_what_was_delivered(used: NodeFolder) -> None:
    uid = tags(used)["CT"]["uid"]
    words = ("--state", "delivered", "--to", "telepacs", "--study", uid)
    done = used.mapdr("reroute", *words, "--yes")
    assert done.exit_code == 0, done.output
    found = used.mapdr("find", "--study", uid).output
    assert "2 delivered, 2 pending again" in found
    assert "2/4 (1 parked, 2 pending again)" in _confirmed(used, uid)


def _confirmed(node: NodeFolder, uid: str) -> str:
    """What `mapdr studies` says of it, with the column's lines put together."""
    return " ".join(node.mapdr("studies", "--study", uid).output.split())


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"state": "open", "reason": "unreachable", "comment": "connection refused"}, "connection refused"),
        ({"state": "closed", "fault": "FileNotFoundError"}, "FileNotFoundError"),
        ({"state": "closed"}, ""),
    ],
)
def test_why_a_destination_takes_none_is_said_with_what_waits(
    used: NodeFolder, told: dict[str, Any], said: str
) -> None:
    uid = tags(used)["CT"]["uid"]
    used.beat(destinations={"archive": told})
    lines = used.mapdr("find", "--study", uid).output.splitlines()
    why = f"; it takes none now: {said}" if said else ""
    assert f"  to archive: 4 pending{why}" in lines
