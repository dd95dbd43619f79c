"""The receiver of an answer by the sieve, between the parties of a question without one."""

import secrets
from dataclasses import replace
from typing import Any

from api.audit.grounds import REQUESTER
from api.audit.targets.question import (
    ANSWERING_OTHERWISE,
    KEYHOLDER,
    Changes,
    Question,
    Target,
    altered,
    impostor,
    one_of,
)
from federation.audit.hostile import Forger
from protocol.lanes import Standing, vector
from protocol.messages import Answer
from protocol.rounds import agency, coordinator, sieve
from protocol.rounds.party import Party
from protocol.sealing import TAG_BYTES, session_key
from protocol.wire import read

SIEVED = "answer by the sieve, coordinator"


def by_sieve(party: Party) -> Party:
    """The same party with the same keys, under the same agreement but for its sieve."""
    agreement = party.terms.agreement.model_copy(update={"sieve": True})
    return replace(party, terms=replace(party.terms, agreement=agreement))


def answer(it: Question) -> Target:
    """The coordinator that looks for what matches in an agency's answer by the sieve."""
    own, c = by_sieve(it.scene.party(KEYHOLDER)), by_sieve(it.c)
    asked = agency.receive(own, it.asked, it.now)
    listed = vector(it.terms.layout(REQUESTER), KEYHOLDER, [Standing(f"{KEYHOLDER}-register", 2, disputed=False)])
    buckets: dict[int, list[tuple[bytes, tuple[int, ...]]]] = {prefix: [] for prefix in asked.prefixes}
    buckets[asked.prefixes[0]].append((session_key(it.known[0]), listed))
    honest = sieve.answer(own, asked, buckets, secrets.token_bytes, it.now)
    reply, width = read(honest, Answer), sieve.ENTRY_BYTES
    block, second = coordinator.unseal_blocks(c, reply)
    rows = [block[start : start + width] for start in range(0, len(block), width)]

    def sealed(*blocks: bytes, by: Party = own, ask: bytes = reply.header.answers) -> dict[str, Any]:
        return {"sealed": agency.seal_blocks(by, blocks, ask)}

    bodies: Changes = {
        "a block cut by a byte": sealed(block[:-1], second),
        "a block short by an entry": sealed(block[:-width], second),
        "a block long by an entry": sealed(block + b"\xff" * width, second),
        "a block of one entry": sealed(rows[0], second),
        "two entries in another order": sealed(b"".join([rows[1], rows[0], *rows[2:]]), second),
        "a tag twice": sealed(b"".join([rows[0], rows[0][:TAG_BYTES] + rows[1][TAG_BYTES:], *rows[2:]]), second),
        "a block too few": sealed(block),
        "a block too many": sealed(block, second, second),
        "a box of the other mode": sealed(block, second, by=it.scene.party(KEYHOLDER)),
        "a box that somebody altered": {"sealed": altered(reply.body.sealed)},
        "a box for another question": sealed(block, second, ask=bytes(32)),
        "an answer of the other mode": {"sealed": read(it.answers[KEYHOLDER], Answer).body.sealed},
    }
    forger = Forger.of(honest, Answer, it.key(KEYHOLDER), ANSWERING_OTHERWISE, bodies)
    return Target(
        SIEVED,
        lambda data: sieve.accept(c, it.session, KEYHOLDER, data, it.now),
        honest,
        one_of(*[forger.fault] * 9, impostor(it, forger, "labour")),
    )
