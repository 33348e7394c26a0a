"""The license as the page shows and installs it: functions of the API, as those of `mapdr_web.api`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.privacy import system_says
from mapdr.operate import license as operate
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.operate.license import LicenseError, LicenseState, Request


def license_state(opened: Access) -> LicenseState:
    """How the license stands; nothing is changed by looking."""
    with _told():
        return operate.license_of(opened)


def request(opened: Access) -> Request:
    """A new request code of this machine, by which the vendor makes a license; any that it gave can be
    answered. The same as a QR code: its modules, and as SVG."""
    with _told():
        return operate.request()


def install(opened: Access, token: str) -> LicenseState:
    """Install a license that the vendor gave: a running node takes it within a second. One that would not
    hold here is refused, and what was installed stays."""
    with _told("token"):
        return operate.install(opened, token)


@contextmanager
def _told(field: str = "") -> Iterator[None]:
    """What cannot be done as a request that is refused, and files that cannot be used in words."""
    try:
        yield
    except LicenseError as error:
        raise RequestError(str(error), field=field) from error
    except OSError as error:
        what = system_says(error)
        raise MapdrError(f"the license cannot be read or written ({what})") from error
