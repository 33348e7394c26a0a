"""Whom the configuration of a DIMSE receiver lets in, and the line that it gives for whom it does not."""

from __future__ import annotations

import ipaddress

import pytest
from pydantic import ValidationError

from mapdr.kernel import tls_words
from mapdr.kernel.certificate import PEER, WARN_BEFORE, Certificate
from mapdr.receive import shown
from mapdr.receive.dicom.config import DimseReceiveConfig
from mapdr.receive.dicom.doorkeeper import Doorkeeper, cure
from mapdr.receive.rejections import cure_by_tls
from mapdr.receive.shown import ShownCertificates
from mapdr.wire import acceptor, pdu

HERE = ipaddress.IPv4Address("10.1.2.3")


def test_a_network_may_be_named_by_any_address_in_it() -> None:
    keeper = Doorkeeper(DimseReceiveConfig.model_validate({"allow": [{"host": "10.1.2.7/24"}]}))
    assert keeper.objection(HERE, "CT1", "MAPDR") is None
    elsewhere = ipaddress.IPv4Address("10.1.3.3")
    assert keeper.objection(elsewhere, "CT1", "MAPDR") == acceptor.NO_REASON
    with pytest.raises(ValidationError, match="not an address or network"):
        DimseReceiveConfig.model_validate({"allow": [{"host": "ct-room"}]})


@pytest.mark.parametrize(
    ("rejection", "calling", "line"),
    [
        (acceptor.CALLED_AE_UNKNOWN, "CT1", 'add "OURS" to called_ae_titles of [receive.r]'),
        (
            acceptor.CALLING_AE_UNKNOWN,
            "CT1",
            'add { ae_title = "CT1", host = "10.1.2.3" } to allow of [receive.r]',
        ),
        (
            acceptor.LIMIT_EXCEEDED,
            "CT1",
            "raise max_associations or max_associations_per_peer of [receive.r]",
        ),
        (acceptor.VERSION_UNKNOWN, "CT1", ""),
        (acceptor.CALLED_AE_UNKNOWN, 'CT"1', ""),
        (acceptor.CALLED_AE_UNKNOWN, "CT\\1", ""),
        (acceptor.CALLED_AE_UNKNOWN, "CT\x1b1", ""),
    ],
)
def test_the_line_that_lets_a_peer_in(rejection: pdu.AssociateReject, calling: str, line: str) -> None:
    """None where there is none, and where a title that a stranger made up would break the line."""
    assert cure(rejection, calling, "OURS", "r", HERE) == line


def test_the_line_that_lets_a_peer_in_by_tls() -> None:
    line = cure_by_tls(f"rejected: {tls_words.NO_CERTIFICATE}", "r")
    assert line == "give the peer a certificate that ca of [receive.r] has signed"
    assert cure_by_tls("rejected: something else", "r") == ""


def test_the_last_certificate_of_each_system_is_known_and_strangers_fill_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shown, "KEPT", 2)
    known = ShownCertificates()

    def names() -> list[tuple[str, str]]:
        return [(each.name, each.fingerprint) for each in known.ending_soon(0.0)]

    for name, fingerprint in (("ct1", "old"), ("mr1", "only"), ("ct1", "new")):
        known.note(Certificate(PEER, name, fingerprint, 1.0))
    assert names() == [("mr1", "only"), ("ct1", "new")]
    known.note(Certificate(PEER, "us1", "only", WARN_BEFORE))
    assert names() == [("ct1", "new")], "what was shown longest ago goes, and us1 does not end soon"
    known.note(Certificate(PEER, "ct1", "renewed", WARN_BEFORE + 1))
    assert names() == []
