"""STOW-RS out, against curl with bodies that are ready, and against dicomweb-client.

python -m benchmarks.stow FOLDER PORT   stores a folder's files by dicomweb-client, for the row

All sides put as many images into a request, send one request at a time, and to the same sink. curl's bodies
are written before: it is what HTTP and the sink allow. dicomweb-client reads its files, as MAPDR does.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from benchmarks import load as generator
from benchmarks.node import STOW, node, wait_until
from benchmarks.peers import ROOT, Sink, free_port, load, scratch

IMAGES = 50
BOUNDARY = "bench-boundary"
SINK = "benchmarks.stow_sink"
CLIENT = importlib.util.find_spec("dicomweb_client") is not None


def forward(size: int, count: int, requests: int) -> float:
    """A backlog to the sink: images per second, from its first request's begin to its last answer."""
    with scratch("node") as folder:
        out = free_port()
        egress = STOW.format(out=out, images=IMAGES, requests=requests)
        with node(folder, durability="process-crash", egress=egress) as bench:
            load(bench.port, count, size)
            wait_until(lambda: bench.status()["pending"] == count)
        with Sink(out, module=SINK) as sink, node(folder, durability="process-crash", egress=egress):
            return count / sink.wait(count)


def bodies(folder: Path, names: list[str]) -> list[Path]:
    """The requests for the files, written down."""
    made = []
    for number, part in enumerate(_batches(names)):
        body = folder / f"{number}.body"
        with body.open("wb") as out:
            for name in part:
                out.write(f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode())
                out.write(Path(name).read_bytes())
            out.write(f"\r\n--{BOUNDARY}--\r\n".encode())
        made.append(body)
    return made


def _batches(names: list[str]) -> list[list[str]]:
    return [names[at : at + IMAGES] for at in range(0, len(names), IMAGES)]


def by_curl(size: int, count: int) -> float:
    """The same by one curl, which keeps its connection."""
    with scratch("files") as folder, Sink(module=SINK) as sink:
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        words = ["curl", "-sS"]
        for number, body in enumerate(bodies(folder, generator.files(folder, size, count))):
            words += ["--next"] if number else []
            words += ["-o", "/dev/null", "-X", "POST", "-H", f"Content-Type: {kind}", "-H", "Expect:"]
            words += ["-T", str(body), f"http://127.0.0.1:{sink.port}/studies"]
        subprocess.run(words, check=True)
        return count / sink.wait(count)


def by_client(size: int, count: int) -> float:
    """The same by dicomweb-client; its start does not count."""
    with scratch("files") as folder, Sink(module=SINK) as sink:
        generator.files(folder, size, count)
        subprocess.run(
            [sys.executable, "-m", "benchmarks.stow", str(folder), str(sink.port)], check=True, cwd=ROOT
        )
        return count / sink.wait(count)


def main() -> None:
    import pydicom
    from dicomweb_client import DICOMwebClient

    client = DICOMwebClient(f"http://127.0.0.1:{sys.argv[2]}")
    for part in _batches(sorted(map(str, Path(sys.argv[1]).glob("*.dcm")))):
        client.store_instances([pydicom.dcmread(name) for name in part])


if __name__ == "__main__":
    main()
