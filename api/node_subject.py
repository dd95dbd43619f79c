"""What a node serves its subjects: their own listings and file, their objections and requests, and the one door."""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from api.node_forms import Asked, DoorKey
from api.node_portal import Portal, answered, downloaded, form
from nodes.door import ask_all
from nodes.life import Act, Author
from nodes.rights import WAYS, check_way, described, identified, own, subject_file
from nodes.roles import Role
from nodes.storage.credentials import Holder
from protocol.agreement.model import Agreement
from protocol.agreement.terms import Allowance

ASKS_A_DAY: Final = 10
"""How often a day one subject may ask all agencies."""

_DAY: Final = 86_400
_WHAT = "Here you see what is listed of you under an agreement of these agencies, and object to it."
_ACCESS = (
    "Show the clerk of any of these agencies who you are, and by which numbers. You get a token for 30 days, with "
    "which you come back here."
)
_WAYS = {
    "GET /subject/listings": "your listings at this agency, as they stand",
    "GET /subject/file": "all that this agency holds of you, as a file",
    "POST /subject/listings/{reference}/{objection|correction|repair|leaving}": "object to a listing, have it "
    "corrected, ask for repair, or leave a scheme that you opted into",
    "POST /subject/door": "ask all agencies at once; their answers are sealed to you (`concordat subject ask`)",
}


def subject_routes(portal: Portal) -> APIRouter:
    """The routes under /subject."""
    router = APIRouter(prefix="/subject")

    @router.get("")
    async def welcome(request: Request) -> Response:
        """What this is; without a token, and nothing of any subject."""
        said = _welcome(portal.desk.party.terms.agreement)
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(_page(said), headers={"content-security-policy": "default-src 'none'"})
        return answered(said)

    @router.get("/listings")
    async def listings(request: Request) -> Response:
        """The subject's own listings at this agency."""
        holder = await portal.holder(request, Role.SUBJECT)
        return answered({"listings": await asyncio.to_thread(_listings, portal, holder)})

    @router.get("/file")
    async def file(request: Request) -> Response:
        """All that this agency holds of the subject; that it was asked for is noted first."""
        holder = await portal.holder(request, Role.SUBJECT)
        return downloaded(await asyncio.to_thread(_file, portal, holder), "subject-file.json")

    @router.post("/door")
    async def door(request: Request) -> Response:
        """Ask all agencies; what they answer is the subject's to open."""
        holder = await portal.holder(request, Role.SUBJECT)
        key = (await form(DoorKey, request)).key
        await asyncio.to_thread(_charge, portal, holder)
        passed = await portal.beside(
            lambda ask: ask_all(portal.desk.party, holder.identifiers, key, ask, portal.clock, secrets.token_bytes)
        )
        return answered(
            {
                "request": b64encode(passed.request).decode(),
                "answers": {agency: b64encode(reply).decode() for agency, reply in passed.answers.items()},
                "missing": list(passed.missing),
            }
        )

    for way, act in WAYS.items():
        router.add_api_route(f"/listings/{{reference}}/{way}", _step(portal, act), methods=["POST"])
    return router


def _step(portal: Portal, act: Act) -> Callable[[Request, str], Awaitable[Response]]:
    async def step(request: Request, reference: str) -> Response:
        """Object, ask for correction or repair, or leave; returns the listing as it stands then, with its deadline."""
        holder = await portal.holder(request, Role.SUBJECT)
        asked = await form(Asked, request)
        return answered(await asyncio.to_thread(_take, portal, holder, reference, act, asked))

    return step


def _take(portal: Portal, holder: Holder, reference: str, act: Act, asked: Asked) -> dict[str, Any]:
    register = portal.desk.register
    record = own(register.find(holder.identifiers), reference)
    entry = register.entries[record.listing.register]
    check_way(act, entry)
    after = register.act(record.reference, act, Author(holder.name, asked.reason, asked.document or ""))
    if act is Act.LEAVE:
        return {"reference": record.reference, "state": "erased"}
    return described(after, entry, portal.today)


def _charge(portal: Portal, holder: Holder) -> None:
    """Count what one subject asks for: the agency's own allowance is for all that come to it."""
    now = portal.clock()
    day = now // _DAY
    allowance = Allowance(ASKS_A_DAY, f"door day {day}", (day + 1) * _DAY)
    portal.desk.ledger.charge("door", holder.name, 1, allowance, now)


def _listings(portal: Portal, holder: Holder) -> list[dict[str, Any]]:
    register = portal.desk.register
    return [
        described(record, register.entries[record.listing.register], portal.today) | {"subject": identified(record)}
        for record in register.find(holder.identifiers)
    ]


def _file(portal: Portal, holder: Holder) -> dict[str, Any]:
    desk = portal.desk
    register, by = desk.register, Author(desk.party.id)
    records = [register.act(record.reference, Act.ACCESS, by) for record in register.find(holder.identifiers)]
    steps = {record.reference: register.history(record.reference) for record in records}
    agreement = desk.party.terms.agreement
    return subject_file(desk.party.id, records, steps, agreement, register.entries, portal.today)


def _welcome(agreement: Agreement) -> dict[str, Any]:
    return {
        "what": _WHAT,
        "agreement": {"id": agreement.id, "title": agreement.title, "legal_basis": agreement.legal_basis.model_dump()},
        "agencies": [{"id": it.id, "name": it.name} for it in agreement.agencies],
        "token": _ACCESS,
        "ways": _WAYS,
    }


def _page(said: dict[str, Any]) -> str:
    """The same for a browser, to which a decision's notice leads."""
    agencies = "".join(f"<li>{escape(agency['name'])}" for agency in said["agencies"])
    ways = "".join(f"<dt><code>{escape(way)}</code><dd>{escape(what)}" for way, what in said["ways"].items())
    title = escape(said["agreement"]["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>'
        f"<p>{escape(said['what'])}<ul>{agencies}</ul><p>{escape(said['token'])}<dl>{ways}</dl></html>\n"
    )
