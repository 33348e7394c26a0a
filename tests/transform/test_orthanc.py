"""Orthanc with GDCM takes what docs/compression.md says, and shows the pixels that were promised."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

from mapdr.dicom.transfer_syntax import name_of
from mapdr.kernel.item import Payload
from mapdr.transform.encode.methods import METHODS
from peers.data import DATA, REAL
from peers.orthanc import Orthanc
from peers.part10 import MemoryObject
from peers.rawsender import RawSender, send_all

from .helpers import CT, EXPLICIT, image, picture, read
from .readers import native_frames
from .test_every_image import made_by

DOCUMENT = Path(__file__).parents[2] / "docs/compression.md"
PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.4"
FILES = (
    "series/ct_philips_phantom_140/I10",
    "series/mr_ge_mprage_130/i152.MRDC.5",
    "highdicom/dx_image.dcm",
    "generated/us_src.dcm",
)
TRANSFORMED = {"YBR_RCT", "YBR_ICT"}

pytestmark = [pytest.mark.usefixtures("decoders"), pytest.mark.peer("Orthanc")]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    peer = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield peer
    peer.stop()


@pytest.fixture(scope="module")
def documented(orthanc: Orthanc) -> dict[str, tuple[bool, bool, bool]]:
    """By transfer syntax whether Orthanc takes it, shows it, and shows it with the colour transform."""
    version = orthanc.get_json("/system")["Version"]
    if not version.startswith("1.10."):
        pytest.skip(f"what Orthanc shows is documented of 1.10, and this is {version}")
    section = DOCUMENT.read_text(encoding="utf-8").split("## What Orthanc shows\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {name: tuple(word == "yes" for word in words) for name, *words in rows[2:]}  # type: ignore[misc]


def sources(folder: Path) -> Iterator[Path]:
    """Images of several kinds, real ones where there are; what JPEG 2000 takes in RGB is generated always."""
    if REAL:
        yield from (DATA / name for name in FILES)
    else:
        yield file_of(image(picture(64, 80, 0, 4095), sop_class=CT), folder / "grey.dcm")
        signed = image(picture(64, 80, -900, 3000), stored=16, signed=True, sop_class=CT)
        yield file_of(signed, folder / "signed.dcm")
    colours = np.stack([picture(64, 80, 0, 255, seed) for seed in range(3)], -1)
    photograph = image(colours, allocated=8, stored=8, photometric="RGB", sop_class=PHOTOGRAPH)
    yield file_of(photograph, folder / "photograph.dcm")


def file_of(data: Dataset, path: Path) -> Path:
    """A data set as a file."""
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = EXPLICIT
    data.save_as(path, enforce_file_format=True)
    return path


def test_orthanc_takes_the_transfer_syntaxes_that_are_documented(
    orthanc: Orthanc, documented: dict[str, tuple[bool, bool, bool]]
) -> None:
    written = {each for method in METHODS.values() for each in (method.lossless, method.lossy) if each}
    written -= {EXPLICIT}
    with RawSender(orthanc.dicom_port, [(CT, syntax) for syntax in written]) as sender:
        taken = {name_of(syntax): (CT, syntax) in sender.accepted for syntax in written}
    assert taken == {name: takes for name, (takes, _, _) in documented.items()}


def test_orthanc_shows_what_was_promised_of_every_method_that_it_takes(
    orthanc: Orthanc, documented: dict[str, tuple[bool, bool, bool]], tmp_path: Path
) -> None:
    seen, wrong = set(), []
    for path in sources(tmp_path):
        source = pydicom.dcmread(path)
        expected = native_frames(source)[0]
        for name, method in METHODS.items():
            for color in ("rgb", "ybr") if source.SamplesPerPixel == 3 and method.is_wavelet else ("rgb",):
                made, told = made_by(name, path, color)
                if made.transfer_syntax_uid == source.file_meta.TransferSyntaxUID:
                    continue  # left as it came: for other tests
                syntax = name_of(made.transfer_syntax_uid)
                seen.add(syntax)
                transformed = read(made).PhotometricInterpretation in TRANSFORMED
                takes, shows, shows_transformed = documented[syntax]
                promised = (shows_transformed if transformed else shows) if takes else None
                found = shown_by(orthanc, made, source)
                shown = None if found is None else bool(found.size)
                if shown != promised:
                    wrong.append(f"{path.name} by {name}, {color}: {shown}, documented {promised}")
                elif shown and np.abs(found - expected).max() > (told or 0):
                    wrong.append(f"{path.name} by {name}, {color}: other pixels than promised")
    assert not wrong
    assert len(seen) >= (11 if REAL else 9)


def shown_by(orthanc: Orthanc, made: Payload, source: Dataset) -> np.ndarray | None:
    """The first frame as Orthanc shows it, without a window; empty if it shows none, None if not taken."""
    data = b"".join(made.chunks())
    item = MemoryObject(made.sop_class_uid, made.sop_instance_uid, made.transfer_syntax_uid, data)
    (status,) = send_all(orthanc.dicom_port, [item]).values()
    if status is None:
        return None
    assert status == 0
    instance = orthanc.instances()[made.sop_instance_uid]
    if source.SamplesPerPixel == 3:
        shown = orthanc.preview(instance)
    else:
        shown = orthanc.stored_values(instance, signed=bool(source.PixelRepresentation))
    if shown is None:
        return np.empty(0)
    values = np.asarray(Image.open(io.BytesIO(shown))).astype("i8")
    if source.PixelRepresentation:  # a PNG knows no sign
        values = np.where(values >= 1 << 15, values - (1 << 16), values)
    return values
