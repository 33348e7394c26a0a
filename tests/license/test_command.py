"""`mapdr license`: a request code, a license for it, and how it stands, with and without a gate."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from license.vendor import FACTS, KEY, OTHER_KEY, PUBLIC, token
from mapdr.license.code import KINDS, fingerprint, read, written
from mapdr.license.facts import Machine
from mapdr.license.token import License, sign
from mapdr.node import licensing
from mapdr_cli.main import main
from peers.node import Node, destination


@pytest.fixture
def node(tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A configuration, whose node has never run, on the machine of FACTS."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAPDR_CONFIG", raising=False)
    monkeypatch.setattr("mapdr_cli.commands.license.places", lambda: [Path("mapdr.toml")])
    return Node(tmp_path / "node", egress={"pacs": destination(104)}, rules=[])


def ask(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, ["license", *words], input=given)


def shown(node: Node) -> Any:
    return json.loads(ask("show", "--json", "--config", str(node.config)).stdout)


def test_a_build_without_a_gate_says_that_it_needs_none(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.license.gate.compiled", None)
    assert ask("show").output == "this build needs no license\n"
    assert shown(node)["state"] == "unneeded"
    assert ask("request").exit_code == 1
    assert "needs no license" in ask("install", token(), "--config", str(node.config)).output
    assert not (node.data / licensing.TOKEN).exists()


def test_from_the_request_to_the_license(node: Node, vendor_build: ModuleType) -> None:
    assert "this build needs a license" in ask("show").output
    assert shown(node)["state"] == "trial"
    asked = ask("request", "--file", "request.txt")
    code = Path("request.txt").read_text().strip()
    assert asked.output == f"{code}\n", "what is no terminal gets the code alone"
    assert read(code).hashes == fingerprint(FACTS, read(code).salt).hashes
    made = sign(
        License("7", "Clinic North", code, datetime.now(UTC).date(), sources=1, images_a_day=500), KEY
    )
    Path("license.txt").write_text(f"{made[:80]}\n{made[80:]}\n")
    verified = ask("verify", "license.txt").output
    assert verified.startswith("license 7 of Clinic North, issued ")
    assert verified.endswith("without an end; 1 source; 500 images a day\n")
    assert not (node.data / licensing.TOKEN).exists()
    assert ask("install", "license.txt", "--config", str(node.config)).output == "Installed: licensed.\n"
    told = shown(node)
    assert (told["state"], told["license"]["sources"], told["same"]) == ("licensed", 1, sorted(KINDS))
    assert "this machine: 6 facts same (board, " in ask("show", "--config", str(node.config)).output
    assert "license install" in "".join(path.read_text() for path in (node.data / "audit").iterdir())


@pytest.mark.parametrize("way", ["word", "stdin"])
def test_a_license_may_be_given_as_a_word_or_on_standard_input(
    way: str, node: Node, vendor_build: ModuleType
) -> None:
    word, given = (token(), None) if way == "word" else ("-", token())
    assert ask("install", word, "--config", str(node.config), given=given).exit_code == 0
    assert licensing.read_token(node.data) == token()
    if os.name != "nt":
        assert (node.data / licensing.TOKEN).stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_as_windows_writes_it_is_read(encoding: str, node: Node, vendor_build: ModuleType) -> None:
    Path("license.txt").write_text(f"{token()}\r\n", encoding=encoding)
    assert "Clinic North" in ask("verify", "license.txt").output


OTHER = written(fingerprint(dict.fromkeys(KINDS, "another")))
TODAY = datetime.now(UTC).date()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (token(key=OTHER_KEY), "not signed by the vendor"),
        (token()[:-9], "license"),
        (token(datetime(2026, 1, 2).date()), "has expired"),
        (sign(License("8", "Another", OTHER, TODAY), KEY), "is for another machine"),
    ],
)
def test_a_license_that_would_not_hold_is_not_installed(
    wrong: str, said: str, node: Node, vendor_build: ModuleType
) -> None:
    assert ask("install", token(), "--config", str(node.config)).exit_code == 0
    done = ask("install", wrong, "--config", str(node.config))
    assert done.exit_code == 1
    assert said in done.output
    assert licensing.read_token(node.data) == token(), "the one that held stays"


def test_the_code_is_a_qr_code_too(node: Node, vendor_build: ModuleType) -> None:
    from mapdr.operate.license import request

    asked = request()
    assert len(asked.qr) == len(asked.qr[0])
    assert set("".join(asked.qr)) == {"#", " "}
    assert asked.qr[2][2:9] == "#######", "its corner, after a margin of two"
    assert PUBLIC.hex() not in asked.code
