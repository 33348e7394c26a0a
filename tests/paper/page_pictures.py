"""The pictures of the page in docs/pictures, by Chromium: `make pictures`.

Run as a program, with the folder to write into. A node takes generated images of invented patients for it;
one receiver refuses a study, and another is not there.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

sys.path[0] = str(Path(__file__).parents[1])

from mapdr.operate.signin import Doors  # noqa: E402
from mapdr.testing import generator  # noqa: E402
from mapdr.testing.sink import Sink  # noqa: E402
from mapdr.testing.wait import until  # noqa: E402
from peers.node import Node, destination  # noqa: E402
from peers.part10 import in_memory  # noqa: E402
from peers.processes import free_port  # noqa: E402
from peers.rawsender import send_all  # noqa: E402
from web.browsing import chromium  # noqa: E402

DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
PICTURES = (
    ("overview", "", DESK, "light"),
    ("overview-phone", "", PHONE, "light"),
    ("stuck", "Stuck", DESK, "light"),
    ("stuck-dark", "Stuck", DESK, "dark"),
    ("studies", "Studies", DESK, "light"),
    ("studies-phone", "Studies", PHONE, "light"),
    ("rules", "Rules", DESK, "light"),
    ("settings", "Settings", DESK, "light"),
)
"""Pictures by name: the view's link, the size of the window, and the colours."""
COLOURS = 200
"""Of a picture: it is small then, and nobody sees the difference."""
CAME = {"CT1": ("CT", 3, 24), "CT2": ("CT", 2, 18), "MR1": ("MR", 4, 12), "US1": ("US", 2, 6)}
"""Sources, with the modality, the number of studies and the images of each."""


@dataclass(frozen=True)
class Morning:
    """A node that has taken images, and where its page is."""

    node: Node
    url: str


@contextmanager
def morning() -> Iterator[Morning]:
    """The node, when all is delivered that will be."""
    refused = {one.sop_instance_uid for one in generator.study("MR", images=12, seed=41, size=(32, 32))}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        telepacs = stack.enter_context(Sink(status=lambda _, uid: 0xA900 if uid in refused else 0))
        archive, port = stack.enter_context(Sink()), free_port()
        node = Node(
            folder / "node",
            egress={
                "telepacs": destination(telepacs.port, retry={"tries": 1, "first": "100 ms"}),
                "archive": destination(archive.port),
                "cardiology": destination(free_port()),
            },
            rules=[
                {
                    "name": "CT and MR to teleradiology",
                    "when": {"Modality": ["CT", "MR"]},
                    "tags": [{"prefix": "AccessionNumber", "with": "CN-"}],
                    "compress": {"to": "jpeg2000-lossless"},
                    "send_to": ["telepacs"],
                },
                {"name": "ultrasound to cardiology", "when": {"Modality": "US"}, "send_to": ["cardiology"]},
                {"name": "everything to the archive", "when": {}, "send_to": ["archive"]},
            ],
            node={"name": "clinic-north"},
            web={"port": port},
        ).start()
        stack.callback(node.stop)
        for number, (source, (modality, studies, images)) in enumerate(CAME.items()):
            for seed in range(20 * number, 20 * number + studies):
                made = generator.study(modality, images=images, seed=seed + 1, size=(32, 32))
                send_all(node.port, map(in_memory, made), calling=source)
        until(lambda: node.json("status")["pending"] == 12, 120, "all delivered but for what waits")
        yield Morning(node, f"http://127.0.0.1:{port}")


def picture(browser: Browser, shown: Morning, view: str, size: dict[str, int], colours: str) -> bytes:
    """A view as PNG."""
    tab = browser.new_page(viewport=size, color_scheme=colours)  # type: ignore[arg-type]
    try:
        tab.goto(f"{shown.url}/#token={Doors(shown.node.data).make_link('ann', 'operator')}")
        tab.get_by_text("Received today").wait_for()
        if view:
            tab.get_by_role("link", name=view).click()
        tab.wait_for_timeout(1500)  # the views read their figures
        return tab.screenshot()
    finally:
        tab.close()


def small(picture: bytes) -> bytes:
    """The picture with few colours, of which the rare ones tell states."""
    out = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(
        out, "PNG", optimize=True
    )
    return out.getvalue()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with morning() as shown, chromium() as browser:
        for name, view, size, colours in PICTURES:
            found = small(picture(browser, shown, view, size, colours))
            (folder / f"page-{name}.png").write_bytes(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
