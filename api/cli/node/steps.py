"""Steps in a listing's life as commands: one table over `nodes.life.Act`, each command named as its act."""

from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType
from typing import Annotated, Final

import typer

from api.agency import open_register
from api.cli.exits import BAD_INPUT
from api.cli.own import (
    Agency,
    By,
    Directory,
    Document,
    Reason,
    Reference,
    RegisterId,
    Subject,
    day,
    explained,
    opened,
    own_entries,
    own_register,
    own_settings,
    subject_of,
    whoever,
)
from api.cli.terminal import stop
from nodes.life import Act, Author
from nodes.lifecycle import ENDED, State
from nodes.register import Register

_HELP: Final[Mapping[Act, str]] = MappingProxyType(
    {
        Act.SERVE: "Note that the notice was served, by which document and on which day: the time to object begins.",
        Act.OBJECT: "File an objection: until it is answered the listing restricts nothing.",
        Act.REQUEST_CORRECTION: "File a request for correction; as with an objection, the listing restricts nothing.",
        Act.REJECT: "Answer an objection or request for correction: the listing stays.",
        Act.REVOKE: "End a listing because it should not have been, or should be no longer.",
        Act.REQUEST_REPAIR: "File a request for repair.",
        Act.REPAIR: "Answer a request for repair: the listing ends.",
        Act.REFUSE_REPAIR: "Answer a request for repair: the listing stays.",
        Act.SUSPEND: "Take a listing out of effect until it is resumed.",
        Act.RESUME: "Bring a suspended listing back into effect.",
        Act.LEAVE: "Note that the subject left an opt-in scheme, which erases its balance, or an official list.",
    }
)
_RECEIVED: Final = frozenset({Act.SERVE, Act.OBJECT, Act.REQUEST_CORRECTION, Act.REQUEST_REPAIR, Act.LEAVE})
"""What happened on a day of its own, before it was noted."""


def _command(act: Act) -> Callable[..., None]:
    def decided(
        directory: Directory,
        reference: Reference,
        agency: Agency,
        by: By = None,
        reason: Reason = "",
        document: Document = "",
    ) -> None:
        _take(own_register(directory, agency), reference, act, Author(whoever(by), reason, document))

    def received(
        directory: Directory,
        reference: Reference,
        agency: Agency,
        by: By = None,
        reason: Reason = "",
        document: Document = "",
        on: Annotated[
            str | None, typer.Option(metavar="DATE", help="The day of service or receipt; by default today.")
        ] = None,
    ) -> None:
        happened = day(on, "--on")
        own = own_register(directory, agency)
        _take(own, reference, act, Author(whoever(by), reason, document), happened or own.today)

    command = received if act in _RECEIVED else decided
    command.__doc__ = _HELP[act]
    return command


COMMANDS: Final[Mapping[Act, Callable[..., None]]] = MappingProxyType({act: _command(act) for act in _HELP})


def _take(own: Register, reference: str, act: Act, by: Author, on: date | None = None) -> None:
    with explained():
        record = own.act(reference, act, by, on)
    is_erased = act is Act.ERASE or (act is Act.LEAVE and not record.listing.published)
    due = "" if is_erased or record.life.due is None else f"  due {record.life.due}"
    typer.echo(f"{record.reference}  {'erased' if is_erased else own.state(record).value}{due}")


def erase(
    directory: Directory,
    agency: Agency,
    reference: Annotated[str | None, typer.Argument(metavar="REFERENCE", help="The listing's reference.")] = None,
    out_of_retention: Annotated[
        bool, typer.Option("--out-of-retention", help="All that ended longer ago than their registers keep them.")
    ] = False,
    by: By = None,
    reason: Reason = "",
) -> None:
    """Erase a listing that has ended, with its seals and the details of its steps; no copy of it can be loaded again.

    That it was, and who did what when, stays in the audit trail.
    """
    if (reference is None) != out_of_retention:
        stop(BAD_INPUT, "REFERENCE: name one, or say --out-of-retention")
    own = own_register(directory, agency)
    if reference is not None:
        _take(own, reference, Act.ERASE, Author(whoever(by), reason))
        return
    with explained():
        erased = own.erase_out_of_retention(Author(whoever(by), reason or "out of retention"))
    typer.echo(f"{erased} erased")


def dispute(
    directory: Directory,
    subject: Subject,
    agency: Agency,
    register: RegisterId,
    end: Annotated[bool, typer.Option("--end", help="Answer the objection: the listing stays.")] = False,
) -> None:
    """Flag a subject's listings in a register as disputed: from the next question on they restrict nothing."""
    settings = own_settings(directory, agency)
    own_entries(settings, register)
    identifier = subject_of(subject)
    own = opened(lambda: open_register(settings))
    lasting = [it for it in own.find([identifier]) if own.state(it) not in ENDED | {State.DRAFT}]
    found = [it for it in lasting if it.listing.register == register]
    if not found:
        stop(BAD_INPUT, "SCHEME:VALUE: no listing of this subject is in force in this register")
    act, by = Act.REJECT if end else Act.OBJECT, Author(whoever(None), "by hand", "by hand")
    with explained("Those before it were flagged, the others not."):
        for record in found:
            if end == (record.life.dispute is not None):
                own.act(record.reference, act, by)
    typer.echo(f"{'no longer disputed' if end else 'disputed'}: {len(found)}")
