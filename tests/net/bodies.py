"""Multipart bodies: read whole, written, and drawn by chance."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from mapdr.net.multipart import BodyEnds, Limits, MultipartReader, PartBegins, PartData, PartEnds

B = b"b0undary"

Part = tuple[dict[str, str], bytes]


def parts(chunks: Iterable[bytes], limits: Limits | None = None, mark: bytes = B) -> list[Part]:
    """The parts of a body; checks that the events come in their order. Raises as the reader."""
    reader = MultipartReader(mark, limits or Limits())
    found: list[Part] = []
    data: list[bytes] | None = None
    ended = False
    for chunk in chunks:
        for event in reader.feed(chunk):
            assert not ended
            if isinstance(event, PartBegins):
                assert data is None
                found.append((dict(event.headers), b""))
                data = []
            elif isinstance(event, PartData):
                assert data is not None
                assert len(event.data) > 0
                data.append(bytes(event.data))
            elif isinstance(event, PartEnds):
                assert data is not None
                found[-1] = (found[-1][0], b"".join(data))
                data = None
            else:
                assert isinstance(event, BodyEnds)
                assert data is None
                ended = True
    reader.close()
    assert ended
    return found


def body_of(found: list[Part], mark: bytes = B) -> bytes:
    out = b"".join(
        b"--"
        + mark
        + b"\r\n"
        + b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers.items())
        + b"\r\n"
        + data
        + b"\r\n"
        for headers, data in found
    )
    return out + b"--" + mark + b"--\r\n"


def draw(chance: Random) -> bytes:
    """A body with the structure, mostly whole."""
    marks = [b"\r\n--b0undary", b"\r\n", b"--b0undary", b"\r\n--", b"b0undary--", b"\r"]
    found = []
    for _ in range(chance.randint(0, 4)):
        headers = {f"h{n}": "v" * chance.randint(0, 20) for n in range(chance.randint(0, 3))}
        data = b"".join(
            chance.choice(marks) if chance.random() < 0.1 else chance.randbytes(chance.randint(0, 30))
            for _ in range(chance.randint(0, 6))
        )
        found.append((headers, data))
    body = chance.randbytes(chance.randint(0, 20)) + b"\r\n" + body_of(found)
    return body[: chance.randint(0, len(body))] if chance.random() < 0.2 else body
