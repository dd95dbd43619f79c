"""The soak: half an hour at 70 % of what the federation can do; memory flat after warming up, and no error."""

import statistics
import threading

from api.bench.agencies import line
from api.bench.figure import Figure, Measured
from api.bench.ground import Ground, resident_megabytes
from api.bench.load import CLIENTS, ask_at, saturate
from api.bench.question import parameters
from api.charts import Chart

PART = 0.7
MINUTES = 30
WARMING = 1 / 3
_SAMPLES = 180


def measure(ground: Ground) -> Measured:
    """Measure what the federation can do, ask 70 % of that, and weigh all parties meanwhile."""
    minutes = ground.pick(0.1, 0.0, float(MINUTES))
    asked = {"minutes": minutes or MINUTES, "part of capacity": PART, "clients": CLIENTS}
    if not minutes:
        return Measured([], asked, undone=[f"{MINUTES} minutes at 70 % of capacity: only with --full"])
    stage, seconds = ground.processes, 60 * minutes
    capacity = saturate(stage, 1, seconds / 30).rate
    pids, samples, ended = list(stage.launcher.running().values()), list[tuple[float, float]](), threading.Event()

    def weigh() -> None:
        while not ended.wait(seconds / _SAMPLES):
            ground.progress(f"soaking, {minutes:g} minutes", len(samples), _SAMPLES)
            samples.append((len(samples) * seconds / _SAMPLES / 60, resident_megabytes(pids)))

    weighing = threading.Thread(target=weigh)
    weighing.start()
    try:
        load = ask_at(stage, PART * capacity, seconds)
    finally:
        ended.set()
        weighing.join()
    warm = samples[int(len(samples) * WARMING) :]
    slope, _ = line(warm)
    growth = 100 * slope * (warm[-1][0] - warm[0][0]) / statistics.median(it for _, it in warm)
    part = len(load.latencies) // 6
    return Measured(
        [
            Figure("capacity, single questions", "/s", [capacity]),
            Figure("asked and answered", "/s", [load.rate]),
            Figure("questions without a decision", "", [load.errors], most=0),
            Figure("memory of all parties, warm", "MB", [it for _, it in warm]),
            Figure("its growth once warm, by the line through it", "%", [growth], most=2),
            Figure("a question, first sixth of the time", "ms", load.latencies[:part]),
            Figure("a question, last sixth of the time", "ms", load.latencies[-part:]),
        ],
        parameters(ground) | asked,
        charts=[Chart("Memory of all parties", "minutes", "MB", {"resident": samples})],
    )
