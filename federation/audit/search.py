"""Search for what must not be there: texts in all encodings in which they might have been carried off.

One Aho–Corasick automaton (Aho and Corasick 1975) finds every encoding of every text in one pass; what was compressed
is decompressed first, wherever in the data it begins.
"""

import base64
import hashlib
import json
import re
import unicodedata
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final, NamedTuple
from urllib.parse import quote

import ahocorasick

COMPRESSED: Final = "compressed"
HASHES: Final = ("md5", "sha1", "sha256", "sha512", "blake2b")

_SHORTEST, _SHORTEST_HEX = 8, 12
_HEX_DIGITS: Final = frozenset(b"0123456789abcdefABCDEF")
_DIGEST, _HEX_DIGEST = 16, 24
_COMPRESSED_START: Final = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_COMPRESSED_BYTES, _DECOMPRESSED_BYTES = 1 << 18, 1 << 22
_DEPTH: Final = 2
_FRAGMENT: Final = 16


@dataclass(frozen=True)
class Secret:
    """A text that may rest nowhere: an identifier's value and its scheme, or a name or case, without one."""

    text: str = field(repr=False)
    scheme: str = ""


class Hit(NamedTuple):
    """The number of the secret that was found, and its encoding."""

    secret: int
    encoding: str


def folded(text: str) -> str:
    """Letters and digits only, upper case: as canonical identifiers are written."""
    return "".join(it for it in unicodedata.normalize("NFKC", text).upper() if unicodedata.category(it)[0] in "LN")


def full_width(text: str) -> str:
    """ASCII's printable characters in their full-width forms."""
    return "".join(chr(ord(it) + 0xFEE0) if "!" <= it <= "~" else it for it in text)


def escaped(text: str) -> str:
    """Every UTF-16 unit as a JSON escape, in lower case."""
    units = text.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _forms(text: str) -> list[bytes]:
    """As it is written, and as it is canonical."""
    return [text.encode(), folded(text).encode()]


def _grouped(text: str) -> Iterator[bytes]:
    close = folded(text)
    for width, mark in product((1, 2, 4), " -"):
        yield mark.join(close[at : at + width] for at in range(0, len(close), width)).encode()
    yield " ".join(text).encode()


def _base64(data: bytes, encode: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """What `data` becomes inside a longer encoding: at each of three alignments, without the characters it shares."""
    for shift in range(3):
        whole = encode(bytes(shift) + data)
        yield whole[-(-8 * shift // 6) : 8 * (shift + len(data)) // 6]


def _percent(text: str) -> Iterator[bytes]:
    for form in (quote(text, safe=""), "".join(f"%{byte:02X}" for byte in text.encode())):
        yield form.encode()
        yield re.sub("%..", lambda found: found.group().lower(), form).encode()
        yield form.replace("%20", "+").encode()


def _json(text: str) -> Iterator[bytes]:
    yield json.dumps(text)[1:-1].encode()
    yield escaped(text).encode()
    yield re.sub("(?<=u)....", lambda found: found.group().upper(), escaped(text)).encode()


def _hashed(algorithm: str, secret: Secret) -> Iterator[bytes]:
    """Beginnings of the hash, of the text alone and with its scheme, as bytes, hexadecimal and base64."""
    texts = _forms(secret.text)
    if secret.scheme:
        texts += [secret.scheme.encode() + mark + text for text in texts for mark in (b":", b"", b"|", b"\0")]
    for text in texts:
        digest = hashlib.new(algorithm, text).digest()
        yield digest[:_DIGEST]
        yield digest.hex()[:_HEX_DIGEST].encode()
        yield digest.hex().upper()[:_HEX_DIGEST].encode()
        yield base64.b64encode(digest)[: _DIGEST + 4]


Encode = Callable[[Secret], Iterable[bytes]]

ENCODINGS: Final[Mapping[str, Encode]] = {
    "plain": lambda it: _forms(it.text),
    "lower case": lambda it: [form.decode().lower().encode() for form in _forms(it.text)],
    "upper case": lambda it: [it.text.upper().encode()],
    "grouped": lambda it: _grouped(it.text),
    "full width": lambda it: [full_width(form.decode()).encode() for form in _forms(it.text)],
    "decomposed": lambda it: [unicodedata.normalize("NFD", it.text).encode()],
    "UTF-16 LE": lambda it: [form.decode().encode("utf-16-le") for form in _forms(it.text)],
    "UTF-16 BE": lambda it: [form.decode().encode("utf-16-be") for form in _forms(it.text)],
    "GB 18030": lambda it: [form.decode().encode("gb18030") for form in _forms(it.text)],
    "hexadecimal": lambda it: [form.hex().encode() for form in _forms(it.text)],
    "hexadecimal, upper case": lambda it: [form.hex().upper().encode() for form in _forms(it.text)],
    "base64": lambda it: [part for form in _forms(it.text) for part in _base64(form, base64.b64encode)],
    "base64 for URLs": lambda it: [
        part for form in _forms(it.text) for part in _base64(form, base64.urlsafe_b64encode)
    ],
    "percent": lambda it: [part for form in _forms(it.text) for part in _percent(form.decode())],
    "JSON escapes": lambda it: [part for form in _forms(it.text) for part in _json(form.decode())],
    "reversed": lambda it: [part for form in _forms(it.text) for part in (form[::-1], form.decode()[::-1].encode())],
} | {name: (lambda it, name=name: _hashed(name, it)) for name in HASHES}
"""Every encoding that is searched for, beside compression: what a secret looks like in it, one or several ways."""


class Searcher:
    """Finds secrets in bytes. What is public, or so short that it turns up by chance, is not searched for.

    `public` is text that everybody may read, such as the agreement. The shortest that is searched for are 8 bytes, and
    12 characters of only hexadecimal digits: against 10^9 bytes of ciphertext or 10^6 of hexadecimal text, 10^4 of them
    turn up by chance with probability below 10^-4.
    """

    def __init__(
        self, secrets: Iterable[Secret], public: bytes = b"", encodings: Collection[str] = tuple(ENCODINGS)
    ) -> None:
        self._automaton = ahocorasick.Automaton()
        self.searchable: set[int] = set()
        for number, secret in enumerate(secrets):
            for encoding in encodings:
                for pattern in ENCODINGS[encoding](secret):
                    if _is_rare(pattern) and pattern not in public:
                        self._add(pattern, Hit(number, encoding))
        self._automaton.make_automaton()

    def search(self, data: bytes) -> set[Hit]:
        """What is found in the data, and in what is compressed there."""
        return self._search(data, _DEPTH)

    def _add(self, pattern: bytes, hit: Hit) -> None:
        self.searchable.add(hit.secret)
        word = pattern.decode("latin-1")  # the automaton takes text: one character for each byte
        if word not in self._automaton:
            self._automaton.add_word(word, hit)

    def _search(self, data: bytes, depth: int) -> set[Hit]:
        if not self.searchable:
            return set()
        found = {hit for _, hit in self._automaton.iter(data.decode("latin-1"))}
        if depth:
            for inner in _decompressed(data):
                found |= {Hit(hit.secret, COMPRESSED) for hit in self._search(inner, depth - 1)}
        return found


class Fragments:
    """Finds blobs of at least 16 bytes as they are, even where only a part of them is left."""

    def __init__(self, blobs: Iterable[bytes]) -> None:
        self._automaton = ahocorasick.Automaton()
        for number, blob in enumerate(blobs):
            for start in (0, (len(blob) - _FRAGMENT) // 2, len(blob) - _FRAGMENT):
                self._automaton.add_word(blob[start : start + _FRAGMENT].decode("latin-1"), number)
        self._automaton.make_automaton()

    def search(self, data: bytes) -> set[int]:
        """The numbers of the blobs of which the beginning, the middle or the end is found: 16 bytes of it."""
        return {number for _, number in self._automaton.iter(data.decode("latin-1"))}


def _is_rare(pattern: bytes) -> bool:
    shortest = _SHORTEST_HEX if _HEX_DIGITS.issuperset(pattern) else _SHORTEST
    return len(pattern) >= shortest and len(set(pattern)) > 3


def _decompressed(data: bytes) -> Iterator[bytes]:
    """What gzip and zlib members hold, wherever they begin."""
    view = memoryview(data)
    for start in _COMPRESSED_START.finditer(data):
        member = view[start.start() : start.start() + _COMPRESSED_BYTES]
        try:
            plain = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(member, _DECOMPRESSED_BYTES)
        except zlib.error:
            continue
        if plain:
            yield plain
