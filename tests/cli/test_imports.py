"""Commands that only look are quick: they import no dictionary, no arrays, no network."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mapdr.node.outline import keep_outline
from mapdr.operate.configuration import load
from paper.nodes import NodeFolder

CHILD = """
import contextlib, io, json, sys
LOADED = {"numpy", "pydicom", "pynetdicom", "sqlalchemy.dialects.postgresql", "sqlalchemy.orm", "httpx"}
CONFIGURATION = {"pydantic", "tomlkit", "mapdr.config.model", "mapdr.kernel.stage", "mapdr.wire.pdu"}
if sys.argv[1] == "kept":
    LOADED |= CONFIGURATION
from mapdr_cli.main import main
found = {}
for words in json.loads(sys.argv[2]):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        main([*words, "--config", sys.argv[3]], standalone_mode=False)
    assert said.getvalue(), words
    found[" ".join(words)] = sorted(set(sys.modules) & LOADED)
print(json.dumps(found))
"""

COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("studies",),
    ("find", "--patient", "NOBODY", "--json"),
    ("find", "--study", "1.2.3"),
    ("deliveries",),
    ("deliveries", "--state", "pending", "--json"),
    ("sources",),
    ("webhooks", "list"),
    ("webhooks", "show", "--study", "1.2.3", "--since", "2026-11-01"),
    ("top", "--once"),
)


@pytest.mark.parametrize("outline", ["kept", "none"])
def test_commands_that_only_look_import_little(used: NodeFolder, outline: str) -> None:
    """One after the other in one process: what the first of them imports is shown with all behind it."""
    if outline == "kept":  # as a node that runs leaves it: then nobody reads the configuration anew
        loaded = load(used.config)
        keep_outline(loaded.plan, loaded.loaded.text, used.config.parent)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, outline, json.dumps(COMMANDS), str(used.config)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(COMMANDS)
    assert {words: modules for words, modules in found.items() if modules} == {}


def test_a_node_can_be_looked_at_while_somebody_edits_its_rules(used: NodeFolder) -> None:
    used.config.write_text(used.config.read_text().replace("AccessionNumber", "AccesionNumber"))
    assert used.mapdr("status").exit_code == 0
    assert used.mapdr("reroute", "--state", "unrouted", "--yes").exit_code == 2
    assert used.mapdr("check").exit_code != 0
