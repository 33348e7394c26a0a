"""The https destination: the URL of an image, what its file is, and which statuses mean delivered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest

from deliver.world import element
from egress.test_part10 import payload
from mapdr.dicom.template import Template
from mapdr.egress.https.destination import HttpsEgress, HttpsEgressConfig, UploadSession, url_of
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Need, Payload, Verdict
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.testing.generator import study
from peers.httpd import Asked, Said, serving


def egress(url: str, **config: Any) -> HttpsEgress:
    settings = Settings("cloud", "north", Path(), bytes(32), Watch())
    return HttpsEgress(settings, HttpsEgressConfig.model_validate({"url": url, **config}))


@contextmanager
def session(url: str, **config: Any) -> Iterator[UploadSession]:
    made = egress(url, **config)
    made.start()
    opened = made.connect([])
    try:
        yield opened
    finally:
        opened.close()


def with_description(value: bytes) -> Payload:
    return payload(element(0x00080018, b"UI", b"1.2.3") + element(0x0008103E, b"LO", value))


def generated() -> Payload:
    image = next(iter(study("CT", images=1, size=(16, 16))))
    return Payload(
        image.sop_class_uid,
        image.sop_instance_uid,
        image.transfer_syntax_uid,
        (image.dataset,),
        len(image.dataset),
    )


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_file_goes_to_the_url_that_its_tags_make(method: str) -> None:
    image = generated()
    with serving(lambda asked: Said(201)) as server:
        url = server.url + "/in/{StudyInstanceUID}/{SOPInstanceUID}.dcm?modality={Modality}"
        with session(url, method=method) as opened:
            outcome = opened.send(image)
    assert (outcome.verdict, outcome.status) == (Verdict.DELIVERED, 201)
    (asked,) = server.asked
    found = pydicom.dcmread(BytesIO(asked.body))
    assert asked.method == method
    assert asked.path == f"/in/{found.StudyInstanceUID}/{found.SOPInstanceUID}.dcm?modality=CT"
    assert asked.body.endswith(image.parts[0])  # type: ignore[arg-type]
    assert asked.headers["content-type"] == "application/dicom"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b"plain", "plain"),
        (b"a b/c?d#e%f&g", "a%20b%2Fc%3Fd%23e%25f%26g"),
        (b"../../etc", "..%2F..%2Fetc"),
        (b"{x}", "%7Bx%7D"),
    ],
)
def test_values_are_encoded_and_stay_within_their_place(value: bytes, written: str) -> None:
    template = Template.parse("https://h/{SeriesDescription}/x")
    assert url_of(template, with_description(value)) == f"https://h/{written}/x"


@pytest.mark.parametrize(("value", "told"), [(b"", "is empty"), (b"..", "another folder"), (b".", "folder")])
def test_a_value_that_makes_no_url_parks_the_image(value: bytes, told: str) -> None:
    with (
        session("https://192.0.2.1/{SeriesDescription}") as opened,
        pytest.raises(Permanent, match=told) as e,
    ):
        opened.send(with_description(value))
    assert e.value.reason == "url"
    assert "(0008,103E)" in str(e.value)


def test_a_url_that_cannot_be_asked_for_is_the_image_s_fault_and_not_the_server_s() -> None:
    url = "https://192.0.2.1/" + "{SeriesDescription}" * 600
    with session(url) as opened, pytest.raises(Permanent, match="too long") as e:
        opened.send(with_description(b" %" * 20))
    assert e.value.reason == "url"


def test_a_header_that_is_longer_than_a_piece_is_read(tmp_path: Path) -> None:
    filler = b"\x09\x00\x10\x10UN\0\0" + (1_000_000).to_bytes(4, "little") + bytes(1_000_000)
    data = element(0x00080018, b"UI", b"1.2.3") + filler + element(0x00100020, b"LO", b"P1")
    (tmp_path / "file").write_bytes(data)
    image = payload(b"")
    image = Payload(
        image.sop_class_uid, "1.2.3", image.transfer_syntax_uid,
        (FileSlice(tmp_path / "file", 0, len(data)),), len(data),
    )  # fmt: skip
    assert url_of(Template.parse("https://h/{PatientID}"), image) == "https://h/P1"


@pytest.mark.parametrize(
    ("status", "verdict", "reason", "pause"),
    [
        (200, Verdict.DELIVERED, "", ""),
        (201, Verdict.DELIVERED, "", ""),
        (204, Verdict.DELIVERED, "", ""),
        (202, Verdict.RETRY, "unconfirmed", ""),
        (301, Verdict.RETRY, "", "redirected"),
        (400, Verdict.REFUSED, "", ""),
        (401, Verdict.RETRY, "", "unauthorized"),
        (403, Verdict.RETRY, "", "unauthorized"),
        (404, Verdict.REFUSED, "", ""),
        (409, Verdict.REFUSED, "", ""),
        (413, Verdict.REFUSED, "too-large", ""),
        (415, Verdict.SYNTAX_REFUSED, "", ""),
        (429, Verdict.RETRY, "", "busy"),
        (500, Verdict.RETRY, "", ""),
        (503, Verdict.RETRY, "", "busy"),
        (507, Verdict.RETRY, "", "no-room"),
    ],
)
def test_what_a_status_means(status: int, verdict: Verdict, reason: str, pause: str) -> None:
    with serving(lambda asked: Said(status)) as server, session(server.url + "/{SOPInstanceUID}") as opened:
        outcome = opened.send(generated())
    assert (outcome.verdict, outcome.status, outcome.reason) == (verdict, status, reason)
    assert (outcome.pause.reason if outcome.pause else "") == pause
    assert outcome.peer_fault == (status in (301, 401, 403, 429, 500, 503, 507))


def test_the_statuses_that_mean_delivered_are_the_configuration_s() -> None:
    with (
        serving(lambda asked: Said(409)) as server,
        session(server.url + "/{SOPInstanceUID}", delivered=[202, 409]) as opened,
    ):
        assert opened.send(generated()).verdict is Verdict.DELIVERED


def test_no_answer_is_no_delivery(free_port: int) -> None:
    with serving(lambda asked: Said(body=None)) as server, session(server.url + "/x") as opened:
        outcome = opened.send(generated())
    assert (outcome.verdict, outcome.begun, outcome.pause) == (Verdict.RETRY, True, None)
    with session(f"http://127.0.0.1:{free_port}/x") as opened:
        outcome = opened.send(generated())
    assert (outcome.verdict, outcome.begun) == (Verdict.RETRY, False)
    assert outcome.pause is not None


def test_the_probe_asks_for_the_folder_and_stores_nothing() -> None:
    with serving(lambda asked: Said(404)) as server:
        made = egress(server.url + "/in/{StudyInstanceUID}/{SOPInstanceUID}")
        assert made.probe().verdict is Verdict.DELIVERED
        assert made.describe().port == server.port
    assert [(asked.method, asked.path) for asked in server.asked] == [("HEAD", "/in/")]
    assert made.probe().verdict is Verdict.RETRY
    with serving(lambda asked: Said(401)) as server:
        assert egress(server.url + "/{SOPInstanceUID}").probe().verdict is Verdict.RETRY


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"url": "https://{PatientID}/x"}, "before its path"),
        ({"url": "https://h{PatientID}/x"}, "before its path"),
        ({"url": "{PatientID}"}, "is not a URL"),
        ({"url": "https://h/{PatientIdd}"}, "PatientI"),
        ({"url": "https://h/t0ken{"}, "a lone brace"),
        ({"url": "https://h/x", "delivered": []}, "delivered"),
        ({"url": "https://h/x", "delivered": [401]}, "never says"),
        ({"url": "https://h/x", "delivered": [500]}, "499"),
        ({"url": "https://h/x", "method": "GET"}, "PUT"),
    ],
)
def test_what_cannot_work_is_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        HttpsEgressConfig.model_validate(config)
    assert "t0ken" not in str(error.value)


def test_one_url_for_all_images_is_doubted() -> None:
    factory = Registry().factory("egress", "https")
    assert [each.place for each in factory.doubts(HttpsEgressConfig(url="https://h/x"))] == [("url",)]
    assert not list(factory.doubts(HttpsEgressConfig(url="https://h/{SOPInstanceUID}")))
    assert not list(factory.doubts(HttpsEgressConfig(url="https://h/x", method="POST")))


def test_another_transfer_syntax_is_offered_after_415() -> None:
    with serving(lambda asked: Said(415)) as server, session(server.url + "/x") as opened:
        image = generated()
        opened.send(image)
        said = opened.acceptance(Need(image.sop_class_uid, image.transfer_syntax_uid))
    assert said is not None
    assert said.instead == "1.2.840.10008.1.2"


def test_a_request_that_our_own_close_has_cut_was_begun() -> None:
    """The server may have the image; before a request, it has not."""

    def script(asked: Asked) -> Said:
        opened.close()  # while its answer is waited for
        return Said(body=None)

    with serving(script) as server, session(server.url + "/image") as opened:
        image = generated()
        cut, after = opened.send(image), opened.send(image)
    for outcome in (cut, after):
        assert (outcome.verdict, outcome.comment) == (Verdict.RETRY, "the session is closed")
        assert outcome.pause is None
    assert (cut.begun, cut.cut) == (True, True)
    assert (after.begun, after.cut) == (False, False)
    assert len(server.asked) == 1
