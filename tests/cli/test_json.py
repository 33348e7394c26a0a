"""One envelope for every --json, and the keys that docs/json.md tells: no more and no fewer."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import mapdr
from mapdr.config.problem import Problem
from mapdr.operate.answer import answer, moment, plain
from mapdr.operate.compression import Compression
from mapdr.operate.disk import Disk, Measured
from mapdr.operate.doctor import Examined
from mapdr.operate.explain import AskedRule
from mapdr.operate.fetch import Fetched, FetchedStudy
from mapdr.operate.header_changes import HeaderChanges
from mapdr.operate.license import Allowed
from mapdr.operate.model import Hook, Webhooks
from mapdr.store.messages import OutboxEntry, OutboxSettlement
from mapdr.testing import generator
from mapdr_cli.demo.balance import Account, Books, as_json
from mapdr_cli.main import COMMANDS, main
from paper import states
from paper.nodes import NodeFolder

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/json.md"

SILENT = {"init", "run", "reload", "service", "stop", "support", "watch", "completion", "web", "key"}
"""Commands without --json: watch prints nothing else."""

GROUPS = {
    "doctor": {"doctor", "doctor peer"},
    "license": {"license show"},
    "webhooks": {"webhooks list", "webhooks show", "webhooks replay", "webhooks test"},
}
"""Commands that are known by a second word."""

PARKED_HOOK = """
[webhook.ris]
url = "http://127.0.0.1:9/"
on = ["study.received"]
"""

REJECTED = {
    "address": "10.1.2.9",
    "calling_ae": "CT9",
    "called_ae": "MAPDR",
    "cause": "rejected",
    "cure": "",
    "times": 1,
    "last_at": 1_800_000_000.0,
}


def documented() -> dict[str, set[str]]:
    """Command -> the keys that its section tells: in each item of its list, what stands before the colon."""
    found: dict[str, set[str]] = {}
    for section in DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        items = " ".join(body.split()).split("- `")
        keys = {key for item in items for key in re.findall(r"`([^`]+)`", f"`{item}".partition(": ")[0])}
        found.update(dict.fromkeys(title.split(", "), keys))
    return found


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Every path to a value that is no object, e.g. `destinations[].name`."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from paths(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for each in value:
            yield from paths(each, f"{path}[]")
    else:
        yield path


def pattern(key: str) -> re.Pattern[str]:
    """What a documented key matches: {name} is any key."""
    return re.compile(re.sub(r"\\\{\w+\\\}", r"[^.\\[\\]]+", re.escape(key)))


def tell(node: NodeFolder) -> None:
    """Put a message for the webhook into the node's outbox, as one that was given up."""
    store = node.store()
    try:
        body = {"text": "x"}
        store.outbox.add([OutboxEntry("k", "ris", "study.received", body, 1, body)], 1_800_000_000.0)
        (message,) = store.outbox.lease("ris", 1, 60, 1_800_000_000.0)
        store.outbox.settle([OutboxSettlement(message.id, "parked", 0, 410, "answered 410")], 1_800_000_000.0)
    finally:
        store.close()


@pytest.fixture
def told(used: NodeFolder, tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    """Command -> its answers by a node in which there is something of everything."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def ask(*words: str) -> None:
        config = [] if words[0] in ("plugins", "selftest") else ["--config", str(used.config)]
        result = CliRunner().invoke(main, [*words, "--json", *config])
        assert result.exit_code in (0, 1, 2), result.output
        # Many lines are of the command whose envelope is in the last.
        whole = result.stdout.startswith("{\n")
        told = [json.loads(result.stdout)] if whole else list(map(json.loads, result.stdout.splitlines()))
        command = told[-1]["mapdr"]["command"]
        found[command] += [{"mapdr": told[-1]["mapdr"], **one} for one in told]

    used.config.write_text(used.config.read_text() + PARKED_HOOK)
    event = {"at": 1_800_000_000.0, "kind": "node.started"}
    used.beat(receivers={"modalities": {"rejected": [REJECTED], "associations": 1}}, events=[event])
    image = next(generator.study("CT", images=1, size=(64, 64)))
    (tmp_path / "ct.dcm").write_bytes(image.part10())
    (tmp_path / "text.dcm").write_text("no image")
    ask("selftest")
    ask("license", "show")
    ask("status")
    ask("top")
    ask("studies", "--identify")
    ask("find", "--study", found["studies"][0]["studies"][-1]["study_instance_uid"], "--identify")
    ask("deliveries", "--identify", "--attempts")
    ask("sources")
    ask("report")
    ask("changes", "--modality", "CT")
    ask("explain", str(tmp_path / "ct.dcm"))
    ask("send", str(tmp_path / "ct.dcm"), str(tmp_path / "text.dcm"))
    ask("echo", "archive")
    ask("hold", "--to", "archive", "--dry-run")
    ask("hold", "archive")
    ask("release", "archive")
    ask("release", "--to", "archive")
    ask("retry", "--state", "parked", "--dry-run")
    ask("retry", "--webhooks", "--dry-run")
    tell(used)
    ask("webhooks", "list")
    ask("webhooks", "show")
    ask("webhooks", "replay", "--dry-run")
    ask("webhooks", "test", "ris")
    ask("priority", "stat", "--modality", "CT", "--dry-run")
    ask("reroute", "--modality", "CT", "--dry-run")
    (tmp_path / "list.txt").write_text("nobody\n" + found["studies"][0]["studies"][1]["study_instance_uid"])
    ask("reroute", "--list", str(tmp_path / "list.txt"), "--set", "AccessionNumber=A1", "--yes")
    ask("corrections", "--identify")
    ask("export", "--modality", "US", "--to", str(tmp_path / "us"))
    next((tmp_path / "us").rglob("*.dcm")).write_bytes(b"somebody else's")
    ask("export", "--modality", "US", "--to", str(tmp_path / "us"))
    ask("uid", "1.2.3")
    ask("dismiss", "--all", "--dry-run")
    ask("purge", "--modality", "US", "--yes")
    ask("purge", "--modality", "CT", "--dry-run")
    ask("backup", str(tmp_path / "backup"))
    ask("backup", str(tmp_path / "backup"), "--verify")
    ask("restore", str(tmp_path / "backup"), "--force")
    ask("plugins")
    ask("doctor")
    ask("doctor", "--codecs")
    ask("doctor", "peer", "archive")
    used.config.write_text(used.config.read_text().replace("AccessionNumber", "AccesionNumber"))
    ask("check")
    return found


RARE: dict[str, dict[str, Any]] = {
    "doctor": {
        "disk": Disk("ext4", 1.0, (Measured("file", 1, 1, 1.0),), (Examined("disk", "flushes", "ok", "one"),))
    },
    "license show": {
        "license": Allowed("1", "Clinic", "2026-01-01", None, ["x"], 1, 1, 1),
        "same": ["cpu"],
        "other": ["disk"],
        "unreadable": ["board"],
    },
    "status": {"webhooks": Webhooks(1, 1, [Hook("ris", 1, 1, "answered 500", 1_800_000_000.0)])},
    "check": {"warnings": [Problem("mapdr.toml", 1, "rule", "what", "cure")]},
    "backup": {"problems": ["data/index.db is missing"]},
    "restore": {"kept": ["cert.pem"]},
    "changes": {"destinations": [HeaderChanges("a", 1, 0, {"damaged": 1}, ["compress"], [])]},
    "deliveries": {"deliveries": [{"compression": Compression("lossy")}]},
    "explain": {"rules": [AskedRule("CT", True, [], True, "", ["a"], ["a"], ["a"])]},
}
"""Parts of answers that the node of these tests does not give."""


def test_every_answer_has_the_envelope_and_the_documented_keys(
    told: dict[str, list[dict[str, Any]]],
) -> None:
    known = documented()
    books = Books(lambda image: {}, 0, accounts={"CT": Account()}, faults=["one fault"])
    study = FetchedStudy("1.2", "20261101", "A1", "P1", ["CT"], 3)
    told["fetch"] = [json.loads(answer("fetch", "clinic-north", Fetched("archive", [study], 0, True, False)))]
    told["demo"] = [json.loads(answer("demo", "demo", as_json(books)))]
    alone = set(COMMANDS) - SILENT - set(GROUPS)
    assert set(told) == alone.union(*GROUPS.values()) == set(known)
    for command, answers in told.items():
        printed: set[str] = set(paths(plain(RARE.get({"top": "status"}.get(command, command), {}))))
        for each in answers:
            about = each.pop("mapdr")
            assert set(about) == {"version", "command", "node", "at"}
            assert (about["version"], about["command"]) == (mapdr.__version__, command)
            assert about["node"] == {"demo": "demo", "doctor": None, "plugins": None, "selftest": None}.get(
                command, "clinic-north"
            )
            printed |= set(paths(each))
        patterns = {key: pattern(key) for key in known[command]}
        # An object that is not known, or was not asked for, is null.
        printed -= {one for one in printed if any(key.startswith(f"{one}.") for key in known[command])}
        new = {path for path in printed if not any(one.fullmatch(path) for one in patterns.values())}
        assert not new, f"{command} prints what docs/json.md does not tell"
        gone = {key for key, one in patterns.items() if not any(map(one.fullmatch, printed))}
        assert not gone, f"{command} does not print what docs/json.md tells"


def moments(value: Any, key: str = "") -> Iterator[Any]:
    """What stands under keys of moments."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from moments(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from moments(each)
    elif key == "at" or key.endswith("_at"):
        yield value


def test_every_moment_says_its_offset_from_utc(told: dict[str, list[dict[str, Any]]]) -> None:
    found = [one for answers in told.values() for one in moments(answers) if one is not None]
    assert len(found) > 50
    assert all(datetime.fromisoformat(one).utcoffset() is not None for one in found)


def test_a_destination_called_like_a_moment_is_none() -> None:
    assert plain({"to": {"look_at": 3, "at": 4}}) == {"to": {"look_at": 3, "at": 4}}
    assert plain(replace(states.quiet(), at=0.0))["at"] == moment(0.0)
