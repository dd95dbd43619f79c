"""A gateway's portfolios: subjects to ask about again, what was last decided of each, and what changed.

Whatever could tell of a subject, a case or a caller is encrypted under the gateway's key: references, pseudonyms,
decisions, changes, URLs, secrets. In clear stand random ids, numbers and times. There is no identifier, not even
encrypted: a subject is kept as its pseudonym, which nobody can turn back (federation/docs/adr/0010).

A decision and the change that it brings are one transaction. Changes of a portfolio are numbered without a gap, in the
order in which they are committed: whoever writes holds the portfolio's row.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, Select, delete, func, insert, select, update

from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import forget_erased, migrate, reading, writing
from nodes.storage.portfolio_rows import (
    CHANGE,
    PORTFOLIO,
    SUBJECT,
    Counts,
    Portfolio,
    Watched,
    dump,
    load,
    place,
    portfolio_row,
    subject_row,
    to_portfolio,
    to_watched,
)
from protocol.errors import PeerError


class UnknownPortfolioError(PeerError):
    """There is no portfolio of this id."""


class Open:
    """A portfolio that is being changed, within one transaction that holds its row."""

    def __init__(self, connection: Connection, cipher: ColumnCipher, row: Any) -> None:
        self._connection = connection
        self._cipher = cipher
        self._subjects: int = row["subjects"]
        self._changes: int = row["changes"]
        self.portfolio = to_portfolio(cipher, row)
        self.erased = False

    def subjects(self, numbers: Collection[int] | None = None) -> list[Watched]:
        """Subjects by number, those with these numbers or all."""
        found = select(SUBJECT).where(SUBJECT.c.portfolio == self.portfolio.id).order_by(SUBJECT.c.number)
        if numbers is not None:
            found = found.where(SUBJECT.c.number.in_(numbers))
        return [to_watched(self._cipher, row) for row in self._connection.execute(found).mappings()]

    def lapsing(self, now: int) -> list[Watched]:
        """Subjects whose decisions lapse by now."""
        at = (SUBJECT.c.portfolio == self.portfolio.id) & (SUBJECT.c.lapses <= now)
        found = self._connection.execute(select(SUBJECT).where(at).order_by(SUBJECT.c.number)).mappings()
        return [to_watched(self._cipher, row) for row in found]

    def add(self, subject: Watched) -> None:
        """Add a subject, under the next number."""
        self._subjects += 1
        values = subject_row(self._cipher, self.portfolio.id, replace(subject, number=self._subjects))
        self._connection.execute(insert(SUBJECT), values)

    def write(self, subject: Watched) -> None:
        """Write a subject as it stands now."""
        values = subject_row(self._cipher, self.portfolio.id, subject)
        at = (SUBJECT.c.portfolio == self.portfolio.id) & (SUBJECT.c.number == subject.number)
        self._connection.execute(update(SUBJECT).where(at).values(values))

    def drop(self, subjects: Collection[Watched]) -> None:
        """Erase subjects."""
        numbers = [subject.number for subject in subjects]
        at = (SUBJECT.c.portfolio == self.portfolio.id) & SUBJECT.c.number.in_(numbers)
        self._connection.execute(delete(SUBJECT).where(at))
        self.erased = self.erased or bool(numbers)

    def rewrite(self, portfolio: Portfolio) -> None:
        """Give the portfolio other terms; a webhook of another URL begins with what changes from now on."""
        values = portfolio_row(self._cipher, portfolio)
        if portfolio.webhook != self.portfolio.webhook:
            values |= {"delivered": self._changes if portfolio.webhook else None, "failures": 0, "retry_at": 0}
        self._connection.execute(update(PORTFOLIO).where(PORTFOLIO.c.id == portfolio.id).values(values))
        self.portfolio = portfolio

    def tell(self, document: Callable[[int], Mapping[str, Any]], now: int) -> None:
        """Note a change, as `document` words it under its number."""
        self._changes += 1
        where = place("change", self.portfolio.id, self._changes)
        payload = self._cipher.encrypt(dump(document(self._changes)), *where)
        row = {"portfolio": self.portfolio.id, "number": self._changes, "time": now, "payload": payload}
        self._connection.execute(insert(CHANGE), row)

    def close(self) -> None:
        """Write the numbers that were given."""
        at = update(PORTFOLIO).where(PORTFOLIO.c.id == self.portfolio.id)
        self._connection.execute(at.values(subjects=self._subjects, changes=self._changes))


class Portfolios:
    """The only code that queries a gateway's portfolios."""

    def __init__(self, engine: Engine, cipher: ColumnCipher) -> None:
        self._engine = engine
        self._cipher = cipher
        migrate(engine, "portfolios")

    @contextmanager
    def creating(self, portfolio: Portfolio) -> Iterator[Open]:
        """Register a portfolio; it is there once the block ends, with all that was added to it."""
        row = portfolio_row(self._cipher, portfolio) | {
            **dict.fromkeys(("subjects", "changes", "failures", "retry_at"), 0),
            "delivered": 0 if portfolio.webhook else None,
        }
        with writing(self._engine) as connection:
            connection.execute(insert(PORTFOLIO), row)
            opened = Open(connection, self._cipher, row)
            yield opened
            opened.close()

    @contextmanager
    def changing(self, portfolio: str) -> Iterator[Open]:
        """Change a portfolio; all of it is committed when the block ends, or nothing is.

        Raises:
            UnknownPortfolioError: there is none of this id.
        """
        with writing(self._engine) as connection:
            found = select(PORTFOLIO).where(PORTFOLIO.c.id == portfolio).with_for_update()
            row = connection.execute(found).mappings().first()
            if row is None:
                raise UnknownPortfolioError("there is no such portfolio")
            opened = Open(connection, self._cipher, row)
            yield opened
            opened.close()
        if opened.erased:
            forget_erased(self._engine)

    def all(self) -> list[Portfolio]:
        """Every portfolio."""
        with self._engine.connect() as connection:
            found = connection.execute(select(PORTFOLIO).order_by(PORTFOLIO.c.id)).mappings()
            return [to_portfolio(self._cipher, row) for row in found]

    def get(self, portfolio: str) -> Portfolio:
        """One portfolio.

        Raises:
            UnknownPortfolioError: there is none of this id.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(PORTFOLIO).where(PORTFOLIO.c.id == portfolio)).mappings().first()
        if row is None:
            raise UnknownPortfolioError("there is no such portfolio")
        return to_portfolio(self._cipher, row)

    def counts(self, portfolio: str, epoch: int, now: int) -> Counts:
        """How a portfolio stands, while questions are asked in this epoch.

        Raises:
            UnknownPortfolioError: there is none of this id.
        """
        of = select(func.count()).select_from(SUBJECT).where(SUBJECT.c.portfolio == portfolio)
        with reading(self._engine) as connection:
            row = connection.execute(select(PORTFOLIO).where(PORTFOLIO.c.id == portfolio)).mappings().first()
            if row is None:
                raise UnknownPortfolioError("there is no such portfolio")
            subjects, due, lapsed, outdated = (
                connection.execute(query).scalar_one()
                for query in (
                    *(of, of.where(SUBJECT.c.due <= now, SUBJECT.c.epoch == epoch)),
                    *(of.where(SUBJECT.c.lapses.is_(None)), of.where(SUBJECT.c.epoch != epoch)),
                )
            )
        return Counts(subjects, due, lapsed, outdated, row["changes"], row["delivered"])

    def subjects(self, portfolio: str, after: int, limit: int) -> list[Watched]:
        """Subjects with numbers above `after`, in order."""
        found = select(SUBJECT).where(SUBJECT.c.portfolio == portfolio, SUBJECT.c.number > after)
        with self._engine.connect() as connection:
            rows = connection.execute(found.order_by(SUBJECT.c.number).limit(limit)).mappings()
            return [to_watched(self._cipher, row) for row in rows]

    def due(self, epoch: int, now: int, limit: int) -> tuple[Portfolio, list[Watched]] | None:
        """The portfolio that waits longest in this epoch, and its subjects that are due, the longest first."""
        waiting = (
            select(SUBJECT)
            .join(PORTFOLIO, PORTFOLIO.c.id == SUBJECT.c.portfolio)
            .where(SUBJECT.c.due <= now, SUBJECT.c.epoch == epoch, PORTFOLIO.c.ends > now)
            .order_by(SUBJECT.c.due, SUBJECT.c.portfolio, SUBJECT.c.number)
        )
        with reading(self._engine) as connection:
            first = connection.execute(waiting.limit(1)).mappings().first()
            if first is None:
                return None
            of = select(PORTFOLIO).where(PORTFOLIO.c.id == first["portfolio"])
            portfolio = to_portfolio(self._cipher, connection.execute(of).mappings().one())
            own = connection.execute(waiting.where(SUBJECT.c.portfolio == portfolio.id).limit(limit)).mappings()
            return portfolio, [to_watched(self._cipher, row) for row in own]

    def lapsing(self, now: int) -> list[str]:
        """Portfolios of which a decision lapses by now, or that have ended with subjects whose decisions have."""
        over = (SUBJECT.c.lapses <= now) | ((PORTFOLIO.c.ends <= now) & SUBJECT.c.lapses.is_(None))
        return self._ids(select(SUBJECT.c.portfolio).join(PORTFOLIO).where(over).distinct())

    def outdated(self, epoch: int) -> list[str]:
        """Portfolios that have subjects of an epoch before this one, and were not told so."""
        before = (SUBJECT.c.epoch < epoch) & (PORTFOLIO.c.epoch < epoch)
        return self._ids(select(SUBJECT.c.portfolio).join(PORTFOLIO).where(before).distinct())

    def changes(self, portfolio: str, after: int, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Changes with numbers above `after`, in order."""
        found = select(CHANGE).where(CHANGE.c.portfolio == portfolio, CHANGE.c.number > after)
        with self._engine.connect() as connection:
            rows = connection.execute(found.order_by(CHANGE.c.number).limit(limit)).mappings()
            return [(row["number"], load(self._cipher, "change", row, portfolio, row["number"])) for row in rows]

    def undelivered(self, now: int) -> list[str]:
        """Portfolios whose webhook has something to be told, and may be tried now."""
        waiting = (PORTFOLIO.c.delivered < PORTFOLIO.c.changes) & (PORTFOLIO.c.retry_at <= now)
        return self._ids(select(PORTFOLIO.c.id).where(waiting))

    def next_delivery(self, portfolio: str) -> tuple[int, dict[str, Any]] | None:
        """The next change to be sent, and its number; those that are kept no longer are passed over."""
        with self._engine.connect() as connection:
            after = connection.execute(select(PORTFOLIO.c.delivered).where(PORTFOLIO.c.id == portfolio)).scalar()
        return None if after is None else next(iter(self.changes(portfolio, after, 1)), None)

    def delivered(self, portfolio: str, number: int) -> None:
        """Note that a change was acknowledged, and all before it were."""
        at = (PORTFOLIO.c.id == portfolio) & (PORTFOLIO.c.delivered < number)
        with writing(self._engine) as connection:
            connection.execute(update(PORTFOLIO).where(at).values(delivered=number, failures=0, retry_at=0))

    def failed(self, portfolio: str, pause: Callable[[int], int], now: int) -> None:
        """Note that a change was not acknowledged; `pause` gives the seconds to wait after so many failures."""
        of = PORTFOLIO.c.id == portfolio
        with writing(self._engine) as connection:
            row = connection.execute(select(PORTFOLIO.c.failures).where(of).with_for_update()).first()
            if row is not None:
                values = {"failures": row.failures + 1, "retry_at": now + pause(row.failures)}
                connection.execute(update(PORTFOLIO).where(of).values(values))

    def delete(self, portfolio: str) -> None:
        """Erase a portfolio with its subjects and changes.

        Raises:
            UnknownPortfolioError: there is none of this id.
            TimeoutError: somebody reads for so long that the write-ahead log still keeps it.
        """
        with writing(self._engine) as connection:
            if not connection.execute(delete(PORTFOLIO).where(PORTFOLIO.c.id == portfolio)).rowcount:
                raise UnknownPortfolioError("there is no such portfolio")
        forget_erased(self._engine)

    def forget(self, before: int, now: int) -> None:
        """Erase changes of times before, and portfolios that have ended and have nothing left to tell."""
        nothing = ~select(SUBJECT).where(SUBJECT.c.portfolio == PORTFOLIO.c.id).exists()
        untold = ~select(CHANGE).where(CHANGE.c.portfolio == PORTFOLIO.c.id).exists()
        with writing(self._engine) as connection:
            erased = connection.execute(delete(CHANGE).where(CHANGE.c.time < before)).rowcount
            erased += connection.execute(delete(PORTFOLIO).where(PORTFOLIO.c.ends <= now, nothing, untold)).rowcount
        if erased:
            forget_erased(self._engine)

    def _ids(self, query: Select[Any]) -> list[str]:
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())
