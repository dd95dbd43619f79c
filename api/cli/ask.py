"""`concordat check` and `concordat screen`: one question, or a file of them, through a requester's gateway."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.cli.client import GatewayClient, NoGatewayError
from api.cli.engines import DASK, LOCAL, Engine, Scheduler, Workers, check_engine, dask_client, loaded
from api.cli.exits import BAD_INPUT, DONE, INDETERMINATE, PARTLY, REFUSED
from api.cli.screening import Screening, one_by_one
from api.cli.terminal import progress_bar, stop
from api.home import Home, write_private
from federation.problem import MALFORMED, document
from protocol.errors import DecodeError

ADVICE = {
    BAD_INPUT: "Correct what is named, and ask again.",
    INDETERMINATE: "No decision was made, and nothing follows about the subject. See that every party runs "
    "(`concordat up DIR --wait`), and ask again.",
    REFUSED: "Ask for a purpose of the agreement, with the requester's own token and within its daily quota.",
}

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The federation's directory.")]
Purpose = Annotated[str, typer.Option(help="What the answer is for; one of the requester's purposes.")]
Case = Annotated[str, typer.Option(help="The requester's own reference.")]
Requester = Annotated[str | None, typer.Option(help="Who asks; default: the agreement's first requester.")]


def check(
    directory: Directory,
    subject: Annotated[str, typer.Argument(metavar="SCHEME:VALUE", help="The subject's identifier.")],
    purpose: Purpose,
    case: Case,
    requester: Requester = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the gateway's JSON and nothing else.")] = False,
    standing: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a certificate that names the subject to this new file.")
    ] = None,
) -> None:
    """Ask which joint measures apply to one subject."""
    scheme, colon, value = subject.partition(":")
    if not colon:
        _refuse("SCHEME:VALUE: a colon between scheme and value is missing", json_)
    try:
        client = GatewayClient(Home(directory), requester)
        if standing is not None:
            write_private(standing, b"")  # now, while nothing is asked and charged yet
    except NoGatewayError as error:
        _refuse(str(error), json_)
    except OSError as error:
        _refuse(f"--standing: no new file can be made there ({error.strerror})", json_)
    question = {"subject": {"scheme": scheme, "value": value}, "purpose": purpose, "case": case}
    reply = client.ask(question, "membership" if standing is None else "standing")
    if standing is not None and reply.code == DONE:
        standing.write_text(f"{json.dumps(reply.document['standing'])}\n", "utf-8")
    elif standing is not None:
        standing.unlink()
    if json_:
        typer.echo(json.dumps(reply.document, ensure_ascii=False))
    elif reply.code == DONE:
        _show(reply.document, Console())
    if reply.code != DONE:
        stop(reply.code, reason_of(reply.document), ADVICE.get(reply.code, ""))


def screen(
    directory: Directory,
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Columns scheme, identifier.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT.csv", help="Where the answers go.")],
    purpose: Purpose,
    case: Case,
    requester: Requester = None,
    engine: Engine = LOCAL,
    scheduler: Scheduler = None,
    workers: Workers = None,
) -> None:
    """Ask about every row of a CSV file; run again, it asks only for what has no decision yet.

    OUT.csv has columns scheme, identifier, status (decided, indeterminate, error), measures. A row that is kept stays
    as it is: for another purpose or case, or after the decisions' validity, name another OUT.csv.
    """
    check_engine(engine, scheduler, workers)
    question = {"purpose": purpose, "case": case}
    try:
        client = GatewayClient(Home(directory), requester)
        screening = Screening(file, output)
        with ExitStack() as stack:
            asking = one_by_one(client, question)
            if engine == DASK:
                asked = str(directory.absolute()), requester, str(file.absolute()), question, screening.places
                asking = loaded("screening").on_dask(stack.enter_context(dask_client(scheduler, workers, {})), asked)
            progress = stack.enter_context(progress_bar(Console(stderr=True), "rows"))
            refusal = screening.run(asking, client.not_ready, progress)
    except (NoGatewayError, DecodeError) as error:
        stop(BAD_INPUT, str(error))
    counts = screening.counts()
    _show_counts(counts, Console())
    if refusal is not None:
        stop(
            refusal.code,
            reason_of(refusal.document),
            "What was decided is kept; run the same command again to go on.",
        )
    if counts.keys() - {"decided"}:
        stop(PARTLY, "Some rows have no decision.", "Correct rows in error; run again for those indeterminate.")


def _refuse(reason: str, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps(document(MALFORMED, reason)))
    stop(BAD_INPUT, reason)


def reason_of(problem: dict[str, Any]) -> str:
    """A problem document in a sentence."""
    missing = problem.get("missing")
    return f"No answer from: {', '.join(missing)}." if missing else f"{problem.get('title')}: {problem.get('detail')}."


def _show(answer: dict[str, Any], console: Console) -> None:
    if not answer["measures"]:
        console.print("No measure applies.")
    else:
        table = Table("measure", "effect", "applies")
        for measure in answer["measures"]:
            table.add_row(measure["id"], measure["effect"], "disputed" if measure["disputed"] else "yes")
        console.print(table)
        for notice in answer["notice"]:
            console.print(f"{notice['measure']}: {escape(notice['text'])} Objections: {notice['door']}", soft_wrap=True)
    if answer["requires_human_review"]:
        console.print("A person must decide: this may be a natural person.")
    agencies = answer["agencies"]
    console.print(
        f"{agencies['answered']} of {agencies['required']} agencies, as of {answer['as_of']}, "
        f"valid until {answer['valid_until']}",
        soft_wrap=True,
    )


def _show_counts(counts: dict[str, int], console: Console) -> None:
    table = Table("status", "rows")
    for status, rows in sorted(counts.items()):
        table.add_row(status, str(rows))
    console.print(table)
