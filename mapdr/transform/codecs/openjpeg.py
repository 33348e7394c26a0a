"""OpenJPEG by glymur: a JPEG 2000 codestream of a wanted size in one encode, where a libopenjp2 is found.

imagecodecs tells OpenJPEG a quality, so a size has to be sought by encoding again and again. OpenJPEG's own
rate control (PCRD-opt, ISO/IEC 15444-1 annex J.14) cuts a codestream to a size; glymur has its functions and
structures. All else is set as imagecodecs sets it.

The library is the one that imagecodecs brings beside itself (Linux, macOS): it is loaded anyway, and encodes
in a tenth less time than Debian's 2.5.0. Where its wheel holds it within (Windows), it is the system's.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
from contextlib import ExitStack, suppress
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mapdr.kernel.codec import OWN_WAY, Pixels, Way
from mapdr.kernel.errors import Unavailable, is_own_fault
from mapdr.kernel.privacy import in_words

RESOLUTIONS, PRECINCT, RPCL = 6, 256, 2
"""As imagecodecs has them: the most resolutions, rows and columns of a precinct, the progression order."""
_KNOWN = (2, 1), (3, 0)
"""The first version whose structures glymur knows to the end, and the first that may have others."""
_EOC = b"\xff\xd9"
"""The marker at the end of a codestream (ISO/IEC 15444-1, A.4.4)."""
_NAME = "mapdr_glymur"
"""What stands for the package of glymur while its functions are loaded."""
_lock = threading.Lock()


class OpenJpeg:
    """The library, ready for use from many threads.

    Raises Unavailable where there is none that works, and OSError and MemoryError for what may be otherwise
    a moment later.
    """

    def __init__(self) -> None:
        self._memory: Any = getattr(os, "memfd_create", None)
        if self._memory is None:
            # OpenJPEG would write for ever into a file on a full disk, and a function of Python that it calls
            # cannot tell it of its own failure.
            raise Unavailable("this system has no files in memory")
        self._bindings = _bindings(_library())
        self.version: str = self._bindings.version()
        if not _KNOWN[0] <= tuple(map(int, self.version.split(".")[:2])) < _KNOWN[1]:
            raise Unavailable(f"libopenjp2 {self.version} is not known to glymur")
        self._refuse_unfit()

    def encode(
        self, cells: Pixels, bits: int, size: int, *, mct: bool, way: Way = OWN_WAY, threads: int = 1
    ) -> bytes:
        """The codestream of a frame with `bits` precision that comes nearest to `size` bytes from below; or
        all of the way's, if these are less. OpenJPEG does not count all of its headers: there may be some 30
        bytes more, and of the smallest frames as many as the headers take.

        `cells` are contiguous, 8 or 16-bit integers: (rows, columns), or (rows, columns, 3). `mct` applies
        the wavelet's colour transform. Raises OSError where OpenJPEG fails, or there is no file for it.
        """
        openjp2, planes = self._bindings, cells[None] if cells.ndim == 2 else np.moveaxis(cells, 2, 0)
        samples, rows, columns = planes.shape
        data = np.ascontiguousarray(planes)
        with open(self._memory("codestream"), "rb") as made:
            with ExitStack() as cleanup:
                image = self._image(cells.dtype.kind == "i", bits, planes.shape)
                cleanup.callback(openjp2.image_destroy, image)
                codec = openjp2.create_compress(openjp2.CODEC_J2K)
                cleanup.callback(openjp2.destroy_codec, codec)
                parameters = self._parameters(rows, columns, way)
                parameters.tcp_rates[0] = samples * rows * columns * bits / 8 / size
                parameters.tcp_mct = int(mct)
                openjp2.setup_encoder(codec, parameters, image)
                if threads > 1:
                    with suppress(openjp2.OpenJPEGLibraryError):  # there are none to be had: without
                        openjp2.codec_set_threads(codec, threads)
                ctypes.set_errno(0)
                path = f"/proc/self/fd/{made.fileno()}"
                stream = openjp2.stream_create_default_file_stream(path, False)
                if not stream:
                    code = ctypes.get_errno()
                    raise OSError(code, os.strerror(code))
                cleanup.callback(openjp2.stream_destroy, stream)  # which writes the rest
                openjp2.start_compress(codec, image, stream)
                openjp2.write_tile(codec, 0, data, data.nbytes, stream)
                openjp2.end_compress(codec, stream)
            codestream = made.read()
        if not codestream.endswith(_EOC):
            raise OSError("OpenJPEG has not written all")
        return codestream

    def _image(self, signed: bool, bits: int, shape: tuple[int, ...]) -> Any:
        samples, rows, columns = shape
        components = (self._bindings.ImageComptParmType * samples)()
        for each in components:
            each.dx, each.dy, each.w, each.h = 1, 1, columns, rows
            each.prec, each.sgnd = bits, int(signed)
        space = self._bindings.CLRSPC_GRAY if samples == 1 else self._bindings.CLRSPC_SRGB
        image = self._bindings.image_tile_create(components, space)
        image.contents.x1, image.contents.y1 = columns, rows
        return image

    def _parameters(self, rows: int, columns: int, way: Way) -> Any:
        parameters = self._bindings.set_default_encoder_parameters()
        parameters.tcp_numlayers, parameters.cp_disto_alloc = 1, 1
        parameters.irreversible, parameters.prog_order = int(not way.reversible), RPCL
        fit = max(min(rows, columns).bit_length() - 3, 1)  # the smallest has 8 rows or columns, at least
        parameters.numresolution = parameters.res_spec = min(way.resolutions or RESOLUTIONS, fit)
        parameters.csty |= 1  # precincts are told
        for at in range(parameters.res_spec):
            parameters.prcw_init[at] = parameters.prch_init[at] = PRECINCT
        return parameters

    def _refuse_unfit(self) -> None:
        """Encode a frame, and raise Unavailable where imagecodecs reads another one in it."""
        import imagecodecs

        rows, columns = np.mgrid[:64, :64]
        frame = (2000 + 1500 * np.sin(rows / 7) * np.cos(columns / 5)).astype("u2")
        try:
            stream = self.encode(frame, 12, frame.nbytes // 4, mct=False)
            far = int(np.abs(imagecodecs.jpeg2k_decode(stream).astype(int) - frame).max())
        except MemoryError:
            raise
        except Exception as error:
            if is_own_fault(error):
                raise  # of this moment: there may be no room for another open file
            raise Unavailable(f"libopenjp2 {self.version} fails: {in_words(error)}") from error
        if len(stream) > frame.nbytes // 4 or far > 32:
            raise Unavailable(f"libopenjp2 {self.version} writes other pixels or another size")


def _library() -> ctypes.CDLL:
    """The library. Raises Unavailable."""
    path = _bundled() or find_library("openjp2")
    if path is None:
        raise Unavailable("no libopenjp2 is found")
    try:
        return ctypes.CDLL(str(path), use_errno=True)
    except OSError as error:
        raise Unavailable("the libopenjp2 that is found cannot be loaded") from error


def _bundled() -> Path | None:
    """The libopenjp2 that imagecodecs brings beside itself."""
    import imagecodecs

    package = Path(imagecodecs.__file__).parent
    places = (package.parent / "imagecodecs.libs", package / ".dylibs")
    return next((path for place in places for path in sorted(place.glob("libopenjp2*"))), None)


def _bindings(library: ctypes.CDLL) -> Any:
    """glymur's functions of a library, and nothing else of it. Raises Unavailable.

    The whole of glymur would load Pillow and lxml, start three programs to look for libraries, and load the
    one that a file in the current folder names.
    """
    spec = find_spec("glymur")
    if spec is None or spec.origin is None:
        raise Unavailable("glymur is not installed")
    package, config = ModuleType(_NAME), ModuleType(f"{_NAME}.config")
    package.__path__ = [str(Path(spec.origin).parent)]
    vars(config)["glymur_config"] = lambda _: library
    with _lock:
        loaded = (_NAME, config.__name__, f"{_NAME}.lib", f"{_NAME}.lib.openjp2")
        try:
            sys.modules.update({_NAME: package, config.__name__: config})
            return importlib.import_module(loaded[-1])
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise Unavailable(f"glymur cannot be loaded ({type(error).__name__})") from error
        finally:
            for name in loaded:
                sys.modules.pop(name, None)
