"""Every stage that MAPDR ships, through the contract that it publishes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydantic import TypeAdapter

from egress.dicomweb.answers import FAILED, REFERENCED, Entry, in_json
from mapdr.dicom import uids as uid
from mapdr.egress.part10 import file_meta
from mapdr.kernel.codec import FrameFormat
from mapdr.kernel.item import FileSlice, Instance, Payload, Source, Verdict
from mapdr.kernel.registry import BUILTIN, Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.testing.contract import OBJECTS, Sent, check_codec, check_egress, check_receiver, check_transform
from mapdr.testing.generator import GeneratedImage, study
from mapdr.testing.wait import until
from mapdr.wire.link import Limits
from mapdr.wire.requestor import Requestor
from peers.httpd import Asked, Said, serving
from peers.rawsink import Answer, RawSink
from peers.stow import uids_of
from peers.stow_client import store

REGISTRY = Registry()


def build(kind: str, type_: str, config: Any, folder: Path, next_: Any = None) -> Any:
    """A stage as the kernel builds it."""
    factory = REGISTRY.factory(kind, type_)
    settings = Settings("stage", "node", folder, bytes(range(32)), Watch())
    return factory.build(settings, TypeAdapter(factory.config).validate_python(config), next_)


def images(count: int) -> list[GeneratedImage]:
    """Small images of three modalities."""
    third = count // 3 + 1
    made = [*study("CT", images=third, size=(32, 32)), *study("MR", images=third, size=(32, 32))]
    return [*made, *study("US", images=third, size=(32, 32))][:count]


def spooled(image: GeneratedImage, folder: Path) -> tuple[Payload, Instance]:
    """An image as it lies in the spool, and the payload that relays it."""
    path = folder / f"{image.sop_instance_uid}.dcm"
    path.write_bytes(bytes(400) + image.dataset)
    instance = Instance(
        id="0" * 32,
        source=Source("modalities", "CT1", "MAPDR", "127.0.0.1"),
        sop_class_uid=image.sop_class_uid,
        sop_instance_uid=image.sop_instance_uid,
        study_instance_uid=image.study_instance_uid,
        series_instance_uid=image.series_instance_uid,
        modality=image.modality,
        transfer_syntax_uid=image.transfer_syntax_uid,
        path=path,
        data_offset=400,
        size=len(image.dataset),
        received_at=0.0,
    )
    payload = Payload(
        image.sop_class_uid,
        image.sop_instance_uid,
        image.transfer_syntax_uid,
        (FileSlice(path, 400, len(image.dataset)),),
        len(image.dataset),
    )
    return payload, instance


def push_dicom(stage: Any, objects: Sequence[Sent]) -> Iterator[tuple[Sent, bool]]:
    """Send over one association; a lost one means that what it carried was not accepted."""
    proposals = list(dict.fromkeys((each.sop_class_uid, (each.transfer_syntax_uid,)) for each in objects))
    requestor = Requestor.connect(
        "127.0.0.1", stage.port, calling_ae="CT1", called_ae="MAPDR", proposals=proposals, limits=Limits()
    )
    try:
        for each in objects:
            payload = Payload(
                each.sop_class_uid,
                each.sop_instance_uid,
                each.transfer_syntax_uid,
                (each.data,),
                len(each.data),
            )
            yield each, requestor.c_store(payload).status == 0
    finally:
        requestor.release()


def receive_dicom(folder: Path) -> None:
    objects = [
        Sent(each.sop_class_uid, each.sop_instance_uid, each.transfer_syntax_uid, each.dataset)
        for each in images(OBJECTS)
    ]
    config = {"ae_title": "MAPDR", "host": "127.0.0.1", "port": 0}
    check_receiver(
        lambda intake: build("receive", "dicom", config, folder, intake), push_dicom, objects, folder
    )


def push_dicomweb(stage: Any, objects: Sequence[Sent]) -> Iterator[tuple[Sent, bool]]:
    """Send some at a time; what the answer does not call stored was not accepted."""
    for at in range(0, len(objects), 7):
        some = objects[at : at + 7]
        parts = [
            file_meta(Payload(each.sop_class_uid, each.sop_instance_uid, each.transfer_syntax_uid, (), 0))
            + each.data
            for each in some
        ]
        stored = store(stage.port, parts).stored
        for each in some:
            yield each, each.sop_instance_uid in stored


def receive_dicomweb(folder: Path) -> None:
    objects = [
        Sent(each.sop_class_uid, each.sop_instance_uid, each.transfer_syntax_uid, each.dataset)
        for each in images(OBJECTS)
    ]
    check_receiver(
        lambda intake: build("receive", "dicomweb", {"port": 0}, folder, intake),
        push_dicomweb,
        objects,
        folder,
    )


def receive_folder(folder: Path) -> None:
    """A file that ends in done/ was accepted; the store's want of room is no answer, the file waits."""
    path = folder / "in"
    objects = [
        Sent(each.sop_class_uid, each.sop_instance_uid, each.transfer_syntax_uid, each.dataset)
        for each in images(OBJECTS)
    ]
    files = {each.sop_instance_uid: each.part10() for each in images(OBJECTS)}

    def push(stage: Any, share: Sequence[Sent]) -> Iterator[tuple[Sent, bool]]:
        for each in share:
            (path / f"{each.sop_instance_uid}.dcm").write_bytes(files[each.sop_instance_uid])
        for each in share:
            places = [path / place / f"{each.sop_instance_uid}.dcm" for place in ("done", "refused")]
            until(lambda places=places: any(map(Path.exists, places)), 60, "an answer")
            yield each, places[0].exists()

    config = {"path": str(path), "quiet": 0.05, "scan_every": 0.5}
    check_receiver(lambda intake: build("receive", "folder", config, folder, intake), push, objects, folder)


def egress_dicom(folder: Path) -> None:
    chance = random.Random(1)
    fates = [Answer()] * 6 + [Answer(0xB000), Answer(0xA700), Answer(0xC000), Answer(hang_up="abort")]
    with RawSink(lambda request: chance.choice(fates)) as sink:
        config = {"ae_title": "SINK", "host": "127.0.0.1", "port": sink.port}
        counts = check_egress(
            lambda: build("egress", "dicom", config, folder),
            [spooled(each, folder)[0] for each in images(OBJECTS)],
            arrived=lambda: [
                request.sop_instance_uid for request, status in sink.answered if status in (0, 0xB000)
            ],
        )
    assert {Verdict.DELIVERED, Verdict.RETRY, Verdict.REFUSED} <= set(counts)


def egress_dicomweb(folder: Path) -> None:
    stored: list[str] = []
    requests, named = itertools.count(1), itertools.count(1)

    def script(asked: Asked) -> Said:
        uids = uids_of(asked) if "studies" in asked.path else []
        if not uids:
            return Said(200, b"{}")
        # By the count, not by chance: which sender asks first is nobody's to say, and each kind has to come.
        if (number := next(requests)) % 5 == 0:
            return Said((500, 401)[number % 2], None if number % 3 == 0 else b"")
        kept = [uid for uid in uids if next(named) % 5]
        stored.extend(kept)
        entries = [Entry(REFERENCED if uid in kept else FAILED, uid, failure=None if uid in kept else 0xC000)
                   for uid in uids]  # fmt: skip
        return Said(202, in_json(entries))

    with serving(script) as server:
        counts = check_egress(
            lambda: build("egress", "dicomweb", {"url": server.url + "/dicom-web"}, folder),
            [spooled(each, folder)[0] for each in images(OBJECTS)],
            arrived=lambda: stored,
        )
    assert {Verdict.DELIVERED, Verdict.RETRY, Verdict.REFUSED} <= set(counts)


def egress_https(folder: Path) -> None:
    chance = random.Random(1)
    stored: list[str] = []

    def script(asked: Asked) -> Said:
        if asked.method in ("HEAD", "OPTIONS"):
            return Said(404)
        status = chance.choice([200, 201, 204, 204, 202, 409, 503])
        if status in (200, 201, 204):
            stored.append(asked.path.rpartition("/")[2])
        return Said(status, None) if chance.random() < 0.1 and status == 503 else Said(status)

    with serving(script) as server:
        counts = check_egress(
            lambda: build("egress", "https", {"url": server.url + "/in/{SOPInstanceUID}"}, folder),
            [spooled(each, folder)[0] for each in images(OBJECTS)],
            arrived=lambda: stored,
        )
    assert {Verdict.DELIVERED, Verdict.RETRY, Verdict.REFUSED} <= set(counts)


def egress_folder(folder: Path) -> None:
    """A folder refuses nothing at random: what it does not take is in tests/egress/folder."""
    out = folder / "out"
    check_egress(
        lambda: build("egress", "folder", {"path": str(out)}, folder),
        [spooled(each, folder)[0] for each in images(OBJECTS)],
        arrived=lambda: [path.stem for path in out.glob("*/*/*.dcm")],
        mixed=False,
    )


def transform_tags(folder: Path) -> None:
    config = [
        {"set": "InstitutionName", "to": "Clinic North"},
        {"prefix": "AccessionNumber", "with": "CN-"},
        {"remove": "OtherPatientIDs"},
    ]
    cases = [spooled(each, folder) for each in images(30)]
    done = check_transform(lambda: build("transform", "tags", config, folder), cases, may_fail=False)
    assert done == len(cases)
    too_long = [{"prefix": "AccessionNumber", "with": "LONGPREFIX-"}]
    assert check_transform(lambda: build("transform", "tags", too_long, folder), cases) == 0


def transform_deidentify(folder: Path) -> None:
    cases = [spooled(each, folder) for each in images(9)]
    config = {"profile": "basic", "options": ["modified-dates"]}
    assert check_transform(lambda: build("transform", "deidentify", config, folder), cases) > 0


def transform_compress(folder: Path) -> None:
    cases = [spooled(each, folder) for each in images(9)]
    for config in ({"to": "jpeg2000-lossless"}, {"to": "jpeg2000", "ratio": 5}):
        check_transform(
            lambda config=config: build("transform", "compress", config, folder), cases, may_fail=False
        )  # type: ignore[misc]


def transform_blank(folder: Path) -> None:
    cases = [spooled(each, folder) for each in images(9)]
    entry = {"when": {}, "blank": [{"x": 0, "y": 0, "width": 9, "height": 9}]}
    for config in ({"regions": [entry]}, {"regions": "ultrasound", "uncovered": "pass"}):
        check_transform(
            lambda config=config: build("transform", "blank", config, folder), cases, may_fail=False
        )  # type: ignore[misc]
    assert check_transform(lambda: build("transform", "blank", {"regions": "ultrasound"}, folder), cases) == 0


def transform_odd_lengths(folder: Path) -> None:
    cases = [spooled(each, folder) for each in images(9)]
    for config in ("pad", "park"):
        check_transform(
            lambda config=config: build("transform", "odd_lengths", config, folder), cases, may_fail=False
        )  # type: ignore[misc]


def codec(type_: str, encoders: dict[str, Callable[[Any], bytes]]) -> Callable[[Path], None]:
    """The check of a codec; `encoders` writes with imagecodecs what it only reads."""
    grey = np.random.default_rng(0).integers(0, 256, (24, 37), dtype=np.uint8)
    form = FrameFormat(24, 37, 1, 8, 8, False, "MONOCHROME2")
    streams = {uid: [(form, bytes(encode(grey)))] for uid, encode in encoders.items()}

    def check(folder: Path) -> None:
        assert check_codec(lambda: build("codec", type_, {}, folder), streams) >= len(streams)

    return check


def lossless_jpeg(frame: Any) -> bytes:
    return imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1, bitspersample=8)


JPEG = {
    **dict.fromkeys(
        (uid.JPEG_BASELINE, uid.JPEG_EXTENDED, uid.JPEG_SPECTRAL_SELECTION, uid.JPEG_FULL_PROGRESSION),
        lambda frame: imagecodecs.jpeg8_encode(frame, level=95),
    ),
    **dict.fromkeys((uid.JPEG_LOSSLESS, uid.JPEG_LOSSLESS_SV1), lossless_jpeg),
}
JPEG_LS = dict.fromkeys((uid.JPEG_LS_LOSSLESS, uid.JPEG_LS_NEAR_LOSSLESS), imagecodecs.jpegls_encode)
JPEG_XL = {
    **dict.fromkeys(
        (uid.JPEG_XL_LOSSLESS, uid.JPEG_XL), lambda frame: imagecodecs.jpegxl_encode(frame, lossless=True)
    ),
    uid.JPEG_XL_JPEG_RECOMPRESSION: lambda frame: imagecodecs.jpegxl_encode_jpeg(
        imagecodecs.jpeg8_encode(frame, level=95)
    ),
}


CHECKS: dict[tuple[str, str], Callable[[Path], None]] = {
    ("receive", "dicom"): receive_dicom,
    ("receive", "dicomweb"): receive_dicomweb,
    ("receive", "folder"): receive_folder,
    ("transform", "deidentify"): transform_deidentify,
    ("transform", "tags"): transform_tags,
    ("transform", "compress"): transform_compress,
    ("transform", "blank"): transform_blank,
    ("transform", "odd_lengths"): transform_odd_lengths,
    ("codec", "htj2k"): codec("htj2k", {}),
    ("codec", "jpeg"): codec("jpeg", JPEG),
    ("codec", "jpeg2000"): codec("jpeg2000", {}),
    ("codec", "jpegls"): codec("jpegls", JPEG_LS),
    ("codec", "jpegxl"): codec("jpegxl", JPEG_XL),
    ("codec", "rle"): codec("rle", {}),
    ("egress", "dicom"): egress_dicom,
    ("egress", "dicomweb"): egress_dicomweb,
    ("egress", "https"): egress_https,
    ("egress", "folder"): egress_folder,
}


def test_every_built_in_stage_is_checked() -> None:
    assert set(CHECKS) == set(BUILTIN)


@pytest.mark.parametrize("stage", CHECKS, ids="-".join)
def test_it_keeps_the_contract(stage: tuple[str, str], tmp_path: Path) -> None:
    CHECKS[stage](tmp_path)
