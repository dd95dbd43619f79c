"""Epochs side by side: what a party holds of each, by number, as their rosters come and go beside the current one.

Nobody tells a service that an epoch begins, becomes current, or is forgotten: it finds out by the files that
`api/rollover.py` writes. Each epoch's part is built once, from its own roster and keys, and serves the messages whose
header names its epoch. What names none that is held goes to the current epoch's, which refuses it.
"""

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from api.logs import described, log
from api.rosters import Rosters, look, read_documents, roster_paths, withdrawal_path, withdrawal_paths
from api.settings import Settings
from protocol.agreement.terms import Terms
from protocol.agreement.withdrawal import Withdrawal
from protocol.codec import decode
from protocol.envelope import Envelope
from protocol.errors import NotGrantedError, PeerError
from protocol.wire import Header, from_map

T = TypeVar("T")

POLL_SECONDS: Final = 0.5
_LONGEST_POLL_SECONDS: Final = 60.0


@dataclass(frozen=True)
class _Held(Generic[T]):
    """What is held at one moment: the rosters, and by epoch the parts, of those epochs that the party takes part in."""

    rosters: Rosters
    parts: Mapping[int, T]

    def number(self, time: float) -> int:
        """The epoch in force at a time, or the nearest that the party takes part in."""
        number = self.rosters.in_force(time).roster.epoch
        return min(self.parts, key=lambda it: abs(it - number), default=number)


class Epochs(Generic[T]):
    """The parts that `build` makes of a party's settings, one an epoch.

    What keeps the current epoch's part from being built is raised; what keeps another's is logged, and tried again
    later: an epoch to come must not keep a party from serving this one. Withdrawals that took effect are kept in the
    party's own directory: to remove the file that it found them in takes nothing back.
    """

    def __init__(
        self, build: Callable[[Settings], T], settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._build, self._settings, self._clock = build, settings, clock
        self._withdrawals: Collection[bytes] = ()
        self._seen: object = None
        self._held: _Held[T] = self._read(None)

    @property
    def current(self) -> int:
        """The number of the epoch that is in force now, or of the nearest that this party takes part in."""
        return self._held.number(self._clock())

    @property
    def parts(self) -> Mapping[int, T]:
        """All that is held now, by epoch."""
        return self._held.parts

    @property
    def terms(self) -> Terms:
        """The terms that are in force now."""
        return self._held.rosters.in_force(self._clock())

    def is_in_force(self, epoch: int) -> bool:
        """Whether questions of now are answered in an epoch."""
        held = [terms for terms in self._held.rosters.all if terms.roster.epoch == epoch]
        return any(terms.is_in_force(int(self._clock())) for terms in held)

    def is_over(self, epoch: int) -> bool:
        """Whether an epoch's version has ended, so that nothing is sealed in it any more."""
        held = [terms for terms in self._held.rosters.all if terms.roster.epoch == epoch]
        return any(terms.is_over(int(self._clock())) for terms in held)

    def at(self, epoch: int | None = None) -> T:
        """The part of an epoch, or the current one's where that is not held.

        Raises:
            NotGrantedError: the party takes no part in the agreement any more.
        """
        held = self._held
        if epoch is None or epoch not in held.parts:
            epoch = held.number(self._clock())
        if epoch not in held.parts:
            raise NotGrantedError("this party takes no part in the agreement any more")
        return held.parts[epoch]

    def of(self, message: bytes) -> T:
        """The part of the epoch that a message names; where one alone is held, there is nothing to be looked for."""
        return self.at(epoch_of(message) if len(self._held.parts) > 1 else None)

    def call(self, epoch: int | None, method: str, *arguments: Any) -> Any:
        """Call a method of an epoch's part, as a worker process is told to."""
        return getattr(self.at(epoch), method)(*arguments)

    def give(self, message: bytes, method: str, *arguments: Any) -> Any:
        """Likewise of the epoch that a message names; the method is given the message last."""
        return getattr(self.of(message), method)(*arguments, message)

    def follow(self) -> None:
        """Look for other rosters from now on, in a thread of its own: to verify and build one may take seconds."""
        threading.Thread(target=self._follow, daemon=True).start()

    def refresh(self) -> bool:
        """Look once; returns whether all that is there is held.

        Raises:
            AgreementError, DecodeError, OSError …: of the current epoch; what was held stays.
        """
        if self._seen is None or self._seen != self._signature():
            self._held = self._read(self._held)
        return self._seen is not None

    def _follow(self) -> None:
        pause, nobody = POLL_SECONDS, threading.Event()
        while True:
            nobody.wait(pause)
            try:
                complete = self.refresh()
            except Exception as error:  # noqa: BLE001  # whatever it was, what is held is served on
                log.error("fault", **described(error))
                complete = False
            pause = POLL_SECONDS if complete else min(2 * pause, _LONGEST_POLL_SECONDS)

    def _signature(self) -> object:
        """What tells that something changed, without reading it."""
        paths = *roster_paths(self._settings.roster), *withdrawal_paths(*self._directories())
        return [(path, _signature(path)) for path in paths]

    def _directories(self) -> tuple[Path, Path]:
        return self._settings.roster.parent, self._settings.directory

    def _read(self, held: _Held[T] | None) -> _Held[T]:
        """What is there now: what was held stays as it is, the rest is built."""
        seen, self._seen = self._signature(), None
        documents = {*read_documents(withdrawal_paths(*self._directories())), *self._withdrawals}
        rosters, withdrawals, faults = look(self._settings.roster, documents, held.rosters if held else None)
        try:
            self._keep(withdrawals)
        except OSError as error:
            faults.append(error)
        parts = dict[int, T]()
        for terms in rosters.all:
            try:
                self._hold(parts, terms, held)
            except Exception as error:
                if terms is rosters.current:
                    raise
                faults.append(error)
        for fault in faults:
            log.error("fault", **described(fault))
        if not faults:
            self._seen = seen
        return _Held(rosters, parts)

    def _hold(self, parts: dict[int, T], terms: Terms, held: _Held[T] | None) -> None:
        """Add the party's part of an epoch: what was held of the same roster, or a new one; none if it has none."""
        epoch = terms.roster.epoch
        if held is not None and epoch in held.parts and terms in held.rosters.all:
            parts[epoch] = held.parts[epoch]
        elif self._settings.party in terms.roster.signing:
            parts[epoch] = self._build(self._settings.in_epoch(terms))

    def _keep(self, withdrawals: Mapping[bytes, Withdrawal]) -> None:
        """Keep withdrawals that took effect where nobody else can remove them."""
        for data, withdrawal in withdrawals.items():
            path = withdrawal_path(self._settings.directory, withdrawal.agency, withdrawal.epoch)
            if data not in self._withdrawals and not path.exists():
                new = path.with_suffix(f".{os.getpid()}.{threading.get_native_id()}")
                new.write_bytes(data)
                new.replace(path)
        self._withdrawals = tuple(withdrawals)


def epoch_of(data: bytes) -> int | None:
    """The epoch that a message names, or the first of an array of messages; None where it names none.

    Nothing is verified: it only tells whom to give the message to, who refuses one of another epoch.
    """
    try:
        if data[:1] == _PAIR:
            data = decode(data, len(data))[0]
        payload = decode(Envelope.from_bytes(data, len(data)).payload, len(data))
        return from_map(Header, payload["header"]).epoch
    except (PeerError, KeyError, TypeError):
        return None


_PAIR: Final = b"\x82"  # the first byte of CBOR's array of two, which is how the coordinator is asked


def _signature(path: Path) -> object:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
