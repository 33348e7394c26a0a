"""Whether a wheel for Windows holds every extension, and whether these need only what Windows has.

usage: check_wheel.py WHEEL SOURCES
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OBJDUMP = "x86_64-w64-mingw32-objdump"
THERE = re.compile(r"(python311|kernel32|msvcrt|ucrtbase|api-ms-win-[a-z0-9-]+)\.dll", re.IGNORECASE)
"""What every Windows 10 with CPython 3.11 has; a DLL of mingw's own (libgcc, winpthread) it has not."""


def main(wheel: str, sources: str) -> None:
    expected = {
        f"mapdr/_fast/{path.stem}.cp311-win_amd64.pyd" for path in Path(sources, "mapdr/_fast").glob("*.pyx")
    }
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        found = {name for name in archive.namelist() if name.endswith(".pyd")}
        if found != expected or not expected:
            sys.exit(f"extensions: {sorted(found)} instead of {sorted(expected)}")
        stray = [name for name in archive.namelist() if name.endswith((".so", ".c", ".dll"))]
        if stray:
            sys.exit(f"should not be in the wheel: {stray}")
        for name in sorted(found):
            foreign = [dll for dll in imports(archive.extract(name, folder)) if not THERE.fullmatch(dll)]
            if foreign:
                sys.exit(f"{name} needs DLLs that Windows lacks: {foreign}")


def imports(path: str) -> list[str]:
    """The DLLs that a PE file is linked to."""
    listed = subprocess.run([OBJDUMP, "-p", path], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"DLL Name: (\S+)", listed)
    if not found:
        sys.exit(f"{path} imports nothing: not an extension")
    return found


main(*sys.argv[1:])
