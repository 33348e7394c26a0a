"""A file in the body of a request: kept in the node's data folder for as long as it is looked at."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.requests import Request

from mapdr.kernel.permissions import make_secret
from mapdr_web.gate import Refusal

TYPE = "application/dicom"
LONGEST = 1 << 26
"""Bytes of a file ..."""
SECONDS = 120.0
"""... and seconds for it to come."""


@asynccontextmanager
async def uploaded(request: Request, data: Path) -> AsyncIterator[Path]:
    """The body as a file that nobody else may read, until the block ends. Raises Refusal, OSError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != TYPE:
        raise Refusal(415, f"send a file as {TYPE}")
    folder = data / "web"
    make_secret(folder)
    number, name = tempfile.mkstemp(prefix="try-", suffix=".dcm", dir=folder)
    path = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            try:
                async with asyncio.timeout(SECONDS):
                    size = 0
                    async for piece in request.stream():
                        size += len(piece)
                        if size > LONGEST:
                            raise Refusal(413, f"the file is longer than {LONGEST >> 20} MiB: mapdr explain")
                        await asyncio.to_thread(file.write, piece)
            except TimeoutError:
                raise Refusal(408, "the file did not come in time") from None
        yield path
    finally:
        path.unlink(missing_ok=True)
