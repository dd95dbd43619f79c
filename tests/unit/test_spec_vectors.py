"""Every byte example of the specification is recomputed by the code.

A vector block of `concordat-v1.md` holds inputs and results as `key = value`. Its function here reads the inputs and
returns the results; a key that is neither read nor computed fails, and so does a vector without a function.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from gmpy2 import mpz

from protocol import ceremony, codec, dkg, labels, messages, opening, oprf, sealing, shamir
from protocol.agreement.model import canonical as canonical_agreement
from protocol.agreement.model import digest as agreement_digest
from protocol.agreement.model import parse
from protocol.agreement.parameters import bucket_bits, bucket_size
from protocol.agreement.terms import key_context
from protocol.codec import concat, digest, i2osp, os2ip
from protocol.envelope import pae
from protocol.figures import FiguresLayout, Quarter, noise_scale, within
from protocol.group import scalar_base_mult, scalar_from_int
from protocol.hpke import unseal
from protocol.identifiers import canonical, to_bytes
from protocol.lanes import Lane, LaneKind, LaneLayout, check_factor, encode, split_slots
from protocol.paillier import PublicKey, Randomiser
from protocol.rounds import sieve
from protocol.wire import Header, payload_type, read, write
from tests.unit.test_spec import BLOCKS


class Inputs(Mapping[str, str]):
    """A vector's keys; remembers which were read."""

    def __init__(self, items: Mapping[str, str]) -> None:
        self._items, self.read = dict(items), set[str]()

    def __getitem__(self, key: str) -> str:
        self.read.add(key)
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def octets(self, key: str) -> bytes:
        return bytes.fromhex(self[key])

    def integer(self, key: str) -> int:
        return int(self[key])

    def texts(self, key: str) -> list[str]:
        return self[key].split(", ")

    def integers(self, key: str) -> list[int]:
        return [int(item) for item in self.texts(key)]


def fixed(*draws: bytes) -> codec.Random:
    """A random source that returns exactly these draws, of exactly the lengths asked for."""
    waiting = iter(draws)

    def random(length: int) -> bytes:
        draw = next(waiting)
        assert len(draw) == length
        return draw

    return random


def wide(value: int) -> bytes:
    """64 little-endian bytes, from which `random_scalar` makes exactly `value`."""
    return value.to_bytes(64, "little")


def listed(values: Iterable[object]) -> str:
    return ", ".join(value.hex() if isinstance(value, bytes) else str(value) for value in values)


def identifier_vector(given: Inputs) -> dict[str, str]:
    found = canonical(given["scheme"], given["spelling"])
    return {"canonical": f"{found.scheme}, {found.value}", "bytes": to_bytes(found).hex()}


def digest_vector(given: Inputs) -> dict[str, str]:
    parts = [bytes.fromhex(part) for part in given.texts("parts")]
    label = given["label"].encode()
    return {"concat": concat(label, *parts).hex(), "digest": digest(label, *parts).hex()}


def message_vector(given: Inputs) -> dict[str, str]:
    key = Ed25519PrivateKey.from_private_bytes(given.octets("signing-key"))
    header = Header(
        agreement=given["agreement"],
        version=given.integer("version"),
        epoch=given.integer("epoch"),
        sender=given["sender"],
        audience=given["audience"],
        purpose=given["purpose"],
        m=given.integer("m"),
        issued=given.integer("issued"),
        expires=given.integer("expires"),
        session=given.octets("session"),
        answers=given.octets("answers"),
    )
    data = write(header, messages.DkgConfirm(given.octets("transcript")), key)
    message = read(data, messages.DkgConfirm)
    message.envelope.verify(key.public_key())
    return {
        "payload-type": payload_type(messages.DkgConfirm),
        "payload": message.envelope.payload.hex(),
        "pae": pae(message.envelope.payload_type, message.envelope.payload).hex(),
        "signature": message.envelope.signature.hex(),
        "message": data.hex(),
        "message-hash": message.hash.hex(),
    }


def hpke_vector(given: Inputs) -> dict[str, str]:
    key = X25519PrivateKey.from_private_bytes(given.octets("private-key"))
    context = [bytes.fromhex(part) for part in given.texts("context")]
    label = given["label"].encode()
    return {
        "info": concat(label, *context).hex(),
        "plaintext": unseal(given.octets("sealed"), key, label, *context).hex(),
    }


def oprf_vector(given: Inputs) -> dict[str, str]:
    coefficients = [scalar_from_int(value) for value in given.integers("polynomial")]
    x, blind = given.octets("input"), scalar_from_int(given.integer("blind"))
    shares = {j: shamir.evaluate(coefficients, j) for j in given.integers("quorum")}
    publics = {j: scalar_base_mult(share) for j, share in shares.items()}
    blinded = oprf.blind([x], [blind])
    nonce = wide(given.integer("proof-nonce"))
    answers = {
        j: oprf.blind_evaluate_with_proof(share, publics[j], blinded, fixed(nonce)) for j, share in shares.items()
    }
    for j, (evaluated, proof) in answers.items():
        oprf.verify(publics[j], blinded, evaluated, proof)
    by_index = {j: evaluated for j, (evaluated, _) in answers.items()}
    combined = oprf.combine(by_index, len(coefficients))
    (pseudonym,) = oprf.finalize([x], [blind], by_index, len(coefficients))
    assert pseudonym == oprf.evaluate(coefficients[0], x)
    return {
        "public-key": scalar_base_mult(coefficients[0]).hex(),
        "public-shares": listed(publics.values()),
        "blinded": blinded[0].hex(),
        "evaluated": listed(evaluated[0] for evaluated, _ in answers.values()),
        "proofs": listed(proof for _, proof in answers.values()),
        "combined": combined[0].hex(),
        "t": pseudonym.hex(),
    }


def dkg_vector(given: Inputs) -> dict[str, str]:
    names = tuple(given.texts("parties"))
    config = dkg.DkgConfig(given.octets("context"), names, given.integer("threshold"))
    draws = (wide(value) for value in (*given.integers("coefficients"), given.integer("proof-nonce")))
    state, message = dkg.commit(config, given["party"], fixed(*draws))
    return {
        "binding": config.binding.hex(),
        "commitments": listed(state.commitments),
        "proof": state.proof.hex(),
        "hash": message.hash.hex(),
        "shares": listed(shamir.evaluate(state.coefficients, config.index(name)) for name in names),
    }


def derivations_vector(given: Inputs) -> dict[str, str]:
    pseudonym, nonce, session = given.octets("t"), given.octets("nonce"), given.octets("session")
    subject, agency = given.integer("subject"), given["agency"]
    prefix = sealing.bucket(pseudonym, given.integer("bucket-bits"))
    key = sealing.session_key(pseudonym)
    secret = sealing.question_secret(key, nonce, given.octets("ask"), subject)
    commitment = sealing.ask_commitment(session, nonce, [prefix])
    return {
        "prefix": str(prefix),
        "session-key": key.hex(),
        "T": secret.hex(),
        "tag": sealing.tag(secret, agency).hex(),
        "masked": sealing.mask(secret, agency, given.octets("element")).hex(),
        "com": commitment.hex(),
        "binding": sealing.decision_binding(given.octets("sigma"), secret, commitment).hex(),
        "access-tag": sealing.access_tag(key, session, agency).hex(),
        "case-hash": digest(labels.CASE, given["case"].encode(), given.octets("salt")).hex(),
    }


def block_vector(given: Inputs) -> dict[str, str]:
    entry = (given.octets("tag"), given.octets("element"))
    size, fillers = given.integer("B"), [bytes.fromhex(part) for part in given.texts("fillers")]
    block = sealing.build_block(dict([entry]), size, len(entry[1]), fixed(*fillers))
    assert sealing.read_block(block, size, len(entry[1]))[entry[0]] == entry[1]
    return {"block": block.hex()}


def sieve_vector(given: Inputs) -> dict[str, str]:
    applies, disputed = given.integers("applies"), given.integers("disputed")
    effects = sum(1 << 64 + number for number in applies) + sum(1 << number for number in disputed)
    [mark] = sealing.marks([given.octets("T")], given["agency"])
    entry = bytes(one ^ other for one, other in zip(mark, i2osp(effects, len(mark)), strict=True))
    size, fillers = given.integer("B"), [bytes.fromhex(part) for part in given.texts("fillers")]
    block = sieve.build_block([entry], size, fixed(b"".join(fillers)))
    tags, elements = sieve.read_block(block, size)
    assert elements[tags.index(entry[:16])] == entry[16:]
    return {"effects": i2osp(effects, 16).hex(), "mark": mark.hex(), "entry": entry.hex(), "block": block.hex()}


def parameters_vector(given: Inputs) -> dict[str, str]:
    bits = bucket_bits(given.integer("population"), given.integer("k_min"))
    return {"beta": str(bits), "B": str(bucket_size(given.integer("max_listings"), bits))}


def lanes_vector(given: Inputs) -> dict[str, str]:
    lanes = []
    for text in given.texts("lanes"):
        kind, condition, feeders = text.split(" ")
        fed_by = frozenset(feeders.split("+"))
        lanes.append(Lane(tuple(condition.split("+")), LaneKind(kind), fed_by, fed_by))
    layout = LaneLayout(tuple(lanes), given.integer("agencies"))
    sums = [encode(layout, given.integers(key)) for key in ("values", "next-values")]
    rhos = given.integers("rhos")
    checked = [value * check_factor(layout, rho) for value, rho in zip(sums, rhos, strict=True)]
    opened = checked[0] + (checked[1] << layout.stride)
    assert split_slots(layout, opened, rhos) == sums
    return {
        "widths": listed(layout.widths),
        "width": str(layout.width),
        "stride": str(layout.stride),
        "slots": listed(layout.slots(bits) for bits in given.integers("moduli")),
        "integer": str(sums[0]),
        "opened": str(opened),
    }


def figures_vector(given: Inputs) -> dict[str, str]:
    cells, quarter = tuple(given.texts("cells")), Quarter.parse(given["quarter"])
    layout = FiguresLayout(cells, given.integer("agencies"), given.integer("modulus-bits"))
    (first,), (second,) = (layout.encode(given.integers(name)) for name in ("first", "second"))
    session = digest(labels.FIGURES_SESSION, given["agreement"].encode(), str(quarter).encode())[:16]
    return {
        "session": session.hex(),
        "digest": layout.digest.hex(),
        "width": str(layout.width),
        "sum": str(first + second),
        "opened": ", ".join(map(str, layout.decode([first + second]))),
        "within": str(within(noise_scale(given.integer("epsilon")), layout.agencies)),
    }


def agreement_vector(given: Inputs) -> dict[str, str]:
    agreement = parse(given["yaml"])
    hashed, epoch = agreement_digest(agreement), given.integer("epoch")
    context = key_context(agreement, epoch, labels.OPRF_KEY)
    assert context == concat(labels.OPRF_KEY, hashed, i2osp(epoch, 4))
    return {
        "canonical": canonical_agreement(agreement).hex(),
        "digest": hashed.hex(),
        "oprf-key-context": context.hex(),
    }


def randomiser_vector(given: Inputs) -> dict[str, str]:
    key = PublicKey(given.integer("N"))
    x, s = given.integer("x"), given.octets("s")
    randomiser = Randomiser.create(key, fixed(i2osp(x, key.modulus_bytes + 16)))
    zeta = randomiser.fresh(fixed(s))
    h = -x * x % key.n
    offset = sum(256**k for k in range(len(s)))
    exponent = int.from_bytes(s, "little") + offset
    assert zeta == pow(pow(h, key.n, key.n_squared), exponent, key.n_squared)
    return {"h": str(h), "zeta": str(zeta)}


def opening_vector(given: Inputs) -> dict[str, str]:
    primes, coefficient = given.integers("primes"), given.integer("coefficient")
    count, threshold = given.integer("keyholders"), 2
    p, q = primes
    published, shares = ceremony.deal(
        (p, q), threshold, count, given["context"].encode(), fixed(i2osp(coefficient, given.integer("draw-bytes")))
    )
    key, n = published.key, p * q
    published.verify_share(shares[0])
    order = (p // 2) * (q // 2)
    ciphertext = key.public_key.encrypt(given.integer("m"), pow(given.integer("r"), n, n * n))
    x = opening.challenge(key, ciphertext)
    quorum = given.integers("quorum")
    parts = {j: opening.open_share(key, shares[j - 1], x) for j in quorum}
    weights = shamir.integer_lagrange(quorum, key.delta)
    root = math.prod(pow(parts[j], 2 * weights[j], n) for j in quorum) % n
    assert pow(root, n, n) == pow(ciphertext, 8 * key.delta**2, n)
    assert opening.combine(key, ciphertext, parts) == given.integer("m")
    j = quorum[0]
    proof = opening.prove_share(key, shares[j - 1], x, fixed(given.octets("proof-nonce")))
    opening.verify_share(key, j, x, parts[j], proof)
    return {
        "N": str(n),
        "roots": listed(os2ip(value) for value in published.proof),
        "v": str(key.base),
        "V": listed(published.commitments),
        "D": str(pow(n, -1, order)),
        "s": listed(share.secret for share in shares),
        "v_j": listed(key.verification),
        "A": str(ciphertext),
        "x": str(x),
        "P": listed(parts.values()),
        "lambda": listed(weights.values()),
        "w": str(mpz(root)),
        "challenge": proof[0].hex(),
        "response": proof[1].hex(),
    }


VECTORS: dict[str, Callable[[Inputs], dict[str, str]]] = {
    "identifier": identifier_vector,
    "identifier-normal-form": identifier_vector,
    "digest": digest_vector,
    "message": message_vector,
    "hpke": hpke_vector,
    "oprf": oprf_vector,
    "dkg": dkg_vector,
    "derivations": derivations_vector,
    "block": block_vector,
    "sieve": sieve_vector,
    "parameters": parameters_vector,
    "lanes": lanes_vector,
    "agreement": agreement_vector,
    "figures": figures_vector,
    "randomiser": randomiser_vector,
    "opening": opening_vector,
}


def test_every_vector_stands_in_the_specification_once() -> None:
    assert sorted(name for name, _ in BLOCKS) == sorted(VECTORS)


@pytest.mark.parametrize(("name", "block"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_vector(name: str, block: str) -> None:
    pairs = [line.split(" = ", 1) if " = " in line else [line.removesuffix(" ="), ""] for line in block.splitlines()]
    given = Inputs(dict(pairs))
    assert len(given) == len(pairs), "a key twice"
    computed = VECTORS[name](given)
    assert not given.read & computed.keys()
    assert set(given) == given.read | computed.keys(), "a key is neither read nor computed, or is missing"
    assert {key: given[key] for key in computed} == computed
