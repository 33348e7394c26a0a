"""The demo's site: a node of its own in a temporary folder, and all that stands around it on loopback."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.signals import handled
from mapdr.operate.access import access
from mapdr.operate.stop import stop
from mapdr.testing.generator import GeneratedImage
from mapdr.testing.ris import Ris
from mapdr.testing.sink import Sink

AE_TITLE = "MAPDR"
INSTITUTION = "Demo Hospital North"
PREFIX = "DN-"
RATIO = 10
MAX_ERROR = 64

CONFIG = """\
# The demo's configuration: everything that `mapdr demo` shows stands here.

[node]
name = "demo"
data = "data"
durability = "power-loss"
study_quiet = "2 s"

[receive.modalities]
type = "dicom"
ae_title = "{ae_title}"
host = "127.0.0.1"
port = {port}

[egress.pacs]
type = "dicom"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
associations = 2

[webhook.ris]
url = "{ris_url}"
on = ["study.received", "study.delivered", "delivery.parked"]
secret = "file:ris.secret"
payload = {{ event = "{{event}}", study = "{{StudyInstanceUID}}", accession = "{{AccessionNumber}}", \
modality = "{{Modality}}", images = "{{images}}" }}

[[rule]]
name = "CT, lossy 10:1"
when = {{ Modality = "CT" }}
tags = {tags}
compress = {{ to = "jpeg2000", ratio = {ratio}, max_error = {max_error} }}
send_to = ["pacs"]

[[rule]]
name = "MR, lossless"
when = {{ Modality = "MR" }}
tags = {tags}
compress = {{ to = "jpeg2000-lossless" }}
send_to = ["pacs"]

[[rule]]
name = "US, as it is"
when = {{ Modality = "US" }}
tags = {tags}
send_to = ["pacs"]
"""

TAGS = f"""[
  {{ prefix = "AccessionNumber", with = "{PREFIX}" }},
  {{ set = "InstitutionName", to = "{INSTITUTION}" }},
]"""


EDITED = f"{PREFIX} before AccessionNumber, InstitutionName"
"""The same in the demo's own words."""


def edits(image: GeneratedImage) -> Mapping[str, str]:
    """What the demo's rules write into an image."""
    return {"AccessionNumber": PREFIX + image.accession_number, "InstitutionName": INSTITUTION}


PORTS = range(20_000, 32_000)
"""Linux gives those from 32768 to connections, Windows those from 49152."""
STARTED = 180.0
"""Seconds within which a node has started: two at rest, more than 30 where every processor has other work."""


@dataclass
class Node:
    """`mapdr run` as a process of its own: what an operator starts, not a shortcut into it."""

    config: Path
    log: Path
    port: int
    process: subprocess.Popen[bytes]

    def wait_until_it_listens(self, seconds: float) -> None:
        """Return when the receiver accepts connections. Raises MapdrError if it does not in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        what = f"the node did not listen within {seconds:.0f} s; is the machine busy?"
        raise MapdrError(f"{what}\n{self.last_words()}")

    def check(self) -> None:
        """Raises MapdrError, with the end of its log, if the node has ended."""
        status = self.process.poll()
        if status is not None:
            raise MapdrError(f"the node ended with status {status}\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of the node's log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def stop(self, seconds: float = 20.0) -> int:
        """Ask it to drain as an operator would, and wait; killed if it does not. The exit status.

        On Windows it is asked as by `mapdr stop`.
        """
        if self.process.poll() is None:
            if sys.platform == "win32":
                # There may be no console, and CPython ends a process at once that cannot be sent Ctrl-Break.
                with contextlib.suppress(MapdrError), access(self.config) as opened:
                    stop(opened)
            else:
                self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@dataclass
class Site:
    """Everything the demo needs, running."""

    folder: Path
    node: Node
    pacs: Sink
    ris: Ris
    secret: str


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Leave the block by SystemExit if the end is asked for, or the terminal is closed.

    So all that stands in it ends in order. On Windows a console that is closed ends every process in it, the
    node as well.
    """
    ended = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ended
        if not ended:  # a terminal that is closed says so several times
            ended = True
            raise SystemExit(128 + number)

    with handled(dict.fromkeys(("SIGTERM", "SIGHUP", "SIGBREAK"), end)):
        yield


@contextlib.contextmanager
def set_up(keep: Path | None = None) -> Iterator[Site]:
    """A node, a receiving PACS and a RIS on free ports of loopback; all end with the block.

    The data stays in the folder `keep`, or is gone afterwards.
    """
    with contextlib.ExitStack() as stack:
        if keep is None:
            # On Windows a file that is still open for a moment must not turn a good end into a bad one.
            temporary = tempfile.TemporaryDirectory(prefix="mapdr-demo-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(temporary))
        else:
            keep.mkdir(parents=True, exist_ok=True)
            folder = keep
        pacs = stack.enter_context(Sink(ae_title="PACS", folder=folder / "pacs"))
        ris = stack.enter_context(Ris())
        secret = "whsec_" + secrets.token_urlsafe(24).replace("-", "A").replace("_", "B")
        (folder / "ris.secret").write_text(secret, encoding="ascii")
        port = free_port()
        config = folder / "mapdr.toml"
        config.write_text(configuration(port, pacs.port, ris.url), encoding="utf-8")
        node = start_node(config, folder / "node.log", port)
        stack.callback(node.stop)
        node.wait_until_it_listens(STARTED)
        yield Site(folder, node, pacs, ris, secret)


def configuration(port: int, pacs_port: int, ris_url: str) -> str:
    """The text of the demo's mapdr.toml."""
    return CONFIG.format(
        ae_title=AE_TITLE,
        port=port,
        pacs_port=pacs_port,
        ris_url=ris_url,
        tags=TAGS,
        ratio=RATIO,
        max_error=MAX_ERROR,
    )


def start_node(config: Path, log: Path, port: int) -> Node:
    """`mapdr run --plain` for this configuration, in a process group of its own: Ctrl-C is the demo's."""
    program = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "mapdr_cli"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  this very program
            [*program, "run", "--plain", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    return Node(config, log, port, process)


def free_port() -> int:
    """A port of loopback that is free now, of PORTS if it can be: a connection could take another one before
    the node does."""
    for port in [*secrets.SystemRandom().sample(PORTS, 100), 0]:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found: int = probe.getsockname()[1]
            return found
    raise MapdrError("no port of this machine is free")
