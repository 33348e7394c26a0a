"""An image's header before and after: by the promise, without pixels, and without values unless asked for."""

from __future__ import annotations

import pytest

from mapdr.operate.access import Access, access
from mapdr.operate.actions import reroute
from mapdr.operate.deliveries import deliveries
from mapdr.operate.header import Headers, headers
from mapdr.operate.images import images
from mapdr.operate.selection import Selection
from mapdr.transform.encode.compress import CompressStep
from paper.nodes import NodeFolder


def parked(opened: Access) -> str:
    (row,) = deliveries(opened, Selection(state="parked"))
    return row.sop_instance_uid


def test_each_destination_s_header_is_told_and_no_pixel_is_touched(
    opened: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object) -> None:
        raise AssertionError("a pixel was worked on")

    monkeypatch.setattr(CompressStep, "encode", never)
    told = headers(opened, parked(opened), identify=True)
    assert (told.known, told.purged) == (1, 0)
    archive, telepacs = sorted(told.promises, key=lambda one: one.destination)
    assert (archive.destination, archive.state, archive.changes, archive.pixels) == (
        "archive",
        "pending",
        [],
        [],
    )
    assert (telepacs.destination, telepacs.state, telepacs.pixels) == ("telepacs", "parked", ["compress"])
    (change,) = telepacs.changes
    assert (change.tag, change.name, change.change) == ("(0008,0050)", "Accession Number", "changed")
    assert change.before
    assert change.after == f"CN-{change.before}"


def test_values_are_kept_back_and_the_audit_hears_of_those_that_are_not(opened: Access) -> None:
    audit = opened.plan.node.data / "audit"
    uid = parked(opened)
    values = {(one.before, one.after) for each in headers(opened, uid).promises for one in each.changes}
    assert values == {(None, None)}
    assert not audit.exists()
    headers(opened, uid, identify=True)
    (day,) = audit.iterdir()
    assert "view header" in day.read_text()


def test_a_promise_keeps_its_recipe_when_the_rules_change(opened: Access, used: NodeFolder) -> None:
    uid = parked(opened)
    used.config.write_text(used.config.read_text().replace('with = "CN-"', 'with = "X-"'))
    with access(used.config, rules=True) as today:
        reroute(today, Selection(sop_instance_uid=uid, destination="telepacs"))
        told = [one for one in headers(today, uid, identify=True).promises if one.destination == "telepacs"]
    assert [(one.batch, one.state) for one in told] == [(0, "superseded"), (1, "pending")]
    assert [str(one.changes[0].after).partition("-")[0] for one in told] == ["CN", "X"]


def test_of_a_purged_image_it_is_said_so(opened: Access) -> None:
    uid = parked(opened)
    (image,) = images(opened, Selection(sop_instance_uid=uid))
    opened.index().instances.get(image.instance).path.unlink()
    assert headers(opened, uid) == Headers(1, 1, [])
    assert headers(opened, "1.2.3") == Headers(0, 0, [])


def test_a_file_that_is_not_what_was_received_is_told(opened: Access) -> None:
    uid = parked(opened)
    (image,) = images(opened, Selection(sop_instance_uid=uid))
    path = opened.index().instances.get(image.instance).path
    path.write_bytes(path.read_bytes()[:200])
    told = headers(opened, uid, identify=True)
    assert all(one.error and not one.changes for one in told.promises if one.destination == "telepacs")
    assert told.promises
