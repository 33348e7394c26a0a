"""What shells complete: by the words that they hand over, and in the shells that are here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class
from click.testing import CliRunner

from mapdr.node.outline import keep_outline
from mapdr.operate import completion
from mapdr.operate.configuration import load
from mapdr_cli.main import main
from paper.nodes import NodeFolder
from peers.node import MAPDR

SHELLS = ("bash", "zsh", "fish", "powershell")


def asked(shell: str, words: list[str], incomplete: str) -> list[str]:
    """The values that the program answers to what the shell's function asks."""
    typed = ["mapdr", *words, incomplete]
    env = {"_MAPDR_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(typed)}
    env["COMP_CWORD"] = incomplete if shell == "fish" else str(len(words) + 1)
    answer = CliRunner(env=env).invoke(main, prog_name="mapdr")
    assert answer.exit_code == 0, answer.output
    lines = [one for one in answer.stdout.splitlines() if one]
    if shell in ("bash", "fish"):
        return [one.split(",", 1)[1].split("\t")[0] for one in lines]
    return lines[1::3]


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_and_destinations(used: NodeFolder, shell: str) -> None:
    assert "reroute" in asked(shell, [], "rer")
    assert "--unchanged" in asked(shell, ["reroute"], "--unch")
    config = ["--config", str(used.config)]
    assert asked(shell, ["hold", *config], "arch") == ["archive"]
    assert asked(shell, ["reroute", *config, "--to"], "tele") == ["telepacs"]
    assert asked(shell, ["export", *config, "--as"], "") == ["telepacs", "archive"]
    assert asked(shell, ["doctor", "peer", *config], "x") == []


def test_studies_are_completed_of_a_node_that_has_run(used: NodeFolder) -> None:
    config = ["--config", str(used.config)]
    found = json.loads(used.mapdr("studies", "--json").output)["studies"]
    studies = [one["study_instance_uid"] for one in found]
    assert asked("bash", ["find", *config, "--study"], "2.") == [], "no node has used it yet"
    loaded = load(used.config)
    keep_outline(loaded.plan, loaded.loaded.text, used.config.parent)
    assert asked("bash", ["find", *config, "--study"], "2.") == studies
    assert asked("bash", ["find", *config, "--study"], studies[0][:-2]) == [studies[0]]
    assert asked("bash", ["find", *config, "--study"], "9_9%") == []


@pytest.mark.parametrize("text", ["", "[egress", 'egress = "x"', "[egress.b]\n"])
def test_a_broken_configuration_completes_what_it_can(tmp_path: Path, text: str) -> None:
    config = tmp_path / "mapdr.toml"
    config.write_text(text)
    assert completion.destination_names(config) == (["b"] if ".b" in text else [])
    assert completion.study_uids(config) == []
    assert completion.destination_names(tmp_path / "none") == []


def test_an_index_that_cannot_be_read_completes_nothing(used: NodeFolder) -> None:
    loaded = load(used.config)
    keep_outline(loaded.plan, loaded.loaded.text, used.config.parent)
    (used.config.parent / "data" / "index.db").write_bytes(b"no database" * 1000)
    assert completion.study_uids(used.config) == []


def test_it_is_quick(used: NodeFolder) -> None:
    loaded = load(used.config)
    keep_outline(loaded.plan, loaded.loaded.text, used.config.parent)
    words = f"mapdr hold --config {used.config} "
    env = {**os.environ, "_MAPDR_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "4"}
    begun = os.times()
    done = subprocess.run([MAPDR], env=env, capture_output=True, text=True, check=True)
    ended = os.times()
    assert done.stdout.split() == ["plain,telepacs", "plain,archive"]
    if ended.children_user:  # not known on Windows
        assert ended.children_user - begun.children_user < 1.0


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_the_shell_s_own(shell: str) -> None:
    printed = CliRunner().invoke(main, ["completion", shell])
    assert printed.exit_code == 0
    assert f"{shell}_complete" in printed.stdout
    assert get_completion_class(shell) is not None
    assert CliRunner().invoke(main, ["completion", "tcsh"]).exit_code == 2


SCRIPTS = {
    "bash": "source {script}; COMP_WORDS=(mapdr hold --config {config} arch); COMP_CWORD=4; "
    "_mapdr_completion mapdr; echo ${{COMPREPLY[@]}}",
    "fish": 'source {script}; complete -C "mapdr hold --config {config} arch"',
}


@pytest.mark.parametrize("shell", SCRIPTS)
def test_in_the_shell_itself(used: NodeFolder, tmp_path: Path, shell: str) -> None:
    program = shutil.which(shell)
    if program is None or os.name == "nt":
        pytest.skip(f"{shell} is not here")
    script = tmp_path / "script"
    script.write_text(CliRunner().invoke(main, ["completion", shell]).stdout)
    command = SCRIPTS[shell].format(script=script, config=used.config)
    env = {**os.environ, "PATH": f"{MAPDR.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        [program, "-c", command], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["archive"]
