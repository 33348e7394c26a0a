"""`mapdr service install` under wine, whose service manager does not know all that Windows' can be told.

usage: wine_service.py CONFIGURATION

Prints what wine does not know; everything else is asked of it as of Windows.
"""

import sys
from pathlib import Path
from typing import Any

import win32service

from mapdr.operate.service import service_of
from mapdr.service.windows import WindowsServices

INVALID_LEVEL = 124
"""ERROR_INVALID_LEVEL."""


class Wine:
    """pywin32's `win32service`, which passes over what wine cannot be told."""

    def __getattr__(self, name: str) -> Any:
        return getattr(win32service, name)

    def ChangeServiceConfig2(self, handle: Any, kind: int, value: Any) -> None:  # noqa: N802  as pywin32 has it
        try:
            win32service.ChangeServiceConfig2(handle, kind, value)
        except win32service.error as error:
            if error.winerror != INVALID_LEVEL:
                raise
            print(f"wine knows no level {kind}")


if __name__ == "__main__":
    WindowsServices(lambda config: config, Wine()).install(service_of(Path(sys.argv[1])))
