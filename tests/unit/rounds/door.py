"""One question of a subject at its door that the statements about access share and do not change."""

import secrets
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocol.messages import Access
from protocol.rounds import access
from protocol.rounds.party import Party
from protocol.sealing import session_key
from protocol.wire import Signed
from tests.flow import pseudonym
from tests.parties import AGENCIES, NOW, forged
from tests.unit.rounds.steps import LISTED, UNLISTED, joint, key

DOOR = "market"
SUBJECT = X25519PrivateKey.from_private_bytes(b"subject's own key, made for this")
STRANGER = X25519PrivateKey.from_private_bytes(b"the key of somebody else, no one")
OWN, FOREIGN = SUBJECT.public_key().public_bytes_raw(), STRANGER.public_key().public_bytes_raw()
HELD = {"labour": b'[{"ground": "unpaid"}]', "tax": b'[{"ground": "evaded"}]'}
NOTHING = b"[]"


def known(*subjects: bytes) -> tuple[bytes, ...]:
    return tuple(pseudonym(joint().of, subject) for subject in subjects)


def party(name: str) -> Party:
    return joint().parties[name]


def asking(*subjects: bytes, door: str = DOOR, of: bytes = OWN) -> Signed[Access]:
    state, data = access.ask(party(door), known(*subjects), key=of, now=NOW, random=secrets.token_bytes)
    assert state.raw == data
    return state


@cache
def asked() -> Signed[Access]:
    """One question for a subject with two identifiers, of which labour and tax list one."""
    return asking(LISTED, UNLISTED)


def received(name: str, data: bytes, now: int = NOW) -> access.Accessing:
    return access.receive(party(name), data, now)


def answered(name: str, data: bytes, content: bytes | None = None) -> bytes:
    """An agency looks into the buckets that are asked, and tells what it holds of the subject."""
    accessing = received(name, data)
    keys = [key for prefix in accessing.prefixes for key, _ in joint().buckets[name].get(prefix, [])]
    found = {key for key in keys if access.names(party(name), accessing, key)}
    assert found <= set(map(session_key, known(LISTED, UNLISTED)))
    told = HELD[name] if found else NOTHING
    return access.answer(party(name), accessing, told if content is None else content, NOW)


@cache
def replies() -> dict[str, bytes]:
    return {name: answered(name, asked().raw) for name in AGENCIES}


def opened(reply: bytes, agency: str = "tax", of: X25519PrivateKey = SUBJECT, request: bytes | None = None) -> bytes:
    """What the subject's client reads in an answer; to `asked` unless said otherwise."""
    return access.open_answer(joint().terms, of, asked().raw if request is None else request, agency, reply)


def request(signer: str = DOOR, body: Mapping[str, Any] | None = None, **header: object) -> bytes:
    return forged(asked().raw, Access, key(signer), {"sender": signer} | header, body)


def boxes(**changes: bytes | None) -> dict[str, object]:
    changed = dict(asked().body.sealed) | changes
    return {"sealed": {name: box for name, box in changed.items() if box is not None}}
