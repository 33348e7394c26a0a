"""Certificates for tests: a CA that signs what a test asks for, and files in PEM form."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Pair:
    """A certificate's file and that of its key, and the certificate itself."""

    cert: Path
    key: Path
    certificate: x509.Certificate

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal digits."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def table(self, ca: Path | None = None) -> dict[str, str]:
        """The keys of a table `tls`."""
        found = {"cert": str(self.cert), "key": str(self.key)}
        return found if ca is None else {**found, "ca": str(ca)}


class Authority:
    """A CA whose certificate is the file `path`."""

    def __init__(self, folder: Path, name: str = "ca", days: float = 300) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        made = (
            _builder(self._name, self._name, self._key.public_key(), -1, days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def sign(
        self,
        name: str = "localhost",
        *,
        file: str = "",
        names: Sequence[str] = (),
        addresses: Sequence[str] = (LOOPBACK,),
        since: float = -1,
        days: float = 300,
        with_rsa: bool = False,
    ) -> Pair:
        """A certificate with the common name `name`, valid from `since` to `days` days from now.

        It is written to `file` (or a file of its common name), or put in the place of the one that is there.
        """
        key = rsa.generate_private_key(65537, 2048) if with_rsa else ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self._name, key.public_key(), since, days)
        others: list[x509.GeneralName] = [x509.DNSName(each) for each in names]
        others += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        stem = file or name
        cert, secret = _written(self.folder / f"{stem}.pem", self.folder / f"{stem}.key", made, key)
        return Pair(cert, secret, made)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    since: float,
    days: float,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=min(since, days - 1)))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody else has signed, and its key: both sides trust and show it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    address = x509.IPAddress(ipaddress.ip_address(LOOPBACK))
    made = (
        _builder(name, name, key.public_key(), -1, 1)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _written(folder / "cert.pem", folder / "key.pem", made, key)


def _written(
    cert: Path, key: Path, made: x509.Certificate, secret: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> tuple[Path, Path]:
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key.write_bytes(secret.private_bytes(serialization.Encoding.PEM, form, encryption))
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return cert, key
