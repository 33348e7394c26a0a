"""DCMTK's programs: storescp, dcmsend, storescu, echoscu, dcmdump."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from peers.certificates import Pair
from peers.processes import LOOPBACK, Process, free_port, program, run

# Without it DCMTK waits 40 ms for each image: Nagle's algorithm against delayed acknowledgements.
NO_DELAY = {"TCP_NODELAY": "1"}


def _path(name: str) -> str:
    found = program(name)
    assert found, f"{name} is not installed; the test lacks its peer marker"
    return found


class StoreScp:
    """storescp, keeping exactly what it reads (+B) in any transfer syntax it knows (+xa)."""

    def __init__(
        self,
        folder: Path,
        options: Sequence[str] = ("+B", "+xa", "-pm"),
        *,
        tls: Sequence[str | Path] = (),
    ) -> None:
        """`tls` are its options for TLS (`secured`)."""
        self.folder = folder / "received"
        self.folder.mkdir(parents=True)
        self.port = free_port()
        command = [_path("storescp"), *options, *tls, "+uf", "-od", self.folder, str(self.port)]
        self.process = Process(command, folder / "storescp.log", NO_DELAY)
        self.process.wait_for_port(self.port)

    def files(self) -> list[Path]:
        """Every file in the order of arrival."""
        return sorted(self.folder.iterdir(), key=lambda path: (path.stat().st_mtime_ns, path.name))

    def stop(self) -> None:
        self.process.end()


def secured(pair: Pair | None, ca: Path | None) -> tuple[str | Path, ...]:
    """The options of a program for TLS: what it shows, and whom it trusts (None: everybody).

    dcmsend of 3.6.7 has none.
    """
    own: tuple[str | Path, ...] = ("+tla",) if pair is None else ("+tls", pair.key, pair.cert)
    return (*own, "-ic") if ca is None else (*own, "+cf", ca)


@dataclass(frozen=True)
class Report:
    """What dcmsend says of one file: the UID it sent, the status, None if it was not sent, and whether it
    changed the transfer syntax on the way."""

    path: Path
    sop_instance_uid: str
    status: int | None
    converted: bool = False


def dcmsend(
    port: int,
    files: Iterable[Path],
    work: Path,
    *,
    called: str = "MAPDR",
    calling: str = "DCMSEND",
) -> list[Report]:
    """Sends files over one association as dcmsend does; its report on each that it took for DICOM."""
    report = work / f"dcmsend-{port}.txt"
    report.unlink(missing_ok=True)
    words = ["-nh", "-aet", calling, "-aec", called, "+crf", report, LOOPBACK, str(port)]
    done = run([_path("dcmsend"), *words, *files], env=NO_DELAY)
    assert report.exists(), f"dcmsend gave no report: {done.stderr[-2000:]}"
    return _parse_report(report.read_text(errors="replace"))


def _parse_report(text: str) -> list[Report]:
    reports = []
    for block in text.split("\n\n"):
        lines = (line.partition(":") for line in block.splitlines())
        fields = {name.strip(): value.strip() for name, colon, value in lines if colon}
        if "Filename" in fields:
            status = fields.get("DIMSE Status", "")
            code = int(status.split()[0], 16) if status.startswith("0x") else None
            converted = fields.get("Original Xfer") != fields.get("Network Xfer", fields.get("Original Xfer"))
            reports.append(Report(Path(fields["Filename"]), fields.get("SOP Instance", ""), code, converted))
    return reports


def echoscu(
    port: int, *, called: str = "MAPDR", calling: str = "ECHOSCU", tls: Sequence[str | Path] = ()
) -> int:
    """The exit status of echoscu: 0 for success."""
    return run(
        [_path("echoscu"), *tls, "-to", "5", "-aet", calling, "-aec", called, LOOPBACK, str(port)]
    ).returncode


def storescu(
    port: int, files: Iterable[Path], *options: str | Path, called: str = "MAPDR"
) -> CompletedProcess[str]:
    """storescu with its own options."""
    return run([_path("storescu"), "-aec", called, *options, LOOPBACK, str(port), *files], env=NO_DELAY)


def dcmdump(path: Path) -> list[str]:
    """The data set's elements with full values, one a line; the File Meta left out.

    Raises AssertionError for what dcmdump cannot read, TimeoutExpired where it would go on for ever.
    """
    done = run([_path("dcmdump"), "-q", "+L", "-Un", "+Qo", "+E", path], seconds=10)
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith(("#", "(0002,"))]
    assert lines, f"dcmdump shows nothing of {path.name}: {done.stderr[-500:]}"
    return lines
