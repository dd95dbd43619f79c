"""A subject's own client at the one door: it makes the key, asks through any agency, and opens what each one answers.

It trusts the agreement and its roster, which it has from elsewhere than the door: of the door's answer nothing counts
but what an agency has signed for exactly this key.
"""

import binascii
import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from federation.problem import to_error
from protocol.agreement.terms import Terms
from protocol.errors import IndeterminateError, PeerError
from protocol.rounds import access

DOOR: Final = "door"
"""The name of the agency asked through, whichever it is, where it does not answer."""
SECONDS: Final = 60.0


@dataclass(frozen=True)
class Told:
    """What every agency that answered holds of the subject, and of which agencies there is no right answer."""

    files: dict[str, dict[str, Any]] = field(repr=False)
    missing: tuple[str, ...]


def ask(terms: Terms, url: str, token: str, seconds: float = SECONDS) -> Told:
    """Ask all agencies through the one whose portal is at `url`.

    Raises:
        IndeterminateError: the door, or who it waits for, does not answer.
        PeerError: the door refused.
    """
    key = X25519PrivateKey.generate()
    try:
        response = httpx.post(
            f"{url}/subject/door",
            json=asking(key),
            headers={"authorization": f"Bearer {token}"},
            timeout=seconds,
            trust_env=False,
        )
        document = response.json()
    except (httpx.HTTPError, ValueError, RecursionError):
        raise IndeterminateError([DOOR]) from None
    if response.status_code != httpx.codes.OK:
        raise to_error(document, DOOR)
    return opened(terms, key, document)


def asking(key: X25519PrivateKey) -> dict[str, str]:
    """What to send to a door: the public half of a key made for this."""
    return {"key": b64encode(key.public_key().public_bytes_raw()).decode()}


def opened(terms: Terms, key: X25519PrivateKey, document: object) -> Told:
    """Verify and open what a door passed on; whatever does not verify is no answer."""
    files: dict[str, dict[str, Any]] = {}
    match document:
        case {"request": str() as request, "answers": dict() as answers}:
            for agency in terms.agencies:
                try:
                    content = access.open_answer(terms, key, _bytes(request), agency, _bytes(answers.get(agency)))
                    file = json.loads(content)
                except (PeerError, ValueError, RecursionError):
                    continue
                if isinstance(file, dict):
                    files[agency] = file
    return Told(files, tuple(agency for agency in terms.agencies if agency not in files))


def _bytes(text: object) -> bytes:
    try:
        return b64decode(text, validate=True) if isinstance(text, str) else b""
    except binascii.Error:
        return b""
