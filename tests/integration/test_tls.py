"""A party serves HTTPS with its own certificate, and others reach it only if they trust who issued that."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from api.founding import found
from api.home import Home, parties, write_urls
from api.launcher import _free_ports
from federation.transport import HttpTransport, UnreachableError
from protocol.agreement.roster import COORDINATOR
from protocol.errors import IndeterminateError
from tests.parties import AGENCIES, agreement

TODAY = datetime.now(UTC)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "coordinator.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(TODAY - timedelta(days=1))
        .not_valid_after(TODAY + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A coordinator's HTTPS address, and the certificate of who issued its certificate."""
    folder = tmp_path_factory.mktemp("tls")
    valid = {"from": TODAY.date().isoformat(), "until": (TODAY.date() + timedelta(days=300)).isoformat()}
    document = agreement(valid=valid).model_dump(mode="json", by_alias=True, exclude_none=True)
    home = Home(folder / "federation")
    found(home.directory, yaml.safe_dump(document), None, lambda *_: None)
    authority, key = certificate(folder)
    [port] = _free_ports(1)
    url = f"https://127.0.0.1:{port}"
    write_urls(home.urls_path, dict.fromkeys(parties(home.terms().agreement), url), home.terms().agreement)
    environment = os.environ | {
        "CONCORDAT_PARTY": COORDINATOR,
        "CONCORDAT_ROSTER": str(home.roster_path),
        "CONCORDAT_URLS": str(home.urls_path),
        "CONCORDAT_PORT": str(port),
        "CONCORDAT_TLS_CERTIFICATE": str(authority),
        "CONCORDAT_TLS_KEY": str(key),
    }
    command = [sys.executable, "-m", "api.serve", str(home.directory / COORDINATOR)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603  # our own module
    try:
        await_alive(url, authority)
        yield url, authority
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def await_alive(url: str, authority: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(authority))
    deadline = time.monotonic() + 30
    while True:
        try:
            assert httpx.get(f"{url}/healthz", verify=trusting, trust_env=False).json() == {"status": "alive"}
        except httpx.TransportError:
            assert time.monotonic() < deadline, "it does not serve"
            time.sleep(0.1)
        else:
            return


async def probe(url: str) -> None:
    transport = HttpTransport(lambda: {COORDINATOR: url}, 10)
    try:
        await transport.probe(COORDINATOR, 9)
    finally:
        await transport.close()


def test_a_party_that_trusts_the_issuer_reaches_it(served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, authority = served
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with pytest.raises(IndeterminateError) as answered:
        asyncio.run(probe(url))
    assert answered.value.missing == tuple(sorted(AGENCIES))  # its own answer: none of them runs


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_without_that_trust_or_without_tls_nothing_is_sent(
    scheme: str, served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(UnreachableError) as unreached:
        asyncio.run(probe(served[0].replace("https", scheme)))
    assert unreached.value.missing == (COORDINATOR,)
