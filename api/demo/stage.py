"""Where the demonstration runs: all parties as separate processes, every message between them through a recorder."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from api import keystore
from api.demo.recorder import Recorder
from api.demo.registers import Source
from api.founding import found
from api.home import Home, read_urls
from api.launcher import Launcher
from api.primes import Progress
from federation.transport import Record
from protocol.agreement.terms import Terms
from protocol.errors import ConcordatError
from protocol.rounds.party import Party

PURPOSE = "award-contract"
_QUESTION_SECONDS = 60.0


class StageError(ConcordatError):
    """A command of the demonstration failed; says which and how it ended."""


@dataclass(frozen=True)
class Subject:
    """A subject as a clerk would type it: scheme and value, not yet in canonical form."""

    scheme: str
    value: str


class Stage(Protocol):
    """A running federation: what the demonstration does with it."""

    @property
    def terms(self) -> Terms:
        """The epoch's public terms."""

    @property
    def agencies(self) -> Mapping[str, Party]:
        """Every agency as itself, to open what was sealed for it."""

    @property
    def records(self) -> Sequence[Record]:
        """Every message that travelled."""

    def load(self, source: Source) -> None:
        """Load a register at its agency, and flag its dispute."""

    def ask(self, subjects: Sequence[Subject], requester: str) -> list[Mapping[str, object]]:
        """Ask through the requester's gateway: one answer object a subject, as its HTTP interface gives it."""


class Processes:
    """The stage of separate processes under one directory; a context that stops them at its end."""

    def __init__(self, directory: Path, agreement: str, progress: Progress) -> None:
        found(directory, agreement, None, progress)
        self._home = Home(directory)
        self.terms = self._home.terms()
        self._launcher = Launcher(self._home, self.terms.agreement)
        self._recorder = Recorder()

    def __enter__(self) -> "Processes":
        self._recorder.__enter__()
        try:
            self._launcher.await_ready(self._launcher.start(self._recorder.route))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._launcher.stop()
        self._recorder.__exit__()

    @property
    def agencies(self) -> dict[str, Party]:
        """Every agency as itself, from its own keys."""
        parties = {}
        for agency in self.terms.agencies:
            path = self._home.party_path(agency, self.terms.agreement)
            held, _ = keystore.load(path / "keys", (path / "passphrase").read_bytes().strip())
            parties[agency] = held.party(agency, self.terms)
        return parties

    @property
    def records(self) -> list[Record]:
        """What the recorder kept."""
        return self._recorder.records

    def load(self, source: Source) -> None:
        """Load a register by the commands that its agency's staff would type.

        Raises:
            StageError: a command failed.
        """
        own = ["--agency", source.agency, "--register", source.register]
        with tempfile.NamedTemporaryFile() as file:
            file.write(source.content)
            file.flush()
            done = (0, 5) if source.refused else (0,)
            self._command(done, "import", *own, "--format", source.format, str(self._home.directory), file.name)
        if source.disputed:
            subject = f"{source.disputed.scheme}:{source.disputed.value}"
            self._command((0,), "node", "dispute", *own, str(self._home.directory), subject)

    def ask(self, subjects: Sequence[Subject], requester: str) -> list[Mapping[str, object]]:
        """Ask over HTTP, one subject by itself, several in a batch."""
        url = read_urls(self._home.urls_path)[requester]
        token = self._home.token_path(requester).read_text("utf-8").strip()
        asked = [{"scheme": subject.scheme, "value": subject.value} for subject in subjects]
        question = {"agreement": self.terms.agreement.id, "purpose": PURPOSE, "case": "demonstration"}
        headers = {"authorization": f"Bearer {token}"}
        with httpx.Client(timeout=_QUESTION_SECONDS, trust_env=False, headers=headers) as client:
            if len(asked) == 1:
                return [client.post(f"{url}/v1/membership", json={**question, "subject": asked[0]}).json()]
            items = client.post(f"{url}/v1/membership:batch", json={**question, "subjects": asked}).json()["items"]
            return list(items)

    def _command(self, done: Sequence[int], *arguments: str) -> None:
        command = [sys.executable, "-m", "api.cli", *arguments]
        ended = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  # our own command line
        if ended.returncode not in done:
            raise StageError(f"`concordat {arguments[0]}` ended with exit code {ended.returncode}")
