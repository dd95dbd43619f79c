"""The demonstration's registers: two official lists, and three made ones from a seeded generator.

Made firms have valid Unified Social Credit Codes; some stand in several made registers, and some real ones from the
sanctions lists stand in them too. Each made register holds listings in every state a question can meet.
"""

import csv
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from importlib.resources import files

from stdnum.cn import uscc

from nodes.catalogue import CatalogueEntry
from nodes.importers import Row, RowError
from nodes.importers.concordat_csv import REQUIRED, read_csv
from nodes.importers.ofac import read_ofac
from nodes.lifecycle import Clock, Record, record_of
from nodes.listings import Listing
from protocol.agreement.model import Agreement
from protocol.identifiers import Identifier

SEED = 20261120
FIRMS = 900
FIRMS_A_REGISTER = 300
REAL_FIRMS_A_REGISTER = 12
DISPUTED_ROW = 6
ANSWERED_WITHIN = 7  # days: as many working days as the catalogue gives are never fewer
OFFICIAL = {"sdn": "ofac_sdn_entities.csv", "consolidated": "ofac_consolidated_entities.csv"}
GROUNDS = {"wage-arrears": "unpaid-wages", "tax-debarment": "debarred", "judgments": "settlement-breach"}

_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"


@dataclass(frozen=True)
class Source:
    """One register as its agency loads it: the file and its format, what it holds, how many rows are not usable.

    `disputed` is the subject whose listing is flagged as disputed after loading, if any; its record here says so.
    """

    agency: str
    register: str
    format: str
    content: bytes = field(repr=False)
    records: tuple[Record, ...] = field(repr=False)
    refused: int
    disputed: Identifier | None


def sources(agreement: Agreement, catalogue: Mapping[str, CatalogueEntry], today: date) -> list[Source]:
    """Every register of the demonstration's agreement, read by the importers as of `today`."""
    found: list[Source] = []
    for agency in agreement.agencies:
        for register in agency.registers:
            entry = catalogue[register.preset]
            if register.id in OFFICIAL:
                content = (files("api.demo") / "data" / OFFICIAL[register.id]).read_bytes()
                rows = read_ofac(io.BytesIO(content), register.id, entry, register.id, today)
                found.append(_source(agency.id, register.id, "ofac", content, rows, today))
            else:
                real = [item for known in found for record in known.records for item in record.listing.identifiers]
                content = made_csv(register.id, real, today)
                rows = read_csv(io.BytesIO(content), register.id, entry)
                found.append(_source(agency.id, register.id, "csv", content, rows, today))
    return found


def _source(agency: str, register: str, format_: str, content: bytes, rows: Iterator[Row], today: date) -> Source:
    outcomes = [row.outcome for row in rows]
    records = [record_of(outcome) for outcome in outcomes if isinstance(outcome, Listing)]
    refused = sum(isinstance(outcome, RowError) for outcome in outcomes)
    disputed = None
    if register not in OFFICIAL:
        record = records[DISPUTED_ROW]
        disputed = record.listing.identifiers[0]
        clock = Clock("object", today, today + timedelta(days=ANSWERED_WITHIN))
        records[DISPUTED_ROW] = replace(record, life=replace(record.life, dispute=clock))
    return Source(agency, register, format_, content, tuple(records), refused, disputed)


def made_csv(register: str, real: Sequence[Identifier], today: date) -> bytes:
    """Make a register as its agency's own CSV: the same for the same day."""
    numbers = random.Random(SEED)  # noqa: S311  # made data that must come out the same everywhere
    firms = [_made_uscc(numbers) for _ in range(FIRMS)]
    numbers.seed(f"{SEED} {register}")
    chosen = numbers.sample(firms, FIRMS_A_REGISTER)
    codes = sorted({item.value for item in real if item.scheme == "cn.uscc"} - set(firms))
    chosen += numbers.sample(codes, min(REAL_FIRMS_A_REGISTER, len(codes)))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*REQUIRED, "other_identifiers"])
    for number, code in enumerate(chosen):
        decided, served = _dates(number, today)
        writer.writerow(
            [
                *("cn.uscc", code, "legal", f"Firm {number}", GROUNDS[register], f"{register}-{number}"),
                *(decided.isoformat(), served.isoformat(), numbers.choice("123"), ""),
                f"cn.reg_no:{register}-{number}" if number % 5 == 0 else "",
            ]
        )
    return text.getvalue().encode()


def _dates(number: int, today: date) -> tuple[date, date]:
    """Decision and service: one in nine has expired, one in nine was served last week, the others are in effect."""
    if number % 9 == 7:
        return today - timedelta(days=5 * 366), today - timedelta(days=5 * 366 - 3)
    if number % 9 == 8:
        return today - timedelta(days=6), today - timedelta(days=4)
    return today - timedelta(days=90), today - timedelta(days=60)


def _made_uscc(numbers: random.Random) -> str:
    body = "91" + "".join(numbers.choices("123456", k=6)) + "".join(numbers.choices(_ALPHABET, k=9))
    return body + uscc.calc_check_digit(body)
