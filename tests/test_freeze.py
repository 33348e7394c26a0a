"""The frozen program: what it is made of; and, in the long target, made and at work."""

from __future__ import annotations

import ast
import json
import shutil
import sys
import time
import tomllib
from pathlib import Path

import imagecodecs
import pytest

from mapdr.__pyinstaller import CODECS, hook_dirs
from mapdr.testing.generator import study
from peers import node as nodes
from peers.node import Node, destination, everything_to
from peers.part10 import in_memory
from peers.processes import run
from peers.rawsender import send_all
from peers.rawsink import RawSink

ROOT = Path(__file__).resolve().parent.parent
SETTLE_SECONDS = 60


def test_the_codecs_that_are_used_are_frozen() -> None:
    used = set()
    for path in [*(ROOT / "mapdr/transform/codecs").glob("*.py"), *(ROOT / "cli/mapdr_cli").rglob("*.py")]:
        for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match part:
                case ast.Attribute(value=ast.Name(id="imagecodecs"), attr=name):
                    used.add(name)
                case ast.Constant(value=str(name)) if name.isupper():
                    used.add(name)  # a class by its name, as in transform.codecs.reading
    modules = imagecodecs.imagecodecs._ATTRIBUTES
    needed = {module for name in used if (module := modules.get(name, "")).startswith("_")}
    assert needed >= {"_jpeg2k", "_jpeg8", "_jpegls", "_jpegxl", "_imcd"}
    # `jpeg_decode` is imagecodecs' own: it calls _jpeg8, and _ljpeg for what that refuses.
    assert set(CODECS) == needed | {"_ljpeg", "_shared", "_shared_cython"}


def test_pyinstaller_finds_the_hooks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pyinstaller40"] == {"hook-dirs": "mapdr.__pyinstaller:hook_dirs"}
    found = {each.name for folder in hook_dirs() for each in Path(folder).glob("hook-*.py")}
    assert found == {f"hook-{name}.py" for name in ("mapdr", "mapdr_cli", "mapdr_desktop", "mapdr_web")}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_frozen_program_routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = done(sys.executable, ROOT / "packaging/freeze.py", wheel(tmp_path), tmp_path / "frozen")
    sizes = json.loads(made.splitlines()[-1])["bytes"]
    dist = tmp_path / "frozen/dist"
    assert "pydicom" in (dist / "licenses/THIRD-PARTY.txt").read_text(encoding="utf-8")
    assert not list(dist.rglob("*glymur/*.py*"))
    assert sizes["mapdr"] < 70e6

    for program in (dist / "MAPDR/mapdr", dist / "mapdr"):
        done(program, "selftest")
        done(program, "demo", "--seconds", "10", "--plain")
    folder = dist / "MAPDR/mapdr"
    began = time.monotonic()
    done(folder, "--version")
    assert time.monotonic() - began < 1

    monkeypatch.setattr(nodes, "MAPDR", folder)
    with RawSink() as sink:
        node = Node(
            tmp_path / "node",
            egress={"pacs": destination(sink.port)},
            rules=[everything_to("pacs", compress={"to": "jpeg2000-lossless"})],
        )
        try:
            node.start()
            objects = [in_memory(image) for image in study("CT", images=4)]
            assert set(send_all(node.port, objects).values()) == {0}
            node.when_settled(len(objects), SETTLE_SECONDS)
            assert sink.count() == len(objects)
            assert node.stop() == 0
        finally:
            node.kill()


def wheel(folder: Path) -> Path:
    """A wheel of a copy of the sources: setuptools leaves its traces where it builds."""
    files = done("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "source" / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    done(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "wheel", folder / "source")
    (built,) = (folder / "wheel").glob("mapdr-*.whl")
    return built


def done(*command: str | Path) -> str:
    """What a program printed; it has to end with 0."""
    ended = run(command, seconds=600)
    assert ended.returncode == 0, f"{command[:3]}: {ended.stdout[-4000:]}{ended.stderr[-4000:]}"
    return ended.stdout
