"""Orthanc with the GDCM plugin, as a PACS on loopback with a database of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mapdr.testing.wait import until
from peers.processes import LOOPBACK, Process, free_port, program

PLUGINS = Path("/usr/share/orthanc/plugins")
DICOMWEB = PLUGINS / "libOrthancDicomWeb.so"


class Orthanc:
    """A running Orthanc; `dicom_port` takes C-STORE, `get` asks its REST API."""

    def __init__(self, folder: Path, *, ae_title: str = "ORTHANC", dicomweb: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        binary = program("Orthanc")
        assert binary, "Orthanc is not installed; the test lacks its peer marker"
        self.dicom_port, self.http_port = free_port(), free_port()
        configuration = folder / "orthanc.json"
        settings = {
            "Name": "peer",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGINS / "libOrthancGdcm.so"), *([str(DICOMWEB)] if dicomweb else [])],
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomPort": self.dicom_port,
            "DicomAet": ae_title,
            "DicomCheckCalledAet": False,
            **dict.fromkeys((f"DicomAlwaysAllow{what}" for what in ("Store", "Find", "Get")), True),
            "UnknownSopClassAccepted": True,
            "OverwriteInstances": True,
            "StableAge": 2,
        }
        configuration.write_text(json.dumps(settings))
        self.process = Process([binary, configuration], folder / "orthanc.log", {"TCP_NODELAY": "1"})
        self.process.wait_for_port(self.http_port, 30)
        self.process.wait_for_port(self.dicom_port, 30)
        until(lambda: self.get_json("/system"), 30, "Orthanc's REST API")

    @property
    def dicomweb_url(self) -> str:
        """The service root of its DICOMweb plugin."""
        return f"http://{LOOPBACK}:{self.http_port}/dicom-web"

    def get(self, path: str) -> bytes:
        """The body of a GET. Raises HTTPError for a status other than 200."""
        with urlopen(f"http://{LOOPBACK}:{self.http_port}{path}", timeout=60) as answer:
            return bytes(answer.read())

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def instances(self) -> dict[str, str]:
        """SOP Instance UID to Orthanc's own id, for all that is stored."""
        found = self.get_json("/instances?expand")
        return {item["MainDicomTags"]["SOPInstanceUID"]: item["ID"] for item in found}

    def preview(self, instance: str) -> bytes | None:
        """The rendered PNG of an instance; None if Orthanc cannot decode it."""
        return self._rendered(f"/instances/{instance}/preview")

    def stored_values(self, instance: str, *, signed: bool) -> bytes | None:
        """The PNG of the first frame's values in 16 bits, without a window; None as for `preview`."""
        return self._rendered(f"/instances/{instance}/frames/0/image-{'int16' if signed else 'uint16'}")

    def _rendered(self, path: str) -> bytes | None:
        request = Request(f"http://{LOOPBACK}:{self.http_port}{path}")
        request.add_header("Accept", "image/png")
        try:
            with urlopen(request, timeout=60) as answer:
                return bytes(answer.read())
        except HTTPError:
            return None

    def file(self, instance: str) -> bytes:
        """The stored file, with its File Meta."""
        return self.get(f"/instances/{instance}/file")

    def stop(self) -> None:
        """End it at once: to be asked to costs seconds, and nothing that it has is needed any more."""
        self.process.kill()
