"""A whole federation for tests: real keys, real rounds, small moduli of the test suite unless said otherwise."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.setup import Established, establish
from protocol.agreement.model import Agreement, parse
from protocol.modulus import safe_prime_candidates
from protocol.paillier import Randomiser
from protocol.rounds.party import Party
from protocol.wire import Body, read, write

NOW = 1_795_000_000  # 2026-11-18, inside the test agreements' validity

# Published safe primes of 1536 bits: RFC 3526 group 5 and RFC 5054's group. Their product is a 3072-bit modulus whose
# factors everybody knows: good for tests at full size, and for nothing else.
RFC_3526_GROUP_5 = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F"
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA237327FFFFFFFFFFFFFFFF",
    16,
)
RFC_5054_1536 = int(
    "9DEF3CAFB939277AB1F12A8617A47BBBDBA51DF499AC4C80BEEEA9614B19CC4D5F4F5F556E27CBDE51C6A94BE4607A29"
    "1558903BA0D0F84380B655BB9A22E8DCDF028A7CEC67F0D08134B1C8B97989149B609E0BE3BAB63D47548381DBC5B1FC"
    "764E3F4B53DD9DA1158BFD3E2B9C8CF56EDF019539349627DB2FD53D24B7C48665772E437D6C7F8CE442734AF7CCB7AE"
    "837C264AE3A9BEB87F8A2FE9B8B5292E5A021FFF5E91479E8CE7A28C2442C6F315180F93499A234DCF76E3FED135F9BB",
    16,
)
FULL_SIZE_PRIMES = (RFC_3526_GROUP_5, RFC_5054_1536)

AGENCIES = ("labour", "tax", "court", "market", "customs")
REQUESTER = "procurement-office"
PURPOSE = "award-contract"

Rule = Mapping[str, object]


@cache
def small_primes() -> tuple[int, int]:
    """Two fresh 256-bit safe primes with a product of 512 bits, found once a test process."""
    first, second = (
        next(int(prime) for prime in safe_prime_candidates(256, secrets.token_bytes) if prime) for _ in range(2)
    )
    # Both have their top two bits set, so the product always has 512 bits.
    return (first, second) if first != second else small_primes.__wrapped__()


def agreement(
    agencies: Sequence[str] = AGENCIES,
    threshold: int = 3,
    rules: Sequence[Rule] = (),
    suite: str = "concordat-v1-insecure-test",
    anonymity: Mapping[str, int] | None = None,
    quota: int = 10**6,
    keyholders: Sequence[str] = (),
    **changes: object,
) -> Agreement:
    """An agreement of agencies with one register each, named after the agency; by default any listing excludes.

    All agencies are keyholders unless said otherwise; `changes` replace whole fields of the document.
    """
    document = {
        "concordat": 1,
        "id": "procurement",
        "version": 1,
        "title": "Joint effect on public procurement",
        "legal_basis": {"reference": "Procurement Act s. 57", "rank": "law"},
        "territory": "national",
        "valid": {"from": "2026-11-01", "until": "2027-10-31"},
        "subject_kinds": ["legal"],
        "anonymity": dict(anonymity or {"population": 20_000, "k_min": 1000, "max_listings": 500}),
        "keyholders": {"agencies": list(keyholders or agencies), "threshold": threshold},
        "suite": suite,
        "agencies": [
            {"id": agency, "name": agency.title(), "registers": [{"id": f"{agency}-register", "preset": "debarment"}]}
            for agency in agencies
        ],
        "requesters": [
            {
                "id": REQUESTER,
                "name": "Procurement Office",
                "purposes": [PURPOSE],
                "implements": ["exclude", "scrutinise"],
                "quota_per_day": quota,
            },
            {"id": "bank", "name": "Bank", "purposes": ["lend"], "implements": ["scrutinise"], "quota_per_day": quota},
        ],
        "measures": [
            {
                "id": measure,
                "effect": effect,
                "severity": "serious",
                "max_months": 36,
                "legal_basis": "Procurement Act s. 57",
                "notice": "You are told.",
            }
            for measure, effect in (("exclude", "restriction"), ("scrutinise", "notice"))
        ],
        "rules": [dict(rule) for rule in rules]
        or [
            {"measure": "exclude", "when": {"registers": [f"{agency}-register" for agency in agencies]}},
            {
                "measure": "scrutinise",
                "when": {
                    "registers": [f"{agency}-register" for agency in agencies],
                    "min_agencies": 2,
                    "min_weight": 4,
                },
            },
        ],
        "validity_of_decision": "24h",
    } | changes
    return parse(yaml.safe_dump(document))


def established(document: Agreement, epoch: int = 1, after: Established | None = None) -> Established:
    """A new epoch of an agreement, on small keys; endorsed by all agencies of the one that it comes after."""
    endorsers = {agency: after.secrets[agency].signing_key for agency in after.terms.agencies} if after else {}
    return establish(document, epoch, small_primes(), secrets.token_bytes, NOW, endorsers)


@cache
def federation() -> Established:
    """The default agreement, established once a test process."""
    return established(agreement())


@cache
def randomiser(of: Established) -> Randomiser:
    """A randomiser of this federation, made once."""
    return Randomiser.create(of.terms.public_key, secrets.token_bytes)


def party(name: str, of: Established) -> Party:
    """One party of a federation."""
    return of.secrets[name].party(name, of.terms)


def forged(data: bytes, kind: type[Body], key: Ed25519PrivateKey, header: Any = None, body: Any = None) -> bytes:
    """A message with some fields of its header and body replaced, signed anew; without any, the same message again."""
    message = read(data, kind)
    changed: Any = replace(message.body, **body or {})
    return write(replace(message.header, **header or {}), changed, key)
