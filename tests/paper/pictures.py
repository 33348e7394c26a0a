"""The pictures of `mapdr top` in docs/pictures, by Rich's export: `make pictures`.

Run as a program, with the folder to write into. Every name and number in them is invented.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme

sys.path[0] = str(Path(__file__).parents[1])

from mapdr_cli.render.terminal import THEME, UNICODE  # noqa: E402
from mapdr_cli.top.frame import frame  # noqa: E402
from mapdr_cli.top.place import Action, Screen, View  # noqa: E402
from mapdr_cli.top.press import asked, press  # noqa: E402
from paper import morning  # noqa: E402

SIZES = ((80, 24), (200, 50))
KEYS = {
    "overview": (),
    "destinations": ("2", "end"),
    "studies": ("3",),
    "images": ("3", "enter", "down", "down"),
    "image": ("3", "enter", "down", "down", "enter"),
    "parked": ("4",),
    "log": ("5",),
    "help": ("?",),
}
"""Pictures by name, and the keys that lead to what they show."""

DARK = ((40, 44, 52), (232, 112, 112), (126, 200, 140), (226, 184, 92))
DARK += ((110, 160, 232), (196, 140, 224), (96, 196, 208), (200, 204, 210))
BRIGHT = ((128, 136, 148), (240, 128, 128), (140, 214, 154), (238, 200, 112))
BRIGHT += ((130, 176, 240), (208, 156, 236), (116, 210, 220), (240, 242, 245))
COLOURS = TerminalTheme((24, 26, 31), (214, 218, 224), list(DARK), list(BRIGHT))

FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Rich's own, but for fonts that would be asked from elsewhere."""


def screen(keys: tuple[str, ...]) -> Screen:
    """The screen after these keys."""
    found = Screen()
    for key in keys:
        found, _ = press(found, key, morning.found(found.place), 10)
    return found


def picture(shown: Screen, width: int, height: int) -> str:
    """The screen as SVG."""
    out = io.StringIO()
    console = Console(file=out, record=True, width=width, height=height, theme=THEME, force_terminal=True)
    for line in frame(morning.found(shown.place), shown, width, height, UNICODE):
        console.print(line)
    crumbs = shown.place.view.value
    name = f"top-{crumbs}-{width}"
    return console.export_svg(title="mapdr top", theme=COLOURS, code_format=FORMAT, unique_id=name)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shown = {name: screen(keys) for name, keys in KEYS.items()}
    question = "Try 3 deliveries (telepacs 3) again now?"
    shown["question"] = asked(screen(("4",)), Action("retry"), 3, question)
    for name, each in shown.items():
        for width, height in SIZES if each.place.view is not View.LOG else SIZES[:1]:
            text = picture(each, width, height)
            (folder / f"top-{name}-{width}x{height}.svg").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
