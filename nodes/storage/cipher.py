"""Encryption of single columns under the node's key, so that a stolen database file tells nothing of any subject."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol import labels
from protocol.codec import Random, concat, hkdf
from protocol.errors import SealError

KEY_BYTES = 32
NONCE_BYTES = 12


class ColumnCipher:
    """AES-256-GCM with random nonces (at most 2^32 values under one key), and a keyed digest for equality.

    `key` is the node's key, 32 bytes; `random(n)` gives n fresh bytes.
    """

    def __init__(self, key: bytes, random: Random) -> None:
        self._aead = AESGCM(hkdf(key, labels.COLUMN_ENCRYPTION))
        self._mac = hmac.HMAC(hkdf(key, labels.COLUMN_DIGEST), hashes.SHA256())
        self._random = random

    def __repr__(self) -> str:
        return "ColumnCipher(key=<redacted>)"

    def encrypt(self, plaintext: bytes, *place: bytes) -> bytes:
        """Encrypt for one `place` (table, column, row key): moved anywhere else, it does not decrypt."""
        return self.encrypt_at(plaintext, concat(*place))

    def encrypt_at(self, plaintext: bytes, at: bytes) -> bytes:
        """The same, for a place that is put together already: `concat` of its parts."""
        nonce = self._random(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plaintext, at)

    def decrypt(self, ciphertext: bytes, *place: bytes) -> bytes:
        """Decrypt what `encrypt` made for the same place.

        Raises:
            SealError: another key, another place, or altered.
        """
        return self.decrypt_at(ciphertext, concat(*place))

    def decrypt_at(self, ciphertext: bytes, at: bytes) -> bytes:
        """Decrypt what `encrypt_at` made for the same place.

        Raises:
            SealError: as `decrypt`.
        """
        try:
            return self._aead.decrypt(ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], at)
        except (InvalidTag, ValueError) as error:
            raise SealError("a stored column does not open under this node's key in its place") from error

    def digest(self, plaintext: bytes) -> bytes:
        """HMAC-SHA-256: equal for equal plaintexts, and nothing to guess them by without the key."""
        mac = self._mac.copy()
        mac.update(plaintext)
        return mac.finalize()
