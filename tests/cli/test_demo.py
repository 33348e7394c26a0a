"""The demo, whole: a real node, real associations, a balance that holds; and what happens when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mapdr.config.read import read_text
from mapdr.kernel.errors import MapdrError
from mapdr_cli.demo import site
from mapdr_cli.demo.balance import Account, Books, so_far
from mapdr_cli.main import main
from peers.processes import free_port


def test_the_demo_s_configuration_has_no_problem(tmp_path: Path) -> None:
    (tmp_path / "ris.secret").write_text("whsec_x")
    loaded = read_text(site.configuration(11112, 11113, "http://127.0.0.1:1/hooks"), base=tmp_path)
    assert [str(problem) for problem in loaded.problems] == []


def test_what_the_demo_tells_while_it_runs_fits_80_columns() -> None:
    books = Books(site.edits, site.MAX_ERROR)
    books.accounts["CT"] = Account(lossy=3333, max_error=64, compared_bytes=97, arrived_bytes=10)
    for modality in ("MR", "US"):
        books.accounts[modality] = Account(exact=3333, compared_bytes=31, arrived_bytes=10)
    lines = so_far(books, site.EDITED, 99)
    assert "right in 9,999 images" in lines[0]
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.timeout(180)
def test_the_demo_balances(tmp_path: Path) -> None:
    words = ["demo", "--seconds", "1", "--images", "3", "--json", "--keep", str(tmp_path / "kept")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    balance = json.loads(result.stdout)
    assert balance["missing"] == []
    assert set(balance["modalities"]) == {"CT", "MR", "US"}
    for modality, account in balance["modalities"].items():
        assert account["sent"] == account["received"] == account["delivered"] > 0
        assert account["exact"] + account["lossy"] == account["sent"], modality
    assert balance["modalities"]["CT"]["lossy"]
    assert not balance["modalities"]["MR"]["lossy"]
    assert balance["webhooks"] == sum(account["studies"] for account in balance["modalities"].values())
    log = (tmp_path / "kept" / "node.log").read_text(encoding="utf-8")
    assert "stopped" in log
    assert "GEN-" not in log


def test_a_node_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    config = tmp_path / "mapdr.toml"
    config.write_text("[nod]\n")
    node = site.start_node(config, tmp_path / "node.log", free_port())
    try:
        with pytest.raises(MapdrError, match=r"the node ended with status 2\n(.|\n)*mapdr.toml:1"):
            node.wait_until_it_listens(90)
    finally:
        node.stop()
