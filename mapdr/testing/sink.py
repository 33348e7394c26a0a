"""A receiving PACS for tests and the demo, on pynetdicom: another implementation than the one it judges.

It keeps every data set's bytes as they came, by SOP Instance UID, and misbehaves on request: late answers,
any status, transfer syntaxes it does not take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from mapdr.dicom import uids
from mapdr.testing.generator import EXPLICIT, IMPLICIT

SYNTAXES = (
    uids.JPEG2000,
    uids.JPEG2000_LOSSLESS,
    uids.JPEG_BASELINE,
    uids.JPEG_EXTENDED,
    uids.JPEG_LOSSLESS,
    uids.JPEG_LOSSLESS_SV1,
    uids.JPEG_LS_LOSSLESS,
    uids.JPEG_LS_NEAR_LOSSLESS,
    uids.HTJ2K_LOSSLESS,
    uids.HTJ2K_LOSSLESS_RPCL,
    uids.HTJ2K,
    uids.RLE_LOSSLESS,
    EXPLICIT,
    uids.EXPLICIT_VR_BIG_ENDIAN,
    uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT,
)
"""What a generous PACS takes: every syntax that the field sends today."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One C-STORE request that came, whatever was answered to it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str
    status: int
    size: int
    at: float
    path: Path | None = None
    _dataset: bytes = b""

    @property
    def dataset(self) -> bytes:
        """The data set's bytes as they came; read from disk if the sink keeps a folder."""
        return self.path.read_bytes() if self.path else self._dataset


@dataclass
class Sink:
    """A C-STORE and C-ECHO SCP on loopback; `with Sink() as sink: ... sink.port`.

    `delay` seconds before each answer; `status` an integer, or a function of the request's number (from 0)
    and SOP Instance UID; `refuse` transfer syntaxes that are not accepted; `sop_classes` private ones to
    accept too; `folder` to keep the data sets on disk instead of in memory.
    """

    ae_title: str = "SINK"
    port: int = 0
    delay: float = 0.0
    status: int | Callable[[int, str], int] = 0x0000
    refuse: Collection[str] = ()
    sop_classes: Sequence[str] = ()
    require_called_ae: bool = False
    maximum_pdu: int = 1 << 18
    folder: Path | None = None
    associations: int = 0
    echoes: int = 0
    requests: list[Stored] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: Any = None

    def start(self) -> None:
        """Listen; `port` then holds the real port. Raises OSError if the port is taken."""
        ae = AE(ae_title=self.ae_title)
        ae.maximum_pdu_size = self.maximum_pdu
        ae.maximum_associations = 64
        ae.require_called_aet = self.require_called_ae
        syntaxes = [syntax for syntax in SYNTAXES if syntax not in self.refuse]
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, syntaxes)
        for sop_class in self.sop_classes:
            ae.add_supported_context(sop_class, syntaxes)
        ae.add_supported_context(Verification)
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_ACCEPTED, self._accepted),
        ]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self.port = self._server.socket.getsockname()[1]

    def stop(self) -> None:
        """Abort what is open and stop listening. Safe twice."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def __enter__(self) -> Sink:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stored(self) -> dict[str, Stored]:
        """The last request for each SOP Instance UID that was answered with success or a warning."""
        with self._lock:
            return {one.sop_instance_uid: one for one in self.requests if kept(one.status)}

    def count(self) -> int:
        """How many requests came, repeats and refused ones too."""
        with self._lock:
            return len(self.requests)

    def _accepted(self, event: Any) -> None:
        with self._lock:
            self.associations += 1

    def _echo(self, event: Any) -> int:
        with self._lock:
            self.echoes += 1
        return 0x0000

    def _store(self, event: Any) -> int:
        request = event.request
        data: bytes = request.DataSet.getvalue()
        if self.delay:
            time.sleep(self.delay)
        sop_instance_uid = str(request.AffectedSOPInstanceUID)
        with self._lock:
            number = len(self.requests)
            status = self.status(number, sop_instance_uid) if callable(self.status) else self.status
            path = self.folder / f"{number:08d}" if self.folder else None
            if path:
                path.write_bytes(data)
            # Last: who reads the list without the lock finds only what is whole.
            self.requests.append(
                Stored(
                    sop_class_uid=str(request.AffectedSOPClassUID),
                    sop_instance_uid=sop_instance_uid,
                    transfer_syntax_uid=str(event.context.transfer_syntax),
                    calling_ae=str(event.assoc.requestor.ae_title).strip(),
                    status=status,
                    size=len(data),
                    at=time.time(),
                    path=path,
                    _dataset=b"" if path else data,
                )
            )
        return status


def kept(status: int) -> bool:
    """Whether a C-STORE status says that the object is stored: success or a warning (PS3.4, B.2.3)."""
    return status in (0x0000, 0x0001, 0x0107, 0x0116) or 0xB000 <= status <= 0xBFFF
