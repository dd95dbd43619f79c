"""The seals of one agreement and epoch: what is sealed, what waits to be, and the B places of each bucket.

Epochs overlap: in every epoch that is open a listing is sealed or waits, whichever it was entered in. One that is not
open while a later one is, is over: nothing is sealed in it any more, so what was forgotten of it does not come back.
Epochs may be of two versions, and a register in one of them only: in the other its listings are noted as waiting, but
nobody waits for them.

Of a pseudonym the key is kept that questions derive from it, and beside it what they need of the listing: one column to
decrypt. Nonces are random, so equal keys are only seen once a bucket is decrypted, and no index or join in the database
pairs them. Every method works inside the transaction of the connection it is given.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    true,
)

from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import rows, run
from nodes.storage.tables import CANARY, LISTING, PENDING, SEAL
from protocol.codec import concat
from protocol.errors import BucketOverflowError, NotGrantedError
from protocol.sealing import SESSION_KEY_BYTES, session_key

_IN_LIMIT: Final = 500


class Seal(NamedTuple):
    """What sealing made of an identifier: its bucket and its pseudonym t."""

    prefix: int
    pseudonym: bytes


class Place(NamedTuple):
    """A seal as a bucket shows it: the key, and the listing's content, summary and life; a canary has none."""

    key: bytes
    content: bytes | None
    summary: bytes
    life: str | None


_AGREEMENT: Final = bindparam("agreement", type_=String)
_EPOCH: Final = bindparam("epoch", type_=Integer)
# What every request asks is given to the driver as it is. A canary's row has no listing.
_BUCKETS: Final = (
    "SELECT seal.prefix, seal.listing, seal.position, seal.entry, listing.content, listing.life "
    "FROM seal JOIN listing ON listing.number = seal.listing "
    "WHERE seal.agreement = :agreement AND seal.epoch = :epoch AND seal.prefix IN ({0}) "
    "UNION ALL SELECT prefix, NULL, NULL, pseudonym, NULL, NULL FROM canary "
    "WHERE agreement = :agreement AND epoch = :epoch AND prefix IN ({0})"
)
_OPENED: Final = "SELECT EXISTS (SELECT * FROM canary WHERE agreement = :agreement AND epoch = :epoch)"
_READY: Final = (
    "SELECT EXISTS (SELECT * FROM canary WHERE agreement = :agreement AND epoch = :epoch) "
    "AND NOT EXISTS (SELECT * FROM pending WHERE agreement = :agreement AND epoch = :epoch)"
)
_OVER: Final = (
    "SELECT NOT EXISTS (SELECT * FROM canary WHERE agreement = :agreement AND epoch = :epoch) "
    "AND EXISTS (SELECT * FROM canary WHERE agreement = :agreement AND epoch > :epoch)"
)
# What only registers of another version wait for, is not waited for here.
_OWN_WAITS: Final = (
    exists()
    .where(PENDING.c.agreement == _AGREEMENT, PENDING.c.epoch == _EPOCH, PENDING.c.listing == LISTING.c.number)
    .where(LISTING.c.register_id.in_(bindparam("registers", expanding=True)))
)
_ADD: Final = text(
    "INSERT INTO seal (listing, position, agreement, epoch, prefix, entry) "
    "VALUES (:listing, :position, :agreement, :epoch, :prefix, :entry) ON CONFLICT DO NOTHING"
)


class Seals:
    """The seals of one agreement and epoch; `bucket_size` is B, `registers` are the epoch's own (None: all)."""

    def __init__(
        self,
        cipher: ColumnCipher,
        bucket_size: int,
        agreement: str,
        epoch: int,
        registers: Collection[str] | None = None,
    ) -> None:
        self._cipher = cipher
        self._bucket_size = bucket_size
        self._epoch = {"agreement": agreement, "epoch": epoch}
        self._registers = registers
        self._place = SealPlaces(agreement, epoch).of
        self._canaries = b"canary", b"pseudonym", agreement.encode(), b"%d" % epoch
        self._has_epoch = (SEAL.c.agreement == agreement) & (SEAL.c.epoch == epoch)
        self._is_waiting = (PENDING.c.agreement == agreement) & (PENDING.c.epoch == epoch)
        seals = select(func.count()).where(SEAL.c.listing == LISTING.c.number, self._has_epoch)
        self._is_sealed = seals.scalar_subquery() >= LISTING.c.identifiers
        self._is_own = true() if registers is None else LISTING.c.register_id.in_(registers)
        self._is_other = (CANARY.c.agreement == agreement) & (CANARY.c.epoch != epoch)

    def is_open(self, connection: Connection) -> bool:
        """Whether `open` opened this epoch."""
        return bool(run(connection, _OPENED, self._epoch).scalar_one())

    def is_ready(self, connection: Connection) -> bool:
        """Whether this epoch is opened and no listing waits to be sealed in it."""
        if run(connection, _READY, self._epoch).scalar_one():
            return True
        if self._registers is None or not self.is_open(connection):
            return False
        own = self._epoch | {"registers": [*self._registers]}
        return not connection.execute(select(_OWN_WAITS), own).scalar_one()

    def open(self, connection: Connection, registers: Collection[str], canary: Seal) -> None:
        """Store the canary; from now on every listing of these registers is sealed or waits to be.

        Raises:
            BucketOverflowError: the canary finds no place.
            NotGrantedError: this epoch is over.
        """
        if self.overflows(connection, [[canary]]):
            raise BucketOverflowError("the canary's bucket is full")
        self._wait_here(connection, LISTING.c.register_id.in_(registers))
        pseudonym = self._cipher.encrypt(canary.pseudonym, *self._canaries, b"%d" % canary.prefix)
        connection.execute(insert(CANARY), self._epoch | {"prefix": canary.prefix, "pseudonym": pseudonym})

    def wait(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Let those of the listings `which` wait that are not sealed, here and in every other epoch that is open.

        Raises:
            NotGrantedError: this epoch is over.
        """
        self._wait_here(connection, which)
        self._wait_elsewhere(connection, which)

    def _wait_here(self, connection: Connection, which: ColumnElement[bool]) -> None:
        self._require_not_over(connection)
        unsealed = select(*map(literal, self._epoch.values()), LISTING.c.number).where(
            which, ~self._is_sealed, ~exists().where(PENDING.c.listing == LISTING.c.number, self._is_waiting)
        )
        connection.execute(insert(PENDING).from_select([*self._epoch, "listing"], unsealed))

    def _wait_elsewhere(self, connection: Connection, which: ColumnElement[bool]) -> None:
        both = select(CANARY.c.agreement, CANARY.c.epoch, LISTING.c.number).join_from(LISTING, CANARY, self._is_other)
        unsealed = both.where(
            which,
            select(func.count()).select_from(SEAL).where(_of_both(SEAL)).scalar_subquery() < LISTING.c.identifiers,
            ~exists().select_from(PENDING).where(_of_both(PENDING)),
        )
        connection.execute(insert(PENDING).from_select([*self._epoch, "listing"], unsealed))

    def _require_not_over(self, connection: Connection) -> None:
        if run(connection, _OVER, self._epoch).scalar_one():
            raise NotGrantedError("this epoch is over: nothing is sealed in it any more")

    def waiting(self, connection: Connection, limit: int, part: tuple[int, int] | None = None) -> list[int]:
        """The numbers of the next listings that wait, from the first to the last of a part."""
        statement = self._own_waiting().limit(limit)
        if part is not None:
            statement = statement.where(PENDING.c.listing.between(*part))
        return list(connection.execute(statement).scalars())

    def partitions(self, connection: Connection, size: int) -> list[tuple[int, int]]:
        """All that wait, in parts of `size`: the first and last number of each."""
        with connection.execute(self._own_waiting().execution_options(yield_per=size)) as found:
            return [(part[0], part[-1]) for part in found.scalars().partitions()]

    def _own_waiting(self) -> Select[int]:
        """The numbers of those that wait, of the epoch's own registers."""
        waiting = select(PENDING.c.listing).join(LISTING, LISTING.c.number == PENDING.c.listing)
        return waiting.where(self._is_waiting, self._is_own).order_by(PENDING.c.listing)

    def sealed(self, connection: Connection, contents: Collection[bytes]) -> set[bytes]:
        """Which of the listings of these contents are stored and sealed."""
        statement = select(LISTING.c.content).where(LISTING.c.content.in_(contents), self._is_sealed)
        return set(connection.execute(statement).scalars())

    def add(self, connection: Connection, seals: Mapping[int, Sequence[Seal]], summaries: Mapping[int, bytes]) -> None:
        """Store the seals of listings by their numbers; these wait no more here, but in other epochs that are open.

        `summaries` are those of the listings as they are stored. What is sealed stays as it is.

        Raises:
            NotGrantedError: this epoch is over.
        """
        self._require_not_over(connection)
        rows = [
            self._epoch
            | {"listing": number, "position": position, "prefix": seal.prefix}
            | {"entry": self._cipher.encrypt_at(entry(seal.pseudonym, summaries[number]), at)}
            for number, given in seals.items()
            for position, seal in enumerate(given)
            for at in [self._place(number, position, seal.prefix)]
        ]
        if rows:
            connection.execute(_ADD, rows)
            done = delete(PENDING).where(self._is_waiting, PENDING.c.listing == bindparam("number"))
            connection.execute(done, [{"number": number} for number in seals])
            self._wait_elsewhere(connection, LISTING.c.number.in_(seals))

    def sealed_elsewhere(self, connection: Connection, numbers: Collection[int]) -> set[int]:
        """Which of the listings of these numbers have seals in another epoch that is open, so may be found there."""
        statement = (
            select(LISTING.c.number)
            .join(SEAL, SEAL.c.listing == LISTING.c.number)
            .join(CANARY, _of_both(SEAL))
            .where(self._is_other, LISTING.c.number.in_(numbers))
        )
        return set(connection.execute(statement).scalars())

    def progress(self, connection: Connection) -> tuple[int, int]:
        """How many listings are sealed in this epoch, and how many wait; before it is open, all do."""
        sealed, stored = (
            int(connection.execute(select(func.count()).select_from(table).where(which)).scalar_one())
            for table, which in ((SEAL, self._has_epoch & (SEAL.c.position == 0)), (LISTING, self._is_own))
        )
        if not self.is_open(connection):
            return sealed, stored - sealed
        waiting = select(func.count()).select_from(PENDING).join(LISTING, LISTING.c.number == PENDING.c.listing)
        return sealed, int(connection.execute(waiting.where(self._is_waiting, self._is_own)).scalar_one())

    def forget_earlier(self, connection: Connection) -> None:
        """Erase every seal, canary and wait of the agreement's epochs before this one."""
        for table in (SEAL, PENDING, CANARY):
            earlier = (table.c.agreement == self._epoch["agreement"]) & (table.c.epoch < self._epoch["epoch"])
            connection.execute(delete(table).where(earlier))

    def overflows(self, connection: Connection, many: Sequence[Sequence[Seal]]) -> dict[int, int]:
        """Which of `many` listings, taken in order, find their buckets full: {its position: its identifier's position}.

        A bucket is decrypted only where it has too many rows: its distinct pseudonyms, which take its places, can only
        be fewer.
        """
        adding = Counter(seal.prefix for seals in many for seal in seals)
        rows = self._rows(connection, adding)
        taken = {
            prefix: {place.key for place in places}
            for prefix, places in self.buckets(
                connection, [prefix for prefix, more in adding.items() if rows[prefix] + more > self._bucket_size]
            ).items()
        }
        refused = {}
        for at, seals in enumerate(many):
            would: dict[int, set[bytes]] = {}
            for position, (prefix, pseudonym) in enumerate(seals):
                if prefix in taken:
                    would[prefix] = would.get(prefix, taken[prefix]) | {session_key(pseudonym)}
                    if len(would[prefix]) > self._bucket_size:
                        refused[at] = position
                        break
            else:
                taken |= would
        return refused

    def buckets(self, connection: Connection, prefixes: Collection[int]) -> dict[int, list[Place]]:
        """Every seal of these buckets and the canary if it is there, by one indexed query for many buckets."""
        found: dict[int, list[Place]] = {prefix: [] for prefix in prefixes}
        wanted, decrypt = list(found), self._cipher.decrypt_at
        for start in range(0, len(wanted), _IN_LIMIT):
            some = {f"p{at}": prefix for at, prefix in enumerate(wanted[start : start + _IN_LIMIT])}
            statement = _BUCKETS.format(", ".join(f":{name}" for name in some))
            found_here = rows(connection, statement, self._epoch | some)
            for prefix, number, position, sealed, content, life in found_here:
                if number is None:
                    key = session_key(self._cipher.decrypt(sealed, *self._canaries, b"%d" % prefix))
                    found[prefix].append(Place(key, None, b"", None))
                else:
                    plain = decrypt(sealed, self._place(number, position, prefix))
                    of_key, of_listing = plain[:SESSION_KEY_BYTES], plain[SESSION_KEY_BYTES:]
                    found[prefix].append(Place(of_key, content, of_listing, life))
        return found

    def _rows(self, connection: Connection, prefixes: Iterable[int]) -> Counter[int]:
        """How many rows each of these buckets has."""
        wanted, rows = list(prefixes), Counter[int]()
        for start in range(0, len(wanted), _IN_LIMIT):
            some = wanted[start : start + _IN_LIMIT]
            statement = (
                select(SEAL.c.prefix, func.count())
                .where(self._has_epoch, SEAL.c.prefix.in_(some))
                .group_by(SEAL.c.prefix)
            )
            rows.update({prefix: int(count) for prefix, count in connection.execute(statement)})
        canary = select(CANARY.c.prefix).where(
            CANARY.c.agreement == self._epoch["agreement"], CANARY.c.epoch == self._epoch["epoch"]
        )
        rows.update(connection.execute(canary).scalars())
        return rows


class SealPlaces:
    """Where the seals of one epoch stand, for their encryption: as `concat` has it, all but the row put together."""

    _ROW: Final = Struct(">IQIQ")

    def __init__(self, agreement: str, epoch: int) -> None:
        self._at = concat(b"seal", b"entry", agreement.encode(), b"%d" % epoch)

    def of(self, number: int, position: int, prefix: int) -> bytes:
        """The place of a listing's seal: the last part is of 20 bytes, number, position and prefix."""
        return self._at + self._ROW.pack(20, number, position, prefix)


def entry(pseudonym: bytes, summary: bytes) -> bytes:
    """What a seal's column encrypts: all that a question needs, the key derived from t and the listing's summary."""
    return session_key(pseudonym) + summary


def _of_both(table: Table) -> ColumnElement[bool]:
    """A row of seals or of what waits is of this listing, and of the epoch of this canary."""
    of_epoch = (table.c.agreement == CANARY.c.agreement) & (table.c.epoch == CANARY.c.epoch)
    return (table.c.listing == LISTING.c.number) & of_epoch
