"""`mapdr run` as a process: it drains when asked, and names what keeps it from starting."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mapdr_cli.demo import site
from paper.nodes import NodeFolder
from peers.processes import free_port


@pytest.fixture
def free(node: NodeFolder) -> tuple[NodeFolder, int]:
    """A node whose receiver has a free port."""
    port = free_port()
    node.config.write_text(node.config.read_text().replace("port = 11112", f"port = {port}"))
    return node, port


def _start(folder: NodeFolder, port: int) -> site.Node:
    return site.start_node(folder.config, folder.config.with_name("node.log"), port)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_node_and_it_ends_well(
    free: tuple[NodeFolder, int], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, port = free
    monkeypatch.setattr("mapdr.store.CLAIM_SECONDS", 0.2)
    node = _start(folder, port)
    try:
        node.wait_until_it_listens(90)
        again = folder.mapdr("run", "--plain")
        assert again.exit_code == 2
        assert 'another process works as node "clinic-north"' in " ".join(again.output.split())
        node.process.send_signal(number)
        assert node.process.wait(30) == 0
    finally:
        node.stop()
    log = node.last_words()
    assert f"receiver modalities listens as MAPDR on 127.0.0.1:{port}" in log
    assert "destinations: telepacs, archive" in log
    assert log.rstrip().endswith("stopped")
    assert "stopped" in folder.mapdr("status").output


def test_a_stop_from_another_process_drains_the_node_and_waits(free: tuple[NodeFolder, int]) -> None:
    folder, port = free
    node = _start(folder, port)
    try:
        node.wait_until_it_listens(90)
        done = folder.mapdr("stop")
        assert (done.exit_code, done.output) == (0, "The node has ended.\n")
        assert node.process.wait(10) == 0
    finally:
        node.stop()
    assert node.last_words().rstrip().endswith("stopped")
    again = folder.mapdr("stop")
    assert (again.exit_code, again.output) == (0, "The node does not run.\n")


def test_a_port_that_is_taken_is_named(free: tuple[NodeFolder, int]) -> None:
    folder, port = free
    with socket.create_server(("127.0.0.1", port)):
        node = _start(folder, port)
        try:
            assert node.process.wait(90) == 1
        finally:
            node.stop()
    assert f"{port}; another program may have the port" in node.last_words()


def test_the_program_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mapdr_cli", "--version"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("mapdr, version")


def test_a_reload_as_the_readme_has_it(free: tuple[NodeFolder, int], tmp_path: Path) -> None:
    """`mapdr run`, `mapdr reload`: in the folder of the configuration, without naming it."""
    folder, port = free

    def mapdr(*words: str) -> list[str]:
        return [sys.executable, "-m", "mapdr_cli", *words]

    def reload() -> subprocess.CompletedProcess[str]:
        return subprocess.run(mapdr("reload"), check=False, capture_output=True, text=True, cwd=tmp_path)

    log = tmp_path / "node.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            mapdr("run", "--plain"), stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=tmp_path
        )
    node = site.Node(folder.config, log, port, process)
    try:
        node.wait_until_it_listens(90)
        text = folder.config.read_text()
        folder.config.write_text(text.replace('ae_title = "MAPDR"', 'ae_title = "OTHER"'))
        done = reload()
        assert (done.returncode, done.stderr) == (0, "")
        assert "The node uses the changed configuration." in done.stdout
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = str(other.getsockname()[1])
            folder.config.write_text(text.replace(str(port), taken))
            refused = reload()
        assert refused.returncode == 1
        assert "receive.modalities: Address already in use" in " ".join(refused.stderr.split())
        node.wait_until_it_listens(5)
        folder.config.write_text(text)
        assert reload().returncode == 0
    finally:
        status = node.stop()
    assert status == 0
    assert "a changed configuration is in use" in node.last_words()
    assert "Traceback" not in node.last_words()
