"""One door: a subject asks all agencies through any of them, and what it then does changes the very next decision."""

import asyncio
import io
import json
import secrets
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from api.cli import app as command_line
from api.door import Told, ask, opened
from api.node_app import at_a_whole_second
from api.node_subject import ASKS_A_DAY
from federation.transport import Record
from nodes.life import Act
from nodes.roles import Role
from protocol import labels
from protocol.agreement import terms
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import ACCESS, terms_to_bytes
from protocol.errors import NotGrantedError, QuotaError, ReplayedError, SealError
from protocol.hpke import unseal
from protocol.identifiers import Identifier, canonical, to_bytes
from protocol.messages import Access, Accessed, Evaluate
from protocol.rounds import access
from protocol.wire import Body, read
from tests.federations import is_of
from tests.flow import pseudonym
from tests.gateways import listing
from tests.parties import REQUESTER, forged
from tests.portals import DAY, ENTRY, FIRM, NAME, NOBODY, OTHER_NAME, STRANGER, Town

DOOR = "court"
LISTING = {"labour", "tax", "market"}


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town.create(tmp_path / "town")
    yield made
    made.close()


def told(town: Town, *identifiers: Identifier, door: str = DOOR) -> Told:
    """What a subject reads that a door's clerk has authenticated."""
    clerk = town.token(door, Role.CLERK)
    shown = {"identifiers": [{"scheme": it.scheme, "value": it.value} for it in identifiers]}
    token = town.post(door, "/clerk/subjects", clerk, shown).json()["token"]
    key, response = town.door(door, token)
    assert response.status_code == 200, response.text
    return opened(town.federation.terms, key, response.json())


def listed(found: Told) -> dict[str, int]:
    return {agency: len(file["listings"]) for agency, file in found.files.items()}


def since(town: Town, start: int) -> list[Record]:
    return town.federation.network.records[start:]


def requests(town: Town, kind: type[Body], receiver: str) -> list[bytes]:
    """The requests of doors that reached a party, as they travelled."""
    sent = [it.data for it in town.federation.network.records if (it.kind, it.receiver) == (kind.TYPE, receiver)]
    return [data for data in sent if is_of(kind, data) and read(data, kind).header.purpose == ACCESS]


async def served_by(town: Town, party: str, kind: str, data: bytes) -> bytes:
    return await town.office.handler(party)(kind, data)


# What the subject reads


def test_a_subject_reads_through_any_door_exactly_its_own_listings_with_reasons(town: Town) -> None:
    for door in (DOOR, "tax"):
        found = told(town, FIRM, door=door)
        assert found.missing == ()
        assert listed(found) == {agency: agency in LISTING for agency in town.federation.terms.agencies}
        [own] = found.files["tax"]["listings"]
        assert (own["decision_ref"], own["subject"]["name"]) == ("D 9/2026", NAME)
        assert own["ground"]["text"] == "Excluded from public contracts by decision."
        assert OTHER_NAME not in json.dumps(found.files)
    assert [it["through"] for it in own["asked_for"]] == [DOOR, "tax"]


def test_one_of_several_numbers_suffices_and_nobody_is_told_nothing(town: Town) -> None:
    assert listed(told(town, NOBODY, STRANGER))["tax"] == 1
    assert set(listed(told(town, NOBODY)).values()) == {0}


def test_that_somebody_asked_stands_in_the_trail_of_the_agencies_that_list_it(town: Town) -> None:
    told(town, FIRM)
    told(town, NOBODY)
    for agency in town.federation.terms.agencies:
        noted = [(it.step.act, it.step.actor) for it in town.federation.registers[agency].trail()]
        assert noted.count((Act.ACCESS, DOOR)) == (agency in LISTING)
        town.federation.listings[agency].verify_trail()


def test_what_is_too_long_for_one_answer_says_so_and_is_not_cut(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MAX_CONTENT", 1_000)
    file = told(town, FIRM).files["tax"]
    assert (file["whole"], file["listings"], file["number"]) == (False, [], 1)
    assert "at its own portal" in file["how"]


def test_an_agency_that_is_away_or_not_sealed_yet_is_named_and_the_others_answer(town: Town) -> None:
    network = town.federation.network
    network.detach("labour")
    waiting = listing("tax", STRANGER, decision_ref="D 99/2026")
    assert [it.done for it in town.federation.registrars["tax"].enter_unsealed([waiting])] == [1]
    found = told(town, FIRM)
    assert found.missing == ("labour", "tax")
    assert listed(found)["market"] == 1


def test_what_an_agency_did_not_sign_for_this_key_is_no_answer(town: Town) -> None:
    token = town.token(DOOR, Role.SUBJECT, FIRM)
    (key, first), (_, second) = town.door(DOOR, token), town.door(DOOR, token)
    document, other = first.json(), second.json()
    swapped = document["answers"] | {"tax": document["answers"]["labour"], "labour": other["answers"]["labour"]}
    assert opened(town.federation.terms, key, document | {"answers": swapped}).missing == ("labour", "tax")
    spoiled: object
    for spoiled in ({}, [], {"request": 1, "answers": {}}, document | {"request": other["request"]}):
        assert opened(town.federation.terms, key, spoiled).files == {}


# What follows


def test_an_objection_a_repair_and_a_correction_change_the_very_next_decision(town: Town) -> None:
    clerk, reviewer = town.token("tax", Role.CLERK, name="cleo"), town.token("tax", Role.REVIEWER, name="rhea")
    firm = canonical("cn.reg_no", "ENTRY-1")
    subject = town.token("tax", Role.SUBJECT, firm, name="subject-1")
    why = {"reason": "why", "document": "letter"}

    def step(path: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        response = town.post("tax", path, token, body)
        assert response.status_code == 200, response.text
        return dict(response.json())

    assert town.measures(firm) == [{}]
    reference = step("/clerk/listings", clerk, ENTRY)["reference"]
    assert town.measures(firm) == [{"exclude": False}]
    step(f"/subject/listings/{reference}/objection", subject, why)
    assert town.measures(firm) == [{"exclude": True}]
    step(f"/clerk/listings/{reference}/reject", reviewer, why)
    assert town.measures(firm) == [{"exclude": False}]
    step(f"/subject/listings/{reference}/correction", subject, why)
    corrected = ENTRY | {"decision_ref": "D 19/2026", "identifier": "ENTRY-2"}
    step(f"/clerk/listings/{reference}/correct", reviewer, why | {"listing": corrected})
    other = canonical("cn.reg_no", "ENTRY-2")
    assert town.measures(firm, other) == [{}, {"exclude": False}]
    reference, subject = town.reference("tax", other), town.token("tax", Role.SUBJECT, other, name="subject-2")
    step(f"/subject/listings/{reference}/repair", subject, why)
    assert town.measures(other) == [{"exclude": False}]
    step(f"/clerk/listings/{reference}/repair", town.token("tax", Role.REVIEWER, name="ruth"), why)
    assert town.measures(other) == [{}]


def test_who_leaves_a_points_scheme_loses_its_incentive_and_is_found_at_no_door(town: Town) -> None:
    assert town.measures(FIRM)[0]["fast"] is False
    member = town.token("market", Role.SUBJECT, FIRM)
    path = f"/subject/listings/{town.reference('market', FIRM)}/leaving"
    assert town.post("market", path, member, {"reason": "no more"}).status_code == 200
    assert "fast" not in town.measures(FIRM)[0]
    assert listed(told(town, FIRM))["market"] == 0


# Who learns what


def test_everything_on_the_wire_is_of_one_size_whether_listed_or_not(town: Town) -> None:
    sizes = []
    for subject in (FIRM, STRANGER, NOBODY):
        start = len(town.federation.network.records)
        token = town.token(DOOR, Role.SUBJECT, subject, name="a")
        response = town.door(DOOR, token)[1]
        wire = sorted((it.sender, it.receiver, it.kind, len(it.data)) for it in since(town, start))
        sizes.append((wire, len(response.content)))
    assert sizes[0] == sizes[1] == sizes[2]
    assert len(sizes[0][0]) == 2 * (1 + 3 + 1 + 5)  # evaluate to C and a quorum, access to C and every agency


def test_neither_door_nor_coordinator_is_given_a_name_or_number(town: Town) -> None:
    _, response = town.door(DOOR, town.token(DOOR, Role.SUBJECT, FIRM))
    passed = response.json()
    carried = [it.data for it in town.federation.network.records]
    carried += [b64decode(passed["request"]), *map(b64decode, passed["answers"].values()), response.content]
    needles = (NAME.encode(), FIRM.value.encode(), b"debarred", b"D 9/2026")
    assert not [needle for needle in needles if any(needle in data for data in carried)]
    assert any(needle in json.dumps(told(town, FIRM).files).encode() for needle in needles)  # the twin: it was there


def test_the_door_cannot_open_the_answers_and_no_other_key_does(town: Town) -> None:
    key, response = town.door(DOOR, town.token(DOOR, Role.SUBJECT, FIRM))
    document = response.json()
    request = read(b64decode(document["request"]), Access)
    sealed = read(b64decode(document["answers"]["tax"]), Accessed).body.sealed
    for party in (DOOR, COORDINATOR, "tax"):
        theirs = town.federation._party(party).sealing_key
        with pytest.raises(SealError):
            unseal(sealed, theirs, labels.SEALED_CONTENT, b"tax", request.hash)
        assert opened(town.federation.terms, theirs, document).files == {}
    assert opened(town.federation.terms, X25519PrivateKey.generate(), document).files == {}
    assert opened(town.federation.terms, key, document).files["tax"]["listings"]


def test_an_answer_leaves_whole_seconds_after_its_request_so_that_time_tells_nothing() -> None:
    async def reply(seconds: float, error: Exception | None = None) -> bytes:
        await asyncio.sleep(seconds)
        if error:
            raise error
        return b"reply"

    async def timed(seconds: float, error: Exception | None = None) -> float:
        started = time.monotonic()
        with suppress(ReplayedError):
            await at_a_whole_second(reply(seconds, error))
        return time.monotonic() - started

    async def all_at_once() -> tuple[float, ...]:
        return await asyncio.gather(timed(0), timed(0.3), timed(0.1, ReplayedError("seen")))

    assert all(0.99 < seconds < 1.5 for seconds in asyncio.run(all_at_once()))


# Limits


def test_what_was_passed_on_once_is_answered_once(town: Town) -> None:
    told(town, FIRM)
    [to_agency, to_coordinator] = (requests(town, Access, it)[-1] for it in ("tax", COORDINATOR))
    accesses = len(town.federation.registers["tax"].trail())
    with pytest.raises(ReplayedError):
        town.federation.nodes["tax"].handle(Access.TYPE, to_agency)
    with pytest.raises(ReplayedError):
        asyncio.run(served_by(town, COORDINATOR, Access.TYPE, to_coordinator))
    assert len(town.federation.registers["tax"].trail()) == accesses


def test_a_doors_day_is_limited_and_the_agencies_count_by_themselves(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terms, "_ACCESSES", 2)
    told(town, FIRM, NOBODY)
    response = town.door(DOOR, town.token(DOOR, Role.SUBJECT, FIRM))[1]
    assert (response.status_code, response.json()["type"]) == (429, "urn:concordat:problem:quota")
    assert 0 < int(response.headers["retry-after"]) <= 86_400
    known = [pseudonym(town.federation.established, to_bytes(FIRM))]
    key = X25519PrivateKey.generate().public_key().public_bytes_raw()
    _, past = access.ask(town.desk(DOOR).party, known, key=key, now=town.clock(), random=secrets.token_bytes)
    with pytest.raises(QuotaError):
        town.federation.nodes["tax"].handle(Access.TYPE, past)
    assert told(town, FIRM, door="labour").missing == ()  # another door has its own


def test_one_subject_does_not_spend_what_is_there_for_all(town: Town) -> None:
    token = town.token(DOOR, Role.SUBJECT, FIRM, name="subject-1")
    assert [town.door(DOOR, token)[1].status_code for _ in range(ASKS_A_DAY)] == [200] * ASKS_A_DAY
    reached = len(town.federation.network.records)
    assert town.door(DOOR, token)[1].status_code == 429
    assert len(town.federation.network.records) == reached
    assert town.door(DOOR, town.token(DOOR, Role.SUBJECT, STRANGER, name="subject-2"))[1].status_code == 200
    town.clock.now += DAY
    assert town.door(DOOR, token)[1].status_code == 200


def test_a_requester_is_no_door(town: Town) -> None:
    told(town, FIRM)
    key = town.federation.established.secrets[REQUESTER].signing_key
    for kind in (Access, Evaluate):
        message = forged(requests(town, kind, COORDINATOR)[-1], kind, key, {"sender": REQUESTER})
        for party in (COORDINATOR, "tax"):
            with pytest.raises(NotGrantedError):
                asyncio.run(served_by(town, party, kind.TYPE, message))


# The subject's own client


@contextmanager
def served(town: Town, agency: str) -> Iterator[str]:
    """An agency's portal on a port of this machine."""
    config = uvicorn.Config(town.app(agency), host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def command(*arguments: str) -> int:
    """The exit code of `concordat subject ask`."""
    code: int = command_line(["subject", "ask", *arguments], standalone_mode=False) or 0
    return code


def test_a_subject_asks_from_the_command_line_with_its_token_out_of_sight(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of, roster, token = town.federation.established, tmp_path / "agreement.roster", tmp_path / "token"
    roster.write_bytes(terms_to_bytes(of.terms.agreement, of.roster))
    token.write_text(f"{town.token(DOOR, Role.SUBJECT, FIRM)}\n")
    with served(town, DOOR) as url:
        assert listed(ask(of.terms, url, token.read_text().strip()))["tax"] == 1
        assert command(url, "--roster", str(roster), "--token-file", str(token), "--json") == 0
        document = json.loads(capsys.readouterr().out.splitlines()[-1])  # the server logs here, too
        assert (document["missing"], document["agencies"]["tax"]["listings"][0]["state"]) == ([], "active")
        monkeypatch.setenv("CONCORDAT_TOKEN", token.read_text())
        assert command(url, "--roster", str(roster)) == 0
        printed = capsys.readouterr().out
        assert f"{town.reference('tax', FIRM)}  active  Debarment from public procurement" in printed
        assert "customs: nothing" in printed
        town.federation.network.detach("customs")
        assert command(url, "--roster", str(roster)) == 5
        assert "no answer from: customs" in capsys.readouterr().err
        monkeypatch.setenv("CONCORDAT_TOKEN", "another")
        assert command(url, "--roster", str(roster)) == 4
        assert command(url) == 2
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert command(url, "--roster", str(roster)) == 3
    monkeypatch.delenv("CONCORDAT_TOKEN")
    assert command(url, "--roster", str(roster)) == 2
