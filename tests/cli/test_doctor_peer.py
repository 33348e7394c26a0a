"""`mapdr doctor peer`: what it prints, and how it ends."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from mapdr.kernel.examine import Level, PeerFinding
from mapdr.testing.marked import PATIENT_ID
from mapdr_cli.render.findings import conclusion, line
from mapdr_cli.render.terminal import ASCII, THEME, UNICODE
from paper import draw
from paper.nodes import NodeFolder
from peers.rawsink import RawSink


def toward(used: NodeFolder, port: int) -> NodeFolder:
    """The node, whose destination archive is at this port."""
    used.config.write_text(used.config.read_text().replace("port = 2\n", f"port = {port}\n"))
    return used


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_sound_destination_ends_with_0_in_lines_that_fit(used: NodeFolder, width: int) -> None:
    with RawSink() as sink:
        done = toward(used, sink.port).mapdr("doctor", "peer", "archive", width=width)
        assert not sink.received
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= width
    shown = " ".join(done.output.split())
    assert '"MAPDR" may call "ARCHIVE"' in shown
    assert "nothing was found that keeps images from arriving at archive" in shown


def test_what_keeps_images_away_ends_with_1_and_has_its_cure(used: NodeFolder) -> None:
    with RawSink(reject=bytes((0, 1, 1, 7))) as sink:
        done = toward(used, sink.port).mapdr("doctor", "peer", "archive")
    assert done.exit_code == 1
    shown = " ".join(done.output.split())
    assert "called AE title not recognized" in shown
    assert 'set ae_title to the receiver\'s own ("ARCHIVE" is not it' in shown
    assert "1 finding keeps images, or some of them, from arriving at archive" in shown


def test_a_test_image_is_warned_about(used: NodeFolder) -> None:
    with RawSink() as sink:
        done = toward(used, sink.port).mapdr("doctor", "peer", "archive", "--test-image")
        assert len(sink.received) == 1
    assert done.exit_code == 0
    assert f"an image of the patient {PATIENT_ID} is stored at archive, and stays there" in done.stderr


def test_options_may_stand_before_the_word(used: NodeFolder) -> None:
    from click.testing import CliRunner

    from mapdr_cli.main import main

    words = ["doctor", "--json", "--config", str(used.config), "peer", "archive"]
    done = CliRunner().invoke(main, words)
    told = json.loads(done.stdout)
    assert (done.exit_code, told["destination"], told["mapdr"]["node"]) == (1, "archive", "clinic-north")
    assert told["findings"][-1]["level"] == "bad"


def test_an_unknown_destination_is_a_usage_error(used: NodeFolder) -> None:
    done = used.mapdr("doctor", "peer", "archiv")
    assert (done.exit_code, 'did you mean "archive"' in done.stderr) == (2, True)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("level", list(Level))
def test_a_level_is_a_shape_and_a_word(level: Level, glyphs: object) -> None:
    out = Console(file=io.StringIO(), width=60, theme=THEME)
    out.print(line(PeerFinding("TCP", level, "\x1b[31mtext", "cure", 3.21), glyphs))  # type: ignore[arg-type]
    shown = out.file.getvalue()  # type: ignore[attr-defined]
    assert shown.split()[1:3] == [level, "TCP"]
    assert "\x1b" not in shown
    assert ("3.2 ms" in shown, "cure" in shown) == (True, True)


def test_a_fingerprint_breaks_in_its_middle_alone() -> None:
    halves = "0123456789abcdef" * 2, "fedcba9876543210" * 2
    found = PeerFinding("certificate", Level.GOOD, f"pacs, SHA-256 {''.join(halves)}, valid until 2027-11-27")
    console = draw.make_console(80)
    drawn = draw.text_of(line(found, UNICODE), console)
    assert all(half in drawn for half in halves)


def test_the_conclusion_counts() -> None:
    warn, bad = PeerFinding("x", Level.WARN, "y", "z"), PeerFinding("x", Level.BAD, "y", "z")
    assert conclusion("a", [warn], UNICODE).plain.endswith("at a; 1 thing to look at")
    assert "2 findings keep" in conclusion("a", [bad, warn, bad], UNICODE).plain
