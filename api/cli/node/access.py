"""Who may speak to the agency's node: tokens of its staff, and of subjects that it has recognised."""

import secrets
import time
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from api.agency import open_desk
from api.cli.exits import BAD_INPUT
from api.cli.own import Agency, Directory, explained, opened, own_settings, subject_of
from api.cli.terminal import stop
from api.node_clerk import SUBJECT_DAYS
from nodes.roles import Role
from nodes.storage.credentials import CredentialError, Credentials

staff = typer.Typer(help="Tokens for the agency's staff.", no_args_is_help=True)
subject = typer.Typer(help="Tokens for subjects that the agency has recognised.", no_args_is_help=True)

_DAY: Final = 86_400
_STAFF: Final = tuple(role for role in Role if role is not Role.SUBJECT)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As it will stand in the audit trail.")]


@staff.command()
def add(
    directory: Directory,
    name: Name,
    agency: Agency,
    role: Annotated[str, typer.Option(metavar="|".join(_STAFF), help="What they may do.")],
    days: Annotated[int, typer.Option(min=1, max=366, help="How long the token is valid.")] = 90,
) -> None:
    """Issue a token for one of the staff. It is printed once and stored nowhere."""
    if role not in _STAFF:
        stop(BAD_INPUT, f"--role: none of {', '.join(_STAFF)}")
    credentials = _credentials(directory, agency)
    try:
        token = credentials.issue(Role(role), name, int(time.time()) + days * _DAY)
    except CredentialError as error:
        stop(BAD_INPUT, f"NAME: {error}")
    typer.echo(token)


@staff.command("list")
def list_(directory: Directory, agency: Agency) -> None:
    """Print who has a token: role, name and the day on which it expires; subjects under the names they were given."""
    credentials = _credentials(directory, agency)
    credentials.forget_expired(int(time.time()))
    for it in credentials.all():
        typer.echo(f"{it.role.value}  {it.name}  {datetime.fromtimestamp(it.expires, UTC).date()}")


@staff.command()
def remove(directory: Directory, name: Name, agency: Agency) -> None:
    """Revoke every token of a name."""
    revoked = _credentials(directory, agency).revoke(name)
    if not revoked:
        stop(BAD_INPUT, "NAME: has no token")
    typer.echo(f"{revoked} revoked")


@subject.command()
def admit(
    directory: Directory,
    identifiers: Annotated[
        list[str], typer.Argument(metavar="SCHEME:VALUE...", help="Identifiers that the agency has seen to be theirs.")
    ],
    agency: Agency,
    days: Annotated[int, typer.Option(min=1, max=366, help="How long the token is valid.")] = SUBJECT_DAYS,
) -> None:
    """Issue a token to a subject whose identity the agency has checked. It is printed once and stored nowhere.

    On stderr stands the name, made at random, by which it can be revoked.
    """
    theirs = list(dict.fromkeys(map(subject_of, identifiers)))
    credentials, name = _credentials(directory, agency), f"subject-{secrets.token_hex(6)}"
    with explained():
        token = credentials.issue(Role.SUBJECT, name, int(time.time()) + days * _DAY, theirs)
    typer.echo(name, err=True)
    typer.echo(token)


def _credentials(directory: Directory, agency: str) -> Credentials:
    settings = own_settings(directory, agency)
    return opened(lambda: open_desk(settings)).credentials
