"""The `mapdr` program and how it ends: 0 done, 1 something failed, 2 usage or configuration."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

import click
from click.exceptions import ClickException, Exit, NoArgsIsHelpError, UsageError
from click.shell_completion import CompletionItem

import mapdr
from mapdr.kernel.errors import ConfigurationError, MapdrError
from mapdr.kernel.privacy import protect, system_says
from mapdr.operate.errors import RequestError, WrongConfiguration
from mapdr_cli.render.terminal import console, prepare_streams

FAILED, USAGE = 1, 2

COMMANDS = {
    "init": "Write a first mapdr.toml.",
    "check": "Find every mistake in the configuration.",
    "run": "Run the router.",
    "demo": "See it all at work on this machine alone.",
    "top": "Watch the node live.",
    "watch": "Follow events as lines of JSON.",
    "status": "Today's counts, queues, what is stuck.",
    "find": "Where is a study, and who has it?",
    "sources": "Who sends, and who is rejected.",
    "studies": "List studies and who has them.",
    "deliveries": "List what became of each image.",
    "report": "A month's figures, to read or to send.",
    "changes": "What headers lose and keep on their way.",
    "retry": "Try parked deliveries again.",
    "hold": "Stop delivering to a destination.",
    "release": "Deliver again what was held.",
    "priority": "Make deliveries more urgent, or less.",
    "reroute": "Apply today's rules again.",
    "export": "Write images into a folder.",
    "corrections": "What was corrected of images, by whom.",
    "dismiss": "End parked deliveries that shall never be sent.",
    "purge": "Remove images for good, and who they are of.",
    "web": "Sign in at the page, and who may.",
    "webhooks": "What webhooks were told, and whether they took it.",
    "license": "The license, if this build needs one.",
    "service": "Run the node as a service of the system.",
    "reload": "Apply a changed configuration.",
    "stop": "Have the node finish what runs, and end.",
    "send": "Send files through the node's store.",
    "fetch": "Get studies from a PACS.",
    "backup": "Copy the node, while it runs.",
    "restore": "Put a backup in the node's place.",
    "echo": "Are the destinations there?",
    "key": "Keys, by which images are de-identified.",
    "uid": "Which UID became which, by a key.",
    "explain": "What the rules would do to a file.",
    "doctor": "Examine this installation.",
    "support": "A bundle for who helps, without patients.",
    "selftest": "Does every part of this installation work?",
    "plugins": "Which stages there are.",
    "completion": "Let the shell complete commands and names.",
}
"""Commands in the order in which an operator meets them, each with its line in the help of all.

A command is the function of its name in `mapdr_cli.commands.NAME`.
"""


class Program(click.Group):
    """Loads a command's module when it is asked for, and turns errors into one line and an exit status."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """The entry point of the `mapdr` program."""
        # Where the program is one file, a child process begins here as well.
        multiprocessing.freeze_support()
        protect()
        prepare_streams()
        kwargs.setdefault("prog_name", "mapdr")
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click does it; what is wrong with the options is said like everything else."""
        try:
            return super().make_context(*args, **kwargs)
        except ClickException as error:
            _complain(error)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command by its name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = f"mapdr_cli.commands.{cmd_name}"
        if module not in sys.modules:
            with _lasting():
                import_module(module)
        command: click.Command = getattr(sys.modules[module], cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands that begin so, without loading them; and options, as click does it."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        found = ((name, line) for name, line in COMMANDS.items() if name.startswith(incomplete))
        return [CompletionItem(name, help=line) for name, line in found]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands and their lines, without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the nearest name for one that does not exist."""
        from mapdr.kernel.finding import nearest

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = nearest(args[0], COMMANDS)
            hint = f'; did you mean "{near}"?' if near else ""
            ctx.fail(f'there is no command "{args[0]}"{hint}')
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever it raises ends in one line that says what failed."""
        try:
            return super().invoke(ctx)
        except (Exit, click.Abort):
            raise
        except ClickException as error:
            _complain(error)
        except RequestError as error:
            _complain(UsageError(str(error)))
        except WrongConfiguration as error:
            from mapdr_cli.render.problems import show_problems

            show_problems(error.problems)
            raise Exit(USAGE) from error
        except ConfigurationError as error:
            _end(ctx, str(error), USAGE)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            _end(ctx, f"{system_says(error)}{_about(error)}", FAILED)
        except MapdrError as error:
            _end(ctx, str(error), FAILED)
        except Exception as error:  # noqa: BLE001  the last resort: named in one line, whole with --debug
            # The text of a foreign exception may quote a value of an image: only its kind is shown.
            _end(ctx, f"{type(error).__name__} ended the command; `mapdr --debug ...` shows where", FAILED)


@contextmanager
def _lasting() -> Iterator[None]:
    """For imports: what they make lasts as long as the process, so the garbage collector need not look at it.

    Its passes over it, during the imports and at the end, were a tenth of what `mapdr status` cost.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _complain(error: ClickException) -> NoReturn:
    """Say what is wrong with the words of a command, as everything else is said: after `mapdr:`."""
    if isinstance(error, NoArgsIsHelpError):
        error.show()
        raise Exit(error.exit_code)
    if isinstance(error, UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
        click.echo(f"Try '{error.ctx.command_path} --help' for help.\n", err=True)
    click.echo(f"mapdr: {error.format_message()}", err=True)
    raise Exit(error.exit_code)


def _about(error: OSError) -> str:
    return f": {error.filename}" if error.filename else ""


def _end(ctx: click.Context, message: str, status: int) -> NoReturn:
    err = console(stderr=True)
    if ctx.params.get("debug"):
        # Places only: locals hold patients, and the texts of foreign exceptions may quote them.
        places = "".join(traceback.format_tb(sys.exc_info()[2])).rstrip()
        err.print(f"Traceback (most recent call last):\n{places}", soft_wrap=True)
    err.print(f"mapdr: {message}", style="bad", soft_wrap=True)
    raise Exit(status)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command has --help. Exit status: 0 done, 1 something failed, 2 usage or configuration.",
)
@click.version_option(mapdr.__version__, prog_name="mapdr")
@click.option("--debug", is_flag=True, help="Show where an error happened.")
def main(debug: bool) -> None:
    """MAPDR routes DICOM images: receives, keeps, changes, delivers, and shows what became of each.

    \b
    New here?            mapdr demo
    A node of your own?  mapdr init, edit mapdr.toml, mapdr check, mapdr run
    Watching it?         mapdr top, or mapdr status for a few lines
    """
