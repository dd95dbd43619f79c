"""Whatever is wrong with an agreement, every party refuses it, with an error that says what: party by party, fault by
fault.
"""

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import app
from api.epochs import Epochs
from api.settings import Settings
from api.setup import Established
from federation.problem import NOT_GRANTED, WITHDRAWN, from_error, kind_of
from protocol.agreement.force import ALWAYS, Force
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import DAY, terms_to_bytes
from protocol.certificate import to_json, verify
from protocol.codec import encode
from protocol.errors import (
    AgreementError,
    DecisionError,
    HeaderError,
    NoLongerInForceError,
    NotYetInForceError,
    OtherVersionError,
    PeerError,
    WithdrawnError,
)
from protocol.messages import Ask, Decision
from protocol.rounds import requester
from protocol.wire import read, write
from tests.gateways import BOTH, Office
from tests.parties import NOW, PURPOSE, REQUESTER, agreement, established, party

FIRST, LAST = 1_793_491_200, 1_825_027_199  # of the test agreements' valid days


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office.create(tmp_path_factory.mktemp("office"))


@pytest.fixture(autouse=True)
def as_it_was(office: Office) -> Iterator[None]:
    yield
    office.clock.now = NOW
    office.federation.terms.force.__dict__.update(vars(Force()))


def question(of: Established, time: int) -> tuple[bytes, bytes]:
    asker = party(REQUESTER, of)
    _, ask, look = requester.ask(asker, [bytes(64)], purpose=PURPOSE, now=time, random=secrets.token_bytes)
    return ask, look


def node(office: Office, of: Established) -> None:
    ask, _ = question(of, office.clock.now)
    office.federation.nodes["tax"].handle(Ask.TYPE, ask)


def coordinator(office: Office, of: Established) -> None:
    pair = encode([*question(of, office.clock.now)])
    asyncio.run(office.federation.network.deliver(REQUESTER, COORDINATOR, Ask.TYPE, pair))


def gateway(office: Office, _of: Established) -> None:
    office.ask(BOTH)


def certificate(office: Office, of: Established) -> None:
    signer, now = party(COORDINATOR, of), office.clock.now
    header = signer.header(
        audience=REQUESTER, session=bytes(16), purpose=PURPOSE, m=1, now=now, expires=now + DAY, answers=bytes(32)
    )
    body = Decision(subject=0, measures={"exclude": 0, "scrutinise": 0}, agencies=5, binding=bytes(32))
    document = to_json(read(write(header, body, signer.signing_key), Decision).envelope)
    verify(office.federation.terms, document, now)


PARTIES = (node, coordinator, gateway, certificate)


def not_yet(office: Office) -> None:
    office.clock.now = FIRST - 1


def expired(office: Office) -> None:
    office.clock.now = LAST + 1 + 60  # a certificate may be of a question of the last minute


def withdrawn(office: Office) -> None:
    office.federation.terms.force.withdrawn = NOW - 60


def superseded(office: Office) -> None:
    office.federation.terms.force.elsewhere = ALWAYS


FAULTS: dict[Callable[[Office], None], tuple[type[PeerError], str]] = {
    not_yet: (NotYetInForceError, NOT_GRANTED),
    expired: (NoLongerInForceError, NOT_GRANTED),
    withdrawn: (WithdrawnError, WITHDRAWN),
    superseded: (OtherVersionError, NOT_GRANTED),
}


@pytest.mark.parametrize("by", PARTIES)
@pytest.mark.parametrize("fault", FAULTS)
def test_out_of_force_nothing_is_answered_by_anybody_and_each_says_why(
    office: Office, fault: Callable[[Office], None], by: Callable[[Office, Established], None]
) -> None:
    of = office.federation.established
    by(office, of)
    fault(office)
    error, problem = FAULTS[fault]
    with pytest.raises(PeerError) as caught:
        by(office, of)
    assert type(caught.value) is error
    assert kind_of(caught.value) == problem
    assert from_error(caught.value)["status"] == 403


def test_every_fault_has_a_sentence_of_its_own(office: Office) -> None:
    said = set()
    for fault in FAULTS:
        as_now = office.federation.terms.force
        fault(office)
        with pytest.raises(PeerError) as caught:
            node(office, office.federation.established)
        said.add(str(caught.value))
        office.clock.now = NOW
        as_now.__dict__.update(vars(Force()))
    assert len(said) == len(FAULTS)


@pytest.mark.parametrize(
    ("by", "error"), [(node, HeaderError), (coordinator, HeaderError), (certificate, DecisionError)]
)
@pytest.mark.parametrize(("changes", "epoch"), [({"version": 2}, 1), ({}, 2), ({"id": "another"}, 1)])
def test_what_is_of_another_version_epoch_or_agreement_is_refused(
    office: Office,
    by: Callable[[Office, Established], None],
    error: type[PeerError],
    changes: dict[str, object],
    epoch: int,
) -> None:
    own = office.federation.established
    document = own.terms.agreement.model_copy(update=changes)
    roster = replace(own.terms.roster, epoch=epoch)
    other = replace(own, terms=replace(own.terms, agreement=document, roster=roster))
    with pytest.raises(error, match="another"):
        by(office, other)


# At the start


def tampered(of: Established) -> bytes:
    data = bytearray(terms_to_bytes(of.terms.agreement, of.roster))
    data[-1] ^= 1
    return bytes(data)


def changed(of: Established) -> bytes:
    return terms_to_bytes(of.terms.agreement.model_copy(update={"title": "Another"}), of.roster)


def partly(of: Established) -> bytes:
    signatures = {agency: it for agency, it in of.roster.signatures.items() if agency != "tax"}
    return terms_to_bytes(of.terms.agreement, replace(of.roster, signatures=signatures))


def against_a_rule(_of: Established) -> bytes:
    document = agreement()
    cut = document.measures[0].model_copy(update={"severity": "minor", "max_months": 3})
    bad = established(document.model_copy(update={"measures": (cut, *document.measures[1:])}))
    return terms_to_bytes(bad.terms.agreement, bad.roster)


WRONG = {
    tampered: "does not verify",
    changed: "for another agreement",
    partly: "not signed by exactly",
    against_a_rule: "minor never restricts",
}


@pytest.mark.parametrize("by", ["tax", COORDINATOR, REQUESTER])
@pytest.mark.parametrize("fault", WRONG)
def test_no_party_starts_on_what_is_altered_partly_signed_or_against_the_rules(
    office: Office, tmp_path: Path, fault: Callable[[Established], bytes], by: str
) -> None:
    roster = tmp_path / "agreement.roster"
    settings = Settings(party=by, directory=tmp_path, roster=roster, urls=tmp_path)
    good = office.federation.established
    roster.write_bytes(terms_to_bytes(good.terms.agreement, good.roster))
    assert Epochs(lambda own: own.terms, settings).at() == good.terms
    roster.write_bytes(fault(good))
    for starts in (lambda: Epochs(lambda own: own.terms, settings), settings.in_own_epoch):
        with pytest.raises(AgreementError, match=WRONG[fault]):
            starts()


@pytest.mark.parametrize("fault", WRONG)
def test_no_certificate_is_verified_by_it_either(
    office: Office, tmp_path: Path, fault: Callable[[Established], bytes]
) -> None:
    roster, file = tmp_path / "agreement.roster", tmp_path / "certificate.json"
    roster.write_bytes(fault(office.federation.established))
    file.write_text(json.dumps({}))
    refused = CliRunner().invoke(app, ["certificate", "verify", str(file), "--roster", str(roster)])
    assert refused.exit_code == 2
    assert WRONG[fault] in " ".join(refused.stderr.split())
