"""DCMTK's dcmqrscp as a PACS: C-FIND, C-GET and C-MOVE over what it has stored."""

from __future__ import annotations

from pathlib import Path

from peers.processes import LOOPBACK, Process, free_port, program

CONFIGURATION = """\
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16

HostTable BEGIN
mapdr = (MAPDR, {host}, {mover})
HostTable END

AETable BEGIN
PACS {storage} RW (1000, 1024mb) ANY
AETable END
"""


class DcmQrScp:
    """A running dcmqrscp with the AE title PACS; it sends by C-MOVE to MAPDR at the port `mover`."""

    def __init__(self, folder: Path, *, mover: int) -> None:
        binary = program("dcmqrscp")
        assert binary, "dcmqrscp is not installed; the test lacks its peer marker"
        self.port = free_port()
        storage = folder / "storage"
        storage.mkdir(parents=True)
        configuration = folder / "dcmqrscp.cfg"
        configuration.write_text(
            CONFIGURATION.format(port=self.port, host=LOOPBACK, mover=mover, storage=storage)
        )
        command = [binary, "--config", configuration, "--log-level", "info"]
        self.process = Process(command, folder / "dcmqrscp.log", {"TCP_NODELAY": "1"})
        self.process.wait_for_port(self.port)

    def stop(self) -> None:
        self.process.end()
