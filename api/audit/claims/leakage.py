"""What each party sees is what is declared, field by field; and the coordinator sees neither prefix nor nonce."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import Any

from api.audit.claim import Claim, Evidence
from api.audit.grounds import Grounds
from api.audit.traces import ANSWER, LOG, METRICS, Trace, exercised, files, metrics, rows, table_rows, unread
from federation.audit.leakage import (
    Observation,
    Row,
    compare,
    declared,
    observed_answer,
    observed_log,
    observed_messages,
    observed_metrics,
    observed_row,
    uneven,
)
from federation.audit.recordings import signed_messages
from federation.audit.search import Fragments
from federation.transport import MAX_REPLY, Record
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.codec import decode, encode, i2osp
from protocol.errors import PeerError
from protocol.messages import PREFIX_BYTES, Answer, Ask, Decide, Decision, Evaluate, Opened
from protocol.rounds import agency
from protocol.rounds.coordinator import unseal_blocks
from protocol.rounds.party import Party
from protocol.wire import Body, payload_type, read

Secrets = tuple[set[bytes], set[bytes]]


def _opened(records: Iterable[Record], parties: Mapping[str, Party]) -> Secrets:
    """The nonces, and the prefixes in their fixed width, of all questions: as the agencies open them."""
    nonces, prefixes, agencies = set(), set(), parties.keys() - {COORDINATOR}
    for record in records:
        if record.kind == Ask.TYPE and record.receiver in agencies:
            try:
                [message] = signed_messages(record.data)
                asked = agency.receive(parties[record.receiver], message.raw, message.header.issued)
            except PeerError:
                continue
            nonces.add(asked.nonce)
            prefixes |= {i2osp(prefix, PREFIX_BYTES) for prefix in asked.prefixes}
    return nonces, prefixes


def _readable(records: Iterable[Record], stored: Iterable[Trace], secrets: Secrets, coordinator: Party) -> set[str]:
    """What C could read of nonces and prefixes; these are not looked for in files, which are full of zeros."""
    nonces, prefixes = Fragments(secrets[0]), secrets[1]
    found = set()
    for record in records:
        if COORDINATOR in {record.sender, record.receiver}:
            data = record.data + _unsealed(record, coordinator)
            found |= {f"the coordinator sees a nonce: {record.kind}" for _ in nonces.search(data)}
            found |= {f"the coordinator sees a prefix: {record.kind}" for it in prefixes if it in data}
    return found | {f"the coordinator keeps a nonce: {it.name}" for it in stored if nonces.search(it.data)}


def _observed(traces: Iterable[Trace], terms: Terms) -> Iterator[Observation]:
    """What stands in logs, metrics and answers."""
    for trace in traces:
        match trace.place:
            case "log":
                for line in trace.data.splitlines():
                    yield from observed_log(trace.party, line, terms)
            case "metrics":
                yield from observed_metrics(trace.party, trace.data.decode(), terms)
            case "answer":
                head, _, body = trace.data.partition(b"\r\n\r\n")
                yield from observed_answer(trace.name.removeprefix("/v1/"), head, body)


def _measure(grounds: Grounds) -> Evidence:
    exercise, processes = exercised(grounds), grounds.processes
    terms, records = processes.terms, exercise.records
    traces = [*files(processes), *metrics(processes), *exercise.answers]
    stored = (it for party, table, row in rows(processes) for it in observed_row(party, table, row, terms))
    seen = list(chain(observed_messages(records, terms), stored, _observed(traces, terms)))
    table = declared()
    wrong, stale = compare(table, seen, terms)
    parties = processes.parties
    secrets = _opened(records, parties)
    kept = (it for it in traces if it.party == COORDINATOR)
    readable = _readable(records, kept, secrets, parties[COORDINATOR])
    findings = sorted(wrong | uneven(records) | readable)
    figures = {
        "declared fields": len(table),
        "fields seen": len({(it.party, it.place, it.field) for it in seen}),
        "values": len(seen),
        "nonces looked for": len(secrets[0]),
        "prefixes looked for": len(secrets[1]),
        "declared but never seen": len(stale),
        "parties without SQLite, not read": len(unread(processes)),
    }
    # Another's federation may not do all that is declared; the audit's own does.
    findings += sorted(stale) if grounds.own else []
    return Evidence(bool(findings) or not secrets[0], figures, findings)


def _unsealed(record: Record, coordinator: Party) -> bytes:
    """What an agency sealed for C."""
    if record.kind != Ask.TYPE or record.receiver != COORDINATOR or record.sender not in coordinator.terms.agencies:
        return b""
    try:
        return b"".join(unseal_blocks(coordinator, read(record.data, Answer, MAX_REPLY)))
    except PeerError:
        return b""  # no answer of the protocol, of which the comparison tells


# The control.


def _changed(records: Iterable[Record], kind: type[Body], change: Callable[[Any, Any], None]) -> Record:
    """A recorded message of a type, with header and body changed; its signature is not right any more."""
    for record in records:
        value = decode(record.data, MAX_REPLY)
        if isinstance(value, list) and value[0] == payload_type(kind):
            message = decode(value[1], len(value[1]))
            change(message["header"], message["body"])
            return replace(record, data=encode([value[0], encode(message), value[2]]))
    raise LookupError(f"no recorded message is of type {kind.TYPE}")


def _longer_block(_header: Any, body: Any) -> None:
    body["sealed"] += bytes(16)


def _reseal(party: Party, header: Any, body: Any, nonce: bytes) -> None:
    header["sender"] = party.id
    body["sealed"] = agency.seal_blocks(party, [nonce * 2], header["answers"])


def _shorter_share(_header: Any, body: Any) -> None:
    body["share"] = body["share"][1:]


def _only_what_applies(header: Any, body: Any) -> None:
    def change(_header: Any, decision: Any) -> None:
        decision["measures"] = {}

    inner = [Record("", header["audience"], "", it) for it in body["decisions"]]
    body["decisions"][0] = _changed(inner, Decision, change).data


def _planted(grounds: Grounds) -> Iterator[tuple[str, set[str]]]:
    """Each leak that is planted in a copy, and what the comparison says of it."""
    exercise, processes = exercised(grounds), grounds.processes
    terms, records, table = processes.terms, exercise.records, declared()
    parties = processes.parties
    secrets, coordinator = _opened(records, parties), parties[COORDINATOR]
    nonce, prefix = min(secrets[0]), max(secrets[1])

    def told(seen: Iterable[Observation]) -> set[str]:
        return compare(table, seen, terms)[0]

    def message(kind: type[Body], change: Callable[[Any, Any], None]) -> set[str]:
        record = _changed(records, kind, change)
        return told(observed_messages([record], terms)) | _readable([record], [], secrets, coordinator)

    for kind in (Answer, Evaluate, Opened, Decide):
        if wrong := message(kind, lambda _header, _body: None):
            raise AssertionError(f"found where nothing is planted: {', '.join(wrong)}")
    yield "a field more in a body", message(Answer, lambda _, body: body.update(hint=b"1"))
    yield "a field more in a header", message(Evaluate, lambda header, _: header.update(case="1"))
    yield "a block that is longer where something matched", message(Answer, _longer_block)
    yield "a number that is shorter where it is small", message(Opened, _shorter_share)
    yield "a decision of only what applies", message(Decide, _only_what_applies)
    yield "a nonce in the place of a hash", message(Evaluate, lambda _, body: body.update(case=nonce))
    yield "a prefix in the place of a hash", message(Evaluate, lambda _, body: body.update(case=prefix * 4))
    first = next(iter(parties))
    answered = _changed(records, Answer, lambda header, body: _reseal(parties[first], header, body, nonce))
    yield "a nonce in what is sealed for the coordinator", _readable([answered], [], secrets, coordinator)
    grown = _changed(records, Decide, lambda _, body: body["decisions"].append(b"1"))
    yield "messages of two sizes", uneven([*records, grown])
    log = Trace(LOG, COORDINATOR, "log", b'{"event": "request", "subject": "1"}')
    yield "a key more in a log", told(_observed([log], terms))
    yield "a line of a log that is no entry", told(_observed([replace(log, data=b"Traceback")], terms))
    page = Trace(METRICS, COORDINATOR, "/metrics", b'concordat_requests_total{route="/v1/ask",purpose="lend"} 1.0')
    yield "a label more in a metric", told(_observed([page], terms))
    body = json.dumps({"outcome": "decided", "listed_by": ["tax"]}).encode()
    told_more = Trace(ANSWER, "", "/v1/membership", b"date: today\r\n\r\n" + body)
    yield "a member more in an answer", told(_observed([told_more], terms))
    yield "a column more in a database", told(_with_column(grounds, terms))
    yield "a nonce in the coordinator's files", _readable([], [replace(log, data=b"--" + nonce)], secrets, coordinator)
    unseen = Row(COORDINATOR, "traffic", "look.body.prefixes", "32 bytes", "prefixes")
    yield "a declared field that there is not", compare([unseen], [], terms)[1]


def _with_column(grounds: Grounds, terms: Terms) -> Iterator[Observation]:
    """A copy of the coordinator's database whose sessions have one column more."""
    path = grounds.folder("planted") / "state.sqlite"
    source = grounds.processes.path(COORDINATOR) / "state.sqlite"
    with closing(sqlite3.connect(source)) as database, closing(sqlite3.connect(path)) as copy:
        database.backup(copy)
        copy.execute("ALTER TABLE session ADD COLUMN prefix INTEGER DEFAULT 7")
        copy.commit()
    for table, row in table_rows(path):
        yield from observed_row(COORDINATOR, f"state.{table}", row, terms)


def _control(grounds: Grounds) -> Evidence:
    planted = dict(_planted(grounds))
    missed = [f"not found: {name}" for name, found in planted.items() if not found]
    return Evidence(not missed, {"planted": len(planted), "found": len(planted) - len(missed)}, missed)


CLAIM = Claim(
    number=11,
    name="leakage",
    statement=(
        "Every field of every message, database, log, metric and answer is declared in the leakage table, of the shape "
        "that is declared there; and no nonce or prefix stands in anything that the coordinator could read."
    ),
    attack=(
        "Recorded traffic, all rows of all databases, log lines, metrics and the gateways' answers are taken apart "
        "field by field and held against the table, which must have no field that never occurs either. Messages of one "
        "kind must have one size. What agencies open of nonces and prefixes is looked for in what the coordinator sees."
    ),
    sizing=(
        "Deterministic: questions about listed and unlisted subjects, one by one and in arrays, by every requester, "
        "bring every kind of message but those of faults. 16 bytes of a nonce turn up by chance in 10⁹ bytes with "
        "probability below 10⁻²⁸, 8 of a prefix with 10⁻⁷."
    ),
    planted=(
        "One field more in a header, body, log line, metric, answer and table; sizes that depend on a match; a nonce "
        "or a prefix in the place of a hash; a declared field that does not exist."
    ),
    measure=_measure,
    control=_control,
)
