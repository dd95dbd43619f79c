"""Requester, agency, keyholder and coordinator, step by step: what each refuses, from whomever it comes."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from protocol import labels, lanes
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import SEAL
from protocol.codec import encode, i2osp
from protocol.errors import (
    BlockError,
    BucketOverflowError,
    CiphertextError,
    CommitmentError,
    DecisionError,
    DecodeError,
    ExpiredError,
    GroupElementError,
    HeaderError,
    IndeterminateError,
    LaneError,
    NotGrantedError,
    OpeningError,
    PeerError,
    ProofError,
    QuorumError,
    SealError,
    SignatureError,
)
from protocol.group import IDENTITY, scalar_base_mult, scalar_from_int
from protocol.hpke import seal, unseal
from protocol.lanes import LaneKind, Standing
from protocol.messages import (
    Answer,
    Ask,
    Decide,
    Decision,
    Effect,
    Evaluate,
    Evaluated,
    Look,
    Open,
    Opened,
    Prove,
    Proved,
    SealedAsk,
)
from protocol.rounds import agency, coordinator, keyholder, requester
from protocol.sealing import TAG_BYTES, ask_commitment, mask, tag
from protocol.wire import MAX_LIFETIME, read, to_map, write
from tests.flow import Joint, Question, opening_share, oprf_share, pseudonym
from tests.parties import AGENCIES, NOW, PURPOSE, REQUESTER, agreement, established, forged, randomiser, small_primes

LISTED, DISPUTED, UNLISTED = b"listed", b"disputed", b"unlisted"
QUORUM = AGENCIES[:3]
LATE = NOW + MAX_LIFETIME


def registers(*names: str) -> list[str]:
    return [f"{name}-register" for name in names]


@cache
def joint() -> Joint:
    """Small buckets; customs feeds no lane, court and market feed one condition of the two."""
    of = established(
        agreement(
            rules=[
                {"measure": "exclude", "when": {"registers": registers("labour", "tax")}},
                {
                    "measure": "scrutinise",
                    "when": {
                        "registers": registers("labour", "tax", "court", "market"),
                        "min_agencies": 2,
                        "min_weight": 4,
                    },
                },
            ],
            anonymity={"population": 20_000, "k_min": 200, "max_listings": 60},
        )
    )
    listed = {LISTED: [Standing("labour-register", 3, disputed=False)]}
    return Joint(
        of,
        {
            "labour": listed | {DISPUTED: [Standing("labour-register", 3, disputed=True)]},
            "tax": {LISTED: [Standing("tax-register", 2, disputed=False)]},
        },
    )


def key(name: str) -> Any:
    return joint().of.secrets[name].signing_key


@cache
def question() -> Question:
    """One question about three subjects that tests share and do not change."""
    return joint().ask([LISTED, DISPUTED, UNLISTED])


@cache
def answers() -> dict[str, bytes]:
    return question().answers()


@cache
def sums() -> coordinator.Sums:
    return question().add(answers())


# The requester's first round, and a keyholder's.


@cache
def blinded() -> tuple[requester.Blinding, bytes]:
    return joint().blind([LISTED, UNLISTED])


def accept(reply: bytes, holder: str = "tax") -> Sequence[bytes]:
    return requester.accept(joint().parties[REQUESTER], blinded()[0], holder, reply, NOW)


def pseudonyms(replies: object) -> tuple[bytes, ...]:
    return requester.pseudonyms(joint().parties[REQUESTER], blinded()[0], encode(replies), NOW)


def evaluated(*holders: str) -> dict[str, bytes]:
    return {holder: joint().evaluate(holder, blinded()[1]) for holder in holders}


@pytest.mark.parametrize("quorum", [QUORUM, AGENCIES[2:], AGENCIES])
def test_any_quorum_gives_the_pseudonyms_of_the_whole_key(quorum: tuple[str, ...]) -> None:
    expected = tuple(pseudonym(joint().of, subject) for subject in (LISTED, UNLISTED))
    assert pseudonyms(evaluated(*quorum)) == expected


def test_every_question_is_blinded_anew() -> None:
    first, second = (read(joint().blind([LISTED])[1], Evaluate).body for _ in range(2))
    assert first.blinded != second.blinded
    assert first.case != second.case


EVALUATED: Mapping[str, tuple[Mapping[str, Any], type[PeerError]]] = {
    "another proof": ({"proof": bytes(64)}, ProofError),
    "a scalar out of range": ({"proof": b"\xff" * 64}, PeerError),
    "the identity": ({"elements": (IDENTITY, IDENTITY)}, GroupElementError),
    "no element": ({"elements": (b"\xff" * 32,) * 2}, GroupElementError),
    "one element too few": ({"elements": (scalar_base_mult(scalar_from_int(2)),)}, ProofError),
    "one element too many": ({"elements": (scalar_base_mult(scalar_from_int(2)),) * 3}, ProofError),
}


@pytest.mark.parametrize(("body", "error"), EVALUATED.values(), ids=EVALUATED.keys())
def test_a_wrong_evaluation_is_refused_and_its_keyholder_named(body: Mapping[str, Any], error: type[PeerError]) -> None:
    replies = evaluated(*QUORUM)
    accept(replies["tax"])
    wrong = forged(replies["tax"], Evaluated, key("tax"), body=body)
    with pytest.raises(error):
        accept(wrong)
    with pytest.raises(IndeterminateError) as caught:
        pseudonyms(replies | {"tax": wrong})
    assert caught.value.missing == ("tax",)
    assert len(pseudonyms(replies | {"tax": wrong} | evaluated("market"))) == 2  # any three right ones suffice


def test_elements_exchanged_between_subjects_are_refused() -> None:
    right = read(evaluated("tax")["tax"], Evaluated)
    with pytest.raises(ProofError):
        accept(forged(right.raw, Evaluated, key("tax"), body={"elements": right.body.elements[::-1]}))


def test_a_keyholder_with_another_key_is_caught_however_it_proves() -> None:
    own, foreign = oprf_share(joint().of, "tax"), oprf_share(joint().of, "court")
    for share in (foreign, replace(own, secret=foreign.secret)):
        with pytest.raises(ProofError):
            accept(joint().evaluate("tax", blinded()[1], share))
    accept(joint().evaluate("tax", blinded()[1], own))


def test_two_liars_are_both_named() -> None:
    replies = evaluated(*AGENCIES[:4])
    wrong = {
        holder: forged(replies[holder], Evaluated, key(holder), body={"proof": bytes(64)}) for holder in QUORUM[:2]
    }
    with pytest.raises(IndeterminateError) as caught:
        pseudonyms(replies | wrong)
    assert caught.value.missing == tuple(sorted(QUORUM[:2]))


def test_too_few_replies_name_the_coordinator() -> None:
    for holders in ((), QUORUM[:2]):
        with pytest.raises(IndeterminateError) as caught:
            pseudonyms(evaluated(*holders))
        assert caught.value.missing == (COORDINATOR,)


FRAMED: Mapping[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "cut short": lambda reply: reply[:-1],
    "altered": lambda reply: reply[:-1] + bytes([reply[-1] ^ 1]),
    "another keyholder's": lambda _: evaluated("court")["court"],
    "made by the coordinator": lambda reply: forged(reply, Evaluated, key(COORDINATOR)),
    "an answer to another request": lambda _: joint().evaluate("tax", joint().blind([LISTED, UNLISTED])[1]),
}


@pytest.mark.parametrize("alter", FRAMED.values(), ids=FRAMED.keys())
def test_the_coordinator_cannot_frame_a_keyholder(alter: Callable[[bytes], bytes]) -> None:
    """It verified every reply before it passed it on, so what is not the keyholder's reply is its own doing."""
    replies = evaluated(*QUORUM)
    with pytest.raises(IndeterminateError) as caught:
        pseudonyms(replies | {"tax": alter(replies["tax"])})
    assert caught.value.missing == (COORDINATOR,)


@pytest.mark.parametrize(
    "replies", [[], 1, None, "x", {"zebra": b""}, {"tax": 5}, {"tax": "x"}, {"tax": None}, {"tax": []}]
)
def test_what_is_no_map_of_replies_does_not_decode(replies: object) -> None:
    with pytest.raises(DecodeError):
        pseudonyms(replies)
    with pytest.raises(DecodeError):
        requester.pseudonyms(joint().parties[REQUESTER], blinded()[0], b"garbage", NOW)


def receive_evaluate(data: bytes, holder: str = "tax", now: int = NOW) -> object:
    return keyholder.receive_evaluate(joint().parties[holder], data, now)


@pytest.mark.parametrize(
    ("element", "reason"), [(IDENTITY, "identity"), (b"\xff" * 32, "canonical"), (bytes(31) + b"\x80", "canonical")]
)
def test_a_keyholder_evaluates_elements_only(element: bytes, reason: str) -> None:
    right = read(blinded()[1], Evaluate).body.blinded
    for wrong in ((right[0], element), (element, right[1])):
        with pytest.raises(GroupElementError, match=reason):
            receive_evaluate(forged(blinded()[1], Evaluate, key(REQUESTER), body={"blinded": wrong}))
    with pytest.raises(GroupElementError, match="canonical"):
        receive_evaluate(
            forged(
                blinded()[1],
                Evaluate,
                key(REQUESTER),
                body={"blinded": (right[0][:31] + bytes([right[0][31] | 0x80]), right[1])},
            )
        )


@pytest.mark.parametrize("count", [1, 3])
def test_a_keyholder_evaluates_exactly_one_element_a_subject(count: int) -> None:
    """Or more could be had than is charged."""
    element = read(blinded()[1], Evaluate).body.blinded[0]
    with pytest.raises(DecodeError, match="one element a subject"):
        receive_evaluate(forged(blinded()[1], Evaluate, key(REQUESTER), body={"blinded": (element,) * count}))


RIGHTS: Mapping[str, tuple[str, str]] = {
    "another requester's purpose": ("bank", PURPOSE),
    "no purpose of the agreement": (REQUESTER, "curiosity"),
    "a requester that seals": (REQUESTER, SEAL),
    "an agency that asks": ("tax", PURPOSE),
    "an agency for another purpose": ("tax", "dkg"),
    "the coordinator": (COORDINATOR, PURPOSE),
    "the coordinator seals": (COORDINATOR, SEAL),
}


@pytest.mark.parametrize(("sender", "purpose"), RIGHTS.values(), ids=RIGHTS.keys())
def test_without_a_right_nothing_is_evaluated(sender: str, purpose: str) -> None:
    header = {"sender": sender, "purpose": purpose}
    with pytest.raises(NotGrantedError):
        receive_evaluate(forged(blinded()[1], Evaluate, key(sender), header))


def test_requesters_for_their_purposes_and_agencies_that_seal_are_served() -> None:
    for sender, purpose in ((REQUESTER, PURPOSE), ("bank", "lend"), ("market", SEAL)):
        assert receive_evaluate(
            forged(blinded()[1], Evaluate, key(sender), {"sender": sender, "purpose": purpose}), "tax"
        )


def test_nobody_is_served_once_the_agreement_has_ended() -> None:
    later = NOW + 400 * 86_400
    for sender, purpose in ((REQUESTER, PURPOSE), ("market", SEAL)):
        header = {"sender": sender, "purpose": purpose, "issued": later, "expires": later + 60}
        with pytest.raises(NotGrantedError, match="not in force"):
            receive_evaluate(forged(blinded()[1], Evaluate, key(sender), header), now=later)


# The question at an agency.


def crafted(plain: bytes, commitment: bytes, session: bytes = b"s" * 16, m: int = 1) -> bytes:
    """An `ask` whose sealed parts hold whatever R likes."""
    r, terms = joint().parties[REQUESTER], joint().terms
    boxes = {
        name: seal(plain, terms.sealing_key(name), labels.SEALED_ASK, name.encode(), session) for name in terms.agencies
    }
    return r.send(Ask(commitment, boxes), audience="agencies", session=session, purpose=PURPOSE, m=m, now=NOW)


def asking(*prefixes: int, nonce: bytes = bytes(32), m: int | None = None, com: bytes | None = None) -> bytes:
    plain = encode(to_map(SealedAsk(nonce, tuple(i2osp(prefix, 8) for prefix in prefixes))))
    commitment = ask_commitment(b"s" * 16, nonce, prefixes) if com is None else com
    return crafted(plain, commitment, m=len(prefixes) if m is None else m)


def receive(asked: bytes, name: str = "tax") -> agency.Asked:
    return agency.receive(joint().parties[name], asked, NOW)


def test_an_agency_learns_the_nonce_and_the_prefixes_that_were_asked() -> None:
    for name in AGENCIES:
        asked = receive(question().asked, name)
        assert (asked.nonce, asked.prefixes) == (question().state.nonce, question().state.prefixes)
    highest = (1 << joint().terms.bucket_bits) - 1
    assert receive(asking(0, highest)).prefixes == (0, highest)


@pytest.mark.parametrize(("sender", "purpose"), RIGHTS.values(), ids=RIGHTS.keys())
def test_without_a_right_no_question_is_answered_or_opened(sender: str, purpose: str) -> None:
    header = {"sender": sender, "purpose": purpose}
    asked = forged(question().asked, Ask, key(sender), header)
    with pytest.raises(NotGrantedError):
        receive(asked)
    look = {"ask": read(asked, Ask).hash}
    with pytest.raises(NotGrantedError):
        question_at_coordinator(asked, forged(question().looked, Look, key(sender), header, look))
    with pytest.raises(NotGrantedError):
        receive_open(open_request(body={"ask": asked}))


PREFIXES: Mapping[str, Callable[[], bytes]] = {
    "beyond the buckets": lambda: asking(1 << joint().terms.bucket_bits),
    "far beyond": lambda: asking(2**64 - 1),
    "one of two beyond": lambda: asking(0, 1 << joint().terms.bucket_bits),
    "fewer than m": lambda: asking(0, m=2),
    "more than m": lambda: asking(0, 0, m=1),
    "m is zero": lambda: asking(0, m=0),
}


@pytest.mark.parametrize("asked", PREFIXES.values(), ids=PREFIXES.keys())
def test_prefixes_that_do_not_fit_are_refused(asked: Callable[[], bytes]) -> None:
    with pytest.raises(DecodeError, match="prefixes does not fit"):
        receive(asked())


OTHERS: Mapping[str, Callable[[], bytes]] = {
    "nothing": lambda: bytes(32),
    "other prefixes": lambda: ask_commitment(b"s" * 16, bytes(32), (1,)),
    "another nonce": lambda: ask_commitment(b"s" * 16, b"n" * 32, (0,)),
    "another session": lambda: ask_commitment(b"t" * 16, bytes(32), (0,)),
    "another question": lambda: question().state.ask.body.commitment,
}


@pytest.mark.parametrize("com", OTHERS.values(), ids=OTHERS.keys())
def test_another_question_than_committed_to_is_refused(com: Callable[[], bytes]) -> None:
    """So R cannot ask agencies about different subjects and subtract the answers."""
    with pytest.raises(CommitmentError):
        receive(asking(0, com=com()))
    receive(asking(0))


INNER = {"nonce": bytes(32), "prefixes": [bytes(8)]}
SEALED: Mapping[str, bytes] = {
    "nothing": b"",
    "no CBOR": b"\xff" * 40,
    "a list": encode([1, 2]),
    "a number": encode(1),
    "no prefixes": encode(INNER | {"prefixes": []}),
    "a short prefix": encode(INNER | {"prefixes": [bytes(7)]}),
    "a short nonce": encode(INNER | {"nonce": bytes(31)}),
    "a field missing": encode({"nonce": bytes(32)}),
    "a field too many": encode(INNER | {"note": 1}),
    "not canonical": encode(INNER) + b"\x00",
}


@pytest.mark.parametrize("plain", SEALED.values(), ids=SEALED.keys())
def test_a_sealed_part_that_holds_something_else_does_not_decode(plain: bytes) -> None:
    receive(crafted(encode(INNER), ask_commitment(b"s" * 16, bytes(32), (0,))))
    with pytest.raises(DecodeError):
        receive(crafted(plain, bytes(32)))


def test_a_sealed_part_is_for_one_agency() -> None:
    boxes = dict(question().state.ask.body.sealed)
    swapped = boxes | {"tax": boxes["court"], "court": boxes["tax"]}
    for wrong in (swapped, boxes | {"tax": boxes["tax"][:-1] + bytes([boxes["tax"][-1] ^ 1])}):
        with pytest.raises(SealError):
            receive(forged(question().asked, Ask, key(REQUESTER), body={"sealed": wrong}))


def test_a_sealed_part_is_for_one_session() -> None:
    with pytest.raises(SealError):
        receive(forged(question().asked, Ask, key(REQUESTER), {"session": bytes(16)}))


def test_every_agency_is_asked_and_nobody_else() -> None:
    boxes = dict(question().state.ask.body.sealed)
    for names in (
        {name: box for name, box in boxes.items() if name != "market"},
        boxes | {"zebra": boxes["tax"]},
        boxes | {REQUESTER: boxes["tax"]},
    ):
        with pytest.raises(DecodeError, match="exactly the agreement's agencies"):
            receive(forged(question().asked, Ask, key(REQUESTER), body={"sealed": names}))


def test_an_overfull_bucket_is_not_answered() -> None:
    asked, own, size = receive(question().asked), joint().parties["tax"], joint().terms.bucket_size
    silent = (0,) * len(joint().terms.layout.lanes)

    def answer(entries: int) -> bytes:
        bucket = [(secrets.token_bytes(64), silent) for _ in range(entries)]
        buckets = dict.fromkeys(asked.prefixes, bucket)
        return agency.answer(own, asked, buckets, randomised(), secrets.token_bytes, NOW)

    assert read(answer(size), Answer, 1 << 26).body.blocks
    with pytest.raises(BucketOverflowError):
        answer(size + 1)


def randomised() -> Any:
    return randomiser(joint().of)


def test_a_subject_whose_payload_is_zero_has_no_entry() -> None:
    """The disputed subject stands in labour's register alone, the third one nowhere."""
    lifted = question().accept(answers())
    assert [value is not None for value in lifted["labour"]] == [True, True, False]
    assert [value is not None for value in lifted["tax"]] == [True, False, False]
    assert {name: set(lifted[name]) for name in ("court", "market", "customs")} == {
        name: {None} for name in ("court", "market", "customs")
    }


# The coordinator: the question, and each agency's answer.


def question_at_coordinator(asked: bytes, looked: bytes) -> coordinator.Session:
    return coordinator.receive(joint().parties[COORDINATOR], asked, looked, NOW)


def look(
    header: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None, signer: str = REQUESTER
) -> bytes:
    return forged(question().looked, Look, key(signer), header, body)


def test_a_look_belongs_to_its_ask() -> None:
    other = joint().ask([LISTED, DISPUTED, UNLISTED])
    secrets_, sigmas = question().state.look.body.secrets, question().state.look.body.sigmas
    assert question_at_coordinator(question().asked, look()).m == 3
    for wrong in (
        other.looked,
        look(body={"ask": bytes(32)}),
        look({"session": bytes(16)}),
        look({"m": 2}),
        look({"purpose": "lend"}),
        look({"sender": "bank"}, signer="bank"),
        look(body={"secrets": secrets_[:2]}),
        look(body={"sigmas": sigmas[:2]}),
        look(body={"secrets": (*secrets_, bytes(32)), "sigmas": (*sigmas, bytes(32))}),
    ):
        with pytest.raises(HeaderError, match="look"):
            question_at_coordinator(question().asked, wrong)


def test_each_of_the_two_messages_is_verified_by_itself() -> None:
    with pytest.raises(SignatureError):
        question_at_coordinator(forged(question().asked, Ask, key("bank")), question().looked)
    with pytest.raises(SignatureError):
        question_at_coordinator(question().asked, look(signer="bank"))
    with pytest.raises(DecodeError):
        question_at_coordinator(question().looked, question().asked)


def blocks(name: str = "labour") -> tuple[bytes, ...]:
    return read(answers()[name], Answer, 1 << 26).body.blocks


def answering(*changed: bytes, name: str = "labour") -> Sequence[int | None]:
    reply = write(read(answers()[name], Answer, 1 << 26).header, Answer(changed), key(name))
    return coordinator.accept(question().c, question().session, name, reply, NOW)


def rows(block: bytes) -> list[bytes]:
    width = TAG_BYTES + joint().terms.public_key.ciphertext_bytes
    return [block[start : start + width] for start in range(0, len(block), width)]


BLOCKS: Mapping[str, Callable[[list[bytes]], list[bytes]]] = {
    "unsorted": lambda rows: [rows[1], rows[0], *rows[2:]],
    "descending": lambda rows: rows[::-1],
    "short of an entry": lambda rows: rows[1:],
    "short of a byte": lambda rows: [*rows[:-1], rows[-1][:-1]],
    "an entry too many": lambda rows: [*rows, b"\xff" * len(rows[0])],
    "a byte too many": lambda rows: [*rows, b"\x00"],
    "one entry twice": lambda rows: [rows[0], *rows[:-1]],
    "one tag twice": lambda rows: [rows[0], rows[0][:TAG_BYTES] + rows[1][TAG_BYTES:], *rows[2:]],
    "a single byte": lambda _: [b"\x00"],
}


@pytest.mark.parametrize("change", BLOCKS.values(), ids=BLOCKS.keys())
@pytest.mark.parametrize("subject", [0, 2])
def test_a_block_is_exactly_its_entries_in_order(change: Callable[[list[bytes]], list[bytes]], subject: int) -> None:
    changed = list(blocks())
    changed[subject] = b"".join(change(rows(changed[subject])))
    with pytest.raises(BlockError):
        answering(*changed)
    assert answering(*blocks()) == question().accept(answers())["labour"]


def test_an_answer_has_one_block_a_subject() -> None:
    for changed in (blocks()[:2], (*blocks(), blocks()[0]), blocks() * 40):
        with pytest.raises((BlockError, DecodeError)):
            answering(*changed)


def test_a_subject_is_looked_for_in_its_own_block_only() -> None:
    first, second, third = blocks()
    assert answering(third, second, first) == (None, question().accept(answers())["labour"][1], None)


def test_an_answer_is_one_agencys_own() -> None:
    with pytest.raises(HeaderError, match="another party"):
        coordinator.accept(question().c, question().session, "tax", answers()["labour"], NOW)
    other = joint().ask([LISTED, DISPUTED, UNLISTED])
    with pytest.raises(HeaderError, match="another message"):
        coordinator.accept(question().c, other.session, "labour", answers()["labour"], NOW)
    with pytest.raises(ExpiredError):
        coordinator.accept(question().c, question().session, "labour", answers()["labour"], LATE)


def with_element(element: int) -> Sequence[int | None]:
    """Labour's answer, the first subject's entry holding this instead of a ciphertext."""
    secret, width = question().state.look.body.secrets[0], joint().terms.public_key.ciphertext_bytes
    position = tag(secret, "labour")
    masked = mask(secret, "labour", i2osp(element, width))
    changed = [position + masked if row.startswith(position) else row for row in rows(blocks()[0])]
    assert changed != rows(blocks()[0])
    return answering(b"".join(changed), *blocks()[1:])


P, Q = small_primes()
N = P * Q
ELEMENTS: Mapping[str, int] = {
    "zero": 0,
    "N": N,
    "a factor": P,
    "a multiple of the other": 12345 * Q,
    "a power of one": P**3,
    "N squared": N * N,
    "beyond N squared": N * N + 1,
    "as wide as can be": (1 << 1024) - 1,
}


@pytest.mark.parametrize("element", ELEMENTS.values(), ids=ELEMENTS.keys())
def test_what_matches_has_to_be_a_ciphertext(element: int) -> None:
    with pytest.raises(CiphertextError):
        with_element(element)


@pytest.mark.parametrize("element", [1, 2, N + 1, N * N - 1], ids=["1", "2", "N + 1", "N squared - 1"])
def test_every_ciphertext_is_taken(element: int) -> None:
    assert with_element(element)[0] == element


def test_what_does_not_match_may_be_anything() -> None:
    """Fillers are random: also those that no ciphertext could be, which happens to one in some blocks."""
    secret = question().state.look.body.secrets[2]
    width = joint().terms.public_key.ciphertext_bytes
    for element in (0, N, (1 << 1024) - 1):
        first = bytes(TAG_BYTES) + mask(secret, "labour", i2osp(element, width))
        changed = b"".join([first, *rows(blocks()[2])[1:]])
        assert answering(*blocks()[:2], changed)[2] is None


def test_one_missing_answer_is_no_answer() -> None:
    lifted = question().accept(answers())
    for missing in (["court"], ["court", "labour"], list(AGENCIES)):
        rest = {name: value for name, value in lifted.items() if name not in missing}
        with pytest.raises(IndeterminateError) as caught:
            coordinator.add(question().c, question().session, rest, randomised(), secrets.token_bytes)
        assert caught.value.missing == tuple(sorted(missing))


# Payloads: an agency encrypts what it likes, the lanes and checks refuse it.


def lane(condition: int, kind: LaneKind) -> int:
    """Bit at which a lane of the first or second condition begins."""
    layout, names = joint().terms.layout, [registers("labour", "tax"), registers("court", "labour", "market", "tax")]
    wanted = next(
        index for index, it in enumerate(layout.lanes) if (list(it.condition), it.kind) == (names[condition], kind)
    )
    return sum(layout.widths[:wanted])


def adding(monkeypatch: pytest.MonkeyPatch, amount: int, name: str = "labour", subjects: Sequence[bytes] = ()) -> bytes:
    """The decisions' bytes when one agency adds `amount` to every payload it encrypts."""
    asked = joint().ask(subjects or [LISTED])
    honest = asked.answers()
    with monkeypatch.context() as patched:
        patched.setattr(agency, "encode", lambda layout, values: (lanes.encode(layout, values) + amount) % N)
        dishonest = joint().answer(name, asked.asked)
    return asked.decide(QUORUM, honest | {name: dishonest})


def test_the_payloads_that_the_dishonest_ones_are_made_from_are_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    assert adding(monkeypatch, 0)


OUT_OF_BOUND: Mapping[str, Callable[[], int]] = {
    "one agency counts for two": lambda: 1 << lane(0, LaneKind.COUNT),
    "one agency counts for many": lambda: 6 << lane(0, LaneKind.COUNT),
    "disputes of three agencies": lambda: 3 << lane(1, LaneKind.DISPUTED),
    "more weight than agencies bring": lambda: 600 << lane(1, LaneKind.WEIGHT),
    "carried into the next lane": lambda: 1 << lane(1, LaneKind.WEIGHT) - 1,
    "above the lanes": lambda: 1 << joint().terms.layout.width,
    "into the next slot": lambda: 1 << joint().terms.layout.stride,
    "into a later slot": lambda: 1 << 2 * joint().terms.layout.stride,
    "more taken away than there is": lambda: -(3 << lane(0, LaneKind.COUNT)),
    "its own count taken away": lambda: -(1 << lane(0, LaneKind.COUNT)),
    "another's count taken away too": lambda: -(2 << lane(0, LaneKind.COUNT)),
    "all weight taken away": lambda: -(5 << lane(1, LaneKind.WEIGHT)),
    "the greatest plaintext": lambda: N // 2,
}


@pytest.mark.parametrize("amount", OUT_OF_BOUND.values(), ids=OUT_OF_BOUND.keys())
def test_a_lane_out_of_bound_is_never_a_decision(amount: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LaneError):
        adding(monkeypatch, amount())


def test_within_the_bounds_an_agency_can_still_make_anothers_listing_disputed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the protocol, said in its threat model: labour has tax's listing count as disputed, like its own."""
    counts = sum(1 << lane(condition, LaneKind.COUNT) for condition in (0, 1))
    disputes = sum(1 << lane(condition, LaneKind.DISPUTED) for condition in (0, 1))
    amount = 2 * (disputes - counts) - (5 << lane(1, LaneKind.WEIGHT))
    asked = joint().ask([LISTED])
    honest = asked.answers()
    monkeypatch.setattr(agency, "encode", lambda layout, values: (lanes.encode(layout, values) + amount) % N)
    reply = asked.decide(QUORUM, honest | {"labour": joint().answer("labour", asked.asked)})
    assert requester.decisions(asked.r, asked.state, reply, NOW)[0].body.measures["exclude"] == Effect.DISPUTED


@pytest.mark.parametrize("slot", [1, 2])
def test_a_payload_does_not_reach_into_a_neighbours_slot(slot: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even within the neighbour's bounds: DISPUTED has no count, and one would be within what labour may bring."""
    amount = 1 << slot * joint().terms.layout.stride + lane(0, LaneKind.COUNT)
    with pytest.raises(LaneError):
        adding(monkeypatch, amount, subjects=[LISTED, *[DISPUTED] * 3])


def test_an_agency_brings_nothing_to_a_lane_that_it_does_not_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Market matches the subject by a listing of its own, which counts under the second condition only."""
    both = Joint(
        joint().of,
        {
            "tax": {LISTED: [Standing("tax-register", 2, disputed=True)]},
            "market": {LISTED: [Standing("market-register", 2, disputed=False)]},
        },
    )
    asked = both.ask([LISTED])
    assert both.check([LISTED], QUORUM)[0].body.measures == {"exclude": Effect.DISPUTED, "scrutinise": Effect.DISPUTED}
    monkeypatch.setattr(
        agency, "encode", lambda layout, values: lanes.encode(layout, values) + (1 << lane(0, LaneKind.COUNT))
    )
    with pytest.raises(LaneError):
        asked.decide(QUORUM, asked.answers() | {"market": both.answer("market", asked.asked)})


def test_agencies_that_match_without_feeding_a_lane_do_not_widen_it() -> None:
    """Beside tax, labour may count once more in both conditions; market, which feeds the second alone, may not."""
    taxed = Joint(joint().of, {"tax": {LISTED: [Standing("tax-register", 1, disputed=False)]}})
    asked = taxed.ask([LISTED])
    accepted = asked.accept(asked.answers())
    payload = sum(1 << lane(*it) for it in ((0, LaneKind.COUNT), (1, LaneKind.COUNT), (1, LaneKind.WEIGHT)))
    planted = joint().terms.public_key.encrypt(payload, randomised().fresh(secrets.token_bytes))

    def opened_with(name: str) -> tuple[int, ...]:
        lifted = accepted | {name: (planted,)}
        added = coordinator.add(asked.c, asked.session, lifted, randomised(), secrets.token_bytes)
        return coordinator.opened(asked.c, asked.session, added, asked.shares(added, QUORUM))[0]

    assert sum(opened_with("labour")) == 6
    with pytest.raises(LaneError):
        opened_with("market")


# Opening.


def open_request(
    header: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None, signer: str = COORDINATOR
) -> bytes:
    return forged(question().open_request(sums().chunks[0], "tax"), Open, key(signer), header, body)


def receive_open(data: bytes, now: int = NOW) -> keyholder.Opening:
    return keyholder.receive_open(joint().parties["tax"], data, now)


def test_a_keyholder_opens_for_the_coordinator_under_the_requesters_signed_ask() -> None:
    opening = receive_open(open_request())
    assert (opening.chunk, opening.ask.raw, opening.ask.header.sender) == (0, question().asked, REQUESTER)
    assert opening.x == sums().chunks[0].ciphertext ** 2 % N


@pytest.mark.parametrize("sender", [REQUESTER, "bank", "court"])
def test_only_the_coordinator_has_something_opened_or_proven(sender: str) -> None:
    with pytest.raises(NotGrantedError, match="only the coordinator"):
        receive_open(open_request({"sender": sender}, signer=sender))
    with pytest.raises(NotGrantedError, match="only the coordinator"):
        receive_prove(forged(prove_request(), Prove, key(sender), {"sender": sender}))
    with pytest.raises(SignatureError):
        receive_open(open_request(signer=sender))


def test_without_the_requesters_signature_nothing_is_opened() -> None:
    message = read(question().asked, Ask)
    for signer in (COORDINATOR, "tax", "bank"):
        with pytest.raises(SignatureError):
            receive_open(open_request(body={"ask": write(message.header, message.body, key(signer))}))
    for ask in (question().looked, b"garbage", question().asked[:-1]):
        with pytest.raises(DecodeError):
            receive_open(open_request(body={"ask": ask}))


def test_an_ask_that_has_expired_opens_nothing() -> None:
    now = NOW + MAX_LIFETIME
    fresh = {"issued": now, "expires": now + MAX_LIFETIME}
    receive_open(open_request({"issued": now - 1, "expires": now + 5}), now - 1)
    with pytest.raises(ExpiredError):
        receive_open(open_request(fresh), now)


@pytest.mark.parametrize("header", [{"session": bytes(16)}, {"m": 2}, {"m": 120}])
def test_an_opening_is_for_the_session_of_its_ask(header: Mapping[str, Any]) -> None:
    with pytest.raises(HeaderError, match="another session"):
        receive_open(open_request(header))


def test_an_opening_is_for_a_chunk_that_the_question_has() -> None:
    slots = joint().terms.slots
    many = joint().ask([UNLISTED] * (slots + 1))
    data = many.open_request(many.add().chunks[0], "tax")
    for chunk, subjects in ((0, slots), (1, 1)):
        opening = receive_open(forged(data, Open, key(COORDINATOR), body={"chunk": chunk}))
        assert opening.subjects(slots) == subjects
    for chunk in (2, 3, 119):
        with pytest.raises(DecodeError, match="beyond"):
            receive_open(forged(data, Open, key(COORDINATOR), body={"chunk": chunk}))


CHALLENGES: Mapping[str, bytes] = {
    "zero": bytes(64),
    "N": i2osp(N, 64),
    "beyond N": b"\xff" * 64,
    "a factor": i2osp(P, 64),
    "a multiple of a factor": i2osp(2 * Q, 64),
    "too short": i2osp(4, 63),
    "too long": i2osp(4, 65),
    "one byte": b"\x04",
}


@pytest.mark.parametrize("x", CHALLENGES.values(), ids=CHALLENGES.keys())
def test_an_opening_challenge_is_an_element_of_the_group(x: bytes) -> None:
    with pytest.raises(CiphertextError):
        receive_open(open_request(body={"x": x}))
    with pytest.raises(CiphertextError):
        receive_prove(forged(prove_request(), Prove, key(COORDINATOR), body={"x": x}))


def opened(shares: Mapping[str, int]) -> object:
    return coordinator.opened(question().c, question().session, sums(), [shares])


@cache
def shares() -> dict[str, int]:
    return question().shares(sums(), AGENCIES)[0]


ALTERED: Mapping[str, Callable[[int], int]] = {
    "one more": lambda share: share + 1,
    "zero": lambda _: 0,
    "one": lambda _: 1,
    "squared": lambda share: share * share % N,
    "shifted by a power of x": lambda share: share * (sums().chunks[0].ciphertext ** 2) % N,
    "shifted by a chosen plaintext": lambda share: share * (1 + N) % (N * N),
    "not reduced": lambda share: share + N,
    "N": lambda _: N,
    "a factor": lambda _: P,
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED.keys())
@pytest.mark.parametrize("liar", [QUORUM[0], QUORUM[2]])
def test_an_altered_opening_share_opens_nothing_and_its_maker_is_named(alter: Callable[[int], int], liar: str) -> None:
    wrong = {holder: shares()[holder] for holder in QUORUM}
    wrong[liar] = alter(wrong[liar])
    with pytest.raises(OpeningError):
        opened(wrong)
    for holder in QUORUM:
        if holder == liar:
            with pytest.raises(ProofError):
                accept_proof(holder, wrong[holder])
        else:
            accept_proof(holder, wrong[holder])


def test_right_shares_of_any_quorum_open_to_the_same_lanes() -> None:
    assert len({opened({holder: shares()[holder] for holder in quorum}) for quorum in joint().quorums()}) == 1


def test_shares_exchanged_between_keyholders_open_nothing() -> None:
    first, second, third = (shares()[holder] for holder in QUORUM)
    with pytest.raises(OpeningError):
        opened(dict(zip(QUORUM, (second, first, third), strict=True)))


def test_a_share_of_another_chunk_opens_nothing() -> None:
    other = joint().ask([LISTED])
    foreign = other.share(other.add().chunks[0], "tax")
    with pytest.raises(OpeningError):
        opened({"labour": shares()["labour"], "tax": foreign, "court": shares()["court"]})


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_the_threshold_open_nothing(count: int) -> None:
    with pytest.raises(QuorumError):
        opened({holder: shares()[holder] for holder in AGENCIES[:count]})


def test_an_opening_share_is_one_keyholders_own_reply() -> None:
    request = question().open_request(sums().chunks[0], "tax")
    reply = joint().opened("tax", request)
    with pytest.raises(HeaderError, match="another party"):
        coordinator.accept_share(question().c, read(request, Open), "court", reply, NOW)
    again = read(question().open_request(sums().chunks[0], "court"), Open)
    with pytest.raises(HeaderError, match="another message"):
        coordinator.accept_share(question().c, again, "tax", reply, NOW)
    with pytest.raises(SignatureError):
        coordinator.accept_share(question().c, read(request, Open), "tax", forged(reply, Opened, key("court")), NOW)


def prove_request(holder: str = "tax") -> bytes:
    return coordinator.prove_request(question().c, question().session, sums().chunks[0], holder, NOW)


def receive_prove(data: bytes, holder: str = "tax") -> keyholder.Proof:
    return keyholder.receive_prove(joint().parties[holder], data, NOW)


def proved(holder: str, data: bytes) -> bytes:
    proof = receive_prove(data, holder)
    return keyholder.prove(joint().parties[holder], proof, opening_share(joint().of, holder), secrets.token_bytes, NOW)


def accept_proof(holder: str, share: int, body: Mapping[str, Any] | None = None) -> None:
    request = prove_request(holder)
    reply = forged(proved(holder, request), Proved, key(holder), body=body)
    coordinator.accept_proof(question().c, read(request, Prove), holder, share, reply, NOW)


def test_a_proof_that_was_tampered_with_names_its_maker() -> None:
    accept_proof("tax", shares()["tax"])
    for body in ({"challenge": bytes(32)}, {"response": b"\x01"}, {"response": bytes(2048)}):
        with pytest.raises(ProofError):
            accept_proof("tax", shares()["tax"], body)


def test_whether_a_chunk_was_opened_is_the_nodes_to_check() -> None:
    """The round proves the share of any x: it keeps no memory, and the ledger that does is the node's."""
    x = i2osp(4, 64)
    assert receive_prove(forged(prove_request(), Prove, key(COORDINATOR), body={"x": x})).x == 4


# The decision.


@cache
def reply() -> bytes:
    return coordinator.decide(question().c, question().session, question().lanes(QUORUM, answers()), NOW)


def decisions(data: bytes, now: int = NOW) -> Sequence[Any]:
    return requester.decisions(question().r, question().state, data, now)


@cache
def decided() -> tuple[bytes, ...]:
    return read(reply(), Decide).body.decisions


def deciding(*changed: bytes) -> Sequence[Any]:
    return decisions(forged(reply(), Decide, key(COORDINATOR), body={"decisions": changed}))


def decision(header: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None) -> bytes:
    return forged(decided()[0], Decision, key(COORDINATOR), header, body)


def test_each_subject_gets_its_own_decision() -> None:
    effects = [decision.body.measures for decision in decisions(reply())]
    assert effects == [
        {"exclude": Effect.APPLIES, "scrutinise": Effect.APPLIES},
        {"exclude": Effect.DISPUTED, "scrutinise": Effect.NONE},
        {"exclude": Effect.NONE, "scrutinise": Effect.NONE},
    ]
    first = decisions(reply())[0]
    assert first.header.expires - first.header.issued == joint().terms.decision_seconds
    assert first.body.having(Effect.APPLIES) == ("exclude", "scrutinise")


DECISIONS: Mapping[str, Callable[[], bytes]] = {
    "altered": lambda: decided()[0][:-1] + bytes([decided()[0][-1] ^ 1]),
    "no decision": lambda: b"\x00",
    "another message": lambda: question().asked[: Decision.LIMIT],
    "signed by an agency": lambda: forged(decided()[0], Decision, key("tax")),
    "signed by the requester": lambda: forged(decided()[0], Decision, key(REQUESTER)),
    "sent by an agency": lambda: forged(decided()[0], Decision, key("tax"), {"sender": "tax"}),
    "another agreement": lambda: decision({"agreement": "other"}),
    "another version": lambda: decision({"version": 2}),
    "another epoch": lambda: decision({"epoch": 2}),
    "another session": lambda: decision({"session": bytes(16)}),
    "another requester": lambda: decision({"audience": "bank"}),
    "another purpose": lambda: decision({"purpose": "lend"}),
    "another number of subjects": lambda: decision({"m": 1}),
    "an answer of its own": lambda: decision({"answers": bytes(32)}),
    "issued before the question": lambda: decision({"issued": NOW - 60, "expires": NOW - 60 + 86_400}),
    "issued in the future": lambda: decision({"issued": NOW + 60, "expires": NOW + 60 + 86_400}),
    "valid for longer": lambda: decision({"expires": NOW + 86_401}),
    "valid for less": lambda: decision({"expires": NOW + 1}),
    "another subject's": lambda: decided()[1],
    "another subject's number": lambda: decision(body={"subject": 1}),
    "another binding": lambda: decision(body={"binding": bytes(32)}),
    "an agency missing": lambda: decision(body={"agencies": 4}),
    "an agency too many": lambda: decision(body={"agencies": 6}),
    "a measure missing": lambda: decision(body={"measures": {"exclude": 0}}),
    "a measure too many": lambda: decision(body={"measures": {"exclude": 0, "scrutinise": 0, "more": 0}}),
    "another measure": lambda: decision(body={"measures": {"exclude": 0, "more": 0}}),
}


@pytest.mark.parametrize("wrong", DECISIONS.values(), ids=DECISIONS.keys())
def test_a_decision_that_does_not_fit_its_question_is_none(wrong: Callable[[], bytes]) -> None:
    with pytest.raises(DecisionError):
        deciding(wrong(), *decided()[1:])
    assert decision() == decided()[0]
    assert len(deciding(*decided())) == 3


def test_there_is_one_decision_a_subject_in_order() -> None:
    first, second, third = decided()
    for wrong in ((first, second), (first, second, third, third), (second, first, third), (first, first, third)):
        with pytest.raises(DecisionError):
            deciding(*wrong)


def test_decisions_come_from_the_coordinator_for_this_question() -> None:
    with pytest.raises(SignatureError):
        decisions(forged(reply(), Decide, key("tax")))
    with pytest.raises(HeaderError, match="another party"):
        decisions(forged(reply(), Decide, key("tax"), {"sender": "tax"}))
    with pytest.raises(HeaderError, match="another message"):
        decisions(forged(reply(), Decide, key(COORDINATOR), {"answers": question().state.ask.hash}))
    with pytest.raises(HeaderError, match="another message"):
        decisions(joint().ask([LISTED, DISPUTED, UNLISTED]).decide(QUORUM))
    with pytest.raises(ExpiredError):
        decisions(reply(), LATE)


def test_a_requester_learns_only_the_measures_it_implements() -> None:
    bank = joint().parties["bank"]
    known = [pseudonym(joint().of, LISTED)]
    state, asked, looked = requester.ask(bank, known, purpose="lend", now=NOW, random=secrets.token_bytes)
    session = question_at_coordinator(asked, looked)
    values = question().lanes(QUORUM, answers())[:1]
    data = coordinator.decide(joint().parties[COORDINATOR], session, values, NOW)
    assert requester.decisions(bank, state, data, NOW)[0].body.measures == {"scrutinise": Effect.APPLIES}


# What travels: sizes, and who sees what.


def sizes(subject: bytes) -> dict[str, int]:
    """Lengths of all messages of one question, from the first to the last."""
    state, evaluate = joint().blind([subject])
    asked = joint().ask([subject])
    links = {"evaluate": evaluate, "ask": asked.asked, "look": asked.looked}
    links |= {f"evaluated {holder}": joint().evaluate(holder, evaluate) for holder in QUORUM}
    assert len(state.inputs) == 1
    answers = asked.answers()
    links |= {f"answer {name}": answer for name, answer in answers.items()}
    added = asked.add(answers)
    for chunk in added.chunks:
        for holder in QUORUM:
            links[f"open {chunk.number} {holder}"] = asked.open_request(chunk, holder)
            links[f"opened {chunk.number} {holder}"] = joint().opened(holder, asked.open_request(chunk, holder))
    opened = coordinator.opened(asked.c, asked.session, added, asked.shares(added, QUORUM))
    links["decide"] = coordinator.decide(asked.c, asked.session, opened, NOW)
    return {link: len(data) for link, data in links.items()}


def test_every_message_is_as_long_for_a_match_as_for_none() -> None:
    assert sizes(LISTED) == sizes(UNLISTED) == sizes(DISPUTED)
    assert len(sizes(LISTED)) == 18


def leaky_block(entries: Mapping[bytes, bytes], *_: object) -> bytes:
    return b"".join(position + entries[position] for position in sorted(entries)) or b"\x00"


def leaky_decision(**fields: Any) -> Decision:
    applying = {measure: effect for measure, effect in fields["measures"].items() if effect}
    return Decision(**fields | {"measures": applying or {"none": 0}})


@pytest.mark.parametrize(
    ("place", "name", "leak"), [(agency, "build_block", leaky_block), (coordinator, "Decision", leaky_decision)]
)
def test_a_leak_by_size_would_be_seen(place: object, name: str, leak: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, name, leak)
    if place is agency:
        monkeypatch.setattr(coordinator, "read_block", lambda *_: {bytes(16): bytes(128)})
    assert sizes(LISTED) != sizes(UNLISTED)


def found(needles: Mapping[str, bytes], haystack: Sequence[bytes]) -> set[str]:
    return {name for name, needle in needles.items() if any(needle in data for data in haystack)}


def derived_from_secrets() -> dict[str, bytes]:
    """What follows from t or T for the listed subject, each under its name."""
    body = question().state.look.body
    derived = {"t": question().known[0], "T": body.secrets[0], "sigma": body.sigmas[0]}
    for name in AGENCIES:
        derived[f"tag {name}"] = tag(body.secrets[0], name)
        derived[f"mask {name}"] = mask(body.secrets[0], name, bytes(32))
    derived["binding"] = read(decided()[0], Decision).body.binding
    return derived


def seen_by(name: str, ask: bytes) -> list[bytes]:
    own = joint().parties[name]
    message = read(ask, Ask)
    plain = unseal(message.body.sealed[name], own.sealing_key, labels.SEALED_ASK, name.encode(), message.header.session)
    return [ask, plain]


def test_nothing_derived_from_a_subjects_secret_goes_to_an_agency() -> None:
    for name in AGENCIES:
        assert found(derived_from_secrets(), seen_by(name, question().asked)) == set()


def test_a_planted_secret_would_be_found_at_an_agency() -> None:
    planted = forged(question().asked, Ask, key(REQUESTER), body={"commitment": question().state.look.body.secrets[0]})
    assert found(derived_from_secrets(), seen_by("tax", planted)) == {"T"}


def hidden_from_coordinator() -> dict[str, bytes]:
    state = question().state
    needles = {f"prefix {number}": i2osp(prefix, 8) for number, prefix in enumerate(state.prefixes)}
    return needles | {"nonce": state.nonce} | {f"t {number}": t for number, t in enumerate(question().known)}


def test_no_prefix_and_no_nonce_is_in_anything_the_coordinator_receives() -> None:
    received = [question().asked, question().looked, *answers().values(), *evaluated(*QUORUM).values()]
    received += [joint().opened(holder, question().open_request(sums().chunks[0], holder)) for holder in QUORUM]
    assert found(hidden_from_coordinator(), received) == set()


@pytest.mark.parametrize("leak", ["nonce", "prefix 0", "t 1"])
def test_a_planted_prefix_or_nonce_would_be_found_at_the_coordinator(leak: str) -> None:
    planted = (hidden_from_coordinator()[leak] + bytes(32))[:32], *question().state.look.body.sigmas[1:]
    needles = {name: needle[:32] for name, needle in hidden_from_coordinator().items()}
    assert leak in found(needles, [look(body={"sigmas": planted})])


def test_states_and_messages_show_no_secret() -> None:
    shown = repr((question().state, blinded()[0], question().session, sums(), receive(question().asked)))
    for needle in (question().state.nonce, LISTED, *question().known, question().asked):
        assert repr(needle)[2:-1] not in shown
