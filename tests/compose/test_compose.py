"""Containers as promised: who may do what, who reaches whom, where secrets are; and a federation that lives in them.

Each check of tests/compose/scan.py is also given a container, a table or a stream in which it must find something.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.compose import scan
from tests.compose.conftest import AGENCIES, NOBODY, ROOT, SUBJECT, Containers

pytestmark = pytest.mark.compose

PARTIES = (*AGENCIES, "coordinator", "gateway")
DATABASES = tuple(f"{party}-db" for party in (*AGENCIES, "coordinator"))
GUIDE = ROOT / "federation/docs/compose.md"

# Tries to connect to every HOST:PORT it is given, and prints those that answer.
KNOCK = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def answers(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
    except OSError:
        return False
    return True
with ThreadPoolExecutor(50) as pool:
    print(*(it for it, yes in zip(sys.argv[1:], pool.map(answers, sys.argv[1:])) if yes))
"""


def commands(heading: str) -> str:
    """The guide's shell blocks under a heading."""
    part = GUIDE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", part, flags=re.MULTILINE | re.DOTALL)
    assert blocks, heading
    return "".join(blocks)


def port(service: str) -> int:
    return 5432 if service in DATABASES else 8080


def secrets(containers: Containers) -> list[bytes]:
    """Every passphrase, password and token there is, as `setup` finds them on the volumes."""
    found = containers.inside("setup", "bash", "-c", "cat {,*/}*/{passphrase,settings.env} */*/password tokens/*")
    every = {line.rpartition("concordat:")[2].partition("@")[0] for line in found.split()}
    assert len(every) == len(PARTIES) + len(DATABASES) + 1
    assert min(map(len, every)) >= 43
    return [secret.encode() for secret in every]


@contextmanager
def layers(containers: Containers, *images: str) -> Iterator[Iterator[bytes]]:
    """All bytes of images: layers, configuration, history."""
    command = ["docker", "save", *images]
    with subprocess.Popen(command, env=containers.environment, stdout=subprocess.PIPE) as saving:  # noqa: S603
        assert saving.stdout
        output = saving.stdout
        yield iter(lambda: output.read(1 << 24), b"")


# The guide's own commands, first, on the fresh federation


def test_the_guides_commands_import_the_sample_and_get_an_answer(containers: Containers) -> None:
    # `up` was the fixture's; the address is whatever port is free here.
    script = commands("Run").replace("http://127.0.0.1:8080", containers.url)
    assert script.startswith("docker compose up --build --wait\n")
    assert containers.url in script
    answer = json.loads(containers.run("bash", "-euo", "pipefail", "-c", script).splitlines()[-1])
    assert [it["id"] for it in answer["measures"]] == ["extra-scrutiny"]
    assert answer["agencies"] == {"required": 5, "answered": 5}
    assert answer["notice"][0]["door"].startswith("https://")
    assert containers.measures(NOBODY) == []


# What containers may do


def test_no_container_may_do_more_than_it_must(containers: Containers) -> None:
    services = containers.services()
    assert set(services) == {"setup", *PARTIES, *DATABASES}
    assert {name: list(scan.unconfined(it)) for name, it in services.items() if list(scan.unconfined(it))} == {}
    assert services["setup"]["HostConfig"]["NetworkMode"] == "none"
    for service in (*PARTIES, *DATABASES):
        status, mounts = (containers.inside(service, "cat", f"/proc/1/{name}") for name in ("status", "mounts"))
        assert list(scan.unconfined_inside(status, mounts)) == [], service
        assert containers.inside(service, "cat", "/proc/sys/net/ipv4/ip_forward") == "0\n"
        with pytest.raises(AssertionError, match="Read-only file system"):
            containers.inside(service, "touch", "/here")


def test_a_container_that_may_do_more_would_be_found(containers: Containers) -> None:
    image = containers.services()["tax"]["Image"]
    powers = ("--user", "0", "--pid", "host", "--device", "/dev/null", "--security-opt", "seccomp=unconfined")
    options = (*powers, "--publish", "1", "--volume", "/:/host:ro")
    name = containers.run("docker", "run", "--detach", *options, image, "sleep", "600").strip()
    try:
        [container] = containers.inspect(name)
        status, mounts = (
            containers.run("docker", "exec", name, "cat", f"/proc/self/{it}") for it in ("status", "mounts")
        )
    finally:
        containers.run("docker", "rm", "--force", name)
    assert set(scan.unconfined(container)) == {
        *("user: root", "root file system: writable", "capabilities: not all dropped", "privileged, or devices"),
        *("new privileges: allowed", "seccomp or AppArmor: off", "a name space of the host", "a directory of the host"),
    }
    assert set(scan.unconfined_inside(status, mounts)) == {
        *("user: root", "capabilities: CapPrm", "capabilities: CapEff", "capabilities: CapBnd"),
        *("new privileges: allowed", "seccomp: off", "root file system: writable"),
    }
    assert not all(address.startswith("127.0.0.1:") for address in scan.published(container))


# Who reaches whom


def test_only_the_gateway_is_published_and_on_loopback_alone(containers: Containers) -> None:
    found = {name: scan.published(it) for name, it in containers.services().items()}
    assert {name: addresses for name, addresses in found.items() if addresses} == {
        "gateway": {f"127.0.0.1:{containers.port}"}
    }


def test_everybody_shares_networks_with_whom_they_must_and_no_other(containers: Containers) -> None:
    services = containers.services()
    members = {name: set(it["NetworkSettings"]["Networks"]) for name, it in services.items() if name != "setup"}
    assert scan.company(members) == scan.promised_company(AGENCIES)
    assert scan.company({**members, "tax": members["tax"] | members["court"]}) != scan.promised_company(AGENCIES)
    networks = {name.partition("_")[2]: containers.inspect(name)[0] for name in set().union(*members.values())}
    open_ = {name for name, it in networks.items() if not it["Internal"]}
    assert open_ == {"published"}
    assert [it["Name"] for it in networks["published"]["Containers"].values()] == [services["gateway"]["Name"][1:]]


def test_nobody_reaches_more_than_networks_promise(containers: Containers) -> None:
    """By name and by number, on every network; what may be reached is the control that trying works."""
    services = {name: it for name, it in containers.services().items() if name != "setup"}
    numbers = {
        f"{network['IPAddress']}:{port(name)}": name
        for name, it in services.items()
        for network in it["NetworkSettings"]["Networks"].values()
    }
    addresses = {**{f"{name}:{port(name)}": name for name in services}, **numbers}
    promised = scan.promised_company(AGENCIES)
    for party in PARTIES:
        answered = containers.inside(party, "python", "-c", KNOCK, *addresses, "1.1.1.1:443").split()
        assert {addresses[it] for it in answered} == {
            party,
            *frozenset().union(*(it for it in promised if party in it)),
        }


# Secrets


def test_no_secret_is_in_an_image_or_known_to_the_engine(containers: Containers) -> None:
    every, services = secrets(containers), containers.services()
    images = sorted({it["Image"] for it in services.values()})
    assert len(images) == 2
    for container in (*services.values(), *containers.inspect(*images)):
        assert scan.told(container, every) == []
    with layers(containers, *images) as stream:
        assert scan.held(stream, every) == []
    where = ("/", "-xdev", "(", "-path", "/federation/*", "-o", "-path", "/run/secrets/*", ")", "-type", "f")
    for image in images:
        look = ("docker", "run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "find", image)
        assert containers.run(*look, *where) == ""


def test_a_secret_in_an_image_or_in_the_environment_would_be_found(containers: Containers) -> None:
    planted = "A9-planted-secret-in-a-file-that-a-later-layer-erases"
    image = containers.services()["tax"]["Config"]["Image"]
    recipe = f"FROM {image}\nUSER 0\nRUN echo {planted[:9]}''{planted[9:]} >/erased\nRUN rm /erased\n"
    tag = f"{containers.project}-planted"
    containers.run("docker", "build", "--tag", tag, "-", given=recipe)
    try:
        with layers(containers, tag) as stream:
            assert scan.held(stream, [planted.encode(), b"B7-" + planted.encode()]) == ["a secret is in a layer"]
    finally:
        containers.run("docker", "rmi", tag)
    assert scan.held([b"..A9-pla", b"nted-..", b""], [b"A9-planted"]) == ["a secret is in a layer"]
    container = containers.services()["tax"]
    assert scan.told(container, [b"CONCORDAT_PARTY=tax"]) == ["a secret is known to the engine"]


def test_each_volume_is_mounted_by_its_owner_and_by_setup_alone(containers: Containers) -> None:
    mounted: dict[str, dict[str, bool]] = {}
    for service, it in containers.services().items():
        for mount in it["Mounts"]:
            mounted.setdefault(mount["Name"].partition("_")[2], {})[service] = mount["RW"]
    expected = {
        "public": {"setup": True, **dict.fromkeys(PARTIES, False)},
        "tokens": {"setup": True},
        "gateway": {"setup": True, "gateway": True},
    }
    for party in (*AGENCIES, "coordinator"):
        expected[party] = {"setup": True, party: False}
        expected[f"{party}-password"] = {"setup": True, f"{party}-db": False}
        expected[f"{party}-data"] = {f"{party}-db": True}
    assert mounted == expected


def test_files_are_their_owners_alone(containers: Containers) -> None:
    public = {".", "./agencies", "./gateways", "./passwords"}
    readable = {"./agreement.yaml", "./agreement.roster", "./urls.json"}
    listed = containers.inside("setup", "find", ".", "-printf", "%p %m %u %y\n").splitlines()
    modes = {path: (mode, owner, kind) for path, mode, owner, kind in (line.split() for line in listed)}
    assert len([path for path in modes if path.endswith(("/passphrase", "/password", "/keys"))]) == 7 + 6 + 7
    for path, found in modes.items():
        if path in public:
            assert found == ("755", "10001", "d")
        elif path in readable:
            assert found == ("644", "10001", "f")
        elif not path.endswith((".sqlite", ".sqlite-wal", ".sqlite-shm")):  # in a directory that is its owner's alone
            assert found in {("700", "10001", "d"), ("600", "10001", "f")}, path
    for database in DATABASES:
        cluster = containers.inside(database, "stat", "-c", "%a %u", "/var/lib/postgresql/data/cluster")
        assert cluster == "700 10001\n"


def test_a_database_lets_its_own_party_in_by_password_and_nobody_else(containers: Containers) -> None:
    text = containers.inside("tax-db", "cat", "/var/lib/postgresql/data/cluster/pg_hba.conf")
    rules = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert {rule[-1] for rule in rules if rule[0] == "local"} == {"peer"}
    remote = [rule for rule in rules if rule[0] != "local" and rule[-1] != "reject"]
    assert remote == [["host", "listings,state", "concordat", "samenet", "scram-sha-256"]]
    roles = containers.inside(
        "tax-db", "psql", "-d", "state", "-Atc", "SELECT rolsuper FROM pg_roles WHERE rolcanlogin"
    )
    assert sorted(roles.split()) == ["f", "t"]
    with pytest.raises(AssertionError, match="Peer authentication failed"):
        containers.inside("tax-db", "psql", "-U", "postgres", "-d", "state", "-c", "SELECT 1")
    connect = "import psycopg; psycopg.connect('postgresql://concordat:{}@tax-db/state', connect_timeout=5)"
    with pytest.raises(AssertionError, match="password authentication failed"):
        containers.inside("tax", "python", "-c", connect.format("wrong"))


# Its life


@pytest.mark.parametrize("stopped", ["court", "court-db"])
def test_without_one_agency_there_is_no_decision_and_with_it_there_is(containers: Containers, stopped: str) -> None:
    expected = containers.measures()
    containers.compose("stop", stopped)
    reply = containers.ask()
    assert (reply.status_code, reply.json()["outcome"], reply.json()["missing"]) == (503, "indeterminate", ["court"])
    assert httpx.get(f"{containers.url}/readyz", timeout=40, trust_env=False).status_code == 503
    containers.compose("start", stopped)
    deadline = time.monotonic() + 60
    while (reply := containers.ask()).status_code != 200:
        assert time.monotonic() < deadline, reply.text
        time.sleep(0.5)
    assert containers.measures() == expected


def test_all_is_there_again_after_down_and_up(containers: Containers) -> None:
    def state() -> tuple[str, str, str]:
        files = containers.inside("setup", "sh", "-c", "cat agreement.roster */*/keys */keys tokens/* | sha256sum")
        query = ("tax-db", "psql", "-d", "listings", "-Atc", "SELECT number, content FROM listing ORDER BY number")
        return files, containers.inside(*query), containers.token

    def sessions() -> set[str]:
        query = ("tax-db", "psql", "-d", "state", "-Atc", "SELECT session FROM session")
        return set(containers.inside(*query).split())

    before, spent, decided = state(), sessions(), containers.measures()
    assert spent
    containers.compose("down")
    assert containers.run("docker", "ps", "--all", "--quiet", "--filter", f"name={containers.project}-") == ""
    containers.up()
    assert containers.measures() == decided == ["extra-scrutiny"]
    assert state() == before
    assert spent < sessions()


def test_what_a_second_agency_enters_counts_in_the_next_question(containers: Containers) -> None:
    sample = Path(ROOT / "api/demo/data/sample.csv").read_text().splitlines()
    header, row = sample[0].split(","), dict(zip(sample[0].split(","), sample[1].split(","), strict=True))
    assert row["identifier"] == SUBJECT
    row |= {"ground": "smuggling", "decision_ref": "CUSTOMS-7"}
    text = "\n".join([",".join(header), ",".join(row[name] for name in header), ""])
    command = ("import", "/federation", "/dev/stdin", "--agency", "customs", "--register", "customs-breaches")
    said = containers.run("docker", "compose", "exec", "-T", "customs", "concordat", *command, given=text)
    assert said == "1 loaded, 0 refused\n"
    assert containers.measures() == ["exclude-from-award", "extra-scrutiny"]


def test_commands_leave_nothing_behind_in_memory(containers: Containers) -> None:
    containers.inside("tax", "concordat", "node", "listings", "/federation", "--agency", "tax")
    assert containers.inside("tax", "find", "/tmp", "-type", "f") == ""  # noqa: S108  # the container's


def test_an_agency_has_no_keys_but_its_own(containers: Containers) -> None:
    command = ("import", "/federation", "/dev/null", "--agency", "court", "--register", "judgments")
    containers.run("docker", "compose", "exec", "-T", "tax", "concordat", *command, exit_code=2)


def test_logs_hold_no_secret_and_no_identifier(containers: Containers) -> None:
    logs = containers.compose("logs", "--no-color")
    assert len(logs) > 1000
    for secret in (*secrets(containers), SUBJECT.encode(), NOBODY.encode()):
        assert secret.decode() not in logs
