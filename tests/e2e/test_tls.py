"""A whole node with TLS on both sides, between DCMTK's programs, while its certificate is renewed."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from mapdr.kernel.item import Payload
from mapdr.store.spool import filemeta
from mapdr.testing.generator import study
from mapdr.testing.wait import until
from mapdr.wire.requestor import Requestor
from peers import dcmtk
from peers.certificates import Authority, Pair
from peers.node import Node, destination, everything_to
from peers.processes import LOOPBACK
from receive.test_dimse_interop import paths


def sender(node: Node, authority: Authority, own: Pair) -> Requestor:
    """An association that stays open."""
    context = ssl.create_default_context(cafile=authority.path)
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    context.load_cert_chain(own.cert, own.key)
    image = next(iter(study("CT", images=1)))
    proposals = ((image.sop_class_uid, (image.transfer_syntax_uid,)),)
    return Requestor.connect(
        LOOPBACK, node.port, calling_ae="CT2", called_ae="MAPDR", proposals=proposals, tls=context
    )


def store(requestor: Requestor) -> None:
    image = next(iter(study("CT", images=1)))
    data = image.dataset
    payload = Payload(
        image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid, (data,), len(data)
    )
    assert requestor.c_store(payload).status == 0


@pytest.mark.peer("storescu", "storescp", "echoscu")
def test_images_go_through_and_every_side_is_known(
    tmp_path: Path, keep: Callable[[Callable[[], object]], None]
) -> None:
    authority = Authority(tmp_path / "tls")
    own, modality = authority.sign("mapdr", days=20.5), authority.sign("ct1")
    pacs = authority.sign("pacs", names=("pacs.clinic.example",), addresses=())
    receiver = dcmtk.StoreScp(tmp_path / "scp", tls=dcmtk.secured(pacs, authority.path))
    keep(receiver.stop)
    trusting = {**own.table(authority.path), "name": "pacs.clinic.example"}
    node = Node(
        tmp_path / "node",
        egress={"pacs": destination(receiver.port, tls=trusting)},
        rules=[everything_to("pacs")],
        receive={"tls": own.table(authority.path)},
    )
    node.spawn()
    keep(node.stop)
    assert node.process is not None
    node.process.wait_for_port(node.port, 60)

    options = dcmtk.secured(modality, authority.path)
    assert dcmtk.storescu(node.port, paths()[:1], "-R", *options).returncode == 0
    association = sender(node, authority, modality)
    store(association)
    node.when_settled(2)

    proved = f"certificate:ct1 sha256:{modality.fingerprint}"
    spooled = [path for path in (node.data / "spool").rglob("*") if path.suffix == ".dcm"]
    assert len(spooled) == 2
    for path in spooled:
        with path.open("rb") as file:
            assert filemeta.decode(file).source.credential == proved
    rows = node.json("deliveries", "--attempts")["deliveries"]
    shown = f"certificate:pacs.clinic.example sha256:{pacs.fingerprint}"
    assert {row["credential"] for row in rows} == {shown}
    assert {one["credential"] for row in rows for one in row["attempts_made"]} == {shown}

    def said(kind: str) -> list[str]:
        return [each["text"] for each in node.status()["attention"] if each["kind"] == kind]

    until(lambda: said("certificate"), 20, "what is said of the certificate")
    assert "receive.modalities: its own TLS certificate, mapdr, expires in 20 days" in said("certificate")
    assert "egress.pacs: its own TLS certificate, mapdr, expires in 20 days" in said("certificate")
    assert dcmtk.echoscu(node.port) != 0
    until(lambda: said("rejected"), 20, "what is said of the plain peer")
    assert "it does not speak TLS, this receiver does" in said("rejected")[0]

    authority.sign("mapdr")
    until(lambda: not said("certificate"), 30, "the new certificate")
    store(association)
    association.release()
    assert dcmtk.storescu(node.port, paths()[1:2], "-R", *options).returncode == 0
    node.when_settled(4)
    until(lambda: len(receiver.files()) == 4, 20)
    assert node.stop() == 0
    log = node.log.read_text()
    assert "changed TLS files are in use" in log
    assert "Traceback" not in log
