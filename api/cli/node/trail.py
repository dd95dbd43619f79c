"""The audit trail as commands: verify it, read it, and note its head where nobody here can change it."""

import json
import re
from collections.abc import Iterator
from typing import Annotated

import typer

from api.cli.exits import BAD_INPUT, UNEXPECTED
from api.cli.own import Agency, AsJson, Directory, own_listings, own_settings
from api.cli.terminal import stop
from nodes.rights import step_of
from nodes.storage.listings import ListingStore
from nodes.storage.records import REFERENCE_DIGITS
from nodes.storage.trail import Head, Noted, TrailError
from protocol.errors import SealError

trail = typer.Typer(help="The audit trail: every step of every listing, chained by hashes.", no_args_is_help=True)

_KEPT = re.compile(r"([0-9]{1,15}):([0-9a-f]{64})")


@trail.command()
def verify(
    directory: Directory,
    agency: Agency,
    kept: Annotated[
        str | None, typer.Option(metavar="NUMBER:HASH", help="A head that was noted elsewhere before.")
    ] = None,
) -> None:
    """Recompute the whole trail, and see that every listing is as its steps left it; prints the head.

    What was cut off at the end is only found by a head that was kept elsewhere.
    """
    store = own_listings(own_settings(directory, agency))
    before = None if kept is None else _head(kept)
    try:
        head = store.verify(before)
    except (TrailError, SealError) as error:
        stop(UNEXPECTED, str(error), "Compare with a backup whose trail verifies, and find out who had access.")
    typer.echo(_shown(head))


@trail.command("head")
def head_(directory: Directory, agency: Agency) -> None:
    """Print number and hash of the last entry, to be kept elsewhere."""
    typer.echo(_shown(own_listings(own_settings(directory, agency)).trail_head()))


@trail.command()
def show(
    directory: Directory,
    agency: Agency,
    after: Annotated[int, typer.Option(metavar="N", min=0, help="Only entries after this number.")] = 0,
    json_: AsJson = False,
) -> None:
    """Print the entries, one line each; of erased listings only act, actor and time are left."""
    for noted in _entries(own_listings(own_settings(directory, agency)), after):
        reference, step = noted.content.hex()[:REFERENCE_DIGITS], step_of(noted.step)
        if json_:
            entry = {"number": noted.number, "register": noted.register, "reference": reference, **step}
            typer.echo(json.dumps(entry | {"erased": noted.is_erased}, ensure_ascii=False))
        else:
            typer.echo(f"{noted.number}  {step['time']}  {noted.register}  {reference}  {step['act']}  {step['actor']}")


def _entries(store: ListingStore, after: int) -> Iterator[Noted]:
    while page := store.trail(after):
        yield from page
        after = page[-1].number


def _head(text: str) -> Head:
    found = _KEPT.fullmatch(text)
    if found is None:
        stop(BAD_INPUT, "--kept: not of the form NUMBER:HASH, as `audit-trail head` prints it")
    return Head(int(found[1]), bytes.fromhex(found[2]))


def _shown(head: Head) -> str:
    return f"{head.number}:{head.hash.hex()}"
