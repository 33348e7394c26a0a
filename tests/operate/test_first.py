"""The first configuration: written once, whole and right, or not at all."""

from __future__ import annotations

import socket
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from mapdr.operate.configuration import examine
from mapdr.operate.errors import RequestError
from mapdr.operate.first import FirstForm, echo_first, node_name, own_addresses, port_trouble, write_first
from mapdr.testing.sink import Sink


@pytest.fixture
def form(free_port: int) -> FirstForm:
    return FirstForm("ROUTER", free_port, "PACS", "127.0.0.1", 104, "none", 10.0)


@pytest.mark.parametrize(
    ("compress", "written"),
    [("none", None), ("lossless", {"to": "jpeg2000-lossless"}), ("lossy", {"to": "jpeg2000", "ratio": 10})],
)
def test_the_file_says_what_was_entered(
    tmp_path: Path, form: FirstForm, compress: str, written: object
) -> None:
    path = tmp_path / "new" / "mapdr.toml"
    assert not write_first(replace(form, compress=compress), path)  # type: ignore[arg-type]
    values = tomllib.loads(path.read_text())
    assert values["receive"]["modalities"]["ae_title"] == "ROUTER"
    assert values["receive"]["modalities"]["port"] == form.port
    assert values["egress"]["pacs"] == {
        "type": "dicom",
        "ae_title": "PACS",
        "host": "127.0.0.1",
        "port": 104,
    }
    assert values["rule"][0].get("compress") == written
    assert 8484 <= values["web"]["port"] < 8504
    assert not examine(path).problems
    assert [each.name for each in path.parent.iterdir()] == ["mapdr.toml"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"ae_title": "A TITLE THAT IS TOO LONG"}, "ae_title"),
        ({"pacs_ae_title": ""}, "pacs_ae_title"),
        ({"pacs_host": ""}, "pacs_host"),
        ({"pacs_port": 70000}, "pacs_port"),
        ({"port": 70000}, "port"),
        ({"compress": "lossy", "ratio": 0.5}, "ratio"),
    ],
)
def test_what_is_wrong_is_told_by_its_field_and_nothing_is_written(
    tmp_path: Path, form: FirstForm, wrong: dict[str, object], field: str
) -> None:
    problems = write_first(replace(form, **wrong), tmp_path / "mapdr.toml")  # type: ignore[arg-type]
    assert field in [each.field for each in problems]
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path, form: FirstForm) -> None:
    (tmp_path / "mapdr.toml").write_text("mine")
    with pytest.raises(RequestError, match="already"):
        write_first(form, tmp_path / "mapdr.toml")
    assert (tmp_path / "mapdr.toml").read_text() == "mine"


def test_a_port_that_another_program_has(tmp_path: Path, form: FirstForm) -> None:
    with socket.create_server(("0.0.0.0", form.port)):
        assert "another program" in port_trouble(form.port)
        assert [each.field for each in write_first(form, tmp_path / "mapdr.toml")] == ["port"]
    assert not port_trouble(form.port)
    assert port_trouble(70000)


def test_echo_asks_the_receiver_really(tmp_path: Path, form: FirstForm) -> None:
    path = tmp_path / "mapdr.toml"
    with Sink(ae_title="PACS") as sink:
        told = echo_first(replace(form, pacs_port=sink.port), path)
        assert told.echo is not None
        assert told.echo.there
        wrong = replace(form, pacs_port=sink.port)
    told = echo_first(wrong, path)
    assert told.echo is not None
    assert not told.echo.there
    assert told.echo.comment
    assert [each.field for each in echo_first(replace(form, pacs_host=""), path).problems] == ["pacs_host"]
    assert not list(tmp_path.iterdir())


def test_names_and_addresses() -> None:
    assert node_name("Clinic North!") == "Clinic-North"
    assert node_name("!") == "node"
    assert node_name()
    assert not [each for each in own_addresses() if each.startswith("127.")]
