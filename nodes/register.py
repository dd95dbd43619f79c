"""An agency's own work on its registers: enter, serve, dispute, repair, correct, end, erase, look back.

Whoever does it, over HTTP or on the command line, does it here: the same checks, the same trail. Every step is
committed before it is answered, and counts in the very next question.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Final

from nodes.catalogue import CatalogueEntry
from nodes.dates import working_days_after
from nodes.entry import Entered, Registrar, Send
from nodes.life import Act, Author, Transition, TransitionError, apply, replay
from nodes.lifecycle import ENDED, Life, Record, State, last_day, standing_apart_from_term, state, term_start
from nodes.listings import Listing, ListingError, UnknownListingError, check_days, check_listing, ground_of
from nodes.reading import ERASED
from nodes.storage.listings import ListingStore
from nodes.storage.trail import Noted
from protocol.errors import PeerError
from protocol.identifiers import Identifier

DECISIONS: Final = frozenset({Act.REJECT, Act.CORRECT, Act.REVOKE, Act.REPAIR, Act.REFUSE_REPAIR})
"""What is decided by somebody else than who entered or served the listing."""

_REPAIRING: Final = frozenset({Act.REQUEST_REPAIR, Act.REPAIR, Act.REFUSE_REPAIR})
_SERVE_WITHIN: Final = 10
_FEW: Final = 10


class SnapshotError(PeerError):
    """A snapshot would end so much that it is more likely to be another list, or not whole; nothing was ended."""


@dataclass(frozen=True)
class Due:
    """What is to be done about a record, and the last day for it."""

    record: Record
    what: str
    by: date


class Register:
    """The registers of one agency; `entries` are their catalogue entries by register id."""

    def __init__(
        self,
        store: ListingStore,
        registrar: Registrar,
        entries: Mapping[str, CatalogueEntry],
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self.registrar = registrar
        self.entries = entries
        self._clock = clock

    @property
    def today(self) -> date:
        """The day, UTC."""
        return datetime.fromtimestamp(self._clock(), UTC).date()

    # Entry.

    async def enter(self, listing: Listing, by: Author, send: Send | None) -> Record:
        """Enter one listing; without a day of service it is a draft. Without `send` it waits to be sealed.

        Raises:
            ListingError: it is not as its register requires, or its bucket is full; names the field.
            IndeterminateError, QuotaError: it could not be sealed; nothing was stored.
        """
        due = self._checked(listing)
        if send is None:
            for entered in self.registrar.enter_unsealed([listing], by, due):
                _raise(entered)
        else:
            async for entered in self.registrar.enter([listing], send, by, due):
                _raise(entered)
        return self._store.get(self._store.reference(listing))

    async def correct(self, reference: str, corrected: Listing, by: Author, send: Send | None) -> Record:
        """End a listing as corrected and enter the corrected one, in one step; returns the latter.

        Raises:
            UnknownListingError: there is no such listing.
            ListingError: the corrected one is not as its register requires, or is stored already.
            TransitionError: as `act`.
            BucketOverflowError, IndeterminateError, QuotaError: it could not be sealed; nothing was changed.
        """
        record = self.get(reference)
        if corrected.register != record.listing.register:
            raise ListingError("register", "not that of the listing to be corrected")
        due = self._checked(corrected)
        if self._store.are_stored([corrected]) != [False]:
            raise ListingError("listing", "the same as one that is stored already")
        if self._store.were_erased([corrected]) != [False]:
            raise ListingError("listing", ERASED)
        step = by.step(Act.CORRECT, self._clock())
        take = partial(self._apply, replace(step, replacement=self._store.reference(corrected)))
        self._check_other_eyes(record, Act.CORRECT, by)
        take(record)  # what is refused is refused before anything is sealed
        seals = None if send is None else await self.registrar.seals(corrected, send)
        entered = by.step(Act.ENTER, self._clock(), due=due)
        return self.registrar.correct(record.reference, take, (corrected, seals), entered)

    def _checked(self, listing: Listing) -> date | None:
        """Check a listing; the deadline by which its notice is to be served, if it is a draft."""
        if listing.register not in self.entries:
            raise ListingError("register", "not a register of this agency")
        entry = self.entries[listing.register]
        check_listing(listing, entry)
        check_days(listing, self.today)
        if listing.served_on is not None:
            return None
        within = entry.notice.served_within
        return working_days_after(self.today, within.value if within else _SERVE_WITHIN, entry.calendar)

    # Steps.

    def act(self, reference: str, act: Act, by: Author, on: date | None = None) -> Record:
        """Take a step with a listing; `on` is the day that it is about, by default today. Returns it as it is then.

        What concerns the repair of one infringement concerns all that are counted together. Who leaves an opt-in scheme
        is erased from it.

        Raises:
            UnknownListingError: there is no such listing.
            TransitionError: the listing's life, or who takes the step, does not allow it.
        """
        record = self.get(reference)
        step = by.step(act, self._clock(), on)
        if act is Act.ERASE:
            self._store.erase([record.reference], partial(self._apply, step))
            return record
        if act is Act.LEAVE and not record.listing.published:
            own = [it for it in self.find(record.listing.identifiers) if it.listing.register == record.listing.register]
            self._apply(step, record)
            erased = replace(step, act=Act.ERASE)
            self._store.erase([it.reference for it in own], lambda it: (erased, it.life))  # also what ended before
            return record
        together = self._together(record, act) if act in _REPAIRING else [record]
        if act in DECISIONS:
            for each in together:
                self._check_other_eyes(each, act, by)
        return self._store.take([it.reference for it in together], partial(self._apply, step))[0]

    def end_snapshot(
        self,
        register: str,
        list_name: str,
        as_of: date,
        still: Collection[str],
        by: Author,
        *,
        any_number: bool = False,
    ) -> int:
        """End what an official list of `as_of` names no more; returns how many listings.

        Raises:
            SnapshotError: as `leaving`.
        """
        left = self.leaving(register, list_name, as_of, still, any_number=any_number)
        step = by.step(Act.LEAVE, self._clock(), on=as_of)
        for reference in left:
            self._store.take([reference], partial(self._apply, step))
        return len(left)

    def leaving(
        self, register: str, list_name: str, as_of: date, still: Collection[str], *, any_number: bool = False
    ) -> list[str]:
        """References of what an official list of `as_of` names no more, or otherwise than before.

        `still` are the decision references of all its rows, those included that could not be read. A listing that an
        edition of `as_of` or later named stays, so several files may make one edition. One of which this edition's
        wording is there leaves in its favour.

        Raises:
            SnapshotError: the list would lose more than half of the subjects that it had, or all of them.
        """
        older: list[tuple[str, str]] = []
        renewed: set[str] = set()
        had: set[str] = set()
        for record in self._published(register, list_name):
            ref = record.listing.decision_ref
            if record.life.ended is not None:
                continue
            if record.listing.decided_on < as_of:
                had.add(ref)
            if term_start(record) < as_of:
                older.append((ref, record.reference))
            else:
                renewed.add(ref)
        lost = len({ref for ref, _ in older} - renewed - set(still))
        if not any_number and len(had) > _FEW and (lost == len(had) or 2 * lost > len(had)):
            raise SnapshotError(
                f"{lost} of {len(had)} listings would end: this seems to be another list, or not all of it"
            )
        return [reference for ref, reference in older if ref in renewed or ref not in still]

    def newest_edition(self, register: str, list_name: str) -> date | None:
        """The day of the newest edition of an official list that is known here, if there is one."""
        known = (max(term_start(it), _left_on(it)) for it in self._published(register, list_name))
        return max(known, default=None)

    def _published(self, register: str, list_name: str) -> Iterator[Record]:
        """The register's records that an official list named."""
        for record in self._store.all(register):
            if record.listing.published and record.listing.decision_ref.startswith(f"{list_name} "):
                yield record

    def _together(self, record: Record, act: Act) -> list[Record]:
        """The record, and the infringements that are counted with it."""
        listing, entry = record.listing, self.entries[record.listing.register]
        if ground_of(listing, entry).counted is None:
            return [record]
        others = (
            it
            for it in self.find(listing.identifiers)
            if it.reference != record.reference
            and (it.listing.register, it.listing.ground) == (listing.register, listing.ground)
            and standing_apart_from_term(it, entry, self.today) not in ENDED | {State.DRAFT, State.NOTIFIED}
            and (it.life.repair is None) == (act is Act.REQUEST_REPAIR)
        )
        return [record, *others]

    def _apply(self, step: Transition, record: Record) -> tuple[Transition, Life]:
        return apply(record, step, self.entries[record.listing.register])

    def _check_other_eyes(self, record: Record, act: Act, by: Author) -> None:
        """A draft may be withdrawn by whoever made it; else nobody judges their own work."""
        if state(record, self.entries[record.listing.register], self.today) is State.DRAFT:
            return
        steps = (noted.step for noted in self._store.steps(record.reference))
        if any(step.act in {Act.ENTER, Act.SERVE} and step.actor == by.actor for step in steps):
            raise TransitionError(act, "decided by somebody else than who entered or served the listing")

    # Looking.

    def get(self, reference: str) -> Record:
        """A record by its reference, or the first digits of it.

        Raises:
            UnknownListingError: no listing of this agreement's registers, or more than one, has it.
        """
        record = self._store.get(reference)
        if record.listing.register not in self.entries:
            raise UnknownListingError("it is in none of this agreement's registers")
        return record

    def find(self, identifiers: Collection[Identifier]) -> list[Record]:
        """A subject's records in this agreement's registers, whatever became of them."""
        return [record for record in self._store.find(identifiers) if record.listing.register in self.entries]

    def state(self, record: Record) -> State:
        """Where a record stands today."""
        return state(record, self.entries[record.listing.register], self.today)

    def history(self, reference: str) -> list[Transition]:
        """All steps of a listing.

        Raises:
            UnknownListingError: as `get`.
        """
        return [noted.step for noted in self._store.steps(reference)]

    def all(self, register: str) -> Iterator[tuple[Record, State]]:
        """Every record of a register with its state."""
        return ((record, self.state(record)) for record in self._store.all(register))

    def all_as_of(self, register: str, day: date) -> Iterator[tuple[Record, State]]:
        """Every record of a register and its state as they stood at the end of a past day; without what was erased."""
        for record, steps in self._store.all_with_steps(register):
            if past := self._past(record, steps, day):
                yield past

    def as_of(self, reference: str, day: date) -> tuple[Record, State]:
        """A record as it stood at the end of a past day, UTC, replayed from its steps.

        Raises:
            UnknownListingError: as `get`, or it was not entered by then.
        """
        past = self._past(self.get(reference), self.history(reference), day)
        if past is None:
            raise UnknownListingError("the listing was not entered by then")
        return past

    def _past(self, record: Record, steps: Iterable[Transition], day: date) -> tuple[Record, State] | None:
        end = datetime.combine(day, time.max, UTC).timestamp()
        taken = [step for step in steps if step.time <= end]
        if not taken:
            return None
        past = replay(record.listing, record.reference, taken)
        return past, state(past, self.entries[record.listing.register], day)

    def due(self) -> list[Due]:
        """What is to be done, the first deadline first."""
        found = []
        for record in self._store.due():
            entry = self.entries.get(record.listing.register)
            if entry is None or self._is_over(record, entry):
                continue
            life = record.life
            if life.serve_by is not None:
                found.append(Due(record, "serve the notice", life.serve_by))
            if life.dispute is not None:
                found.append(Due(record, f"answer: {life.dispute.asked}", life.dispute.due))
            if life.repair is not None:
                found.append(Due(record, "decide on repair", life.repair.due))
        return sorted(found, key=lambda due: due.by)

    def _is_over(self, record: Record, entry: CatalogueEntry) -> bool:
        """Whether a record has no effect any more: an infringement that is counted with others may, past its term."""
        return self.state(record) in ENDED and ground_of(record.listing, entry).counted is None

    def out_of_retention(self) -> Iterator[Record]:
        """The records that ended longer ago than their register keeps them."""
        for record in self._store.all():
            entry = self.entries.get(record.listing.register)
            if entry is not None and self.state(record) in ENDED:
                ended = record.life.ended_on or last_day(record, entry)
                if entry.retention.after(ended) < self.today:
                    yield record

    def erase_out_of_retention(self, by: Author) -> int:
        """Erase the records that are out of retention, all at once; returns how many."""
        references = [record.reference for record in self.out_of_retention()]
        if references:
            self._store.erase(references, partial(self._apply, by.step(Act.ERASE, self._clock())))
        return len(references)

    def trail(self, after: int = 0) -> list[Noted]:
        """The next entries of the audit trail after a number."""
        return self._store.trail(after)


def _raise(entered: Entered) -> None:
    for refusal in entered.refused.values():
        raise ListingError("identifier" if refusal.identifier is not None else "listing", refusal.reason)


def _left_on(record: Record) -> date:
    """The day of the publication that named a record no more; the first of days where one still does."""
    return (record.life.ended_on or date.min) if record.life.ended_by == Act.LEAVE else date.min
