"""Whatever is not signed, in time, in its place and by who may send it is refused at every endpoint."""

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.types import ASGIApp

from api import coordinator_app
from api.audit.abuse import Attempt, Doors, Messages, caught, in_process, over_http, serve, service
from api.audit.careless import IN_HEADERS, CarelessLedger, CarelessScene, where, with_header
from api.audit.claim import Claim, Evidence
from api.audit.dishonest import Scene, forged
from api.audit.grounds import OTHER_REQUESTER, REQUESTER, Grounds
from api.gateway_app import build
from federation.coordinator import Arithmetic, Coordinator, in_place
from federation.gateway import QUESTION, Gateway
from federation.problem import MALFORMED, NOT_GRANTED, REPLAYED, UNAUTHENTICATED, UNKNOWN_AGREEMENT
from nodes.service import Node
from nodes.storage.state import ProtocolState
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import SEAL, Allowance
from protocol.codec import encode
from protocol.errors import PeerError
from protocol.messages import Answer as AgencyAnswer
from protocol.messages import Ask, Decide, Evaluate, Look, Open, Prove
from protocol.paillier import Randomiser
from protocol.rounds.party import AGENCIES, KEYHOLDERS, Party
from protocol.wire import SESSION_BYTES, Body, read

FORWARDED: Mapping[str, str] = {
    "x-forwarded-for": "127.0.0.1",
    "forwarded": "for=127.0.0.1;proto=https",
    "x-real-ip": "127.0.0.1",
    "x-client-cert": "CN=coordinator",
    "x-forwarded-user": "coordinator",
    "x-original-url": "/healthz",
    "x-rewrite-url": "/healthz",
    "x-http-method-override": "GET",
    "host": "localhost",
}
NOBODY = "nobody"
OUT_OF_PLACE = (Look, Decide, AgencyAnswer)


def _flawed(doors: Doors, kind: type[Body], good: bytes, others: tuple[str, ...]) -> Iterator[tuple[str, bytes, str]]:
    """Every flaw of a request: its name, a message that has it, and the problem type that it meets."""
    message = read(good, kind, len(good))
    header, envelope = message.header, message.envelope
    key, now = doors.speak(header.sender).signing_key, doors.clock()

    def again(key: Ed25519PrivateKey = key, body: Mapping[str, Any] | None = None, **changes: Any) -> bytes:
        return forged(good, kind, key, changes, body)

    def under_old_signature(changed: bytes) -> bytes:
        return encode([envelope.payload_type, read(changed, kind, len(changed)).envelope.payload, envelope.signature])

    yield "no signature", encode([envelope.payload_type, envelope.payload, bytes(64)]), UNAUTHENTICATED
    yield "empty signature", encode([envelope.payload_type, envelope.payload, b""]), MALFORMED
    yield "nobody's key", again(Ed25519PrivateKey.generate()), UNAUTHENTICATED
    yield "another party's key", again(doors.speak(others[0]).signing_key), UNAUTHENTICATED
    yield "sender who is no party", again(sender=NOBODY), UNAUTHENTICATED
    for other in others:
        yield f"signed by {other} as itself", again(doors.speak(other).signing_key, sender=other), NOT_GRANTED
    yield "altered header", under_old_signature(again(session=secrets.token_bytes(SESSION_BYTES))), UNAUTHENTICATED
    yield "altered body", under_old_signature(again(body=_changed(message.body))), UNAUTHENTICATED
    yield "expired", again(issued=now - 50, expires=now - 5), UNAUTHENTICATED
    yield "from the future", again(issued=now + 30, expires=now + 60), UNAUTHENTICATED
    yield "valid too long", again(expires=header.issued + 61), UNAUTHENTICATED
    yield "another agreement", again(agreement="another"), UNAUTHENTICATED
    yield "another version", again(version=header.version + 1), UNAUTHENTICATED
    yield "another epoch", again(epoch=header.epoch + 1), UNAUTHENTICATED
    for audience in {NOBODY, AGENCIES, KEYHOLDERS} - {header.audience}:
        yield f"audience {audience}", again(audience=audience), UNAUTHENTICATED
    if kind in {Evaluate, Ask}:
        for purpose in (SEAL, "another purpose"):
            yield f"purpose {purpose}", again(purpose=purpose), NOT_GRANTED


def _changed(body: Any) -> dict[str, Any]:
    """One field of a body, with its first bit turned."""
    name = {Evaluate: "case", Ask: "commitment", Look: "ask", Open: "x", Prove: "x"}[type(body)]
    value = getattr(body, name)
    return {name: bytes([value[0] ^ 1]) + value[1:]}


def _out_of_place(doors: Doors, messages: Messages, holder: str) -> dict[str, bytes]:
    """Messages that have no endpoint of their own, each signed by who may send it."""
    agency, coordinator = doors.speak(holder), doors.speak(COORDINATOR)
    common: Any = {"session": messages.session, "purpose": doors.purpose, "m": 1, "now": doors.clock()}
    return {
        Look.TYPE: messages.look,
        Decide.TYPE: coordinator.send(Decide((b"\0",)), audience=doors.requester, **common),
        AgencyAnswer.TYPE: agency.send(AgencyAnswer(bytes(48)), audience=doors.requester, **common),
    }


def _at_node(doors: Doors, agency: str) -> Iterator[Attempt]:
    """Everything that an agency's node must refuse; what is not refused would be the first of its session."""
    other = next(name for name in doors.terms.agencies if name != agency)
    kinds = (Evaluate, Ask, Open, Prove) if agency in doors.terms.keyholders else (Ask,)

    def good(kind: type[Body]) -> bytes:
        new = Messages.make(doors)
        made = {Evaluate: lambda: new.evaluate, Ask: lambda: new.ask}
        made |= {Open: lambda: new.open(doors, agency), Prove: lambda: new.prove(doors, agency)}
        return made[kind]()

    for kind in kinds:
        path = f"/v1/{kind.TYPE}"
        others = (COORDINATOR, other) if kind in {Evaluate, Ask} else (doors.requester, other)
        for name, data, problem in _flawed(doors, kind, good(kind), others):
            yield Attempt(f"{kind.TYPE}, {name}", agency, path, data, problem, kind.TYPE)
        unsigned = forged(good(kind), kind, Ed25519PrivateKey.generate())
        for header, value in FORWARDED.items():
            yield Attempt(
                f"{kind.TYPE}, {header}", agency, path, unsigned, UNAUTHENTICATED, kind.TYPE, headers={header: value}
            )
        wrong = _out_of_place(doors, Messages.make(doors), agency)
        wrong |= {other_kind.TYPE: good(other_kind) for other_kind in kinds if other_kind is not kind}
        for name, data in wrong.items():
            yield Attempt(f"{name} for {kind.TYPE}", agency, path, data, MALFORMED, kind.TYPE)
    yield from _no_endpoint(doors, agency, agency)


def _at_coordinator(doors: Doors) -> Iterator[Attempt]:
    agency = doors.terms.agencies[0]
    new = Messages.make(doors)
    for name, data, problem in _flawed(doors, Evaluate, new.evaluate, (COORDINATOR, agency)):
        yield Attempt(f"evaluate, {name}", COORDINATOR, "/v1/evaluate", data, problem, Evaluate.TYPE)
    for name, data, problem in _flawed(doors, Ask, Messages.make(doors).ask, (COORDINATOR, agency)):
        yield Attempt(f"ask, {name}", COORDINATOR, "/v1/ask", _pair(doors, data), problem, Ask.TYPE)
    new = Messages.make(doors)
    for name, data, problem in _flawed(doors, Look, new.look, (COORDINATOR, agency)):
        # Of a `look` it is no question of rights: it must be from the one who signed the `ask`.
        expected = UNAUTHENTICATED if problem == NOT_GRANTED else problem
        yield Attempt(f"look, {name}", COORDINATOR, "/v1/ask", encode([new.ask, data]), expected, Ask.TYPE)
    unsigned = forged(new.evaluate, Evaluate, Ed25519PrivateKey.generate())
    for header, value in FORWARDED.items():
        forwarded = {header: value}
        yield Attempt(header, COORDINATOR, "/v1/evaluate", unsigned, UNAUTHENTICATED, Evaluate.TYPE, headers=forwarded)
    wrong = _out_of_place(doors, new, agency)
    for name, data in (wrong | {Ask.TYPE: new.ask}).items():
        yield Attempt(f"{name} for evaluate", COORDINATOR, "/v1/evaluate", data, MALFORMED, Evaluate.TYPE)
        yield Attempt(f"{name} alone for ask", COORDINATOR, "/v1/ask", data, MALFORMED, Ask.TYPE)
    swapped = encode([new.look, new.ask])
    yield Attempt("look before ask", COORDINATOR, "/v1/ask", swapped, MALFORMED, Ask.TYPE)
    other = encode([new.ask, Messages.make(doors).look])
    yield Attempt("another question's look", COORDINATOR, "/v1/ask", other, UNAUTHENTICATED, Ask.TYPE)
    yield from _no_endpoint(doors, COORDINATOR, agency)


def _pair(doors: Doors, ask: bytes) -> bytes:
    """An `ask`, flawed or not, with a `look` that belongs to it."""
    new = Messages.make(doors)
    try:
        asked = read(ask, Ask)
    except PeerError:  # no message at all: any `look` will do
        return encode([ask, new.look])
    same = {name: getattr(asked.header, name) for name in ("sender", "session", "purpose", "m")}
    known = asked.header.sender in doors.terms.roster.signing
    key = doors.speak(asked.header.sender if known else doors.requester).signing_key
    return encode([ask, forged(new.look, Look, key, same, {"ask": asked.hash})])


def _no_endpoint(doors: Doors, party: str, agency: str) -> Iterator[Attempt]:
    for name, data in _out_of_place(doors, Messages.make(doors), agency).items():
        yield Attempt(f"{name} at its own path", party, f"/v1/{name}", data, MALFORMED, status=404)
    yield Attempt("GET", party, "/v1/evaluate", b"", MALFORMED, status=405, method="GET")


def _at_gateway(doors: Doors, gateway: str, tokens: Mapping[str, str]) -> Iterator[Attempt]:
    own = doors.terms.agreement.requester(gateway)
    subject = {"scheme": "cn.reg_no", "value": "AUDIT0"}
    question: dict[str, Any] = {"agreement": doors.terms.agreement.id, "purpose": own.purposes[0], "case": "audit"}
    strangers = {
        "no token": {},
        "empty token": {"authorization": "Bearer"},
        "nobody's token": {"authorization": f"Bearer {secrets.token_urlsafe(32)}"},
        "the token's hash": {"authorization": f"Bearer {sha256(tokens[gateway].encode()).hexdigest()}"},
        "another scheme": {"authorization": f"Basic {tokens[gateway]}"},
        "no scheme": {"authorization": tokens[gateway]},
        "token as a cookie": {"cookie": f"token={tokens[gateway]}; authorization=Bearer {tokens[gateway]}"},
        "token in another header": {"x-authorization": f"Bearer {tokens[gateway]}"},
        **{
            f"token of {name}": {"authorization": f"Bearer {token}"}
            for name, token in tokens.items()
            if name != gateway
        },
        **{name: {name: value} for name, value in FORWARDED.items()},
    }
    bodies = {
        "/v1/membership": question | {"subject": subject},
        "/v1/membership:batch": question | {"subjects": [subject]},
    }
    with_token = {"authorization": f"Bearer {tokens[gateway]}"}
    for path, body in bodies.items():
        data = json.dumps(body).encode()
        for name, headers in strangers.items():
            yield Attempt(f"{path}, {name}", gateway, path, data, UNAUTHENTICATED, QUESTION, headers=headers)
        for changed, problem in (({"agreement": NOBODY}, UNKNOWN_AGREEMENT), ({"purpose": SEAL}, NOT_GRANTED)):
            wrong = json.dumps(body | changed).encode()
            yield Attempt(
                f"{path}, another {next(iter(changed))}", gateway, path, wrong, problem, QUESTION, headers=with_token
            )
        yield Attempt(f"{path}, cut", gateway, path, data[:-1], MALFORMED, status=400, headers=with_token)
        yield Attempt(f"{path}, GET", gateway, path, b"", MALFORMED, status=405, method="GET", headers=with_token)
        query = f"{path}?access_token={tokens[gateway]}"
        yield Attempt(f"{path}, token in the URL", gateway, query, data, UNAUTHENTICATED, QUESTION)
    for name, headers in strangers.items():
        yield Attempt(
            f"agreements, {name}", gateway, "/v1/agreements", b"", UNAUTHENTICATED, method="GET", headers=headers
        )


async def _replayed(doors: Doors, agencies: tuple[str, ...]) -> list[Attempt]:
    """Have one question served by each party, once; returns all of it again."""
    direct, passed_on = Messages.make(doors), Messages.make(doors)
    sent: list[tuple[str, type[Body], bytes]] = []
    if COORDINATOR in doors.clients:
        sent += [(COORDINATOR, Evaluate, passed_on.evaluate), (COORDINATOR, Ask, passed_on.pair)]
    for agency in agencies:
        sent += [(agency, Ask, direct.ask)]
        if agency in doors.terms.keyholders:
            sent += [(agency, Evaluate, direct.evaluate), (agency, Open, direct.open(doors, agency))]
            sent += [(agency, Prove, direct.prove(doors, agency))]
    for party, kind, data in sent:
        await doors.served(party, kind.TYPE, data)
    return [
        Attempt(f"{kind.TYPE}, replayed", party, f"/v1/{kind.TYPE}", data, REPLAYED, kind.TYPE)
        for party, kind, data in sent
    ]


async def _matrix(doors: Doors, agencies: tuple[str, ...], tokens: Mapping[str, str]) -> Evidence:
    attempts = await _replayed(doors, agencies)
    for agency in agencies:
        attempts += _at_node(doors, agency)
    if COORDINATOR in doors.clients:
        attempts += _at_coordinator(doors)
    for gateway in tokens.keys() & doors.clients.keys():
        attempts += _at_gateway(doors, gateway, tokens)
    found = await doors.refused(attempts)
    return Evidence(bool(found), {"requests": len(attempts), "not as expected": len(found)}, found)


def _measure(grounds: Grounds) -> Evidence:
    processes = grounds.processes
    terms, home = processes.terms, processes.home
    agencies = grounds.pick(terms.keyholders[:1], terms.agencies, terms.agencies)
    tokens = {
        requester.id: home.token_path(requester.id).read_text("utf-8").strip()
        for requester in terms.agreement.requesters
    }

    async def run() -> Evidence:
        async with over_http(processes, (*agencies, COORDINATOR, *tokens)) as doors:
            return await _matrix(doors, agencies, tokens)

    return asyncio.run(run())


class _Early:
    """A ledger that charges `evaluate` before anything is verified: the node it belongs to asks it first."""

    def __init__(self, scene: Scene, node: Node, ledger: ProtocolState) -> None:
        self._scene, self._node, self._ledger = scene, node, ledger

    def handle(self, kind: str, data: bytes) -> bytes:
        """Charge by what a message says of itself, then serve it."""
        if kind == Evaluate.TYPE:
            allowance = Allowance(1_000_000, "early", self._scene.clock() + 1)
            with suppress(PeerError):
                self._ledger.admit("early", read(data, Evaluate, len(data)).header, allowance, self._scene.clock())
        return self._node.handle(kind, data)


def _careless_nodes(
    scene: Scene, agency: str, ledger: ProtocolState, headers: Sequence[str]
) -> Iterator[tuple[str, ASGIApp]]:
    """A node without one guard each; all share a ledger, for every request is new."""
    honest = serve([scene.node(agency, ledger).handle])
    yield "", honest
    for lack in (*IN_HEADERS, "right", "role"):
        careless = CarelessScene(scene.federation, scene.clock, scene.folder, lack)
        yield lack, serve([careless.node(agency, ledger).handle])
    for lack in ("session", "log"):
        yield lack, serve([scene.node(agency, CarelessLedger(ledger, lack)).handle])
    yield "verified before charged", serve([_Early(scene, scene.node(agency, ledger), ledger).handle])
    trusting = CarelessScene(scene.federation, scene.clock, scene.folder, "signature")
    for header in headers:
        yield header, where(_has(header), serve([trusting.node(agency, ledger).handle]), honest)


def _careless_coordinators(scene: Scene, ledger: ProtocolState, guards: Sequence[str]) -> Iterator[tuple[str, ASGIApp]]:
    """The coordinator without one guard each."""
    for lack in ("", *guards):
        careless = CarelessScene(scene.federation, scene.clock, scene.folder, lack)
        party, random = careless.party(COORDINATOR), secrets.token_bytes
        arithmetic = Arithmetic(party, Randomiser.create(party.terms.public_key, random), random)
        transport = scene.federation.network.transport(COORDINATOR)
        handle = Coordinator(party, transport, ledger, in_place(arithmetic), scene.clock).handle
        yield lack, service(handle, coordinator_app.LIMITS)


def _careless_gateways(
    scene: Scene, ledger: ProtocolState, tokens: Mapping[str, str], headers: Sequence[str]
) -> Iterator[tuple[str, ASGIApp]]:
    """The gateway without one guard each."""

    def gateway(party: Party) -> ASGIApp:
        transport = scene.federation.network.transport(REQUESTER)
        asking = Gateway(party, transport, ledger, lambda: "https://door.invalid", scene.clock, secrets.token_bytes)
        return build(lambda: asking, sha256(tokens[REQUESTER].encode()).hexdigest())

    honest, own = gateway(scene.party(REQUESTER)), f"Bearer {tokens[REQUESTER]}".encode()
    let_in = with_header(honest, b"authorization", own)
    yield "", honest
    yield "token", let_in
    other = f"Bearer {tokens[OTHER_REQUESTER]}".encode()
    yield "other gateways' tokens", where(lambda headers: headers.get(b"authorization") == other, let_in, honest)
    yield "scheme", where(lambda headers: headers.get(b"authorization", b"").startswith(b"Basic"), let_in, honest)
    for header in headers:
        yield header, where(_has(header), let_in, honest)
    agreement = scene.federation.terms.agreement
    generous = [it.model_copy(update={"purposes": (*it.purposes, SEAL)}) for it in agreement.requesters]
    terms = replace(scene.federation.terms, agreement=agreement.model_copy(update={"requesters": tuple(generous)}))
    yield "purpose", gateway(replace(scene.party(REQUESTER), terms=terms))


def _has(header: str) -> Callable[[Mapping[bytes, bytes]], bool]:
    return lambda headers: headers.get(header.encode()) == FORWARDED[header].encode()


def _control(grounds: Grounds) -> Evidence:
    """The same requests to parties of this process, each without one guard, and to honest ones."""
    scene = Scene.create(grounds, "signatures", {})
    agency, ledger = scene.federation.terms.keyholders[0], scene.ledger()
    tokens = {requester: secrets.token_urlsafe(32) for requester in (REQUESTER, OTHER_REQUESTER)}
    headers = grounds.pick(list(FORWARDED)[:1], list(FORWARDED), list(FORWARDED))
    guards = grounds.pick(("signature", "right"), (*IN_HEADERS, "right"), (*IN_HEADERS, "right"))
    variants = [
        *((agency, *variant) for variant in _careless_nodes(scene, agency, ledger, headers)),
        *((COORDINATOR, *variant) for variant in _careless_coordinators(scene, ledger, guards)),
        *((REQUESTER, *variant) for variant in _careless_gateways(scene, ledger, tokens, headers)),
    ]

    async def tried(party: str, app: ASGIApp) -> Evidence:
        async with in_process({party: app}, {party: ledger}, scene.party, scene.clock) as doors:
            return await _matrix(doors, (agency,) if party == agency else (), tokens)

    async def run() -> list[tuple[str, str, Evidence]]:
        return [(party, lack, await tried(party, app)) for party, lack, app in variants]

    return caught(asyncio.run(run()))


CLAIM = Claim(
    number=16,
    name="signatures",
    statement=(
        "Every endpoint of every kind of party refuses what is unsigned, signed by another, altered, out of its time "
        "or place, or replayed, whatever headers say, before anything is charged, and logs it."
    ),
    attack=(
        "Every endpoint of nodes, coordinator and gateways is sent requests that are right but for one flaw: "
        "signature, key, role, content, time, audience, agreement, version, epoch, token, or a message that belongs "
        "elsewhere; with forged forwarding headers; and what was served, again."
    ),
    sizing="The check is deterministic: one request for each endpoint and flaw, and each must be refused as expected.",
    planted=(
        "A node, a coordinator and a gateway for each guard, without that guard: every step of verifying, a session's "
        "claim, charging after verifying, the log, distrust of each forged header, token, scheme, purpose."
    ),
    measure=_measure,
    control=_control,
)
