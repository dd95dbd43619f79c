"""Parties come to one shared key, or abort and name who was wrong."""

import itertools
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocol import dkg, labels, oprf, shamir
from protocol.dkg import Confirmed, DkgConfig, KeyShare
from protocol.errors import DkgError, UsageError
from protocol.group import (
    IDENTITY,
    ORDER,
    ZERO,
    Scalar,
    random_scalar,
    scalar_add,
    scalar_base_mult,
    scalar_from_int,
    scalar_mul,
    scalar_sub,
)
from protocol.hpke import seal
from protocol.messages import DkgCommit, DkgConfirm, DkgReveal

PARTIES = ("amber", "birch", "cedar", "dunes", "elder")
CONFIG = DkgConfig(b"agreement, version, epoch, key", PARTIES, 3)
KEYS = {party: X25519PrivateKey.generate() for party in PARTIES}
RECEIVERS = {party: key.public_key() for party, key in KEYS.items()}
ROGUE = "cedar"

Tamper = Callable[[DkgReveal], DkgReveal]


class Run:
    """A key generation among honest parties up to the end of round 2, whose messages a test may then exchange."""

    def __init__(self, config: DkgConfig = CONFIG) -> None:
        self.config = config
        first = {party: dkg.commit(config, party, secrets.token_bytes) for party in config.parties}
        self.committed = {party: state for party, (state, _) in first.items()}
        self.commits = {party: message for party, (_, message) in first.items()}
        receivers = {party: RECEIVERS[party] for party in config.parties}
        second = {party: dkg.reveal(state, self.commits, receivers) for party, state in self.committed.items()}
        self.revealed = {party: state for party, (state, _) in second.items()}
        self.reveals = {party: message for party, (_, message) in second.items()}

    def deal(self, dealer: str, reveal: DkgReveal) -> None:
        """Have `dealer` commit to and reveal this instead."""
        commitment = dkg._commitment_hash(self.config, dealer, reveal.commitments, reveal.proof)
        self.commits[dealer] = DkgCommit(commitment)
        self.reveals[dealer] = reveal
        self.revealed = {party: replace(state, commits=self.commits) for party, state in self.revealed.items()}

    def deal_polynomial(self, dealer: str, coefficients: tuple[Scalar, ...]) -> None:
        """Have `dealer` deal this polynomial, otherwise by the rules."""
        commitments = shamir.commit(coefficients)
        proof = dkg._prove_knowledge(self.config, dealer, coefficients[0], commitments[0], secrets.token_bytes)
        state = replace(self.committed[dealer], coefficients=coefficients, commitments=commitments, proof=proof)
        self.deal(dealer, dkg.reveal(state, self.commits, RECEIVERS)[1])

    def confirm(self, party: str) -> tuple[Confirmed, DkgConfirm]:
        return dkg.confirm(self.revealed[party], self.reveals, KEYS[party])

    def finish(self) -> list[KeyShare]:
        third = {party: self.confirm(party) for party in self.config.parties}
        confirms = {party: message for party, (_, message) in third.items()}
        return [dkg.finish(state, confirms) for state, _ in third.values()]


def culprits(step: Callable[[], object], reason: str) -> tuple[str, ...]:
    with pytest.raises(DkgError, match=reason) as caught:
        step()
    return caught.value.culprits


def test_all_parties_hold_shares_of_one_key_that_evaluates_as_a_single_one() -> None:
    run = Run()
    shares = run.finish()
    assert [share.index for share in shares] == [1, 2, 3, 4, 5]
    assert len({(share.public_key, share.public_shares) for share in shares}) == 1
    assert all(share.public_share == scalar_base_mult(share.secret) for share in shares)

    key = ZERO  # the sum of the dealt secrets: known to this test alone
    for state in run.committed.values():
        key = scalar_add(key, state.coefficients[0])
    assert scalar_base_mult(key) == shares[0].public_key
    blinds = [random_scalar(secrets.token_bytes)]
    blinded = oprf.blind([b"x"], blinds)
    for quorum in itertools.combinations(shares, 3):
        evaluated = {share.index: oprf.blind_evaluate(share.secret, blinded) for share in quorum}
        assert oprf.finalize([b"x"], blinds, evaluated, 3) == (oprf.evaluate(key, b"x"),)


@pytest.mark.parametrize(("count", "threshold"), [(1, 1), (2, 1), (3, 3)])
def test_small_numbers_of_parties_work_too(count: int, threshold: int) -> None:
    shares = Run(DkgConfig(b"small", PARTIES[:count], threshold)).finish()
    coefficients = shamir.lagrange_at_zero(range(1, threshold + 1), ORDER)
    key = ZERO
    for share in shares[:threshold]:
        key = scalar_add(key, scalar_mul(scalar_from_int(coefficients[share.index]), share.secret))
    assert scalar_base_mult(key) == shares[0].public_key


def test_two_runs_give_unrelated_keys() -> None:
    assert Run().finish()[0].public_key != Run().finish()[0].public_key


def test_a_wrong_share_is_found_by_its_receiver_who_names_the_dealer() -> None:
    run = Run()
    coefficients = run.committed[ROGUE].coefficients
    wrong = scalar_add(shamir.evaluate(coefficients, 2), scalar_from_int(1))
    box = seal(wrong, RECEIVERS["birch"], labels.SEALED_DKG_SHARE, *dkg._seal_context(CONFIG, ROGUE, "birch"))
    sealed = list(run.reveals[ROGUE].sealed)
    sealed[1] = box
    run.deal(ROGUE, replace(run.reveals[ROGUE], sealed=tuple(sealed)))
    assert culprits(lambda: run.confirm("birch"), "share is not on the polynomial") == (ROGUE,)
    run.confirm("amber")  # its own share is right, so only the missing confirm of birch stops the run


@pytest.mark.parametrize("plaintext", [b"", bytes(31), b"\xff" * 32, ORDER.to_bytes(32, "little")])
def test_a_sealed_share_that_is_no_scalar_names_its_dealer(plaintext: bytes) -> None:
    run = Run()
    box = seal(plaintext, RECEIVERS["amber"], labels.SEALED_DKG_SHARE, *dkg._seal_context(CONFIG, ROGUE, "amber"))
    run.deal(ROGUE, replace(run.reveals[ROGUE], sealed=(box, *run.reveals[ROGUE].sealed[1:])))
    assert culprits(lambda: run.confirm("amber"), "scalar") == (ROGUE,)


@pytest.mark.parametrize("box", [b"", bytes(80), b"\xff" * 200])
def test_a_box_that_does_not_open_names_its_dealer(box: bytes) -> None:
    run = Run()
    run.deal(ROGUE, replace(run.reveals[ROGUE], sealed=(box, *run.reveals[ROGUE].sealed[1:])))
    assert culprits(lambda: run.confirm("amber"), "does not open") == (ROGUE,)


def test_a_box_of_another_dealer_or_for_another_receiver_does_not_open() -> None:
    run = Run()
    foreign = run.reveals["birch"].sealed[0]
    exchanged = run.reveals[ROGUE].sealed[1::-1] + run.reveals[ROGUE].sealed[2:]
    for sealed in ((foreign, *run.reveals[ROGUE].sealed[1:]), exchanged):
        run.deal(ROGUE, replace(run.reveals[ROGUE], sealed=sealed))
        assert culprits(lambda: run.confirm("amber"), "does not open") == (ROGUE,)


def test_a_reveal_other_than_committed_to_names_its_dealer() -> None:
    run, other = Run(), Run()
    run.reveals[ROGUE] = other.reveals[ROGUE]
    assert culprits(lambda: run.confirm("amber"), "committed to") == (ROGUE,)


@pytest.mark.parametrize("commit", [b"", bytes(32), bytes(64)])
def test_a_hash_that_opens_to_nothing_names_its_dealer(commit: bytes) -> None:
    run = Run()
    run.commits[ROGUE] = DkgCommit(commit)
    state = replace(run.revealed["amber"], commits=run.commits)
    assert culprits(lambda: dkg.confirm(state, run.reveals, KEYS["amber"]), "committed to") == (ROGUE,)


@pytest.mark.parametrize("degree", [0, 1, 3, 4])
def test_a_polynomial_of_another_degree_names_its_dealer(degree: int) -> None:
    run = Run()
    run.deal_polynomial(ROGUE, tuple(random_scalar(secrets.token_bytes) for _ in range(degree + 1)))
    assert culprits(lambda: run.confirm("amber"), "degree") == (ROGUE,)


def test_a_polynomial_of_the_agreed_degree_by_the_same_hand_is_taken() -> None:
    run = Run()
    run.deal_polynomial(ROGUE, tuple(random_scalar(secrets.token_bytes) for _ in range(3)))
    assert len(run.finish()) == 5


@pytest.mark.parametrize("position", [0, 2])
def test_a_vanishing_coefficient_names_its_dealer(position: int) -> None:
    """A zero constant would give the dealer no part in the key; a zero leading coefficient is a lower degree."""
    run = Run()
    coefficients = [random_scalar(secrets.token_bytes) for _ in range(3)]
    coefficients[position] = ZERO
    run.deal_polynomial(ROGUE, tuple(coefficients))
    assert run.reveals[ROGUE].commitments[position] == IDENTITY
    assert culprits(lambda: run.confirm("amber"), "identity") == (ROGUE,)


TAMPERED: Mapping[str, tuple[Tamper, str]] = {
    "commitment is no element": (lambda r: replace(r, commitments=(*r.commitments[:2], b"\xff" * 32)), "element"),
    "commitment has bit 255": (
        lambda r: replace(
            r, commitments=(r.commitments[0][:31] + bytes([r.commitments[0][31] | 0x80]), *r.commitments[1:])
        ),
        "element",
    ),
    "commitment too short": (lambda r: replace(r, commitments=(*r.commitments[:2], b"")), "element"),
    "proof missing": (lambda r: replace(r, proof=b""), "scalar"),
    "proof too long": (lambda r: replace(r, proof=r.proof + b"\x00"), "scalar"),
    "proof not canonical": (lambda r: replace(r, proof=r.proof[:32] + b"\xff" * 32), "scalar"),
    "proof wrong": (lambda r: replace(r, proof=r.proof[:32] + bytes(32)), "knowledge"),
    "constant exchanged": (
        lambda r: replace(r, commitments=(r.commitments[1], r.commitments[0], r.commitments[2])),
        "knowledge",
    ),
    "a share missing": (lambda r: replace(r, sealed=r.sealed[:4]), "sealed share"),
    "a share too many": (lambda r: replace(r, sealed=(*r.sealed, b"")), "sealed share"),
}


@pytest.mark.parametrize(("tamper", "reason"), TAMPERED.values(), ids=TAMPERED.keys())
def test_every_bad_value_in_a_reveal_names_its_dealer(tamper: Tamper, reason: str) -> None:
    run = Run()
    run.deal(ROGUE, tamper(run.reveals[ROGUE]))
    assert culprits(lambda: run.confirm("amber"), reason) == (ROGUE,)


def test_a_dealing_copied_from_another_party_fails_its_proof_of_knowledge() -> None:
    run = Run()
    run.deal(ROGUE, run.reveals["amber"])
    assert culprits(lambda: run.confirm("birch"), "knowledge") == (ROGUE,)


def test_a_proof_of_knowledge_from_another_run_is_refused() -> None:
    """Each of context, parties and threshold is bound."""
    for other in (
        replace(CONFIG, context=b"another epoch"),
        replace(CONFIG, parties=PARTIES[::-1]),
        replace(CONFIG, parties=PARTIES[:4]),
        replace(CONFIG, threshold=2),
    ):
        run = Run()
        coefficients = run.committed[ROGUE].coefficients
        public = scalar_base_mult(coefficients[0])
        proof = dkg._prove_knowledge(other, ROGUE, coefficients[0], public, secrets.token_bytes)
        run.deal(ROGUE, replace(run.reveals[ROGUE], proof=proof))
        assert culprits(lambda run=run: run.confirm("amber"), "knowledge") == (ROGUE,)  # type: ignore[misc]


def test_a_commitment_is_for_one_run_and_one_dealer() -> None:
    reveal, other = Run().reveals["amber"], replace(CONFIG, context=b"another epoch")
    hashes = {
        dkg._commitment_hash(config, dealer, reveal.commitments, reveal.proof)
        for config in (CONFIG, other)
        for dealer in ("amber", "birch")
    }
    assert len(hashes) == 4


def test_all_wrong_dealers_are_named_at_once_with_each_reason() -> None:
    run = Run()
    run.deal("birch", replace(run.reveals["birch"], proof=b""))
    run.deal("elder", replace(run.reveals["elder"], sealed=()))
    assert culprits(lambda: run.confirm("amber"), "scalar.*sealed share|sealed share.*scalar") == ("birch", "elder")


def test_a_joint_key_that_vanishes_is_refused() -> None:
    """All parties would have to collude, as nobody sees another's part before it is bound; refused all the same."""
    for position in (0, 2):
        run = Run()
        total = ZERO
        for party in PARTIES[:4]:
            total = scalar_add(total, run.committed[party].coefficients[position])
        coefficients = list(run.committed["elder"].coefficients)
        coefficients[position] = scalar_sub(ZERO, total)
        run.deal_polynomial("elder", tuple(coefficients))
        assert culprits(lambda run=run: run.confirm("amber"), "vanishes") == PARTIES  # type: ignore[misc]


def test_parties_that_were_shown_different_messages_do_not_finish() -> None:
    """An equivocating dealer: two dealings, each consistent, each shown to one half."""
    run, states, confirms = Run(), {}, {}
    for party in PARTIES[:2]:
        states[party], confirms[party] = run.confirm(party)
    run.deal_polynomial(ROGUE, tuple(random_scalar(secrets.token_bytes) for _ in range(3)))
    for party in PARTIES[2:]:
        states[party], confirms[party] = run.confirm(party)
    assert culprits(lambda: dkg.finish(states["amber"], confirms), "transcript") == PARTIES[2:]
    assert culprits(lambda: dkg.finish(states["elder"], confirms), "transcript") == PARTIES[:2]


def test_a_different_sealed_share_alone_makes_a_different_transcript() -> None:
    run = Run()
    state, mine = run.confirm("amber")
    sealed = run.reveals[ROGUE].sealed
    run.deal(ROGUE, replace(run.reveals[ROGUE], sealed=(*sealed[:4], bytes(80))))
    _, other = run.confirm("birch")
    confirms = dict.fromkeys(PARTIES, mine) | {"birch": other}
    assert culprits(lambda: dkg.finish(state, confirms), "transcript") == ("birch",)
    assert dkg.finish(state, dict.fromkeys(PARTIES, mine)).index == 1


def test_a_missing_or_foreign_message_is_named_in_every_round() -> None:
    run = Run()
    state, message = run.confirm("amber")
    confirms = dict.fromkeys(PARTIES, message)
    rounds: list[tuple[Mapping[str, object], Callable[[Mapping[str, object]], object]]] = [
        (run.commits, lambda them: dkg.reveal(run.committed["amber"], them, RECEIVERS)),  # type: ignore[arg-type]
        (run.reveals, lambda them: dkg.confirm(run.revealed["amber"], them, KEYS["amber"])),  # type: ignore[arg-type]
        (confirms, lambda them: dkg.finish(state, them)),  # type: ignore[arg-type]
    ]
    for messages, step in rounds:
        without = {party: message for party, message in messages.items() if party != "dunes"}
        assert culprits(lambda step=step, them=without: step(them), "message missing") == ("dunes",)  # type: ignore[misc]
        beside = {**messages, "zebra": messages["amber"]}
        assert culprits(lambda step=step, them=beside: step(them), "no party") == ("zebra",)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("parties", "threshold"), [((), 1), (PARTIES, 0), (PARTIES, 6), (("amber", "amber", "birch"), 2)]
)
def test_a_meaningless_configuration_is_refused(parties: tuple[str, ...], threshold: int) -> None:
    with pytest.raises(UsageError):
        DkgConfig(b"context", parties, threshold)


def test_only_a_party_takes_part_and_receives() -> None:
    with pytest.raises(UsageError):
        dkg.commit(CONFIG, "zebra", secrets.token_bytes)
    run = Run()
    for receivers in (RECEIVERS | {"zebra": RECEIVERS["amber"]}, {"amber": RECEIVERS["amber"]}):
        with pytest.raises(UsageError):
            dkg.reveal(run.committed["amber"], run.commits, receivers)


def test_no_state_shows_its_secrets() -> None:
    run = Run()
    confirmed, _ = run.confirm("amber")
    committed = run.committed["amber"]
    for scalar in (*committed.coefficients, confirmed.share.secret):
        for state in (committed, run.revealed["amber"], confirmed, confirmed.share):
            assert str(scalar)[2:-1] not in repr(state)
