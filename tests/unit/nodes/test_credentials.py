"""Tokens: found by their digest, stored nowhere, bound to their rows, gone when they expired or were revoked."""

from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from nodes.life import Act
from nodes.register import DECISIONS
from nodes.roles import MAY, Role, require, who_may
from nodes.storage.cipher import KEY_BYTES, ColumnCipher
from nodes.storage.credentials import CredentialError, Credentials, Holder, Issued
from nodes.storage.engine import writing
from nodes.storage.tables import CREDENTIAL
from protocol.errors import NotGrantedError, SealError
from protocol.identifiers import canonical
from tests.parties import NOW
from tests.unit.nodes.builders import LEI, USCC

FIRM = (canonical("cn.uscc", USCC), canonical("lei", LEI))
LATER = NOW + 86_400


@pytest.fixture
def credentials(engine: Engine) -> Credentials:
    return Credentials(engine, ColumnCipher(bytes(KEY_BYTES), lambda size: bytes(range(size))))


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(CREDENTIAL)).mappings())


def test_a_token_stands_for_who_it_was_issued_to(credentials: Credentials) -> None:
    clerk = credentials.issue(Role.CLERK, "cleo", LATER)
    subject = credentials.issue(Role.SUBJECT, "subject-1", LATER, FIRM)
    assert credentials.who(clerk, NOW) == Holder(Role.CLERK, "cleo")
    assert credentials.who(subject, NOW) == Holder(Role.SUBJECT, "subject-1", FIRM)
    assert credentials.all() == [Issued(Role.CLERK, "cleo", LATER), Issued(Role.SUBJECT, "subject-1", LATER)]


def test_only_its_digest_is_stored_and_the_identifiers_encrypted(credentials: Credentials, engine: Engine) -> None:
    token = credentials.issue(Role.SUBJECT, "subject-1", LATER, FIRM)
    assert len(token) == 43
    [row] = rows(engine)
    for needle in (token, USCC, LEI):
        assert needle.encode() not in b"".join(it if isinstance(it, bytes) else str(it).encode() for it in row.values())
        assert needle not in repr(credentials.who(token, NOW))


def test_another_token_and_one_that_expired_are_refused_alike(credentials: Credentials) -> None:
    token = credentials.issue(Role.CLERK, "cleo", LATER)
    said = set()
    for other, when in ((token, LATER), (token[:-1], NOW), (token + " ", NOW), ("", NOW), ("\udcff\u540d", NOW)):
        with pytest.raises(CredentialError) as caught:
            credentials.who(other, when)
        said.add(str(caught.value))
    assert len(said) == 1


def test_a_revoked_name_has_no_token_and_an_expired_one_leaves_no_row(credentials: Credentials, engine: Engine) -> None:
    tokens = [credentials.issue(Role.CLERK, name, LATER) for name in ("cleo", "cleo", "carl")]
    credentials.issue(Role.SUBJECT, "subject-1", NOW, FIRM)
    assert credentials.revoke("cleo") == 2
    assert credentials.forget_expired(NOW) == 1
    assert [row["name"] for row in rows(engine)] == ["carl"]
    for token in tokens[:2]:
        with pytest.raises(CredentialError):
            credentials.who(token, NOW)


def test_identifiers_do_not_open_in_another_row(credentials: Credentials, engine: Engine) -> None:
    mine = credentials.issue(Role.SUBJECT, "subject-1", LATER, FIRM[:1])
    credentials.issue(Role.SUBJECT, "subject-2", LATER, FIRM[1:])
    [other] = [row["identifiers"] for row in rows(engine) if row["name"] == "subject-2"]
    with writing(engine) as connection:
        moved = update(CREDENTIAL).where(CREDENTIAL.c.name == "subject-1").values(identifiers=other)
        connection.execute(moved)
    with pytest.raises(SealError):
        credentials.who(mine, NOW)


@pytest.mark.parametrize("name", ["", "Cleo", "a b", "-a", "a" * 64, "名", "a\n"])
def test_a_name_stands_in_the_trail_so_it_is_plain(credentials: Credentials, name: str) -> None:
    with pytest.raises(CredentialError, match=r"^name: ") as caught:
        credentials.issue(Role.CLERK, name, LATER)
    assert not name or name not in str(caught.value).removeprefix("name: 1 to 63 small letters, digits and . _ @ -")


def test_exactly_subjects_have_identifiers(credentials: Credentials) -> None:
    for role, identifiers in ((Role.SUBJECT, ()), (Role.SUBJECT, FIRM * 9), (Role.CLERK, FIRM)):
        with pytest.raises(CredentialError, match=r"^identifiers: "):
            credentials.issue(role, "somebody", LATER, identifiers)


# Roles


def test_nobody_who_enters_or_serves_may_decide_and_an_auditor_changes_nothing() -> None:
    assert MAY[Role.CLERK].isdisjoint(DECISIONS)
    assert MAY[Role.REVIEWER] >= DECISIONS
    assert MAY[Role.REVIEWER].isdisjoint({Act.ENTER, Act.SERVE})
    assert MAY[Role.AUDITOR] == set()
    assert MAY[Role.SUBJECT].isdisjoint(MAY[Role.REVIEWER])


def test_what_the_system_notes_by_itself_is_no_persons_step() -> None:
    for act in (Act.RENEW, Act.ACCESS, Act.REFUSE):
        assert not [role for role in Role if act in MAY[role]]
    assert who_may(Act.LEAVE) == ()
    assert who_may(Act.SUSPEND) == (Role.CLERK, Role.REVIEWER)


def test_a_role_that_may_not_is_refused_with_those_that_may() -> None:
    require(Role.CLERK, Role.CLERK, Role.REVIEWER)
    with pytest.raises(NotGrantedError, match=r"^this needs the role clerk or reviewer$"):
        require(Role.AUDITOR, Role.CLERK, Role.REVIEWER)
