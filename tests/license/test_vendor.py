"""The vendor's tool: its key, and a license from a request code to a machine that takes it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mapdr.license.code import KINDS, fingerprint, written
from mapdr.license.standing import standing

TOOL = Path(__file__).parents[2] / "packaging" / "vendor" / "mapdr_vendor" / "__init__.py"
FACTS = {kind: f"the {kind}" for kind in KINDS}
Tool = Callable[..., Result]


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    """Runs the tool with a key of its own."""
    spec = importlib.util.spec_from_file_location("mapdr_vendor", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: click.Group = module.main
    runner = CliRunner(env={"MAPDR_VENDOR_PASSWORD": "a password"})

    def run(command: str, *words: str, password: str = "a password") -> Result:
        where = ["--key", str(tmp_path / "vendor.key")]
        return runner.invoke(main, [command, *where, *words], env={"MAPDR_VENDOR_PASSWORD": password})

    return run


def test_a_license_from_the_request_to_the_machine(tool: Tool, tmp_path: Path) -> None:
    public = bytes.fromhex(tool("new-key").output.strip().partition("=")[2])
    assert len(public) == 32
    words = ["--customer", "Clinic North", "--request", written(fingerprint(FACTS)), "--sources", "3"]
    made = tool("issue", *words, "--expires", "2099-12-31", "--out", str(tmp_path / "license.txt"))
    assert made.exit_code == 0, made.output
    token = (tmp_path / "license.txt").read_text()
    told, _ = standing(token, FACTS, datetime.now(UTC), None, [public])
    assert told.kind == "licensed"
    assert told.license is not None
    assert (told.license.customer, told.license.sources, told.license.destinations) == (
        "Clinic North",
        3,
        None,
    )


@pytest.mark.skipif(os.name == "nt", reason="a file has the rights of its folder there")
def test_the_key_is_its_owner_s_and_has_a_password(tool: Tool, tmp_path: Path) -> None:
    tool("new-key")
    key = tmp_path / "vendor.key"
    assert key.stat().st_mode & 0o077 == 0
    assert b"ENCRYPTED PRIVATE KEY" in key.read_bytes()
    before = key.read_bytes()
    assert "never overwritten" in tool("new-key").output
    assert key.read_bytes() == before


def test_what_is_wrong_is_said(tool: Tool) -> None:
    request = written(fingerprint(FACTS))
    assert "cannot be read" in tool("issue", "--customer", "C", "--request", request).output
    tool("new-key")
    wrong = tool("issue", "--customer", "C", "--request", request, password="another")
    assert "not its password" in wrong.output
    code = tool("issue", "--customer", "C", "--request", request[:-1] + "?")
    assert code.exit_code == 2
    assert "group 8 of the request code is wrong" in code.output


def test_a_key_or_a_file_that_is_none_is_said(tool: Tool, tmp_path: Path) -> None:
    """None of these ends in a traceback."""
    words = ["--customer", "C", "--request", written(fingerprint(FACTS))]
    (tmp_path / "vendor.key").write_bytes(
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    assert "Error: this is no key, or not its password" in tool("issue", *words).output
    (tmp_path / "vendor.key").unlink()
    tool("new-key")
    nowhere = str(tmp_path / "none" / "license.txt")
    assert "cannot be written" in tool("issue", *words, "--out", nowhere).output
    assert "cannot be written" in tool("new-key", "--key", nowhere).output
