"""A rule that names the codec of a plug-in: what it writes is checked as all is, and what fails parks."""

from __future__ import annotations

import importlib
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter, ValidationError
from pydicom.encaps import generate_frames

from mapdr.dicom import uids
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Payload
from mapdr.kernel.registry import Registry
from mapdr.operate.codecs import codecs as doctor_codecs
from mapdr.operate.rule_words import _compressed
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.encode.compress import CompressStep
from mapdr.transform.encode.methods import METHODS, Method
from mapdr.transform.encode.named import method_named
from mapdr.transform.encode.wish import CompressConfig, unavailable
from mapdr.transform.pipeline import Pipeline
from mapdr_cli.main import main

from .helpers import EXPLICIT, Notebook, image, payload_of, picture, read, settings, spooled

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/plugins/deflate"
FRAMES, PRIVATE = "1.2.840.10008.1.2.8.1", "1.2.826.0.1.3680043.9.9999.1"
DATA = os.environ.get("MAPDR_TEST_DATA", "")
STRANGE = f'''
import numpy as np
from mapdr.kernel.codec import Ability, Dial, OWN_WAY, PixelRange
from mapdr.kernel.stage import Factory, Settings, StageConfig
import mapdr_deflate

class Raising(mapdr_deflate.Writer):
    def encode(self, pixels, form):
        raise OSError("Marked^Value")

class Wrong(mapdr_deflate.Writer):
    def decode(self, stream, form):
        cells = mapdr_deflate.Writer.decode(self, stream, form).copy()
        cells[3, 5] += 1
        return cells

class NoBytes(mapdr_deflate.Writer):
    def encode(self, pixels, form):
        return pixels

class Scribbling(mapdr_deflate.Writer):
    def encode(self, pixels, form):
        pixels[0, 0] = 1
        return mapdr_deflate.Writer.encode(self, pixels, form)

class Coarse:
    """Lower bits are left out, as many as the level is below zero."""
    takes, method, ways = PixelRange(), "COARSE", (OWN_WAY,)
    def dial(self, form):
        return Dial(-8.0, 0.0, "bits", 0.1, -4.0, whole=True)
    def rgb_as(self, way):
        return ("RGB",)
    def encode_at(self, pixels, form, level, way=OWN_WAY):
        low = int(-level)
        return mapdr_deflate.Writer().encode((pixels >> low) << low, form)
    def decode(self, stream, form):
        return mapdr_deflate.Writer().decode(stream, form)

class LosslessRle(mapdr_deflate.Writer):
    takes = PixelRange(samples=(1,))

class StrangeConfig(StageConfig):
    pass

def stage(name, *abilities):
    class Strange:
        pass
    Strange.abilities = abilities
    def build(settings: Settings, config: StrangeConfig, next: None) -> Strange:
        return Strange()
    return Factory("codec", name, StrangeConfig, build)

read = "it is not read"
RAISING = stage("raising", Ability("{FRAMES}", read, Raising()))
WRONG = stage("wrong", Ability("{FRAMES}", read, Wrong()))
NOBYTES = stage("nobytes", Ability("{FRAMES}", read, NoBytes()))
SCRIBBLING = stage("scribbling", Ability("{FRAMES}", read, Scribbling()))
COARSE = stage("coarse", Ability("{PRIVATE}", read, Coarse()))
BOTH = stage("both", Ability("{PRIVATE}", read, Coarse()), Ability("{FRAMES}", read, mapdr_deflate.Writer()))
OTHERRLE = stage("otherrle", Ability("{uids.RLE_LOSSLESS}", read, LosslessRle()))
READER = stage("reader", Ability("{PRIVATE}", mapdr_deflate.Deflate.abilities[0].decode))
'''
NAMES = ("raising", "wrong", "nobytes", "scribbling", "coarse", "both", "otherrle", "reader")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip would have installed: modules, and a distribution with their entry points."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "mapdr_deflate.py").write_text((EXAMPLE / "mapdr_deflate.py").read_text())
    (folder / "mapdr_strange.py").write_text(STRANGE)
    about = folder / "strange-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    points = [f"{name} = mapdr_strange:{name.upper()}" for name in NAMES]
    points += ["deflate = mapdr_deflate:STAGE", "broken = mapdr_missing:STAGE"]
    (about / "entry_points.txt").write_text("\n".join(["[mapdr.codec]", *points]))
    return folder


@pytest.fixture
def codecs(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Codecs]:
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    yield Codecs(Registry(), settings(tmp_path))
    for name in ("mapdr_deflate", "mapdr_strange"):
        sys.modules.pop(name, None)


def made(codecs: Codecs, data: Any, memory: Notebook | None = None, **config: Any) -> Payload:
    """What the `compress` step of a rule makes of a data set."""
    pair = spooled(data) if isinstance(data, Path) else payload_of(data)
    pipeline = Pipeline(
        [("compress", CompressStep(settings(), CompressConfig(**config)))], settings(), codecs
    )
    return pipeline.apply(*pair, memory or Notebook())


def ct() -> Any:
    return image(picture(64, 80, 0, 4000))


def inflated(payload: Payload) -> bytes:
    (stream,) = generate_frames(read(payload).PixelData, number_of_frames=1)
    return zlib.decompressobj(-15).decompress(stream)


def test_a_rule_names_it_and_the_pixels_come_back(codecs: Codecs) -> None:
    result = made(codecs, ct(), to="deflate")
    assert result.transfer_syntax_uid == FRAMES
    assert inflated(result) == ct().PixelData
    assert result.sop_instance_uid == ct().SOPInstanceUID


@pytest.mark.skipif(not DATA, reason="MAPDR_TEST_DATA is not set")
def test_a_real_image_goes_through_such_a_rule(codecs: Codecs) -> None:
    path = next(
        path
        for path in sorted(Path(DATA).rglob("*.dcm"))
        if (head := pydicom.dcmread(path, stop_before_pixels=True, force=True)).get("Modality") == "CT"
        and head.get("SOPClassUID") == "1.2.840.10008.5.1.4.1.1.2"
        and head.file_meta.get("TransferSyntaxUID") == EXPLICIT
        and head.get("BitsAllocated") == 16
    )
    result = made(codecs, path, to="deflate")
    assert result.transfer_syntax_uid == FRAMES
    assert inflated(result) == pydicom.dcmread(path).PixelData


@pytest.mark.parametrize("name", ["raising", "wrong", "nobytes", "scribbling"])
@pytest.mark.parametrize("fallback", ["lossless", "original", "park"])
def test_what_a_codec_does_wrong_parks_the_image(codecs: Codecs, name: str, fallback: str) -> None:
    with pytest.raises(Permanent) as caught:
        made(codecs, ct(), to=name, fallback=fallback)
    assert caught.value.reason == "codec"
    assert "Marked" not in str(caught.value)


def test_it_may_be_one_of_a_list(codecs: Codecs) -> None:
    both = made(codecs, ct(), to=["deflate", "jpeg2000-lossless"])
    assert (both.transfer_syntax_uid, both.others) == (FRAMES, (uids.JPEG2000_LOSSLESS,))
    other = made(codecs, ct(), to=["jpeg2000-lossless", "deflate"])
    assert (other.transfer_syntax_uid, other.others) == (uids.JPEG2000_LOSSLESS, (FRAMES,))


def test_a_lossy_one_of_a_private_syntax_is_held_to_its_target(codecs: Codecs) -> None:
    noisy = ct()
    cells = np.frombuffer(noisy.PixelData, "<u2") + np.random.default_rng(1).integers(0, 60, 64 * 80)
    noisy.PixelData = cells.astype("<u2").tobytes()
    memory = Notebook()
    result = made(codecs, noisy, memory, to="both", max_error=10)
    assert result.transfer_syntax_uid == PRIVATE
    found = np.frombuffer(inflated(result), "<u2").astype(int)
    assert 0 < np.abs(found - cells).max() <= 10
    assert read(result).LossyImageCompressionMethod == "COARSE"
    again = made(codecs, noisy, memory, to="both", max_error=10)
    assert b"".join(again.chunks()) == b"".join(result.chunks()), "a retry makes the same bytes"
    spared = made(codecs, noisy, to="both", ratio=500)
    assert (spared.transfer_syntax_uid, spared.note) == (FRAMES, "compressed without loss: ratio")
    left = made(codecs, noisy, to="coarse", ratio=500)
    assert (left.transfer_syntax_uid, left.note) == (EXPLICIT, "not compressed: ratio")


def test_one_that_always_loses_leaves_what_must_not(codecs: Codecs) -> None:
    left = made(codecs, ct(), to="coarse", ratio=4, exclude=["CT"])
    assert (left.transfer_syntax_uid, left.note) == (EXPLICIT, "not compressed: only-with-loss")
    with pytest.raises(ValidationError, match="always loses something"):
        CompressConfig(to="coarse", lossless=True)


def test_the_method_is_the_plugins_where_mapdr_writes_the_syntax_too(codecs: Codecs) -> None:
    result = made(codecs, ct(), to="otherrle")
    assert result.transfer_syntax_uid == uids.RLE_LOSSLESS
    assert inflated(result) == ct().PixelData, "its codestream, not that of MAPDR's RLE"
    colours = image(np.stack([picture(16, 16, 0, 255)] * 3, -1), allocated=8, stored=8, photometric="RGB")
    assert made(codecs, colours, to="otherrle").note == "not compressed: pixel-format"
    assert codecs.encoder(uids.RLE_LOSSLESS) is not codecs.encoder(uids.RLE_LOSSLESS, "otherrle")


def test_a_list_begun_with_another_is_gone_on_with_as_it_was(codecs: Codecs) -> None:
    memory = Notebook()
    first = made(codecs, ct(), memory, to=["deflate", "rle"])
    assert (memory.facts or {})["compress"]["method"] == "deflate"
    assert made(codecs, ct(), memory, to=["deflate", "rle"]) == first


def test_a_private_syntax_promises_nothing() -> None:
    assert not Method("x", "x", "1.2.3", "1.2.3.4").both
    assert METHODS["jpeg2000"].both
    assert {name for name, each in METHODS.items() if each.is_wavelet} == {
        "jpeg2000",
        "jpeg2000-lossless",
        "htj2k",
        "htj2k-lossless",
    }


def test_what_is_unknown_or_unavailable_is_told(codecs: Codecs) -> None:
    with pytest.raises(ValidationError, match='did you mean "deflate"'):
        CompressConfig(to="deflat")
    (finding,) = unavailable(CompressConfig(to=("rle", "broken")))
    assert finding.place == ("to", 1)
    assert finding.what.startswith('"broken" is unavailable, because ')
    (finding,) = unavailable(CompressConfig(to="reader"))
    assert finding.what.endswith("is not written here: it is not offered")
    assert not list(unavailable(CompressConfig(to="both", ratio=10)))
    with pytest.raises(ValidationError, match='"deflate" takes no ratio'):
        CompressConfig(to="deflate", ratio=10)


def test_without_the_plugin_the_name_is_unknown() -> None:
    with pytest.raises(ValidationError, match="is not one of the methods"):
        CompressConfig(to="coarse", ratio=10)
    with pytest.raises(KeyError):
        method_named("coarse")
    factory = Registry().factory("transform", "compress")
    with pytest.raises(ValidationError):
        TypeAdapter(factory.config).validate_python({"to": ["otherrle"]})


def test_check_tells_line_and_cure(codecs: Codecs, tmp_path: Path) -> None:
    file = tmp_path / "mapdr.toml"
    text = (
        '[node]\ndata = "data"\n[egress.pacs]\ntype = "folder"\npath = "out"\n'
        '[[rule]]\nname = "CT"\nwhen = {}\nsend_to = ["pacs"]\ncompress = { to = "deflate" }\n'
    )
    file.write_text(text)
    done = CliRunner().invoke(main, ["check", "--config", str(file)])
    assert done.exit_code == 0, done.output
    file.write_text(text.replace('"deflate"', '"deflat"'))
    done = CliRunner().invoke(main, ["check", "--config", str(file)])
    assert done.exit_code == 2
    assert "is not one of the methods" in done.output + done.stderr
    assert 'did you mean "deflate"' in done.output + done.stderr


def test_the_doctor_and_the_words_of_rules_name_it(codecs: Codecs) -> None:
    assert _compressed({"to": "deflate"}) == ['"deflate" without loss']
    told = {each.name: each for each in doctor_codecs()}
    assert told["RLE Lossless"].way == told['RLE Lossless, by "otherrle"'].way == "lossless"
    deflated = [each for name, each in told.items() if name.endswith('by "deflate"')]
    assert any(one.works for each in deflated for one in each.written)
    faulty = next(each for name, each in told.items() if name.endswith('by "wrong"'))
    assert any(one.is_fault for one in faulty.written)
