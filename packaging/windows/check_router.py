"""Whether MAPDR under wine does what it promises to Linux peers: DCMTK and the tests' own.

usage: check_router.py PROGRAM FOLDER     (with the tests' folder on PYTHONPATH, wine's variables set)

PROGRAM is CPython for Windows, where the wheel is installed, or a frozen `mapdr.exe`.

Prints a line for each check; ends with 1 if one failed.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless
from wine_node import WineNode, mapdr, windows_path

from mapdr.testing.generator import study
from mapdr.testing.wait import until
from peers import dcmtk, httpd, part10, pdu, stow
from peers.node import destination, everything_to
from peers.part10 import StoredObject
from peers.processes import free_port, run
from peers.rawsender import RawSender, fragments, send_all
from peers.rawsink import Answer, RawSink
from web import browsing

JPEG_2000 = "1.2.840.10008.1.2.4.91"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
SETTLE_SECONDS = 120


class Checks:
    """Each method that is no helper is one check."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.slices, self.origin = slices(folder)

    def hot_paths_are_compiled(self) -> str:
        done = mapdr(self.program, "doctor", "--json")
        findings = json.loads(done.stdout)["findings"]
        assert done.returncode == 0, [item for item in findings if item["level"] == "bad"]
        paths = {item["name"]: item["text"] for item in findings if item["part"] == "hot paths"}
        assert paths, "doctor names no hot paths"
        assert set(paths.values()) == {"compiled"}, paths
        codecs = {item["name"]: item["level"] for item in findings if item["part"] == "codecs"}
        assert set(codecs.values()) == {"ok"}, codecs
        return f"mapdr doctor: {', '.join(sorted(paths))} compiled"

    def a_series_passes_unchanged(self) -> str:
        with RawSink() as control:
            dcmtk.dcmsend(control.port, self.slices, self.folder)
        with RawSink() as sink, self.node("series", sink.port) as node:
            began = time.monotonic()
            reports = dcmtk.dcmsend(node.port, self.slices, self.folder)
            seconds = time.monotonic() - began
            assert [report.status for report in reports] == [0] * len(self.slices)
            status = node.when_settled(len(self.slices), SETTLE_SECONDS)
        self.assert_balance(status)
        assert sorted(sink.identities()) == sorted(control.identities()), "not what dcmsend sends directly"
        return f"{self.origin}, received in {seconds:.1f} s, delivered byte for byte; {balance(status)}"

    def tags_and_jpeg_2000(self) -> str:
        peer = dcmtk.StoreScp(self.folder / "pacs")
        steps = {
            "tags": [{"prefix": "PatientID", "with": "WN-"}, {"set": "InstitutionName", "to": "Köln"}],
            "compress": {"to": "jpeg2000", "ratio": 10},
        }
        try:
            with self.node("edited", peer.port, **steps) as node:
                dcmtk.dcmsend(node.port, self.slices, self.folder)
                status = node.when_settled(len(self.slices), SETTLE_SECONDS)
        finally:
            peer.stop()
        self.assert_balance(status)
        originals = {item.InstanceNumber: item for item in map(pydicom.dcmread, self.slices)}
        ratios, errors = [], []
        for path in peer.files():
            image = pydicom.dcmread(path)
            before = originals.pop(image.InstanceNumber)
            assert image.file_meta.TransferSyntaxUID == JPEG_2000
            assert image.PatientID == "WN-" + before.PatientID
            assert image.InstitutionName == "Köln"
            assert image.LossyImageCompression == "01"
            (frame,) = generate_frames(image.PixelData, number_of_frames=1)
            stored = imagecodecs.jpeg2k_decode(frame).astype(int)
            errors.append(float(np.abs(stored - pixels(before)).mean()))
            ratios.append(len(before.PixelData) / len(frame))
        assert not originals, f"{len(originals)} slices did not arrive"
        low, high, error = min(ratios), max(ratios), max(errors)
        assert 8 <= low <= high <= 12, ratios
        assert error < 32, errors
        return f"tag edits, JPEG 2000 at {low:.1f} to {high:.1f}:1, mean error {error:.1f}; {balance(status)}"

    def foreign_frames_are_decoded(self) -> str:
        """By worker processes, which Windows spawns."""
        files = []
        for number, path in enumerate(self.slices[:3]):
            image = pydicom.dcmread(path)
            image.compress(RLELossless, generate_instance_uid=False)
            files.append(self.folder / f"rle-{number}.dcm")
            image.save_as(files[-1])
        with RawSink() as sink, self.node("foreign", sink.port, compress={"to": "jpeg2000-lossless"}) as node:
            statuses = send_all(node.port, [part10.read(path) for path in files])
            assert set(statuses.values()) == {0}, statuses
            status = node.when_settled(len(files), SETTLE_SECONDS)
        assert status["parked"] == 0, status
        expected = {before.SOPInstanceUID: pixels(before) for before in map(pydicom.dcmread, self.slices[:3])}
        for received in sink.received:
            assert received.transfer_syntax_uid == JPEG_2000_LOSSLESS
            path = part10.write(self.folder / "decoded.dcm", received.transfer_syntax_uid, received.data)
            (frame,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
            assert np.array_equal(imagecodecs.jpeg2k_decode(frame), expected.pop(received.sop_instance_uid))
        assert not expected, f"{len(expected)} slices did not arrive"
        return "RLE decoded by worker processes, encoded lossless, pixels identical"

    def a_kill_loses_nothing(self) -> str:
        objects = [part10.read(path) for path in self.slices]
        half = len(objects) // 2
        with RawSink(lambda request: Answer(after=0.1)) as sink, self.node("killed", sink.port) as node:
            sender = RawSender(node.port, contexts(objects))
            assert [sender.store(item) for item in objects[:half]] == [0] * half
            begin_only(sender, objects[half])
            until(lambda: sink.count() > 0, 30, "a first delivery")
            node.kill()
            sender.close()
            node.start()
            with RawSender(node.port, contexts(objects)) as again:
                assert {again.store(item) for item in objects[half:]} == {0}
            status = node.when_settled(len(objects), SETTLE_SECONDS)
            assert not list(node.data.rglob("*.part")), "unfinished objects are still there"
        self.assert_balance(status)
        arrived = sink.identities()
        assert set(arrived) == {item.identity for item in objects}
        twice = len(arrived) - len(objects)
        return f"killed while receiving and delivering, started again: {balance(status)}, {twice} sent twice"

    def the_demo_balances(self) -> str:
        done = mapdr(self.program, "demo", "--seconds", "3", "--plain")
        assert done.returncode == 0, done.stdout + done.stderr
        return "mapdr demo: everything that was sent arrived, pixels and tags compared, webhooks answered"

    def the_installation_works(self) -> str:
        done = mapdr(self.program, "selftest")
        assert done.returncode == 0, done.stdout + done.stderr
        return f"mapdr selftest: {done.stdout.splitlines()[-1]}"

    def a_service_receives_and_drains(self) -> str:
        """By wine's own service manager."""
        with RawSink() as sink:
            node = WineNode(
                self.folder / "service",
                egress={"pacs": destination(sink.port)},
                rules=[everything_to("pacs")],
            )
            node.program = self.program
            config, script = (
                windows_path(node.config),
                windows_path(Path(__file__).with_name("wine_service.py")),
            )
            installed = run(["wine", self.program, script, config], seconds=180)
            assert installed.returncode == 0, installed.stdout + installed.stderr
            try:
                self.service("start")
                assert "running" in self.service("status")
                dcmtk.dcmsend(node.port, self.slices, self.folder)
                until(lambda: sink.count() == len(self.slices), SETTLE_SECONDS, "every delivery")
                self.service("stop")
                log = self.service("logs")
                assert "stopped" in log.splitlines()[-1], log
            finally:
                self.service("remove")
        return (
            f"installed as a service, {len(self.slices)} images received and delivered, drained by its stop"
        )

    def a_series_goes_to_stow_over_tls(self) -> str:
        files = httpd.certificate(self.folder)
        with stow.StowSink(tls=httpd.server_tls(files)) as peer:
            to = stow.stow_destination(peer.url, tls={"ca": windows_path(files[0])})
            with self.node("stow", to) as node:
                dcmtk.dcmsend(node.port, self.slices, self.folder)
                status = node.when_settled(len(self.slices), SETTLE_SECONDS)
        self.assert_balance(status)
        sent = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in self.slices}
        assert {item.sop_instance_uid for item in peer.received} == sent
        return f"STOW-RS over TLS, the server's certificate checked; {balance(status)}"

    def the_page_is_shown(self) -> str:
        """In Chromium on Linux, signed in by a link, its picture in the folder."""
        picture = self.folder / "page.png"
        web = {"port": free_port()}
        with RawSink() as sink, self.node("page", destination(sink.port), web=web) as node:
            dcmtk.dcmsend(node.port, self.slices, self.folder)
            node.when_settled(len(self.slices), SETTLE_SECONDS)
            link = node.command("web", "open", "--no-browser").split()[0]
            with browsing.chromium() as browser:
                tab = browser.new_page(viewport={"width": 1440, "height": 900})
                seen = browsing.Seen()
                seen.watch(tab)
                tab.goto(link)
                received = browsing.figure(tab, "Received today")
                until(lambda: received().startswith(str(len(self.slices))), 60, "the count on the page")
                tab.screenshot(path=picture)
        assert not seen.said, seen.said
        return f"the page in Chromium: {len(self.slices)} received today, nothing in the browser's console"

    # --- helpers ------------------------------------------------------------------------------------------

    def service(self, word: str) -> str:
        done = mapdr(self.program, "service", word)
        assert done.returncode == 0, f"mapdr service {word}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def node(
        self, name: str, to: int | dict[str, Any], *, web: dict[str, Any] | None = None, **steps: Any
    ) -> Iterator[WineNode]:
        """A node with the destination "pacs": a DICOM receiver's port, or a table."""
        node = WineNode(
            self.folder / name,
            egress={"pacs": destination(to) if isinstance(to, int) else to},
            rules=[everything_to("pacs", **steps)],
            web=web,
        )
        node.program = self.program
        try:
            yield node.start()
            assert node.stop() == 0, "it was asked to end and did not"
            assert node.process is not None
            assert node.process.output().rstrip().endswith("stopped")
        except BaseException:
            sys.stdout.write(node.output()[-8000:])
            raise
        finally:
            node.kill()

    def assert_balance(self, status: dict[str, Any]) -> None:
        counted = {"CT": {"images": len(self.slices), "studies": 1}}
        assert status["today"] == {"received": counted, "delivered": {"pacs": counted}}, status["today"]
        assert (status["pending"], status["parked"], status["unrouted"]) == (0, 0, 0), status


def slices(folder: Path) -> tuple[list[Path], str]:
    """The GE head series of the test data; generated slices where that is not."""
    real = Path(os.environ.get("MAPDR_TEST_DATA", "")) / "series/ct_ge_head_28"
    if real.is_dir():
        found = sorted(real.iterdir())
        return found, f"{len(found)} real CT slices"
    made = folder / "slices"
    made.mkdir(parents=True)
    for number, image in enumerate(study("CT", images=28)):
        (made / f"{number}.dcm").write_bytes(image.part10())
    return sorted(made.iterdir()), "28 generated CT slices"


def balance(status: dict[str, Any]) -> str:
    """What `mapdr status` says of the day."""
    received, delivered = status["today"]["received"]["CT"], status["today"]["delivered"]["pacs"]["CT"]
    return (
        f"status: received {received['images']} CT of {received['studies']} study, "
        f"delivered {delivered['images']} of {delivered['studies']}"
    )


def pixels(image: pydicom.Dataset) -> np.ndarray[Any, Any]:
    kind = "<i2" if image.PixelRepresentation else "<u2"
    return np.frombuffer(image.PixelData, kind).reshape(image.Rows, image.Columns).astype(int)


def contexts(objects: list[StoredObject]) -> list[tuple[str, str]]:
    return sorted({(item.sop_class_uid, item.transfer_syntax_uid) for item in objects})


def begin_only(sender: RawSender, item: StoredObject) -> None:
    """The first half of a C-STORE."""
    sender.begin(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid)
    context = sender.accepted[(item.sop_class_uid, item.transfer_syntax_uid)]
    data = item.data_set()
    for fragment, _ in fragments(data[: len(data) // 2], 1 << 14):
        body = pdu.p_data(context, fragment, command=False, last=False)
        pdu.send(sender.connection, pdu.P_DATA, body)


def main(program: str, folder: str) -> int:
    Path(folder).mkdir(parents=True)
    checks = Checks(Path(program), Path(folder))
    failed = 0
    frozen: list[Callable[[], str]] = [
        checks.tags_and_jpeg_2000,
        checks.foreign_frames_are_decoded,
        checks.a_series_goes_to_stow_over_tls,
        checks.the_page_is_shown,
    ]
    installed: list[Callable[[], str]] = [
        checks.hot_paths_are_compiled,
        checks.the_installation_works,
        checks.a_series_passes_unchanged,
        checks.tags_and_jpeg_2000,
        checks.foreign_frames_are_decoded,
        checks.a_kill_loses_nothing,
        checks.the_demo_balances,
        checks.a_service_receives_and_drains,
    ]
    for check in installed if Path(program).stem == "python" else frozen:
        began = time.monotonic()
        try:
            result = f"ok: {check()}"
        except Exception:
            traceback.print_exc(file=sys.stdout)
            result, failed = f"FAILED: {check.__name__.replace('_', ' ')}", failed + 1
        print(f"        {result} [{time.monotonic() - began:.0f} s]", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
