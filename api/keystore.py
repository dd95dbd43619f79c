"""Private keys at rest: one file a party, sealed under a passphrase (Argon2id, RFC 9106, and AES-256-GCM).

The file is deterministic CBOR. The passphrase comes from the environment's secret store, or from a file that only the
party may read.
"""

import threading
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from api.setup import Secrets
from protocol.codec import Random, decode, encode, i2osp, os2ip
from protocol.dkg import KeyShare
from protocol.errors import SealError
from protocol.group import decode_element, decode_scalar
from protocol.opening import OpeningShare

NODE_KEY_BYTES = 32

# RFC 9106 §4, second recommended option: 64 MiB, three passes, four lanes.
_ITERATIONS, _LANES, _MEMORY_KIB = 3, 4, 64 << 10
_SALT_BYTES, _NONCE_BYTES = 16, 12
# OpenSSL's pool of threads: two derivations at once, of several lanes each, can wait for each other forever.
_DERIVING = threading.Lock()
_LIMIT = 64 << 10
_PRIVATE = 0o600


def save(path: Path, secrets: Secrets, node_key: bytes, passphrase: bytes, random: Random) -> None:
    """Seal a party's keys into a new file of mode 0600; `node_key` (32 bytes) is its database's.

    Raises:
        FileExistsError: there is one already; keys are never overwritten.
    """
    salt, nonce = random(_SALT_BYTES), random(_NONCE_BYTES)
    sealed = AESGCM(_derive(passphrase, salt)).encrypt(nonce, encode(_to_map(secrets, node_key)), salt)
    path.touch(_PRIVATE, exist_ok=False)
    path.write_bytes(encode({"salt": salt, "nonce": nonce, "sealed": sealed}))


def load(path: Path, passphrase: bytes) -> tuple[Secrets, bytes]:
    """Open a party's keys; returns them and the database's key.

    Raises:
        SealError: another passphrase, or the file was altered.
        DecodeError: not a key file.
    """
    file = decode(path.read_bytes(), _LIMIT)
    try:
        plain = AESGCM(_derive(passphrase, file["salt"])).decrypt(file["nonce"], file["sealed"], file["salt"])
    except (InvalidTag, KeyError, TypeError, ValueError) as error:
        raise SealError("the key file does not open under this passphrase") from error
    return _from_map(decode(plain, _LIMIT))


def _derive(passphrase: bytes, salt: bytes) -> bytes:
    kdf = Argon2id(salt=salt, length=32, iterations=_ITERATIONS, lanes=_LANES, memory_cost=_MEMORY_KIB)
    with _DERIVING:
        return kdf.derive(passphrase)


def _to_map(secrets: Secrets, node_key: bytes) -> dict[str, Any]:
    oprf, opening = secrets.oprf_share, secrets.opening_share
    return {
        "signing": secrets.signing_key.private_bytes_raw(),
        "sealing": secrets.sealing_key.private_bytes_raw(),
        "database": node_key,
        "oprf": oprf and [oprf.index, oprf.secret, oprf.public_key, list(oprf.public_shares)],
        "opening": opening and [opening.index, i2osp(opening.secret, -(-opening.secret.bit_length() // 8))],
    }


def _from_map(keys: dict[str, Any]) -> tuple[Secrets, bytes]:
    oprf, opening = keys["oprf"], keys["opening"]
    return Secrets(
        Ed25519PrivateKey.from_private_bytes(keys["signing"]),
        X25519PrivateKey.from_private_bytes(keys["sealing"]),
        oprf
        and KeyShare(
            oprf[0], decode_scalar(oprf[1]), decode_element(oprf[2]), tuple(decode_element(it) for it in oprf[3])
        ),
        opening and OpeningShare(opening[0], os2ip(opening[1])),
    ), keys["database"]
