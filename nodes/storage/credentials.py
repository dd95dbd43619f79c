"""Who may speak to a node: staff in their roles, and subjects for themselves, each by a bearer token.

A token is 256 random bits; the database has its SHA-256 only, so whoever reads it cannot speak for anybody. A token is
found by that digest: what an attacker could learn from the time of the look-up is about a digest that nobody can aim.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Engine, delete, insert, select

from nodes.roles import Role
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import forget_log, migrate, writing
from nodes.storage.tables import CREDENTIAL
from protocol.codec import decode, encode
from protocol.errors import PeerError
from protocol.identifiers import Identifier
from protocol.messages import MAX_IDENTIFIERS

_TOKEN_BYTES: Final = 32
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
_LIMIT: Final = 16 << 10


class CredentialError(PeerError):
    """A token is not one of this node's, or has expired; or one cannot be issued."""


@dataclass(frozen=True)
class Holder:
    """Whom a token stands for: a role, a name, and of a subject the identifiers that an agency has checked."""

    role: Role
    name: str
    identifiers: tuple[Identifier, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Issued:
    """A token that was issued, without it: to whom, and until when (Unix seconds)."""

    role: Role
    name: str
    expires: int


class Credentials:
    """The only code that queries the table of tokens."""

    def __init__(self, engine: Engine, cipher: ColumnCipher) -> None:
        self._engine = engine
        self._cipher = cipher
        migrate(engine, "listings")

    def issue(self, role: Role, name: str, expires: int, identifiers: Sequence[Identifier] = ()) -> str:
        """Issue a token, valid until `expires` (Unix seconds); it is returned once and stored nowhere.

        `name` stands in clear in the audit trail as the actor of every step, so it must not tell of a subject.

        Raises:
            CredentialError: the name is not of its form, or not exactly a subject has 1 to 16 identifiers.
        """
        if not _NAME.fullmatch(name):
            raise CredentialError("name: 1 to 63 small letters, digits and . _ @ -, the first a letter or digit")
        if not (1 <= len(identifiers) <= MAX_IDENTIFIERS if role is Role.SUBJECT else not identifiers):
            raise CredentialError(f"identifiers: a subject has 1 to {MAX_IDENTIFIERS}, staff none")
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        digest = _digest(token)
        plain = encode([[it.scheme, it.value] for it in identifiers])
        row = {
            "digest": digest,
            "role": role.value,
            "name": name,
            "expires": expires,
            "identifiers": self._cipher.encrypt(plain, *_place(digest)) if identifiers else None,
        }
        with writing(self._engine) as connection:
            connection.execute(insert(CREDENTIAL), row)
        return token

    def who(self, token: str, now: int) -> Holder:
        """Whom a token stands for.

        Raises:
            CredentialError: no such token, or it has expired.
            SealError: the row was altered, or moved.
        """
        digest = _digest(token)
        with self._engine.connect() as connection:
            row = connection.execute(select(CREDENTIAL).where(CREDENTIAL.c.digest == digest)).mappings().first()
        if row is None or now >= row["expires"]:
            raise CredentialError("a bearer token of this agency is needed, and it must not have expired")
        return Holder(Role(row["role"]), row["name"], self._identifiers(row))

    def revoke(self, name: str) -> int:
        """Revoke every token of a name; returns how many there were."""
        return self._forget(CREDENTIAL.c.name == name)

    def forget_expired(self, now: int) -> int:
        """Erase expired tokens, and with them the identifiers they stood for."""
        return self._forget(CREDENTIAL.c.expires <= now)

    def all(self) -> list[Issued]:
        """Every token that is kept, by role and name."""
        columns = select(CREDENTIAL.c.role, CREDENTIAL.c.name, CREDENTIAL.c.expires)
        with self._engine.connect() as connection:
            found = connection.execute(columns.order_by(CREDENTIAL.c.role, CREDENTIAL.c.name, CREDENTIAL.c.expires))
            return [Issued(Role(role), name, expires) for role, name, expires in found]

    def _forget(self, which: Any) -> int:
        with writing(self._engine) as connection:
            forgotten = connection.execute(delete(CREDENTIAL).where(which)).rowcount
        if forgotten:
            forget_log(self._engine)
        return forgotten

    def _identifiers(self, row: Any) -> tuple[Identifier, ...]:
        if row["identifiers"] is None:
            return ()
        plain = self._cipher.decrypt(row["identifiers"], *_place(row["digest"]))
        return tuple(Identifier(scheme, value) for scheme, value in decode(plain, _LIMIT))


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _place(digest: bytes) -> tuple[bytes, ...]:
    return b"credential", b"identifiers", digest
