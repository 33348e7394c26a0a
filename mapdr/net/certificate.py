"""Certificates as they are read: which system one names, its fingerprint, its end (RFC 5280)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mapdr.kernel.certificate import Certificate

if TYPE_CHECKING:
    from cryptography import x509

LONGEST_NAME = 64
"""Characters of a name that are kept: what a certificate says is its maker's choice."""

MOST_TRUSTED = 10
"""A file with more certificates than this is a public bundle: some of these end every month, and nobody here
can do anything about it."""


@lru_cache(maxsize=256)
def certificate_of(der: bytes, whose: str) -> Certificate:
    """What is told of a certificate in DER form. Raises ValueError if it is none."""
    from cryptography import x509  # only who uses TLS needs it

    return _told(x509.load_der_x509_certificate(der), whose)


def certificates_in(path: Path, whose: str) -> list[Certificate]:
    """Those of a PEM file, in its order. Raises OSError, ValueError."""
    from cryptography import x509

    return [_told(each, whose) for each in x509.load_pem_x509_certificates(path.read_bytes())]


def _told(found: x509.Certificate, whose: str) -> Certificate:
    from cryptography.hazmat.primitives import hashes

    fingerprint = found.fingerprint(hashes.SHA256()).hex()
    return Certificate(whose, _name(found), fingerprint, found.not_valid_after_utc.timestamp())


def _name(found: x509.Certificate) -> str:
    """The DNS name, else the common name, else the address: the first of these that names a system.

    A certificate's other fields (organisation, serial number, e-mail address) may name people.
    """
    from cryptography import x509

    names: list[str] = []
    addresses: list[str] = []
    try:
        san = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = san.get_values_for_type(x509.DNSName)
        addresses = [str(each) for each in san.get_values_for_type(x509.IPAddress)]
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        pass
    try:
        common = found.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        names += [str(each.value) for each in common]
    except ValueError:
        pass
    name = next(iter(names + addresses), "")
    return "".join(each if each.isprintable() else "?" for each in name[:LONGEST_NAME])
