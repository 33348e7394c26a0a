"""Drawing to text at any width and in any encoding."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

from mapdr_cli.render.terminal import THEME


def make_console(width: int, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=file, width=width, theme=THEME, markup=False, highlight=False, legacy_windows=False)


def text_of(renderable: RenderableType, console: Console) -> str:
    console.print(renderable)
    console.file.flush()
    raw: bytes = console.file.buffer.getvalue()  # type: ignore[attr-defined]
    return raw.decode(console.encoding)
