"""What is told of a certificate: the system that it names, and nobody else."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mapdr.net.certificate import LONGEST_NAME, MOST_TRUSTED, certificate_of, certificates_in
from mapdr.net.tls import ClientTls, certificates
from peers.certificates import Authority

PERSON = "Meier"


def der(common: str | None, *, names: tuple[str, ...] = (), mail: bool = False) -> bytes:
    """A certificate with a person in every field but the common name."""
    key = ec.generate_private_key(ec.SECP256R1())
    fields = [
        x509.NameAttribute(x509.NameOID.GIVEN_NAME, PERSON),
        x509.NameAttribute(x509.NameOID.EMAIL_ADDRESS, f"{PERSON}@clinic.example"),
    ]
    if common is not None:
        fields.append(x509.NameAttribute(x509.NameOID.COMMON_NAME, common))
    now = datetime.datetime.now(datetime.UTC)
    others: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    if mail:
        others.append(x509.RFC822Name(f"{PERSON}@clinic.example"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(fields))
        .issuer_name(x509.Name(fields))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    if others:
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (der("CT1"), "CT1"),
        (der("CT1", names=("ct1.clinic.example", "other.example")), "ct1.clinic.example"),
        (der("CT1", mail=True), "CT1"),
        (der(None, mail=True), ""),
        (der("a\x1b[2J\nb"), "a?[2J?b"),
        (der("x" * 64), "x" * LONGEST_NAME),
        (der(None, names=("n" * 60 + "." + "m" * 60,)), ("n" * 60 + ".mmm")),
    ],
)
def test_the_name_is_that_of_a_system(made: bytes, name: str) -> None:
    found = certificate_of(made, "peer")
    assert found.name == name
    assert PERSON not in found.credential
    assert len(found.fingerprint) == 64


def test_an_address_is_a_name_where_there_is_no_other(tmp_path: Path) -> None:
    pair = Authority(tmp_path).sign("-", file="pair", addresses=("10.1.2.3",))
    (found,) = certificates_in(pair.cert, "own")
    assert found.name == "-"
    assert abs(found.expires_at - pair.certificate.not_valid_after_utc.timestamp()) < 1


def test_what_is_no_certificate_is_none() -> None:
    with pytest.raises(ValueError, match="pars"):
        certificate_of(b"nothing of the kind", "peer")


def test_a_public_bundle_is_not_watched(tmp_path: Path) -> None:
    few = tmp_path / "few.pem"
    many = tmp_path / "many.pem"
    one = Authority(tmp_path, "one").path.read_bytes()
    few.write_bytes(one * 2)
    many.write_bytes(one * (MOST_TRUSTED + 1))
    assert [each.whose for each in certificates(ClientTls(ca=few))] == ["ca", "ca"]
    assert certificates(ClientTls(ca=many)) == []
    assert certificates(ClientTls(ca=tmp_path / "none.pem")) == []
    assert certificates(None) == []
