"""Which configuration, and the node: found or started, ended only if it was started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import httpx
import pytest

from mapdr.kernel.errors import MapdrError
from mapdr.operate.access import access
from mapdr.operate.first import FirstForm, write_first
from mapdr_desktop import opening, own_node
from mapdr_desktop.opening import Opening, Where, find_configuration
from peers.node import Node, destination, everything_to
from peers.processes import free_port


def _runs(config: Path) -> bool:
    with access(config) as opened:
        return opened.alive is True


def test_the_machine_s_configuration_goes_before_the_user_s(tmp_path: Path) -> None:
    site, user = tmp_path / "site", tmp_path / "user"
    new = find_configuration(site=site, user=user)
    assert (new.config, new.of_service, new.is_new) == (user / "mapdr.toml", False, True)
    site.mkdir()
    (site / "mapdr.toml").write_text("")
    found = find_configuration(site=site, user=user)
    assert (found.config, found.of_service, found.is_new) == (site / "mapdr.toml", True, False)
    named = find_configuration(tmp_path / "other.toml", site=site, user=user)
    assert (named.config, named.of_service) == (tmp_path / "other.toml", False)


def test_what_only_the_service_may_read_is_asked_for_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mapdr.toml").write_text("")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = find_configuration(site=tmp_path, user=tmp_path / "user")
    assert not found.is_new
    assert Opening(found).url() == "http://127.0.0.1:8484/"


def test_a_node_is_started_and_signed_in_to_and_ended(opening: Opening) -> None:
    url, _, token = opening.url().partition("#token=")
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
        assert client.post("/api/v1/session", json={"token": token}).json()["role"] == "operator"
    assert _runs(opening.where.config)
    assert opening.url().partition("#")[0] == url, "it is found the second time"
    log = opening.where.config.parent / "mapdr-data" / "mapdr.log"
    assert "receiver modalities listens as ROUTER" in log.read_text()
    opening.end()
    assert not _runs(opening.where.config)


def test_a_node_that_somebody_else_started_is_left_alone(tmp_path: Path) -> None:
    node = Node(
        tmp_path,
        egress={"pacs": destination(free_port())},
        rules=[everything_to("pacs")],
        web={"port": free_port()},
    )
    node.start()
    try:
        opened = Opening(Where(node.config, of_service=False, readable=True))
        assert "#token=" in opened.url()
        opened.end()
        assert _runs(node.config)
    finally:
        node.stop()


def test_a_service_s_node_is_not_started(config: Path, form: FirstForm) -> None:
    assert not write_first(form, config)
    opened = Opening(Where(config, of_service=True, readable=True))
    with pytest.raises(MapdrError, match="the node does not run"):
        opened.url()


def test_what_keeps_a_node_from_starting_is_said(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        own_node, "program", lambda: (own_node.sys.executable, "-c", "raise SystemExit('the disk is gone')")
    )
    with pytest.raises(MapdrError, match="did not start: the disk is gone"):
        opening.url()


def test_no_node_is_started_after_the_end(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []
    monkeypatch.setattr(own_node.OwnNode, "_start", lambda node, config: started.append(config))
    opening.end()
    with pytest.raises(MapdrError, match="MAPDR ends"):
        opening.url()
    assert not started


def test_a_node_that_starts_for_long_is_asked_to_end_again(
    opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def stop(opened: object) -> None:
        asked.append(opened)
        if len(asked) == 1:
            raise MapdrError("the node is starting")
        really(opened)

    opening.url()
    really = own_node.stop
    monkeypatch.setattr(own_node, "stop", stop)
    opening.end()
    assert len(asked) >= 2
    assert not _runs(opening.where.config)


@pytest.mark.skipif(sys.platform == "win32", reason="a signal does not end it in order")
def test_a_node_whose_configuration_was_broken_ends_all_the_same(opening: Opening) -> None:
    opening.url()
    opening.where.config.write_text("[node")
    opening.end()
    assert not opening.ends_node


def test_a_frozen_program_starts_the_one_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desktop = tmp_path / "mapdr-desktop.exe"
    desktop.touch()
    monkeypatch.setattr(own_node.sys, "frozen", True, raising=False)
    monkeypatch.setattr(own_node.sys, "executable", str(desktop))
    with pytest.raises(MapdrError, match="is missing"):
        own_node.program()
    (tmp_path / "mapdr.exe").touch()
    assert own_node.program() == (str(tmp_path / "mapdr.exe"),)


def test_who_may_not_read_the_service_s_configuration_asks_it_or_has_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opening(Where(tmp_path / "mapdr.toml", of_service=True, readable=False))
    monkeypatch.setattr(opening, "link_of_service", lambda: "http://127.0.0.1:8042/#token=x")
    assert opened.url() == "http://127.0.0.1:8042/#token=x"

    def refuses() -> str:
        raise MapdrError("only members")

    monkeypatch.setattr(opening, "link_of_service", refuses)
    assert opened.url() == f"http://127.0.0.1:{opening.PAGE_PORT}/"
