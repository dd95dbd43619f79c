"""A small federation of separate processes, with several workers a node, whose parties are killed and restarted."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx

from api.audit.abuse import Answer, Attempt, Doors
from api.audit.grounds import REQUESTER, Grounds, agreement_text
from api.founding import found
from api.home import Home
from api.stage import Processes

NODE, WORKERS = "tax", 4
_END_SECONDS, _RETRY_SECONDS, _PATIENCE_SECONDS = 20.0, 0.1, 60.0


@contextmanager
def running(grounds: Grounds, name: str, quota: int) -> Iterator[Processes]:
    """Two agencies, one of them keyholder with four worker processes, a coordinator and a gateway, on small keys."""
    home = Home(grounds.folder(name) / "home")
    registers = ("labour-register", "tax-register")
    agencies = [
        {"id": agency, "name": agency.title(), "registers": [{"id": f"{agency}-register", "preset": "debarment"}]}
        for agency in ("labour", NODE)
    ]
    requester = {
        "id": REQUESTER,
        "name": "Procurement Office",
        "purposes": ["award-contract"],
        "implements": ["exclude", "scrutinise"],
        "quota_per_day": quota,
    }
    text = agreement_text(
        agencies=agencies,
        keyholders={"agencies": [NODE], "threshold": 1},
        requesters=[requester],
        rules=[
            {"measure": "exclude", "when": {"registers": [*registers]}},
            {"measure": "scrutinise", "when": {"registers": [*registers], "min_agencies": 2}},
        ],
    )
    agreement = found(home.directory, text, None, lambda *_: None)
    settings = home.party_path(NODE, agreement) / "settings.env"
    settings.write_text(f"CONCORDAT_WORKERS={WORKERS}\n", "ascii")
    with Processes(home) as processes:
        yield processes


def restart(processes: Processes, doors: Doors, parties: Sequence[str], how: signal.Signals) -> None:
    """End parties' processes, killed or asked to, and start them again on their databases; a port may have changed."""
    launcher = processes.launcher
    running = launcher.running()
    for party in parties:
        os.kill(running[party], how)
    deadline = time.monotonic() + _END_SECONDS
    while launcher.running().keys() & set(parties) and time.monotonic() < deadline:
        time.sleep(_RETRY_SECONDS)
    for party, url in launcher.start(processes.recorder.route).items():
        if party in doors.clients:
            doors.clients[party].base_url = httpx.URL(url)


async def insist(doors: Doors, attempt: Attempt) -> Answer:
    """Send a request until somebody answers, however often its party is killed meanwhile."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return await doors.send(attempt)
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_RETRY_SECONDS)
