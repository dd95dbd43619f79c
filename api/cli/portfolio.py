"""`concordat portfolio …`: subjects that a requester's gateway asks about again and again, and what changed."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.ask import ADVICE, Case, Directory, Purpose, Requester, reason_of
from api.cli.client import GatewayClient, NoGatewayError
from api.cli.exits import BAD_INPUT, DONE, PARTLY
from api.cli.screening import read_rows
from api.cli.terminal import stop
from api.gateway_forms import MAX_BATCH
from api.home import Home
from protocol.errors import DecodeError

COLUMNS = ("scheme", "identifier", "reference")
_PATH = "portfolios"

portfolio = typer.Typer(help="A requester's portfolios: monitoring, and what changed.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE.csv", help="Columns scheme, identifier, reference.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The portfolio, as `register` and `show` print it.")]
Watches = list[dict[str, str]]


@portfolio.command()
def register(
    directory: Directory,
    file: File,
    purpose: Purpose,
    case: Case,
    every: Annotated[str, typer.Option(metavar="PERIOD", help="How often to ask: 30m, 12h, 1d.")],
    until: Annotated[str, typer.Option(metavar="DATE", help="The last day.")],
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="Where changes are sent.")] = None,
    requester: Requester = None,
) -> None:
    """Register the subjects of a file; prints the portfolio, and once the secret that signs its webhooks."""
    client, watches = _client(directory, requester), _watches(file)
    terms = {"purpose": purpose, "case": case, "every": every, "until": until, "webhook": webhook}
    first = {"agreement": client.agreement, **terms, "subjects": watches[:MAX_BATCH]}
    made = _call(client, "POST", "", first)
    typer.echo(json.dumps(made, ensure_ascii=False))
    _add(client, made["id"], watches[MAX_BATCH:])


@portfolio.command("hand-in")
def hand_in(directory: Directory, id_: Id, file: File, requester: Requester = None) -> None:
    """Add the subjects of a file, or hand them in again, as a new epoch asks for; those not in it stay."""
    client, watches = _client(directory, requester), _watches(file)
    _add(client, id_, watches)
    typer.echo(json.dumps(_call(client, "GET", f"/{_checked(id_)}"), ensure_ascii=False))


@portfolio.command()
def show(
    directory: Directory,
    id_: Annotated[str | None, typer.Option("--id", metavar="ID", help="One portfolio with its subjects.")] = None,
    requester: Requester = None,
) -> None:
    """Print all portfolios, one JSON object a line; or one, and then how each of its subjects stands."""
    client = _client(directory, requester)
    if id_ is None:
        for shown in _call(client, "GET", "")["portfolios"]:
            typer.echo(json.dumps(shown, ensure_ascii=False))
        return
    typer.echo(json.dumps(_call(client, "GET", f"/{_checked(id_)}"), ensure_ascii=False))
    after: int | None = 0
    while after is not None:
        page = _call(client, "GET", f"/{id_}/subjects?after={after}")
        for subject in page["subjects"]:
            typer.echo(json.dumps(subject, ensure_ascii=False))
        after = page["next"]


@portfolio.command()
def changes(
    directory: Directory,
    id_: Id,
    after: Annotated[int, typer.Option(min=0, metavar="N", help="Those after this number.")] = 0,
    requester: Requester = None,
) -> None:
    """Print what changed, in order, one CloudEvent a line; exit 5 where some before the first are kept no longer."""
    client, complete = _client(directory, requester), True
    while True:
        page = _call(client, "GET", f"/{_checked(id_)}/changes?after={after}")
        complete = complete and page["complete"]
        for event in page["changes"]:
            typer.echo(json.dumps(event, ensure_ascii=False))
        if not page["changes"]:
            break
        after = page["next"]
    if not complete:
        stop(PARTLY, "Some changes are kept no longer.", "See how the subjects stand: `concordat portfolio show --id`.")


@portfolio.command()
def delete(directory: Directory, id_: Id, requester: Requester = None) -> None:
    """Erase a portfolio with its subjects and changes."""
    _call(_client(directory, requester), "DELETE", f"/{_checked(id_)}")
    typer.echo("erased")


def _client(directory: Path, requester: str | None) -> GatewayClient:
    try:
        return GatewayClient(Home(directory), requester)
    except NoGatewayError as error:
        stop(BAD_INPUT, str(error))


def _watches(file: Path) -> Watches:
    try:
        rows = read_rows(file, "FILE.csv", COLUMNS)
    except DecodeError as error:
        stop(BAD_INPUT, str(error))
    if not rows:
        stop(BAD_INPUT, "FILE.csv: has no row")
    return [dict(zip(("scheme", "value", "reference"), row, strict=True)) for row in rows]


def _add(client: GatewayClient, id_: str, watches: Watches) -> None:
    for start in range(0, len(watches), MAX_BATCH):
        _call(client, "PATCH", f"/{_checked(id_)}", {"add": watches[start : start + MAX_BATCH]})


def _checked(id_: str) -> str:
    """An id that may stand in a URL: whatever else was typed does not leave this machine."""
    if len(id_) != 32 or not set(id_) <= set("0123456789abcdef"):
        stop(BAD_INPUT, "ID: not a portfolio's")
    return id_


def _call(client: GatewayClient, method: str, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    reply = client.call(method, f"{_PATH}{path}", document)
    if reply.code != DONE:
        stop(reply.code, reason_of(reply.document), ADVICE.get(reply.code, ""))
    return reply.document
