"""What a running federation leaves behind: messages, databases, files, logs, metrics; and what it leaves behind for.

Everything a party writes lies under its own directory. SQLite's files are read byte by byte while the party runs.
"""

import csv
import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import httpx

from api.agency import open_listings
from api.audit.grounds import Grounds
from api.home import parties
from api.settings import Settings
from api.stage import Processes
from federation.audit.search import Secret
from federation.transport import Record
from nodes.importers.concordat_csv import REQUIRED
from nodes.listings import Listing

TRAFFIC, DATABASE, LOG, FILE, METRICS, ANSWER = "traffic", "database", "log", "file", "metrics", "answer"
PLACES: Final = (TRAFFIC, DATABASE, LOG, FILE, METRICS, ANSWER)

_REAL_SUBJECTS: Final = 5_000
_SHARED: Final = 6
_NAMED: Final = {"scheme": "cn.reg_no", "value": "ASKEDFORBYITSELF"}
_ALPHABET: Final = "ABCDEFGHJKLMNPQRTUWXY0123456789"


@dataclass(frozen=True)
class Trace:
    """Bytes that were left at a party: its place, and its name there (a message's type, a file, a route)."""

    place: str
    party: str
    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Exercised:
    """What a federation holds and was asked: `asked` and `listed` by each agency are identifiers.

    `records` are all messages until the last `answers` came.
    """

    listed: Mapping[str, Sequence[Secret]]
    names: Sequence[Secret]
    asked: Sequence[Secret]
    case: str = field(repr=False)
    answers: Sequence[Trace] = field(repr=False)
    records: Sequence[Record] = field(repr=False)

    @property
    def secrets(self) -> list[Secret]:
        """All that may be found nowhere, each once."""
        identifiers = [secret for agency in self.listed.values() for secret in agency]
        return list(dict.fromkeys([*identifiers, *self.names, *self.asked, Secret(self.case)]))


def all_traces(processes: Processes) -> Iterator[Trace]:
    """All that lies and travels now, but for answers to callers: who asked keeps those."""
    yield from traffic(processes)
    yield from files(processes)
    yield from metrics(processes)


def traffic(processes: Processes) -> Iterator[Trace]:
    """Every message between two parties so far, problem documents among them, at its receiver."""
    recorder = processes.recorder
    for record in (*recorder.records, *recorder.problems):
        yield Trace(TRAFFIC, record.receiver, record.kind, record.data)


def files(processes: Processes) -> Iterator[Trace]:
    """Every file under the federation's directory: of the parties, and those that are public ("")."""
    home = processes.home
    for party in parties(processes.terms.agreement):
        for path in sorted(it for it in processes.path(party).rglob("*") if it.is_file()):
            place = DATABASE if ".sqlite" in path.name else LOG if path.name == "log" else FILE
            yield Trace(place, party, path.name, path.read_bytes())
    for path in (home.agreement_path, home.roster_path, home.urls_path):
        yield Trace(FILE, "", path.name, path.read_bytes())


def unread(processes: Processes) -> list[str]:
    """Parties whose databases are no SQLite files, and so are not read."""
    agreement = processes.terms.agreement
    return [party for party in parties(agreement) if not any(processes.path(party).glob("*.sqlite"))]


def metrics(processes: Processes) -> Iterator[Trace]:
    """What every party shows to whoever watches it."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        for party, url in processes.urls.items():
            yield Trace(METRICS, party, "/metrics", client.get(f"{url}/metrics").content)


def answer(party: str, name: str, response: httpx.Response) -> Trace:
    """What a party answered to a caller, its headers included."""
    head = b"\r\n".join(name + b": " + value for name, value in response.headers.raw)
    return Trace(ANSWER, party, name, head + b"\r\n\r\n" + response.content)


_EXERCISED: Final[WeakKeyDictionary[Grounds, Exercised]] = WeakKeyDictionary()


def exercised(grounds: Grounds) -> Exercised:
    """Load registers (of the audit's own federation; another's are read as they are), and ask questions, once.

    Some canaries are listed by every agency, the others by one; asked about are as many listed as unlisted ones,
    one by one and in arrays, by every requester. Of another's federation only made canaries are asked about.
    """
    if grounds not in _EXERCISED:
        _EXERCISED[grounds] = _exercise(grounds)
    return _EXERCISED[grounds]


def canaries(draws: random.Random, count: int) -> list[Secret]:
    """Made identifiers that no real register has, in letters of several scripts."""
    return [Secret(_number(draws, at), "cn.reg_no") for at in range(count)]


def _exercise(grounds: Grounds) -> Exercised:
    processes, draws = grounds.processes, grounds.draws("exercise")
    count, asked_count = grounds.pick(40, 200, 1000), grounds.pick(20, 60, 240)
    unlisted = canaries(draws, asked_count)
    if grounds.own:
        shared = canaries(draws, _SHARED)
        listed = {agency: [*shared, *canaries(draws, count - _SHARED)] for agency in processes.terms.agencies}
        names = {agency: [Secret(made_name(draws, at)) for at in range(count)] for agency in listed}
        for agency in processes.terms.agreement.agencies:
            content = _rows(draws, listed[agency.id], names[agency.id])
            processes.load(agency.id, agency.registers[0].id, content)
        known = [subject for agency in listed.values() for subject in agency[_SHARED:]]
        asked = [*shared, *draws.sample(known, asked_count - _SHARED), *unlisted]
    else:
        stored = {agency: _stored(processes, agency) for agency in processes.terms.agencies}
        listed = {agency: _identifiers(listings) for agency, listings in stored.items()}
        names = {agency: [Secret(listing.name) for listing in listings] for agency, listings in stored.items()}
        asked = unlisted
    case = f"case {_number(draws, 0)} of {made_name(draws, 0)}"
    answers = list(_asked(processes, asked, case))
    if grounds.own:  # at another's gateway nothing is left behind
        answers += _watched(processes, asked, case)
    every_name = [name for own in names.values() for name in own]
    return Exercised(listed, every_name, asked, case, answers, list(processes.records))


def _asked(processes: Processes, subjects: Sequence[Secret], case: str) -> Iterator[Trace]:
    """Ask all in one array, a few of them one by one too, and what is refused; yields the answers."""
    for requester in processes.terms.agreement.requesters:
        question: dict[str, Any] = {"agreement": processes.terms.agreement.id, "case": case}
        question["purpose"] = requester.purposes[0]
        asked = [{"scheme": it.scheme, "value": it.text} for it in subjects]
        single = [asked[0], asked[len(asked) // 2], asked[-1]]
        with processes.client(requester.id) as client:
            for start in range(0, len(asked), 1000):
                batch = {**question, "subjects": asked[start : start + 1000]}
                response = client.post("/v1/membership:batch", json=batch)
                yield answer(requester.id, "/v1/membership:batch", response)
            for subject in single:
                yield answer(
                    requester.id, "/v1/membership", client.post("/v1/membership", json={**question, "subject": subject})
                )
            for change in ({"agreement": case}, {"purpose": case}, {"subject": {"scheme": case, "value": case}}):
                refused = client.post("/v1/membership", json={**question, "subject": asked[0], **change})
                yield answer(requester.id, "/v1/membership", refused)
            # Its answer names the subject, as it must: so of one that is not looked for, and that nobody lists.
            named = client.post("/v1/standing", json={**question, "subject": _NAMED})
            yield answer(requester.id, "/v1/standing", named)
            yield answer(requester.id, "/v1/agreements", client.get("/v1/agreements"))


def _watched(processes: Processes, subjects: Sequence[Secret], case: str) -> Iterator[Trace]:
    """Register portfolios, which keep what they need at every gateway; yields the answers of those with another case.

    A caller's own case comes back to it, as it must: so not the one that is looked for.
    """
    some = [subjects[0], subjects[len(subjects) // 2], subjects[-1]]
    watched = [{"scheme": it.scheme, "value": it.text, "reference": f"no. {at}"} for at, it in enumerate(some)]
    for requester in processes.terms.agreement.requesters:
        terms: dict[str, Any] = {"agreement": processes.terms.agreement.id, "purpose": requester.purposes[0]}
        terms |= {"every": "1h", "until": datetime.now(UTC).date().isoformat(), "subjects": watched}
        with processes.client(requester.id) as client:
            client.post("/v1/portfolios", json={**terms, "case": case}).raise_for_status()
            made = client.post("/v1/portfolios", json={**terms, "case": "recorded"})
            yield answer(requester.id, "/v1/portfolios", made)
            for part in ("subjects", "changes"):
                shown = client.get(f"/v1/portfolios/{made.json()['id']}/{part}")
                yield answer(requester.id, f"/v1/portfolios/{{portfolio}}/{part}", shown)


def _stored(processes: Processes, agency: str) -> list[Listing]:
    """What stands in an agency's registers, opened with its own key: the first thousands of it."""
    home = processes.home
    settings = Settings(party=agency, directory=processes.path(agency), roster=home.roster_path, urls=home.urls_path)
    store = open_listings(settings, settings.secrets()[1])
    return [record.listing for record in islice(store.all(), _REAL_SUBJECTS)]


def _identifiers(listings: Sequence[Listing]) -> list[Secret]:
    return [Secret(it.value, it.scheme) for listing in listings for it in listing.identifiers]


def _rows(draws: random.Random, identifiers: Sequence[Secret], names: Sequence[Secret]) -> bytes:
    """A register as its agency's CSV; one in eight listings has expired, one in eight is not yet in effect."""
    today, text = datetime.now(UTC).date(), StringIO()
    writer = csv.writer(text)
    writer.writerow(REQUIRED)
    for number, (identifier, name) in enumerate(zip(identifiers, names, strict=True)):
        decided, served = _dates(number, today)
        writer.writerow(
            [
                *(identifier.scheme, identifier.text, "legal", name.text, "debarred", f"D {identifier.text}"),
                *(decided.isoformat(), served.isoformat(), draws.choice("123"), ""),
            ]
        )
    return text.getvalue().encode()


def _dates(number: int, today: date) -> tuple[date, date]:
    days = {6: (5 * 366, 5 * 366 - 3), 7: (6, 4)}.get(number % 8, (90, 60))
    return today - timedelta(days=days[0]), today - timedelta(days=days[1])


def _number(draws: random.Random, at: int) -> str:
    letters = ("", "京", "Ж", "ع")[at % 4]
    return letters + "".join(draws.choices(_ALPHABET, k=14))


_SYLLABLES: Final = (
    ("ša", "čí", "łó", "dź", "ñu", "ör", "ça", "rø", "by", "ter", "mon", "ek", "ald"),
    tuple("深圳海洋贸易实业前山东新华光明达丰永利泰恒瑞"),
    ("ром", "аш", "ка", "стро", "й", "инв", "ест", "свет", "ло", "гор", "щу"),
    ("نور", "تجار", "شرك", "بحر", "صن", "عال", "مية", "خلي", "جد"),
)
_ENDINGS: Final = (" Gmbh & Co. KG", "有限公司", " Общество", " للتجارة")


def made_name(draws: random.Random, at: int) -> str:
    """A firm's name of three words (of one in Chinese), in one of four scripts."""
    script = at % 4
    words = ["".join(draws.choices(_SYLLABLES[script], k=4)) for _ in range(3)]
    return ("" if script == 1 else " ").join(word.capitalize() for word in words) + _ENDINGS[script]


def rows(processes: Processes) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Every row of every party's SQLite databases: the party, `database.table`, and the row by its columns."""
    for party in parties(processes.terms.agreement):
        for path in sorted(processes.path(party).glob("*.sqlite")):
            for table, row in table_rows(path):
                yield party, f"{path.stem}.{table}", row


def table_rows(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Every row of an SQLite database, with its table's name."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{table}"'):  # noqa: S608  # a name out of the database itself
                yield table, dict(row)
