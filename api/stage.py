"""A running federation whose messages are kept: all parties as separate processes, every message through a recorder."""

import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from api import keystore
from api.home import Home, keys_path, read_urls
from api.launcher import Launcher
from api.recorder import Recorder
from api.setup import Secrets
from federation.transport import Record
from protocol.agreement.roster import COORDINATOR
from protocol.errors import ConcordatError
from protocol.rounds.party import Party

QUESTION_SECONDS = 60.0


class StageError(ConcordatError):
    """A command that a stage needed failed; says which and how it ended."""


@dataclass(frozen=True)
class Subject:
    """A subject as a clerk would type it: scheme and value, not yet in canonical form."""

    scheme: str
    value: str


class Processes:
    """All parties of a directory as separate processes behind a recorder; a context.

    Parties that run already keep running, and find each other without the recorder again at the context's end; parties
    that it started it stops.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.terms = home.terms()
        self.recorder = Recorder()
        self.launcher = Launcher(home, *home.agreements())
        self._was_running = bool(self.launcher.running())

    def __enter__(self) -> Self:
        self.recorder.__enter__()
        try:
            self.launcher.await_ready(self.launcher.start(self.recorder.route))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._was_running:
                self.launcher.start()
            else:
                self.launcher.stop()
        finally:
            self.recorder.__exit__()

    @property
    def parties(self) -> dict[str, Party]:
        """The agencies and the coordinator as themselves, from their own keys."""
        return {name: self.secrets(name).party(name, self.terms) for name in (*self.terms.agencies, COORDINATOR)}

    def secrets(self, party: str) -> Secrets:
        """A party's own keys of this epoch."""
        keys = keys_path(self.path(party), self.terms.roster.epoch)
        held, _ = keystore.load(keys, (self.path(party) / "passphrase").read_bytes().strip())
        return held

    @property
    def records(self) -> list[Record]:
        """What the recorder kept."""
        return self.recorder.records

    @property
    def urls(self) -> dict[str, str]:
        """Where every party listens, past the recorder."""
        return read_urls(self.home.urls_path)

    def path(self, party: str) -> Path:
        """A party's own directory."""
        return self.home.party_path(party, self.terms.agreement)

    def client(self, requester: str) -> httpx.Client:
        """A caller of a requester's gateway, with its token."""
        token = self.home.token_path(requester).read_text("utf-8").strip()
        headers = {"authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.urls[requester], timeout=QUESTION_SECONDS, trust_env=False, headers=headers)

    def ask(self, subjects: Sequence[Subject], requester: str) -> list[Mapping[str, object]]:
        """Ask over HTTP for the requester's first purpose: one subject by itself, several in a batch."""
        asked = [{"scheme": subject.scheme, "value": subject.value} for subject in subjects]
        purpose = self.terms.agreement.requester(requester).purposes[0]
        question = {"agreement": self.terms.agreement.id, "purpose": purpose, "case": "recorded"}
        with self.client(requester) as client:
            if len(asked) == 1:
                return [client.post("/v1/membership", json={**question, "subject": asked[0]}).json()]
            items = client.post("/v1/membership:batch", json={**question, "subjects": asked}).json()["items"]
            return list(items)

    def load(
        self, agency: str, register: str, content: bytes, format_: str = "csv", done: Collection[int] = (0,)
    ) -> None:
        """Load a register by the command that its agency's staff would type; `done` are the exit codes that are right.

        Raises:
            StageError: the command ended otherwise.
        """
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            own = ["--agency", agency, "--register", register, "--format", format_]
            self.command(done, "import", *own, str(self.home.directory), file.name)

    def command(self, done: Collection[int], *arguments: str) -> None:
        """Run a command of this project as a process of its own.

        Raises:
            StageError: its exit code is none of `done`.
        """
        command = [sys.executable, "-m", "api.cli", *arguments]
        ended = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  # our own command line
        if ended.returncode not in done:
            raise StageError(f"`concordat {arguments[0]}` ended with exit code {ended.returncode}")
