"""The node's state for all who watch: one look a second however many they are, none where nobody does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mapdr.node.assembly import Node
from mapdr.operate.access import Access
from mapdr.operate.answer import envelope
from mapdr.operate.model import NodeState
from mapdr.operate.view import NodeView

EVERY = 1.0
"""Seconds between two looks, and for how long one is good enough."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of one moment (time.monotonic()), and its JSON on one line."""

    at: float
    state: NodeState
    text: str


class Snapshots:
    """Used in the server's loop alone; the looks themselves are made in a thread of their own."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._access = Access(node.plan)
        self._view = NodeView(self._access, beat=node.sign)
        self._thread = ThreadPoolExecutor(1, "page-look")
        self._lock = asyncio.Lock()
        self._last: Snapshot | None = None

    async def now(self) -> Snapshot:
        """The state, no older than EVERY seconds."""
        async with self._lock:
            last = self._last
            if last is None or time.monotonic() - last.at >= EVERY:
                loop = asyncio.get_running_loop()
                last = self._last = await loop.run_in_executor(self._thread, self._look)
        return last

    async def follow(self) -> AsyncIterator[Snapshot]:
        """The state now, and each that is newer, for ever."""
        seen = -1.0
        while True:
            found = await self.now()
            if found.at != seen:
                seen = found.at
                yield found
            await asyncio.sleep(max(0.01, found.at + EVERY - time.monotonic()))

    def close(self) -> None:
        """Give the index back, from whichever thread."""
        self._thread.submit(self._access.close)
        self._thread.shutdown(wait=True)

    def _look(self) -> Snapshot:
        self._access.plan = self._node.plan  # a reload may have changed it
        state = self._view.look()
        told = envelope("status", state.node.name, state)
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
        return Snapshot(time.monotonic(), state, text)
