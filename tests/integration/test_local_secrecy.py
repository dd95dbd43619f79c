"""Who asked about whom is nowhere: in no message, file, error or size."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import pytest

from federation.transport import Record
from protocol.agreement.roster import COORDINATOR
from protocol.errors import ConcordatError, IndeterminateError
from protocol.identifiers import Identifier
from protocol.messages import Ask, Look
from protocol.wire import MAX_SUBJECTS
from tests.federations import BOTH, DISPUTED, EXPIRED, NAMES, NOBODY, NOTIFIED, ONE, SECOND, Scene
from tests.parties import NOW, PURPOSE, REQUESTER


def encodings(text: str) -> list[bytes]:
    raw = text.encode()
    variants = [raw, raw.lower(), raw[::-1], raw.hex().encode(), text.encode("utf-16-le")]
    return [*variants, base64.b64encode(raw).rstrip(b"=")[:-1], *(" ".join(text).encode(),)]


CANARIES = [form for text in (*(item.value for item in (BOTH, DISPUTED, SECOND)), *NAMES) for form in encodings(text)]


in_files = pytest.mark.parametrize("fresh", ["sqlite"], indirect=True)  # a server's files are not ours to read


def sightings(scene: Scene) -> list[str]:
    """Where an identifier or name stands: recorded messages, and every file of every party."""
    places = [(f"{it.sender} to {it.receiver}: {it.kind}", it.data) for it in scene.federation.network.records]
    places += [
        (str(path.relative_to(scene.folder)), path.read_bytes()) for path in scene.folder.rglob("*") if path.is_file()
    ]
    return [place for place, data in places if any(canary in data for canary in CANARIES)]


@in_files
def test_no_identifier_or_name_is_in_any_message_or_file(fresh: Scene) -> None:
    fresh.check(BOTH, DISPUTED, SECOND, NOBODY)
    with fresh.down("tax"):
        fresh.missing(SECOND)
    assert len([path for path in fresh.folder.rglob("*.sqlite*") if path.is_file()]) >= 11
    assert sightings(fresh) == []


@in_files
def test_a_planted_identifier_would_be_found(fresh: Scene) -> None:
    for number, canary in enumerate(encodings(BOTH.value)):
        fresh.federation.network.records.append(Record(REQUESTER, "tax", f"planted {number}", b"x" + canary + b"y"))
    ledger: Any = fresh.federation.nodes["tax"]._ledger
    ledger.refuse("ask", None, f"no listing of {NAMES[0]}", NOW)
    found = sightings(fresh)
    assert len([place for place in found if "planted" in place]) == len(encodings(BOTH.value))
    assert any(place.startswith("agencies/tax/state") for place in found)


def test_no_error_repeats_what_was_asked(scene: Scene) -> None:
    errors: list[ConcordatError] = []
    for attempt in (
        lambda: scene.check(BOTH, *[NOBODY] * MAX_SUBJECTS),
        lambda: asyncio.run(scene.federation.requesters["bank"].check([BOTH], PURPOSE, BOTH.value)),
    ):
        with pytest.raises(ConcordatError) as caught:
            attempt()
        errors.append(caught.value)
    with scene.down("tax"), pytest.raises(IndeterminateError) as down:
        scene.check(BOTH)
    for error in (*errors, down.value):
        assert not any(canary in str(error).encode() for canary in CANARIES)


def lengths(scene: Scene, subject: Identifier) -> Sequence[tuple[str, str, str, int]]:
    start = len(scene.federation.network.records)
    scene.check(subject)
    return sorted((it.sender, it.receiver, it.kind, len(it.data)) for it in scene.federation.network.records[start:])


def test_an_observer_of_every_link_sees_the_same_sizes_whoever_is_asked_about(scene: Scene) -> None:
    views = [lengths(scene, subject) for subject in (BOTH, ONE, DISPUTED, EXPIRED, NOTIFIED, NOBODY)]
    assert all(view == views[0] for view in views)
    assert len(views[0]) == 2 * (2 + 3 + 5 + 3)


def test_a_look_reaches_the_coordinator_alone(scene: Scene) -> None:
    scene.check(BOTH)
    pairs = [it for it in scene.federation.network.records if it.kind == Ask.TYPE and it.sender == REQUESTER]
    assert {record.receiver for record in pairs} == {COORDINATOR}
    look = b"concordat.v1." + Look.TYPE.encode()
    assert {it.receiver for it in scene.federation.network.records if look in it.data} == {COORDINATOR}
