from collections.abc import Sequence

from mapdr._fast._pdata_py import Channel
from mapdr._fast._send_run_py import Message

def send_run(
    channel: Channel,
    messages: Sequence[Message],
    max_length: int,
    seconds: float,
    answers: list[tuple[int, float]],
) -> bool: ...
