"""The plug-ins of docs/plugins.md, as a stranger has them: built, installed, checked, run and reloaded."""

from __future__ import annotations

import os
import random
import re
import runpy
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import read_dataset
from pydicom.filewriter import dcmwrite

from mapdr.kernel.item import Instance, Payload, Source, Verdict
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.testing.contract import check_codec, check_egress, check_transform
from mapdr.testing.generator import GeneratedImage, study
from mapdr_cli.main import main
from peers import part10
from peers.node import Node, destination
from peers.rawsender import send_all
from peers.rawsink import RawSink
from peers.webserver import WebServer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "docs/plugins").glob("*/pyproject.toml"))
EXPLICIT, DEFLATED_FRAMES = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.8.1"
SOURCE = Source("modalities", "CT1", "MAPDR", "127.0.0.1")
MODULES = [path for folder in EXAMPLES for path in folder.glob("*.py")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the examples were installed, each from its own wheel."""
    folder = tmp_path_factory.mktemp("plugins")
    sources = [shutil.copytree(path, folder / "source" / path.name) for path in EXAMPLES]
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder / "wheels", *sources)
    wheels = sorted((folder / "wheels").glob("*.whl"))
    assert len(wheels) == len(EXAMPLES)
    pip("install", "--target", folder / "target", *wheels)
    return folder / "target"


def pip(verb: str, *words: str | Path) -> None:
    """Runs pip without a network, and without what the environment asks of it: CI sets constraints."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--no-index", "--no-deps", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=own)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def plugins(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The stages that this process, and every node that it starts, finds with the examples installed."""
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.syspath_prepend(installed)
    yield Registry()
    for path in MODULES:
        sys.modules.pop(path.stem, None)


def build(registry: Registry, kind: str, type_: str, config: Any, folder: Path) -> Any:
    """A stage as a node builds it."""
    factory = registry.factory(kind, type_)
    settings = Settings("stage", "node", folder, bytes(range(32)), Watch())
    return factory.build(settings, TypeAdapter(factory.config).validate_python(config), None)


def whole(image: GeneratedImage) -> Payload:
    """An image as it is relayed, in memory."""
    data = image.dataset
    return Payload(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid, (data,), len(data))


def spooled(image: GeneratedImage, folder: Path) -> Instance:
    """What the index knows of an image whose file is in `folder`."""
    path = folder / f"{image.sop_instance_uid}.dcm"
    path.write_bytes(image.dataset)
    return Instance(
        id="0" * 32,
        source=SOURCE,
        sop_class_uid=image.sop_class_uid,
        sop_instance_uid=image.sop_instance_uid,
        study_instance_uid=image.study_instance_uid,
        series_instance_uid=image.series_instance_uid,
        modality=image.modality,
        transfer_syntax_uid=image.transfer_syntax_uid,
        path=path,
        data_offset=0,
        size=len(image.dataset),
        received_at=0.0,
    )


# --- the guide ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [ROOT / "docs/plugins/put/pyproject.toml", *MODULES], ids=lambda path: path.name
)
def test_the_guide_shows_the_file_itself(path: Path) -> None:
    guide = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    shown = re.findall(r"```(?:python|toml)\n(.*?)```", guide, re.DOTALL)
    assert path.read_text(encoding="utf-8") in shown


# --- installed ----------------------------------------------------------------------------------------------


def test_they_are_listed_with_their_version(plugins: Registry) -> None:
    listed = {(each.kind, each.type): each for each in plugins.plugins() if each.origin != "mapdr"}
    assert {each.origin for each in listed.values()} == {f"mapdr-{path.name}" for path in EXAMPLES}
    assert not [each for each in listed.values() if each.factory is None or each.version != "1.0"]
    told = CliRunner().invoke(main, ["plugins"]).stdout
    for kind, type_ in listed:
        assert re.search(rf"{kind} +{type_} +mapdr-{type_} +1\.0 +available", told), told


def test_the_egress_keeps_the_contract(plugins: Registry, tmp_path: Path) -> None:
    chance = random.Random(1)
    fates = [201] * 6 + [409, 503]
    payloads = [whole(each) for each in study("CT", images=100, size=(16, 16))]
    with WebServer(lambda path: chance.choice(fates)) as server:
        config = {"url": f"{server.url}/images", "sessions": 4}
        counts = check_egress(
            lambda: build(plugins, "egress", "put", config, tmp_path),
            payloads,
            arrived=lambda: [Path(path).stem for path in server.puts],
        )
    assert set(counts) == {Verdict.DELIVERED, Verdict.RETRY, Verdict.REFUSED}


def test_the_check_that_the_guide_shows_passes(plugins: Registry, tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "docs/plugins/put/test_put.py"))["test_put"](tmp_path)


def test_the_transform_keeps_the_contract(plugins: Registry, tmp_path: Path) -> None:
    images = [*study("CT", images=4, size=(32, 32)), *study("US", images=4, size=(16, 16))]
    cases = [(whole(each), spooled(each, tmp_path)) for each in images]
    config = {"left": 4, "top": 0, "width": 20, "height": 8}
    done = check_transform(lambda: build(plugins, "transform", "box", config, tmp_path), cases)
    assert done == 4  # the others are smaller than the box


def test_the_codec_keeps_the_contract(plugins: Registry, tmp_path: Path) -> None:
    assert check_codec(lambda: build(plugins, "codec", "deflate", {}, tmp_path), {}) == 7


# --- configured ---------------------------------------------------------------------------------------------

CONFIG = """\
[node]
name = "north"
data = "data"

[egress.files]
type = "put"
url = "http://127.0.0.1:1"

[[rule]]
name = "all"
when = {}
send_to = ["files"]
box = { left = 0, top = 0, width = 8, height = 8 }
"""


@pytest.mark.parametrize(
    ("written", "instead", "told"),
    [
        (
            'url = "http://127.0.0.1:1"',
            'url = "http://127.0.0.1:1"\nsession = 2',
            '{file}:8 egress.files.session: unknown key; did you mean "sessions"?',
        ),
        (
            'url = "http://127.0.0.1:1"',
            'url = "http://127.0.0.1:1"\nsessions = "2"',
            "{file}:8 egress.files.sessions: is not a whole number; write digits without quotes",
        ),
        ('url = "http://127.0.0.1:1"', "", "{file}:5 egress.files.url: is missing; add url = ..."),
        (
            "width = 8",
            "widht = 8, width = 8",
            '{file}:13 rule "all".box.widht: unknown key; did you mean "width"?',
        ),
        (
            "width = 8",
            'width = "8"',
            '{file}:13 rule "all".box.width: is not a whole number; write digits without quotes',
        ),
    ],
)
def test_a_wrong_configuration_is_told_with_line_and_cure(
    plugins: Registry, tmp_path: Path, written: str, instead: str, told: str
) -> None:
    file = tmp_path / "mapdr.toml"
    file.write_text(CONFIG)
    done = CliRunner().invoke(main, ["check", "--config", str(file)])
    assert done.exit_code == 0, done.output
    file.write_text(CONFIG.replace(written, instead))
    done = CliRunner().invoke(main, ["check", "--config", str(file)])
    assert done.exit_code == 2
    assert told.format(file=file) in done.stderr.splitlines()


# --- run and reloaded ---------------------------------------------------------------------------------------


def test_a_node_runs_them_and_takes_their_changed_configuration(
    plugins: Registry, make_node: Callable[..., Node]
) -> None:
    first, second = study("CT", images=2, size=(32, 32))
    plain, other = study("MR", images=2, size=(32, 32))
    box = {"left": 0, "top": 0, "width": 8, "height": 4}
    with WebServer() as server, takes_only(EXPLICIT) as native, takes_only(DEFLATED_FRAMES) as small:
        node = make_node(
            egress={
                "files": {"type": "put", "url": f"{server.url}/before"},
                "native": destination(native.port),
                "small": destination(small.port),
            },
            rules=[
                {"name": "CT", "when": {"Modality": "CT"}, "send_to": ["files"], "box": box},
                {"name": "MR", "when": {"Modality": "MR"}, "send_to": ["native"]},
                {
                    "name": "MR small",
                    "when": {"Modality": "MR"},
                    "send_to": ["small"],
                    "compress": {"to": ["deflate", "jpeg2000-lossless"]},
                },
            ],
        ).start()
        sent = [part10.in_memory(first), part10.in_memory(plain), deflated(other)]
        assert set(send_all(node.port, sent).values()) == {0}
        node.when_settled(3)

        changed = node.config.read_text().replace("/before", "/after").replace("height = 4", "height = 30")
        node.config.write_text(changed.replace("height = 30", "height = 0"))
        node.command_apart("reload", expect=2)
        node.config.write_text(changed)
        node.command_apart("reload")
        send_all(node.port, [part10.in_memory(second)])
        node.when_settled(4)
        assert node.stop() == 0

    assert [Path(path).parent.name for path in server.files] == ["before", "after"]
    for image, body, rows in zip((first, second), server.files.values(), (4, 30), strict=True):
        known = pydicom.dcmread(BytesIO(body))
        expected = read(image.dataset)
        expected.file_meta = known.file_meta
        boxed = expected.pixel_array.copy()
        assert boxed[:rows, :8].any()
        boxed[:rows, :8] = 0
        assert np.array_equal(known.pixel_array, boxed)
        assert known.SOPInstanceUID != image.sop_instance_uid
        assert known.PatientID == expected.PatientID
    for sink, syntax in ((native, EXPLICIT), (small, DEFLATED_FRAMES)):
        assert {each.transfer_syntax_uid for each in sink.received} == {syntax}
        got = {each.sop_instance_uid: pixels(each.data, syntax) for each in sink.received}
        assert got == {each.sop_instance_uid: pixels(each.dataset, EXPLICIT) for each in (plain, other)}


def takes_only(syntax: str) -> RawSink:
    """A receiver that accepts one transfer syntax."""
    return RawSink(choose=lambda abstract, syntaxes: syntax if syntax in syntaxes else None)


def deflated(image: GeneratedImage) -> part10.MemoryObject:
    """The image with its one frame deflated, by this test and not by the plug-in."""
    assert image.transfer_syntax_uid == EXPLICIT
    known = read(image.dataset)
    stream = zlib.compress(known.PixelData, wbits=-15)
    known.PixelData = encapsulate([stream])
    known["PixelData"].VR = "OB"
    known["PixelData"].is_undefined_length = True
    file = BytesIO()
    dcmwrite(file, known, implicit_vr=False, little_endian=True)
    return part10.MemoryObject(image.sop_class_uid, image.sop_instance_uid, DEFLATED_FRAMES, file.getvalue())


def read(data: bytes) -> pydicom.Dataset:
    return read_dataset(BytesIO(data), is_implicit_VR=False, is_little_endian=True)


def pixels(data: bytes, syntax: str) -> bytes:
    """The cells of the one frame of a data set."""
    value = bytes(read(data).PixelData)
    if syntax == EXPLICIT:
        return value
    (stream,) = generate_frames(value, number_of_frames=1)
    return zlib.decompressobj(wbits=-15).decompress(stream)
