"""Epochs side by side: what a party holds of each, by number, as their rosters come and go beside the current one.

Nobody tells a service that an epoch begins, becomes current, or is forgotten: it finds out by the files that
`api/rollover.py` writes. Each epoch's part is built once, from its own roster and keys, and serves the messages whose
header names its epoch. What names none that is held goes to the current epoch's, which refuses it.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from api.founding import read_terms
from api.home import next_roster, previous_roster
from api.logs import described, log
from api.settings import Settings
from protocol.agreement.model import MAX_CANONICAL
from protocol.agreement.roster import LIMIT
from protocol.codec import decode
from protocol.envelope import Envelope
from protocol.errors import AgreementError, DecodeError, PeerError
from protocol.wire import Header, from_map

T = TypeVar("T")

POLL_SECONDS: Final = 0.5
_LONGEST_POLL_SECONDS: Final = 60.0


@dataclass(frozen=True)
class _Held(Generic[T]):
    """What is held at one moment: the parts by epoch, and the epochs by the bytes of their rosters."""

    current: int
    parts: Mapping[int, T]
    epochs: Mapping[bytes, int] = field(repr=False)


class Epochs(Generic[T]):
    """The parts that `build` makes of a party's settings, one an epoch.

    What keeps the current epoch's part from being built is raised; what keeps another's is logged, and tried again
    later: an epoch to come must not keep a party from serving this one.
    """

    def __init__(self, build: Callable[[Settings], T], settings: Settings) -> None:
        self._build, self._settings = build, settings
        self._seen: object = None
        self._held: _Held[T] = self._read(_Held(0, {}, {}))

    @property
    def current(self) -> int:
        """The number of the current epoch."""
        return self._held.current

    @property
    def parts(self) -> Mapping[int, T]:
        """All that is held now, by epoch."""
        return self._held.parts

    def at(self, epoch: int | None = None) -> T:
        """The part of an epoch, or the current one's where that is not held."""
        held = self._held
        return held.parts.get(held.current if epoch is None else epoch, held.parts[held.current])

    def call(self, epoch: int | None, method: str, *arguments: Any) -> Any:
        """Call a method of an epoch's part, as a worker process is told to."""
        return getattr(self.at(epoch), method)(*arguments)

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

    def _paths(self) -> tuple[Path, Path, Path]:
        """In the order in which rosters move on, so that none is missed by who reads them while one does."""
        current = self._settings.roster
        return next_roster(current), current, previous_roster(current)

    def _signature(self) -> object:
        return [_signature(path) for path in self._paths()]

    def _read(self, held: _Held[T]) -> _Held[T]:
        """What is there now: what was held stays as it is, the rest is built."""
        seen, self._seen = self._signature(), None
        coming, current, before = map(_bytes, self._paths())
        if current is None:
            raise AgreementError("there is no roster")
        number, part = self._part(held, current)
        parts, epochs, complete = {number: part}, {current: number}, True
        for roster in filter(None, (coming, before)):
            try:
                if _agreement(roster) != _agreement(current):
                    raise AgreementError("a roster beside the current one is for another agreement")  # noqa: TRY301
                other, part = self._part(held, roster)
            except Exception as error:  # noqa: BLE001  # whatever it was, the current epoch is served
                log.error("fault", **described(error))
                complete = False
            else:
                parts.setdefault(other, part)
                epochs.setdefault(roster, other)
        if complete:
            self._seen = seen
        return _Held(number, parts, epochs)

    def _part(self, held: _Held[T], roster: bytes) -> tuple[int, T]:
        if (number := held.epochs.get(roster)) is not None:
            return number, held.parts[number]
        terms = read_terms(roster)
        return terms.roster.epoch, self._build(self._settings.in_epoch(terms))


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


def _agreement(roster: bytes) -> object:
    """The canonical agreement that a roster is for."""
    match decode(roster, MAX_CANONICAL + LIMIT):
        case [bytes() as agreement, bytes()]:
            return agreement
    raise DecodeError("not an agreement and its roster")


def _signature(path: Path) -> object:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
