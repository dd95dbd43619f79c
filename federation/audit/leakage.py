"""The leakage table: what each party is declared to learn, field by field, and the same as it was measured.

`leakage.yaml` declares for each party every field of every message it receives, every column of its databases, every
key of its log, every label of its metrics, with the shape of its values and what it tells. `compare` holds a running
federation's traces against it; `markdown` shows it to people. What has a shape here has one size: a number of bytes
that follows from m, N, B and the agreement, never from a subject.
"""

import dataclasses
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

from federation.audit.shapes import SHAPES, Header
from federation.transport import Record
from protocol import labels
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.codec import decode
from protocol.errors import PeerError
from protocol.messages import Accessed, Answer
from protocol.wire import payload_type

TRAFFIC, DATABASE, LOG, METRICS, ANSWER = "traffic", "database", "log", "metrics", "answer"
REQUESTER, AGENCY, KEYHOLDER, CALLER = "requester", "agency", "keyholder", "caller"

_KEYHOLDERS_MESSAGES: Final = frozenset({"evaluate", "open", "prove", "open-figures"})
_ENVELOPE: Final = re.compile(re.escape(labels.PAYLOAD_TYPE_PREFIX) + r"([a-z-]+)\+cbor")
_NOT_A_MESSAGE: Final = "(not a message)"


@dataclasses.dataclass(frozen=True)
class Row:
    """One field that a party sees; `rare` says why a recording may be without it."""

    party: str
    place: str
    field: str
    shape: str
    tells: str
    rare: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What a field is known by."""
        return self.party, self.place, self.field


@dataclasses.dataclass(frozen=True)
class View:
    """What a party learns from all its fields together, and what it never learns."""

    party: str
    learns: str
    never: str


@dataclasses.dataclass(frozen=True)
class Observation:
    """A value as it was found; of a message's field, beside the message's header."""

    party: str
    place: str
    field: str
    value: object = dataclasses.field(repr=False)
    header: Header = dataclasses.field(repr=False, default_factory=dict)


# The declared table.


@cache
def _document() -> Any:
    return yaml.safe_load((files("federation.audit") / "leakage.yaml").read_text("utf-8"))


def declared_views() -> list[View]:
    """What each party learns and never learns, in the table's order."""
    return [View(party, it["learns"], it["never"]) for party, it in _document()["parties"].items()]


def declared() -> list[Row]:
    """The table, a row a field."""
    document, rows = _document(), []
    for party, own in document["parties"].items():
        for message, rare in own.get("receives", {}).items():
            parts = {"header": document["header"], "body": document["messages"][message]}
            named = {f"{message}.{part}.{name}": it for part, them in parts.items() for name, it in them.items()}
            rows += [Row(party, TRAFFIC, name, shape, tells, rare or "") for name, (shape, tells) in named.items()]
            rows.append(
                Row(party, TRAFFIC, f"{message}.signature", "signature", "that its sender signed it", rare or "")
            )
        for place in (TRAFFIC, DATABASE, LOG, METRICS, ANSWER):
            rows += [Row(party, place, name, *it) for name, it in _flat(own.get(place, {}))]
    return rows


def _flat(groups: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for group, columns in groups.items():
        for name, row in columns.items():
            yield f"{group}.{name}", row


# What is measured.


def observed_messages(records: Iterable[Record], terms: Terms) -> Iterator[Observation]:
    """Every field of every message at its receiver, those of messages inside others included."""
    for record in records:
        try:
            yield from _observed(record.data, record.receiver, terms)
        except PeerError:
            yield Observation(_role(record.receiver, terms), TRAFFIC, _NOT_A_MESSAGE, record.data)


def _observed(data: bytes, receiver: str, terms: Terms, role: str = "") -> Iterator[Observation]:
    value = decode(data, Answer.LIMIT)
    if isinstance(value, dict):
        # A quorum's replies, by keyholder, or a subject's, by agency.
        role = role or _role(receiver, terms)
        for name, reply in value.items():
            by = AGENCY if decode(reply, Answer.LIMIT)[0] == payload_type(Accessed) else KEYHOLDER
            yield Observation(role, TRAFFIC, f"replies.{by}", name)
            yield from _observed(reply, receiver, terms, role)
        return
    found = _ENVELOPE.fullmatch(value[0]) if isinstance(value[0], str) else None
    if found is None:
        for part in value:
            yield from _observed(part, receiver, terms, role)
        return
    kind, (_, payload, signature) = found[1], value
    role = role or _role(receiver, terms, kind)
    message = decode(payload, len(payload))
    header = message["header"]
    yield Observation(role, TRAFFIC, f"{kind}.signature", signature, header)
    for part, fields in message.items():
        for name, content in fields.items():
            yield Observation(role, TRAFFIC, f"{kind}.{part}.{name}", content, header)
    inside = message["body"].get("decisions", [])
    for nested in [message["body"]["ask"]] if kind == "open" else inside:
        yield from _observed(nested, receiver, terms, role)


def _role(party: str, terms: Terms, kind: str = "") -> str:
    if party == COORDINATOR:
        return COORDINATOR
    if party in terms.agencies:
        return KEYHOLDER if kind in _KEYHOLDERS_MESSAGES else AGENCY
    return REQUESTER


def observed_row(party: str, table: str, row: Mapping[str, object], terms: Terms) -> Iterator[Observation]:
    """A row of a party's table, named `database.table`; empty columns tell nothing."""
    for name, value in row.items():
        if value is not None:
            yield Observation(_role(party, terms), DATABASE, f"{table}.{name}", value)


def observed_log(party: str, line: bytes, terms: Terms) -> Iterator[Observation]:
    """A line of a party's log, by its event."""
    try:
        entry = json.loads(line)
        event = entry["event"]
    except (ValueError, TypeError, KeyError):
        yield Observation(_role(party, terms), LOG, "(no entry)", line)
        return
    for name, value in entry.items():
        yield Observation(_role(party, terms), LOG, f"{event}.{name}", value)


_METRIC: Final = re.compile(r"(\w+)(?:\{(.*)\})? \S+")
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


def observed_metrics(party: str, page: str, terms: Terms) -> Iterator[Observation]:
    """Every label of every metric that a party shows; one without a label by its name alone."""
    for line in page.splitlines():
        if (found := _METRIC.fullmatch(line)) is None:
            continue
        name = re.sub("_(total|created|sum|count|bucket)$", "", found[1])
        for label, value in _LABEL.findall(found[2] or "") or [("", "")]:
            yield Observation(_role(party, terms), METRICS, f"{name}.{label}", value)


def observed_answer(route: str, head: bytes, body: bytes) -> Iterator[Observation]:
    """What a gateway's caller reads: headers, and every member of its JSON; a problem document under that name."""
    for line in head.split(b"\r\n"):
        name, _, value = line.decode("latin-1").partition(": ")
        yield Observation(CALLER, ANSWER, f"header.{name}", value)
    try:
        document = json.loads(body)
    except ValueError:
        yield Observation(CALLER, ANSWER, "(not JSON)", body)
        return
    for item in document.get("items", [document]):
        name = "problem" if "title" in item and "status" in item else route
        for path, leaf in _leaves(name, item):
            yield Observation(CALLER, ANSWER, path, leaf)


def _leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    match value:
        case dict():
            for name, inner in value.items():
                yield from _leaves(f"{path}.{name}", inner)
        case list():
            for inner in value:
                yield from _leaves(f"{path}[]", inner)
        case _:
            yield path, value


# Comparing.


def compare(rows: Iterable[Row], observations: Iterable[Observation], terms: Terms) -> tuple[set[str], set[str]]:
    """What was seen but is not declared, or is of another shape; and what is declared but was not seen."""
    table = {row.key: row for row in rows}
    wrong, seen = set(), set()
    for it in observations:
        key = (it.party, it.place, it.field)
        if key not in table:
            wrong.add(f"not declared: {it.party}, {it.place}: {it.field}")
        elif not SHAPES[table[key].shape](it.value, it.header, terms):
            wrong.add(f"of another shape than `{table[key].shape}`: {it.party}, {it.place}: {it.field}")
        seen.add(key)
    stale = {f"never seen: {', '.join(key)}" for key, row in table.items() if key not in seen and not row.rare}
    return wrong, stale


def uneven(records: Iterable[Record]) -> set[str]:
    """Kinds of messages that differ in size though sender, audience, purpose and number of subjects are the same."""
    sizes: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for record in records:
        try:
            kinds = [_about(part) for part in _parts(decode(record.data, Answer.LIMIT))]
        except (PeerError, LookupError, TypeError):
            continue  # no message; `compare` says so
        sizes[record.sender, record.receiver, *kinds].add(len(record.data))
    return {f"sizes differ: from {key[0]} to {key[1]}: {key[2][0]}" for key, found in sizes.items() if len(found) > 1}


def _parts(value: Any) -> list[Any]:
    """The envelopes in what travelled: one, two of R's for C, or a map of replies."""
    if isinstance(value, dict):
        return [decode(reply, Answer.LIMIT) for reply in value.values()]
    return [value] if isinstance(value[0], str) else [decode(part, Answer.LIMIT) for part in value]


def _about(envelope: Sequence[Any]) -> tuple[object, ...]:
    """What a message's size may depend on: small numbers are shorter, and ids as long as they are."""
    message = decode(envelope[1], len(envelope[1]))
    header, body = message["header"], message["body"]
    inside = _about(decode(body["ask"], Answer.LIMIT)) if "chunk" in body and "ask" in body else ()
    about = tuple(header[name] for name in ("sender", "audience", "purpose", "m"))
    return envelope[0], *about, body.get("chunk", 0) > 23, *inside


# Showing.

START, END = "<!-- leakage -->", "<!-- /leakage -->"


def markdown(*, fields: bool = True) -> str:
    """The table for people: what each party learns and never learns, and with `fields` all below it, field by field."""
    lines = ["| party | learns | never learns |", "| --- | --- | --- |"]
    lines += [f"| {view.party} | {view.learns} | {view.never} |" for view in declared_views()]
    if fields:
        tables: dict[str, list[Row]] = defaultdict(list)
        for name, row in _document()["header"].items():
            tables["header of every message"].append(Row("", TRAFFIC, name, *row))
        for it in declared():
            if ".header." not in it.field:
                tables[it.party].append(it)
        for title, rows in tables.items():
            lines += ["", f"**{title}**", "", "| place | field | values | tells |", "| --- | --- | --- | --- |"]
            lines += [f"| {it.place} | `{it.field}` | {it.shape} | {_told(it)} |" for it in rows]
    return "\n".join(lines) + "\n"


def _told(row: Row) -> str:
    return f"{row.tells} ({row.rare})" if row.rare else row.tells


def inserted(document: str, *, fields: bool = False) -> str:
    """The document with the table between its marks.

    Raises:
        ValueError: it has no such marks.
    """
    before, start, rest = document.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError("the document has no marks for the leakage table")
    return f"{before}{start}\n{markdown(fields=fields)}{end}{after}"
