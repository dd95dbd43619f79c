"""`concordat subject ask`: a subject asks all agencies of an agreement at once what they hold of it."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from api.cli.exits import BAD_INPUT, DONE, INDETERMINATE, PARTLY, REFUSED
from api.cli.terminal import stop
from api.door import ask as ask_door
from api.home import Home, read_urls
from api.rollover import answering
from protocol.agreement.terms import Terms
from protocol.errors import DecodeError, IndeterminateError, PeerError

subject = typer.Typer(help="A subject's own.", no_args_is_help=True)

TOKEN: Final = "CONCORDAT_TOKEN"  # noqa: S105  # the variable's name


@subject.command()
def ask(
    target: Annotated[
        str, typer.Argument(metavar="DIR_OR_URL", help="A federation's directory, or the address of an agency's node.")
    ],
    agency: Annotated[
        str | None, typer.Option(help="With DIR: the agency to ask through; by default the agreement's first.")
    ] = None,
    roster: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With a URL: the agreement and its roster, from elsewhere.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"Holds the token; by default it is in {TOKEN}.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Ask all agencies what they hold of you; only you can open their answers."""
    terms, url = _door(target, agency, roster)
    try:
        told = ask_door(terms, url, _token(token_file))
    except IndeterminateError as error:
        stop(INDETERMINATE, str(error), "Ask again later, or through another agency.")
    except DecodeError as error:
        stop(BAD_INPUT, str(error))
    except PeerError as error:
        stop(REFUSED, str(error), "A token holds for one agency and some days: ask its clerk for another.")
    if json_:
        typer.echo(json.dumps({"agencies": told.files, "missing": list(told.missing)}, ensure_ascii=False))
    else:
        for name, file in told.files.items():
            _show(name, file)
    if told.missing:
        stop(PARTLY, f"no answer from: {', '.join(told.missing)}", "What they hold is not known; ask again later.")
    raise typer.Exit(DONE)


def _door(target: str, agency: str | None, roster: Path | None) -> tuple[Terms, str]:
    """The verified terms, and where to ask."""
    is_url = target.startswith(("https://", "http://"))
    if is_url and roster is None:
        stop(BAD_INPUT, "--roster: missing", "Answers are verified by the agreement's roster; have it from elsewhere.")
    home = Home(Path(target))
    try:
        terms = Terms.from_bytes(roster.read_bytes()) if roster else answering(home)
        if is_url:
            return terms, target.rstrip("/")
        name = agency or terms.agencies[0]
        if name not in terms.agencies:
            stop(BAD_INPUT, f"--agency: the agreement has {', '.join(terms.agencies)}")
        return terms, read_urls(home.urls_path)[name]
    except PeerError as error:
        stop(BAD_INPUT, f"the roster: {error}")
    except (OSError, KeyError, ValueError):
        stop(BAD_INPUT, "DIR_OR_URL: no running federation lies there, and it is no URL")


def _token(file: Path | None) -> str:
    try:
        token = (file.read_text("ascii") if file else os.environ.get(TOKEN, "")).strip()
    except (OSError, UnicodeDecodeError):
        stop(BAD_INPUT, "--token-file: cannot be read")
    if not (token and token.isascii() and token.isprintable()):
        stop(BAD_INPUT, f"no token: set {TOKEN}, or name a file with --token-file")
    return token


def _show(agency: str, file: dict[str, Any]) -> None:
    """One agency's answer; what another party wrote is printed without its control characters, whatever it is."""
    listings = file.get("listings")
    if file.get("whole") is False:
        typer.echo(f"{agency}: {_plain(file, 'number')} listings. {_plain(file, 'how')}")
    elif not isinstance(listings, list) or not listings:
        typer.echo(f"{agency}: nothing")
    else:
        typer.echo(f"{agency}:")
        for listing in listings:
            typer.echo(f"  {_plain(listing, 'reference')}  {_plain(listing, 'state')}  {_plain(listing, 'title')}")
            typer.echo(f"    {_plain(listing, 'ground', 'text')} Last day: {_plain(listing, 'term', 'last_day')}")


def _plain(document: object, *path: str) -> str:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return "".join(character if character.isprintable() else "?" for character in str(document))
