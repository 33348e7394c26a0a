"""The pictures of the desktop program in docs/pictures: `make pictures`.

Run as a program, with the folder to write into: the first start by Chromium, window and tray on a screen
without glass, and the signs of the tray.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

sys.path[0] = str(Path(__file__).parents[1])

from desktop.screen import screen  # noqa: E402
from mapdr.operate.glance import STANDINGS  # noqa: E402
from mapdr.testing.wait import until  # noqa: E402
from mapdr_desktop import local_page  # noqa: E402
from mapdr_desktop.icons import icon  # noqa: E402
from mapdr_desktop.local_page import LocalPage  # noqa: E402
from mapdr_desktop.menu import WORDS  # noqa: E402
from mapdr_desktop.opening import Opening, Where  # noqa: E402
from paper.page_pictures import DESK, morning, small  # noqa: E402
from peers.processes import Process, run  # noqa: E402
from web.browsing import chromium  # noqa: E402

BADGE = (255, 90, 79)
"""What the badge of a stuck node has."""


def first_start(target: Path) -> None:
    """The page of a first start, filled in."""
    local_page.own_addresses = lambda: ["10.1.2.9"]
    page = LocalPage(Opening(Where(Path("/nowhere/mapdr/mapdr.toml"), of_service=False, readable=True)))
    page.start()
    with chromium() as browser:
        tab = browser.new_page(viewport=DESK)
        tab.goto(page.address())
        tab.get_by_text("✓ free").wait_for()
        for name, text in (("pacs_host", "10.1.2.3"), ("pacs_ae_title", "CLINICPACS")):
            tab.locator(f"#{name}").fill(text)
        tab.get_by_role("radio", name="Smaller, without loss").check()
        tab.evaluate("scrollTo(0, 0)")  # its head stays at the top of what is seen
        tab.screenshot(path=target / "desktop-first.png", full_page=True)
    page.stop()
    _small(target / "desktop-first.png")


def window_and_tray(target: Path, folder: Path) -> None:
    """The screen with the window, and with the sign of a node with something stuck."""
    picture = target / "desktop-window.png"
    with morning() as seen, screen(folder) as shown:
        command = [sys.executable, "-m", "mapdr_desktop"]
        program = Process([*command, "--config", seen.node.config], folder / "desktop.log", shown.env)
        try:
            until(lambda: _has_badge(shown.picture(picture)), 60, "the sign in the tray")
            until(lambda: _has_page(shown.picture(picture)), 60, "the page in the window")
            assert run([*command, "--quit"], env=shown.env).returncode == 0
            until(lambda: not program.running, 60, "the end of the program")
        finally:
            program.end()
    _small(picture)


def signs(target: Path) -> None:
    """The four signs, with what each says."""
    sheet = Image.new("RGB", (640, 112), "#f5f6f8")
    draw = ImageDraw.Draw(sheet)
    for number, standing in enumerate(STANDINGS):
        left, sign = 160 * number, icon(standing)
        sheet.paste(sign, (left + 48, 12), sign)
        draw.text((left + 80, 92), WORDS[standing].partition(":")[0], "#14181f", anchor="mm", font_size=13)
    sheet.save(target / "desktop-signs.png", optimize=True)


def _has_badge(picture: Path) -> bool:
    with Image.open(picture) as image:
        tray = image.convert("RGB").crop((0, image.height - 40, image.width, image.height))
    return BADGE in {colour for _, colour in tray.getcolors(1 << 20) or []}


def _has_page(picture: Path) -> bool:
    """Whether the window has the red of what is stuck: the page has read the node's state then."""
    with Image.open(picture) as image:
        above = image.convert("RGB").crop((0, 0, image.width, image.height - 40))
    return (179, 38, 30) in {colour for _, colour in above.getcolors(1 << 20) or []}


def _small(path: Path) -> None:
    path.write_bytes(small(path.read_bytes()))


if __name__ == "__main__":
    into = Path(sys.argv[1])
    signs(into)
    first_start(into)
    with tempfile.TemporaryDirectory() as scratch:
        window_and_tray(into, Path(scratch))
