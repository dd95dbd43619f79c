"""A requester's portfolios: registered, changed and erased by its own systems (federation/docs/adr/0010).

A subject's identifier is asked about once, when it is handed in, and dropped with the request; what is kept is its
pseudonym, what was decided, and the requester's own reference.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

from api.portfolio_forms import (
    MAX_DAYS,
    MAX_PORTFOLIOS,
    MAX_WATCHED,
    HandedIn,
    Registration,
    Watch,
    end_of,
    identifiers,
    seconds_of,
)
from federation.changes import CHANGED, changed, event, seconds
from federation.gateway import Answer, Gateway
from federation.requester import Known
from federation.webhooks import SECRET_BYTES, check_target, secret_text
from nodes.storage.portfolio_rows import Portfolio, Watched
from nodes.storage.portfolios import Open, Portfolios
from protocol.errors import DecodeError
from protocol.identifiers import Identifier

_DAY: Final = 86_400

Met = Sequence[tuple[Watch, Known, Answer]]


class Desk:
    """Where a requester's systems hand in subjects; `hosts` are those that the operator lets webhooks go to."""

    def __init__(
        self, gateway: Callable[[], Gateway], store: Portfolios, hosts: Collection[str], clock: Callable[[], int]
    ) -> None:
        self.gateway = gateway
        self.store = store
        self._hosts = hosts
        self.clock = clock

    async def register(self, asked: Registration) -> Portfolio:
        """Ask about a portfolio's subjects for the first time, and keep it.

        Raises:
            DecodeError, IdentifierError: not as required; names the field.
            PeerError: see `Gateway.hand_in`; nothing is kept.
        """
        subjects, portfolio = identifiers(asked.subjects, "subjects"), self._terms(asked, secrets.token_hex(16))
        if len(await asyncio.to_thread(self.store.all)) >= MAX_PORTFOLIOS:
            raise DecodeError("subjects: there are as many portfolios as there may be")
        met = await self._meet(asked.agreement, asked.subjects, subjects, portfolio)

        def keep() -> None:
            with self.store.creating(portfolio) as opened:
                self._enter(opened, met)

        await asyncio.to_thread(keep)
        return portfolio

    async def replace(self, portfolio: str, asked: Registration) -> Portfolio:
        """Give a portfolio other terms and subjects; what is decided of references that stay is compared with.

        Raises:
            UnknownPortfolioError: there is none of this id.
            PeerError: as `register`; the portfolio stays as it is.
        """
        before = await asyncio.to_thread(self.store.get, portfolio)
        subjects, terms = identifiers(asked.subjects, "subjects"), self._terms(asked, portfolio, before)
        met = await self._meet(asked.agreement, asked.subjects, subjects, terms)

        def keep() -> None:
            stay = {subject.reference for subject in asked.subjects}
            with self.store.changing(portfolio) as opened:
                opened.rewrite(terms)
                opened.drop([subject for subject in opened.subjects() if subject.reference not in stay])
                self._enter(opened, met)

        await asyncio.to_thread(keep)
        return terms

    async def hand_in(self, portfolio: str, asked: HandedIn) -> Portfolio:
        """Add subjects or hand them in again, and remove others.

        Raises:
            UnknownPortfolioError: there is none of this id.
            DecodeError: it would have too many subjects, or has ended.
            PeerError: as `register`; the portfolio stays as it is.
        """
        terms = await asyncio.to_thread(self.store.get, portfolio)
        subjects = identifiers(asked.add, "add")
        if terms.ends <= self.clock():
            raise DecodeError("until: the portfolio has ended")
        _require_room(await asyncio.to_thread(self.store.subjects, portfolio, 0, MAX_WATCHED), asked)
        agreement = self.gateway().terms.agreement.id
        met = await self._meet(agreement, asked.add, subjects, terms) if subjects else []

        def keep() -> None:
            with self.store.changing(portfolio) as opened:
                there = opened.subjects()
                _require_room(there, asked)
                gone = set(asked.remove)
                opened.drop([subject for subject in there if subject.reference in gone])
                self._enter(opened, met)

        await asyncio.to_thread(keep)
        return terms

    def _terms(self, asked: Registration, portfolio: str, before: Portfolio | None = None) -> Portfolio:
        terms, ends, now = self.gateway().terms, end_of(asked.until), self.clock()
        if seconds_of(asked.every) * 8 > terms.decision_seconds * 7:
            raise DecodeError("every: longer than seven eighths of a decision's validity")
        if not now < ends <= min(now + MAX_DAYS * _DAY, end_of(terms.agreement.valid.until)):
            raise DecodeError(f"until: past, over {MAX_DAYS} days ahead, or after the agreement's last day")
        secret = None
        if asked.webhook is not None:
            check_target(asked.webhook, self._hosts)
            same = before is not None and before.webhook == asked.webhook
            secret = before.secret if before and same else secret_text(secrets.token_bytes(SECRET_BYTES))
        epoch = terms.roster.epoch
        return Portfolio(portfolio, ends, epoch, asked.purpose, asked.every, asked.case, asked.webhook, secret)

    async def _meet(
        self, agreement: str, watches: Sequence[Watch], subjects: Sequence[Identifier], portfolio: Portfolio
    ) -> Met:
        met = await self.gateway().hand_in(agreement, subjects, portfolio.purpose, portfolio.case)
        return [(watch, known, answer) for watch, (known, answer) in zip(watches, met, strict=True)]

    def _enter(self, opened: Open, met: Met) -> None:
        there = {subject.reference: subject for subject in opened.subjects()}
        for watch, known, answer in met:
            decide(opened, there.get(watch.reference), watch.reference, known, answer, self.clock())


def decide(opened: Open, was: Watched | None, reference: str, known: Known, answer: Answer, now: int) -> None:
    """Write what was decided of a subject, beside the change that this is; of two answers the later one stays."""
    portfolio, as_of = opened.portfolio, seconds(answer["as_of"])
    if was is not None and as_of < was.as_of:
        return
    subject = Watched(
        number=was.number if was else 0,
        epoch=known.epoch,
        due=now + seconds_of(portfolio.every),
        lapses=seconds(answer["valid_until"]),
        scheme=known.scheme,
        as_of=as_of,
        reference=reference,
        pseudonym=known.pseudonym,
        measures=answer["measures"],
    )
    before = [] if was is None else was.measures if was.lapses is not None else None
    (opened.add if was is None else opened.write)(subject)
    if (data := changed(about(portfolio, reference), before, answer)) is not None:
        opened.tell(partial(event, CHANGED, portfolio.id, now, data), now)


def about(portfolio: Portfolio, reference: str) -> Mapping[str, str]:
    """What a change is about."""
    return {"reference": reference, "purpose": portfolio.purpose, "case": portfolio.case}


def _require_room(there: Sequence[Watched], asked: HandedIn) -> None:
    references = {subject.reference for subject in there} - set(asked.remove)
    if len(references | {subject.reference for subject in asked.add}) > MAX_WATCHED:
        raise DecodeError(f"add: a portfolio has at most {MAX_WATCHED} subjects")
