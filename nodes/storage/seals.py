"""The seals of one agreement and epoch: what is sealed, what waits to be, and the B places of each bucket.

Seals are encrypted with random nonces, so equal pseudonyms are only seen once a bucket is decrypted, and no index or
join in the database pairs them. Every method works inside the transaction of the connection it is given.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    String,
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
from nodes.storage.tables import CANARY, LISTING, PENDING, SEAL
from protocol.errors import BucketOverflowError

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
    disputed_since: date | None


# Prepared once: to put these together takes longer than to run them. A canary's row has no listing.
_AGREEMENT: Final = bindparam("agreement", type_=String)
_EPOCH: Final = bindparam("epoch", type_=Integer)
_PREFIX: Final = bindparam("prefix", type_=BigInteger)
_BUCKET: Final = union_all(
    select(SEAL.c.listing, SEAL.c.position, SEAL.c.pseudonym, LISTING.c.content, LISTING.c.payload)
    .add_columns(LISTING.c.disputed_since)
    .join(LISTING, LISTING.c.number == SEAL.c.listing)
    .where(SEAL.c.agreement == _AGREEMENT, SEAL.c.epoch == _EPOCH, SEAL.c.prefix == _PREFIX),
    select(null(), null(), CANARY.c.pseudonym, null(), null(), null()).where(
        CANARY.c.agreement == _AGREEMENT, CANARY.c.epoch == _EPOCH, CANARY.c.prefix == _PREFIX
    ),
)
_IS_OPEN: Final = exists().where(CANARY.c.agreement == _AGREEMENT, CANARY.c.epoch == _EPOCH)
_IS_WAITED_FOR: Final = exists().where(PENDING.c.agreement == _AGREEMENT, PENDING.c.epoch == _EPOCH)
_OPENED: Final = select(_IS_OPEN)
_READY: Final = select(_IS_OPEN & ~_IS_WAITED_FOR)
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
        self._has_epoch = (SEAL.c.agreement == agreement) & (SEAL.c.epoch == epoch)
        self._is_waiting = (PENDING.c.agreement == agreement) & (PENDING.c.epoch == epoch)
        seals = select(func.count()).where(SEAL.c.listing == LISTING.c.number, self._has_epoch)
        self._is_sealed = seals.scalar_subquery() >= LISTING.c.identifiers

    def is_open(self, connection: Connection) -> bool:
        """Whether `open` opened this epoch."""
        return bool(connection.execute(_OPENED, self._epoch).scalar_one())

    def is_ready(self, connection: Connection) -> bool:
        """Whether this epoch is opened and no listing waits to be sealed in it."""
        return bool(connection.execute(_READY, self._epoch).scalar_one())

    def open(self, connection: Connection, registers: Collection[str], canary: Seal) -> None:
        """Store the canary; from now on every listing of these registers is sealed or waits to be.

        Raises:
            BucketOverflowError: the canary finds no place.
        """
        if self.overflows(connection, [[canary]]):
            raise BucketOverflowError("the canary's bucket is full")
        self.wait(connection, LISTING.c.register_id.in_(registers))
        pseudonym = self._cipher.encrypt(canary.pseudonym, *self._canary_place(canary.prefix))
        connection.execute(insert(CANARY), self._epoch | {"prefix": canary.prefix, "pseudonym": pseudonym})

    def wait(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Let those of the listings `which` wait that are not sealed."""
        unsealed = select(*map(literal, self._epoch.values()), LISTING.c.number).where(
            which, ~self._is_sealed, ~exists().where(PENDING.c.listing == LISTING.c.number, self._is_waiting)
        )
        connection.execute(insert(PENDING).from_select([*self._epoch, "listing"], unsealed))

    def waiting(self, connection: Connection, limit: int) -> list[int]:
        """The numbers of the next listings that wait."""
        statement = select(PENDING.c.listing).where(self._is_waiting).order_by(PENDING.c.listing).limit(limit)
        return list(connection.execute(statement).scalars())

    def sealed(self, connection: Connection, contents: Collection[bytes]) -> set[bytes]:
        """Which of the listings of these contents are stored and sealed."""
        statement = select(LISTING.c.content).where(LISTING.c.content.in_(contents), self._is_sealed)
        return set(connection.execute(statement).scalars())

    def add(self, connection: Connection, seals: Mapping[int, Sequence[Seal]]) -> None:
        """Store the seals of listings by their numbers; these wait no more. What is sealed stays as it is."""
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

    def overflows(self, connection: Connection, many: Sequence[Sequence[Seal]]) -> dict[int, int]:
        """Which of `many` listings, taken in order, find their buckets full: {its position: its identifier's position}.

        A bucket is decrypted only where it has too many rows: its distinct pseudonyms, which take its places, can only
        be fewer.
        """
        adding = Counter(seal.prefix for seals in many for seal in seals)
        rows = self._rows(connection, adding)
        taken = {
            prefix: {place.pseudonym for place in self.bucket(connection, prefix)}
            for prefix, more in adding.items()
            if rows[prefix] + more > self._bucket_size
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

    def bucket(self, connection: Connection, prefix: int) -> list[Place]:
        """Every seal of one bucket and the canary if it is there, by one indexed query."""
        found = connection.execute(_BUCKET, self._epoch | {"prefix": prefix})
        return [
            Place(
                self._cipher.decrypt(
                    pseudonym,
                    *(self._canary_place(prefix) if number is None else self._place(number, position, prefix)),
                ),
                *stored,
            )
            for number, position, pseudonym, *stored in found
        ]

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
        return (b"seal", b"pseudonym", *self._named(), *(b"%d" % part for part in (number, position, prefix)))

    def _canary_place(self, prefix: int) -> tuple[bytes, ...]:
        return (b"canary", b"pseudonym", *self._named(), b"%d" % prefix)

    def _named(self) -> tuple[bytes, ...]:
        return tuple(str(part).encode() for part in self._epoch.values())
