"""What the coordinator takes as a question and as an agency's answer to it."""

import secrets
from collections.abc import Callable, Mapping, Sequence

import pytest

from protocol.codec import i2osp
from protocol.errors import (
    BlockError,
    CiphertextError,
    DecodeError,
    ExpiredError,
    HeaderError,
    IndeterminateError,
    SealError,
    SignatureError,
)
from protocol.messages import Answer, Ask
from protocol.rounds import agency, coordinator
from protocol.sealing import TAG_BYTES, mask, tag
from protocol.wire import read, write
from tests.parties import AGENCIES, NOW, REQUESTER, forged
from tests.unit.rounds.steps import (
    DISPUTED,
    LATE,
    LISTED,
    UNLISTED,
    N,
    P,
    Q,
    answers,
    joint,
    key,
    look,
    question,
    question_at_coordinator,
    randomised,
)


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
    return coordinator.unseal_blocks(question().c, read(answers()[name], Answer, 1 << 26))


def answering(*changed: bytes, name: str = "labour") -> Sequence[int | None]:
    header = read(answers()[name], Answer, 1 << 26).header
    reply = write(header, Answer(agency.seal_blocks(joint().parties[name], changed, header.answers)), key(name))
    return coordinator.accept(question().c, question().session, name, reply, NOW)


def test_an_answer_shows_nobody_but_the_coordinator_what_matched() -> None:
    """Neither R, who knows its tag and may have asked the agency itself, nor another agency."""
    wanted, sealed = tag(question().session.look.body.secrets[0], "labour"), read(answers()["labour"], Answer, 1 << 26)
    assert wanted in blocks()[0]
    assert wanted not in answers()["labour"]
    for stranger in (REQUESTER, "tax", "labour"):
        with pytest.raises(SealError):
            coordinator.unseal_blocks(joint().parties[stranger], sealed)


def test_a_box_is_one_agencys_answer_to_one_question() -> None:
    labour = joint().parties["labour"]
    header = read(answers()["labour"], Answer, 1 << 26).header
    for sealer, ask in ((joint().parties["tax"], header.answers), (labour, bytes(32))):
        reply = write(header, Answer(agency.seal_blocks(sealer, blocks(), ask)), key("labour"))
        with pytest.raises(SealError):
            coordinator.accept(question().c, question().session, "labour", reply, NOW)


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
