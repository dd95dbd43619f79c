"""Recorded traffic, message by message."""

from collections.abc import Mapping

from protocol import messages
from protocol.codec import decode
from protocol.messages import Answer
from protocol.wire import Body, Signed, payload_type, read

_LIMIT = Answer.LIMIT
_TYPES: Mapping[str, type[Body]] = {
    payload_type(kind): kind for kind in vars(messages).values() if isinstance(kind, type) and hasattr(kind, "TYPE")
}


def signed_messages(data: bytes) -> list[Signed[Body]]:
    """Every signed message in what travelled, those inside others included."""
    value = decode(data, _LIMIT)
    if isinstance(value, list) and value and isinstance(value[0], str) and value[0] in _TYPES:
        message = read(data, _TYPES[value[0]], _LIMIT)
        inner = getattr(message.body, "ask", b"") if message.body.TYPE == messages.Open.TYPE else b""
        nested = [inner] if inner else list(getattr(message.body, "decisions", ()))
        return [message, *(found for part in nested for found in signed_messages(part))]
    parts = value.values() if isinstance(value, dict) else value
    return [found for part in parts for found in signed_messages(part)]
