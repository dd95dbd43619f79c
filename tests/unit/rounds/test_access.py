"""A subject asks all agencies through one of them: who learns what, and whom nobody answers."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from federation.audit.leakage import compare, declared, observed_messages, uneven
from federation.transport import Record
from protocol import labels
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import ACCESS, CANARY, SEAL
from protocol.codec import encode, i2osp
from protocol.errors import (
    DecodeError,
    ExpiredError,
    HeaderError,
    NotGrantedError,
    PeerError,
    SealError,
    SignatureError,
    UsageError,
)
from protocol.hpke import seal, unseal
from protocol.messages import CONTENT_BYTES, MAX_IDENTIFIERS, Access, Accessed, Evaluate
from protocol.rounds import access
from protocol.sealing import access_tag, bucket, session_key
from protocol.wire import Signed, read
from tests.parties import AGENCIES, NOW, PURPOSE, REQUESTER, forged
from tests.unit.rounds.door import (
    DOOR,
    FOREIGN,
    HELD,
    NOTHING,
    OWN,
    STRANGER,
    answered,
    asked,
    asking,
    boxes,
    known,
    opened,
    party,
    received,
    replies,
    request,
)
from tests.unit.rounds.steps import LISTED, UNLISTED, blinded, joint, key, receive_evaluate


def test_a_subject_reads_what_every_agency_holds_of_it() -> None:
    found, missing = access.answers(party(DOOR), asked(), encode(replies()), NOW)
    assert missing == ()
    told = {name: opened(found[name], name) for name in AGENCIES}
    assert told == {name: HELD.get(name, NOTHING) for name in AGENCIES}


def test_any_agency_is_a_door_and_asks_itself_too() -> None:
    for door in AGENCIES:
        request = asking(LISTED, door=door)
        assert opened(answered("tax", request.raw), request=request.raw) == HELD["tax"]
        assert set(request.body.sealed) == set(AGENCIES)


def inside(name: str, request: Signed[Access]) -> bytes:
    """What an agency reads in its box."""
    context = name.encode(), request.header.sender.encode(), request.header.session, request.body.key
    return unseal(request.body.sealed[name], party(name).sealing_key, labels.SEALED_ACCESS, *context)


def secrets_of(request: Signed[Access]) -> dict[str, bytes]:
    """What tells who asks, each under its name."""
    needles = {f"t {number}": t for number, t in enumerate(known(LISTED, UNLISTED))}
    needles |= {
        f"tag {number} {name}": access_tag(session_key(t), request.header.session, name)
        for number, t in enumerate(known(LISTED, UNLISTED))
        for name in AGENCIES
    }
    bits = joint().terms.bucket_bits
    return needles | {f"prefix {n}": i2osp(bucket(t, bits), 8) for n, t in enumerate(known(LISTED, UNLISTED))}


def found_in(data: Sequence[bytes], request: Signed[Access]) -> set[str]:
    return {name for name, needle in secrets_of(request).items() if any(needle in item for item in data)}


def test_an_agency_is_told_buckets_and_tags_of_its_own_and_no_pseudonym() -> None:
    """Nor anything by which two agencies, or one in two sessions, would see that they were asked about one person."""
    for name in AGENCIES:
        assert found_in([inside(name, asked())], asked()) == {
            *("prefix 0", "prefix 1"),
            *(f"tag 0 {name}", f"tag 1 {name}"),
        }
    again = asking(LISTED, UNLISTED)
    assert not received("tax", again.raw).tags & received("tax", asked().raw).tags
    assert received("tax", again.raw).prefixes == received("tax", asked().raw).prefixes


def test_the_coordinator_is_told_nothing_of_who_asks() -> None:
    assert found_in([asked().raw, *replies().values()], asked()) == set()
    planted = forged(asked().raw, Access, key(DOOR), body={"key": secrets_of(asked())["tag 0 tax"]})
    assert found_in([planted], asked()) == {"tag 0 tax"}


def test_what_travels_is_as_the_leakage_table_declares_it() -> None:
    records = [Record(DOOR, COORDINATOR, "access", asked().raw)]
    records += [Record(COORDINATOR, name, "access", asked().raw) for name in AGENCIES]
    records += [Record(name, COORDINATOR, "access", reply) for name, reply in replies().items()]
    records += [Record(COORDINATOR, DOOR, "access", encode(replies()))]
    terms = joint().terms
    wrong, _ = compare(declared(), observed_messages(records, terms), terms)
    assert wrong == set()
    assert uneven(records) == set()
    planted = request(body=boxes(tax=bytes(100)))
    assert compare(declared(), observed_messages([Record(DOOR, COORDINATOR, "access", planted)], terms), terms)[0] == {
        "of another shape than `access boxes`: coordinator, traffic: access.body.sealed"
    }


def test_every_answer_is_of_one_size_whatever_an_agency_holds() -> None:
    contents = (b"", NOTHING, HELD["tax"], HELD["tax"] * 100, bytes(access.MAX_CONTENT))
    data = [answered("tax", asked().raw, content) for content in contents]
    assert len({len(reply) for reply in data}) == 1
    assert [opened(reply) for reply in data] == list(contents)
    assert {len(asking(subject).raw) for subject in (LISTED, UNLISTED, b"another")} == {len(asking(LISTED).raw)}


def test_an_answer_without_padding_would_tell_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(read(replies()["tax"], Accessed).body.sealed) == CONTENT_BYTES + 48
    monkeypatch.setattr(access, "CONTENT_BYTES", 0)
    with pytest.raises(UsageError, match="outside its limits"):
        answered("tax", asked().raw)


def test_what_is_too_long_is_not_cut() -> None:
    with pytest.raises(UsageError, match="too long"):
        answered("tax", asked().raw, bytes(access.MAX_CONTENT + 1))


def test_a_subject_asks_under_one_to_sixteen_identifiers() -> None:
    for count in (0, MAX_IDENTIFIERS + 1):
        with pytest.raises(UsageError, match="1 to 16"):
            asking(*[LISTED] * count)
    full = asking(*(bytes([number]) for number in range(MAX_IDENTIFIERS)))
    assert len(received("tax", full.raw).prefixes) == full.header.m == MAX_IDENTIFIERS


# What C and every agency refuse.

ENDED = NOW + 400 * 86_400
ORDER_EIGHT = 325606250916557431795983626356110631294008115727848805560023387167927233504
LOW_ORDER = [point.to_bytes(32, "little") for point in (0, 1, ORDER_EIGHT, 2**255 - 20, 2**255 - 19, 2**255 - 18)]

Fault = tuple[Callable[[], bytes], type[PeerError]]

REFUSED: Mapping[str, Fault] = {
    "altered": (lambda: asked().raw[:-1] + bytes([asked().raw[-1] ^ 1]), SignatureError),
    "signed by another": (lambda: forged(asked().raw, Access, key("tax")), SignatureError),
    "cut short": (lambda: asked().raw[:-1], DecodeError),
    "another message": (lambda: blinded()[1], DecodeError),
    "by nobody of the roster": (lambda: forged(asked().raw, Access, key(DOOR), {"sender": "zebra"}), HeaderError),
    "to another audience": (lambda: request(audience="keyholders"), HeaderError),
    "another epoch": (lambda: request(epoch=2), HeaderError),
    "an answer to something": (lambda: request(answers=bytes(32)), HeaderError),
    "expired": (lambda: request(issued=NOW - 60, expires=NOW), ExpiredError),
    "a requester": (lambda: request(REQUESTER), NotGrantedError),
    "a requester for a purpose of its own": (lambda: request(REQUESTER, purpose=PURPOSE), NotGrantedError),
    "the coordinator": (lambda: request(COORDINATOR), NotGrantedError),
    "an agency that seals": (lambda: request(purpose=SEAL), NotGrantedError),
    "an agency for canaries": (lambda: request(purpose=CANARY), NotGrantedError),
    "an agency for a requester's purpose": (lambda: request(purpose=PURPOSE), NotGrantedError),
    "an agency left out": (lambda: request(body=boxes(tax=None)), DecodeError),
    "an agency too many": (lambda: request(body=boxes(zebra=bytes(48))), DecodeError),
    "no agency": (lambda: request(body=boxes(tax=None, zebra=bytes(48))), DecodeError),
} | {f"a key of low order, {n}": (lambda it=it: request(body={"key": it}), SealError) for n, it in enumerate(LOW_ORDER)}


@pytest.mark.parametrize(("data", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_every_party_refuses(data: Callable[[], bytes], error: type[PeerError]) -> None:
    with pytest.raises(error):
        access.verify(party(COORDINATOR), data(), NOW)
    with pytest.raises(error):
        received("tax", data())


def test_what_they_are_made_from_is_served() -> None:
    access.verify(party(COORDINATOR), request(), NOW)
    received("tax", request())


def test_nobody_is_served_once_the_agreement_has_ended() -> None:
    with pytest.raises(NotGrantedError, match="not in force"):
        received("tax", request(issued=ENDED, expires=ENDED + 60), ENDED)


def test_a_door_does_not_ask_for_a_key_that_anybody_could_open() -> None:
    for point in LOW_ORDER:
        with pytest.raises(SealError):
            asking(LISTED, of=point)


def crafted(plain: bytes, m: int) -> bytes:
    """An `access` whose box for tax holds whatever the door likes."""
    header = asked().header
    context = b"tax", DOOR.encode(), header.session, OWN
    box = seal(plain, joint().terms.sealing_key("tax"), labels.SEALED_ACCESS, *context)
    return request(body=boxes(tax=box), m=m)


def content(prefixes: int = 1, tags: int = 1, prefix: bytes = bytes(8), **more: object) -> bytes:
    return encode({"prefixes": [prefix] * prefixes, "tags": [bytes(32)] * tags} | more)


INSIDE: Mapping[str, tuple[bytes, int]] = {
    "nothing": (b"", 1),
    "no CBOR": (b"\xff" * 40, 1),
    "a number": (encode(1), 1),
    "no identifier": (content(0, 0), 0),
    "a field too many": (content(note=1), 1),
    "a short prefix": (content(prefix=bytes(7)), 1),
    "not canonical": (content() + b"\0", 1),
    "fewer than m": (content(), 2),
    "more than m": (content(2, 2), 1),
    "a tag too few": (content(2, 1), 2),
    "a prefix too few": (content(1, 2), 2),
    "too many": (content(17, 17), 17),
    "a prefix beyond the buckets": (content(prefix=b"\xff" * 8), 1),
}


@pytest.mark.parametrize(("plain", "m"), INSIDE.values(), ids=INSIDE.keys())
def test_a_box_that_holds_something_else_is_refused(plain: bytes, m: int) -> None:
    received("tax", crafted(content(), 1))
    with pytest.raises(DecodeError):
        received("tax", crafted(plain, m))


def test_a_prefix_is_within_the_buckets() -> None:
    bits = joint().terms.bucket_bits
    received("tax", crafted(content(prefix=i2osp((1 << bits) - 1, 8)), 1))
    with pytest.raises(DecodeError):
        received("tax", crafted(content(prefix=i2osp(1 << bits, 8)), 1))


STOLEN: Mapping[str, Callable[[], bytes]] = {
    "by another agency for a key of its own": lambda: request("court", body={"key": FOREIGN}),
    "by another agency": lambda: request("court"),
    "for another key": lambda: request(body={"key": FOREIGN}),
    "in another session": lambda: request(session=bytes(16)),
    "to another agency": lambda: request(body=boxes(tax=asked().body.sealed["court"])),
}


@pytest.mark.parametrize("data", STOLEN.values(), ids=STOLEN.keys())
def test_nobody_can_pass_another_doors_question_off_as_its_own(data: Callable[[], bytes]) -> None:
    """Each agency holds the whole message; with its own key in it, it would be told what the others hold."""
    with pytest.raises(SealError):
        received("tax", data())


def test_a_box_that_was_not_bound_to_its_door_and_key_could_be_stolen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_context", lambda agency, _door, session, _key: (agency.encode(), session))
    loose = asking(LISTED)
    stolen = forged(loose.raw, Access, key("court"), {"sender": "court"}, {"key": FOREIGN})
    assert opened(answered("tax", stolen), of=STRANGER, request=stolen) == HELD["tax"]


# The first round, by which a door comes to the pseudonyms.


def test_an_agency_evaluates_for_a_subject_and_nobody_else_does() -> None:
    def evaluate(sender: str) -> object:
        return receive_evaluate(forged(blinded()[1], Evaluate, key(sender), {"sender": sender, "purpose": ACCESS}))

    for name in AGENCIES:
        evaluate(name)
    for name in (REQUESTER, "bank", COORDINATOR):
        with pytest.raises(NotGrantedError):
            evaluate(name)
