"""The gateway's routes for portfolios: registered and erased, listed, and what changed since."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.gateway_forms import MAX_BODY, read
from api.gateway_openapi import PROBLEMS, body, responses
from api.monitoring import Monitor
from api.portfolio_forms import PAGE, Erased, Feed, HandedIn, HeldPage, Registration, Shelf, Shown
from api.problems import read_body
from federation.changes import timestamp
from nodes.storage.portfolio_rows import Portfolio
from nodes.storage.portfolios import UnknownPortfolioError

MODELS: Final = (Registration, HandedIn, Shown, Shelf, HeldPage, Feed, Erased)

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
After = Annotated[int, Query(ge=0, le=1 << 31)]


def routes(monitor: Monitor, token: list[Any], room: Callable[[Request], AbstractContextManager[None]]) -> APIRouter:
    """All of them; `token` asks for the callers' token, `room` takes room for a body until it is answered."""
    desk, store = monitor.desk, monitor.desk.store
    router = APIRouter(prefix="/v1/portfolios", dependencies=token)

    async def show(portfolio: Portfolio, secret: str | None = None) -> dict[str, Any]:
        now, terms = desk.clock(), desk.gateway().terms
        counts = await asyncio.to_thread(store.counts, portfolio.id, terms.roster.epoch, now)
        last = datetime.fromtimestamp(portfolio.ends, UTC) - timedelta(days=1)
        return {
            "id": portfolio.id,
            "agreement": terms.agreement.id,
            "purpose": portfolio.purpose,
            "case": portfolio.case,
            "every": portfolio.every,
            "until": last.date().isoformat(),
            "webhook": portfolio.webhook,
            "subjects": counts.subjects,
            "due": counts.due,
            "lapsed": counts.lapsed,
            "outdated": counts.outdated,
            "changes": counts.changes,
            "delivered": counts.delivered,
            "waits_for": monitor.waits_for(portfolio.id),
            "secret": secret,
        }

    @router.post("", openapi_extra=body(Registration), responses=responses(Shown, *PROBLEMS))
    async def register(request: Request) -> Response:
        """Register a portfolio: its subjects are asked about now, and again as often as it says."""
        with room(request):
            portfolio = await desk.register(read(Registration, await read_body(request, MAX_BODY)))
        return JSONResponse(await show(portfolio, portfolio.secret))

    @router.get("", responses=responses(Shelf, 401))
    async def shelf() -> Response:
        """All portfolios, with how each stands."""
        return JSONResponse({"portfolios": [await show(it) for it in await asyncio.to_thread(store.all)]})

    @router.get("/{portfolio}", responses=responses(Shown, 401, 404, 422))
    async def one(portfolio: Id) -> Response:
        """One portfolio, with how it stands."""
        with _Found():
            return JSONResponse(await show(await asyncio.to_thread(store.get, portfolio)))

    @router.put("/{portfolio}", openapi_extra=body(Registration), responses=responses(Shown, *PROBLEMS))
    async def replace(portfolio: Id, request: Request) -> Response:
        """Give a portfolio other terms and subjects; only where its webhook is another one is there a new secret."""
        with room(request), _Found():
            asked = read(Registration, await read_body(request, MAX_BODY))
            before = await asyncio.to_thread(store.get, portfolio)
            after = await desk.replace(portfolio, asked)
            return JSONResponse(await show(after, after.secret if after.secret != before.secret else None))

    @router.patch("/{portfolio}", openapi_extra=body(HandedIn), responses=responses(Shown, *PROBLEMS))
    async def hand_in(portfolio: Id, request: Request) -> Response:
        """Add subjects, hand them in again, or remove them."""
        with room(request), _Found():
            asked = read(HandedIn, await read_body(request, MAX_BODY))
            return JSONResponse(await show(await desk.hand_in(portfolio, asked)))

    @router.delete("/{portfolio}", responses=responses(Erased, 401, 404, 422))
    async def erase(portfolio: Id) -> Response:
        """Erase a portfolio, with its subjects and changes."""
        with _Found():
            await asyncio.to_thread(store.delete, portfolio)
        return JSONResponse({"outcome": "erased"})

    @router.get("/{portfolio}/subjects", responses=responses(HeldPage, 401, 404, 422))
    async def subjects(portfolio: Id, after: After = 0) -> Response:
        """How its subjects stand, a hundred a page."""
        with _Found():
            await asyncio.to_thread(store.get, portfolio)
            found = await asyncio.to_thread(store.subjects, portfolio, after, PAGE)
        held = [
            {
                "reference": it.reference,
                "outcome": "lapsed" if it.lapses is None else "decided",
                "measures": it.measures,
                "as_of": timestamp(it.as_of),
                "valid_until": None if it.lapses is None else timestamp(it.lapses),
            }
            for it in found
        ]
        return JSONResponse({"subjects": held, "next": found[-1].number if len(found) == PAGE else None})

    @router.get("/{portfolio}/changes", responses=responses(Feed, 401, 404, 422))
    async def changes(portfolio: Id, after: After = 0) -> Response:
        """What changed after a number, in order, a hundred a page."""
        with _Found():
            await asyncio.to_thread(store.get, portfolio)
            found = await asyncio.to_thread(store.changes, portfolio, after, PAGE)
            last = (await asyncio.to_thread(store.counts, portfolio, 0, 0)).changes
        complete = found[0][0] == after + 1 if found else after >= last
        following = found[-1][0] if found else max(after, last)
        return JSONResponse({"changes": [it for _, it in found], "next": following, "complete": complete})

    return router


class _Found:
    """Where there is no such portfolio, the answer is 404."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, UnknownPortfolioError):
            raise HTTPException(404) from None
