"""Setting up a federation's epoch: every party's keys, the keyholders' DKG, the ceremony, the signed roster.

All parties run here in one process, but the key generation goes by the same signed messages that separate machines
would exchange, and each keyholder's share is only ever decoded by that keyholder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocol import dkg, labels
from protocol.agreement.model import Agreement, digest
from protocol.agreement.roster import COORDINATOR, Roster, SignedRoster
from protocol.agreement.terms import Terms, key_context
from protocol.ceremony import deal
from protocol.codec import Random, concat, i2osp
from protocol.dkg import DkgConfig, KeyShare
from protocol.messages import DkgCommit, DkgConfirm, DkgReveal
from protocol.opening import OpeningShare
from protocol.rounds.keygen import Keygen
from protocol.rounds.party import Party
from protocol.wire import Body

B = TypeVar("B", bound=Body)

NOBODY: Mapping[str, Ed25519PrivateKey] = {}
_RUN_BYTES = 16


@dataclass(frozen=True)
class Secrets:
    """What one party keeps to itself; keyholders also hold a share of each joint key."""

    signing_key: Ed25519PrivateKey = field(repr=False)
    sealing_key: X25519PrivateKey = field(repr=False)
    oprf_share: KeyShare | None = field(default=None, repr=False)
    opening_share: OpeningShare | None = field(default=None, repr=False)

    def party(self, party: str, terms: Terms) -> Party:
        """The party these secrets make of the public terms."""
        return Party(party, terms, self.signing_key, self.sealing_key)


@dataclass(frozen=True, eq=False)
class Established:
    """A new epoch: its verified terms, the signed roster, and every party's secrets."""

    terms: Terms
    roster: SignedRoster
    secrets: Mapping[str, Secrets] = field(repr=False)


def establish(
    agreement: Agreement,
    epoch: int,
    primes: tuple[int, int],
    random: Random,
    now: int,
    endorsers: Mapping[str, Ed25519PrivateKey] = NOBODY,
) -> Established:
    """Set up an epoch of a validated agreement; `primes` are two safe primes of half the modulus each.

    `endorsers` are the signing keys that the agencies of the version that it follows have in that one.

    Raises:
        DkgError, ModulusError, AgreementError: what is verified on the way does not hold.
    """
    keyholders = tuple(agreement.keyholders.agencies)
    parties = (
        *(agency.id for agency in agreement.agencies),
        *(requester.id for requester in agreement.requesters),
        COORDINATOR,
    )
    secrets = {party: Secrets(Ed25519PrivateKey.generate(), X25519PrivateKey.generate()) for party in parties}
    oprf_shares = _generate_oprf_key(agreement, epoch, {party: secrets[party] for party in keyholders}, random, now)
    ceremony, opening_shares = deal(
        primes,
        agreement.keyholders.threshold,
        len(keyholders),
        key_context(agreement, epoch, labels.OPENING_KEY),
        random,
    )
    public = oprf_shares[keyholders[0]]
    width = ceremony.key.public_key.modulus_bytes
    roster = Roster(
        agreement=digest(agreement),
        epoch=epoch,
        signing={party: held.signing_key.public_key().public_bytes_raw() for party, held in secrets.items()},
        sealing={party: held.sealing_key.public_key().public_bytes_raw() for party, held in secrets.items()},
        oprf_public=public.public_key,
        oprf_shares=public.public_shares,
        modulus=i2osp(ceremony.modulus, width),
        commitments=tuple(i2osp(value, width) for value in ceremony.commitments),
        coprime_proof=ceremony.proof,
    )
    for keyholder, share in zip(keyholders, opening_shares, strict=True):
        sealed = ceremony.seal_share(share, secrets[keyholder].sealing_key.public_key())
        opened = ceremony.unseal_share(share.index, sealed, secrets[keyholder].sealing_key)
        secrets[keyholder] = replace(secrets[keyholder], oprf_share=oprf_shares[keyholder], opening_share=opened)
    signatures = {agency.id: roster.sign(secrets[agency.id].signing_key) for agency in agreement.agencies}
    signed = SignedRoster(roster, signatures, {agency: roster.sign(key) for agency, key in endorsers.items()})
    return Established(Terms.load(agreement, signed), signed, secrets)


def _generate_oprf_key(
    agreement: Agreement, epoch: int, holders: Mapping[str, Secrets], random: Random, now: int
) -> dict[str, KeyShare]:
    context = concat(key_context(agreement, epoch, labels.OPRF_KEY), random(_RUN_BYTES))
    config = DkgConfig(context, tuple(holders), agreement.keyholders.threshold)
    identities = {party: held.signing_key.public_key() for party, held in holders.items()}
    receivers = {party: held.sealing_key.public_key() for party, held in holders.items()}
    run = Keygen(config, agreement.id, agreement.version, epoch, identities)

    def exchange(bodies: Mapping[str, Body], kind: type[B]) -> dict[str, B]:
        sent = {party: run.write(body, party, holders[party].signing_key, now) for party, body in bodies.items()}
        return run.collect(sent, kind, now)

    committed = {party: dkg.commit(config, party, random) for party in holders}
    commits = exchange({party: message for party, (_, message) in committed.items()}, DkgCommit)
    revealed = {party: dkg.reveal(state, commits, receivers) for party, (state, _) in committed.items()}
    reveals = exchange({party: message for party, (_, message) in revealed.items()}, DkgReveal)
    confirmed = {
        party: dkg.confirm(state, reveals, holders[party].sealing_key) for party, (state, _) in revealed.items()
    }
    confirms = exchange({party: message for party, (_, message) in confirmed.items()}, DkgConfirm)
    return {party: dkg.finish(state, confirms) for party, (state, _) in confirmed.items()}
