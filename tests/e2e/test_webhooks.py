"""Webhooks of a real node: a RIS that lets nobody in, then everybody; asked and told as an operator would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mapdr.testing.generator import study
from mapdr.testing.wait import until
from peers.httpd import Asked, Said, certificate, server_tls, serving
from peers.node import Node, destination
from peers.part10 import in_memory
from peers.rawsender import send_all
from peers.rawsink import RawSink

PAYLOAD: dict[str, Any] = {
    "event": "{event}",
    "patient": "{PatientID}",
    "series": [{"each": "series", "uid": "{SeriesInstanceUID}", "images": "{images}"}],
}


def test_a_ris_is_told_in_order_once_it_lets_the_node_in(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    files, own = certificate(tmp_path), certificate(tmp_path, "router")
    (tmp_path / "token").write_text("old")
    images = list(study("CT", images=3, size=(16, 16)))

    def ris(asked: Asked) -> Said:
        return Said(204 if asked.headers.get("authorization") == "Bearer new" else 401)

    with RawSink() as sink, serving(ris, server_tls(files, ca=own[0])) as server:
        node = make_node(
            egress={"pacs": destination(sink.port)},
            rules=[{"name": "all", "when": {}, "send_to": ["pacs"]}],
            webhook={
                "ris": {
                    "url": f"{server.url}/studies",
                    "method": "PUT",
                    "on": ["study.received", "study.delivered"],
                    "auth": {"token": f"file:{tmp_path / 'token'}"},
                    "tls": {"ca": str(files[0]), "cert": str(own[0]), "key": str(own[1])},
                    "payload": PAYLOAD,
                }
            },
        ).start()
        assert set(send_all(node.port, [in_memory(image) for image in images]).values()) == {0}
        node.when_settled(3)
        (hook,) = until(
            lambda: [each for each in hooks(node) if each["pending"] == 2 and each["comment"]], 60
        )
        assert (hook["delivered"], hook["status"]) == (0, 401)
        assert "asks for a login, or does not accept this one" in hook["comment"]
        assert "webhook ris: the server asks for a login" in str(node.status()["attention"])

        node.command("webhooks", "test", "ris", expect=1)
        (tmp_path / "token").write_text("new")
        assert node.json("webhooks", "test", "ris")["taken"]
        node.command("retry", "--webhooks", "--yes")
        until(lambda: hooks(node)[0]["delivered"] == 2, 60)
        first = len(server.asked)
        taken = [
            json.loads(asked.body) for asked in server.asked if asked.headers["authorization"] != "Bearer old"
        ]
        (example,) = [body for body in taken if body.pop("test", False)]
        told = [body for body in taken if body != example]
        assert [body["event"] for body in told] == ["study.received", "study.delivered"]
        assert all(sum(series["images"] for series in body["series"]) == 3 for body in told)

        (received, delivered) = reversed(node.json("webhooks", "show")["messages"])
        assert received["body"]["patient"] == "{PatientID}"
        study_uid = node.json("studies")["studies"][0]["study_instance_uid"]
        again = node.json("webhooks", "replay", "--study", study_uid, "--event", "study.delivered", "--yes")
        assert (again["messages"], again["again"]) == (1, 1)
        until(
            lambda: (
                server.asked[-1].headers["webhook-id"] == delivered["webhook_id"]
                and len(server.asked) > first
            ),
            60,
        )
        until(lambda: hooks(node)[0]["delivered"] == 2, 60)
        assert told[0]["patient"] not in node.log.read_text()
        assert "webhooks replay" in node.log.read_text()


def hooks(node: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = node.json("webhooks", "list")["webhooks"]
    return found
