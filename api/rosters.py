"""What lies beside the current roster for every party to read: other epochs' rosters, and agencies' withdrawals.

agreement.roster, next.roster, previous.roster    the current epoch, the one to come, the one before
AGENCY.EPOCH.withdrawal                           an agency's withdrawal, under its key in that epoch
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

from api.founding import read_terms
from api.home import next_roster, previous_roster
from api.logs import described, log
from protocol.agreement.force import ALWAYS
from protocol.agreement.succession import in_force, require_next
from protocol.agreement.terms import DAY, Terms
from protocol.agreement.withdrawal import LIMIT, Withdrawal, read_withdrawal, verify_withdrawal
from protocol.errors import AgreementError, PeerError

GRACE_SECONDS: Final = 300
"""How long the epoch before is served after a switch: far longer than a message lives or a question takes."""

_SUFFIX: Final = ".withdrawal"


@dataclass(frozen=True)
class Rosters:
    """The verified terms of every epoch that is there, and by which bytes they were read."""

    current: Terms
    coming: Terms | None
    before: Terms | None
    read: Mapping[bytes, Terms] = field(repr=False)

    @property
    def all(self) -> tuple[Terms, ...]:
        """The terms of all epochs, the current one's first."""
        return tuple(terms for terms in (self.current, self.before, self.coming) if terms is not None)

    def in_force(self, time: float) -> Terms:
        """Those that are in force at a time."""
        return in_force(self.current, self.before, int(time))


def look(
    roster: Path, documents: Iterable[bytes], held: Rosters | None = None
) -> tuple[Rosters, dict[bytes, Withdrawal], list[Exception]]:
    """Read and verify what is there now; `documents` may be withdrawals, `held` is what the last look found.

    Returns it, the withdrawals that take effect, and why an epoch to come or before is not used: one that does not
    verify, or does not fit the current one, is as if it were not there. A withdrawal that does not verify is logged.

    What is there at the first look is trusted if it verifies by itself; from then on a party goes on only to what the
    agencies of the version before endorsed (`protocol.agreement.succession`), whoever wrote the files.

    Raises:
        AgreementError, DecodeError, ModulusError, OSError: the current epoch's roster is not there, does not verify, or
            may not follow the one that is held.
    """
    coming, current, before = map(_bytes, roster_paths(roster))
    if current is None:
        raise AgreementError("there is no roster")
    known, faults = dict(held.read) if held else {}, list[Exception]()
    now = known.get(current) or read_terms(current)
    # One equal to the current is what a switch leaves that is under way, or was interrupted.
    last, following = (_read(data, known, faults) if data != current else None for data in (before, coming))
    seen = [terms for terms in (now, last, following, *(held.all if held else ())) if terms is not None]
    withdrawals, refused = obey(seen, documents)
    for error in refused:
        log.error("fault", **described(error))
    if held is not None and current not in held.read:
        require_next(now, held.current, held.before)
    last = last if last is not None and _fits(now, last, None, faults) else None
    following = following if following is not None and _fits(following, now, last, faults) else None
    _assign(now, following, last, previous_roster(roster))
    found = {data: terms for data, terms in ((current, now), (before, last), (coming, following)) if data and terms}
    return Rosters(now, following, last, found), withdrawals, faults


def _read(data: bytes | None, known: Mapping[bytes, Terms], faults: list[Exception]) -> Terms | None:
    if data is None:
        return None
    try:
        return known.get(data) or read_terms(data)
    except Exception as error:  # noqa: BLE001  # whatever it was, the current epoch is served
        faults.append(error)
        return None


def _fits(later: Terms, earlier: Terms, before: Terms | None, faults: list[Exception]) -> bool:
    try:
        require_next(later, earlier, before)
    except AgreementError as error:
        faults.append(error)
        return False
    return True


def roster_paths(current: Path) -> tuple[Path, Path, Path]:
    """The next, the current and the previous roster: in the order in which they move on.

    Who reads them in this order while they do misses none.
    """
    return next_roster(current), current, previous_roster(current)


def withdrawal_path(directory: Path, agency: str, epoch: int) -> Path:
    """An agency's withdrawal under its key of an epoch."""
    return directory / f"{agency}.{epoch}{_SUFFIX}"


def withdrawal_paths(*directories: Path) -> list[Path]:
    """All that may be withdrawals in these directories."""
    return sorted(path for directory in directories for path in directory.glob(f"*{_SUFFIX}"))


def read_documents(paths: Iterable[Path]) -> list[bytes]:
    """What these files hold, or so much of it that it is too long for a withdrawal."""
    documents = []
    for path in paths:
        with path.open("rb") as file:
            documents.append(file.read(LIMIT + 1))
    return documents


def obey(held: Iterable[Terms], documents: Iterable[bytes]) -> tuple[dict[bytes, Withdrawal], list[PeerError]]:
    """Let withdrawals take effect on the terms that they are of; returns those that verify, and why others do not.

    A withdrawal is of a version, so it holds in all its epochs, whichever of them its key is of.
    """
    held = tuple(held)
    by_epoch = {(terms.roster.agreement, terms.roster.epoch): terms for terms in held}
    verified, refused = dict[bytes, Withdrawal](), list[PeerError]()
    for data in documents:
        try:
            withdrawal, _ = read_withdrawal(data)
            terms = by_epoch.get((withdrawal.agreement, withdrawal.epoch))
            if terms is None:
                raise AgreementError("a withdrawal from another version or epoch of the agreement")
            verified[data] = verify_withdrawal(terms, data)
        except PeerError as error:
            refused.append(error)
    for terms in held:
        own = [it for it in verified.values() if it.agreement == terms.roster.agreement]
        terms.force.agencies = tuple(it.agency for it in own)
        terms.force.withdrawn = min((it.time for it in own), default=None)
    return verified, refused


def _assign(current: Terms, coming: Terms | None, before: Terms | None, previous: Path) -> None:
    """Say at which times each epoch answers: the current one; not the one to come; the one before for its grace time.

    A version that an emergency version follows rests during the emergency's days, after the grace time from the switch,
    and answers again when they have passed.
    """
    current.force.elsewhere = range(0)
    if coming is not None:
        coming.force.elsewhere = ALWAYS
    if before is not None:
        before.force.elsewhere = range(0)
        if current.agreement.emergency:
            valid, switched = current.agreement.valid, int(previous.stat().st_mtime)
            begins = max(_midnight(valid.from_), switched + GRACE_SECONDS)
            before.force.elsewhere = range(begins, _midnight(valid.until) + DAY)


def _midnight(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
