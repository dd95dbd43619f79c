"""Receivers of answers, openings and their proofs."""

from collections.abc import Mapping
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
from federation.audit.hostile import Forger, wrong_headers
from protocol.agreement.roster import COORDINATOR
from protocol.codec import i2osp, os2ip
from protocol.messages import (
    Answer,
    Ask,
    Open,
    Opened,
    Prove,
    Proved,
)
from protocol.opening import combine
from protocol.rounds import agency, coordinator
from protocol.sealing import TAG_BYTES, mask, tag
from protocol.wire import SESSION_BYTES, read

# The answer


def answer(it: Question) -> Target:
    """The coordinator that lifts what matches in an agency's answer."""
    key = it.terms.public_key
    width = TAG_BYTES + key.ciphertext_bytes
    reply = read(it.answers[KEYHOLDER], Answer)
    block, second = coordinator.unseal_blocks(it.c, reply)
    rows = [block[start : start + width] for start in range(0, len(block), width)]
    secret = it.session.look.body.secrets[0]
    place = next(number for number, row in enumerate(rows) if row[:TAG_BYTES] == tag(secret, KEYHOLDER))

    def holding(ciphertext: int) -> dict[str, Any]:
        """The block with another number in the place that matches."""
        masked = mask(secret, KEYHOLDER, i2osp(ciphertext, key.ciphertext_bytes))
        return blocks(b"".join([*rows[:place], rows[place][:TAG_BYTES] + masked, *rows[place + 1 :]]))

    def sealed(*blocks: bytes, ask: bytes = reply.header.answers) -> dict[str, Any]:
        return {"sealed": agency.seal_blocks(it.scene.party(KEYHOLDER), blocks, ask)}

    def blocks(first: bytes) -> dict[str, Any]:
        return sealed(first, second)

    bodies: Changes = {
        "ciphertext 0": holding(0),
        "ciphertext N²": holding(key.n_squared),
        "ciphertext above N²": holding((1 << 8 * key.ciphertext_bytes) - 1),
        "ciphertext N": holding(key.n),
        "ciphertext with a factor of N": holding(it.factor * 3),
        "a block cut by a byte": blocks(block[:-1]),
        "a block short by an entry": blocks(block[:-width]),
        "a block long by an entry": blocks(block + b"\xff" * width),
        "a block of one entry": blocks(rows[place]),
        "two entries in another order": blocks(b"".join([rows[1], rows[0], *rows[2:]])),
        "a tag twice": blocks(b"".join([rows[0], rows[0][:TAG_BYTES] + rows[1][TAG_BYTES:], *rows[2:]])),
        "a block too few": sealed(block),
        "a block too many": sealed(block, second, second),
        "a box that somebody altered": {"sealed": altered(reply.body.sealed)},
        "a box for another question": sealed(block, second, ask=bytes(32)),
    }
    forger = Forger.of(it.answers[KEYHOLDER], Answer, it.key(KEYHOLDER), ANSWERING_OTHERWISE, bodies)
    faults = one_of(*[forger.fault] * 9, impostor(it, forger, "labour"))
    return Target(
        "answer, coordinator",
        lambda data: coordinator.accept(it.c, it.session, KEYHOLDER, data, it.now),
        it.answers[KEYHOLDER],
        faults,
    )


# The opening


def _bad_units(it: Question) -> Mapping[str, bytes]:
    key = it.terms.public_key
    return {
        "zero": bytes(key.modulus_bytes),
        "N": i2osp(key.n, key.modulus_bytes),
        "above N": b"\xff" * key.modulus_bytes,
        "a factor of N": i2osp(it.factor * 3, key.modulus_bytes),
        "too wide": b"\x01" + bytes(key.modulus_bytes),
    }


def open_at_keyholder(it: Question) -> Target:
    """A keyholder asked to open a chunk."""
    data, node = it.opens[KEYHOLDER], it.nodes[KEYHOLDER]
    bodies: Changes = {f"x is {name}": {"x": bad} for name, bad in _bad_units(it).items()}
    x = read(data, Open).body.x
    ask = Forger.of(it.asked, Ask, it.key(REQUESTER))
    bodies |= {
        "x short by a byte": {"x": x[1:]},
        "a chunk beyond the subjects": {"chunk": 1},
        "another question": {"ask": it.ask()[1][:-1]},
        "a question that somebody altered": {"ask": it.asked[:-1] + bytes([it.asked[-1] ^ 1])},
        "a question without a right": {"ask": ask.signed(header={"purpose": "lend"})},
        "a question for other subjects": {"ask": ask.signed(header={"m": 1})},
    }
    for name, header in wrong_headers(ask.header).items():
        bodies[f"a question of {name}"] = {"ask": ask.signed(header=header)}
    headers: Changes = {
        "another session": {"session": bytes(SESSION_BYTES)},
        "another purpose": {"purpose": "lend"},
        "other subjects": {"m": 1},
    }
    forger = Forger.of(data, Open, it.key(COORDINATOR), headers, bodies)
    faults = one_of(*[forger.fault] * 9, impostor(it, forger, "labour"))
    return Target("open, keyholder", lambda data: node.handle(Open.TYPE, data), data, faults)


def opened(it: Question) -> Target:
    """The coordinator that combines a keyholder's opening share with those of others."""
    reply = it.opened[KEYHOLDER]
    share = read(reply, Opened).body.share
    bodies: Changes = {f"a share that is {name}": {"share": bad} for name, bad in _bad_units(it).items()}
    bodies |= {"another share": {"share": altered(share)}, "a share cut by a byte": {"share": share[:-1]}}
    forger = Forger.of(reply, Opened, it.key(KEYHOLDER), ANSWERING_OTHERWISE, bodies)
    indices = {it.terms.keyholder_index(holder): part for holder, part in it.shares.items()}

    def accept(data: bytes) -> object:
        opened = it.share(KEYHOLDER, data)
        shares = {**indices, it.terms.keyholder_index(KEYHOLDER): opened}
        return combine(it.terms.opening_key, it.chunk.ciphertext, shares)

    return Target("opened, coordinator", accept, reply, one_of(*[forger.fault] * 9, impostor(it, forger, "labour")))


def prove(it: Question) -> Target:
    """A keyholder asked to prove the share it opened with."""
    node = it.scene.node(KEYHOLDER, it.scene.ledger())
    node.handle(Open.TYPE, it.opens[KEYHOLDER])
    bodies: Changes = {f"x is {name}": {"x": bad} for name, bad in _bad_units(it).items()}
    x = os2ip(read(it.prove, Prove).body.x)
    bodies |= {
        "x that was not opened": {"x": i2osp(4 * x % it.terms.public_key.n, it.terms.public_key.modulus_bytes)},
        "a chunk that was not opened": {"chunk": 1},
        "another requester": {"requester": "bank"},
    }
    headers: Changes = {"another session": {"session": bytes(SESSION_BYTES)}}
    forger = Forger.of(it.prove, Prove, it.key(COORDINATOR), headers, bodies)
    faults = one_of(*[forger.fault] * 9, impostor(it, forger, "labour"))
    return Target("prove, keyholder", lambda data: node.handle(Prove.TYPE, data), it.prove, faults)


def proved(it: Question) -> Target:
    """The coordinator that verifies such a proof."""
    body = read(it.proved, Proved).body
    bodies: Changes = {
        "another challenge": {"challenge": altered(body.challenge)},
        "another response": {"response": altered(body.response)},
        "a response cut by a byte": {"response": body.response[:-1]},
        "a response too wide": {"response": b"\x00" + body.response},
        "nothing": {"challenge": bytes(32), "response": bytes(len(body.response))},
    }
    forger = Forger.of(it.proved, Proved, it.key(KEYHOLDER), ANSWERING_OTHERWISE, bodies)
    request, share = read(it.prove, Prove), it.shares[KEYHOLDER]
    return Target(
        "proved, coordinator",
        lambda data: coordinator.accept_proof(it.c, request, KEYHOLDER, share, data, it.now),
        it.proved,
        one_of(*[forger.fault] * 9, impostor(it, forger, "labour")),
    )
