"""P2: questions a second when all processors are busy, and how much of that is cryptography."""

from api.bench.figure import Figure, Measured, ratio, share
from api.bench.ground import Ground
from api.bench.load import CLIENTS, saturate
from api.bench.question import bare_question, parameters

ARRAY = 12


def measure(ground: Ground) -> Measured:
    """Saturate the federation with single questions and with arrays, in turn."""
    stage, seconds, rounds = ground.processes, ground.pick(0.5, 8.0, 30.0), ground.pick(1, 3, 5)
    saturate(stage, 1, seconds / 2)
    singles, arrays = [], []
    for number in range(rounds):
        ground.progress("saturating", number, rounds)
        singles.append(saturate(stage, 1, seconds))
        arrays.append(saturate(stage, ARRAY, seconds))
    single = Figure("single questions a second", "/s", [it.rate for it in singles])
    array = Figure(f"subjects a second in arrays of {ARRAY}", "/s", [it.rate for it in arrays])
    costs = Figure("a single question, all parties", "ms CPU", [1000 * it.cpu / it.subjects for it in singles])
    array_costs = Figure(f"an array of {ARRAY}", "ms CPU", [1000 * it.cpu * ARRAY / it.subjects for it in arrays])
    runs = ground.pick(2, 20, 50)
    bare, bare_array = (bare_question(ground, m, runs).milliseconds for m in (1, ARRAY))
    errors = Figure("questions without a decision", "", [it.errors for it in singles + arrays], most=0)
    return Measured(
        [
            single,
            array,
            costs,
            array_costs,
            bare,
            bare_array,
            share("cryptography's part of a single question's CPU", bare, costs, least=60),
            share(f"cryptography's part of the CPU of an array of {ARRAY}", bare_array, array_costs),
            ratio("rate in arrays / rate of singles", array, single, least=4),
            errors,
        ],
        parameters(ground) | {"clients": CLIENTS, "seconds a round": seconds, "rounds": rounds},
    )
