"""P7 and P10: what a register's size changes: an agency's answer, its node's memory, and how soon that is ready.

A register of each size is written by the node's own store, under drawn pseudonyms, in an agreement whose population
grows with it: so each bucket holds as much, and B is the same. What does not depend on a register is left out: the
ratio is of the agency's part alone, which is stricter than that of the whole question.
"""

import secrets
import time

import httpx
import psutil

from api.agency import open_listings
from api.bench.figure import Figure, Measured, ratio
from api.bench.ground import (
    K_MIN,
    PURPOSE,
    REQUESTER,
    Ground,
    fill,
    register_of,
    resident_megabytes,
    settings_of,
    thread_cpu,
)
from api.charts import Chart
from api.held import build_node
from api.home import Home
from api.stage import Processes
from nodes.storage.seals import Seal
from protocol.agreement.parameters import bucket_bits, bucket_size
from protocol.messages import Ask
from protocol.rounds import requester
from protocol.rounds.party import Party
from protocol.sealing import PSEUDONYM_BYTES, bucket

AGENCIES = 3
AGENCY = "agency-1"
SMALLEST = 1000
"""Sizes are this times powers of two, so that each bucket of each holds as much: β grows by one as a size doubles."""
PEOPLE_A_LISTING = 400
ASKED = 20
_STOP_SECONDS = 20


def measure_answers(ground: Ground) -> Measured:
    """Let the agency answer the same kind of question from registers of growing size."""
    sizes, runs = ground.pick((SMALLEST, 2 * SMALLEST), _sizes(0, 5), _sizes(0, 3, 6, 10)), ground.pick(3, 100, 500)
    figures, parameters, warming = list[Figure](), dict[str, int | float | str](), max(1, runs // 4)
    for size in sizes:
        home = register(ground, size)
        terms = home.terms()
        node, asking = build_node(settings_of(home, AGENCY)), _party(home)
        took = list[float]()
        for _ in range(runs + warming):
            asked = _ask(asking)
            with thread_cpu(took):  # of this thread alone: another makes ζ's
                node.handle(Ask.TYPE, asked)
        figures.append(Figure(f"an agency's answer, {size:,} listings", "ms CPU", took[warming:]))
        parameters[f"β, B at {size:,}"] = f"{terms.bucket_bits}, {terms.bucket_size}"
    points = [(float(size), figure.median) for size, figure in zip(sizes, figures, strict=True)]
    largest = f"{sizes[-1]:,} / {sizes[0]:,} listings"
    return Measured(
        [*figures, ratio(largest, figures[-1], figures[0], most=1.2)],
        parameters | {"agencies": AGENCIES, "modulus bits": ground.modulus_bits, "database": "SQLite"},
        undone=[] if sizes[-1] >= 10**6 else [f"registers beyond {sizes[-1]:,} listings"],
        charts=[Chart("Cost of an agency's answer against its register", "listings", "ms CPU", {"an answer": points})],
    )


def measure_node(ground: Ground) -> Measured:
    """Start the node of a large register beside a running federation, several times; ask; weigh it."""
    size, runs = ground.pick(SMALLEST, *(_sizes(at)[0] for at in (6, 10))), ground.pick(1, 3, 10)
    home = register(ground, size)
    stage = Processes(home)
    launcher = stage.launcher
    seconds, fresh, asked = [], [], []
    try:
        launcher.start()
        for number in range(runs):
            ground.progress("starting a node", number, runs)
            _end(launcher.running()[AGENCY])
            began = time.monotonic()
            urls = launcher.start()
            launcher.await_ready({AGENCY: urls[AGENCY]})
            seconds.append(time.monotonic() - began)
            pid = [launcher.running()[AGENCY]]
            fresh.append(resident_megabytes(pid))
            with httpx.Client(trust_env=False) as client:
                for _ in range(ASKED):
                    client.post(f"{urls[AGENCY]}/v1/ask", content=_ask(_party(home))).raise_for_status()
            asked.append(resident_megabytes(pid))
    finally:
        launcher.stop()
    files = home.party_path(AGENCY, home.terms().agreement).glob("listings.sqlite*")
    return Measured(
        [
            Figure("a node's start until it is ready", "s", seconds, most=3),
            Figure("its memory then, with its worker", "MB", fresh),
            Figure(f"its memory after {ASKED} questions", "MB", asked, most=400),
            Figure("its database", "MB", [sum(file.stat().st_size for file in files) / 1e6]),
        ],
        {"listings": size, "modulus bits": ground.modulus_bits, "workers": 1, "database": "SQLite"},
        undone=[] if size >= 10**6 else ["a register of 10⁶ listings"],
    )


def register(ground: Ground, size: int) -> Home:
    """A federation whose first agency has a register of this size; founded and filled once."""
    if size not in ground.registers:
        home = ground.home(AGENCIES, anonymity=_anonymity(size))
        settings = settings_of(home, AGENCY)
        terms, store = settings.terms, open_listings(settings, settings.secrets()[1])
        canary = secrets.token_bytes(PSEUDONYM_BYTES)
        seal = Seal(bucket(canary, terms.bucket_bits), canary)
        store.open_epoch(terms.agreement.id, terms.roster.epoch, [register_of(AGENCY)], seal)
        fill(store, terms, AGENCY, size, ground.progress)
        ground.registers[size] = home
    return ground.registers[size]


def _anonymity(size: int) -> dict[str, int]:
    """An agreement's figures for registers of this size; B is that of the largest size, whatever this one is."""
    largest, population = _sizes(10)[0], size * PEOPLE_A_LISTING
    size_of_bucket = bucket_size(largest, bucket_bits(largest * PEOPLE_A_LISTING, K_MIN))
    bits, most = bucket_bits(population, K_MIN), size
    while bucket_size(most, bits) < size_of_bucket:
        most += max(1, size // 100)
    return {"population": population, "k_min": K_MIN, "max_listings": most}


def _sizes(*doublings: int) -> tuple[int, ...]:
    return tuple(SMALLEST << number for number in doublings)


def _party(home: Home) -> Party:
    return Processes(home).secrets(REQUESTER).party(REQUESTER, home.terms())


def _ask(party: Party) -> bytes:
    """A question about one subject that nobody lists."""
    pseudonym = secrets.token_bytes(PSEUDONYM_BYTES)
    _, asked, _ = requester.ask(party, [pseudonym], purpose=PURPOSE, now=int(time.time()), random=secrets.token_bytes)
    return asked


def _end(pid: int) -> None:
    """End a node, as its operator would."""
    process = psutil.Process(pid)
    process.terminate()
    process.wait(_STOP_SECONDS)
