"""A node that runs with its page, and clients that are signed in or not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from mapdr.kernel.registry import Registry
from mapdr.node.assembly import Node
from mapdr.node.configuration import examine
from mapdr.operate.signin import Doors, Role
from mapdr.testing import generator
from paper import nodes
from web.browsers import browser, browser_of_the_file

__all__ = ["browser", "browser_of_the_file"]

WEB = '\n[web]\nhost = "127.0.0.1"\nport = 0\n'


class Page:
    """The page of a running node."""

    def __init__(self, node: Node, config: Path) -> None:
        self.node = node
        self.config = config
        assert node.page is not None
        self.port = node.page.describe().port
        self.doors = Doors(node.plan.node.data)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> httpx.Client:
        """Nobody, so far."""
        return httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def signed_in(self, role: Role) -> httpx.Client:
        """A client with a session, which sends its token with every change, as the page does."""
        client = self.client()
        answer = client.post(
            "/api/v1/session",
            json={"token": self.doors.make_link(f"{role}-1", role)},
            headers={"origin": self.url},
        )
        assert answer.status_code == 200, answer.text
        client.headers["x-csrf-token"] = answer.json()["csrf"]
        return client


def start(folder: nodes.NodeFolder, web: str = WEB) -> Node:
    """The folder's node, started."""
    text = folder.config.read_text().replace("port = 11112", "port = 0")
    folder.config.write_text(text + web)
    registry = Registry()
    checked = examine(folder.config, registry, resolve=True, surroundings=True)
    assert checked.plan is not None
    assert not checked.problems, checked.problems
    node = Node(checked.loaded, checked.plan, registry, base=folder.config.parent)
    node.start()
    return node


@contextmanager
def opened(folder: nodes.NodeFolder, web: str = WEB) -> Iterator[Page]:
    """The page of the folder's node, while that runs."""
    node = start(folder, web)
    try:
        yield Page(node, folder.config)
    finally:
        node.stop(time.monotonic() + 20)


def receive(page: Page, modality: str, images: int) -> None:
    """Images of a new study come into the node's spool, as its receivers put them there."""
    spool = page.node.store.spool
    for image in generator.study(modality, images=images, size=(16, 16), seed=7):
        incoming = spool.begin(
            nodes.SOURCE, image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid
        )
        incoming.write(image.dataset)
        incoming.commit()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> nodes.NodeFolder:
    """A node with images, see `nodes.with_images`: made once, to be copied."""
    return nodes.with_images(nodes.new(tmp_path_factory.mktemp("filled")))


@pytest.fixture
def used(filled: nodes.NodeFolder, tmp_path: Path) -> nodes.NodeFolder:
    """A node that received 4 CT (2 delivered and 1 parked at telepacs), 2 MR, and 1 US that no rule takes."""
    return nodes.copied(filled, tmp_path)


@pytest.fixture
def page(used: nodes.NodeFolder) -> Iterator[Page]:
    """The page of that node, while it runs; its destinations are not there."""
    with opened(used) as found:
        yield found


@pytest.fixture
def nobody(page: Page) -> Iterator[httpx.Client]:
    """A client without a session."""
    with closing(page.client()) as client:
        yield client


@pytest.fixture
def operator(page: Page) -> Iterator[httpx.Client]:
    """A client of an operator."""
    with closing(page.signed_in("operator")) as client:
        yield client


@pytest.fixture
def viewer(page: Page) -> Iterator[httpx.Client]:
    """A client of a viewer."""
    with closing(page.signed_in("viewer")) as client:
        yield client
