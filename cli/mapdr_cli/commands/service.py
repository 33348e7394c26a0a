"""`mapdr service`: the node as a service, which runs when nobody is logged in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.guard import GuardedThread
from mapdr.operate.service import host, manager, offer_links, service_of
from mapdr_cli.commands.options import config_option
from mapdr_cli.render.terminal import console

if TYPE_CHECKING:
    from mapdr.node.process import Process


@click.group()
def service() -> None:
    """Run the node as a service of the system: with it, and when nobody is logged in.

    On Linux by systemd, on Windows by its service manager; under an account of its own, started again if it
    crashes, drained when it is stopped. Its configuration is named once, at `install`.
    """


@service.command()
@config_option
def install(config: Path) -> None:
    """Have the system run the node by this configuration, from its next start on; `start` starts it now.

    Needs an administrator. The configuration is checked first, as the account that will use it.
    """
    manager().install(service_of(config))
    console().print("The service is installed; `mapdr service start` starts it now.")


@service.command()
def remove() -> None:
    """Stop the service and have the system forget it. Configuration and data stay.

    One that hangs is ended.
    """
    manager().remove()
    console().print("The service is removed; configuration and data are as they were.")


@service.command()
def start() -> None:
    """Start the service, and wait until its node runs."""
    manager().start()
    console().print("The service runs.")


@service.command()
def stop() -> None:
    """Have the service's node finish what runs, and wait until it has ended."""
    manager().stop()
    console().print("The service has stopped.")


@service.command()
def status() -> None:
    """How the service stands. Exits 1 unless it runs."""
    state = manager().status()
    process = f", process {state.process}" if state.process else ""
    account = f", as {state.account}" if state.account else ""
    boot = "starts with the system" if state.at_boot else "does not start with the system"
    tail = "" if state.state == "not installed" else f"{process}{account}; {boot}"
    console().print(f"The service is {state.state}{tail}.", soft_wrap=True)
    if state.state != "running":
        raise Exit(1)


@service.command()
@click.option(
    "--lines", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The last so many."
)
def logs(lines: int) -> None:
    """Print the service's log."""
    for line in manager().logs(lines):
        click.echo(line)


@service.command(hidden=True)
@config_option
def run(config: Path) -> None:
    """What Windows starts: the node, as Windows' service manager speaks to it."""

    def work(*, end: threading.Event, running: Callable[[], None]) -> None:
        def started(process: Process) -> None:
            running()
            pass_on = partial(_pass_on, end, process.ended)
            GuardedThread(pass_on, "stop", goes_on=lambda: False).start()
            offer_links(config, process.ended)

        from mapdr_cli.commands.run import run_node  # Windows does not wait for that

        try:
            run_node(config, to_file=True, started=started)
        except Exit as error:
            raise ConfigurationError(
                f"the configuration has problems; see: mapdr check --config {config}"
            ) from error

    host(work)


def _pass_on(end: threading.Event, ended: threading.Event) -> None:
    end.wait()
    ended.set()
