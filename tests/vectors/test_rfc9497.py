"""Every published vector of RFC 9497 for ristretto255-SHA512 in modes OPRF and VOPRF, step by step and by threshold."""

import itertools
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from protocol import oprf, shamir
from protocol.errors import ProofError
from protocol.group import ORDER, Element, Scalar, decode_element, decode_scalar, scalar_base_mult, scalar_from_int
from protocol.oprf import Mode

THRESHOLD, COUNT = 3, 5
SUITES = {
    Mode(suite["mode"]): suite
    for suite in json.loads(Path(__file__).with_name("rfc9497_allVectors.json").read_text())
    if suite["identifier"] == "ristretto255-SHA512" and suite["mode"] in set(Mode)
}
VECTORS = [
    pytest.param(mode, vector, id=f"{mode.name}-{number}")
    for mode, suite in SUITES.items()
    for number, vector in enumerate(suite["vectors"], 1)
]
VERIFIABLE = [case for case in VECTORS if case.values[0] is Mode.VOPRF]


def parts(text: str) -> list[bytes]:
    return [bytes.fromhex(part) for part in text.split(",")]


def elements(vector: Any, field: str) -> tuple[Element, ...]:
    return tuple(map(decode_element, parts(vector[field])))


def blinds(vector: Any) -> list[Scalar]:
    return [decode_scalar(part) for part in parts(vector["Blind"])]


def key(mode: Mode) -> Scalar:
    return decode_scalar(bytes.fromhex(SUITES[mode]["skSm"]))


def test_both_modes_are_there_with_all_their_vectors() -> None:
    assert [(mode, len(suite["vectors"])) for mode, suite in SUITES.items()] == [(Mode.OPRF, 2), (Mode.VOPRF, 3)]


@pytest.mark.parametrize("mode", SUITES)
def test_key_pair_derives_from_its_seed(mode: Mode) -> None:
    suite = SUITES[mode]
    assert bytes.fromhex(suite["groupDST"]) == b"HashToGroup-" + oprf.context_string(mode)
    secret, public = oprf.derive_key_pair(bytes.fromhex(suite["seed"]), bytes.fromhex(suite["keyInfo"]), mode)
    assert secret.hex() == suite["skSm"]
    assert public.hex() == suite.get("pkSm", public.hex())


@pytest.mark.parametrize(("mode", "vector"), VECTORS)
def test_every_step_gives_the_published_bytes(mode: Mode, vector: Any) -> None:
    inputs = parts(vector["Input"])
    blinded = oprf.blind(inputs, blinds(vector), mode)
    assert blinded == elements(vector, "BlindedElement")
    evaluated = oprf.blind_evaluate(key(mode), blinded)
    assert evaluated == elements(vector, "EvaluationElement")
    outputs = oprf.finalize(inputs, blinds(vector), {1: evaluated}, 1)
    assert list(outputs) == parts(vector["Output"])
    assert [oprf.evaluate(key(mode), x, mode) for x in inputs] == parts(vector["Output"])


@pytest.mark.parametrize(("mode", "vector"), VERIFIABLE)
def test_the_proof_is_the_published_one_and_verifies(mode: Mode, vector: Any) -> None:
    def vector_randomness(length: int) -> bytes:
        return bytes.fromhex(vector["Proof"]["r"]).ljust(length, b"\x00")

    secret, blinded = key(mode), elements(vector, "BlindedElement")
    public = decode_element(bytes.fromhex(SUITES[mode]["pkSm"]))
    evaluated, proof = oprf.blind_evaluate_with_proof(secret, public, blinded, vector_randomness)
    assert evaluated == elements(vector, "EvaluationElement")
    assert proof.hex() == vector["Proof"]["proof"]
    oprf.verify(public, blinded, evaluated, proof)
    with pytest.raises(ProofError):
        oprf.verify(public, evaluated, blinded, proof)


def evaluations_by_share(mode: Mode, blinded: Sequence[Element]) -> dict[int, tuple[Element, ...]]:
    """Share the vectors' key among five and evaluate under each share, with proof."""
    sharing = shamir.split(int.from_bytes(key(mode), "little"), THRESHOLD, COUNT, ORDER, secrets.token_bytes)
    answers = {}
    for index, share in enumerate(map(scalar_from_int, sharing.shares), 1):
        public = scalar_base_mult(share)
        answers[index], proof = oprf.blind_evaluate_with_proof(share, public, blinded, secrets.token_bytes)
        oprf.verify(public, blinded, answers[index], proof)
    return answers


@pytest.mark.parametrize(("mode", "vector"), VECTORS)
def test_every_quorum_of_keyholders_gives_the_published_output(mode: Mode, vector: Any) -> None:
    answers = evaluations_by_share(mode, elements(vector, "BlindedElement"))
    for quorum in itertools.combinations(answers, THRESHOLD):
        some = {index: answers[index] for index in quorum}
        assert oprf.combine(some, THRESHOLD) == elements(vector, "EvaluationElement")
        outputs = oprf.finalize(parts(vector["Input"]), blinds(vector), some, THRESHOLD)
        assert list(outputs) == parts(vector["Output"])


@pytest.mark.parametrize(("mode", "vector"), VECTORS)
def test_one_keyholder_too_few_gives_something_else(mode: Mode, vector: Any) -> None:
    answers = evaluations_by_share(mode, elements(vector, "BlindedElement"))
    for pair in itertools.combinations(answers, THRESHOLD - 1):
        combined = oprf.combine({index: answers[index] for index in pair}, THRESHOLD - 1)
        assert not set(combined) & set(elements(vector, "EvaluationElement"))
