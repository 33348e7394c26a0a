"""The images of one destination that are leased and not yet on the wire, in the order of the ledger.

The ledger hands out rows by lane, study and arrival; this keeps that order. A sender takes the first image
that is prepared and that its session covers, so that an image whose codec is still at work, or whose SOP
class needs another association, delays none behind it.

```
  ledger --lease--> add --> [ prepared | at work | prepared | ... ] --take--> senders
                                      drain --> back to the ledger
```
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from mapdr.kernel.item import Need, Payload
from mapdr.store.queue.ledger import Delivery

PATIENCE = 64
"""How many images may overtake one that needs another association before it is taken all the same."""


@dataclass(slots=True, eq=False)
class Slot:
    """One leased delivery; `payload` and `need` stand once it is prepared, in `syntax` if that is set.

    While `awaited`, a sender opens a session for it: only one that has a session for it already may take it.
    One that goes `alone` is sent on a session of its own, for it may be what the last one ended by.
    """

    delivery: Delivery
    payload: Payload | None = None
    need: Need | None = None
    syntax: str = ""
    awaited: bool = False
    alone: bool = False


class Lanes:
    """Thread-safe; bounded by whoever adds, who asks `len` and `weight`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slots: OrderedDict[int, Slot] = OrderedDict()
        self._weight = 0
        self._overtaken = 0
        self._closed = False

    def add(self, slots: list[Slot]) -> None:
        """Append slots, prepared or not."""
        with self._changed:
            for slot in slots:
                self._slots[slot.delivery.id] = slot
                self._weight += weigh(slot.payload)
            self._changed.notify(len(slots))

    def prepared(self, slot: Slot, payload: Payload) -> bool:
        """The payload of `slot` is there; False if the slot was drained meanwhile."""
        with self._changed:
            if self._slots.get(slot.delivery.id) is not slot:
                return False
            slot.payload = payload
            slot.need = Need(payload.sop_class_uid, payload.transfer_syntax_uid)
            self._weight += weigh(payload)
            self._changed.notify()
            return True

    def remove(self, slot: Slot) -> bool:
        """Take out one slot, such as one whose preparation failed; False if it is no longer here."""
        with self._changed:
            if self._slots.get(slot.delivery.id) is not slot:
                return False
            self._take(slot.delivery.id)
            return True

    def take(self, covers: Callable[[Need], bool] | None, timeout: float) -> Slot | None:
        """The first prepared slot that `covers` its need, or else the first prepared one.

        Waits up to `timeout` seconds for one; None then, or when closed.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._closed:
                slot = self._first(covers)
                if slot is not None:
                    self._take(slot.delivery.id)
                    return slot
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return None
        return None

    def more(self, fits: Callable[[Need], bool], most: int) -> list[Slot]:
        """Up to `most` prepared slots that follow the one just taken, as far as each `fits`."""
        found: list[Slot] = []
        known: Need | None = None
        with self._changed:
            for slot in self._slots.values():
                need = slot.need
                if len(found) >= most:
                    break
                if need is None:
                    continue
                if slot.alone:
                    break
                if need != known and not fits(need):
                    break
                known = need
                found.append(slot)
            for slot in found:
                self._take(slot.delivery.id)
        return found

    def put_back(self, slot: Slot, *, awaited: bool = False) -> None:
        """A slot that was taken comes first again; `awaited`, until `reclaim`, for those with a session."""
        with self._changed:
            slot.awaited = awaited
            self._slots[slot.delivery.id] = slot
            self._slots.move_to_end(slot.delivery.id, last=False)
            self._weight += weigh(slot.payload)
            # All of them: the one that `notify` would choose may be one that may not take it.
            self._changed.notify_all()

    def reclaim(self, slot: Slot) -> bool:
        """Take a slot that was put back; False if another sender was faster, or it was drained."""
        with self._changed:
            slot.awaited = False
        return self.remove(slot)

    def drain(self) -> list[Slot]:
        """Remove and return every slot; what is still being prepared is then refused by `prepared`."""
        with self._changed:
            slots = list(self._slots.values())
            self._slots.clear()
            self._weight = 0
            return slots

    def close(self) -> None:
        """End every `take`, now and later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def needs(self) -> list[Need]:
        """The distinct needs of prepared slots, in order."""
        with self._changed:
            return list(dict.fromkeys(slot.need for slot in self._slots.values() if slot.need))

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def weight(self) -> int:
        """Bytes of memory that prepared payloads hold."""
        return self._weight

    def _first(self, covers: Callable[[Need], bool] | None) -> Slot | None:
        first = None
        for slot in self._slots.values():
            if slot.need is None:
                continue
            if slot.awaited:
                if covers is not None and not slot.alone and covers(slot.need):
                    return slot
                continue
            if first is None:
                first = slot
                if covers is None or self._overtaken >= PATIENCE:
                    break
            if covers is not None and covers(slot.need):
                self._overtaken = 0 if slot is first else self._overtaken + 1
                return slot
        self._overtaken = 0
        return first

    def _take(self, key: int) -> Slot | None:
        slot = self._slots.pop(key, None)
        if slot is not None:
            self._weight -= weigh(slot.payload)
        return slot


def weigh(payload: Payload | None) -> int:
    """The bytes that a payload holds in memory; slices of files hold none."""
    return 0 if payload is None else payload.in_memory
