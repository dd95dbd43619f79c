"""Running a federation's parties as local processes: start who is missing, see that they answer, stop all."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from api.home import Home, parties, write_urls
from protocol.agreement.model import Agreement
from protocol.errors import ConcordatError

HOST = "127.0.0.1"
ALIVE_SECONDS = 60.0
READY_SECONDS = 300.0
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05

# A database is one party's: set where all parties are started, it would be everybody's.
_OF_ONE_PARTY = frozenset({"CONCORDAT_LISTINGS_URL", "CONCORDAT_PORTFOLIOS_URL", "CONCORDAT_STATE_URL"})

Route = Callable[[Mapping[str, str]], Callable[[str], Mapping[str, str]]]


class LaunchError(ConcordatError):
    """A party did not start, or did not become ready; names it and its log."""


class Launcher:
    """The parties of one directory as processes; nothing is remembered but what lies in the directory."""

    def __init__(self, home: Home, agreement: Agreement) -> None:
        self._home = Home(home.directory.resolve())
        self._agreement = agreement
        self._parties = parties(agreement)
        self._spawned: list[subprocess.Popen[bytes]] = []

    def running(self) -> dict[str, int]:
        """Process ids of the parties that run."""
        found = {party: self._pid(party) for party in self._parties}
        self._spawned = [process for process in self._spawned if process.poll() is None]
        return {party: pid for party, pid in found.items() if pid is not None}

    def start(self, route: Route = lambda urls: lambda _sender: urls) -> dict[str, str]:
        """Start every party that does not run; returns all URLs once each answers, and writes `urls.json`.

        `route` says under which addresses each party shall reach the others, if not under their own.

        Raises:
            LaunchError: a party ended or did not answer in time.
        """
        running = self.running()
        urls = self._addresses(running)
        peers = route(urls)
        for party in self._parties:
            write_urls(self._path(party) / "peers.json", self._agreement, peers(party))
        for party in self._parties:
            if party not in running:
                self._spawn(party, urls[party])
        self._await(urls, "healthz", ALIVE_SECONDS)
        write_urls(self._home.urls_path, self._agreement, urls)
        return urls

    def await_ready(self, urls: Mapping[str, str]) -> None:
        """Wait until every party's `readyz` is 200.

        Raises:
            LaunchError: a party ended or was not ready in time.
        """
        self._await(urls, "readyz", READY_SECONDS)

    def stop(self) -> None:
        """Ask every party to end, and return when all have; who does not end in time is killed."""
        pids = self.running()
        _signal(pids.values(), signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while (pids := self.running()) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        _signal(pids.values(), signal.SIGKILL)
        while self.running():
            time.sleep(_POLL_SECONDS)
        for process in self._spawned:
            process.wait()  # its memory is gone, so that it does not run; its last threads may still be ending
        for party in self._parties:
            (self._path(party) / "pid").unlink(missing_ok=True)
        self._home.urls_path.unlink(missing_ok=True)

    def _addresses(self, running: Mapping[str, int]) -> dict[str, str]:
        """Each party keeps the port it had, if it runs or the port is free; the others get free ones."""
        known = {party: self._path(party) / "url" for party in self._parties}
        urls = {party: path.read_text("utf-8").strip() for party, path in known.items() if path.exists()}
        kept = {party: url for party, url in urls.items() if party in running or _is_free(int(url.rpartition(":")[2]))}
        missing = [party for party in self._parties if party not in kept]
        ports = _free_ports(len(missing))
        return kept | {party: f"http://{HOST}:{port}" for party, port in zip(missing, ports, strict=True)}

    def _spawn(self, party: str, url: str) -> None:
        path = self._path(party).absolute()
        environment = {
            **{name: value for name, value in os.environ.items() if name not in _OF_ONE_PARTY},
            "CONCORDAT_PARTY": party,
            "CONCORDAT_ROSTER": str(self._home.roster_path.absolute()),
            "CONCORDAT_URLS": str(path / "peers.json"),
            "CONCORDAT_HOST": HOST,
            "CONCORDAT_PORT": url.rpartition(":")[2],
        }
        with (path / "log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  # our own interpreter and module, and our own directory
                [sys.executable, "-m", "api.serve", str(path)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._spawned.append(process)
        (path / "pid").write_text(f"{process.pid}\n", "utf-8")
        (path / "url").write_text(f"{url}\n", "utf-8")

    def _await(self, urls: Mapping[str, str], path: str, seconds: float) -> None:
        waiting, deadline = set(urls), time.monotonic() + seconds
        with httpx.Client(trust_env=False, timeout=35) as client:
            while waiting:
                for party in sorted(waiting):
                    if self._pid(party) is None:
                        raise LaunchError(f"{party} ended; its log is {self._path(party) / 'log'}")
                    if time.monotonic() > deadline:
                        raise LaunchError(f"{party} gives no 200 at {path}; its log is {self._path(party) / 'log'}")
                    try:
                        if client.get(f"{urls[party]}/{path}").status_code == httpx.codes.OK:
                            waiting.discard(party)
                    except httpx.TransportError:
                        pass
                time.sleep(_POLL_SECONDS)

    def _pid(self, party: str) -> int | None:
        """The party's process id, if that process lives and is this party's."""
        path = self._path(party)
        try:
            pid = int((path / "pid").read_text("utf-8"))
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        return pid if str(path.absolute()).encode() in arguments and state != "Z" else None

    def _path(self, party: str) -> Path:
        return self._home.party_path(party, self._agreement)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    """Free ports, all different: every one is held until all are found."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it may end by itself meanwhile
            os.kill(pid, number)
