"""The seals of one agreement and epoch: what is sealed, what waits to be, and the B places of each bucket.

Epochs overlap: in every epoch that is open a listing is sealed or waits, whichever it was entered in. One that is not
open while a later one is, is over: nothing is sealed in it any more, so what was forgotten of it does not come back.

Seals are encrypted with random nonces, so equal pseudonyms are only seen once a bucket is decrypted, and no index or
join in the database pairs them. Every method works inside the transaction of the connection it is given.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    String,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    select,
    text,
    union_all,
)

from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import run
from nodes.storage.tables import CANARY, LISTING, PENDING, SEAL
from protocol.errors import BucketOverflowError, NotGrantedError

_IN_LIMIT: Final = 500


class Seal(NamedTuple):
    """What sealing made of an identifier: its bucket and its pseudonym t."""

    prefix: int
    pseudonym: bytes


class Place(NamedTuple):
    """A seal as a bucket shows it: the pseudonym, and of the listing what is stored; a canary has none."""

    pseudonym: bytes
    content: bytes | None
    payload: bytes | None
    life: str | None


# Prepared once: to put these together takes longer than to run them. A canary's row has no listing.
_AGREEMENT: Final = bindparam("agreement", type_=String)
_EPOCH: Final = bindparam("epoch", type_=Integer)
_PREFIXES: Final = bindparam("prefixes", type_=BigInteger, expanding=True)
_BUCKETS: Final = union_all(
    select(SEAL.c.prefix, SEAL.c.listing, SEAL.c.position, SEAL.c.pseudonym, LISTING.c.content, LISTING.c.payload)
    .add_columns(LISTING.c.life)
    .join(LISTING, LISTING.c.number == SEAL.c.listing)
    .where(SEAL.c.agreement == _AGREEMENT, SEAL.c.epoch == _EPOCH, SEAL.c.prefix.in_(_PREFIXES)),
    select(CANARY.c.prefix, null(), null(), CANARY.c.pseudonym, null(), null(), null()).where(
        CANARY.c.agreement == _AGREEMENT, CANARY.c.epoch == _EPOCH, CANARY.c.prefix.in_(_PREFIXES)
    ),
)
# What every request asks is given to the driver as it is.
_OPENED: Final = "SELECT EXISTS (SELECT * FROM canary WHERE agreement = :agreement AND epoch = :epoch)"
_READY: Final = (
    "SELECT EXISTS (SELECT * FROM canary WHERE agreement = :agreement AND epoch = :epoch) "
    "AND NOT EXISTS (SELECT * FROM pending WHERE agreement = :agreement AND epoch = :epoch)"
)
_OVER: Final = (
    "SELECT NOT EXISTS (SELECT * FROM canary WHERE agreement = :agreement AND epoch = :epoch) "
    "AND EXISTS (SELECT * FROM canary WHERE agreement = :agreement AND epoch > :epoch)"
)
_ADD: Final = text(
    "INSERT INTO seal (listing, position, agreement, epoch, prefix, pseudonym) "
    "VALUES (:listing, :position, :agreement, :epoch, :prefix, :pseudonym) ON CONFLICT DO NOTHING"
)


class Seals:
    """The seals of one agreement and epoch; `bucket_size` is B."""

    def __init__(self, cipher: ColumnCipher, bucket_size: int, agreement: str, epoch: int) -> None:
        self._cipher = cipher
        self._bucket_size = bucket_size
        self._epoch = {"agreement": agreement, "epoch": epoch}
        self._named = agreement.encode(), b"%d" % epoch
        self._has_epoch = (SEAL.c.agreement == agreement) & (SEAL.c.epoch == epoch)
        self._is_waiting = (PENDING.c.agreement == agreement) & (PENDING.c.epoch == epoch)
        seals = select(func.count()).where(SEAL.c.listing == LISTING.c.number, self._has_epoch)
        self._is_sealed = seals.scalar_subquery() >= LISTING.c.identifiers
        self._is_other = (CANARY.c.agreement == agreement) & (CANARY.c.epoch != epoch)

    def is_open(self, connection: Connection) -> bool:
        """Whether `open` opened this epoch."""
        return bool(run(connection, _OPENED, self._epoch).scalar_one())

    def is_ready(self, connection: Connection) -> bool:
        """Whether this epoch is opened and no listing waits to be sealed in it."""
        return bool(run(connection, _READY, self._epoch).scalar_one())

    def open(self, connection: Connection, registers: Collection[str], canary: Seal) -> None:
        """Store the canary; from now on every listing of these registers is sealed or waits to be.

        Raises:
            BucketOverflowError: the canary finds no place.
            NotGrantedError: this epoch is over.
        """
        if self.overflows(connection, [[canary]]):
            raise BucketOverflowError("the canary's bucket is full")
        self._wait_here(connection, LISTING.c.register_id.in_(registers))
        pseudonym = self._cipher.encrypt(canary.pseudonym, *self._canary_place(canary.prefix))
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
        statement = select(PENDING.c.listing).where(self._is_waiting).order_by(PENDING.c.listing).limit(limit)
        if part is not None:
            statement = statement.where(PENDING.c.listing.between(*part))
        return list(connection.execute(statement).scalars())

    def partitions(self, connection: Connection, size: int) -> list[tuple[int, int]]:
        """All that wait, in parts of `size`: the first and last number of each."""
        statement = select(PENDING.c.listing).where(self._is_waiting).order_by(PENDING.c.listing)
        with connection.execute(statement.execution_options(yield_per=size)) as found:
            return [(part[0], part[-1]) for part in found.scalars().partitions()]

    def sealed(self, connection: Connection, contents: Collection[bytes]) -> set[bytes]:
        """Which of the listings of these contents are stored and sealed."""
        statement = select(LISTING.c.content).where(LISTING.c.content.in_(contents), self._is_sealed)
        return set(connection.execute(statement).scalars())

    def add(self, connection: Connection, seals: Mapping[int, Sequence[Seal]]) -> None:
        """Store the seals of listings by their numbers; these wait no more here, but in other epochs that are open.

        What is sealed stays as it is.

        Raises:
            NotGrantedError: this epoch is over.
        """
        self._require_not_over(connection)
        rows = [
            self._epoch
            | {"listing": number, "position": position, "prefix": seal.prefix}
            | {"pseudonym": self._cipher.encrypt(seal.pseudonym, *self._place(number, position, seal.prefix))}
            for number, given in seals.items()
            for position, seal in enumerate(given)
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
            for table, which in ((SEAL, self._has_epoch & (SEAL.c.position == 0)), (LISTING, LISTING.c.number > 0))
        )
        if not self.is_open(connection):
            return sealed, stored - sealed
        waiting = select(func.count()).select_from(PENDING).where(self._is_waiting)
        return sealed, int(connection.execute(waiting).scalar_one())

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
            prefix: {place.pseudonym for place in places}
            for prefix, places in self.buckets(
                connection, [prefix for prefix, more in adding.items() if rows[prefix] + more > self._bucket_size]
            ).items()
        }
        refused = {}
        for at, seals in enumerate(many):
            would: dict[int, set[bytes]] = {}
            for position, (prefix, pseudonym) in enumerate(seals):
                if prefix in taken:
                    would[prefix] = would.get(prefix, taken[prefix]) | {pseudonym}
                    if len(would[prefix]) > self._bucket_size:
                        refused[at] = position
                        break
            else:
                taken |= would
        return refused

    def buckets(self, connection: Connection, prefixes: Collection[int]) -> dict[int, list[Place]]:
        """Every seal of these buckets and the canary if it is there, by one indexed query for many buckets."""
        found: dict[int, list[Place]] = {prefix: [] for prefix in prefixes}
        wanted, decrypt = list(found), self._cipher.decrypt
        for start in range(0, len(wanted), _IN_LIMIT):
            some = self._epoch | {"prefixes": wanted[start : start + _IN_LIMIT]}
            for prefix, number, position, pseudonym, content, payload, life in connection.execute(_BUCKETS, some):
                place = self._canary_place(prefix) if number is None else self._place(number, position, prefix)
                found[prefix].append(Place(decrypt(pseudonym, *place), content, payload, life))
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

    def _place(self, number: int, position: int, prefix: int) -> tuple[bytes, ...]:
        return b"seal", b"pseudonym", *self._named, b"%d" % number, b"%d" % position, b"%d" % prefix

    def _canary_place(self, prefix: int) -> tuple[bytes, ...]:
        return b"canary", b"pseudonym", *self._named, b"%d" % prefix


def _of_both(table: Table) -> ColumnElement[bool]:
    """A row of seals or of what waits is of this listing, and of the epoch of this canary."""
    of_epoch = (table.c.agreement == CANARY.c.agreement) & (table.c.epoch == CANARY.c.epoch)
    return (table.c.listing == LISTING.c.number) & of_epoch
