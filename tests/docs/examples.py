"""The examples of a document, done as a reader would do them: in order, in one folder, as they are printed.

A fenced block's info string says what it is: `sh` is a script, `sh look` one that changes nothing and may be
repeated until it prints what is shown below it, `sh background` a program that goes on (another terminal),
`toml` the whole configuration, `toml more` what is added to it, `text` what the block above it prints, where
`…` stands for anything. All else cannot be done by a test.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mapdr.testing.wait import until
from peers.processes import free_port

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"\b(1111\d|8484)\b")
"""The ports that the documents use."""
DONE = ("sh", "sh look", "sh background", "toml", "toml more", "text")


@dataclass(frozen=True)
class Example:
    """One block: its info string, its text, and its line."""

    kind: str
    text: str
    line: int


def examples(document: Path) -> list[Example]:
    """The fenced blocks of a document."""
    text = document.read_text(encoding="utf-8")
    return [
        Example(found[1].strip(), found[2], text.count("\n", 0, found.start()) + 1)
        for found in _FENCE.finditer(text)
    ]


class Reader:
    """Somebody who does what a document says, with ports of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports: dict[str, str] = {}
        self._running: list[subprocess.Popen[bytes]] = []
        tools = folder / ".tools"
        tools.mkdir(parents=True)
        for name in ("mapdr", "python"):
            tool = tools / name
            tool.write_text(f'#!/bin/sh\nexec "{Path(sys.executable).with_name(name)}" "$@"\n')
            tool.chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "COLUMNS": "100",
            "PYTHONUNBUFFERED": "1",
        }

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def do(self, blocks: list[Example]) -> None:
        """All of it. Raises AssertionError with the block's line."""
        for block, shown in _with_output(blocks):
            script = self._own(block.text)
            if block.kind.startswith("toml"):
                with (self._folder / "mapdr.toml").open("w" if block.kind == "toml" else "a") as file:
                    file.write(f"\n{script}")
                self._run("mapdr check", block.line)
            elif block.kind == "sh background":
                self._start(script, block.line)
            elif block.kind == "sh look" and shown:
                self._look(script, self._own(shown), block.line)
            elif block.kind.startswith("sh"):
                told = self._run(script, block.line)
                assert not shown or _matches(told, self._own(shown)), f"line {block.line} prints:\n{told}"

    def _own(self, text: str) -> str:
        """With ports that are free here, and what `make` has put into .venv."""

        def port(found: re.Match[str]) -> str:
            return self._ports.setdefault(found[1], str(free_port()))

        return _PORT.sub(port, text.replace(".venv/bin/", ""))

    def _run(self, script: str, line: int) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            check=False,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=90,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"line {line} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def _look(self, script: str, shown: str, line: int) -> None:
        deadline = time.monotonic() + 60
        while True:
            told = self._run(script, line)
            if _matches(told, shown):
                return
            assert time.monotonic() < deadline, f"line {line} still prints:\n{told}"

    def _start(self, script: str, line: int) -> None:
        log = self._folder / f".line-{line}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._running.append(process)
        ports = [port for port in self._ports.values() if port in script]

        def up() -> bool:
            assert process.poll() is None, f"line {line} ended: {log.read_text()}"
            listening = "listens as" in log.read_text() if "mapdr run" in script else True
            return listening and all(map(_listens, ports))

        until(up, 120, f"the program of line {line}")


def _listens(port: str) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 1):
        return True
    return False


def _with_output(blocks: list[Example]) -> Iterator[tuple[Example, str]]:
    """Each block with what is shown of its output, if that is the next one."""
    for index, block in enumerate(blocks):
        following = blocks[index + 1] if index + 1 < len(blocks) else None
        yield block, following.text if following is not None and following.kind == "text" else ""


def _matches(told: str, shown: str) -> bool:
    """Whether a text is what is shown; ends of lines and runs of spaces aside, `…` for anything."""

    def plain(text: str) -> str:
        return "\n".join(" ".join(line.split()) for line in text.strip().splitlines() if line.strip())

    pattern = re.escape(plain(shown)).replace("…", ".*")
    return re.fullmatch(pattern, plain(told), re.DOTALL) is not None
