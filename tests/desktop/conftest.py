"""A folder of a user that has no configuration yet, and the answers of the first start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mapdr.operate import first
from mapdr.operate.first import FirstForm, write_first
from mapdr_desktop.local_page import LocalPage
from mapdr_desktop.opening import Opening, Where
from peers import processes
from web.browsers import browser, browser_of_the_file

__all__ = ["browser", "browser_of_the_file"]


@pytest.fixture(autouse=True)
def own_page_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of tests do not configure pages at one port."""
    monkeypatch.setattr(first, "_PAGE_PORTS", processes.page_ports())


@pytest.fixture
def client(local: LocalPage) -> Iterator[httpx.Client]:
    """Somebody whom the page of a first start has let in."""
    url, _, token = local.address().partition("/#token=")
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as found:
        assert found.post("/api/session", json={"token": token}).status_code == 200
        yield found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that is not written yet."""
    return tmp_path / "user" / "mapdr.toml"


@pytest.fixture
def form(free_port: int) -> FirstForm:
    """What a clinic enters; nobody listens at its receiver."""
    return FirstForm("ROUTER", free_port, "PACS", "127.0.0.1", processes.free_port(), "lossless", 10.0)


@pytest.fixture
def opening(config: Path, form: FirstForm) -> Iterator[Opening]:
    """The way to a node whose configuration is written; the node is ended."""
    assert not write_first(form, config)
    opened = Opening(Where(config, of_service=False, readable=True))
    yield opened
    opened.end()
