"""Roles: what each may do with a listing. That nobody judges their own work is `nodes.register`'s rule."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from nodes.life import Act
from protocol.errors import NotGrantedError


class Role(StrEnum):
    """Who speaks to a node."""

    CLERK = "clerk"
    REVIEWER = "reviewer"
    AUDITOR = "auditor"
    SUBJECT = "subject"


_RECEIVED: Final = frozenset({Act.OBJECT, Act.REQUEST_CORRECTION, Act.REQUEST_REPAIR})

MAY: Final[Mapping[Role, frozenset[Act]]] = MappingProxyType(
    {
        # A clerk also files what subjects send on paper.
        Role.CLERK: _RECEIVED | {Act.ENTER, Act.SERVE, Act.SUSPEND},
        Role.REVIEWER: frozenset(
            {
                *(Act.REJECT, Act.CORRECT, Act.REVOKE, Act.REPAIR, Act.REFUSE_REPAIR),
                *(Act.SUSPEND, Act.RESUME, Act.ERASE),
            }
        ),
        Role.AUDITOR: frozenset(),
        # Each with its own listings only, and leaving is for a scheme it opted into (`nodes.rights.own`).
        Role.SUBJECT: _RECEIVED | {Act.LEAVE},
    }
)
"""The steps that each role may take; what nobody may take over HTTP, such as a renewal, is no person's step."""


def require(role: Role, *allowed: Role) -> None:
    """Refuse a role that is none of these.

    Raises:
        NotGrantedError: names the roles that may.
    """
    if role not in allowed:
        raise NotGrantedError(f"this needs the role {' or '.join(allowed)}")


def who_may(act: Act) -> tuple[Role, ...]:
    """The agency's own roles that may take a step, in the order of `Role`."""
    return tuple(role for role in Role if act in MAY[role] and role is not Role.SUBJECT)
