"""No two answers can be subtracted: there are no partial ones, and no second one under the same masks."""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from api.audit.claim import Claim, Evidence
from api.audit.dishonest import Behaviour, Scene, forged
from api.audit.grounds import PURPOSE, REQUESTER, Grounds, firm, listing
from federation.coordinator import Arithmetic, Coordinator
from nodes.storage.engine import open_engine
from nodes.storage.state import ProtocolState
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Allowance
from protocol.codec import decode, encode
from protocol.errors import IndeterminateError, PeerError
from protocol.messages import Answer, Ask, Decide, Decision, Look
from protocol.rounds import coordinator as rounds
from protocol.rounds import requester
from protocol.rounds.coordinator import unseal_blocks
from protocol.sealing import PSEUDONYM_BYTES, TAG_BYTES
from protocol.wire import Header, read

LISTED, UNLISTED = firm(1), firm(2)
LISTING = "tax"
"""The agency whose register is updated between replays."""
REMEMBERED = 2 * 3600
"""Seconds after which a node has forgotten a session."""

Lifted = Mapping[str, Sequence[int | None]]
Add = Callable[[Scene, rounds.Session, Lifted], object]


def _scene(grounds: Grounds, name: str) -> Scene:
    return Scene.create(grounds, name, {agency: [listing(agency, LISTED)] for agency in ("labour", LISTING)})


def _subsets(agencies: Sequence[str], most: int) -> Iterator[tuple[str, ...]]:
    for size in range(1, most + 1):
        yield from itertools.combinations(agencies, size)


# An answer over some agencies.


def _partial(scene: Scene, who: Iterable[tuple[str, ...]], *, down: bool) -> Iterator[str]:
    """What a question finds while agencies are down, or keep from answering it, and ought not to."""
    for absent in who:
        with scene.playing({agency: None if down else _speechless(scene, agency) for agency in absent}):
            outcome = scene.ask(LISTED, UNLISTED)
        if outcome.decided:
            yield f"decided without {', '.join(absent)}"
        elif outcome.missing != tuple(sorted(absent)):
            yield f"without {', '.join(absent)}, others are named: {', '.join(outcome.missing)}"


def _speechless(scene: Scene, agency: str) -> Behaviour:
    """An agency that evaluates and opens, and does not answer the question."""

    def behave(kind: str, data: bytes) -> bytes:
        if kind == Ask.TYPE:
            raise IndeterminateError([agency])
        return scene.federation.nodes[agency].handle(kind, data)

    return behave


def _left_out(scene: Scene, add: Add) -> Iterator[str]:
    """Whom a coordinator can leave out of a sum, answers of all others given."""
    agencies = scene.federation.terms.agencies
    asked, looked = _question(scene)
    session = rounds.receive(scene.party(COORDINATOR), asked, looked, scene.clock())
    for absent in _subsets(agencies, len(agencies)):
        try:
            add(scene, session, {agency: (None,) for agency in agencies if agency not in absent})
        except IndeterminateError as error:
            if error.missing == tuple(sorted(absent)):
                continue
        yield f"a sum without {', '.join(absent)}"


def _asked_for_some(scene: Scene) -> Iterator[str]:
    """Which agencies a requester can leave out of its question."""
    for absent in scene.federation.terms.agencies:
        asked, looked = _question(scene)
        sealed = {agency: box for agency, box in read(asked, Ask).body.sealed.items() if agency != absent}
        some = forged(asked, Ask, scene.key(REQUESTER), body={"sealed": sealed})
        look = forged(looked, Look, scene.key(REQUESTER), body={"ask": read(some, Ask).hash})
        with suppress(PeerError):
            asyncio.run(scene.federation.network.deliver(REQUESTER, COORDINATOR, Ask.TYPE, encode([some, look])))
            yield f"a question that is not for {absent} is decided"


def _question(scene: Scene) -> tuple[bytes, bytes]:
    """The `ask` and `look` of a question about nobody."""
    known = [secrets.token_bytes(PSEUDONYM_BYTES)]
    party, random = scene.party(REQUESTER), secrets.token_bytes
    _, asked, looked = requester.ask(party, known, purpose=PURPOSE, now=scene.clock(), random=random)
    return asked, looked


def _add(scene: Scene, session: rounds.Session, lifted: Lifted) -> object:
    return rounds.add(scene.party(COORDINATOR), session, lifted, _NoZeta(), secrets.token_bytes)


class _NoZeta:
    """No randomiser: nothing is secret in sums over nobody's answers."""

    def fresh(self, _random: object) -> int:
        """Return an encryption of zero that everybody knows."""
        return 1


# A second answer to one question.


def _second_answers(scene: Scene, ledger: ProtocolState) -> tuple[int, int, list[str]]:
    """Replay one `ask` at an agency, before and after its register changed: replays, different answers, findings.

    Answers that differ and have a tag in common stand under the same masks.
    """
    scene.ask(LISTED)
    travelled = [record for record in scene.federation.network.records if record.kind == Ask.TYPE]
    ask = [record for record in travelled if record.receiver == LISTING][-1]
    first = [record.data for record in travelled if record.sender == LISTING][-1]
    replies: list[bytes | None] = []
    node, restarted = scene.node(LISTING, ledger), scene.node(LISTING, ledger)

    def replay(data: bytes) -> None:
        for party in (node, restarted):
            try:
                replies.append(party.handle(Ask.TYPE, data))
            except PeerError:
                replies.append(None)

    def anew() -> bytes:
        """The same session, nonce and prefixes, signed again by the requester."""
        times = {"issued": scene.clock(), "expires": scene.clock() + 60}
        return forged(ask.data, Ask, scene.key(REQUESTER), times)

    started = scene.clock()
    replay(ask.data)
    scene.enter(LISTING, listing(LISTING, LISTED, severity=3))
    replay(ask.data)
    scene.federation.dispute(LISTING, LISTED)
    replay(ask.data)
    scene.clock.now += 1
    replay(anew())
    for later in (60, REMEMBERED):
        scene.clock.now = started + later
        replay(ask.data)
        replay(anew())
    answers = {first, *filter(None, replies)}
    tags = [_tags(answer, scene) for answer in answers]
    pairs = itertools.combinations(tags, 2)
    twice = [f"two answers of {LISTING} under the same masks" for one, other in pairs if one & other]
    return len(replies), len(answers), twice


def _tags(answer: bytes, scene: Scene) -> set[bytes]:
    [block] = unseal_blocks(scene.party(COORDINATOR), read(answer, Answer))
    width = len(block) // scene.federation.terms.bucket_size
    return {block[start : start + TAG_BYTES] for start in range(0, len(block), width)}


def _own_ledger(scene: Scene) -> ProtocolState:
    return ProtocolState(open_engine(f"sqlite:///{scene.folder}/agencies/{LISTING}/state.sqlite"))


# Coordinators and agencies that are otherwise.


class _OverSome(Arithmetic):
    """Adds whatever answers there are, and signs them as those of all agencies."""

    answered = 0

    def add(self, session: rounds.Session, replies: Mapping[str, bytes], now: int) -> rounds.Sums:
        self.answered = len(replies)
        nothing: Sequence[int | None] = (None,) * session.m
        lifted = dict.fromkeys(self._party.terms.agencies, nothing)
        for agency, reply in replies.items():
            lifted[agency] = rounds.accept(self._party, session, agency, reply, now)
        return rounds.add(self._party, session, lifted, self._randomiser, self._random)


class _OverSomeAndSaysSo(_OverSome):
    """The same, but signs how many they were."""

    def decide(
        self, session: rounds.Session, sums: rounds.Sums, shares: Sequence[Mapping[str, int]], now: int
    ) -> bytes:
        reply, key = super().decide(session, sums, shares, now), self._party.signing_key
        decisions = read(reply, Decide).body.decisions
        said = tuple(forged(it, Decision, key, body={"agencies": self.answered}) for it in decisions)
        return forged(reply, Decide, key, body={"decisions": said})


class _WithWhoIsThere(Coordinator):
    """Goes on with the agencies that answered."""

    async def ask(self, data: bytes) -> bytes:
        ask, look = decode(data, len(data))
        session = rounds.receive(self._party, ask, look, self._clock())
        replies = {}
        for agency in self._party.terms.agencies:
            with suppress(PeerError):
                replies[agency] = await self._transport.send(agency, Ask.TYPE, session.ask.raw)
        return await self._decide(session, await self._run("add", session, replies, self._clock()))


class _Forgetful(ProtocolState):
    """A ledger that claims nothing."""

    def admit(self, kind: str, header: Header, allowance: Allowance, now: int) -> None:
        """Let everything pass."""


def _forgetful(scene: Scene) -> ProtocolState:
    return _Forgetful(open_engine(f"sqlite:///{scene.folder}/forgetful.sqlite"))


def _lenient_add(scene: Scene, session: rounds.Session, lifted: Lifted) -> object:
    return _add(scene, session, dict.fromkeys(scene.federation.terms.agencies, (None,)) | dict(lifted))


def _all_partial(scene: Scene) -> tuple[int, list[str]]:
    """Every attack with some agencies absent: how many questions, and what they found."""
    agencies = scene.federation.terms.agencies
    down, speechless = list(_subsets(agencies, 2)), list(_subsets(agencies, len(agencies)))
    found = [*_partial(scene, down, down=True), *_partial(scene, speechless, down=False), *_asked_for_some(scene)]
    return len(down) + len(speechless) + len(agencies), found


def _measure(grounds: Grounds) -> Evidence:
    scene = _scene(grounds, "differencing")
    questions, partial = _all_partial(scene)
    left_out = list(_left_out(scene, _add))
    replays, answers, twice = _second_answers(scene, _own_ledger(scene))
    whole = scene.ask(LISTED, UNLISTED).decided
    alone = [(agency,) for agency in scene.federation.terms.agencies]
    scene.coordinate(_OverSomeAndSaysSo, _WithWhoIsThere)
    truthful = [it for it in _partial(scene, alone, down=False) if it.startswith("decided")]
    scene.coordinate(_OverSome, _WithWhoIsThere)
    lying = [it for it in _partial(scene, alone, down=False) if it.startswith("decided")]
    found = [] if whole else ["no decision with all agencies there either: nothing was tried"]
    found += [*partial, *left_out, *twice, *(f"by a coordinator that says how many answered: {it}" for it in truthful)]
    return Evidence(
        bool(found),
        {
            "questions with agencies absent": questions,
            "of these decided": len(partial),
            "sums that left agencies out": len(left_out),
            "replays of a question at an agency": replays,
            "different answers, the first and that to a new `ask` once it was forgotten included": answers,
            "second answers under the same masks": len(twice),
            "decisions over some agencies, their number signed, that a requester takes": len(truthful),
            "the same with all agencies' number signed (threat model 2.4: not found)": f"{len(lying)} of {len(alone)}",
        },
        found,
    )


def _control(grounds: Grounds) -> Evidence:
    scene = _scene(grounds, "differencing-control")
    planted: dict[str, Collection[str]] = {"a second answer": _second_answers(scene, _forgetful(scene))[-1]}
    planted["a sum without an agency"] = list(_left_out(scene, _lenient_add))
    scene.coordinate(_OverSome, _WithWhoIsThere)
    planted["a decision with who is there"] = _all_partial(scene)[1]
    return Evidence(all(planted.values()), {name: len(found) for name, found in planted.items()}, list(planted))


CLAIM = Claim(
    number=8,
    name="differencing",
    statement="There is no answer over some agencies only, and no second answer of an agency to the same question.",
    attack="A question is asked with each agency and each pair down, with every set of agencies silent, and for all "
    "but one agency; sums are made without every set of agencies; one `ask` is replayed at an agency before and after "
    "two changes of its register, after a restart, signed anew, expired, and forgotten.",
    sizing="Every check is deterministic, and every set of agencies is tried. Answers under other masks have a tag in "
    "common with probability below 2^-110.",
    planted="A coordinator that decides with who is there; a sum that takes absent agencies as empty; an agency that "
    "remembers no session.",
    measure=_measure,
    control=_control,
)
