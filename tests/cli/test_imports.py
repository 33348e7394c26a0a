"""Commands that only look are quick: they import no dictionary, no arrays, no network."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from paper.nodes import NodeFolder

CHILD = """
import json, sys
LOADED = {"numpy", "pydicom", "pynetdicom", "sqlalchemy.dialects.postgresql"}
from mapdr_cli.main import main
main(sys.argv[1:], standalone_mode=False)
print(json.dumps(sorted(set(sys.modules) & LOADED)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "--json"),
        ("studies",),
        ("find", "--patient", "NOBODY", "--json"),
        ("find", "--study", "1.2.3"),
        ("deliveries",),
        ("deliveries", "--state", "pending", "--json"),
        ("top", "--once"),
    ],
)
def test_commands_that_only_look_import_little(used: NodeFolder, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *words, "--config", str(used.config)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert json.loads(done.stderr.splitlines()[-1]) == []


def test_a_node_can_be_looked_at_while_somebody_edits_its_rules(used: NodeFolder) -> None:
    used.config.write_text(used.config.read_text().replace("AccessionNumber", "AccesionNumber"))
    assert used.mapdr("status").exit_code == 0
    assert used.mapdr("reroute", "--state", "unrouted", "--yes").exit_code == 2
    assert used.mapdr("check").exit_code != 0
