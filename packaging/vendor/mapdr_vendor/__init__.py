"""The vendor's side of licenses: a key, and tokens that it signs. Keep the key where no build machine is."""

from __future__ import annotations

import getpass
import os
import secrets
from datetime import UTC, date, datetime
from pathlib import Path

import click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from mapdr.license.code import WrongCode
from mapdr.license.token import License, sign

KEY_FILE = click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The vendor's private key.",
)
COUNT = click.IntRange(1)


@click.group()
def main() -> None:
    """Make the vendor's key, and issue licenses with it."""


@main.command("new-key")
@KEY_FILE
def new_key(key_file: Path) -> None:
    """Make a key, protected by a password, and print what a build needs of it."""
    password = _password("Password of the new key", twice=True)
    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    try:
        file = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.ClickException(f"{key_file} is there already; a key is never overwritten") from None
    except OSError as error:
        raise click.ClickException(f"{key_file} cannot be written ({error.strerror})") from None
    with open(file, "wb") as out:
        out.write(data)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    click.echo(f"MAPDR_VENDOR_KEY={public.hex()}")


@main.command()
@KEY_FILE
@click.option("--customer", required=True, help="Whom it is for.")
@click.option("--request", required=True, help="What `mapdr license request` says at the customer's.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), default=None, help="Its last day; else never.")
@click.option("--feature", "features", multiple=True, help="Something that it allows besides.")
@click.option("--sources", type=COUNT, default=None, help="Sources at most.")
@click.option("--destinations", type=COUNT, default=None, help="Destinations at most.")
@click.option("--images-a-day", type=COUNT, default=None, help="Images a day at most.")
@click.option(
    "--matches",
    type=click.IntRange(2, 6),
    default=2,
    show_default=True,
    help="Facts that have to match at least.",
)
@click.option("--id", "id_", default=None, help="Its name; else one that nobody has had.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="The file; else it is printed.",
)
def issue(
    key_file: Path,
    *,
    customer: str,
    request: str,
    expires: datetime | None,
    features: tuple[str, ...],
    sources: int | None,
    destinations: int | None,
    images_a_day: int | None,
    matches: int,
    id_: str | None,
    out: Path | None,
) -> None:
    """Issue a license. To renew or move one, issue another: with a later day, or by the request of the other
    machine."""
    today: date = datetime.now(UTC).date()
    allowed = License(
        id=id_ or f"{today.year}-{secrets.token_hex(4)}",
        customer=customer,
        request=request,
        issued=today,
        expires=expires.date() if expires else None,
        features=features,
        sources=sources,
        destinations=destinations,
        images_a_day=images_a_day,
        matches=matches,
    )
    try:
        token = sign(allowed, _key(key_file))
    except WrongCode as error:
        raise click.BadParameter(str(error), param_hint="--request") from None
    if out is None:
        click.echo(token)
    else:
        try:
            out.write_text(f"{token}\n", encoding="ascii")
        except OSError as error:
            raise click.ClickException(f"{out} cannot be written ({error.strerror})") from None
        click.echo(f"License {allowed.id} for {customer}: {out}")


def _key(file: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes(), _password("Password of the key"))
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has no password
        raise click.ClickException("this is no key, or not its password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise click.ClickException("this is no Ed25519 key")
    return key


def _password(prompt: str, *, twice: bool = False) -> bytes:
    """From MAPDR_VENDOR_PASSWORD, or asked for."""
    given = os.environ.get("MAPDR_VENDOR_PASSWORD") or getpass.getpass(f"{prompt}: ")
    if twice and "MAPDR_VENDOR_PASSWORD" not in os.environ and getpass.getpass("Once more: ") != given:
        raise click.ClickException("these were two passwords")
    if not given:
        raise click.ClickException("a key without a password is not kept")
    return given.encode()
