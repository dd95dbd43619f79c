"""Sessions of a federation in this process with all that can be seen of them, and rewritten as defects would have them.

Every question runs through real nodes and a real coordinator; what is added only looks on.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.audit.grounds import Clock
from api.local import LocalFederation
from api.setup import Established
from federation.audit.observations import Transcript
from federation.coordinator import Arithmetic, Coordinator, Run
from nodes.storage.engine import open_engine
from nodes.storage.state import ProtocolState
from protocol.agreement.roster import COORDINATOR
from protocol.codec import decode, encode, i2osp
from protocol.identifiers import Identifier, to_bytes
from protocol.messages import Answer, Decide, Evaluate, Open
from protocol.paillier import Randomiser
from protocol.rounds import agency as answering
from protocol.rounds import coordinator as rounds
from protocol.rounds import requester as asking
from protocol.rounds import sieve
from protocol.rounds.party import Party
from protocol.sealing import EFFECTS_BYTES
from protocol.wire import Body, Signed, payload_type, read, write


class Stage:
    """A federation in this process whose every step is timed, and whose coordinator keeps what it computes."""

    def __init__(self, established: Established, folder: Path, clock: Clock) -> None:
        self.established = established
        self.federation = LocalFederation(established, folder, clock, secrets.token_bytes)
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._kept: dict[str, tuple[bytes, ...]] = {}
        network = self.federation.network
        for agency, node in self.federation.nodes.items():

            async def handle(kind: str, data: bytes, agency: str = agency, serve: Any = node.handle) -> bytes:
                reply: bytes = await self._timed(f"{agency} {kind}", lambda: serve(kind, data))
                return reply

            network.attach(agency, handle)
        self._party = established.secrets[COORDINATOR].party(COORDINATOR, established.terms)
        arithmetic = Arithmetic(
            self._party, Randomiser.create(established.terms.public_key, secrets.token_bytes), secrets.token_bytes
        )
        ledger = ProtocolState(open_engine(f"sqlite:///{folder / 'coordinator' / 'observed.sqlite'}"))
        transport = network.transport(COORDINATOR)
        network.attach(
            COORDINATOR, Coordinator(self._party, transport, ledger, self._watched(arithmetic), clock).handle
        )

    async def pseudonyms(self, requester: str, purpose: str, subjects: Sequence[Identifier]) -> tuple[bytes, ...]:
        """What R learns of subjects by its first call."""
        party = self.established.secrets[requester].party(requester, self.established.terms)
        state, message = asking.evaluate(
            party,
            list(map(to_bytes, subjects)),
            purpose=purpose,
            case="",
            now=self._clock(),
            random=secrets.token_bytes,
        )
        reply = await self.federation.network.transport(requester).send(COORDINATOR, Evaluate.TYPE, message)
        return asking.pseudonyms(party, state, reply, self._clock())

    async def ask(self, requester: str, purpose: str, *subjects: Identifier) -> Transcript:
        """One question about these subjects, and all there is to be seen of it."""
        records = self.federation.network.records
        records.clear()
        self._seconds, self._kept = {}, {}
        start = time.perf_counter()
        await self.federation.requesters[requester].check(subjects, purpose, "case")
        self._seconds[f"{requester} question"] = time.perf_counter() - start
        return Transcript(tuple(records), self._seconds, self._kept)

    async def _timed(self, step: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return run()
        finally:
            self._seconds[step] = time.perf_counter() - start

    def _watched(self, arithmetic: Arithmetic) -> Run:
        async def run(method: str, *arguments: Any) -> Any:
            result = await self._timed(f"{COORDINATOR} {method}", lambda: getattr(arithmetic, method)(*arguments))
            if method == "add":
                width = self._party.terms.public_key.ciphertext_bytes
                self._kept["sums"] = tuple(i2osp(chunk.ciphertext, width) for chunk in result.chunks)
                self._kept["checks"] = tuple(i2osp(rho, 8) for chunk in result.chunks for rho in chunk.rhos)
            elif method == "sieve":
                session, replies, now = arguments
                found = [sieve.accept(self._party, session, agency, reply, now) for agency, reply in replies.items()]
                self._kept["effects"] = tuple(i2osp(effects, EFFECTS_BYTES) for marked in found for effects in marked)
            else:
                session, sums, shares, _now = arguments
                lanes = rounds.opened(self._party, session, sums, shares)
                self._kept["lanes"] = tuple(i2osp(lane, 8) for values in lanes for lane in values)
            return result

        return run


def rewritten(
    transcript: Transcript, kind: type[Body], change: Callable[[Signed[Any]], Mapping[str, Any]]
) -> Transcript:
    """A transcript in which every message of a kind has some fields of its body changed, wherever it travels."""
    return replace(
        transcript,
        records=tuple(replace(record, data=_rewrite(record.data, kind, change)) for record in transcript.records),
    )


def reblocked(
    transcript: Transcript, coordinator: Party, change: Callable[[str, tuple[bytes, ...]], Sequence[bytes]]
) -> Transcript:
    """A transcript in which every agency (its id, its blocks) sealed other blocks for the coordinator."""

    def changed(answer: Signed[Answer]) -> Mapping[str, Any]:
        sender = answer.header.sender
        blocks = change(sender, rounds.unseal_blocks(coordinator, answer))
        return {"sealed": answering.seal_blocks(replace(coordinator, id=sender), blocks, answer.header.answers)}

    return rewritten(transcript, Answer, changed)


def _rewrite(data: bytes, kind: type[Body], change: Callable[[Signed[Any]], Mapping[str, Any]]) -> bytes:
    def inner(part: bytes) -> bytes:
        return _rewrite(part, kind, change)

    if payload_type(kind).encode() not in data:
        return data
    value = decode(data, Answer.LIMIT)
    if not (isinstance(value, list) and isinstance(value[0], str)):
        parts = {name: inner(part) for name, part in value.items()} if isinstance(value, dict) else map(inner, value)
        return encode(parts if isinstance(parts, dict) else list(parts))
    for outer, name in ((Open, "ask"), (Decide, "decisions")):
        if value[0] == payload_type(outer):
            message = read(data, outer)
            held = getattr(message.body, name)
            changed: Any = inner(held) if isinstance(held, bytes) else tuple(map(inner, held))
            data = write(message.header, replace(message.body, **{name: changed}), _forger())
    if value[0] == payload_type(kind):
        found = read(data, kind, Answer.LIMIT)
        data = write(found.header, replace(cast("Any", found.body), **change(found)), _forger())
    return data


@cache
def _forger() -> Ed25519PrivateKey:
    """Who signs what is rewritten: no view asks whether signatures verify."""
    return Ed25519PrivateKey.generate()
