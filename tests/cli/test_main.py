"""How the program ends: one line, and an exit status that scripts can rely on."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import mapdr
from mapdr.kernel.errors import ConfigurationError, Temporary
from mapdr_cli import main as program
from mapdr_cli.main import COMMANDS, main


def _invoke(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_the_version_is_the_package_s() -> None:
    assert _invoke("--version").output == f"mapdr, version {mapdr.__version__}\n"


def test_help_names_every_command_with_a_sentence() -> None:
    result = _invoke("--help")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    for name in COMMANDS:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert len(line.split()) > 3, f"{name} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_its_options(name: str) -> None:
    result = _invoke(name, "--help")
    assert result.exit_code == 0
    command = main.get_command(click.Context(main), name)
    assert command is not None
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert not [option.name for option in options if not option.help and option.name != "help"]
    # These need no configuration, or at one of their words alone.
    assert ("--config" in result.output) or name in ("demo", "plugins", "completion", "selftest", "service")


def test_an_unknown_command_gets_the_nearest_name_and_status_2() -> None:
    result = _invoke("delivries")
    assert result.exit_code == 2
    assert 'there is no command "delivries"; did you mean "deliveries"?' in result.output


def test_no_configuration_anywhere_is_status_2_and_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mapdr_cli.commands.options.places", lambda: [tmp_path / "mapdr.toml"])
    result = _invoke("status")
    assert result.exit_code == 2
    assert "no mapdr.toml in" in result.output
    assert "mapdr init" in result.output


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ConfigurationError("the data folder is taken"), 2, "mapdr: the data folder is taken"),
        (Temporary("the peer is away"), 1, "mapdr: the peer is away"),
        (FileNotFoundError(2, "No such file", "x.dcm"), 1, "mapdr: No such file: x.dcm"),
        (KeyError("Doe^Jane"), 1, "mapdr: KeyError ended the command"),
    ],
)
def test_errors_end_in_one_line_without_values(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, said: str
) -> None:
    @click.command()
    def broken() -> None:
        patient = bytes.fromhex("446f655e4a616e65").decode()
        raise error from ValueError(patient)

    monkeypatch.setitem(COMMANDS, "broken", "broken")
    monkeypatch.setattr(program.Program, "get_command", lambda self, ctx, name: broken)
    for words in (["broken"], ["--debug", "broken"]):
        result = _invoke(*words)
        assert result.exit_code == status
        assert said in result.output
    short = _invoke("broken").output
    assert short.count("\n") == 1
    assert "Doe" not in short
    assert "Traceback" in result.output
    # Locals are never shown, nor what a foreign exception quotes: they hold patients.
    assert "Doe" not in result.output


def test_wrong_words_are_said_after_the_program_s_name_like_every_error() -> None:
    for words in (["--bad"], ["retry", "--bad"], ["delivries"], ["deliveries", "--state", "x"]):
        result = _invoke(*words)
        assert result.exit_code == 2
        assert result.stderr.startswith("Usage: ")
        assert result.stderr.splitlines()[-1].startswith("mapdr: "), words
        assert "Error:" not in result.output
