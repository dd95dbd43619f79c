"""No party but the requester learns which of two subjects was asked about."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256

from api.audit.claim import Claim, Evidence
from api.audit.grounds import PURPOSE, REQUESTER, Grounds, Scale
from api.audit.hiding import (
    BY_SIEVE,
    SIZING,
    TWICE,
    Game,
    Leak,
    World,
    controlled,
    decisions,
    measured,
    played,
    played_at_full_size,
    together,
)
from api.audit.transcripts import reblocked, rewritten
from federation.audit.observations import Transcript, entry_tag
from federation.audit.recordings import signed_messages
from protocol.messages import Ask, Evaluate, Look
from protocol.sealing import TAG_BYTES, mask, session_key, tag

VIEWS = ("agency", "coordinator", "keyholders")
LINKED = f"coordinator{TWICE}"
DECISIONS = 3 * decisions(VIEWS)  # on small keys, by the sieve, and at full size
LISTED = ("labour", "tax", "market")


def _hash_in_ask(transcript: Transcript, world: World) -> Transcript:
    return rewritten(transcript, Ask, lambda _: {"commitment": sha256(world.subject).digest()})


def _longer_box(transcript: Transcript, world: World) -> Transcript:
    return rewritten(
        transcript,
        Ask,
        lambda ask: {"sealed": {name: box + bytes(16 * world.number) for name, box in ask.body.sealed.items()}},
    )


def _same_blind(transcript: Transcript, world: World) -> Transcript:
    blind = sha256(world.subject).digest()
    return rewritten(transcript, Evaluate, lambda it: {"blinded": (blind, *it.body.blinded[1:])})


def _unbound_secret(transcript: Transcript, world: World) -> Transcript:
    return rewritten(transcript, Look, lambda it: {"secrets": (session_key(world.pseudonym), *it.body.secrets[1:])})


def _same_sigma(transcript: Transcript, world: World) -> Transcript:
    return rewritten(transcript, Look, lambda _: {"sigmas": (sha256(world.pseudonym).digest(),)})


Change = Callable[[bytes, bytes, World, str], bytes]


def _entry(change: Change, transcript: Transcript, world: World) -> Transcript:
    """Rewrite the entry that matched, tag ‖ element, in each answer of an agency that lists the subject."""
    messages = (message for record in transcript.records for message in signed_messages(record.data))
    secret = next(message.body.secrets[0] for message in messages if isinstance(message.body, Look))

    def changed(agency: str, blocks: tuple[bytes, ...]) -> tuple[bytes, ...]:
        block, *others = blocks
        start = block.find(entry_tag(world.coordinator.terms, secret, agency))
        if start < 0:
            return blocks
        size = TAG_BYTES + world.coordinator.terms.element_bytes
        own = block[start : start + size]
        entry = change(own[:TAG_BYTES], own[TAG_BYTES:], world, agency)
        rows = {block[at : at + size] for at in range(0, len(block), size)} - {own} | {entry}
        return b"".join(sorted(rows)), *others

    return reblocked(transcript, world.coordinator, changed)


def _tag_without_nonce(_tag: bytes, element: bytes, world: World, agency: str) -> bytes:
    return tag(session_key(world.pseudonym), agency) + element


def _same_ciphertext(own: bytes, element: bytes, world: World, agency: str) -> bytes:
    return own + mask(session_key(world.pseudonym), agency, bytes(len(element)))


GAME = Game(
    name="query hiding",
    requester=REQUESTER,
    purpose=PURPOSE,
    listed=(LISTED, LISTED),
    views=(*VIEWS, LINKED),
    leaks=(
        Leak("a hash of the subject without salt in ask", VIEWS, _hash_in_ask),
        Leak("a box as long as the subject's name", ("agency", "keyholders"), _longer_box),
        Leak("a blind used again for a subject", ("coordinator", "keyholders"), _same_blind),
        Leak("T not bound to the session", ("coordinator", LINKED), _unbound_secret),
        Leak("a tag without the nonce", ("coordinator", LINKED), partial(_entry, _tag_without_nonce)),
        Leak("a ciphertext without a fresh mask", ("coordinator", LINKED), partial(_entry, _same_ciphertext)),
        Leak("σ used again for a subject", (LINKED,), _same_sigma),
    ),
)

SIEVED = replace(
    GAME,
    name=f"query hiding{BY_SIEVE}",
    sieve=True,
    beside=2,
    leaks=(
        Leak("a box as long as the subject's name", ("agency", "keyholders"), _longer_box),
        Leak("a blind used again for a subject", ("coordinator", "keyholders"), _same_blind),
        Leak("T not bound to the session", ("coordinator", LINKED), _unbound_secret),
        Leak("a mark without the nonce", ("coordinator", LINKED), partial(_entry, _tag_without_nonce)),
        Leak("effects under a mask that is used again", ("coordinator", LINKED), partial(_entry, _same_ciphertext)),
    ),
)


def _measure(grounds: Grounds) -> Evidence:
    outcome, sieved = played(grounds, GAME), played(grounds, SIEVED)
    results = {view: outcome[None, view] for view in VIEWS}
    results |= {f"{view}{BY_SIEVE}": sieved[None, view] for view in VIEWS}
    if grounds.scale is Scale.FULL:
        full = played_at_full_size(grounds, GAME)
        results |= {f"{view}, full size": full[None, view] for view in VIEWS}
    return measured(results)


def _control(grounds: Grounds) -> Evidence:
    return together(*(controlled(game, played(grounds, game), VIEWS) for game in (GAME, SIEVED)))


CLAIM = Claim(
    number=4,
    name="query-hiding",
    statement="Agencies, coordinator and t - 1 pooled keyholders cannot tell which of two subjects was asked about.",
    attack="Two subjects of one bucket, listed by the same agencies with the same severity, are asked about as a coin "
    "falls. Attackers on sizes, on times and on every field, own keys applied, are trained on labelled sessions and "
    "guess the coin of others. The same under an agreement with a sieve, the subject being one of three in an array.",
    sizing=SIZING,
    planted="Defects, each rewritten into recorded sessions: "
    + "; ".join(leak.name for leak in GAME.leaks)
    + "; by the sieve: "
    + "; ".join(leak.name for leak in SIEVED.leaks)
    + ".",
    measure=_measure,
    control=_control,
)
