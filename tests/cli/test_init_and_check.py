"""A first configuration, and everything that is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mapdr_cli.main import main
from paper.nodes import NodeFolder


def _invoke(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_what_init_writes_has_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "mapdr.toml"
    result = _invoke(
        "init", "--config", str(path), "--to", "tele=TELE PACS".replace(" ", "") + "@10.1.2.3:104"
    )
    assert result.exit_code == 0, result.output
    assert "[egress.tele]" in path.read_text()
    result = _invoke("check", "--config", str(path))
    assert result.exit_code == 0, result.output
    assert "no problem; 1 receiver, 1 destination, 0 webhooks" in result.output


def test_init_keeps_what_is_there_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "mapdr.toml"
    path.write_text("mine")
    assert _invoke("init", "--config", str(path)).exit_code == 1
    assert path.read_text() == "mine"
    assert _invoke("init", "--config", str(path), "--force").exit_code == 0
    assert path.read_text() != "mine"


@pytest.mark.parametrize("text", ["nonsense", "A@h", "A@h:0", "A@h:70000", "@h:104", "A B@h:104"])
def test_a_destination_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mapdr.toml"
    assert _invoke("init", "--config", str(path), "--to", text).exit_code == 2
    assert not path.exists()


def test_check_prints_every_problem_with_its_line_and_exits_2(node: NodeFolder) -> None:
    text = node.config.read_text()
    text = text.replace('send_to = ["telepacs"]', 'send_to = ["telepac"]').replace("port = 1\n", "prt = 1\n")
    node.config.write_text(text)
    result = node.mapdr("check")
    assert result.exit_code == 2
    lines = [line for line in result.output.splitlines() if line.startswith("mapdr.toml:")]
    numbered = {int(line.split(":")[1].split()[0]): line for line in lines if line[11].isdigit()}
    wrong = text.splitlines()
    assert any("prt" in wrong[number - 1] for number in numbered)
    assert any("telepac" in wrong[number - 1] and "telepacs" in line for number, line in numbered.items())


def test_check_as_json(node: NodeFolder) -> None:
    assert json.loads(node.mapdr("check", "--json").output)["problems"] == []
    node.config.write_text("[nod]\n")
    result = node.mapdr("check", "--json")
    assert result.exit_code == 2
    assert json.loads(result.output)["problems"][0]["line"] == 1


@pytest.mark.parametrize("command", ["run", "status", "top", "studies", "echo", "retry"])
def test_every_command_refuses_a_wrong_configuration(node: NodeFolder, command: str) -> None:
    node.config.write_text('[egress.x]\ntype = "dicon"\n')
    result = node.mapdr(command)
    assert result.exit_code == 2
    assert "mapdr.toml:2 egress.x.type" in result.output
