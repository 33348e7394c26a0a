"""Whether the files of a `tls` table can be used: what `check` says before `run` would fail on them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from mapdr.kernel.finding import Finding

_WHERE = "name a file that is there; a relative path starts from the configuration's folder"
_PEM = "use files in PEM form, the key without a passphrase"


def tls_faults(cert: Path | None, key: Path | None, ca: Path | None) -> Iterator[Finding]:
    """What is wrong with the files, at `tls.cert`, `tls.key` and `tls.ca`. They are read, nothing else."""
    given = {"cert": cert, "key": key, "ca": ca}
    unread = {name: why for name, path in given.items() if path is not None and (why := _unreadable(path))}
    for name, why in unread.items():
        yield Finding(("tls", name), why, _WHERE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None and "ca" not in unread:
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError):
            yield Finding(("tls", "ca"), "holds no certificate that can be read", "use a file in PEM form")
    if cert is None or unread.keys() & {"cert", "key"}:
        return
    try:
        # The passphrase is given, and wrong, so that OpenSSL does not ask a terminal for it.
        context.load_cert_chain(cert, key, password=lambda: "-")
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or ""
        if reason == "KEY_VALUES_MISMATCH":
            yield Finding(("tls", "key" if key else "cert"), "is not the key of cert", "name its own key")
        elif key is None:
            yield Finding(("tls", "cert"), "cannot be used without its key", "add key = ...; " + _PEM)
        else:
            yield Finding(("tls", "cert"), "cannot be used with key", _PEM)


def _unreadable(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        return "names a file that does not exist"
    except OSError as error:
        return f"names a file that cannot be read ({error.strerror or type(error).__name__})"
    return ""
