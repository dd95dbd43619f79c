"""What a node serves its staff: clerks, who enter and file; reviewers, who decide; auditors, who look back."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic_core import PydanticCustomError

from api.gateway_forms import Subject, day
from api.node_forms import Authenticated, Correction, Entry, Step, identifier
from api.node_portal import Portal, answered, form
from nodes.life import Act, Author
from nodes.lifecycle import Record
from nodes.rights import described, identified, instant, step_of
from nodes.roles import Role, who_may
from nodes.storage.credentials import Holder
from nodes.storage.trail import Noted
from protocol.errors import DecodeError
from protocol.messages import Evaluate

SUBJECT_DAYS: Final = 30
"""How long a subject's token holds."""

_APART: Final = {Act.ENTER, Act.CORRECT}
_DIGITS: Final = 18


def clerk_routes(portal: Portal) -> APIRouter:
    """The routes under /clerk."""
    router = APIRouter(prefix="/clerk")

    @router.get("/due")
    async def due(request: Request) -> Response:
        """What is to be done, the first deadline first."""
        await portal.holder(request, Role.CLERK, Role.REVIEWER)
        return answered({"due": await asyncio.to_thread(_due, portal)})

    @router.post("/find")
    async def find(request: Request) -> Response:
        """A subject's listings, by one of its identifiers."""
        await portal.holder(request, Role.CLERK, Role.REVIEWER)
        asked = await form(Subject, request)
        subject = identifier("value", asked.scheme, asked.value)
        records = await asyncio.to_thread(portal.desk.register.find, [subject])
        return answered({"listings": [_shown(portal, record) for record in records]})

    @router.post("/listings")
    async def enter(request: Request) -> Response:
        """Enter one listing, which counts from when this is answered; without a day of service it is a draft."""
        holder = await portal.holder(request, *who_may(Act.ENTER))
        listing, by = (await form(Entry, request)).listing(), Author(holder.name, "entered by hand")
        record = await portal.beside(
            lambda ask: portal.desk.register.enter(listing, by, lambda message: ask(Evaluate.TYPE, message))
        )
        return answered(_shown(portal, record))

    @router.get("/listings/{reference}")
    async def listing(request: Request, reference: str) -> Response:
        """A listing with its steps, as it stands or as it stood; an auditor is not told whom it is about."""
        holder = await portal.holder(request, Role.CLERK, Role.REVIEWER, Role.AUDITOR)
        as_of = _past(request, portal, holder)
        return answered(await asyncio.to_thread(_looked_up, portal, reference, as_of, holder))

    @router.post("/listings/{reference}/correct")
    async def correct(request: Request, reference: str) -> Response:
        """End a listing as corrected and enter the corrected one, in one step; returns the latter."""
        holder = await portal.holder(request, *who_may(Act.CORRECT))
        correction = await form(Correction, request)
        listing, by = correction.listing.listing(), Author(holder.name, correction.reason, correction.document)
        record = await portal.beside(
            lambda ask: portal.desk.register.correct(
                reference, listing, by, lambda message: ask(Evaluate.TYPE, message)
            )
        )
        return answered(_shown(portal, record))

    @router.get("/trail")
    async def trail(request: Request) -> Response:
        """The next entries of the audit trail."""
        await portal.holder(request, Role.REVIEWER, Role.AUDITOR)
        entries = await asyncio.to_thread(portal.desk.register.trail, _after(request))
        return answered({"entries": [_noted(entry) for entry in entries]})

    @router.post("/subjects")
    async def subjects(request: Request) -> Response:
        """Give a subject, whose credentials the clerk has seen, a token; it is shown this once."""
        await portal.holder(request, Role.CLERK)
        seen = (await form(Authenticated, request)).identifiers
        identifiers = list(dict.fromkeys(identifier("identifiers", it.scheme, it.value) for it in seen))
        return answered(await asyncio.to_thread(_issue, portal, identifiers))

    for act in Act:
        if who_may(act) and act not in _APART:
            router.add_api_route(f"/listings/{{reference}}/{act}", _step(portal, act), methods=["POST"])
    return router


def _step(portal: Portal, act: Act) -> Callable[[Request, str], Awaitable[Response]]:
    async def step(request: Request, reference: str) -> Response:
        """Take a step with a listing; returns it as it stands then."""
        holder = await portal.holder(request, *who_may(act))
        asked = await form(Step, request)
        by = Author(holder.name, asked.reason or "", asked.document or "")
        record = await asyncio.to_thread(portal.desk.register.act, reference, act, by, asked.on)
        if act is Act.ERASE:
            return answered({"reference": record.reference, "state": "erased"})
        return answered(_shown(portal, record))

    return step


def _shown(portal: Portal, record: Record) -> dict[str, Any]:
    entry = portal.desk.register.entries[record.listing.register]
    return described(record, entry, portal.today) | {"subject": identified(record)}


def _due(portal: Portal) -> list[dict[str, Any]]:
    register = portal.desk.register
    return [
        {
            "reference": due.record.reference,
            "register": due.record.listing.register,
            "state": register.state(due.record).value,
            "what": due.what,
            "by": due.by.isoformat(),
        }
        for due in register.due()
    ]


def _looked_up(portal: Portal, reference: str, as_of: date | None, holder: Holder) -> dict[str, Any]:
    register = portal.desk.register
    record, steps = register.get(reference), register.history(reference)
    if as_of is not None:
        record, _ = register.as_of(reference, as_of)
        steps = [step for step in steps if step.today <= as_of]
    entry = register.entries[record.listing.register]
    shown = described(record, entry, as_of or portal.today) | {"history": [step_of(step) for step in steps]}
    return shown if holder.role is Role.AUDITOR else shown | {"subject": identified(record)}


def _issue(portal: Portal, identifiers: list[Any]) -> dict[str, Any]:
    credentials, now = portal.desk.credentials, portal.clock()
    credentials.forget_expired(now)
    expires, name = now + SUBJECT_DAYS * 86_400, f"subject-{secrets.token_hex(6)}"
    token = credentials.issue(Role.SUBJECT, name, expires, identifiers)
    return {"token": token, "name": name, "expires": instant(expires)}


def _noted(entry: Noted) -> dict[str, Any]:
    return {
        "number": entry.number,
        "register": entry.register,
        "reference": entry.content.hex()[:32],
        "erased": entry.is_erased,
        **step_of(entry.step),
    }


def _past(request: Request, portal: Portal, holder: Holder) -> date | None:
    """The day of which a state is asked for; an auditor asks for past states only."""
    text = _parameter(request, "as_of")
    if text is None and holder.role is not Role.AUDITOR:
        return None
    try:
        as_of = day(text)
    except PydanticCustomError:
        raise DecodeError("as_of: is missing, or not a date of the form YYYY-MM-DD") from None
    if as_of > portal.today:
        raise DecodeError("as_of: a day to come")
    return as_of


def _after(request: Request) -> int:
    text = _parameter(request, "after") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise DecodeError("after: not the number of an entry")
    return int(text)


def _parameter(request: Request, name: str) -> str | None:
    if set(request.query_params) - {name} or len(request.query_params.getlist(name)) > 1:
        raise DecodeError(f"query: holds something else than one {name}")
    return request.query_params.get(name)
