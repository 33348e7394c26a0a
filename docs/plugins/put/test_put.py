"""What the contract asks of the egress, against a web server that takes most images and refuses some."""

import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mapdr_put import PutConfig, build

from mapdr.kernel.item import Payload
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.testing.contract import check_egress
from mapdr.testing.generator import study


def test_put(tmp_path: Path) -> None:
    settings = Settings("files", "node", tmp_path, site_key=bytes(32), watch=Watch())
    payloads = [
        Payload(
            image.sop_class_uid,
            image.sop_instance_uid,
            image.transfer_syntax_uid,
            (image.dataset,),
            len(image.dataset),
        )
        for image in study("CT", images=100, size=(16, 16))
    ]
    confirmed: list[str] = []
    chance = random.Random(1)

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status = chance.choice([201, 201, 201, 409, 503])
            if status == 201:
                confirmed.append(Path(self.path).stem)
            self.answer(status)

        def do_HEAD(self) -> None:
            self.answer(200)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        config = PutConfig(url=f"http://127.0.0.1:{server.server_port}/images", sessions=4)
        check_egress(lambda: build(settings, config, None), payloads, arrived=lambda: confirmed)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
