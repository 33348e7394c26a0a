"""Whether what was frozen for Windows is what may be given away.

usage: check_frozen.py DIST VERSION     (with pefile)

Sizes, the manifest and the version in the programs, what must not be in them, and the DLLs: each that is
imported has to be in the folder or to be part of Windows 10 itself. wine has a C++ runtime of its own and
would hide that Microsoft's is missing; a DLL that is wine's own must not have been taken along.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pefile

FOLDER_BYTES, FILE_BYTES = 150_000_000, 70_000_000

WINDOWS = re.compile(
    r"(kernel32|kernelbase|user32|gdi32|advapi32|shell32|ole32|oleaut32|ws2_32|crypt32|bcrypt|"
    r"bcryptprimitives|ntdll|"
    r"msvcrt|version|rpcrt4|iphlpapi|comctl32|comdlg32|winmm|secur32|userenv|psapi|dbghelp|shlwapi|"
    r"imm32|setupapi|"
    r"mscoree|ntdsapi|sfc|"
    r"netapi32|mswsock|dnsapi|powrprof|cabinet|msi|propsys|wtsapi32|ncrypt|ucrtbase|pdh|uxtheme|mpr)\.dll|"
    r"winspool\.drv"
)
"""DLLs of Windows 10."""
OWN = re.compile(r"(api|ext)-ms-win-")
"""Names that Windows resolves itself."""
FOREIGN = (b"Wine builtin DLL", b"Wine placeholder DLL")
UNWANTED = (
    "mapdr_vendor",
    "glymur",
    "lxml",
    "tkinter",
    "pytest",
    "_pytest",
    "hypothesis",
    "playwright",
    "tests",
)


def main(target: str, version: str) -> None:
    """Print what is wrong, a line each, and end with 1; or what was looked at."""
    dist = Path(target)
    folder, file = dist / "MAPDR", dist / "mapdr.exe"
    wrong = [
        *too_large(folder, FOLDER_BYTES),
        *too_large(file, FILE_BYTES),
        *unwanted(folder, file),
        *(each for program in (*folder.glob("*.exe"), file) for each in resources(program, version)),
        *libraries(folder),
    ]
    if wrong:
        sys.exit("\n".join(wrong))
    count = sum(1 for _ in images(folder))
    print(
        f"{count} programs and libraries need only each other and Windows; "
        f"folder {size(folder) / 1e6:.0f} MB, one file {size(file) / 1e6:.0f} MB"
    )


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(each.stat().st_size for each in files if each.is_file())


def too_large(path: Path, limit: int) -> Iterator[str]:
    if not 1e6 < size(path) < limit:
        yield f"{path.name} has {size(path) / 1e6:.0f} MB; the limit is {limit / 1e6:.0f}"


def unwanted(folder: Path, file: Path) -> Iterator[str]:
    """Folders and modules that should not be there. The archive in a program names modules in the clear."""
    for path in folder.rglob("*"):
        if path.name in UNWANTED:
            yield f"should not be there: {path.relative_to(folder)}"
    for program in (folder / "mapdr.exe", file):
        content = program.read_bytes()
        if b"mapdr_cli.main" not in content:
            yield f"{program.name} does not name its modules: it cannot be looked into"
        if b"mapdr_vendor" in content:
            yield f"{program.name} has the vendor's part in it"


def resources(program: Path, version: str) -> Iterator[str]:
    """The manifest, the icon and the version of a program."""
    image = pefile.PE(str(program))
    content = program.read_bytes()
    kinds = {entry.id for entry in image.DIRECTORY_ENTRY_RESOURCE.entries}
    if not {pefile.RESOURCE_TYPE["RT_GROUP_ICON"], pefile.RESOURCE_TYPE["RT_VERSION"]} <= kinds:
        yield f"{program.name} has no icon or no version"
    if b"longPathAware" not in content:
        yield f"{program.name} does not say that it takes long paths"
    said = {
        key.decode(): value.decode()
        for info in image.FileInfo[0]
        if hasattr(info, "StringTable")
        for table in info.StringTable
        for key, value in table.entries.items()
    }
    if said.get("ProductName") != "MAPDR" or said.get("ProductVersion") != version:
        yield f"{program.name} says of itself {said}"


def images(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix.lower() in (".dll", ".pyd", ".exe"))


def libraries(folder: Path) -> Iterator[str]:
    """DLLs that are imported and are not there, and those that are wine's."""
    there = {path.name.lower() for path in images(folder)}
    for path in images(folder):
        if any(mark in path.read_bytes()[:4096] for mark in FOREIGN):
            yield f"{path.name} is wine's own"
        image = pefile.PE(str(path), fast_load=True)
        image.parse_data_directories([pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_IMPORT"]])
        for entry in getattr(image, "DIRECTORY_ENTRY_IMPORT", ()):
            name = entry.dll.decode().lower()
            known = name in there or OWN.match(name) or WINDOWS.fullmatch(name)
            if not known:
                yield f"{path.name} needs {name}, which is neither here nor part of Windows"


if __name__ == "__main__":
    main(*sys.argv[1:])
