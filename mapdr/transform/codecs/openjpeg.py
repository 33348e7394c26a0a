"""OpenJPEG by glymur: a JPEG 2000 codestream of a wanted size in one encode, where a libopenjp2 is found.

imagecodecs tells OpenJPEG a quality, so a size has to be sought by encoding again and again. OpenJPEG can cut
a codestream to a size by itself; glymur has its functions and structures. All else is set as imagecodecs sets
it: a codestream of a size is that of some level, bit by bit, where both have the same library.

The library is the one that imagecodecs brings beside itself (Linux, macOS): it is loaded anyway, and encodes
in a tenth less time than Debian's 2.5.0. Where its wheel holds it within (Windows), it is what glymur finds.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mapdr.kernel.codec import OWN_WAY, Pixels, Way
from mapdr.kernel.errors import Unavailable
from mapdr.kernel.privacy import in_words

RESOLUTIONS, PRECINCT, RPCL = 6, 256, 2
"""As imagecodecs has them: the most resolutions, rows and columns of a precinct, the progression order."""
_LEAST = (2, 1)
"""The first version whose structures glymur knows to the end."""
_lock = threading.Lock()


class OpenJpeg:
    """The library, ready for use from many threads. Raises Unavailable where there is none that works."""

    def __init__(self) -> None:
        self._memory: Any = getattr(os, "memfd_create", None)
        if self._memory is None:
            # OpenJPEG would write for ever into a file on a full disk, and a function of Python that it calls
            # cannot tell it of its own failure.
            raise Unavailable("this system has no files in memory")
        self._bound = _bound()
        self.version: str = self._bound.version()
        self._refuse_unfit()

    def encode(
        self, cells: Pixels, bits: int, size: int, *, mct: bool, way: Way = OWN_WAY, threads: int = 1
    ) -> bytes:
        """The codestream of a frame with `bits` precision that has at most `size` bytes and as many of them
        as can be had; or all of the way's, if these are less.

        `cells` are contiguous, 8 or 16-bit integers: (rows, columns), or (rows, columns, 3). `mct` applies
        the wavelet's colour transform. Raises OSError where OpenJPEG fails.
        """
        bound, planes = self._bound, cells[None] if cells.ndim == 2 else np.moveaxis(cells, 2, 0)
        samples, rows, columns = planes.shape
        data = np.ascontiguousarray(planes)
        with open(self._memory("codestream"), "rb") as made:
            with ExitStack() as cleanup:
                image = self._image(cells.dtype.kind == "i", bits, planes.shape)
                cleanup.callback(bound.image_destroy, image)
                codec = bound.create_compress(bound.CODEC_J2K)
                cleanup.callback(bound.destroy_codec, codec)
                told = self._told(rows, columns, way)
                told.tcp_rates[0] = samples * rows * columns * bits / 8 / size
                told.tcp_mct = int(mct)
                bound.setup_encoder(codec, told, image)
                if threads > 1:
                    bound.codec_set_threads(codec, threads)
                path = f"/proc/self/fd/{made.fileno()}"
                stream = bound.stream_create_default_file_stream(path, False)
                cleanup.callback(bound.stream_destroy, stream)  # which writes the rest
                bound.start_compress(codec, image, stream)
                bound.write_tile(codec, 0, data, data.nbytes, stream)
                bound.end_compress(codec, stream)
            return bytes(made.read())

    def _image(self, signed: bool, bits: int, shape: tuple[int, ...]) -> Any:
        samples, rows, columns = shape
        components = (self._bound.ImageComptParmType * samples)()
        for each in components:
            each.dx, each.dy, each.w, each.h = 1, 1, columns, rows
            each.prec, each.sgnd = bits, int(signed)
        space = self._bound.CLRSPC_GRAY if samples == 1 else self._bound.CLRSPC_SRGB
        image = self._bound.image_tile_create(components, space)
        image.contents.x1, image.contents.y1 = columns, rows
        image.contents.color_space = space
        return image

    def _told(self, rows: int, columns: int, way: Way) -> Any:
        told = self._bound.set_default_encoder_parameters()
        told.tcp_numlayers, told.cp_disto_alloc = 1, 1
        told.irreversible, told.prog_order = int(not way.reversible), RPCL
        fit = max(min(rows, columns).bit_length() - 3, 1)  # the smallest has 8 rows or columns, at least
        told.numresolution = told.res_spec = min(way.resolutions or RESOLUTIONS, fit)
        told.csty |= 1  # precincts are told
        for at in range(told.res_spec):
            told.prcw_init[at] = told.prch_init[at] = PRECINCT
        return told

    def _refuse_unfit(self) -> None:
        """Encode a frame, and raise Unavailable where imagecodecs reads another one in it."""
        import imagecodecs

        rows, columns = np.mgrid[:64, :64]
        frame = (2000 + 1500 * np.sin(rows / 7) * np.cos(columns / 5)).astype("u2")
        try:
            stream = self.encode(frame, 12, frame.nbytes // 4, mct=False)
            far = int(np.abs(imagecodecs.jpeg2k_decode(stream).astype(int) - frame).max())
        except Exception as error:
            raise Unavailable(f"libopenjp2 {self.version} fails: {in_words(error)}") from error
        if len(stream) > frame.nbytes // 4 or far > 32:
            raise Unavailable(f"libopenjp2 {self.version} writes other pixels or another size")


def _bound() -> Any:
    """glymur's functions of a libopenjp2. Raises Unavailable where there is none."""
    try:
        from glymur import config
        from glymur.lib import openjp2 as bound
    except Exception as error:
        raise Unavailable(f"glymur cannot be loaded ({type(error).__name__})") from error
    with _lock:
        brought = _brought()
        if brought is not None and getattr(bound.OPENJP2, "_name", "") != str(brought):
            # glymur's structures depend on the library's version, and so on what is found as it is loaded.
            found, config.glymur_config = config.glymur_config, partial(_loaded, str(brought))
            try:
                importlib.reload(bound)
            finally:
                config.glymur_config = found
    version = tuple(int(part) for part in bound.version().split(".")[:2])
    if version == (0, 0):
        raise Unavailable("no libopenjp2 is found")
    if version < _LEAST:
        raise Unavailable(f"libopenjp2 {bound.version()} is too old")
    return bound


def _loaded(path: str, _: str) -> ctypes.CDLL:
    return ctypes.CDLL(path)


def _brought() -> Path | None:
    """The libopenjp2 that imagecodecs brings beside itself."""
    import imagecodecs

    package = Path(imagecodecs.__file__).parent
    places = (package.parent / "imagecodecs.libs", package / ".dylibs")
    return next((path for place in places for path in sorted(place.glob("libopenjp2*"))), None)
