"""The extensions, and nothing else: everything declarative stands in pyproject.toml.

MAPDR_NO_EXTENSIONS=1 builds none. MAPDR_REQUIRE_EXTENSIONS=1 makes a failed build fatal; without it a
machine that has no C compiler gets the plain Python twins, and `mapdr doctor` says so. MAPDR_SANITIZE=1
builds them under AddressSanitizer and UBSan, for `make sanitize`, with a module that overflows on purpose.
"""

import os
from pathlib import Path

from setuptools import Extension, setup

REQUIRE = bool(os.environ.get("MAPDR_REQUIRE_EXTENSIONS"))
SANITIZE = bool(os.environ.get("MAPDR_SANITIZE"))
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-wrapv"]
FAST = Path("mapdr/_fast")


def extensions() -> list[Extension]:
    """One extension for each .pyx in mapdr/_fast."""
    sources = sorted(FAST.glob("*.pyx"))
    if os.environ.get("MAPDR_NO_EXTENSIONS") or not sources:
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        if REQUIRE:
            raise
        return []
    flags, link = compiler_flags(), SANITIZERS if SANITIZE else []
    built = cythonize(
        [
            Extension(
                f"mapdr._fast.{path.stem}",
                [str(path)],
                include_dirs=[str(FAST)],
                extra_compile_args=flags,
                extra_link_args=link,
            )
            for path in sources
        ],
        build_dir="build/cython",
        compiler_directives={"language_level": 3, "boundscheck": True},
    )
    for extension, path in zip(built, sources, strict=True):
        # cythonize() returns new objects: what is set before it is lost.
        extension.optional = not REQUIRE
        included = (*FAST.glob("*.pxi"), *FAST.glob("vendor/*.h"))
        extension.depends = [*extension.depends, "setup.py", str(path), *map(str, included)]
    if SANITIZE:
        proof = Extension("sanitizer_proof", ["tests/sanitize/proof.c"], depends=["setup.py"])
        proof.extra_compile_args, proof.extra_link_args = flags, link
        built.append(proof)
    return list(built)


def compiler_flags() -> list[str]:
    """What the compiler is told."""
    if SANITIZE:
        return ["-O1", "-g1", "-fno-omit-frame-pointer", "-DMAPDR_SANITIZED", *SANITIZERS]
    if os.name == "nt" and not os.environ.get("_PYTHON_HOST_PLATFORM"):
        return ["/O2"]
    return ["-O2", "-g0"]


setup(ext_modules=extensions())
