"""A whole federation gives right answers: those of a plain join of all registers, as they stand at that moment."""

import asyncio
import random as seeded
from datetime import date, timedelta
from pathlib import Path

import pytest

from api.demo.plain import PlainJoin
from nodes.catalogue import load_catalogue
from nodes.life import Act, Author
from nodes.lifecycle import Clock, Life, Record
from protocol.agreement.roster import COORDINATOR
from protocol.codec import decode
from protocol.errors import NotGrantedError
from protocol.messages import Answer, Ask, Effect, Evaluate, Look, Open
from protocol.rounds.coordinator import unseal_blocks
from protocol.sealing import read_block, tag
from protocol.wire import MAX_SUBJECTS, read
from tests.federations import BOTH, DISPUTED, EXPIRED, NOBODY, NONE, NOTIFIED, ONE, SECOND, TODAY, Scene, firm, listing
from tests.parties import AGENCIES, PURPOSE, REQUESTER, forged

LONG_AGO = date(2020, 3, 1)
SUBJECT, HEAD = Author("subject", "it was not me"), Author("head of office", "as decided", "D 9/2026")


def test_each_subject_is_decided_by_its_listings_as_they_stand(scene: Scene) -> None:
    assert scene.check(BOTH, ONE, DISPUTED, EXPIRED, NOTIFIED, NOBODY, SECOND) == [
        {"exclude": Effect.APPLIES, "scrutinise": Effect.APPLIES},
        {"exclude": Effect.APPLIES, "scrutinise": Effect.NONE},
        {"exclude": Effect.DISPUTED, "scrutinise": Effect.NONE},
        NONE,
        NONE,
        NONE,
        {"exclude": Effect.APPLIES, "scrutinise": Effect.NONE},
    ]


def made_records() -> dict[str, list[Record]]:
    """Listings in every state, several of one subject at an agency, some with two or three identifiers."""
    numbers = seeded.Random("local federation")  # noqa: S311  # made data
    records: dict[str, list[Record]] = {agency: [] for agency in AGENCIES}
    for number in range(150):
        agency = numbers.choice(AGENCIES)
        identifiers = [firm(numbers.randrange(60)) for _ in range(numbers.choice((1, 1, 2, 3)))]
        made = listing(
            agency,
            *dict.fromkeys(identifiers),
            severity=numbers.randint(1, 3),
            decision_ref=f"D {number}",
            decided_on=numbers.choice((date(2026, 3, 1), LONG_AGO)),
            served_on=numbers.choice((date(2026, 3, 5), TODAY - timedelta(days=3))),
        )
        dispute = numbers.choice((None, None, Clock("object", TODAY, TODAY + timedelta(days=9))))
        records[agency].append(Record(made, Life(made.served_on, dispute=dispute)))
    return records


def test_a_federation_answers_as_a_plain_join_of_all_registers(tmp_path: Path) -> None:
    records = made_records()
    scene = Scene.create(tmp_path, {agency: [record.listing for record in own] for agency, own in records.items()})
    for agency, own in records.items():
        register = scene.federation.registers[agency]
        for record in own:
            if record.life.dispute and record.listing.decided_on != LONG_AGO:  # what has expired cannot be disputed
                reference = scene.federation.listings[agency].reference(record.listing)
                assert register.act(reference, Act.OBJECT, SUBJECT).life == record.life
    join = PlainJoin(
        scene.federation.terms.agreement, load_catalogue(), [record for own in records.values() for record in own]
    )
    subjects = [*join.identifiers(), *(firm(number) for number in range(1000, 1040))]
    for start in range(0, len(subjects), MAX_SUBJECTS):
        batch = subjects[start : start + MAX_SUBJECTS]
        for subject, effects in zip(batch, scene.check(*batch), strict=True):
            expected = join.outcome(subject, REQUESTER, TODAY)
            assert {name for name, effect in effects.items() if effect is Effect.APPLIES} == set(expected.measures)
            assert {name for name, effect in effects.items() if effect is Effect.DISPUTED} == set(expected.disputed)


def test_a_dispute_acts_on_the_very_next_question_and_so_does_its_end(fresh: Scene) -> None:
    register = fresh.federation.registers["tax"]
    (record,) = register.find([ONE])
    assert fresh.check(ONE)[0]["exclude"] is Effect.APPLIES
    fresh.federation.dispute("tax", ONE)
    assert fresh.check(ONE)[0]["exclude"] is Effect.DISPUTED
    register.act(record.reference, Act.REJECT, HEAD)
    assert fresh.check(ONE)[0]["exclude"] is Effect.APPLIES
    for act in (Act.REVOKE, Act.ERASE):
        register.act(record.reference, act, HEAD)
        assert fresh.check(ONE)[0] == NONE
    assert register.find([ONE]) == []


def test_a_term_ends_without_anything_having_to_run(tmp_path: Path) -> None:
    scene = Scene.create(tmp_path, {"tax": [listing("tax", ONE, expires_on=TODAY)]})
    assert scene.check(ONE)[0]["exclude"] is Effect.APPLIES
    scene.clock.now += 86_400
    assert scene.check(ONE)[0] == NONE


def test_a_listing_counts_from_the_moment_it_is_sealed(fresh: Scene) -> None:
    assert fresh.check(NOBODY)[0] == NONE
    asyncio.run(fresh.federation.enter("customs", [listing("customs", NOBODY)]))
    assert fresh.check(NOBODY)[0]["exclude"] is Effect.APPLIES


def test_a_requester_asks_for_its_own_purposes_only(scene: Scene) -> None:
    bank = scene.federation.requesters["bank"]
    assert asyncio.run(bank.check([BOTH], "lend", "loan 3"))[0].body.measures == {"scrutinise": Effect.APPLIES}
    for purpose in (PURPOSE, "curiosity", "seal"):
        with pytest.raises(NotGrantedError):
            asyncio.run(bank.check([BOTH], purpose, "loan 3"))


def test_an_agency_sends_nothing_for_measures_that_the_requester_does_not_implement(tmp_path: Path) -> None:
    """Whoever C is, it cannot have opened for the bank what only the procurement office may use."""
    rules = [
        {"measure": measure, "when": {"registers": [f"{agency}-register"]}}
        for measure, agency in (("exclude", "labour"), ("scrutinise", "tax"))
    ]
    scene = Scene.create(tmp_path, rules=rules)
    for requester, purpose, sent in (("bank", "lend", {"tax"}), (REQUESTER, PURPOSE, {"labour", "tax"})):
        asyncio.run(scene.federation.requesters[requester].check([BOTH], purpose, "case"))
        _, looked = decode(scene.recorded(Ask, COORDINATOR), Ask.LIMIT + Look.LIMIT)
        [secret] = read(looked, Look).body.secrets
        size = scene.federation.terms.public_key.ciphertext_bytes
        coordinator = scene.federation.established.secrets[COORDINATOR].party(COORDINATOR, scene.federation.terms)
        answers = {
            it.sender: unseal_blocks(coordinator, read(it.data, Answer))[0]
            for it in scene.federation.network.records
            if (it.kind, it.receiver) == (Ask.TYPE, COORDINATOR) and it.sender in AGENCIES
        }
        found = {
            agency
            for agency, block in answers.items()
            if tag(secret, agency) in read_block(block, scene.federation.terms.bucket_size, size)
        }
        assert found == sent


def test_agencies_that_are_no_keyholders_answer_and_open_nothing(tmp_path: Path) -> None:
    scene = Scene.create(tmp_path, keyholders=AGENCIES[:3], threshold=2)
    assert scene.check(BOTH, NOBODY)[0]["exclude"] is Effect.APPLIES
    evaluate, opening = scene.recorded(Evaluate, "labour"), scene.recorded(Open, "labour")
    node = scene.federation.nodes["market"]
    for kind, data in (
        (Evaluate, evaluate),
        (Open, forged(opening, Open, scene.key(COORDINATOR), {"audience": "market"})),
    ):
        with pytest.raises(NotGrantedError, match="no keyholder"):
            node.handle(kind.TYPE, data)
