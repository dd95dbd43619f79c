"""`concordat figures`: what agencies did in a quarter, opened by the coordinator and shown to anybody."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
from rich.console import Console
from rich.table import Table

from api.cli.exits import BAD_INPUT, INDETERMINATE, REFUSED
from api.cli.own import Directory, opened, party_settings
from api.cli.terminal import stop
from api.figures import open_quarter
from api.home import Home, read_urls
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.certificate import figures_to_json, verify_figures
from protocol.errors import DecodeError, IndeterminateError, PeerError
from protocol.figures import Quarter
from protocol.messages import Figures
from protocol.wire import read

figures = typer.Typer(help="Public accountability figures of a quarter.", no_args_is_help=True)

_SECONDS: Final = 30.0

AQuarter = Annotated[str, typer.Option("--quarter", metavar="QUARTER", help="Such as 2026-Q3; UTC.")]
SomeQuarter = Annotated[str | None, typer.Option("--quarter", metavar="QUARTER", help="Only this one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@figures.command("open")
def open_(directory: Directory, quarter: AQuarter, json_: AsJson = False) -> None:
    """As the coordinator, have a quarter's sums over all agencies opened, and publish them."""
    wanted = _quarter(quarter)
    settings = party_settings(directory, COORDINATOR)
    opened(settings.secrets)
    try:
        published = read(asyncio.run(open_quarter(settings, wanted)), Figures)
    except IndeterminateError as error:
        stop(INDETERMINATE, str(error), "Nothing was published. Run the same command again.")
    except PeerError as error:
        stop(REFUSED, str(error), "Nothing was published.")
    _show([figures_to_json(published)], json_)


@figures.command()
def show(
    target: Annotated[
        str, typer.Argument(metavar="DIR_OR_URL", help="A federation's directory, or the coordinator's address.")
    ],
    quarter: SomeQuarter = None,
    roster: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With a URL: the agreement and its roster, from elsewhere.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """Fetch what was published, verify it, and show it; figures of another epoch than the roster's are left out."""
    wanted = _quarter(quarter) if quarter else None
    terms, url = _coordinator(target, roster)
    documents = [it for it in _published(url) if wanted is None or it.get("quarter") == str(wanted)]
    of_epoch = [it for it in documents if it.get("epoch") == terms.roster.epoch]
    try:
        verified = [figures_to_json(verify_figures(terms, it.get("certificate"))) for it in of_epoch]
    except PeerError as error:
        stop(BAD_INPUT, f"what is published does not verify: {error}")
    for it in documents:
        if it not in of_epoch:
            typer.echo("a quarter is left out: it was published in another epoch, whose roster verifies it", err=True)
    _show(verified, json_)


def _quarter(text: str) -> Quarter:
    try:
        return Quarter.parse(text)
    except DecodeError:
        stop(BAD_INPUT, "--quarter: not of the form 2026-Q3")


def _coordinator(target: str, roster: Path | None) -> tuple[Terms, str]:
    """The verified terms, and where the coordinator is."""
    is_url = target.startswith(("https://", "http://"))
    if is_url and roster is None:
        stop(BAD_INPUT, "--roster: missing", "Figures are verified by the agreement's roster; have it from elsewhere.")
    home = Home(Path(target))
    try:
        terms = Terms.from_bytes((roster or home.roster_path).read_bytes())
        return terms, target.rstrip("/") if is_url else read_urls(home.urls_path)[COORDINATOR]
    except PeerError as error:
        stop(BAD_INPUT, f"the roster: {error}")
    except (OSError, KeyError, ValueError):
        stop(BAD_INPUT, "DIR_OR_URL: no running federation lies there, and it is no URL")


def _published(url: str) -> list[dict[str, Any]]:
    try:
        response = httpx.get(f"{url}/v1/figures", timeout=_SECONDS, trust_env=False).raise_for_status()
        found = response.json()["figures"]
        return [dict(document) for document in found]
    except (httpx.HTTPError, KeyError, TypeError, ValueError):
        stop(INDETERMINATE, "the coordinator does not answer", "Ask again later.")


def _show(documents: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"figures": documents}, indent=2, ensure_ascii=False))
        return
    for it in documents:
        title = f"{it['agreement']}, {it['quarter']}: all {it['agencies']} agencies together"
        table = Table("figure", "number", title=title)
        for cell, number in it["figures"].items():
            table.add_row(cell, f"fewer than {it['fewer_than']}" if number is None else str(number))
        Console().print(table)
        typer.echo(
            f"Each number has noise: it lies within ±{it['within']} of the true one in 95 of 100 cases "
            f"(discrete Laplace of scale {it['noise_scale']:g} at each agency, ε = {it['epsilon']:g} a quarter)."
        )
