"""What a federation's containers must not be able to do. A check returns its findings; nothing found is as promised."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

Inspected = Mapping[str, Any]
Pairs = set[frozenset[str]]


def promised_company(agencies: Iterable[str]) -> Pairs:
    """Who may share a network: coordinator with agencies and gateway, each party with its own database."""
    agencies = list(agencies)
    return {frozenset((it, "coordinator")) for it in (*agencies, "gateway")} | {
        frozenset((it, f"{it}-db")) for it in (*agencies, "coordinator")
    }


def company(members: Mapping[str, Collection[str]]) -> Pairs:
    """Who shares a network with whom; `members` are each service's networks."""
    return {frozenset(pair) for pair in combinations(members, 2) if set(members[pair[0]]) & set(members[pair[1]])}


def unconfined(container: Inspected) -> Iterator[str]:
    """What the engine granted to a container beyond the least."""
    config, host = container["Config"], container["HostConfig"]
    if config["User"].partition(":")[0] in {"", "0", "root"}:
        yield "user: root"
    if not host["ReadonlyRootfs"]:
        yield "root file system: writable"
    if host["CapDrop"] != ["ALL"] or host["CapAdd"]:
        yield "capabilities: not all dropped"
    if host["Privileged"] or host["Devices"]:
        yield "privileged, or devices"
    if not {"no-new-privileges", "no-new-privileges:true"} & set(host["SecurityOpt"] or ()):
        yield "new privileges: allowed"
    if any("unconfined" in it for it in host["SecurityOpt"] or ()):
        yield "seccomp or AppArmor: off"
    if "host" in {host["NetworkMode"], host["PidMode"], host["IpcMode"], host["UTSMode"]}:
        yield "a name space of the host"
    for mount in container["Mounts"]:
        if mount["Type"] == "bind":
            yield "a directory of the host"


def unconfined_inside(status: str, mounts: str) -> Iterator[str]:
    """The same from a container's own `/proc/1/status` and `/proc/1/mounts`."""
    of = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
    if "0" in of["Uid"] + of["Gid"]:
        yield "user: root"
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(of[name][0], 16):
            yield f"capabilities: {name}"
    if of["NoNewPrivs"] != ["1"]:
        yield "new privileges: allowed"
    if of["Seccomp"] != ["2"]:
        yield "seccomp: off"
    [root] = [line.split()[3] for line in mounts.splitlines() if line.split()[1] == "/"]
    if "ro" not in root.split(","):
        yield "root file system: writable"


def published(container: Inspected) -> set[str]:
    """The addresses of the host at which a container can be reached."""
    bindings = (container["HostConfig"]["PortBindings"] or {}) | (container["NetworkSettings"]["Ports"] or {})
    return {f"{it['HostIp']}:{it['HostPort']}" for each in bindings.values() for it in each or ()}


def told(container: Inspected, secrets: Iterable[bytes]) -> list[str]:
    """Secrets in anything that the engine knows of a container, its environment and command line above all."""
    return ["a secret is known to the engine" for secret in secrets if secret.decode() in str(container)]


def held(stream: Iterable[bytes], secrets: Collection[bytes]) -> list[str]:
    """Secrets in a stream of bytes, wherever its chunks are cut."""
    found, overlap, rest = set(), max(map(len, secrets)), b""
    for chunk in stream:
        window = rest + chunk
        found |= {secret for secret in secrets if secret in window}
        rest = window[-overlap:]
    return ["a secret is in a layer"] * len(found)
