"""The agency's databases: backups of its registers, and versions of the schemas."""

import secrets
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from api.agency import open_database
from api.cli.exits import BAD_INPUT
from api.cli.own import Agency, By, Directory, Reason, is_alive, opened, own_listings, own_settings, whoever
from api.cli.terminal import stop
from api.settings import Settings
from nodes.life import Act, Author
from nodes.storage import backup as backups
from nodes.storage import migrations
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import VERSIONS, Database, migrate, open_engine
from nodes.storage.engine import version as version_of

database = typer.Typer(help="Versions of the databases' schemas.", no_args_is_help=True)

_ID_BYTES: Final = 16
_OWN: Final[tuple[Database, ...]] = ("listings", "state")  # what an agency has; portfolios are a gateway's

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]


def backup(directory: Directory, file: File, agency: Agency) -> None:
    """Write everything of the registers into one encrypted file, beside the running node; prints the trail's head.

    It opens with the agency's keys alone, of which it is no copy. What was erased is not in it.
    """
    settings = own_settings(directory, agency)
    own_listings(settings)  # brings the database to the newest version first
    try:
        head = backups.backup(*_opened(settings), file, secrets.token_bytes(_ID_BYTES))
    except FileExistsError:
        stop(BAD_INPUT, "FILE: is there already", "Name a new one.")
    except OSError:
        stop(BAD_INPUT, "FILE: cannot be written")
    typer.echo(f"{head.number}:{head.hash.hex()}")


def restore(
    directory: Directory,
    file: File,
    agency: Agency,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of what is there.")] = False,
    by: By = None,
    reason: Reason = "",
) -> None:
    """Put a backup back while the node is stopped, all of it or nothing; prints the backup's own head.

    What was erased or revoked since it was made is there again, tokens too: end it again.
    """
    settings = own_settings(directory, agency)
    _check_stopped(settings)
    restored = Author(whoever(by), reason).step(Act.RESTORE, int(time.time()))
    try:
        head = backups.restore(*_opened(settings), file, restored, replace=replace)
    except backups.BackupError as error:
        stop(BAD_INPUT, f"FILE: {error}", "Nothing was changed.")
    except OSError:
        stop(BAD_INPUT, "FILE: cannot be read")
    typer.echo(f"{head.number}:{head.hash.hex()}")


@database.command()
def version(directory: Directory, agency: Agency) -> None:
    """Print the version of each of the agency's databases, and the newest."""
    settings = own_settings(directory, agency)
    for name in _OWN:
        found = version_of(open_engine(settings.database(name)), name) or "none"
        typer.echo(f"{name}  {found}  newest {VERSIONS[name]}")


@database.command()
def upgrade(directory: Directory, agency: Agency) -> None:
    """Bring the databases to the newest version, as every start does."""
    settings = own_settings(directory, agency)
    migrate(open_engine(settings.database("state")), "state")
    own_listings(settings)
    typer.echo("both databases are of the newest version")


@database.command()
def downgrade(
    directory: Directory,
    version_: Annotated[str, typer.Argument(metavar="VERSION", help="Of the listings' schema, such as 0001.")],
    agency: Agency,
) -> None:
    """Bring the registers' database down to an older version while the node is stopped, to run that version's code.

    What that version has no word for is lost, or refused: make a backup first. Any command of this version brings it up
    again.
    """
    settings = own_settings(directory, agency)
    known = migrations.versions("listings")
    if version_ not in known:
        stop(BAD_INPUT, f"VERSION: none of {', '.join(known)}")
    _check_stopped(settings)
    engine, _ = _opened(settings)
    if version_ > (version_of(engine, "listings") or ""):
        stop(BAD_INPUT, "VERSION: newer than the database's", "`upgrade` brings it to the newest.")
    migrations.downgrade(engine, "listings", version_)
    typer.echo(f"listings  {version_}")


def _opened(settings: Settings) -> tuple[Any, ColumnCipher]:
    return opened(lambda: open_database(settings, settings.secrets()[1]))


def _check_stopped(settings: Settings) -> None:
    if is_alive(settings, settings.party):
        stop(BAD_INPUT, "DIR: the agency's node is running; nothing was changed", "Stop it first.")
