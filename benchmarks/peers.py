"""The peers that MAPDR is measured against, started on loopback and ended by process id."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A port that nobody listens on now; given back before use, so only for programs that cannot take 0.

    Below those that systems give to connections (Linux from 32768): one of them could take it meanwhile, even
    the connection that asks whether the program listens yet.
    """
    while True:
        port = random.randrange(20000, 32000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Wait until something listens. Raises RuntimeError if the process ends or time runs out."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen on {port}")


@contextlib.contextmanager
def running(
    command: list[str], port: int | None = None, **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A program, from the moment it listens until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        if port is not None:
            wait_for_port(port, process)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that is its own CA, and its key."""
    cert, key = folder / "bench.pem", folder / "bench.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "90"]
    subprocess.run([*command, "-out", cert, "-keyout", key], check=True, stderr=subprocess.DEVNULL)
    return cert, key


@contextlib.contextmanager
def storescp(folder: Path, tls: Sequence[str] = ()) -> Iterator[int]:
    """DCMTK's storescp as installed, bit preserving, with options `tls`; yields its port."""
    port = free_port()
    with running(["storescp", "+B", *tls, "-od", str(folder), str(port)], port):
        yield port


@contextlib.contextmanager
def orthanc(folder: Path, forward_to: int | None = None) -> Iterator[tuple[int, int]]:
    """As `orthanc_process`; yields the ports alone."""
    with orthanc_process(folder, forward_to) as (_, dicom, http):
        yield dicom, http


@contextlib.contextmanager
def orthanc_process(
    folder: Path, forward_to: int | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """Orthanc as installed; yields its process, and its DICOM and HTTP ports.

    With `forward_to`, a Lua script sets one tag of every image and sends it to that port, as its users do.
    """
    dicom, http = free_port(), free_port()
    settings: dict[str, object] = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomPort": dicom,
        "HttpPort": http,
        "DicomAlwaysAllowStore": True,
        "AuthenticationEnabled": False,
        "RemoteAccessAllowed": False,
        "Plugins": [],
        "HttpsCACertificates": "",
    }
    if forward_to is not None:
        script = folder / "route.lua"
        script.write_text(
            "function OnStoredInstance(id, tags, metadata, origin)\n"
            "  if origin['RequestOrigin'] ~= 'Lua' then\n"
            "    local set = { InstitutionName = 'Clinic North' }\n"
            "    Delete(SendToModality(ModifyInstance(id, set, {}, false), 'sink'))\n"
            "  end\nend\n"
        )
        settings["LuaScripts"] = [str(script)]
        settings["DicomModalities"] = {"sink": ["SINK", "127.0.0.1", forward_to]}
    config = folder / "orthanc.json"
    config.write_text(json.dumps(settings))
    with running(["Orthanc", str(config)], dicom) as process:
        yield process, dicom, http


@contextlib.contextmanager
def stalled() -> Iterator[int]:
    """A destination that takes connections and never says a word; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                taken.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for sock in taken:
            sock.close()


class Sink:
    """The project's own sink, in a process of its own."""

    def __init__(
        self,
        port: int = 0,
        tls: Sequence[Path] = (),
        *,
        refuses_half: bool = False,
        module: str = "benchmarks.sink",
    ) -> None:
        """`tls`: its certificate and key."""
        options = [*map(str, tls), *(["half"] if refuses_half else [])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(port), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def times(self) -> tuple[int, float, float]:
        """How many data sets have come, and when the first and the last came (seconds since the epoch)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        received, first, last = self._process.stdout.readline().split()
        return int(received), float(first), float(last)

    def wait(self, images: int, seconds: float = 300) -> float:
        """The seconds from the first to the last of `images`. Raises RuntimeError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            received, first, last = self.times()
            if received >= images:
                return last - first
            time.sleep(0.02)
        raise RuntimeError(f"the sink received {self.times()[0]} of {images} images")

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder on the disk that is measured; emptied afterwards, and removed at the end of the program.

    For ext4 makes a new file slowly where many were removed within the last minutes (docs/decisions/0098).
    """
    base = Path(os.environ.get("MAPDR_BENCH_DIR", tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"mapdr-bench-{name}-", dir=base))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        yield folder
    finally:
        for path in folder.rglob("*"):
            if path.is_file():
                os.truncate(path, 0)


def load(
    port: int,
    images: int,
    size: int,
    senders: int = 1,
    called: str = "MAPDR",
    tls: Path | None = None,
    rate: float = 0.0,
) -> dict[str, float]:
    """Run the load generator in as many processes as there are senders.

    p50, p95 and p99 are of the latencies of all images, in milliseconds. `rate` is how many images a second
    come at most from all of them, 0 as many as are answered.
    """
    each = images // senders
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.load",
                "127.0.0.1",
                str(port),
                "--called",
                called,
                "--images",
                str(each),
                "--size",
                str(size),
                "--start",
                str(number * 10_000_000),
                "--rate",
                str(rate / senders),
                *(("--tls", str(tls)) if tls is not None else ()),
            ],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        for number in range(senders)
    ]
    results = []
    for process in processes:
        out, _ = process.communicate(timeout=600)
        if process.returncode:
            raise RuntimeError(f"the load generator ended with {process.returncode}")
        results.append(json.loads(out))
    if any(result["failed"] for result in results):
        raise RuntimeError("the receiver did not answer Success to every image")
    seconds = max(result["seconds"] for result in results)
    latencies = sorted(each for result in results for each in result["latencies"])
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {
        "rate": each * senders / seconds,
        "seconds": seconds,
        "began": min(result["began"] for result in results),
        **{key: latencies[int(share * len(latencies))] for key, share in shares.items()},
    }
