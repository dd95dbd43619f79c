"""Nothing that was sent and refused is repeated: in no body, no header, no file; and no refusal is a fault."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain

import httpx
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from api.audit.claim import Claim, Evidence
from api.audit.grounds import Grounds
from api.audit.traces import LOG, Trace, answer, exercised, files, metrics
from api.stage import Processes
from federation.audit.malformed import Attempt, Form, elsewhere, messages, questions
from federation.audit.search import Searcher, Secret
from federation.problem import INDETERMINATE, PREFIX
from federation.transport import MAX_REPLY
from protocol.agreement.roster import COORDINATOR
from protocol.codec import decode
from protocol.messages import Ask, Evaluate, Open, Prove

_QUESTIONS = ("/v1/membership", "/v1/membership:batch")
_ENCODINGS = (
    *("plain", "lower case", "grouped", "full width", "hexadecimal", "hexadecimal, upper case", "base64"),
    *("base64 for URLs", "percent", "JSON escapes", "UTF-16 LE", "UTF-16 BE", "reversed"),
)

Send = Callable[[Attempt], httpx.Response]


def _attack(
    sent: Iterable[tuple[str, Send, Attempt]], left: Callable[[], Iterable[Trace]]
) -> tuple[Counter[str], Counter[int]]:
    """Send all attempts to their parties; returns what was repeated or failed, in words, and the answers by status.

    `left` is what lies at the parties afterwards.
    """
    found, statuses, traces, markers = Counter[str](), Counter[int](), [], []
    for party, send, attempt in sent:
        response = send(attempt)
        statuses[response.status_code] += 1
        markers.append(Secret(attempt.marker))
        traces.append(answer(party, attempt.endpoint, response))
        if response.is_server_error and not _is_indeterminate(response):
            found[f"status {response.status_code} from {party}: {attempt.endpoint}"] += 1
    searcher = Searcher(markers, encodings=_ENCODINGS)
    for trace in chain(traces, left()):
        for hit in searcher.search(trace.data):
            found[f"repeated in {trace.place} of {trace.party}, {trace.name}: {hit.encoding}"] += 1
    return found, statuses


def _is_indeterminate(response: httpx.Response) -> bool:
    try:
        return response.status_code == 503 and response.json()["type"] == PREFIX + INDETERMINATE
    except (ValueError, KeyError, TypeError):
        return False


def _sender(client: httpx.Client, url: str = "") -> Send:
    return lambda it: client.request(it.method, f"{url}{it.path}", content=it.content, headers=dict(it.headers))


def _in_place(app: FastAPI, runner: asyncio.Runner) -> Send:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    client = httpx.AsyncClient(transport=transport, base_url="http://leaky")
    return lambda it: runner.run(client.request(it.method, it.path, content=it.content, headers=dict(it.headers)))


def _measure(grounds: Grounds) -> Evidence:
    exercised(grounds)
    processes = grounds.processes
    terms, each = processes.terms, grounds.pick(60, 500, 500)
    first, draws = terms.agreement.requesters[0], grounds.draws("malformed")
    requester, forms = first.id, [Form(path, terms.agreement.id, first.purposes[0]) for path in _QUESTIONS]
    with processes.client(requester) as caller, httpx.Client(trust_env=False, timeout=60) as other:
        asked = ((requester, _sender(caller), it) for form in forms for it in questions(form, each, draws))
        urls = {party: _sender(other, url) for party, url in processes.urls.items()}
        told = ((party, urls[party], it) for party, it in _messages(processes, requester, each, draws))
        stray = ((party, send, it) for party, send in urls.items() for it in elsewhere(each // 4, draws))
        found, statuses = _attack(chain(asked, told, stray), lambda: chain(files(processes), metrics(processes)))
    findings = [f"{count} times: {what}" for what, count in sorted(found.items())]
    figures = {"sent": statuses.total(), "an endpoint": each, "repeated or failed": found.total()}
    figures |= {f"answered {status}": count for status, count in sorted(statuses.items())}
    return Evidence(bool(found), figures, findings)


def _messages(processes: Processes, requester: str, each: int, draws: random.Random) -> Iterator[tuple[str, Attempt]]:
    """Malformed messages to each endpoint of the coordinator, and of the agencies in turn."""
    party = processes.secrets(requester).party(requester, processes.terms)
    agencies, now = processes.terms.agencies, int(time.time())
    asked = {record.kind: record.data for record in processes.records if record.sender == requester}
    opening = next(it.data for it in processes.records if it.kind == Open.TYPE and it.receiver in agencies)
    # Proofs are asked for only where an opening fails, so there is no real `prove`.
    real = {Evaluate.TYPE: asked[Evaluate.TYPE], Ask.TYPE: decode(asked[Ask.TYPE], MAX_REPLY)[0]}
    for kind, like in (real | dict.fromkeys((Open.TYPE, Prove.TYPE), opening)).items():
        for at, it in enumerate(messages(f"/v1/{kind}", like, party, now, each, draws)):
            yield agencies[at % len(agencies)], it
    for kind in real:
        for it in messages(f"/v1/{kind}", asked[kind], party, now, each, draws):
            yield COORDINATOR, it


class _Form(BaseModel):
    agreement: str
    subject: dict[str, str]


def _leaky() -> Iterator[tuple[str, FastAPI, list[bytes]]]:
    """Services that each repeat what they were sent in another way, and the log of each."""
    forms, log = FastAPI(openapi_url=None), list[bytes]()

    @forms.post(_QUESTIONS[0])
    async def membership(form: _Form) -> str:
        """Refuse with the framework's own words, which quote the input."""
        return form.agreement

    yield "a body that quotes its input", forms, log
    redirects = FastAPI(openapi_url=None)
    redirects.add_api_route(_QUESTIONS[0], lambda: None, methods=["POST"])
    yield "a redirection to the path that was asked for", redirects, log

    def answering(serve: Callable[[Request, bytes, list[bytes]], Response]) -> tuple[FastAPI, list[bytes]]:
        app, lines = FastAPI(openapi_url=None), list[bytes]()

        @app.middleware("http")
        async def whatever(request: Request, _next: object) -> Response:
            return serve(request, await request.body(), lines)

        return app, lines

    def logs_paths(request: Request, _body: bytes, lines: list[bytes]) -> Response:
        lines.append(str(request.url).encode())
        return Response(status_code=404)

    def logs_tokens(request: Request, _body: bytes, lines: list[bytes]) -> Response:
        lines.append(json.dumps(dict(request.headers)).encode())
        return Response(status_code=401)

    def logs_bodies(_request: Request, body: bytes, lines: list[bytes]) -> Response:
        lines.append(repr(body).encode())
        return Response(status_code=422)

    def logs_hexadecimal(_request: Request, body: bytes, lines: list[bytes]) -> Response:
        lines.append(body.hex().encode())
        return Response(status_code=422)

    def fails(_request: Request, _body: bytes, _lines: list[bytes]) -> Response:
        return Response(status_code=500)

    for name, serve in (
        ("a log of paths", logs_paths),
        ("a log of headers", logs_tokens),
        ("a log of bodies", logs_bodies),
        ("a log in hexadecimal", logs_hexadecimal),
        ("a fault", fails),
    ):
        yield name, *answering(serve)


def _log(name: str, lines: list[bytes]) -> list[Trace]:
    return [Trace(LOG, name, "log", b"\n".join(lines))]


def _control(grounds: Grounds) -> Evidence:
    each, draws, missed, caught = 80, grounds.draws("leaky"), [], 0
    for name, app, log in _leaky():
        form = Form(_QUESTIONS[0], "procurement", "award-contract")
        attempts = chain(questions(form, each, draws), elsewhere(each, draws))
        with asyncio.Runner() as runner:
            send = _in_place(app, runner)
            left = partial(_log, name, log)
            found, _ = _attack(((name, send, it) for it in attempts), left)
        caught += bool(found)
        missed += [] if found else [f"not found: {name}"]
    return Evidence(not missed, {"planted": caught + len(missed), "found": caught}, missed)


CLAIM = Claim(
    number=2,
    name="error-echo",
    statement="No party repeats in an answer, a header, a log or a file what it refused, or fails over it.",
    attack=(
        "Malformed questions, messages, paths, queries, methods, headers and tokens, each with a marker of its own, "
        "are sent to every endpoint of every kind of party: real messages altered, and rightly signed ones that are "
        "wrong inside, among them. Every answer, then every file and metric, is searched for all markers."
    ),
    sizing=(
        "Deterministic for each kind of malformed request: 60 an endpoint go through all 42 kinds of bodies and all 24 "
        "of messages; 500 vary where they are cut and under which content type they come."
    ),
    planted=(
        "Services that quote their input, redirect to the path they were asked for, log paths, headers, bodies or "
        "bodies in hexadecimal, or fail."
    ),
    measure=_measure,
    control=_control,
)
