from collections.abc import Sequence

from mapdr._fast._jpeg_scan_py import Buffer, Table

def scan_end(
    stream: Buffer, at: int, units: bytes, tables: Sequence[Table], count: int, interval: int, lossless: bool
) -> int: ...
