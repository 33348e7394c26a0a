"""A vendor's build under wine: a trial, a license that is installed, expires, and is another machine's.

usage: check_license.py PROGRAM FOLDER KEY     (with mapdr_vendor; MAPDR_VENDOR_PASSWORD is the key's)

PROGRAM is `mapdr.exe` of a build for the vendor's KEY. Under each, a node receives, and forwards or does not.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner
from mapdr_vendor import main as vendor
from wine_node import WineNode, mapdr, windows_path

from mapdr.license.code import KINDS, fingerprint, written
from mapdr.node.licensing import TOKEN
from mapdr.testing.generator import study
from mapdr.testing.wait import until
from peers.node import destination, everything_to
from peers.part10 import in_memory
from peers.rawsender import send_all
from peers.rawsink import RawSink

SECONDS = 120


def issued(key: str, request: str, days: int) -> str:
    """A license for what a request says, whose last day is so many days ahead."""
    last = (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
    words = ["issue", "--key", key, "--customer", "Clinic North", "--request", request, "--expires", last]
    done = CliRunner().invoke(vendor, words)
    assert done.exit_code == 0, done.output
    return done.output.strip()


def main(program: str, folder: str, key: str) -> None:
    """Print what was seen; an assertion that does not hold ends it."""
    images = [in_memory(each) for each in study("CT", images=6, size=(32, 32))]
    with RawSink() as sink:
        node = WineNode(Path(folder), egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")])
        node.program = Path(program)
        node.start()
        try:
            shown = node.command("license", "show")
            assert "trial" in shown, shown
            send(node, images[:2])
            until(lambda: sink.count() == 2, SECONDS, "deliveries in the trial")
            print(f"a trial: {shown.splitlines()[0]}")

            asked = mapdr(node.program, "license", "request")
            assert asked.returncode == 0, asked.stdout + asked.stderr
            code = asked.stdout.split()[0]
            install(node, issued(key, code, 30))
            shown = node.command("license", "show")
            assert "licensed until" in shown, shown
            print(f"requested, issued, installed: {'; '.join(shown.splitlines())}")

            other = written(fingerprint({kind: f"of another {kind}" for kind in KINDS}))
            refused = install(node, issued(key, other, 30), expect=None)
            assert "another machine" in refused, refused
            # A last day lasts until noon of the next by UTC: until then it is that day somewhere on earth.
            refused = install(node, issued(key, code, -2), expect=None)
            assert "expired" in refused, refused
            assert "licensed until" in node.command("license", "show")
            print("another machine's and one that has expired are refused; the installed one stays")

            # As if the installed one had expired long ago: beyond its grace.
            (Path(folder) / "data" / TOKEN).write_text(f"{issued(key, code, -100)}\n", encoding="ascii")
            until(lambda: "PAUSES" in node.command("license", "show"), SECONDS, "the pause")
            time.sleep(3)  # the node looks once a second, and nothing outside says that it has
            send(node, images[2:])
            status = node.json("status")
            assert (status["pending"], sink.count()) == (len(images) - 2, 2), status
            assert any("forwarding PAUSES" in one["text"] for one in status["attention"]), status["attention"]
            print(f"expired beyond its grace: received {len(images) - 2}, forwarded none, and says why")

            install(node, issued(key, code, 365))
            until(lambda: sink.count() == len(images), SECONDS, "all that was kept")
            print("renewed: all that was kept went out")
        finally:
            node.stop()


def send(node: WineNode, images: list[object]) -> None:
    """Push them; each has to be answered with Success."""
    assert set(send_all(node.port, images).values()) == {0}


def install(node: WineNode, token: str, expect: int | None = 0) -> str:
    """Install a license from a file; what was said."""
    file = node.folder / "license.txt"
    file.write_text(f"{token}\n", encoding="ascii")
    node.command("license", "install", windows_path(file), expect=expect)
    return "".join(node.answers[-2:])


if __name__ == "__main__":
    main(*sys.argv[1:])
