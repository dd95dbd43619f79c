"""Nothing hostile is accepted and nothing crashes, from damaged bytes to what a malicious insider signs."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import cbor2
import rbcl

from api.audit.claim import Claim, Evidence
from api.audit.grounds import REQUESTER, Grounds
from api.audit.targets import targets
from api.audit.targets.question import KEYHOLDER, Question, Target
from api.audit.targets.sieving import SIEVED, by_sieve
from protocol.agreement.roster import COORDINATOR
from protocol.codec import encode, os2ip
from protocol.envelope import Envelope, sign
from protocol.errors import GroupElementError, PeerError
from protocol.messages import Answer, Decide, Decision, Evaluate
from protocol.rounds import agency, coordinator, keyholder
from protocol.rounds.party import KEYHOLDERS, Party
from protocol.sealing import TAG_BYTES, marks, mask, tag
from protocol.wire import Header, read

OF_EACH_PLANT = 1_000


@dataclass
class _Tried:
    """What became of hostile inputs: the faults there were, and those accepted or crashed on, by receiver."""

    faults: Counter[str]
    found: Counter[str]


def _attack(tried: Iterable[Target], draws: random.Random, inputs: int) -> _Tried:
    """Give each receiver its part of the inputs. A PeerError refuses; anything else is a crash."""
    faults, found = Counter[str](), Counter[str]()
    for target, _ in zip(cycle(tried), range(inputs), strict=False):
        fault, data = target.fault(draws)
        faults[f"{target.name}: {fault}"] += 1
        try:
            target.accept(data)
        except PeerError:
            continue
        except Exception as error:  # noqa: BLE001  # a crash of any kind is what is looked for
            found[f"{type(error).__name__} at {target.name}: {fault}"] += 1
        else:
            found[f"accepted at {target.name}: {fault}"] += 1
    return _Tried(faults, found)


def _deaf(tried: Iterable[Target]) -> list[str]:
    """Receivers that refuse their honest input too, so that refusing the others would say nothing."""
    found = []
    for target in tried:
        try:
            target.accept(target.honest)
        except PeerError as error:
            found.append(f"{target.name} refuses an honest input: {type(error).__name__}")
    return found


# Receivers that leave a check out.


def _careless(it: Question) -> dict[str, tuple[str, str, Callable[[Any], object]]]:
    """By what is planted: whose place it takes, what must be found there (a pattern), and how it receives."""
    node, c, now = it.scene.party(KEYHOLDER), by_sieve(it.c), it.now
    wanted = list(marks(it.session.look.body.secrets, KEYHOLDER))

    def any_encoding(data: bytes) -> object:
        """Decodes what the library decodes."""
        envelope = Envelope(*cbor2.loads(data))
        envelope.verify(node.terms.signing_key(REQUESTER))
        same = sign(envelope.payload_type, encode(cbor2.loads(envelope.payload)), it.key(REQUESTER))
        return keyholder.receive_evaluate(node, same.to_bytes(), now)

    def any_element(data: bytes) -> object:
        """Trusts the library's own check of elements."""
        request = node.receive(data, Evaluate, now, audience=KEYHOLDERS)
        node.terms.require_right(request.header.sender, request.header.purpose, now)
        if len(request.body.blinded) != request.header.m or not all(
            map(rbcl.crypto_core_ristretto255_is_valid_point, request.body.blinded)
        ):
            raise GroupElementError("no element")
        return request

    def any_epoch(data: bytes) -> object:
        """Looks at no epoch."""
        return agency.receive(_AnyEpoch(node.id, node.terms, node.signing_key, node.sealing_key), data, now)

    def any_ciphertext(data: bytes) -> object:
        """Lifts whatever number stands in the place that matches."""
        message = it.c.receive_reply(data, Answer, it.session.ask, KEYHOLDER, now)
        return [_lifted(it, subject, block) for subject, block in enumerate(coordinator.unseal_blocks(it.c, message))]

    def any_block(data: bytes) -> object:
        """Looks for its entry wherever it is."""
        message = c.receive_reply(data, Answer, it.session.ask, KEYHOLDER, now)
        return [block.find(secret[:TAG_BYTES]) for secret in wanted for block in coordinator.unseal_blocks(c, message)]

    def any_decision(data: bytes) -> object:
        """Takes any decision that the coordinator signed."""
        message = it.r.receive_reply(data, Decide, it.question.look, COORDINATOR, now)
        for decision in message.body.decisions:
            read(decision, Decision).envelope.verify(it.terms.signing_key(COORDINATOR))
        return message

    def in_haste(data: bytes) -> object:
        """Reads the header first, whatever the input is."""
        return cbor2.loads(cbor2.loads(data)[1])["header"]["sender"]

    return {
        "encodings that are not canonical": ("evaluate, keyholder", "accepted .*: an indefinite length", any_encoding),
        "the identity": ("evaluate, keyholder", "accepted .*: the identity", any_element),
        "stale epochs": ("ask, agency", "accepted .*: a stale epoch|accepted .*: an epoch", any_epoch),
        "ciphertexts out of range": ("answer, coordinator", "accepted .*: ciphertext", any_ciphertext),
        "blocks of any form": (SIEVED, "accepted .*: a (block|tag)|accepted .*: two entries", any_block),
        "decisions of other questions": ("decide, requester", "accepted .*: decision: another", any_decision),
        "a crash": ("ask, agency", r"\w+Error at", in_haste),
    }


class _AnyEpoch(Party):
    """Takes messages of every agreement, version and epoch."""

    def _check_epoch(self, header: Header) -> None:
        pass


def _lifted(it: Question, subject: int, block: bytes) -> int | None:
    width = TAG_BYTES + it.terms.public_key.ciphertext_bytes
    secret = it.session.look.body.secrets[subject]
    rows = (block[start : start + width] for start in range(0, len(block), width))
    found = (row for row in rows if row[:TAG_BYTES] == tag(secret, KEYHOLDER))
    return next((os2ip(mask(secret, KEYHOLDER, row[TAG_BYTES:])) for row in found), None)


def _measure(grounds: Grounds) -> Evidence:
    _, receivers = targets(grounds, "hostile-input")
    inputs = grounds.pick(1_000, 10_000, 10_000)
    tried = _attack(receivers.values(), grounds.draws("hostile input"), inputs)
    accepted = sum(count for name, count in tried.found.items() if name.startswith("accepted"))
    found = [*tried.found, *_deaf(receivers.values())]
    return Evidence(
        bool(found),
        {
            "hostile inputs": inputs,
            "receivers": len(receivers),
            "different faults among them": len(tried.faults),
            "accepted": accepted,
            "crashes": tried.found.total() - accepted,
        },
        found,
    )


def _control(grounds: Grounds) -> Evidence:
    it, receivers = targets(grounds, "hostile-input-control")
    draws, found = grounds.draws("hostile input, planted"), dict[str, int]()
    for planted, (name, fault, accept) in _careless(it).items():
        tried = _attack([replace(receivers[name], accept=accept)], draws, OF_EACH_PLANT)
        found[planted] = sum(count for it, count in tried.found.items() if re.match(fault, it))
    return Evidence(all(found.values()), found, [planted for planted, count in found.items() if count])


CLAIM = Claim(
    number=13,
    name="hostile-input",
    statement="No party accepts an input that fails a check of the specification, and no input makes a party crash.",
    attack="Every handler of every party and every check of a reply is given bytes damaged on the way, CBOR in other "
    "encodings, and messages that an insider signed rightly: elements that are the identity or not canonical, "
    "ciphertexts out of range, other epochs, sessions, subjects, senders, blocks cut or in another order.",
    sizing="A fault is refused or not, whatever the keys: the number is for breadth. What a plant accepts is more than "
    f"one of 70 inputs to its receiver: {OF_EACH_PLANT} inputs all miss it with probability below 10^-6.",
    planted="A decoder that takes every encoding; one that takes the library's word for elements; an agency that looks "
    "at no epoch; a coordinator that lifts any number, and one that looks into any block of a sieve; a "
    "requester that takes any decision; a decoder that crashes.",
    measure=_measure,
    control=_control,
)
