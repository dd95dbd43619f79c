"""The specification is true: labels, message types, limits, errors and every byte example are checked against the code.

A vector block of `concordat-v1.md` holds inputs and results as `key = value`. Its function here reads the inputs and
returns the results; a key that is neither read nor computed fails, and so does a vector without a function.
"""

import dataclasses
import hashlib
import hmac
import importlib
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from gmpy2 import mpz
from pydantic import BaseModel

from api import coordinator_app, keystore, node_app, problems
from federation import problem, transport
from federation.canaries import LAST_PAUSE, NOBODY, RIGHT_SECONDS
from nodes.storage.state import GRACE
from protocol import ceremony, codec, dkg, errors, labels, messages, opening, oprf, sealing, shamir, wire
from protocol.agreement import model, terms
from protocol.agreement.model import canonical as canonical_agreement
from protocol.agreement.model import digest as agreement_digest
from protocol.agreement.model import parse
from protocol.agreement.parameters import bucket_bits, bucket_size
from protocol.agreement.roster import Roster
from protocol.agreement.terms import key_context
from protocol.agreement.withdrawal import Withdrawal
from protocol.codec import concat, digest, i2osp, os2ip
from protocol.envelope import pae
from protocol.figures import FiguresLayout, Quarter, noise_scale, within
from protocol.group import scalar_base_mult, scalar_from_int
from protocol.hpke import unseal
from protocol.identifiers import CANARY_SCHEME, canary, canonical, to_bytes
from protocol.lanes import CANARY_SEVERITY, Lane, LaneKind, LaneLayout, check_factor, encode, split_slots
from protocol.paillier import PublicKey, Randomiser
from protocol.rounds import sieve
from protocol.wire import Header, payload_type, read, write

SPEC_DIR = Path(__file__).parents[2] / "protocol/spec"
SPEC = (SPEC_DIR / "concordat-v1.md").read_text()
THREATS = (SPEC_DIR / "threat-model.md").read_text()
RECORDS = sorted((SPEC_DIR.parents[1] / "federation/docs/adr").glob("*.md"))


def table(title: str) -> list[list[str]]:
    """Rows of the first table under the heading that begins with `title`, cells without their back-quotes."""
    after = re.split(rf"^#+ {re.escape(title)}", SPEC, maxsplit=1, flags=re.MULTILINE)
    assert len(after) == 2, f"no heading {title}"
    lines = re.split(r"^#", after[1], maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    assert len(rows) > 2, f"no table under {title}"
    return rows[2:]


def bare(cell: str) -> str:
    return cell.strip("`")


# Labels


def test_every_label_stands_in_the_specification_with_its_exact_bytes() -> None:
    said = {bare(row[0]): bare(row[1]) for row in table("2.2 Labels")}
    defined = {name: value for name, value in vars(labels).items() if name.isupper()}
    assert said == {name: value.decode() if isinstance(value, bytes) else value for name, value in defined.items()}


# Messages and limits

SEALED: dict[str, type] = {
    "sealed-ask": messages.SealedAsk,
    "sealed-answer": messages.SealedAnswer,
    "sealed-access": messages.SealedAccess,
    "evidence": messages.Evidence,
}
KINDS: dict[str, type] = {"header": Header, "roster": Roster, "withdrawal": Withdrawal, **SEALED} | {
    kind.TYPE: kind for _, kind in inspect.getmembers(messages, inspect.isclass) if hasattr(kind, "TYPE")
}
MESSAGE_TABLES = ("2.4 Header", "4.1 Message types", "7.2 Roster", "7.7 Withdrawal")


def test_no_message_type_is_left_out_of_these_checks() -> None:
    defined = {kind for _, kind in inspect.getmembers(messages, dataclasses.is_dataclass)}
    assert defined == set(KINDS.values()) - {Header, Roster, Withdrawal}


def test_the_tables_name_every_message_type_and_exactly_its_fields_in_order() -> None:
    said: dict[str, list[str]] = {}
    for name, field_name, *_ in (row for title in MESSAGE_TABLES for row in table(title)):
        said.setdefault(bare(name), []).append(bare(field_name))
    assert said == {name: [field.name for field in dataclasses.fields(kind)] for name, kind in KINDS.items()}


@pytest.mark.parametrize("row", [row for title in MESSAGE_TABLES for row in table(title)], ids=lambda row: row[1])
def test_a_fields_size_is_what_the_table_says(row: list[str]) -> None:
    name, field_name, size = map(bare, row[:3])
    check = {field.name: field for field in dataclasses.fields(KINDS[name])}[field_name].metadata["check"]
    inside, outside = samples(size)
    assert all(map(check, inside)), f"refuses what {size} allows"
    assert not any(map(check, outside)), f"allows more than {size}"


def samples(size: str) -> tuple[list[Any], list[Any]]:
    """Values at the ends of a size such as `array 1..120 of bytes 32`, and just outside of it."""
    kind, _, rest = size.partition(" ")
    bounds, _, item = rest.partition(" of ")
    low, high = (number(bound) for bound in (bounds.split("..") * 2)[:2])
    outside = [high + 1, *([low - 1] if low else [])]
    if kind == "uint":
        return [low, high], [-1, high + 1, True, b"", None]
    if kind == "array":
        good, bad = samples(item)
        wrong: list[Any] = [[sample] * max(low, 1) for sample in bad]
        return [[good[0]] * low, [good[-1]] * high], [[good[0]] * length for length in outside] + wrong
    if kind == "map":
        good, bad = samples(item)
        wrong = [{"party": sample} for sample in bad] + [{"": good[0]}, {"p" * 64: good[0]}]
        return [parties(low, good[0]), parties(high, good[-1])], [parties(n, good[0]) for n in outside] + wrong
    unit: Any = {"bytes": b"x", "text": "x"}[kind]
    unprintable = ["\n" * high] if kind == "text" else []
    return [unit * low, unit * high], [*(unit * length for length in outside), *unprintable, 0, None]


def parties(count: int, item: object) -> dict[str, object]:
    return {f"party-{number}": item for number in range(count)}


def number(text: str) -> int:
    """Read `120`, `2^31`, `2^63-1`, `-1`."""
    base, minus, less = text.removeprefix("-").partition("-")
    root, _, power = base.partition("^")
    value: int = int(root) ** int(power or 1) - int(less if minus else 0)
    return -value if text.startswith("-") else value


def test_message_size_limits() -> None:
    said = {bare(row[0]): number(bare(row[1])) for row in table("4.2 Message size limits")}
    assert said == {name: getattr(kind, "LIMIT") for name, kind in KINDS.items() if hasattr(kind, "LIMIT")}  # noqa: B009


NEEDED_LIMITS = {
    *("wire.MAX_SUBJECTS", "wire.MAX_PARTIES", "wire.MAX_LIFETIME", "wire.MAX_CLOCK_SKEW", "wire.MAX_ID"),
    *("wire.SESSION_BYTES", "wire.HASH_BYTES", "sealing.TAG_BYTES", "sealing.NONCE_BYTES", "codec.MAX_DEPTH"),
    *("identifiers.MAX_VALUE", "lanes.CHECK_BITS", "lanes.MAX_WIDTH", "lanes.MAX_WEIGHT", "lanes.MAX_POINTS"),
    *("sealing.PSEUDONYM_BYTES", "modulus.TRIAL_BOUND", "modulus.PROOF_ROOTS", "messages.MAX_MODULUS_BYTES"),
    *("hpke.OVERHEAD", "dleq.PROOF_BYTES", "envelope.SIGNATURE_BYTES", "identifiers.MAX_SCHEME"),
    *("agreement.validator.MAX_BUCKET_SIZE", "messages.MAX_IDENTIFIERS", "messages.CONTENT_BYTES"),
    "rounds.access.MAX_CONTENT",
    *("agreement.model.MAX_CANONICAL", "agreement.roster.LIMIT", "agreement.validator.MAX_VALID_MONTHS"),
}


def test_limits_match_the_code() -> None:
    said = {bare(row[0]): number(bare(row[1])) for row in table("2.3 Limits")}
    assert said.keys() >= NEEDED_LIMITS
    for name, value in said.items():
        module, _, constant = name.rpartition(".")
        assert getattr(importlib.import_module(f"protocol.{module}"), constant) == value, name


def test_a_doors_allowance_is_as_the_specification_says() -> None:
    assert f"{terms._ACCESSES} identifiers for each UTC day" in " ".join(SPEC.split())


def test_the_time_for_which_sessions_are_remembered() -> None:
    assert f"kept until {GRACE} seconds after the message's `expires`" in " ".join(SPEC.split())


def test_every_suite_has_its_least_modulus() -> None:
    modulus = importlib.import_module("protocol.modulus")
    for suite, bits in modulus.MIN_BITS.items():
        assert f"`{suite}`: at least {bits} bits" in SPEC


def test_the_agreements_table_names_every_field() -> None:
    said = set(re.findall(r"`(\w+)`", " ".join(" ".join(row) for row in table("5.1 The agreement"))))
    waiting: list[type[BaseModel]] = [model.Agreement]
    seen = set[str]()
    while waiting:
        for name, info in waiting.pop().model_fields.items():
            seen.add(info.alias or name)
            inner = [info.annotation, *get_args(info.annotation)]
            waiting += [kind for kind in inner if inspect.isclass(kind) and issubclass(kind, BaseModel)]
    assert len(seen) > 30
    assert seen <= said


# Transport, canaries, keys at rest


def test_every_endpoint_between_parties_stands_with_its_size_limit() -> None:
    said = {(row[0], bare(row[1]), number(row[3])) for row in table("4.9 Transport")}
    served = (("C", coordinator_app.LIMITS), ("agency", node_app.LIMITS))
    assert said == {(party, f"POST /v1/{kind}", limit) for party, limits in served for kind, limit in limits.items()}
    assert f"`Content-Type: {transport.MEDIA_TYPE}`" in SPEC
    assert f"no more than {transport.MAX_REPLY} bytes of a reply" in SPEC
    assert f"asked for {transport.PROBE_SECONDS:g} seconds" in " ".join(SPEC.split())
    assert f"no more than the limit, for {problems.BODY_SECONDS:g} seconds" in SPEC


def test_every_error_between_parties_is_the_problem_that_the_table_says() -> None:
    rows = {bare(row[1]): (int(row[0]), row[2]) for row in table("4.10 Problem documents")}
    assert {name: status for name, (status, _) in rows.items()} == {
        name: status
        for name, status in problem.STATUS.items()
        if name not in {problem.UNKNOWN_AGREEMENT, problem.BUSY}  # a gateway's alone
    }
    said = {error: name for name, (_, cell) in rows.items() for error in re.findall(r"`(\w+Error)`", cell)}
    assert said == {
        name: kind for name in peer_errors() if (kind := _kind_of(getattr(errors, name))) != problem.MALFORMED
    }


def _kind_of(error: type[errors.PeerError]) -> str:
    return problem.kind_of(error.__new__(error))


def test_canaries_are_as_the_specification_says() -> None:
    text = " ".join(SPEC.split())
    assert f"identifier of scheme `{CANARY_SCHEME}` whose value is A's id" in text
    assert f"`quality-office` is `{canary('quality-office').value}`" in text
    assert f"`{CANARY_SCHEME}` with the value `{NOBODY}` is no agency's" in text
    assert (
        f"one undisputed listing and one positive record, of severity {CANARY_SEVERITY}, in each of A's registers"
        in text
    )
    assert f"older than {RIGHT_SECONDS} seconds" in text
    assert f"twice as long each time up to {LAST_PAUSE}" in text


def test_keys_at_rest_are_derived_as_the_specification_says() -> None:
    iterations, lanes, memory = keystore._ITERATIONS, keystore._LANES, keystore._MEMORY_KIB >> 10
    assert f"{memory} MiB, {iterations} passes, {lanes} lanes" in SPEC
    assert f"a {keystore._SALT_BYTES}-byte salt, a {keystore._NONCE_BYTES}-byte nonce" in " ".join(SPEC.split())


# Errors, leakage, references


def peer_errors() -> set[str]:
    return {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.PeerError) and kind is not errors.PeerError
    }


def test_every_error_of_a_peer_has_its_step_and_no_other_is_named() -> None:
    named = {bare(name) for row in table("4.8 Errors") for name in row[0].split(", ")}
    assert named == peer_errors()


def test_the_leakage_table_has_a_full_row_for_every_party() -> None:
    rows = {row[0]: row[1:] for row in table("6. What each party learns")}
    assert set(rows) == {"requester R", "agency A_i", "keyholder K_j", "coordinator C", "observer of every link"}
    assert set(rows) - {"observer of every link"} == {bare(row[0]) for row in table("1. Parties")}
    for party, cells in rows.items():
        assert len(cells) == 2, party
        assert all(len(cell) > 10 for cell in cells), party


def test_the_sections_are_those_that_the_code_refers_to() -> None:
    headings = re.findall(r"^## (\d+)\. ", SPEC, flags=re.MULTILINE)
    assert headings == [str(number) for number in range(1, 11)]


def test_every_file_that_the_documents_name_exists_and_they_stand_alone() -> None:
    assert RECORDS
    for document in (SPEC, THREATS, *(record.read_text() for record in RECORDS)):
        paths = set(re.findall(r"`((?:protocol|nodes|federation|api|tests)/[\w/.-]+\.\w+)`", document))
        assert [path for path in sorted(paths) if not (SPEC_DIR.parents[1] / path).exists()] == []
        assert "/work/" not in document
        assert "shared/design" not in document


def test_every_check_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"`((?:\w+\.)+\w+)\(\)`", THREATS))
    assert len(named) > 30
    for name in sorted(named):
        module, *attributes = _module_and_rest(name)
        target: Any = module
        for attribute in attributes:
            target = getattr(target, attribute)
        assert callable(target), name


def _module_and_rest(name: str) -> list[Any]:
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        path = ".".join(parts[:length])
        for root in (f"protocol.{path}", path):
            try:
                return [importlib.import_module(root), *parts[length:]]
            except ModuleNotFoundError:
                continue
    raise AssertionError(f"{name} names no module")


# Vectors


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


def listed(values: object) -> str:
    return ", ".join(value.hex() if isinstance(value, bytes) else str(value) for value in values)  # type: ignore[attr-defined]


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

BLOCKS = re.findall(r"^```vector ([\w-]+)\n(.*?)^```$", SPEC, flags=re.MULTILINE | re.DOTALL)


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


def vector_values() -> dict[str, dict[str, str]]:
    return {name: dict(line.split(" = ", 1) for line in block.splitlines() if " = " in line) for name, block in BLOCKS}


def test_the_chain_of_examples_hangs_together() -> None:
    values = vector_values()
    derived = values["derivations"]
    assert values["oprf"]["input"] == values["identifier"]["bytes"]
    assert derived["t"] == values["oprf"]["t"]
    assert derived["ask"] == values["message"]["message-hash"]
    assert derived["bucket-bits"] == values["parameters"]["beta"]
    assert int(derived["prefix"]).to_bytes(8, "big").hex() in values["hpke"]["plaintext"]
    assert values["block"]["tag"] == derived["tag"]
    assert values["block"]["element"] == derived["masked"]


def test_the_formulas_written_out_with_the_standard_library_give_the_vectors() -> None:
    values = vector_values()
    derived = values["derivations"]

    def joined(*parts: bytes) -> bytes:
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    def kdf(key: bytes, label: bytes) -> bytes:
        extracted = hmac.digest(bytes(32), key, "sha256")
        return hmac.digest(extracted, label + b"\x01", "sha256")

    pseudonym, nonce, session, ask = (bytes.fromhex(derived[name]) for name in ("t", "nonce", "session", "ask"))
    prefix = int.from_bytes(kdf(pseudonym, b"concordat-v1 bucket")[:8], "big") >> (64 - 14)
    key = kdf(pseudonym, b"concordat-v1 session key")
    secret = hmac.digest(key, joined(b"concordat-v1 question", nonce, ask, bytes(2)), "sha256")
    stream = hashlib.shake_256(hmac.digest(secret, joined(b"concordat-v1 mask", b"tax"), "sha256")).digest(8)
    com = hashlib.sha256(joined(b"concordat-v1 ask commitment", session, nonce, prefix.to_bytes(8, "big"))).digest()
    binding = hashlib.sha256(joined(b"concordat-v1 decision binding", bytes.fromhex(derived["sigma"]), secret, com))
    expected = {
        "prefix": str(prefix),
        "session-key": key.hex(),
        "T": secret.hex(),
        "tag": hmac.digest(secret, joined(b"concordat-v1 tag", b"tax"), "sha256")[:16].hex(),
        "masked": bytes(x ^ y for x, y in zip(bytes.fromhex(derived["element"]), stream, strict=True)).hex(),
        "com": com.hex(),
        "binding": binding.hexdigest(),
    }
    assert {name: derived[name] for name in expected} == expected
    message = bytes.fromhex(values["message"]["message"])
    assert (
        hashlib.sha256(joined(b"concordat-v1 message hash", message)).hexdigest() == values["message"]["message-hash"]
    )
    lanes = {name: [int(part) for part in values["lanes"][name].split(", ") if part] for name in ("widths", "rhos")}
    width = sum(lanes["widths"])
    first, second = 1 + 3 * 2**8, 1 * 2**4
    low, high = (value + rho * value * 2**width for value, rho in zip((first, second), lanes["rhos"], strict=True))
    assert int(values["lanes"]["integer"]) == first
    assert int(values["lanes"]["opened"]) == low + high * 2 ** (2 * width + 40)


def test_wire_names_agree_with_the_specification() -> None:
    assert wire.payload_type(messages.Ask) == "application/vnd.concordat.v1.ask+cbor"
    assert "application/vnd.concordat.v1.ask+cbor" in SPEC
