"""P8: how the cost of a question grows with the number of agencies."""

import asyncio
import secrets
from contextlib import ExitStack

from api.audit.grounds import firm
from api.bench.figure import Figure, Measured
from api.bench.ground import ANONYMITY, LISTINGS, PURPOSE, REQUESTER, Ground, cpu, fill
from api.charts import Chart

KEYHOLDERS = ("agency-1", "agency-2", "agency-3")


def measure(ground: Ground) -> Measured:
    """Ask federations of several sizes in turn, so that a busy machine is as busy for all; fit a line."""
    sizes, rounds = ground.pick((3, 5), (3, 16, 30), (3, 8, 16, 23, 30)), ground.pick(2, 15, 60)
    # Always the same three keyholders: what is measured is one agency more.
    fixed = {"keyholders": {"agencies": list(KEYHOLDERS), "threshold": 2}, "anonymity": ANONYMITY}
    took: dict[int, list[float]] = {size: [] for size in sizes}
    with ExitStack() as stack:
        federations = {}
        for number, size in enumerate(sizes):
            ground.progress(f"{size} agencies", number, len(sizes))
            federation = federations[size] = ground.federation(size, **fixed)
            stack.callback(federation.close)
            for agency in federation.terms.agencies:
                fill(federation.listings[agency], federation.terms, agency, LISTINGS)
        for number in range(-1, rounds):
            ground.progress("asking", number, rounds)
            for size, federation in federations.items():
                asked = [firm(secrets.randbelow(2 * LISTINGS))]
                with cpu(took[size]):
                    asyncio.run(federation.requesters[REQUESTER].check(asked, PURPOSE, "bench"))
    for values in took.values():
        del values[0]
    figures = [Figure(f"one question, {size} agencies", "ms CPU", values) for size, values in took.items()]
    points = [(float(size), figure.median) for size, figure in zip(sizes, figures, strict=True)]
    slope, start = line(points)
    bend = max(abs(cost / (start + slope * size) - 1) for size, cost in points)
    return Measured(
        [
            *figures,
            Figure("an agency more", "ms CPU", (slope,), most=5),
            Figure("farthest from the line", "%", (100 * bend,), most=10),
        ],
        {"keyholders": 3, "threshold": 2, "modulus bits": ground.modulus_bits, "listings an agency": LISTINGS},
        charts=[Chart("Cost of a question against agencies", "agencies", "ms CPU", {"a question": points})],
    )


def line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """The line through points by least squares: its slope, and where it starts."""
    mean_x, mean_y = (sum(it) / len(points) for it in zip(*points, strict=True))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return slope, mean_y - slope * mean_x
