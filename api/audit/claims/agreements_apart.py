"""What one agreement or epoch has of a subject cannot be joined with what another has."""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from scipy.stats import binom

from api.audit.claim import Claim, Evidence
from api.audit.grounds import ENTERED, PURPOSE, REQUESTER, Clock, Grounds, agreement_text, firm, listing
from api.audit.traces import table_rows
from api.audit.transcripts import Stage, rewritten
from api.founding import read_agreement
from api.home import FIRST_EPOCH
from api.setup import Established, establish
from federation.audit.observations import Transcript, values
from federation.audit.statistics import ALPHA
from nodes.storage.cipher import KEY_BYTES, ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from nodes.storage.seals import Seal
from protocol.agreement.roster import COORDINATOR, SignedRoster
from protocol.agreement.terms import Terms
from protocol.identifiers import Identifier
from protocol.messages import Look
from protocol.sealing import bucket, session_key
from protocol.wire import MAX_SUBJECTS

DECISIONS = 3  # of three agreements, each two: whether buckets agree more often than by chance
EPOCHS = (("procurement", FIRST_EPOCH), ("another-procurement", FIRST_EPOCH), ("procurement", FIRST_EPOCH + 1))
LISTING = ("labour", "tax")
ASKED = 20
PUBLIC = frozenset(
    {
        *("act", "actor", "agreement", "kind", "outcome", "period", "purpose", "register_id", "requester", "sender"),
        "version_num",
    }
)
"""Columns of words that the agreement, the protocol or an agency's staff list has, whoever the subject is."""


@dataclass(frozen=True)
class Kept:
    """What the parties of one agreement and epoch have of the same subjects.

    `values` are those that travelled in a question, by subject; `columns` all that lies in any party's databases.
    """

    pseudonyms: Sequence[bytes] = field(repr=False)
    prefixes: Sequence[int] = field(repr=False)
    bits: int
    values: Sequence[Collection[bytes]] = field(repr=False)
    columns: Mapping[str, Collection[str | bytes]] = field(repr=False)


def _joins(first: Kept, second: Kept) -> dict[str, list[str]]:
    """Every way in which two can be joined, and what was found."""
    equal = sum(one == two for one, two in zip(first.prefixes, second.prefixes, strict=True))
    chance = float(binom.sf(equal - 1, len(first.prefixes), 2.0**-first.bits))
    pseudonyms = set(first.pseudonyms) & set(second.pseudonyms)
    travelled = _telling(first.values) & _telling(second.values)
    columns = [
        f"{one} = {two}"
        for one, held in first.columns.items()
        for two, others in second.columns.items()
        if {one.split(".")[-1], two.split(".")[-1]} - PUBLIC and not set(held).isdisjoint(others)
    ]
    return {
        "pseudonyms": [f"equal pseudonyms: {len(pseudonyms)}"] if pseudonyms else [],
        "buckets": [f"equal buckets: {equal} of {len(first.prefixes)}"] if chance <= ALPHA else [],
        "messages": [f"values that travelled in both: {len(travelled)}"] if travelled else [],
        "tables": [f"columns with equal values: {it}" for it in columns],
    }


def _telling(sessions: Sequence[Collection[bytes]]) -> set[bytes]:
    """Values that travelled for some subjects and not for all, and so tell them apart."""
    seen: dict[bytes, int] = defaultdict(int)
    for session in sessions:
        for value in session:
            seen[value] += 1
    return {value for value, count in seen.items() if count < len(sessions)}


async def _keep(grounds: Grounds, established: Established, clock: Clock, *, bound: bool) -> Kept:
    """Play the same listings and questions; unless `bound`, T does not depend on the session."""
    folder, terms = grounds.folder("apart"), established.terms
    stage, coordinator = Stage(established, folder, clock), established.secrets[COORDINATOR].party(COORDINATOR, terms)
    await stage.federation.start()
    subjects = list(map(firm, range(grounds.pick(2, 8, 40) * MAX_SUBJECTS)))
    known: list[bytes] = []
    for start in range(0, len(subjects), MAX_SUBJECTS):
        known += await stage.pseudonyms(REQUESTER, PURPOSE, subjects[start : start + MAX_SUBJECTS])
    asked = list(zip(subjects, known, strict=True))[:ASKED]
    # Each agreement's agencies enter them in an order of their own, or the rows' numbers would be equal.
    entered = sorted(asked, key=lambda pair: pair[1])
    for agency in LISTING:
        await stage.federation.enter(agency, [listing(agency, subject) for subject, _ in entered])
    travelled: list[set[bytes]] = []
    for subject, pseudonym in asked:
        transcript = await stage.ask(REQUESTER, PURPOSE, subject)
        travelled.append(values(transcript if bound else _without_session(transcript, pseudonym), coordinator))
    prefixes = [bucket(pseudonym, terms.bucket_bits) for pseudonym in known]
    return Kept(known, prefixes, terms.bucket_bits, travelled, _columns(folder))


def _without_session(transcript: Transcript, pseudonym: bytes) -> Transcript:
    return rewritten(transcript, Look, lambda _: {"secrets": (session_key(pseudonym),)})


def _columns(folder: Path) -> dict[str, set[str | bytes]]:
    """Every column of every database under a folder that has texts or blobs, with them.

    Numbers are left out: small ones are equal everywhere, and buckets are judged apart.
    """
    columns: dict[str, set[str | bytes]] = defaultdict(set)
    for path in sorted(folder.rglob("*.sqlite")):
        for table, row in table_rows(path):
            for name, value in row.items():
                if isinstance(value, (str, bytes)) and not _is_date(value):
                    columns[f"{path.relative_to(folder)}.{table}.{name}"].add(value)
    return columns


def _is_date(value: str | bytes) -> bool:
    return isinstance(value, str) and value.replace("-", "").isdigit()


def _established(grounds: Grounds, agreement: str, epoch: int, clock: Clock) -> Established:
    document = read_agreement(agreement_text(id=agreement))
    return establish(document, epoch, grounds.primes(full=False), secrets.token_bytes, clock())


def _under_one_key(first: Established, second: Established) -> Established:
    """A second agreement with the first one's OPRF key, its roster signed by everybody all the same."""
    roster = replace(
        second.terms.roster, oprf_public=first.terms.roster.oprf_public, oprf_shares=first.terms.roster.oprf_shares
    )
    signed = SignedRoster(
        roster, {agency: roster.sign(second.secrets[agency].signing_key) for agency in second.terms.agencies}
    )
    held = {name: replace(it, oprf_share=first.secrets[name].oprf_share) for name, it in second.secrets.items()}
    return Established(Terms.load(second.terms.agreement, signed), signed, held)


def _under_one_node_key(grounds: Grounds, subjects: Sequence[Identifier], kept: Sequence[Kept]) -> list[Kept]:
    """The same listings in two agreements' databases, under one node key."""
    key = secrets.token_bytes(KEY_BYTES)
    changed = []
    for number, it in enumerate(kept):
        folder = grounds.folder("apart")
        store = ListingStore(
            open_engine(f"sqlite:///{folder / 'listings.sqlite'}"), ColumnCipher(key, secrets.token_bytes), MAX_SUBJECTS
        )
        sealed = zip(subjects, it.prefixes, it.pseudonyms, strict=False)
        entries = [(listing("tax", subject), [Seal(prefix, t)]) for subject, prefix, t in sealed]
        store.add_sealed(f"agreement {number}", FIRST_EPOCH, entries, ENTERED)
        changed.append(replace(it, columns=_columns(folder)))
    return changed


def _measure(grounds: Grounds) -> Evidence:
    clock = Clock(int(time.time()))
    kept = [
        asyncio.run(_keep(grounds, _established(grounds, agreement, epoch, clock), clock, bound=True))
        for agreement, epoch in EPOCHS
    ]
    pairs = [_joins(*pair) for pair in combinations(kept, 2)]
    findings = [found for pair in pairs for founds in pair.values() for found in founds]
    figures = {
        "agreements and epochs": len(kept),
        "subjects": len(kept[0].pseudonyms),
        "listed and asked about": ASKED,
        "values that travelled, of each": min(len(set().union(*it.values)) for it in kept),
        "columns, of each": min(len(it.columns) for it in kept),
        "joins found": len(findings),
    }
    return Evidence(bool(findings), figures, findings)


def _control(grounds: Grounds) -> Evidence:
    clock = Clock(int(time.time()))
    (one, epoch), (another, _), _ = EPOCHS
    first = _established(grounds, one, epoch, clock)
    second = _under_one_key(first, _established(grounds, another, epoch, clock))
    kept = [asyncio.run(_keep(grounds, it, clock, bound=False)) for it in (first, second)]
    found = _joins(*_under_one_node_key(grounds, list(map(firm, range(ASKED))), kept))
    verdicts = [f"{'found' if founds else 'not found'}: {kind}" for kind, founds in found.items()]
    return Evidence(all(found.values()), {kind: len(founds) for kind, founds in found.items()}, verdicts)


CLAIM = Claim(
    number=9,
    name="agreements-apart",
    statement="Pseudonyms, buckets, messages and databases of two agreements or epochs cannot be joined.",
    attack="The same listings are entered and asked about in two agreements and in a further epoch of the first. Each "
    "two are joined: by pseudonyms, by buckets, by every value that travelled and does not travel for everybody, and "
    "by every column of every database with every column of the other's, public words, numbers and dates apart.",
    sizing=f"Equal pseudonyms, values and columns are counted, and one is a breach. Equal buckets are binomial with "
    f"2^-β; a breach needs p ≤ {ALPHA:.1e}, and under one key all are equal, so its power is 1 from ten subjects on.",
    planted="Two agreements under one OPRF key; T's that depend on no session; two databases under one node key.",
    measure=_measure,
    control=_control,
)
