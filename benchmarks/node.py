"""A MAPDR node for one measurement."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from benchmarks.peers import free_port, wait_for_port

CONFIG = """
[node]
name = "bench"
data = "{data}"
durability = "{durability}"
journal = {journal}

[receive.modalities]
type = "dicom"
ae_title = "MAPDR"
host = "127.0.0.1"
port = {port}
{tls_in}

[egress.out]
{egress}
[[rule]]
name = "CT to the sink"
when = {{ Modality = "CT" }}
send_to = ["out"]
{steps}
"""
DIMSE = """type = "dicom"
ae_title = "SINK"
host = "127.0.0.1"
port = {out}
associations = {associations}
{tls}
"""
STOW = """type = "dicomweb"
url = "http://127.0.0.1:{out}"
requests = {requests}
images_per_request = {images}
"""
TAG_RULE = 'tags = [{ set = "InstitutionName", to = "Clinic North" }]\n'


class Bench:
    """A running node: its port, its process, and what `mapdr status --json` says."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.port, self.process = folder, port, process

    def status(self) -> dict[str, object]:
        """The answer of `mapdr status --json`."""
        out = subprocess.run(
            [
                sys.executable,
                "-I",
                "-m",
                "mapdr_cli",
                "status",
                "--json",
                "--config",
                str(self.folder / "mapdr.toml"),
            ],
            check=True,
            capture_output=True,
        ).stdout
        answer: dict[str, object] = json.loads(out)
        return answer

    def memory(self) -> int:
        """Resident bytes of the node and its children now."""
        node = psutil.Process(self.process.pid)
        return int(sum(one.memory_info().rss for one in (node, *node.children(recursive=True))))

    def cpu(self) -> float:
        """Seconds of CPU time that the node has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def settled(self) -> float:
        """Wait until it has begun, with all that it does once: `cpu`, from which work is counted."""
        used, until = -1.0, time.monotonic() + 30
        while self.cpu() - used > 0.02:  # two ticks of the system's clock
            if time.monotonic() > until:
                raise RuntimeError("the node does not come to rest")
            used = self.cpu()
            time.sleep(0.5)
        return self.cpu()


@contextlib.contextmanager
def node(
    folder: Path,
    *,
    durability: str = "power-loss",
    journal: bool = False,
    out: int | None = None,
    steps: str = "",
    associations: int = 2,
    plain: bool = False,
    tls: Sequence[Path] = (),
    egress: str = "",
) -> Iterator[Bench]:
    """`mapdr run` on a configuration of its own; `out` None sends to a port where nobody listens.

    `tls`, a certificate and its key, is shown to senders, and trusted of the receiver. `egress` is the table
    of another destination than a DICOM one.
    """
    port = free_port()
    trusted = f'tls = {{ ca = "{tls[0].as_posix()}" }}' if tls else ""
    dimse = DIMSE.format(out=out or free_port(), associations=associations, tls=trusted)
    config = folder / "mapdr.toml"
    config.write_text(
        CONFIG.format(
            data=(folder / "data").as_posix(),
            durability=durability,
            journal=str(journal).lower(),
            port=port,
            egress=egress or dimse,
            steps=steps,
            tls_in=f'tls = {{ cert = "{tls[0].as_posix()}", key = "{tls[1].as_posix()}" }}' if tls else "",
        )
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if plain:
        environment["MAPDR_NO_EXTENSIONS"] = "1"
    with (folder / "node.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "mapdr_cli", "run", "--plain", "--config", str(config)],
            stdout=log,
            stderr=log,
            env=environment,
        )
        try:
            try:
                wait_for_port(port, process)
            except RuntimeError as error:
                error.add_note((folder / "node.log").read_text())
                raise
            yield Bench(folder, port, process)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until(answer: object, seconds: float = 300) -> None:
    """Poll a callable until it is true. Raises RuntimeError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer():  # type: ignore[operator]
            return
        time.sleep(0.05)
    raise RuntimeError("it did not happen in time")
