"""Who the patients are is told where an operator asks, and to the audit; in no other answer or log."""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pydicom
import pytest

from mapdr.operate.access import access
from mapdr.operate.audit import FOLDER
from mapdr.operate.selection import Selection
from mapdr.operate.studies import studies
from mapdr.store import OutboxEntry
from mapdr.testing import generator
from paper import nodes
from peers.marks import Marks
from web.conftest import Page, opened
from web.test_routes import BODIES, FILL, routes

MARKS = Marks()
RULES = f"""
[[rule]]
name = "one patient"
when = {{ PatientID = "{MARKS.values["PatientID"]}" }}
tags = [{{ set = "AccessionNumber", to = "{MARKS.values["AccessionNumber"]}" }}]
send_to = ["archive"]

[webhook.ris]
url = "http://127.0.0.1:9/"
on = ["study.received"]
"""


def marked(image: generator.GeneratedImage) -> generator.GeneratedImage:
    """The image of a patient with the marked values."""
    ds = pydicom.dcmread(io.BytesIO(image.part10()))
    for keyword, value in MARKS.values.items():
        setattr(ds, keyword, value)
    plain = pydicom.Dataset({element.tag: element for element in ds})
    return dataclasses.replace(image, dataset=generator.encode(plain, image.transfer_syntax_uid))


@pytest.fixture
def page(used: nodes.NodeFolder) -> Iterator[Page]:
    """The page of a node with images of that patient, whose words a receiver and a message have too."""
    used.receive(marked(image) for image in generator.study("MR", images=2, size=(16, 16), seed=5))
    used.settle("archive", "parked", 1, comment=f"no such patient: {MARKS.values['PatientName']}")
    store = used.store()
    store.outbox.add([OutboxEntry("k", "ris", "study.received", dict(MARKS.values))], time.time())
    store.close()
    with used.config.open("a") as file:
        file.write(RULES)
    with opened(used) as found:
        yield found


def answers(page: Page, client: httpx.Client, asked: dict[str, object]) -> Iterator[tuple[str, str]]:
    """What every route that changes nothing answers, with each image's timeline; for `asked` too."""
    with access(page.config) as opened:
        uids = [row.study_instance_uid for row in studies(opened, Selection())]
        images = [each.sop_instance_uid for uid in uids for each in opened.index().instances.find(uid)]
    for route in routes(page):
        changes = route.needs == "operator" or "session" in route.path or "stream" in route.path
        if changes or route.method == "DELETE":
            continue
        fills = {"{study}": uids, "{image}": images}
        word = next((word for word in fills if word in route.path), "")
        for value in fills.get(word, [""]):
            path = route.path.replace(word, value) if word else route.path
            path = path.replace("/webhooks/{name}/", "/webhooks/ris/")
            for name, other in FILL.items():
                path = path.replace(name, other)
            given = {**BODIES.get(route.path, {}), **asked}
            answer = (
                client.get(path, params=given)
                if route.method == "GET"
                else client.post(path, json=given, headers={"origin": page.url})
            )
            yield f"{route.method} {path} {answer.status_code}", answer.text + repr(answer.headers)


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_nothing_that_was_not_asked_for_tells_who_it_is(
    page: Page, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "mapdr")
    told = []
    with closing(page.signed_in(role)) as client:  # type: ignore[arg-type]
        for asked, text in answers(page, client, {}):
            told.append(asked)
            assert not MARKS.found(text, text.replace("-", "")), asked
    assert sum(each.endswith(" 200") for each in told) > 30, told
    assert not MARKS.found(caplog.text)
    assert not list((page.node.plan.node.data / FOLDER).glob("*.log")) or "view-" not in audit(page)


def test_who_asks_sees_it_and_is_known(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "mapdr")
    shown = set()
    with closing(page.signed_in("operator")) as client:
        told = audit(page)
        for asked, text in answers(page, client, {"identify": True}):
            before, told = told, audit(page)
            if MARKS.found(text):
                shown.add(asked.split("/")[-1].split(" ")[0])
                assert "view-" in told.removeprefix(before), asked
    assert shown == {"studies", "timeline", "deliveries", "rules", "settings"}
    assert not MARKS.found(caplog.text)


def audit(page: Page) -> str:
    """What the audit holds."""
    files = (page.node.plan.node.data / FOLDER).glob("*.log")
    return "".join(path.read_text() for path in files)
