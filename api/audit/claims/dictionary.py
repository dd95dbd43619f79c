"""Who tries every identifier recognises nobody, whatever travels and with fewer shares than a quorum has."""

import asyncio
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

from api.audit.claim import Claim, Evidence
from api.audit.grounds import PURPOSE, REQUESTER, Grounds, firm, listing
from api.audit.traces import exercised, files
from api.setup import Secrets
from federation.audit.dictionary import Loot, recovered
from federation.transport import Record
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.codec import encode
from protocol.identifiers import Identifier, canonical, to_bytes
from protocol.messages import Ask

_SALTS = 8
_CONTROL_CANDIDATES = 500
_LISTED = 30


def _candidates(draws: random.Random, true: Iterable[Identifier], count: int) -> Iterator[Identifier]:
    """The true ones first, then made ones of the same form."""
    true = list(dict.fromkeys(true))
    yield from true
    for _ in range(count - len(true)):
        yield canonical("cn.reg_no", "".join(draws.choices("ABCDEFGHJKLMNPQRTUWXY0123456789", k=14)))


def _loot(terms: Terms, secrets: Mapping[str, Secrets], records: Sequence[Record], stored: Sequence[bytes]) -> Loot:
    """What the holders of these secrets know together with whoever sees all traffic and the stored bytes."""
    shares = {held.oprf_share.index: held.oprf_share.secret for held in secrets.values() if held.oprf_share}
    return Loot(terms, records, stored, {name: held.party(name, terms) for name, held in secrets.items()}, shares)


def _measure(grounds: Grounds) -> Evidence:
    exercise, processes = exercised(grounds), grounds.processes
    terms = processes.terms
    colluding = terms.keyholders[: terms.threshold - 1]
    secrets = {name: processes.secrets(name) for name in (*colluding, COORDINATOR)}
    stored = [trace.data for trace in files(processes) if trace.party == COORDINATOR]
    loot = _loot(terms, secrets, processes.records, stored)
    others = [it for name, listed in exercise.listed.items() if name not in colluding for it in listed]
    true = [canonical(it.scheme, it.text) for it in (*exercise.asked, *others)]
    count = grounds.pick(5_000, 100_000, 1_000_000)
    found = recovered(loot, _candidates(grounds.draws("dictionary"), true, count), _SALTS)
    figures = {"candidates": count, "true among them": len(set(true)), "shares": len(loot.shares)}
    findings = [f"recognised: {len(found)} of {count} candidates"] if found else []
    return Evidence(bool(found), {**figures, "recognised": len(found)}, findings)


def _platform(true: Sequence[Identifier], terms: Terms) -> Loot:
    """A platform that keys registers and questions by the SHA-256 of the identifier, as is common."""
    hashes = [sha256(to_bytes(it)).digest() for it in true]
    half = len(true) // 2
    asked = Record(REQUESTER, COORDINATOR, Ask.TYPE, encode({"subjects": hashes[:half]}))
    return Loot(terms, [asked], [b"".join(hashes[half:])], {}, {})


def _control(grounds: Grounds) -> Evidence:
    """The same attacker on a platform of plain hashes; and on our own federation with a whole quorum's shares."""
    draws, firms = grounds.draws("controls"), [firm(number) for number in range(2 * _LISTED)]
    registers = {name: [listing(name, firms[at]) for at in range(_LISTED)] for name in ("tax", "court")}
    federation = grounds.local("dictionary", registers)
    terms, established = federation.terms, federation.established
    asked = firms[_LISTED // 2 :]
    asyncio.run(federation.requesters[REQUESTER].check(asked, PURPOSE, "case 1"))

    def found(loot: Loot) -> int:
        return len(recovered(loot, _candidates(draws, firms, _CONTROL_CANDIDATES), _SALTS).intersection(asked))

    def quorum(size: int) -> Loot:
        holders = {name: established.secrets[name] for name in (*terms.keyholders[:size], COORDINATOR)}
        return _loot(terms, holders, federation.network.records, [])

    figures = {
        "asked": len(asked),
        "recognised by SHA-256": found(_platform(asked, terms)),
        "recognised by a quorum": found(quorum(terms.threshold)),
        "recognised by one share fewer": found(quorum(terms.threshold - 1)),
    }
    missed = [f"not all found: {name}" for name in list(figures)[1:3] if figures[name] < len(asked)]
    return Evidence(not missed and not figures["recognised by one share fewer"], figures, missed)


CLAIM = Claim(
    number=7,
    name="dictionary",
    statement=(
        "Who has the coordinator's database, all traffic, and all keys of one agency fewer than a quorum recognises no "
        "subject by trying every identifier."
    ),
    attack=(
        "For each candidate, those asked about and listed elsewhere among them: plain and salted hashes, HMACs under "
        "values of the traffic, its group element, and the joint function under the key that the shares make as if "
        "they were enough, followed to buckets, question secrets and tags with what the agencies' keys open; all "
        "looked up in every 8 bytes of traffic and database."
    ),
    sizing=(
        "A wrong match of 8 bytes has probability 2⁻⁶⁴: for 10⁶ candidates of 50 values each against 10⁷ windows "
        "3·10⁻⁵ in all. The true ones are always among the candidates, so more of them only test for chance."
    ),
    planted="A platform keyed by SHA-256 of identifiers, and a quorum's shares: every subject asked about is found.",
    measure=_measure,
    control=_control,
)
