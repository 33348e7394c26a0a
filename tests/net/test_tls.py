"""TLS files that are what they should be, and those that are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mapdr.net.tls import tls_faults


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A certificate, its key, that key with a passphrase, both in one file, and another key."""
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )

    def pem(what: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
        lock = (
            serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        )
        return what.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)

    contents = {
        "cert": certificate,
        "key": pem(key),
        "locked": pem(key, b"secret"),
        "other": pem(other),
        "both": pem(key) + certificate,
    }
    found = {name: tmp_path / f"{name}.pem" for name in contents}
    for name_, path in found.items():
        path.write_bytes(contents[name_])
    return found


def told(cert: Path | None, key: Path | None, ca: Path | None = None) -> list[tuple[str, str]]:
    return [(str(found.place[-1]), found.what) for found in tls_faults(cert, key, ca)]


def test_what_belongs_together_is_taken(files: dict[str, Path]) -> None:
    assert told(files["cert"], files["key"], files["cert"]) == []
    assert told(files["both"], None) == []
    assert told(None, None) == []


@pytest.mark.parametrize(
    ("cert", "key", "fault"),
    [
        ("cert", None, ("cert", "cannot be used without its key")),
        ("cert", "other", ("key", "is not the key of cert")),
        ("cert", "locked", ("cert", "cannot be used with key")),
        ("key", "cert", ("cert", "cannot be used with key")),
    ],
)
def test_what_does_not_is_told(files: dict[str, Path], cert: str, key: str | None, fault: object) -> None:
    assert told(files[cert], files[key] if key else None) == [fault]


def test_a_folder_is_no_file(tmp_path: Path, files: dict[str, Path]) -> None:
    ((name, what),) = told(files["cert"], files["key"], tmp_path)
    assert name == "ca"
    assert what.startswith("names a file that cannot be read")
