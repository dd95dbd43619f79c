"""Monitoring: portfolios are asked about again in the background, and what changed is told.

A question is charged and asked as any other. What a subject's decision came to, and the change that this is, are
committed together before anything of it leaves: whenever this process dies, the next one asks anew and compares with
what was told last. So no change is lost and none invented, and one may be delivered twice, as the same event. No
decision is no news: it changes nothing, until the decision before it lapses, and that is told.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from api.logs import described, log
from api.portfolio_forms import FEED_DAYS
from api.portfolios import Desk, about, decide
from federation.changes import LAPSED, OUTDATED, event, lapsed
from federation.gateway import Answer
from federation.problem import BUSY, INDETERMINATE, NOT_GRANTED, QUOTA, BusyError, kind_of
from federation.requester import Known
from federation.webhooks import Webhooks
from nodes.storage.portfolio_rows import Portfolio, Watched
from nodes.storage.portfolios import UnknownPortfolioError
from protocol.errors import IndeterminateError, NotGrantedError, PeerError, QuotaError
from protocol.wire import MAX_SUBJECTS

POLL_SECONDS: Final = 1.0
FEED_SECONDS: Final = FEED_DAYS * 86_400
_FORGET_SECONDS: Final = 3_600
_CANARY_REST: Final = 5
_SHORTEST_REST, _LONGEST_REST = 30, 900
_SHORTEST_RETRY, _LONGEST_RETRY = 5, 3_600


class Monitor:
    """What goes on by itself with the portfolios of a desk; its metrics go to `registry`."""

    def __init__(self, desk: Desk, webhooks: Webhooks, registry: CollectorRegistry) -> None:
        self.desk = desk
        self.registry = registry
        self._gateway = desk.gateway
        self._store = desk.store
        self._clock = desk.clock
        self._webhooks = webhooks
        self._asked = Counter(
            "concordat_monitored", "Subjects of portfolios asked about again", ["outcome"], registry=registry
        )
        self._sent = Counter("concordat_deliveries", "Attempts to deliver a change", ["outcome"], registry=registry)
        self._delivering: dict[str, asyncio.Task[None]] = {}
        self._pause = (0, "")  # until when nothing is asked, and why
        self._rests: dict[str, tuple[int, int, str]] = {}  # the same of a portfolio, and how often it failed
        self._forgot = 0

    async def run(self) -> None:
        """Do all of it, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for step in (self.keep, self.screen, self.deliver):
                    group.create_task(self._forever(step))
        finally:
            for task in self._delivering.values():
                task.cancel()

    def waits_for(self, portfolio: str) -> str | None:
        """Why what is due of a portfolio is not asked about now; None where nothing keeps it."""
        now = self._clock()
        for until, reason in (self._pause, self._rests.get(portfolio, (0, 0, ""))[::2]):
            if until > now:
                return reason
        return None

    async def keep(self) -> None:
        """Tell what lapsed and that an epoch began; once an hour, erase what has been kept long enough."""
        await asyncio.to_thread(self._keep)

    async def screen(self) -> None:
        """Ask about all that is due, an array at a time, those first that wait longest.

        What the quota does not cover waits until the day is over; what is not decided, for a while. While canaries come
        out wrong nothing is asked, for it would be charged.
        """
        size = MAX_SUBJECTS
        while (now := self._clock()) >= self._pause[0]:
            gateway = self._gateway()
            found = await asyncio.to_thread(self._store.due, gateway.terms.roster.epoch, now, size)
            if found is None:
                return
            portfolio, subjects = found
            known = [Known(it.epoch, it.scheme, it.pseudonym) for it in subjects]
            try:
                await gateway.check_canaries()
                answers = await gateway.ask_again(known, portfolio.purpose)
            except QuotaError as error:
                if len(subjects) > 1:
                    size = len(subjects) // 2
                else:
                    self._pause = (now + error.retry_after, QUOTA)
            except BusyError as error:
                self._pause = (now + error.retry_after, BUSY)
            except NotGrantedError:
                await asyncio.to_thread(self._postpone, portfolio, subjects, NOT_GRANTED)
            except IndeterminateError:
                self._pause = (now + _CANARY_REST, INDETERMINATE)
            else:
                await asyncio.to_thread(self._record, portfolio, subjects, known, answers)

    async def deliver(self) -> None:
        """See that every webhook that has something to be told is being told it, each by itself."""
        self._delivering = {portfolio: task for portfolio, task in self._delivering.items() if not task.done()}
        for portfolio in await asyncio.to_thread(self._store.undelivered, self._clock()):
            if portfolio not in self._delivering:
                self._delivering[portfolio] = asyncio.create_task(self._deliver(portfolio))

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception as error:  # noqa: BLE001  # whatever it was, the next attempt may succeed
                log.error("fault", **described(error))
            await asyncio.sleep(POLL_SECONDS)

    def _keep(self) -> None:
        now, epoch = self._clock(), self._gateway().terms.roster.epoch
        for portfolio in self._store.lapsing(now):
            with suppress(UnknownPortfolioError):
                self._lapse(portfolio, now)
        for portfolio in self._store.outdated(epoch):
            with suppress(UnknownPortfolioError):
                self._outdate(portfolio, epoch, now)
        if abs(now - self._forgot) >= _FORGET_SECONDS:
            self._store.forget(now - FEED_SECONDS, now)
            self._forgot = now

    def _lapse(self, portfolio: str, now: int) -> None:
        """Tell of decisions that lapsed; a portfolio that has ended loses its subjects with their decisions."""
        with self._store.changing(portfolio) as opened:
            own = opened.portfolio
            for subject in opened.lapsing(now):
                data = lapsed(about(own, subject.reference), subject.measures, subject.lapses or now)
                opened.tell(partial(event, LAPSED, own.id, now, data), now)
                opened.write(replace(subject, lapses=None, measures=()))
            if own.ends <= now:
                opened.drop([subject for subject in opened.subjects() if subject.lapses is None])

    def _outdate(self, portfolio: str, epoch: int, now: int) -> None:
        with self._store.changing(portfolio) as opened:
            own = opened.portfolio
            before = [subject for subject in opened.subjects() if subject.epoch != epoch]
            data = {"purpose": own.purpose, "case": own.case, "epoch": epoch, "subjects": len(before)}
            opened.tell(partial(event, OUTDATED, own.id, now, data), now)
            for subject in before:
                opened.write(replace(subject, pseudonym=b""))  # which can be asked about nowhere any more
            opened.rewrite(replace(own, epoch=epoch))

    def _record(
        self,
        portfolio: Portfolio,
        subjects: Sequence[Watched],
        known: Sequence[Known],
        answers: Sequence[Answer | PeerError],
    ) -> None:
        """Commit what was decided, and the changes; whoever was handed in anew meanwhile, or is gone, stays so."""
        decided = {}
        for subject, pseudonym, answer in zip(subjects, known, answers, strict=True):
            self._asked.labels(kind_of(answer) if isinstance(answer, PeerError) else answer["outcome"]).inc()
            if not isinstance(answer, PeerError):
                decided[subject.number] = (pseudonym, answer)
        with suppress(UnknownPortfolioError), self._store.changing(portfolio.id) as opened:
            for was in opened.subjects(decided):
                asked, answer = decided[was.number]
                if was.pseudonym == asked.pseudonym:
                    decide(opened, was, was.reference, asked, answer, self._clock())
        for answer in answers:
            if isinstance(answer, QuotaError):  # another party counts more than this gateway
                self._pause = (self._clock() + answer.retry_after, QUOTA)
        if undecided := [subject for subject in subjects if subject.number not in decided]:
            self._postpone(portfolio, undecided, INDETERMINATE)
        else:
            self._rests.pop(portfolio.id, None)

    def _postpone(self, portfolio: Portfolio, subjects: Sequence[Watched], reason: str) -> None:
        """Leave subjects alone, the longer the more often their portfolio failed; meanwhile the others are asked about.

        They come back one by one: if it was one of them that spoilt the array, the others are decided without it.
        """
        failures, now = self._rests.get(portfolio.id, (0, 0, ""))[1], self._clock()
        pause = min(_SHORTEST_REST << min(failures, 10), _LONGEST_REST)
        self._rests[portfolio.id] = (now + 2 * pause, failures + 1, reason)
        with suppress(UnknownPortfolioError), self._store.changing(portfolio.id) as opened:
            for subject in opened.subjects([it.number for it in subjects]):
                opened.write(replace(subject, due=max(subject.due, now + pause + secrets.randbelow(pause))))

    async def _deliver(self, portfolio: str) -> None:
        """Send changes in their order, until all are acknowledged or one is not."""
        try:
            while (found := await asyncio.to_thread(self._store.next_delivery, portfolio)) is not None:
                number, document = found
                own = await asyncio.to_thread(self._store.get, portfolio)
                if own.webhook is None or own.secret is None:
                    return
                body = json.dumps(document, ensure_ascii=False).encode()
                if not await self._webhooks.send(own.webhook, own.secret, document["id"], body, self._clock()):
                    self._sent.labels("failed").inc()
                    await asyncio.to_thread(self._store.failed, portfolio, _retry_after, self._clock())
                    return
                self._sent.labels("delivered").inc()
                await asyncio.to_thread(self._store.delivered, portfolio, number)
        except UnknownPortfolioError:
            return
        except Exception as error:  # noqa: BLE001  # a task of its own: nobody else would log it
            log.error("fault", **described(error))


def _retry_after(failures: int) -> int:
    return min(_SHORTEST_RETRY << min(failures, 10), _LONGEST_RETRY)
