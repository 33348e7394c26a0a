"""What each method of a rule makes, by programs that are not ours: pixels agree, no new fault is found."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from mapdr.dicom import uids
from mapdr.transform.codecs.table import Row
from mapdr.transform.encode.compress import STAGE
from mapdr.transform.encode.methods import METHODS
from mapdr.transform.encode.wish import CompressConfig

from .helpers import (
    CODECS,
    EXPLICIT,
    Notebook,
    applied,
    image,
    payload_of,
    picture,
    read,
    save,
    settings,
    to_syntax,
)
from .readers import BY_FILE
from .test_golden import complaints

US = "1.2.840.10008.5.1.4.1.1.6.1"
pytestmark = pytest.mark.usefixtures("decoders")


def writes(row: Row | None, *, lossy: bool) -> bool:
    return row is not None and (row.lossy_encoder if lossy else row.encoder) is not None


NAMES = [
    name
    for name, method in METHODS.items()
    if method.way == "codec"
    and writes(CODECS.rows.get(method.lossless), lossy=False)
    and (not method.lossy or writes(CODECS.rows.get(method.lossy), lossy=True))
]


def grey(bits: int) -> Any:
    random = np.random.default_rng(bits)
    top = (1 << bits) - 1
    values = picture(96, 120, top // 20, top - top // 20) + random.normal(0, top / 300, (96, 120))
    allocated = 8 if bits == 8 else 16
    return image(np.clip(values, 0, top).astype(int), allocated=allocated, stored=bits)


def colour() -> Any:
    values = np.stack([picture(96, 120, 0, 255, seed) for seed in range(3)], -1)
    return image(values, allocated=8, stored=8, photometric="RGB", sop_class=US)


SOURCES = {"grey of 12 bits": grey(12), "grey of 8 bits": grey(8), "colour": colour()}


def decoded_by(program: Sequence[str], path: Path, out: Path) -> np.ndarray:
    done = subprocess.run([*program, str(path), str(out)], capture_output=True, check=False)
    assert done.returncode == 0, program[0]
    found = pydicom.dcmread(out)
    assert not found.file_meta.TransferSyntaxUID.is_compressed
    return found.pixel_array.astype(int)


def peers_of(name: str) -> pytest.MarkDecorator:
    """The marker of all programs that look at what a method writes, with and without loss."""
    method = METHODS[name]
    programs = [*BY_FILE.get(method.lossless, ()), *BY_FILE.get(method.lossy, ())]
    return pytest.mark.peer(*sorted({"dciodvfy", *(program[0] for program in programs)}))


@pytest.mark.parametrize("name", [pytest.param(name, marks=peers_of(name)) for name in NAMES])
@pytest.mark.parametrize("source", SOURCES)
def test_what_a_method_writes_is_read_alike_by_others(name: str, source: str, tmp_path: Path) -> None:
    target = {"ratio": 8.0} if METHODS[name].lossy else {}
    step = STAGE.build(settings(), CompressConfig(to=name, color="ybr", **target), None)  # type: ignore[arg-type]
    before, instance = payload_of(SOURCES[source])
    made = applied(step, before, instance, Notebook())
    syntax = made.transfer_syntax_uid
    if made.note.startswith("not compressed"):
        pytest.skip(made.note)
    assert syntax in (METHODS[name].lossy, METHODS[name].lossless)
    path = save(made, tmp_path / "made.dcm")
    ours = read(to_syntax(made, EXPLICIT)).pixel_array.astype(int)
    if not read(made).get("LossyImageCompression"):
        assert np.array_equal(ours, read(before).pixel_array)
    programs = BY_FILE.get(syntax, ())
    for program in programs:
        theirs = decoded_by(program, path, tmp_path / "theirs.dcm")
        # Inverse cosine transforms may round otherwise (ISO/IEC 10918-1, A.3.3), and colours after them.
        most = 3 if syntax in (uids.JPEG_BASELINE, uids.JPEG_EXTENDED) else 0
        assert np.abs(theirs - ours).max() <= most, program[0]
    if programs:
        new = complaints(path) - complaints(save(before, tmp_path / "before.dcm"))
        assert not new
