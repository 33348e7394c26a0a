"""The real node: `mapdr run --plain` as a process of its own, asked and stopped as an operator would."""

from __future__ import annotations

import json
import os
import re
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from click.testing import CliRunner

from mapdr.testing.wait import until
from mapdr_cli.main import main
from peers import pdu
from peers.part10 import IMPLICIT
from peers.processes import LOOPBACK, Process, free_port, run
from peers.rawsender import RawSender

MAPDR = Path(sysconfig.get_path("scripts"), "mapdr.exe" if os.name == "nt" else "mapdr")
STUDY_QUIET = "1 s"
ORPHAN = re.compile(r'Traceback .*\n  File "<string>", line 1, in <module>\n(  .*\n)+EOFError: .*\n')
"""What Python says in a decoder process whose node is killed before it has told it what to do."""


def destination(port: int, **extra: Any) -> dict[str, Any]:
    """An egress table for a DICOM receiver on loopback that retries soon."""
    return {
        "type": "dicom",
        "ae_title": "SINK",
        "host": LOOPBACK,
        "port": port,
        "retry": {"first": "200 ms", "factor": 1.5, "max": "1 s"},
        **extra,
    }


def everything_to(*names: str, **steps: Any) -> dict[str, Any]:
    """A rule that takes every image."""
    return {"name": "everything", "when": {}, "send_to": list(names), **steps}


class Node:
    """A node with a DICOM receiver on a free port, and `receivers`; every start appends to the same log."""

    def __init__(
        self,
        folder: Path,
        *,
        egress: Mapping[str, Mapping[str, Any]],
        rules: list[Mapping[str, Any]],
        node: Mapping[str, Any] | None = None,
        receive: Mapping[str, Any] | None = None,
        webhook: Mapping[str, Mapping[str, Any]] | None = None,
        receivers: Mapping[str, Mapping[str, Any]] | None = None,
        web: Mapping[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.data = folder, folder / "data"
        self.config = folder / "mapdr.toml"
        self.log = folder / "node.log"
        self.port = free_port()
        self.answers: list[str] = []
        document: dict[str, Any] = {
            "node": {"name": "test", "data": str(self.data), "study_quiet": STUDY_QUIET, **(node or {})},
            "receive": {
                "modalities": {
                    "type": "dicom",
                    "ae_title": "MAPDR",
                    "host": LOOPBACK,
                    "port": self.port,
                    **(receive or {}),
                },
                **{name: dict(table) for name, table in (receivers or {}).items()},
            },
            "egress": {name: dict(table) for name, table in egress.items()},
            "rule": [dict(rule) for rule in rules],
        }
        if webhook:
            document["webhook"] = {name: dict(table) for name, table in webhook.items()}
        if web:
            document["web"] = dict(web)
        self.config.write_text(tomlkit.dumps(document))
        self.process: Process | None = None

    def start(self, env: Mapping[str, str] | None = None) -> Node:
        """Starts it and waits until it answers C-ECHO."""
        self.spawn(env)
        self.wait_until_it_answers()
        return self

    def spawn(self, env: Mapping[str, str] | None = None) -> None:
        """Starts its process, with more environment variables, and waits for nothing."""
        assert self.process is None or not self.process.running
        command = [MAPDR, "run", "--plain", "--config", self.config]
        self.process = Process(command, self.log, dict(env or {}))

    def wait_until_it_answers(self) -> None:
        """Until C-ECHO succeeds. Raises AssertionError with its output if the node ends before."""
        assert self.process is not None
        self.process.wait_for_port(self.port, 60)
        until(self.echoes, 15, "the node's answer to C-ECHO")

    def echoes(self) -> bool:
        """Whether C-ECHO succeeds."""
        try:
            with RawSender(self.port, [(pdu.VERIFICATION, IMPLICIT)], timeout=5) as sender:
                return sender.echo() == 0
        except OSError:
            return False

    def command(self, *words: str, expect: int = 0) -> str:
        """The standard output of `mapdr ...` against this node's configuration, run within this process.

        Starting one costs more than most commands. For the main thread alone.
        """
        done = CliRunner().invoke(main, [*words, "--config", str(self.config)], catch_exceptions=False)
        return self._ended(words, done.exit_code, expect, done.stdout, done.stderr)

    def command_apart(self, *words: str, expect: int = 0) -> str:
        """As `command`, in a process of its own: all it prints until its end, with the plug-ins it finds."""
        done = run([MAPDR, *words, "--config", self.config], seconds=60)
        return self._ended(words, done.returncode, expect, done.stdout, done.stderr)

    def _ended(self, words: Sequence[str], status: int, expect: int, out: str, err: str) -> str:
        self.answers += [out, err]
        assert status == expect, f"mapdr {words} ended with {status}: {out}{err}"
        return out

    def json(self, *words: str) -> Any:
        """The answer of `mapdr ... --json`, as `command`."""
        return json.loads(self.command(*words, "--json"))

    def status(self) -> dict[str, Any]:
        """`mapdr status --json`, as `command`."""
        answer = self.json("status")
        assert isinstance(answer, dict)
        return answer

    def when(
        self, ready: Callable[[dict[str, Any]], bool], seconds: float = 60, what: str = "the node's status"
    ) -> dict[str, Any]:
        """The first status that is ready; the node must live until then."""
        last: dict[str, Any] = {}

        def look() -> dict[str, Any] | None:
            nonlocal last
            assert self.running, f"the node ended: {self.log.read_text(errors='replace')[-3000:]}"
            last = self.status()
            return last if ready(last) else None

        try:
            found = until(look, seconds, what)
        except AssertionError as error:
            shown = {
                key: last.get(key)
                for key in ("webhooks", "today", "pending", "parked", "unrouted", "destinations")
            }
            raise AssertionError(f"{error}; the last status was {shown}") from None
        assert found is not None
        return found

    def when_settled(self, accepted: int, seconds: float = 60) -> dict[str, Any]:
        """The status once `accepted` objects are in the index and nothing is pending.

        Success comes before the row, so an empty queue alone may only mean that it was asked too soon.
        """
        return self.when(
            lambda status: arrivals(status) >= accepted and status["pending"] == 0,
            seconds,
            f"{accepted} arrivals and an empty queue",
        )

    def when_all_settled(self, images: int, seconds: float = 60) -> dict[str, Any]:
        """The status once so many different images have come, however often, and nothing is pending."""

        def settled(status: Mapping[str, Any]) -> bool:
            came = sum(each["images"] for each in status["today"]["received"].values())
            return came >= images and status["pending"] == 0

        return self.when(settled, seconds, f"{images} images and an empty queue")

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.popen.pid

    def stop(self, seconds: float = 30) -> int | None:
        """SIGTERM; the exit status, None if it was never started."""
        return self.process.end(seconds) if self.process else None

    def kill(self) -> None:
        """SIGKILL; TerminateProcess on Windows."""
        assert self.process is not None
        self.process.kill()

    def output(self) -> str:
        """All that the node and the commands asked of it have printed."""
        log = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join((log, *self.answers))


def images(counted: Mapping[str, Mapping[str, int]]) -> int:
    """The sum of images over the modalities of one `today` table."""
    return sum(numbers["images"] for numbers in counted.values())


def arrivals(status: Mapping[str, Any]) -> int:
    """How many objects of today are in the index: first ones, repeats and other versions."""
    counted = images(status["today"]["received"])
    return counted + int(status["repeats"]["received"]) + int(status["versions"]["received"])


def delivered(status: Mapping[str, Any], name: str) -> int:
    """How many images of today `name` has confirmed."""
    return images(status["today"]["delivered"].get(name, {}))
