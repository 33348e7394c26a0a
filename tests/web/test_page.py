"""The page as a part of the node: its configuration, its start and end, a reload, TLS and a proxy."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from mapdr.config.read import read_text
from mapdr.node.assembly import Node
from mapdr.node.configuration import examine
from paper.nodes import NodeFolder
from peers.httpd import certificate
from web.conftest import WEB, Page, start

KEYS = 'tls = { cert = "c.pem", key = "k.pem" }'


@contextmanager
def running(folder: NodeFolder, web: str = WEB) -> Iterator[Node]:
    node = start(folder, web)
    try:
        yield node
    finally:
        node.stop(time.monotonic() + 20)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('host = "10.1.2.3"', "is reached over a network without TLS; add tls"),
        ('host = "0.0.0.0"', "is reached over a network without TLS; add tls"),
        ('host = "0.0.0.0"\n' + KEYS, "does not say by which name browsers call it; add hosts"),
        ("behind_proxy = true", "does not say by which name browsers call it; add hosts"),
        ('hosts = ["https://x"]', "is not a host"),
        ("prot = 1", 'unknown key; did you mean "port"?'),
        ("port = 70000", "port"),
    ],
)
def test_what_would_not_be_safe_is_a_problem(keys: str, said: str) -> None:
    (problem,) = read_text(f"[web]\n{keys}\n").problems
    assert said in str(problem)
    assert problem.path.startswith("web")


@pytest.mark.parametrize(
    "keys",
    [
        "",
        'host = "::1"',
        'host = "10.1.2.3"\n' + KEYS,
        'host = "0.0.0.0"\nhosts = ["router.clinic.example"]\n' + KEYS,
        'behind_proxy = true\nhosts = ["router.clinic.example"]',
    ],
)
def test_what_is_safe_is_none(keys: str) -> None:
    loaded = read_text(f"[web]\n{keys}\n")
    assert not loaded.problems
    assert loaded.config is not None
    assert loaded.config.web is not None


@pytest.mark.parametrize("text", ["", "[web]\nenabled = false\n"])
def test_without_the_table_or_disabled_there_is_no_page(text: str) -> None:
    config = read_text(text).config
    assert config is not None
    assert config.web is None


def test_nothing_of_the_page_is_imported_without_it(used: NodeFolder) -> None:
    code = (
        "import sys; from pathlib import Path; from mapdr.node.configuration import examine;"
        "examine(Path(sys.argv[1]), surroundings=True);"
        "sys.exit(any(name.startswith(('mapdr_web', 'prometheus_client')) for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(used.config)], check=False)
    assert done.returncode == 0


def test_a_port_that_a_receiver_has_is_a_problem(used: NodeFolder) -> None:
    used.config.write_text(used.config.read_text() + "\n[web]\nport = 11112\n")
    (problem,) = examine(used.config).problems
    assert problem.path == "web.port"
    assert "tcp:11112 is already taken by receive.modalities" in problem.what


def test_an_installation_without_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.kernel.page.MODULE", "mapdr_no_such_module")
    (problem,) = read_text("[web]\n").problems
    assert "the page is unavailable" in problem.what


def test_a_proxy_in_front_of_a_network_is_doubted(used: NodeFolder) -> None:
    used.config.write_text(
        used.config.read_text()
        + '\n[web]\nhost = "0.0.0.0"\nbehind_proxy = true\nhosts = ["router.clinic.example"]\n'
    )
    warnings = examine(used.config, surroundings=True).warnings
    assert [each for each in warnings if each.path == "web.host" and "without the proxy" in each.what]


def test_a_page_whose_port_is_taken_does_not_keep_the_node(
    used: NodeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with running(used, f"\n[web]\nport = {port}\n") as node:
            assert node.state == "running"
            assert node.page is None
            assert "the page is not there: " in caplog.text
            other.close()
            assert not node.reload(used.config)
            assert node.page is not None
            assert (
                httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False, timeout=60).status_code == 200
            )


def test_a_reload_opens_changes_and_closes_the_page(used: NodeFolder) -> None:
    with running(used) as node:
        assert node.page is not None
        before, first = used.config.read_text(), node.page
        port = first.describe().port
        used.config.write_text(before.replace("[web]", '[web]\nhosts = ["router.clinic.example"]'))
        assert not node.reload(used.config)
        assert node.page is not first
        second = node.page.describe().port
        headers = {"host": "router.clinic.example"}
        url = f"http://127.0.0.1:{second}/healthz"
        assert httpx.get(url, headers=headers, trust_env=False, timeout=60).status_code == 200
        used.config.write_text(before.replace("[web]", "[web]\nenabled = false"))
        assert not node.reload(used.config)
        assert node.page is None
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, trust_env=False, timeout=60)
        used.config.write_text(before.replace("[web]", '[web]\nhost = "10.1.2.3"'))
        assert node.reload(used.config)
        assert node.page is None
        assert port


def test_an_open_stream_does_not_hold_up_the_end(page: Page) -> None:
    with closing(page.signed_in("viewer")) as client, client.stream("GET", "/api/v1/stream") as answer:
        lines = answer.iter_lines()
        assert next(lines)
        began = time.monotonic()
        page.node.stop(began + 20)
        assert time.monotonic() - began < 10
        with suppress(httpx.HTTPError):  # cut, or ended in order: it ends
            assert not [line for line in lines if "signed-out" in line]


def test_the_page_speaks_tls(used: NodeFolder, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    web = f'\n[web]\nport = 0\ntls = {{ cert = "{cert.as_posix()}", key = "{key.as_posix()}" }}\n'
    with running(used, web) as node:
        page = Page(node, used.config)
        context = ssl.create_default_context(cafile=str(cert))
        with httpx.Client(
            base_url=f"https://127.0.0.1:{page.port}", verify=context, trust_env=False, timeout=60
        ) as client:
            token = page.doors.make_link("ann", "operator")
            answer = client.post("/api/v1/session", json={"token": token})
            assert answer.status_code == 200
            assert answer.headers["set-cookie"].startswith("__Host-mapdr=")
            assert "Secure" in answer.headers["set-cookie"]
            assert client.get("/api/v1/status").status_code == 200


def test_behind_a_proxy_the_browser_s_address_counts(used: NodeFolder) -> None:
    web = '\n[web]\nport = 0\nbehind_proxy = true\nhosts = ["router.clinic.example"]\n'
    with running(used, web) as node:
        page = Page(node, used.config)
        headers = {"host": "router.clinic.example", "x-forwarded-for": "8.8.8.8, 10.1.2.3"}
        with httpx.Client(base_url=page.url, headers=headers, trust_env=False, timeout=60) as client:
            token = page.doors.make_link("ann", "operator")
            https = {"origin": "https://router.clinic.example"}
            plain = {"origin": "http://router.clinic.example"}
            assert client.post("/api/v1/session", json={"token": token}, headers=plain).status_code == 403
            answer = client.post("/api/v1/session", json={"token": token}, headers=https)
            assert answer.status_code == 200
            assert client.get("/metrics", headers={"cookie": ""}).status_code == 401
            assert httpx.get(f"{page.url}/healthz", trust_env=False, timeout=60).status_code in (200, 400)
        (file,) = (node.plan.node.data / "audit").glob("*.log")
        assert 'NetworkAccessPointID="10.1.2.3"' in file.read_text()


def test_the_command_line_opens_the_page_and_sets_passwords(page: Page, used: NodeFolder) -> None:
    done = used.mapdr("web", "open", "--viewer")
    assert done.exit_code == 0, done.output
    link = done.stdout.strip()
    assert link.startswith(f"{page.url}/#token=")
    with closing(page.client()) as client:
        answer = client.post("/api/v1/session", json={"token": link.partition("=")[2]})
        assert answer.json()["role"] == "viewer"
    assert used.mapdr("web", "password", "bea", "--role", "viewer", typed="correct horse\n").exit_code == 0
    assert "bea  viewer" in used.mapdr("web", "users").output
    assert used.mapdr("web", "password", "bea", typed="short\n").exit_code == 2
    assert used.mapdr("web", "password", "bea", "--remove").exit_code == 0
    assert used.mapdr("web", "password", "bea", "--remove").exit_code == 2
    assert "Nobody has a password" in used.mapdr("web", "users").output


def test_a_node_without_a_page_or_that_does_not_run_says_so(used: NodeFolder) -> None:
    done = used.mapdr("web", "open")
    assert (done.exit_code, "add a table [web]" in done.output) == (2, True)
    used.config.write_text(used.config.read_text() + WEB)
    done = used.mapdr("web", "open")
    assert (done.exit_code, "the node does not run" in done.output) == (1, True)
