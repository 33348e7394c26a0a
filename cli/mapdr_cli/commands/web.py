"""`mapdr web`: sign in at the page, and who may."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path

import click

from mapdr.operate import words
from mapdr.operate.page import Link, doors, make_link
from mapdr.operate.service import link_of_service
from mapdr.operate.signin import LINK_SECONDS, ROLES, SHORTEST, Role
from mapdr_cli.commands.options import config_option


@click.group()
def web() -> None:
    """The page of the running node: sign in, and who may.

    The configuration has a table [web], or there is no page. Each command takes --config FILE.
    """


@web.command("open")
@click.option("--viewer", is_flag=True, help="Look only, without seeing who the patients are.")
@click.option("--no-browser", is_flag=True, help="Print the link, and open nothing.")
@click.option("--service", is_flag=True, help="On Windows: ask the service, as a member of MAPDR Operators.")
@config_option
def open_(viewer: bool, no_browser: bool, service: bool, config: Path) -> None:
    """Print a link that signs in at the page, and open it in the browser.

    It works once, for five minutes. Whoever opens it is an operator under your name, or a viewer.
    """
    if service:
        if viewer:
            raise click.UsageError("--service makes links for operators")
        link = Link(link_of_service(), "operator", LINK_SECONDS)
    else:
        link = make_link(config, "viewer" if viewer else "operator")
    click.echo(link.url)
    minutes = words.duration(link.seconds)
    click.echo(f"It signs in once, as {link.role}, within {minutes}.", err=True)
    if not no_browser and sys.stdout.isatty():
        webbrowser.open(link.url)


@web.command()
@click.argument("user")
@click.option("--role", type=click.Choice(ROLES), default="operator", show_default=True, help="What it may.")
@click.option("--remove", is_flag=True, help="Let this user sign in no more.")
@config_option
def password(user: str, role: Role, remove: bool, config: Path) -> None:
    """Set the password of a USER of the page: asked for, or read from standard input.

    It is kept as a hash in the data folder. Who is signed in by an old password is signed out.
    """
    known = doors(config)
    if remove:
        known.remove(user)
        click.echo(f"{words.plain(user)} can sign in no more.")
        return
    if sys.stdin.isatty():
        text = click.prompt(
            f"Password, at least {SHORTEST} characters", hide_input=True, confirmation_prompt=True, err=True
        )
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    known.set_password(user, role, text)
    click.echo(f"{words.plain(user)} can sign in as {role}.")


@web.command()
@config_option
def users(config: Path) -> None:
    """List who has a password for the page, and in which role."""
    found = doors(config).users()
    for name, role in sorted(found.items()):
        click.echo(f"{words.plain(name)}  {role}")
    if not found:
        click.echo("Nobody has a password; mapdr web open makes a link.")
