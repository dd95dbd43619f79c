"""The dictionary attack recognises whom it can, and nobody else."""

import secrets
from collections.abc import Callable
from hashlib import md5, sha256, sha512
from typing import Any

import pytest

from federation.audit.dictionary import Loot, recovered
from federation.transport import Record
from protocol.codec import encode
from protocol.identifiers import Identifier, canonical
from tests.parties import federation

FIRMS = [canonical("cn.reg_no", f"F{number:06}") for number in range(60)]
LISTED = FIRMS[:20]


def held(*stored: bytes) -> set[Identifier]:
    record = Record("a", "b", "ask", encode({"values": list(stored[:3])}))
    loot = Loot(federation().terms, [record], [secrets.token_bytes(999), *stored], {}, {})
    return recovered(loot, FIRMS, 4)


@pytest.mark.parametrize("algorithm", [md5, sha256, sha512])
@pytest.mark.parametrize("form", ["{0.value}", "{0.scheme}:{0.value}"])
def test_plain_hashes_are_recognised(algorithm: Callable[[bytes], Any], form: str) -> None:
    hashes = [algorithm(form.format(firm).encode()).digest() for firm in LISTED]
    assert held(b"-".join(hashes)) == set(LISTED)
    assert held(*hashes) == set(LISTED)


def test_noise_is_not() -> None:
    assert held(secrets.token_bytes(100_000)) == set()
