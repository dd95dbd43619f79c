"""A federation's directory: where everything of every party lies.

    agreement.yaml, agreement.roster    public: the agreement and the roster that all agencies signed
    next.roster, previous.roster        public, while epochs overlap: the one to come, or the one before
    next.yaml                           public: the new version of the agreement, if the epoch to come is of one
    urls.json, tokens/REQUESTER         where each party listens; the bearer token of each gateway's callers
    agencies/ID/, coordinator/, gateways/REQUESTER/
                                        each party's own: keys of each epoch, passphrase, databases, log

A party's process reads its own directory and what is public, nothing else.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from protocol.agreement.model import Agreement
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms

PRIVATE_FILE, PRIVATE_DIRECTORY = 0o600, 0o700
FIRST_EPOCH = 1


@dataclass(frozen=True)
class Home:
    """Paths under one directory."""

    directory: Path

    @property
    def agreement_path(self) -> Path:
        """The agreement's YAML, which people read."""
        return self.directory / "agreement.yaml"

    @property
    def roster_path(self) -> Path:
        """The agreement's canonical form and its signed roster, which machines read."""
        return self.directory / "agreement.roster"

    @property
    def next_path(self) -> Path:
        """The roster of the epoch to come, while registers are sealed for it."""
        return next_roster(self.roster_path)

    @property
    def previous_path(self) -> Path:
        """The roster of the epoch before, until it is forgotten."""
        return previous_roster(self.roster_path)

    @property
    def next_agreement_path(self) -> Path:
        """The YAML of the epoch to come, where that is of a new version."""
        return self.directory / "next.yaml"

    def agreements(self) -> tuple[Agreement, ...]:
        """The agreements of all epochs whose rosters are here, the current one's first; verified.

        Raises:
            AgreementError, ModulusError, DecodeError: they do not hold.
        """
        others = [path for path in (self.next_path, self.previous_path) if path.exists()]
        return self.terms().agreement, *(Terms.from_bytes(path.read_bytes()).agreement for path in others)

    @property
    def urls_path(self) -> Path:
        """Where each party listens."""
        return self.directory / "urls.json"

    def token_path(self, requester: str) -> Path:
        """The bearer token of a gateway's callers."""
        return self.directory / "tokens" / requester

    def party_path(self, party: str, agreement: Agreement) -> Path:
        """A party's own directory."""
        if party == COORDINATOR:
            return self.directory / COORDINATOR
        agencies = {agency.id for agency in agreement.agencies}
        return self.directory / ("agencies" if party in agencies else "gateways") / party

    def terms(self) -> Terms:
        """Read and verify the agreement and its roster.

        Raises:
            AgreementError, ModulusError, DecodeError: they do not hold.
        """
        return Terms.from_bytes(self.roster_path.read_bytes())


def next_roster(current: Path) -> Path:
    """The roster of the epoch to come, beside the current one."""
    return current.with_name("next.roster")


def previous_roster(current: Path) -> Path:
    """The roster of the epoch before, beside the current one."""
    return current.with_name("previous.roster")


def keys_path(directory: Path, epoch: int) -> Path:
    """A party's keys of an epoch, in its own directory: `keys`, and from the second epoch on `keys.2` and so on."""
    return directory / ("keys" if epoch == FIRST_EPOCH else f"keys.{epoch}")


def parties(agreement: Agreement) -> tuple[str, ...]:
    """Ids of all parties: agencies, coordinator, requesters."""
    return (
        *(agency.id for agency in agreement.agencies),
        COORDINATOR,
        *(requester.id for requester in agreement.requesters),
    )


def write_urls(path: Path, urls: Mapping[str, str], *agreements: Agreement) -> None:
    """Write `urls.json` of all parties of these agreements from {party: URL}, replacing it in one step."""
    document = {
        "coordinator": urls[COORDINATOR],
        "agencies": {agency.id: urls[agency.id] for agreement in agreements for agency in agreement.agencies},
        "gateways": {it.id: urls[it.id] for agreement in agreements for it in agreement.requesters},
    }
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    new.replace(path)


def read_urls(path: Path) -> dict[str, str]:
    """Read `urls.json` as {party: URL}."""
    document = json.loads(path.read_text("utf-8"))
    return {COORDINATOR: document["coordinator"], **document["agencies"], **document["gateways"]}


def write_private(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
