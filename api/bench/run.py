"""Running the benchmark: every measurement in turn, in one run on one machine."""

import platform
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from os import getloadavg
from pathlib import Path
from typing import Final

from api.bench import agencies, question, registers, saturation, screening, sealing, soak, textbook, wire, zeta
from api.bench.figure import Measured
from api.bench.ground import Ground
from api.logs import described


@dataclass(frozen=True)
class Measurement:
    """One thing to measure: its name, what it is, against what, and how it is done."""

    name: str
    title: str
    how: str
    measure: Callable[[Ground], Measured]


# In this order: what starts processes that go on running comes last.
MEASUREMENTS: Final = (
    Measurement(
        "P3",
        "A fresh randomiser",
        "ζ by fixed-base table against `phe`'s own obfuscation r^N mod N², in turn, in this process.",
        zeta.measure,
    ),
    Measurement(
        "P6",
        "A question beside the textbook way",
        "All parties in one process, proofs, signatures and databases included, against five bits encrypted by `phe`, "
        "added and decrypted, of which nothing travels and nothing is stored. Also in arrays of up to 120 subjects.",
        textbook.measure,
    ),
    Measurement(
        "P8",
        "Growth with agencies",
        "One question in process, all parties together, by federations of several sizes in turn, always with the same "
        "three keyholders; the line through the medians by least squares.",
        agencies.measure,
    ),
    Measurement(
        "P4",
        "Sealing a register",
        "In process, proofs, messages and the node's database included, in batches of 120, against the same batches' "
        "OPRF operations bare. Then the same as one process, and as two at once.",
        sealing.measure,
    ),
    Measurement(
        "P5",
        "Screening many subjects",
        "An agreement with `sieve: true` in process, all parties together, registers written under drawn pseudonyms "
        "but for who is asked about; beside it its OPRF operations alone, bare. Against `openmined-psi` run with each "
        "register in turn, both sides together, as its documentation does. Both must find exactly who is listed. "
        "Set-up is once an epoch for all requesters here, and once a requester there.",
        screening.measure,
    ),
    Measurement(
        "P7",
        "Growth with the register",
        "One agency's answer to a question, by its node in this process, from registers that its own store wrote under "
        "drawn pseudonyms. The population grows with the register, so buckets hold as much and B is the same.",
        registers.measure_answers,
    ),
    Measurement(
        "P10",
        "A node with a large register",
        "The largest register of P7. The node's process is ended and started again beside the others, until `readyz` "
        "is 200; then it is asked, and weighed with its worker.",
        registers.measure_node,
    ),
    Measurement(
        "P1",
        "One question",
        "Asked over HTTP at the gateway, one after another, every party a process of its own on this machine. The "
        "floor is the same cryptography computed bare in this process: no message, signature, sealing, database or "
        "network, laid on the processors in the protocol's order. A commit is measured alone, on the same disk.",
        question.measure,
    ),
    Measurement(
        "P2",
        "Saturation",
        "Eight clients ask as fast as they are answered, single questions and arrays of twelve in turn. CPU is that of "
        "the parties' processes, without the clients', against P1's bare cryptography.",
        saturation.measure,
    ),
    Measurement(
        "P9",
        "Bytes on the wire",
        "The bodies of all messages that a question makes, as the recorder between the parties sees them, against the "
        "sum of elements, proofs, hashes, secrets, ciphertexts, tags, sealed parts and signatures that the protocol "
        "sends, computed from their sizes.",
        wire.measure,
    ),
    Measurement(
        "soak",
        "Endurance",
        "Single questions at 70 % of the rate measured just before, for half an hour; the memory of all parties is "
        "weighed all the while, and judged after the first third.",
        soak.measure,
    ),
)


@dataclass(frozen=True)
class Taken:
    """How one measurement came out; `failure` says what kept it from being done, if anything did."""

    measurement: Measurement
    measured: Measured | None
    seconds: float
    failure: str = ""


@dataclass(frozen=True)
class Bench:
    """One run: what was taken, where, when, and how many processes were busy in the minute before (load average)."""

    scale: str
    began: str
    seconds: float
    machine: str
    processors: int
    load: float
    taken: Sequence[Taken]

    @property
    def ran(self) -> bool:
        """Whether everything was measured; whether targets were reached is another question."""
        return not any(taken.failure for taken in self.taken)


def names() -> list[str]:
    """What can be measured, in the order of the report."""
    return [it.name for it in sorted(MEASUREMENTS, key=_order)]


def run(ground: Ground, wanted: Collection[str], keep: Callable[[Bench], None] = lambda _: None) -> Bench:
    """Take the wanted measurements; one that cannot be done does not keep the others from it.

    `keep` is given the run after each of them, so that who ends an hour's run early loses one measurement.
    """
    began, started, load = datetime.now(UTC), time.monotonic(), getloadavg()[0]
    taken: list[Taken] = []

    def so_far() -> Bench:
        return Bench(
            scale=ground.scale.value,
            began=began.strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=round(time.monotonic() - started, 1),
            machine=machine(ground.cores),
            processors=ground.cores,
            load=round(load, 1),
            taken=sorted(taken, key=lambda it: _order(it.measurement)),
        )

    for measurement in MEASUREMENTS:
        if measurement.name in wanted:
            taken.append(_take(ground, measurement))
            keep(so_far())
    return so_far()


def machine(processors: int) -> str:
    """What this runs on."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    kernel, python = f"{platform.system()} {platform.release()}", platform.python_version()
    return f"{processors} × {model}, {kernel}, Python {python}, concordat {version('concordat-federation')}"


def _order(measurement: Measurement) -> tuple[int, str]:
    """P1 to P10, then what has no number."""
    number = measurement.name[1:]
    return (int(number), "") if number.isdigit() else (99, measurement.name)


def _take(ground: Ground, measurement: Measurement) -> Taken:
    started, measured, failure = time.monotonic(), None, ""
    ground.progress(measurement.name, 0, None)
    try:
        measured = measurement.measure(ground)
    except Exception as error:  # noqa: BLE001  # the others are measured all the same
        failure = "{error} at {where}".format(**described(error))
    return Taken(measurement, measured, round(time.monotonic() - started, 1), failure)
