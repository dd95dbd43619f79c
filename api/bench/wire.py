"""P9: bytes on the wire for one question, beside the sum of the elements that the protocol sends."""

from dataclasses import dataclass

from api.audit.grounds import firm
from api.bench.figure import Figure, Measured, ratio
from api.bench.ground import REQUESTER, Ground
from api.bench.question import parameters
from api.stage import Processes, Subject
from protocol.envelope import SIGNATURE_BYTES
from protocol.hpke import OVERHEAD
from protocol.messages import PREFIX_BYTES
from protocol.sealing import NONCE_BYTES, TAG_BYTES
from protocol.wire import HASH_BYTES

ARRAY = 12
_ELEMENT, _PROOF = 32, 64  # of ristretto255; a proof is two scalars


@dataclass(frozen=True)
class Sizes:
    """What decides how much a question sends: subjects, agencies, keyholders asked, openings, B, bytes of a modulus."""

    subjects: int
    agencies: int
    threshold: int
    openings: int
    bucket_size: int
    modulus_bytes: int

    def elements(self) -> int:
        """The bytes of all values below, as often as they are sent; what is beyond them is framing.

        Framing: headers, ids, names of fields, CBOR.
        """
        m, n, t = self.subjects, self.agencies, self.threshold
        opened = t * self.openings
        ask = HASH_BYTES + n * (OVERHEAD + NONCE_BYTES + PREFIX_BYTES * m) + SIGNATURE_BYTES
        return sum(
            (
                (1 + t) * (HASH_BYTES + m * _ELEMENT + SIGNATURE_BYTES),  # evaluate: to C, and on to keyholders
                2 * t * (m * _ELEMENT + _PROOF + SIGNATURE_BYTES),  # evaluated: to C, and on to R
                (1 + n + opened) * ask,  # ask: to C, agencies, and under each opening
                HASH_BYTES + m * 2 * HASH_BYTES + SIGNATURE_BYTES,  # look: T and σ
                n
                * (OVERHEAD + m * self.bucket_size * (TAG_BYTES + 2 * self.modulus_bytes) + SIGNATURE_BYTES),  # answer
                opened * 2 * (self.modulus_bytes + SIGNATURE_BYTES),  # open and opened: x, P
                m * (HASH_BYTES + SIGNATURE_BYTES) + SIGNATURE_BYTES,  # decide: a binding and a signature a subject
            )
        )


def measure(ground: Ground) -> Measured:
    """Ask through the recorder, single questions and an array, and count every message's bytes."""
    figures: list[Figure] = []
    runs = ground.pick(1, 5, 20)
    running = ground.processes
    with Processes(running.home) as stage:
        for m, most in ((1, 1.1), (ARRAY, 1.1)):
            sent = [float(_sent(stage, m)) for _ in range(runs)]
            terms = stage.terms
            sizes = Sizes(
                m,
                len(terms.agencies),
                terms.threshold,
                -(-m // terms.slots(REQUESTER)),
                terms.bucket_size,
                terms.public_key.modulus_bytes,
            )
            name = "one question" if m == 1 else f"an array of {m}"
            counted = Figure(f"{name}, all messages", "bytes", sent)
            elements = Figure(f"{name}, its elements", "bytes", [float(sizes.elements())])
            figures += [counted, elements, ratio(f"{name}: messages / elements", counted, elements, most)]
    return Measured(figures, parameters(ground), undone=["HTTP's own headers, and what TLS adds"])


def _sent(stage: Processes, m: int) -> int:
    before = len(stage.records)
    stage.ask([Subject(firm(it).scheme, firm(it).value) for it in range(m)], REQUESTER)
    return sum(len(record.data) for record in stage.records[before:])
