"""P5: screening many subjects by the sieve, beside `openmined-psi` run pairwise with every register on the same data.

The peer gives a requester the matches of each register; the sieve gives it one joint decision a subject, and not whose
register it follows from. Beside both stands what pseudonyms alone cost: t keyholders evaluate and prove, and everything
else comes on top.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice

import private_set_intersection.python as psi

from api.audit.grounds import firm
from api.bench.figure import Figure, Measured, ratio
from api.bench.floor import Bare
from api.bench.ground import (
    K_MIN,
    MADE,
    MEASURES,
    PURPOSE,
    REQUESTER,
    Ground,
    agency_ids,
    cpu,
    fill,
    listing,
    register_of,
)
from api.bench.sealing import batch_costs
from api.local import LocalFederation
from protocol.identifiers import Identifier
from protocol.messages import Effect
from protocol.wire import MAX_SUBJECTS

PEOPLE_A_LISTING = 200
LISTED = 0.01
FALSE_POSITIVES = 1e-9
"""That one of a requester's subjects matches falsely: the peer compresses registers by this. Ours is none."""


def measure(ground: Ground) -> Measured:
    """Screen by federations of two sizes, and by the peer; both must find exactly who is listed."""
    subjects, register = ground.pick((40, 100), (1_200, 3_125), (10_000, 100_000))
    figures: list[Figure] = []
    for agencies, most in ground.pick(((3, 1.5),), ((5, 1.5), (20, 1.0)), ((5, 1.5), (20, 1.0))):
        ground.progress(f"screening, {agencies} agencies", 0, None)
        asked = [firm(number) for number in range(subjects)]
        listed = _listed(asked, agencies)
        online, bare, set_up = _by_sieve(ground, asked, listed, agencies, register)
        peer_online, peer_set_up = _by_peer(asked, listed, agencies, register)
        ours, oprf, theirs = (
            Figure(f"{name}, {agencies} agencies, a subject", "ms CPU", values)
            for name, values in (
                ("sieve online", online),
                ("of it OPRF operations, bare", bare),
                ("openmined-psi online", peer_online),
            )
        )
        figures += [
            ours,
            oprf,
            theirs,
            ratio(f"sieve / openmined-psi, {agencies} agencies", ours, theirs, most),
            ratio(f"OPRF alone / openmined-psi, {agencies} agencies", oprf, theirs),
            Figure(f"sieve set-up, {agencies} agencies, a listing", "ms CPU", set_up),
            Figure(f"openmined-psi set-up, {agencies} agencies, a listing", "ms CPU", peer_set_up),
        ]
    return Measured(
        figures,
        {
            "subjects": subjects,
            "listed": f"{LISTED:.0%}",
            "listings a register": register,
            "subjects an array": MAX_SUBJECTS,
            "modulus bits": ground.modulus_bits,
            "openmined-psi": f"GCS, false positives {FALSE_POSITIVES:g} a run",
        },
    )


def _listed(asked: Sequence[Identifier], agencies: int) -> Mapping[int, list[Identifier]]:
    """Who of those asked about is listed, by the number of the agency."""
    listed = defaultdict(list)
    for subject in secrets.SystemRandom().sample(asked, max(1, round(LISTED * len(asked)))):
        listed[secrets.randbelow(agencies)].append(subject)
    return listed


def _by_sieve(
    ground: Ground, asked: Sequence[Identifier], listed: Mapping[int, list[Identifier]], agencies: int, register: int
) -> tuple[list[float], list[float], list[float]]:
    """CPU of all parties: a subject's in each array, of its OPRF alone, and a listing's in each batch of sealing."""
    anonymity = {"population": PEOPLE_A_LISTING * register, "k_min": K_MIN, "max_listings": register}
    registers = [register_of(agency) for agency in agency_ids(agencies)]
    rules = [{"measure": measure, "when": {"registers": [*registers]}} for measure in MEASURES]
    federation = ground.federation(agencies, anonymity=anonymity, rules=rules, sieve=True)
    try:
        set_up = asyncio.run(batch_costs(federation, ground.pick(1, 3, 20)))
        for number, agency in enumerate(federation.terms.agencies):
            rest = register - len(listed[number]) - (0 if number else MAX_SUBJECTS * len(set_up))
            fill(federation.listings[agency], federation.terms, agency, rest, ground.progress)
            asyncio.run(federation.enter(agency, [listing(agency, subject) for subject in listed[number]]))
        bare = Bare(federation.established, REQUESTER, MAX_SUBJECTS, entries=1)
        online = _screened(ground, federation, asked, {it for them in listed.values() for it in them}, bare)
    finally:
        federation.close()
    bare_oprf, sealing = ([it / MAX_SUBJECTS for it in costs] for costs in (bare.milliseconds.values, set_up))
    return online, bare_oprf, sealing


def _screened(
    ground: Ground, federation: LocalFederation, asked: Sequence[Identifier], listed: set[Identifier], bare: Bare
) -> list[float]:
    """CPU of a subject in each array; after each one its pseudonyms are computed bare."""
    requester, subjects = federation.requesters[REQUESTER], iter(asked)
    online, found = list[float](), set[Identifier]()
    while array := list(islice(subjects, MAX_SUBJECTS)):
        ground.progress("screening", len(online) * MAX_SUBJECTS, len(asked))
        took: list[float] = []
        with cpu(took):
            decisions = asyncio.run(requester.check(array, PURPOSE, "bench"))
        federation.network.records.clear()  # or they would fill the memory
        online.append(took[0] / len(array))
        bare.pseudonyms()
        decided = zip(array, decisions, strict=True)
        found |= {subject for subject, decision in decided if decision.body.having(Effect.APPLIES)}
    assert found == listed  # noqa: S101  # or what was measured is no screening
    return online


def _by_peer(
    asked: Sequence[Identifier], listed: Mapping[int, list[Identifier]], agencies: int, register: int
) -> tuple[list[float], list[float]]:
    """CPU of both sides as its documentation runs it: all agencies' a subject, and a listing's, by each register."""
    items, found = [_item(subject) for subject in asked], set[str]()
    online, set_up = list[float](), list[float]()
    for number in range(agencies):
        rows = [_item(it) for it in listed[number]]
        rows += [_item(firm(MADE + it)) for it in range(register - len(rows))]
        client, server = psi.client.CreateWithNewKey(True), psi.server.CreateWithNewKey(True)
        with cpu(set_up):
            compressed = server.CreateSetupMessage(FALSE_POSITIVES, len(items), rows, psi.DataStructure.GCS)
        with cpu(online):
            response = server.ProcessRequest(client.CreateRequest(items))
            found |= {items[at] for at in client.GetIntersection(compressed, response)}
    assert found == {_item(it) for them in listed.values() for it in them}  # noqa: S101  # as above
    return [agencies * it / len(items) for it in online], [it / register for it in set_up]


def _item(subject: Identifier) -> str:
    return f"{subject.scheme}:{subject.value}"
