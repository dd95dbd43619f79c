"""Who learned what: every party's view, taken from the recorded messages and nothing else.

A view is all bytes that reached a party, field by field, with what the party's own key opens of them. What a party can
compute from its view is computed here the same way.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast

from federation.audit.recordings import signed_messages
from federation.transport import Record
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.messages import Answer, Ask, Look
from protocol.rounds import agency
from protocol.rounds.coordinator import unseal_blocks
from protocol.rounds.party import Party
from protocol.sealing import read_block, tag
from protocol.wire import Body, Signed


@dataclass
class View:
    """What reached one party: messages and bytes, each field's sizes by message type, and what follows from them."""

    messages: int = 0
    bytes: int = 0
    fields: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    computed: list[str] = field(default_factory=list)
    names_found: int = 0


def views(
    records: Iterable[Record], terms: Terms, parties: Mapping[str, Party], canaries: Sequence[bytes]
) -> dict[str, View]:
    """Every party's view of the recorded traffic.

    `parties` are the agencies and the coordinator, with whose keys what was sealed for them is opened; `canaries` are
    the identifiers and names that were asked about, searched for in every byte.
    """
    result: dict[str, View] = {party: View() for party in terms.roster.signing}
    prefixes: dict[str, Counter[int]] = defaultdict(Counter)
    questions: dict[bytes, Look] = {}
    matches: dict[tuple[bytes, int], int] = {}
    for record in records:
        view = result[record.receiver]
        view.messages += 1
        view.bytes += len(record.data)
        view.names_found += sum(canary in record.data for canary in canaries)
        for message in signed_messages(record.data):
            for name, shape in _shapes(message):
                view.fields[name].add(shape)
            if isinstance(message.body, Ask) and record.kind == Ask.TYPE and record.receiver in terms.agencies:
                asked = agency.receive(parties[record.receiver], message.raw, message.header.issued)
                prefixes[record.receiver].update(asked.prefixes)
            if isinstance(message.body, Look):
                questions[message.header.session] = message.body
            if isinstance(message.body, Answer) and record.receiver == COORDINATOR:
                look = questions[message.header.session]
                blocks = unseal_blocks(parties[COORDINATOR], cast("Any", message))
                for subject, found in enumerate(_found(blocks, message.header.sender, look, terms)):
                    key = (message.header.session, subject)
                    matches[key] = matches.get(key, 0) + found
    for party, seen in prefixes.items():
        result[party].computed.append(
            f"{seen.total()} subjects asked about, each one of about "
            f"{terms.agreement.anonymity.population >> terms.bucket_bits:,} people in its bucket"
        )
    by_count = Counter(matches.values())
    result[COORDINATOR].computed.append(
        f"{len(matches)} anonymous subjects: "
        + ", ".join(f"{count} matched at {agencies} agencies" for agencies, count in sorted(by_count.items()))
    )
    return result


def _shapes(message: Signed[Body]) -> Iterable[tuple[str, str]]:
    for part in (message.header, message.body):
        for item in fields(part):
            yield f"{message.body.TYPE}.{item.name}", _shape(item.name, getattr(part, item.name))


def _shape(name: str, value: object) -> str:
    shape = str(value)
    match value:
        case bytes():
            shape = f"{len(value)} bytes"
        case Mapping() if name == "sealed":
            shape = f"{len(next(iter(value.values())))} sealed bytes an agency"
        case Mapping():
            shape = ", ".join(value)
        case tuple():
            shape = f"{len(value[0])} bytes a subject"
    return shape


def _found(blocks: Sequence[bytes], agency_id: str, look: Look, terms: Terms) -> Iterable[bool]:
    size = terms.public_key.ciphertext_bytes
    for secret, block in zip(look.secrets, blocks, strict=True):
        yield tag(secret, agency_id) in read_block(block, terms.bucket_size, size)
