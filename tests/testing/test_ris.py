"""The RIS of the tests: it keeps what it was told, and not what was cut off."""

from __future__ import annotations

import socket

import httpx

from mapdr.testing.ris import Ris


def test_a_call_that_was_cut_off_is_none() -> None:
    with Ris() as ris:
        url = httpx.URL(ris.url)
        with socket.create_connection((url.host, url.port or 80), 10) as cut:
            cut.sendall(b"POST / HTTP/1.1\r\nHost: ris\r\nContent-Length: 20\r\n\r\n" + b'{"type":')
            cut.shutdown(socket.SHUT_WR)
            assert cut.recv(1) == b"", "it is answered nothing"
        assert httpx.post(ris.url, json={"type": "whole"}, trust_env=False).is_success
        assert [call.json for call in ris.calls] == [{"type": "whole"}]
