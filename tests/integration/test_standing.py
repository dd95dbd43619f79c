"""A firm's own certificate: asked for at a requester's gateway, verified offline by whoever it is shown to."""

import base64
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from api import cli
from api.cli.exits import BAD_INPUT, DONE
from federation.audit.leakage import compare, declared, observed_answer
from protocol.agreement.model import Agreement
from protocol.agreement.roster import COORDINATOR, SignedRoster
from protocol.agreement.terms import terms_to_bytes
from protocol.certificate import to_json
from protocol.codec import decode, encode
from protocol.envelope import Envelope
from protocol.messages import Decision, Evidence
from protocol.wire import read
from tests.gateways import BOTH, DISPUTED, NOBODY, ONE, Office, firm, send
from tests.integration.test_gateway_http import MALFORMED, QUESTION, SINGLE, assert_problem, post
from tests.parties import NOW, established, forged

STANDING = "/v1/standing"
DAY = 86_400

Document = dict[str, Any]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office.create(tmp_path_factory.mktemp("office"))


@pytest.fixture(scope="module")
def app(office: Office) -> FastAPI:
    return office.app()


def asked(app: FastAPI, subject: Any) -> Document:
    question = QUESTION | {"subject": {"scheme": subject.scheme, "value": subject.value}}
    response = post(app, question, STANDING)
    assert response.status_code == 200
    answer: Document = response.json()
    return answer


@pytest.fixture(scope="module")
def standing(app: FastAPI) -> Document:
    """The certificate of a firm that nobody lists."""
    document: Document = asked(app, NOBODY)["standing"]
    return document


# At the gateway.


def test_it_is_the_plain_answer_and_a_certificate_that_names_its_subject(app: FastAPI) -> None:
    for subject, measures in ((BOTH, ["exclude", "scrutinise"]), (NOBODY, [])):
        answer = asked(app, subject)
        assert [it["id"] for it in answer["measures"]] == measures
        assert set(answer["standing"]) == {"certificate", "evidence"}
        assert answer["standing"]["certificate"] == answer["certificate"]
        assert subject.value.encode() in base64.b64decode(answer["standing"]["evidence"])


def test_the_plain_answer_stays_free_of_identifiers(app: FastAPI) -> None:
    answer = post(app, QUESTION).json()
    assert "standing" not in answer
    assert ONE.value.encode() not in base64.b64decode(answer["certificate"]["payload"])


def test_it_is_refused_as_any_question_is_and_charged_like_one(tmp_path: Path) -> None:
    office = Office.create(tmp_path, quota=1)
    app = office.app()
    assert_problem(post(app, QUESTION | {"case": ""}, STANDING), 422, "malformed")
    assert_problem(post(app, QUESTION | {"subject": MALFORMED}, STANDING), 422, "malformed")
    assert_problem(post(app, QUESTION | {"agreement": "another"}, STANDING), 404, "unknown-agreement")
    assert_problem(post(app, QUESTION | {"purpose": "curiosity"}, STANDING), 403, "not-granted")
    assert_problem(
        send(app, "POST", STANDING, json=QUESTION, headers={"authorization": "Bearer x"}), 401, "unauthenticated"
    )
    assert post(app, QUESTION, STANDING).status_code == 200
    for path in (STANDING, SINGLE):
        assert_problem(post(app, QUESTION, path), 429, "quota")


def test_without_every_agency_there_is_no_certificate(tmp_path: Path) -> None:
    office = Office.create(tmp_path)
    office.federation.network.detach("tax")
    response = post(office.app(), QUESTION, STANDING)
    assert_problem(response, 503, "indeterminate")
    assert response.json()["missing"] == ["tax"]


def test_the_gateway_keeps_nothing_of_it(office: Office, app: FastAPI) -> None:
    subject = firm(77)
    evidence = decode(base64.b64decode(asked(app, subject)["standing"]["evidence"]), Evidence.LIMIT)
    stored = b"".join(path.read_bytes() for path in office.folder.glob("gateway.sqlite*"))
    assert stored
    secrets = [subject.value.encode(), *(evidence[name] for name in ("blind", "nonce", "sigma"))]
    assert not any(secret in stored for secret in secrets)


def test_every_field_of_the_answer_is_declared(office: Office, app: FastAPI) -> None:
    response = post(app, QUESTION, STANDING)
    seen = list(observed_answer("standing", b"date: today", response.content))
    assert len(seen) > 15
    assert compare(declared(), seen, office.federation.terms)[0] == set()


# Offline, with nothing but the roster.


def roster(of: Any, folder: Path, **changes: Any) -> Path:
    """A roster's file, as it is or with something exchanged."""
    parts: dict[str, Any] = {"agreement": of.terms.agreement, "signed": of.roster} | changes
    path = folder / "agreement.roster"
    path.write_bytes(terms_to_bytes(parts["agreement"], parts["signed"]))
    return path


@pytest.fixture
def verify(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Verify a document as a third party would; returns the exit code and what is printed."""

    def run(document: object, roster_path: Path | None = None, now: int = NOW) -> tuple[int, str]:
        clock = SimpleNamespace(time=lambda: now, strftime=time.strftime, gmtime=time.gmtime)
        file = tmp_path / "standing.json"
        file.write_text(json.dumps(document), "utf-8")
        path = roster_path or roster(office.federation.established, tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr("api.cli.federation.time", clock)
            patched.setattr(sys, "argv", ["concordat", "certificate", "verify", str(file), "--roster", str(path)])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        written = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((written.out + written.err).split())

    return run


Verify = Callable[..., tuple[int, str]]


def test_it_says_about_whom_it_is_what_applies_and_until_when(app: FastAPI, verify: Verify) -> None:
    for subject, applies, disputed in ((BOTH, "exclude, scrutinise", "none"), (DISPUTED, "no measure", "exclude")):
        for document in (asked(app, subject), asked(app, subject)["standing"]):
            code, said = verify(document)
            assert code == DONE
            assert f"about: {subject.scheme}:{subject.value} " in said
            assert f"decided: exclude, scrutinise applies: {applies} disputed: {disputed}" in said
            assert re.search(r"as of 2026-11-18T\d\d:\d\d:\d\dZ, valid until 2026-11-19T", said)


def test_a_certificate_without_evidence_names_nobody(standing: Document, verify: Verify) -> None:
    code, said = verify(standing["certificate"])
    assert code == DONE
    assert "about: nobody that it names" in said
    assert NOBODY.value not in said


def altered(document: Document, **changed: Any) -> Document:
    evidence = decode(base64.b64decode(document["evidence"]), Evidence.LIMIT)
    return document | {"evidence": base64.b64encode(encode(evidence | changed)).decode()}


def resigned(office: Office, document: Document, **header: Any) -> Document:
    """The coordinator signs another header: a decision that it never made."""
    it = document["certificate"]
    data = Envelope(
        it["payloadType"], base64.b64decode(it["payload"]), base64.b64decode(it["signatures"][0]["sig"])
    ).to_bytes()
    key = office.federation.established.secrets[COORDINATOR].signing_key
    return document | {"certificate": to_json(read(forged(data, Decision, key, header), Decision).envelope)}


TAMPERED: dict[str, tuple[Callable[[Office, Document], object], str]] = {
    "another firm": (lambda _, it: altered(it, value=ONE.value), "proof of evaluation does not verify"),
    "another spelling": (lambda _, it: altered(it, value=NOBODY.value.lower()), "not in canonical form"),
    "another nonce": (lambda _, it: altered(it, nonce=bytes(32)), "not bound to the subject"),
    "another prefix": (lambda _, it: altered(it, prefix=b"\xff" * 8), "not its subject's bucket"),
    "a quorum too small": (lambda _, it: altered(it, evaluations={"tax": bytes(96)}), "exactly a quorum"),
    "a field of another size": (lambda _, it: altered(it, blind=b""), "field blind has the wrong type or size"),
    "no evidence": (lambda _, it: it | {"evidence": ""}, "not a well-formed CBOR message"),
    "another signature": (
        lambda _, it: it | {"certificate": it["certificate"] | {"payload": "AAAA"}},
        "not a decision signed by the coordinator",
    ),
    "another version": (lambda of, it: resigned(of, it, version=2), "another agreement, version or epoch"),
    "another epoch": (lambda of, it: resigned(of, it, epoch=2), "another agreement, version or epoch"),
    "another question": (lambda of, it: resigned(of, it, answers=bytes(32)), "not bound to the subject"),
    "another session": (lambda of, it: resigned(of, it, session=bytes(16)), "not bound to the subject"),
    "several subjects": (lambda of, it: resigned(of, it, m=2), "more than one subject"),
}


@pytest.mark.parametrize(("alter", "reason"), TAMPERED.values(), ids=TAMPERED.keys())
def test_one_that_was_tampered_with_is_refused_and_its_subject_not_repeated(
    alter: Callable[[Office, Document], object], reason: str, office: Office, standing: Document, verify: Verify
) -> None:
    code, said = verify(alter(office, standing))
    assert (code, reason in said) == (BAD_INPUT, True), said
    assert not any(value in said for value in (NOBODY.value, ONE.value))


def test_one_that_has_expired_is_refused(standing: Document, verify: Verify) -> None:
    assert verify(standing, now=NOW + DAY - 1)[0] == DONE
    for now in (NOW - 1, NOW + DAY):
        code, said = verify(standing, now=now)
        assert (code, "has expired" in said) == (BAD_INPUT, True)


def test_another_firms_evidence_is_refused(app: FastAPI, standing: Document, verify: Verify) -> None:
    own = asked(app, ONE)["standing"]
    code, said = verify({"certificate": standing["certificate"], "evidence": own["evidence"]})
    assert (code, "not bound to the subject" in said) == (BAD_INPUT, True)


def partly_signed(signed: SignedRoster) -> SignedRoster:
    return replace(signed, signatures=dict(list(signed.signatures.items())[1:]))


def wrongly_signed(signed: SignedRoster) -> SignedRoster:
    return replace(signed, signatures={**signed.signatures, "tax": bytes(64)})


def next_version(agreement: Agreement) -> Agreement:
    return agreement.model_copy(update={"version": 2})


def test_by_another_or_a_partly_signed_roster_it_is_refused(
    office: Office, standing: Document, verify: Verify, tmp_path: Path
) -> None:
    of = office.federation.established
    wrong: dict[str, dict[str, Any]] = {
        "not signed by exactly the agreement's agencies": {"signed": partly_signed(of.roster)},
        "signature by tax does not verify": {"signed": wrongly_signed(of.roster)},
        "the roster is for another agreement": {"agreement": next_version(of.terms.agreement)},
    }
    for reason, changes in wrong.items():
        code, said = verify(standing, roster(of, tmp_path, **changes))
        assert (code, "--roster: " in said, reason in said) == (BAD_INPUT, True, True), said
    later = established(of.terms.agreement, epoch=2)
    code, said = verify(standing, roster(later, tmp_path))
    assert (code, "not a decision signed by the coordinator of this roster" in said) == (BAD_INPUT, True)
