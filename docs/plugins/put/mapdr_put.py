"""An egress that PUTs each image to a web server, as a DICOM file: into a WebDAV folder, say."""

from collections.abc import Sequence
from io import BytesIO
from itertools import chain

import httpx
from pydantic import Field
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info

from mapdr.kernel.item import TAKEN, Acceptance, Need, Outcome, Pause, Payload, Verdict
from mapdr.kernel.stage import Description, Factory, Settings, StageConfig
from mapdr.kernel.status import HttpStatus


class PutConfig(StageConfig):
    url: str = Field(pattern="^https?://[^/]+")
    sessions: int = Field(default=2, ge=1, le=16)


class PutSession:
    """One HTTP client, kept for many images and used by one thread at a time."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(timeout=30, trust_env=False)

    def acceptance(self, need: Need) -> Acceptance | None:
        return None if self._client.is_closed else TAKEN  # a web server takes any file

    def send(self, payload: Payload) -> Outcome:
        if self._client.is_closed:
            return Outcome(Verdict.RETRY, comment="the session is closed", peer_fault=True, begun=False)
        head, name = file_meta(payload), f"{payload.sop_instance_uid}.dcm"
        size = {"Content-Length": str(len(head) + payload.length)}
        try:
            answer = self._client.put(
                f"{self._url}/{name}", content=chain((head,), payload.chunks()), headers=size
            )
        except httpx.HTTPError as error:  # the server's fault; what reading our own file raises is not caught
            return Outcome(Verdict.RETRY, comment=type(error).__name__, peer_fault=True)
        status = HttpStatus(answer.status_code)
        if 200 <= status < 300:
            return Outcome(Verdict.DELIVERED, status)
        if status in (401, 403):  # whatever image it is: the destination waits
            pause = Pause("unauthorized")
            return Outcome(Verdict.RETRY, status, f"HTTP {status}", peer_fault=True, pause=pause)
        if status >= 500 or status in (408, 429):  # the server's trouble, and not the image's
            return Outcome(Verdict.RETRY, status, f"HTTP {status}", peer_fault=True)
        return Outcome(Verdict.REFUSED, status, f"HTTP {status}")

    def close(self) -> None:
        self._client.close()


class Put:
    def __init__(self, config: PutConfig) -> None:
        self._url, self.sessions = config.url, config.sessions

    def start(self) -> None:
        pass

    def stop(self, deadline: float) -> None:
        pass

    def connect(self, needs: Sequence[Need]) -> PutSession:
        return PutSession(self._url)

    def probe(self) -> Outcome:
        try:
            answer = httpx.head(self._url, timeout=5, trust_env=False)
            return Outcome(Verdict.DELIVERED, HttpStatus(answer.status_code))
        except httpx.HTTPError as error:
            return Outcome(Verdict.RETRY, comment=type(error).__name__, peer_fault=True)

    def describe(self) -> Description:
        url = httpx.URL(self._url)
        return Description(url.host, url.port or 0, tls=url.scheme == "https")


def file_meta(payload: Payload) -> bytes:
    """What stands before the data set in a file (PS3.10, section 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = payload.sop_class_uid
    meta.MediaStorageSOPInstanceUID = payload.sop_instance_uid
    meta.TransferSyntaxUID = payload.transfer_syntax_uid
    file = BytesIO()
    file.write(bytes(128) + b"DICM")
    write_file_meta_info(file, meta)
    return file.getvalue()


def build(settings: Settings, config: PutConfig, next: None) -> Put:
    return Put(config)


STAGE = Factory("egress", "put", PutConfig, build)
