"""No identifier, name or case is found, in any encoding, in anything that lies at a party or travels between two."""

import base64
import gzip
import hashlib
import json
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from urllib.parse import quote

import httpx

from api.audit.claim import Claim, Evidence
from api.audit.grounds import Grounds
from api.audit.traces import PLACES, Trace, all_traces, answer, canaries, exercised, made_name, unread
from api.stage import Processes
from federation.audit.search import COMPRESSED, ENCODINGS, HASHES, Searcher, Secret, escaped, folded, full_width
from federation.transport import MEDIA_TYPE
from protocol.codec import encode
from protocol.messages import Ask, Evaluate, Open, Prove

_KINDS = (Evaluate.TYPE, Ask.TYPE, Open.TYPE, Prove.TYPE)
_SAMPLE_BYTES = 1 << 15

WHOLE: Mapping[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "lower case": lambda text: text.lower().encode(),
    "upper case": lambda text: text.upper().encode(),
    "full width": lambda text: full_width(text).encode(),
    "decomposed": lambda text: unicodedata.normalize("NFD", text).encode(),
    "UTF-16 LE": lambda text: text.encode("utf-16-le"),
    "UTF-16 BE": lambda text: text.encode("utf-16-be"),
    "GB 18030": lambda text: text.encode("gb18030"),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "hexadecimal, upper case": lambda text: text.encode().hex().upper().encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64, shifted by one": lambda text: base64.b64encode(b"1" + text.encode()),
    "base64, shifted by two": lambda text: base64.b64encode(b"12" + text.encode()),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()),
    "percent": lambda text: quote(text, safe="").encode(),
    "JSON escapes": lambda text: json.dumps(text).encode(),
    "all JSON escapes": lambda text: escaped(text).encode(),
    "CBOR": lambda text: encode({"value": text}),
    "reversed": lambda text: text[::-1].encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "zlib of gzip": lambda text: zlib.compress(gzip.compress(text.encode())),
}
"""Encodings of a whole document, by name."""


def _hash(name: str, secret: Secret) -> bytes:
    return hashlib.new(name, f"{secret.scheme}:{secret.text}".lstrip(":").encode()).digest()


def _document(whole: Callable[[str], bytes], secret: Secret) -> bytes:
    """A document that speaks of the secret, encoded as a whole."""
    return whole(f'{{"subject": "{secret.text}", "état": true}}')


def _hexadecimal(name: str, secret: Secret) -> bytes:
    return _hash(name, secret).hex().encode()


_PLANTED: Mapping[str, Callable[[Secret], bytes]] = {
    **{name: partial(_document, whole) for name, whole in WHOLE.items()},
    "grouped": lambda it: " ".join(folded(it.text)).encode(),
    **{name: partial(_hash, name) for name in HASHES},
    **{f"{name}, hexadecimal": partial(_hexadecimal, name) for name in HASHES},
}


def _provoked(processes: Processes, secrets: Iterable[Secret]) -> Iterator[Trace]:
    """What each party answers where each of its endpoints is sent secrets in the clear."""
    content = encode([secret.text for secret in secrets])
    with httpx.Client(trust_env=False, timeout=60, headers={"content-type": MEDIA_TYPE}) as client:
        for party, url in processes.urls.items():
            for kind in _KINDS:
                yield answer(party, f"/v1/{kind}", client.post(f"{url}/v1/{kind}", content=content))


def _found(searcher: Searcher, secrets: list[Secret], traces: Iterable[Trace]) -> tuple[Counter[str], Counter[str]]:
    """How often what was found where, in words; and how many bytes of each place were searched."""
    found, searched = Counter[str](), Counter[str]()
    for trace in traces:
        searched[trace.place] += len(trace.data)
        for hit in searcher.search(trace.data):
            kind = "identifier" if secrets[hit.secret].scheme else "name or case"
            found[f"{trace.place} of {trace.party or 'everybody'}, {trace.name}: {kind}, {hit.encoding}"] += 1
    return found, searched


def _measure(grounds: Grounds) -> Evidence:
    processes, exercise = grounds.processes, exercised(grounds)
    secrets = exercise.secrets
    searcher = Searcher(secrets, processes.home.agreement_path.read_bytes())
    provoked = list(_provoked(processes, exercise.asked[:8]))
    traces = (trace for some in (exercise.answers, provoked, all_traces(processes)) for trace in some)
    found, searched = _found(searcher, secrets, traces)
    findings = [f"{count} found: {what}" for what, count in sorted(found.items())]
    findings += [f"nothing to search in: {place}" for place in PLACES if not searched[place]]
    figures = {"secrets": len(searcher.searchable), "encodings": len(ENCODINGS) + 1, "found": found.total()}
    figures["parties without SQLite, not read"] = len(unread(processes))
    return Evidence(
        bool(findings), {**figures, **{f"bytes of {it}": size for it, size in sorted(searched.items())}}, findings
    )


def _control(grounds: Grounds) -> Evidence:
    """In a copy of what each place left, one secret for each encoding, twice: an identifier and a name."""
    exercise, draws = exercised(grounds), grounds.draws("planted")
    names = list(_PLANTED)
    secrets = [*canaries(draws, len(names)), *(Secret(made_name(draws, at)) for at in range(len(names)))]
    planted = b"\n".join(_PLANTED[names[at % len(names)]](secret) for at, secret in enumerate(secrets))
    searcher, missed = Searcher(secrets), []
    samples = {trace.place: trace for trace in (*all_traces(grounds.processes), *exercise.answers) if trace.data}
    for place in PLACES:
        data = samples[place].data[:_SAMPLE_BYTES]
        half = len(data) // 2
        found = {hit.secret for hit in searcher.search(data[:half] + planted + data[half:])}
        found -= {hit.secret for hit in searcher.search(data)}
        missed += [f"not found in {place}: {names[at % len(names)]}" for at in range(len(secrets)) if at not in found]
    count = len(PLACES) * len(secrets)
    return Evidence(not missed, {"planted": count, "found": count - len(missed)}, missed)


CLAIM = Claim(
    number=1,
    name="canary-sweep",
    statement=(
        "No identifier, name or case stands, in any encoding, in what travels between parties, in any party's "
        "database, write-ahead log, file, log, metrics or answer."
    ),
    attack=(
        f"Canaries are listed and asked about; one automaton then looks for all of them in {len(ENCODINGS)} encodings, "
        f"and {COMPRESSED}, in every byte that was left anywhere. Agencies' own databases are among them: there the "
        "subjects are encrypted."
    ),
    sizing=(
        "Deterministic but for chance hits: what is searched for has at least 8 bytes (12 where they are hexadecimal "
        "digits), so that one in 10⁹ bytes of ciphertext has probability below 10⁻⁴. 1,000 canaries an agency "
        "in full, so that no path of a register is missed: four scripts, states of every kind, listed once or by all."
    ),
    planted="In a copy of every place's bytes, an identifier and a name in every encoding, most inside a document.",
    measure=_measure,
    control=_control,
)
