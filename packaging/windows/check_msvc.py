"""Whether the extensions' C is C that Microsoft's compiler takes, as far as that can be seen without it.

usage: check_msvc.py SOURCES INCLUDE...     (after a build: their C is in SOURCES/build/cython)

clang reads it as for Windows and MSVC, with the headers that are given and those of mingw, whose own
complaints are passed over: what it takes as an extension of GNU is a finding. Words of GCC that it takes in
silence are looked for in the C that our sources hold for Windows. Before that, a file full of both must be
found. Ends with 1 if something is found.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

MINGW = "/usr/share/mingw-w64/include"
CLANG = (
    "clang",
    "--target=x86_64-pc-windows-msvc",
    *("-fms-compatibility", "-fms-extensions", "-fms-compatibility-version=19.40"),
    *("-fsyntax-only", "-ferror-limit=0", "-Wgnu", "-Wvla", "-Wpointer-arith"),
    # xxHash's own vector code is built by MSVC elsewhere; clang's intrinsics do not fit mingw's headers.
    *("-DXXH_VECTOR=0", "-Wno-implicit-function-declaration"),
)
SAID = re.compile(r": (?:error|warning|fatal error): ")
GNU_WORDS = re.compile(
    r"\b(?:__builtin_\w+|__atomic_\w+|__attribute__|_{0,2}typeof(?:__)?|__asm__|ssize_t|unistd\.h|sys/\w+\.h)\b"
)

PROOF = """
int vla(int n) { int a[n]; return a[0]; }
int expression(int n) { return ({ n; }); }
void *pointer(void *p) { return p + 1; }
#ifdef _WIN32
int builtin(int n) { return __builtin_clz(n); }
#else
#include <unistd.h>
#endif
static int attribute(void) __attribute__((noinline));
"""
PROVED = 5


def of_gnu(file: Path, sources: Path, includes: list[str]) -> list[str]:
    """What clang calls an error, or an extension of GNU, in one file of C; not in headers of others."""
    folders = [f"-isystem{each}" for each in (MINGW, *includes)]
    command = [*CLANG, *folders, f"-I{sources / 'mapdr/_fast'}", str(file)]
    read = subprocess.run(command, capture_output=True, text=True, check=False)
    if read.returncode and not SAID.search(read.stderr):
        raise RuntimeError(f"clang does not run: {read.stderr}")
    others = ("/usr/", *includes)
    return [line for line in read.stderr.splitlines() if SAID.search(line) and not line.startswith(others)]


def for_windows(text: str) -> Iterator[str]:
    """The lines of a source without those that only other systems see."""
    inside: list[str] = []
    for line in text.splitlines():
        word = line.strip()
        if word.startswith("#if"):
            inside.append("windows" if word == "#ifdef _WIN32" else "")
        elif word == "#else" and inside[-1:] == ["windows"]:
            inside[-1] = "others"
        elif word == "#endif":
            inside.pop()
        elif "others" not in inside:
            yield line


def main(folder: str, *includes: str) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        proof = Path(temporary) / "proof.c"
        proof.write_text(PROOF, encoding="ascii")
        words = [word for line in for_windows(PROOF) for word in GNU_WORDS.findall(line)]
        proved = [*of_gnu(proof, Path(folder), list(includes)), *words]
    if len(proved) != PROVED:
        print(f"of {PROVED} things of GNU these are found: {proved}")
        return 1
    sources = Path(folder)
    made = sorted((sources / "build/cython/mapdr/_fast").glob("*.c"))
    found = [each for file in made for each in of_gnu(file, sources, list(includes))]
    for source in sorted((sources / "mapdr/_fast").glob("*.p[xy]*")):
        if source.suffix in (".pyx", ".pxi"):
            lines = for_windows(source.read_text(encoding="utf-8"))
            found += [f"{source.name}: {word}" for line in lines for word in GNU_WORDS.findall(line)]
    for each in dict.fromkeys(found):
        print(each)
    print(f"the C of {len(made)} extensions, read as for MSVC: {len(found)} findings")
    return 1 if found or not made else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
