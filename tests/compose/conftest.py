"""The federation of docker-compose.yml, running under a project name and a port of its own."""

import json
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
AGENCIES = ("labour", "tax", "court", "market", "customs")
SUBJECT = "9111000010000106X1"  # listed in api/demo/data/sample.csv
NOBODY = "91350211M000100Y46"  # a right check digit, and in no list


class Containers:
    """`docker compose` in the project's directory, and what the engine says of its containers."""

    def __init__(self) -> None:
        self.project = os.environ.get("COMPOSE_PROJECT_NAME") or f"concordat-test-{secrets.token_hex(3)}"
        self.port = os.environ.get("CONCORDAT_PORT") or _free_port()
        self.environment = {**os.environ, "COMPOSE_PROJECT_NAME": self.project, "CONCORDAT_PORT": self.port}
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = ""

    def run(self, *command: str, given: str = "", exit_code: int = 0) -> str:
        """Run a command; returns its standard output."""
        ended = subprocess.run(  # noqa: S603
            command,
            cwd=ROOT,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert ended.returncode == exit_code, (command, ended.returncode, ended.stdout[-4000:], ended.stderr[-4000:])
        return ended.stdout

    def compose(self, *arguments: str) -> str:
        """Run `docker compose`."""
        return self.run("docker", "compose", *arguments)

    def up(self) -> None:
        """Start whatever does not run, and wait until questions are answered."""
        self.compose("up", "--build", "--wait")
        self.token = self.inside("setup", "cat", "tokens/procurement-office").strip()

    def inside(self, service: str, *command: str) -> str:
        """Run a command in a service's container; for `setup`, which has ended, in a new one."""
        how = ("run", "--rm", "--no-deps") if service == "setup" else ("exec",)
        return self.compose(*how, "-T", service, *command)

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        """What the engine knows of containers, images, networks."""
        found: list[dict[str, Any]] = json.loads(self.run("docker", "inspect", *names))
        return found

    def services(self) -> dict[str, dict[str, Any]]:
        """What the engine knows of each service's container, ended ones too."""
        found = self.inspect(*self.compose("ps", "--all", "--quiet").split())
        return {it["Config"]["Labels"]["com.docker.compose.service"]: it for it in found}

    def ask(self, value: str = SUBJECT) -> httpx.Response:
        """Ask the gateway."""
        body = {
            "agreement": "procurement",
            "purpose": "award-contract",
            "case": "tender-2026-17",
            "subject": {"scheme": "cn.uscc", "value": value},
        }
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.post(f"{self.url}/v1/membership", json=body, headers=headers, timeout=40, trust_env=False)

    def measures(self, value: str = SUBJECT) -> list[str]:
        """What the gateway decides."""
        reply = self.ask(value)
        assert reply.status_code == 200, reply.text
        return [it["id"] for it in reply.json()["measures"]]


@pytest.fixture(scope="session")
def containers() -> Iterator[Containers]:
    """A running federation; afterwards nothing is left of it."""
    running = Containers()
    try:
        running.up()
        yield running
    finally:
        running.compose("down", "--volumes", "--remove-orphans", "--rmi", "all")


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
