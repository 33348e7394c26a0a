"""`mapdr run` for Windows as a peer of Linux programs: the tests' own node, with its program under wine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from mapdr.testing.wait import until
from peers.node import Node
from peers.processes import Process, run

START_SECONDS = 60
"""wine starts slowly on a busy machine."""


def windows_path(path: Path) -> str:
    """A file of this system as programs under wine see it."""
    return str(PureWindowsPath("Z:", path))


class WineProcess(Process):
    """A program under wine. wine 8 gives it no output that is a plain file, so a `cat` stands between."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        self.log = log
        self.popen = subprocess.Popen(
            ["wine", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ,
        )
        with log.open("ab") as output:
            self.pipe = subprocess.Popen(["cat"], stdin=self.popen.stdout, stdout=output)
        assert self.popen.stdout is not None
        self.popen.stdout.close()

    def kill(self) -> None:
        super().kill()
        self.pipe.wait(10)


class WineNode(Node):
    """A node under wine. It has no console there, so `mapdr stop` ends it."""

    program: Path

    def __init__(
        self,
        folder: Path,
        *,
        egress: Mapping[str, Any],
        rules: list[Mapping[str, Any]],
        web: Mapping[str, Any] | None = None,
    ) -> None:
        data = windows_path(folder / "data")
        super().__init__(folder, egress=egress, rules=rules, node={"data": data}, web=web)

    def start(self, env: Mapping[str, str] | None = None) -> WineNode:
        assert not self.running
        assert not env
        words = ["run", "--plain", "--config", windows_path(self.config)]
        self.process = WineProcess([*command(self.program), *words], self.log)
        self.process.wait_for_port(self.port, START_SECONDS)
        until(self.echoes, 15, "the node's answer to C-ECHO")
        return self

    def command(self, *words: str, expect: int | None = 0) -> str:
        done = mapdr(self.program, *words, "--config", windows_path(self.config))
        self.answers += [done.stdout, done.stderr]
        assert expect is None or done.returncode == expect, f"mapdr {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def look(self, *words: str) -> Any:
        """See `Node`: its folders have names of Windows, so a look is taken under wine too."""
        return self.json(*words)

    def stop(self, seconds: float = 30) -> int | None:
        """By `mapdr stop`; the exit status, None if it was never started or had to be killed."""
        if self.process is None:
            return None
        self.command("stop", expect=None)
        try:
            return self.process.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


def command(program: Path) -> tuple[str, ...]:
    """How `mapdr` is begun: by CPython, or as the frozen program that it is."""
    return (str(program), "-m", "mapdr_cli") if program.stem == "python" else (str(program),)


def mapdr(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the `mapdr` program under wine."""
    return run(["wine", *command(program), *words], seconds=180)
