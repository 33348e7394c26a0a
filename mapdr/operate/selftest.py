"""Whether the parts of this installation that are not Python work: each is used once, and looked at.

`operate.doctor` says what is installed and how its surroundings are; this needs no configuration, no network
and no data folder, and leaves nothing behind. It is what a package is tried with after it was built, and a
program after it was installed or frozen.
"""

from __future__ import annotations

import re
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import metadata, resources
from pathlib import Path

import xxhash
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import mapdr
from mapdr import _fast
from mapdr._fast import _command_py, _pixels_py, _rewrite_py, _rle_py, _scan_py
from mapdr._fast.scan_tables import EXPLICIT, Tree
from mapdr.dicom import tags
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.page import page_factory
from mapdr.kernel.privacy import in_words
from mapdr.kernel.registry import Registry
from mapdr.license import code as request_code
from mapdr.license import gate
from mapdr.license.facts import machine
from mapdr.operate import words
from mapdr.store import Store
from mapdr.transform.codecs.exercise import exercise
from mapdr.transform.pixels import entries

PAGE = "mapdr_web"
NAMED = re.compile(r"""(?:/static/|["']\./)([\w.-]+\.(?:js|css|svg))""")
"""A file of the page that another one names."""


@dataclass(frozen=True, slots=True)
class PartTest:
    """One part: whether it works, and in words what was done, or what failed."""

    part: str
    name: str
    ok: bool
    text: str


class Failed(MapdrError):
    """A part gave something else than it should."""


def selftest() -> Iterator[PartTest]:
    """Try every part. Whatever one of them raises is its failure; the others are tried for all that."""
    parts: tuple[tuple[str, Callable[[], Iterator[PartTest]]], ...] = (
        ("hot paths", _hot_paths),
        ("codecs", _codecs),
        ("libraries", _libraries),
        ("stages", _stages),
        ("regions", _regions),
        ("page", _page),
        ("license", _license),
    )
    for part, tests in parts:
        try:
            yield from tests()
        except Exception as error:  # noqa: BLE001  a part may fail in any way: that is what is looked for
            yield PartTest(part, "", False, in_words(error))


def _tried(part: str, name: str, work: Callable[[], str]) -> PartTest:
    try:
        return PartTest(part, name, True, work())
    except Exception as error:  # noqa: BLE001  as above
        return PartTest(part, name, False, in_words(error))


# --- hot paths ----------------------------------------------------------------------------------------------

_HEADER = b"".join(
    struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
    for tag, vr, value in (
        (tags.SOP_CLASS_UID, b"UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
        (tags.SOP_INSTANCE_UID, b"UI", b"2.25.1234567890\0"),
        (tags.MODALITY, b"CS", b"OT"),
        (tags.ROWS, b"US", b"\x10\x00"),
    )
)
"""The beginning of a data set in Explicit VR Little Endian."""
_COMMAND = b"".join(
    struct.pack("<HHL", 0, element, len(value)) + value
    for element, value in ((0x0002, b"1.2.840.10008.1.1\0"), (0x0100, b"\x30\x00"), (0x0110, b"\x01\x00"))
)
"""A command set (PS3.7, section 6.3.1): a C-ECHO-RQ."""


def _hot_paths() -> Iterator[PartTest]:
    for name, backend in _fast.BACKENDS.items():
        # From source, without a compiler, the plain twins do the work; a frozen program must have what it was
        # built with.
        if backend == "python":
            text = "plain Python does its work: slower"
            yield PartTest("hot paths", name, not getattr(sys, "frozen", False), text)
        else:
            yield PartTest("hot paths", name, True, "compiled")
    yield _tried("hot paths", "compiled and plain", _twins)


def _twins() -> str:
    """Read a header and a command by the hot paths and by their plain twins, and compare."""
    size, looked = len(_HEADER), (tags.SOP_INSTANCE_UID, tags.MODALITY)
    wanted: Tree = {tag: {} for tag in looked}
    alike = (
        _fast.collect(_HEADER, size, size, EXPLICIT, wanted, beyond=False, max_value=64)
        == _scan_py.collect(_HEADER, size, size, EXPLICIT, wanted, beyond=False, max_value=64),
        _fast.locate(_HEADER, size, EXPLICIT, looked) == _rewrite_py.locate(_HEADER, size, EXPLICIT, looked),
        _fast.command_elements(_COMMAND) == _command_py.command_elements(_COMMAND),
        _fast.rle_encode(_HEADER, 1, size, 1, 1) == _rle_py.encode(_HEADER, 1, size, 1, 1),
        _fast.differences(_HEADER, bytes(size), "B", 1, 0)
        == _pixels_py.differences(_HEADER, bytes(size), "B", 1, 0),
    )
    if not all(alike):
        raise Failed("the hot paths give something else than their plain twins")
    return "a header and a command are read alike, and a frame is written and compared alike"


# --- the license --------------------------------------------------------------------------------------------


def _license() -> Iterator[PartTest]:
    yield _tried("license", "gate", _gate)


def _gate() -> str:
    """Ask the gate of a vendor's build about this machine without a license, which is in its trial then."""
    if not gate.needed():
        return "this build needs no license"
    facts = machine().facts
    told, _ = gate.judge(None, facts, datetime.now(UTC), None)
    if told.kind != "trial":
        raise Failed(told.reason)
    found = request_code.fingerprint(facts)
    if request_code.read(request_code.written(found)) != found:
        raise Failed("the request code does not say what the machine is")
    return f"it answers; {words.many(len(facts), 'fact')} of this machine can be read"


# --- codecs and libraries -----------------------------------------------------------------------------------


def _codecs() -> Iterator[PartTest]:
    """Each transfer syntax: what is offered is done."""
    for row in exercise(Registry()):
        done = " and ".join(row.done) or "offered, and not tried: there is no image of this kind here"
        yield PartTest("codecs", row.name, not row.failed, "; ".join(row.failed) or done)


def _libraries() -> Iterator[PartTest]:
    part = "libraries"
    yield _tried(part, "SQLite", _sqlite)
    yield _tried(part, "TLS", _tls)
    yield _tried(part, "checksums", _checksums)
    yield _tried(part, "watching of folders", _watching)


def _sqlite() -> str:
    """Make a node's index in a folder of its own, and have it written and read."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder), "selftest")
        try:
            store.commands.beat({"state": "selftest"})
            if [beat.counters for beat in store.commands.heartbeats()] != [{"state": "selftest"}]:
                raise Failed("what was written is not what is read")
        finally:
            store.close()
    return "an index was made, written and read"


def _tls() -> str:
    """Make a certificate, and shake hands by it, in memory."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "certificate.pem"
        file.write_bytes(_certificate())
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        theirs.load_cert_chain(file)
        ours = ssl.create_default_context(cafile=str(file))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(down, up, server_hostname="localhost")
    server = theirs.wrap_bio(up, down, server_side=True)
    waiting = [client, server]
    for _ in range(_FLIGHTS):
        for each in list(waiting):
            with suppress(ssl.SSLWantReadError):
                each.do_handshake()
                waiting.remove(each)
    if waiting:
        raise Failed("the two sides of a TLS connection do not come to an end")
    client.write(_COMMAND)
    if server.read() != _COMMAND:
        raise Failed("what was encrypted is not what is decrypted")
    return f"{ssl.OPENSSL_VERSION}, {client.version()} by a certificate that was made"


_FLIGHTS = 8
"""Rounds after which a handshake has ended: TLS 1.3 needs three."""


def _certificate() -> bytes:
    """A new key, and a certificate for localhost by it, as PEM; both are nobody's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return certificate.public_bytes(encoding) + key.private_bytes(
        encoding, private, serialization.NoEncryption()
    )


def _checksums() -> str:
    if xxhash.xxh3_128(b"").hexdigest() != "99aa06d3014798d86001c324468d497f":  # of its specification
        raise Failed("xxhash gives a wrong checksum")
    return f"xxhash {xxhash.VERSION}"


def _watching() -> str:
    """See a file come, by the system's own notice or by looking again and again."""
    from watchfiles import watch  # slow to import

    enough = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder).resolve() / "came"
        deadline = time.monotonic() + _PATIENCE
        for found in watch(folder, stop_event=enough, yield_on_timeout=True, rust_timeout=100, debounce=100):
            if any(Path(path).name == file.name for _, path in found):
                return "a file that came was seen"
            if time.monotonic() > deadline:
                break
            file.write_bytes(b"x" if not file.exists() else file.read_bytes() + b"x")
    raise Failed(f"a file that came was not seen within {_PATIENCE:.0f} seconds")


_PATIENCE = 10.0

# --- stages and page ----------------------------------------------------------------------------------------


def _stages() -> Iterator[PartTest]:
    """Each stage can be loaded, and the installation knows its own program."""
    for plugin in Registry().plugins():
        name = f"{plugin.kind} {plugin.type}"
        text = f"unavailable, because {plugin.reason}" if plugin.factory is None else "can be loaded"
        yield PartTest("stages", name, plugin.factory is not None, text)
    yield _tried("stages", "entry points", _entry_points)


def _entry_points() -> str:
    found = metadata.version("mapdr")
    if found != mapdr.__version__:
        raise Failed(f"the installation says that it is {found}; the program is {mapdr.__version__}")
    if "mapdr" not in metadata.entry_points(group="console_scripts").names:
        raise Failed("the installation has no entry points: plug-ins would not be found")
    return f"mapdr {found}"


def _regions() -> Iterator[PartTest]:
    """The sets of regions that come with MAPDR, which are files."""
    for name in entries.SETS:
        yield _tried("regions", name, partial(_entries, name))


def _entries(name: str) -> str:
    return words.many(len(entries.shipped(name)), "entry", "entries")


def _page() -> Iterator[PartTest]:
    yield _tried("page", "stage", lambda: page_factory().type)
    yield _tried("page", "files", _page_files)


def _page_files() -> str:
    """Look for each file of the page that another one names."""
    folder, found, named = resources.files(PAGE) / "static", 0, {"index.html"}
    seen: set[str] = set()
    while named - seen:
        name = min(named - seen)
        seen.add(name)
        file = folder / name
        if not file.is_file():
            raise Failed(f"{name} is not there")
        found += 1
        named.update(NAMED.findall(file.read_text(encoding="utf-8")))
    return words.many(found, "file")
