"""The leakage table is whole, can be shown, and what differs from it is named."""

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from api.local import LocalFederation
from federation.audit.leakage import (
    END,
    START,
    Observation,
    Row,
    compare,
    declared,
    declared_views,
    inserted,
    markdown,
    observed_answer,
    observed_log,
    observed_messages,
    observed_metrics,
    observed_row,
    uneven,
)
from federation.audit.shapes import SHAPES
from federation.transport import Record
from protocol import messages
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.wire import Header
from tests.parties import NOW, federation

TABLE = declared()
KEYS = {row.key for row in TABLE}


@cache
def terms() -> Terms:
    return federation().terms


def wrong(*observations: Observation) -> set[str]:
    return compare(TABLE, observations, terms())[0]


def test_no_field_is_declared_twice_and_every_shape_is_known() -> None:
    assert len(KEYS) == len(TABLE)
    assert {row.shape for row in TABLE} == set(SHAPES)
    assert all(row.tells for row in TABLE)


def test_every_field_of_every_message_of_the_specification_is_declared() -> None:
    seen = {field for _, place, field in KEYS if place == "traffic"}
    for kind in vars(messages).values():
        if isinstance(kind, type) and hasattr(kind, "TYPE") and not kind.TYPE.startswith("dkg"):
            assert {f"{kind.TYPE}.body.{item.name}" for item in fields(kind)} <= seen
            assert {f"{kind.TYPE}.header.{item.name}" for item in fields(Header)} <= seen
    assert not any(field.startswith("dkg") for field in seen)


def test_the_coordinator_is_given_no_prefix_and_no_nonce() -> None:
    hidden = {item.name for item in fields(messages.SealedAsk)}
    assert not {row for row in TABLE if row.party == COORDINATOR and row.field.rpartition(".")[2] in hidden}
    assert not {row for row in TABLE if row.party == COORDINATOR and "prefix" in row.shape}


def test_a_recording_is_as_declared(tmp_path: Path) -> None:
    local = LocalFederation(federation(), tmp_path, lambda: NOW, secrets.token_bytes)
    asyncio.run(local.start())
    records = local.network.records
    assert not wrong(*observed_messages(records, terms()))
    assert not uneven(records)
    cut = Record(records[0].sender, records[0].receiver, records[0].kind, records[0].data[:-1])
    assert wrong(*observed_messages([cut], terms())) == {f"not declared: {COORDINATOR}, traffic: (not a message)"}


@pytest.mark.parametrize(
    ("value", "right"), [(b"\1" * 32, True), (b"\1" * 31, False), (b"\1" * 33, False), ("1" * 32, False)]
)
def test_sizes_are_exact(value: object, right: bool) -> None:
    assert bool(wrong(Observation(COORDINATOR, "traffic", "look.body.ask", value))) != right


OBSERVERS: dict[str, Callable[[str], list[Observation]]] = {
    "log": lambda name: list(observed_log(COORDINATOR, json.dumps({"event": "request", name: "x"}).encode(), terms())),
    "row": lambda name: list(observed_row(COORDINATOR, "state.session", {name: b"x"}, terms())),
    "metric": lambda name: list(observed_metrics(COORDINATOR, f'concordat_requests_total{{{name}="x"}} 1.0', terms())),
    "answer": lambda name: list(observed_answer("membership", b"date: x", json.dumps({name: {"a": [1]}}).encode())),
}


@pytest.mark.parametrize("kind", OBSERVERS)
def test_one_field_more_is_named_without_its_value(kind: str) -> None:
    (finding,) = wrong(*OBSERVERS[kind]("extra"))
    assert finding.startswith("not declared: ")
    assert "extra" in finding


def test_what_never_occurs_is_stale_unless_it_is_rare() -> None:
    rows = [Row("a", "log", "seen", "m", "x"), Row("a", "log", "not", "m", "x"), Row("a", "log", "rare", "m", "x", "y")]
    assert compare(rows, [Observation("a", "log", "seen", 1)], terms()) == (set(), {"never seen: a, log, not"})


def test_the_table_is_shown_by_party_and_by_field() -> None:
    short, long = markdown(fields=False), markdown()
    assert long.startswith(short)
    assert all(view.learns in short for view in declared_views())
    assert all(f"`{row.field}`" in long for row in TABLE if ".header." not in row.field)
    assert inserted(f"a{START}old{END}b", fields=False) == f"a{START}\n{short}{END}b"
    with pytest.raises(ValueError, match="marks"):
        inserted("a document")
