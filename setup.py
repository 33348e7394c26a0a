"""The extensions, and nothing else: everything declarative stands in pyproject.toml.

MAPDR_NO_EXTENSIONS=1 builds none. MAPDR_REQUIRE_EXTENSIONS=1 makes a failed build fatal; without it a
machine that has no C compiler gets the plain Python twins, and `mapdr doctor` says so. MAPDR_SANITIZE=1
builds them under AddressSanitizer and UBSan, for `make sanitize`, with a module that overflows on purpose.
MAPDR_VENDOR_KEY, a vendor's public keys (hexadecimal, with commas between them), makes a build that needs a
license: with the gate that holds them (`mapdr/license/_gate.pyx`), or no build at all.
"""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

REQUIRE = bool(os.environ.get("MAPDR_REQUIRE_EXTENSIONS"))
SANITIZE = bool(os.environ.get("MAPDR_SANITIZE"))
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-wrapv"]
FAST = Path("mapdr/_fast")
VENDOR_KEYS = os.environ.get("MAPDR_VENDOR_KEY", "")
GATE = Path("mapdr/license/_gate.pyx")
GENERATED = Path("build/vendor")


def hot_paths() -> list[Extension]:
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
        # The gate's: Cython goes by the include path of its first call, for all that follow.
        include_path=[str(GENERATED)],
        compiler_directives={"language_level": 3, "boundscheck": True},
    )
    for extension, path in zip(built, sources, strict=True):
        # cythonize() returns new objects: what is set before it is lost.
        extension.optional = not REQUIRE
        included = (*FAST.glob("*.pxi"), *FAST.glob("**/*.h"))
        extension.depends = [*extension.depends, "setup.py", str(path), *map(str, included)]
    if SANITIZE:
        proof = Extension("sanitizer_proof", ["tests/sanitize/proof.c"], depends=["setup.py"])
        proof.extra_compile_args, proof.extra_link_args = flags, link
        built.append(proof)
    return list(built)


def gate() -> list[Extension]:
    """The gate of a vendor's build, which is never optional; nothing for any other build."""
    if not VENDOR_KEYS:
        return []
    if os.environ.get("MAPDR_NO_EXTENSIONS"):
        raise SystemExit("MAPDR_VENDOR_KEY needs a compiler: not with MAPDR_NO_EXTENSIONS")
    from Cython.Build import cythonize

    try:
        keys = [bytes.fromhex(key) for key in VENDOR_KEYS.split(",")]
    except ValueError:
        keys = []
    if not keys or any(len(key) != 32 for key in keys):
        raise SystemExit("MAPDR_VENDOR_KEY is no public key: 64 hexadecimal digits, as mapdr-vendor prints")
    GENERATED.mkdir(parents=True, exist_ok=True)
    written = "".join(f"    {key!r},\n" for key in keys)
    (GENERATED / "vendor_keys.pxi").write_text(f"cdef tuple vendor_keys():\n    return (\n{written}    )\n")
    source = Extension("mapdr.license._gate", [str(GATE)], extra_compile_args=compiler_flags())
    # Always anew: what was translated before may hold other keys.
    return list(cythonize([source], build_dir=str(GENERATED), include_path=[str(GENERATED)], force=True))


class BuildPy(build_py):
    """As ever; a wheel for licenses knows that it is one, so that it does not run without its gate."""

    def run(self) -> None:
        """Copy the modules."""
        super().run()
        if VENDOR_KEYS and not self.editable_mode:
            path = Path(self.build_lib, "mapdr", "license", "built.py")
            path.write_text(path.read_text().replace("VENDOR = False", "VENDOR = True"))


def compiler_flags() -> list[str]:
    """What the compiler is told."""
    if SANITIZE:
        return ["-O1", "-g1", "-fno-omit-frame-pointer", "-DMAPDR_SANITIZED", *SANITIZERS]
    if os.name == "nt" and not os.environ.get("_PYTHON_HOST_PLATFORM"):
        return ["/O2"]
    return ["-O2", "-g0"]


setup(ext_modules=[*hot_paths(), *gate()], cmdclass={"build_py": BuildPy})
