from collections.abc import Callable, Sequence

from mapdr._fast import _pdata_py
from mapdr._fast._pdata_py import Slice, Write

BACKEND: str

class Channel(_pdata_py.Channel):
    def read_data(self, context: int, write: Write) -> int: ...
    def send_message(
        self,
        context: int,
        command: bytes,
        parts: Sequence[bytes | Slice],
        length: int,
        max_length: int,
        pace: Callable[[int], object] | None = None,
    ) -> None: ...
