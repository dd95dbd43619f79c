"""What an agency's node remembers, by its commands: the audit trail, past days, erasure, backups, tokens, versions."""

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nodes.roles import Role
from nodes.storage.credentials import CredentialError, Credentials
from nodes.storage.engine import VERSIONS
from protocol.messages import Effect
from tests.agencies import TODAY, Scene, firm, row, write
from tests.integration.test_node_cli import WORDS, ago, listed, node

pytestmark = pytest.mark.usefixtures("quick_keys")

Clock = Callable[[int], None]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "federation")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [row(number, decided_on=ago(500), served_on=ago(480)) for number in (1, 2, 3)]
    return write(tmp_path / "listings.csv", rows)


@pytest.fixture
def days_ago(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Sets the clock of commands to noon of a day in the past, or to the present again."""
    real = time.time

    def turn(days: int) -> None:
        noon = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC) - timedelta(days=days)
        monkeypatch.setattr(time, "time", noon.timestamp if days else real)

    return turn


class TestTrail:
    def test_verifies_after_all_that_happened_and_from_every_head_that_was_kept(self, scene: Scene, file: Path) -> None:
        heads = [node(scene, "audit-trail head")]
        scene.load(file)
        reference = listed(scene, 1)
        for command, words in (
            ("object", WORDS),
            ("reject", WORDS),
            ("revoke", WORDS),
            ("erase", WORDS[:2]),
        ):
            heads.append(node(scene, "audit-trail verify"))
            node(scene, command, reference, *words)
        [now] = node(scene, "audit-trail head")
        assert now.split(":")[0] == "7"
        for [head] in heads:
            assert node(scene, "audit-trail verify", "--kept", head) == [now]
        [kept] = heads[2]
        refused = node(scene, "audit-trail verify", "--kept", f"{kept[:-1]}{'0' if kept[-1] != '0' else '1'}", ends=1)
        assert refused[0] == f"entry {kept.split(':')[0]} of the audit trail is not the one that was kept"

    @pytest.mark.parametrize(
        ("tampering", "found"),
        [
            ("UPDATE event SET actor = 'somebody' WHERE number = 2", "does not verify from entry 2 on"),
            ("UPDATE event SET act = 'renew' WHERE number = 4", "does not verify from entry 4 on"),
            ("DELETE FROM event WHERE number = 3", "does not verify from entry 3 on"),
            ("UPDATE event SET details = NULL WHERE number = 1", "the details of entry 1"),
            ("UPDATE listing SET life = NULL", "is not as the audit trail says"),
            ('UPDATE listing SET life = \'{"ended": "repaired"}\' WHERE number = 2', "is not as the audit trail says"),
            ("DELETE FROM listing WHERE number = 2", "more listings, or fewer"),
            ("UPDATE listing SET payload = x'00' WHERE number = 2", "does not open"),
        ],
    )
    def test_a_row_that_was_tampered_with_is_found(self, scene: Scene, file: Path, tampering: str, found: str) -> None:
        scene.load(file)
        node(scene, "object", listed(scene, 1), "--reason", "not me")
        node(scene, "audit-trail verify")
        with closing(sqlite3.connect(scene.home.directory / "agencies/tax/listings.sqlite")) as stolen, stolen:
            stolen.execute(tampering)
        assert found in node(scene, "audit-trail verify", ends=1)[0]

    def test_shows_who_did_what_and_of_the_erased_no_more_than_that(self, scene: Scene, file: Path) -> None:
        scene.load(file)
        reference = listed(scene, 1)
        node(scene, "revoke", reference, *WORDS, "--by", "reviewer")
        assert node(scene, "audit-trail show", "--after", "3")[0].endswith(
            f"tax-register  {reference}  revoke  reviewer"
        )
        node(scene, "erase", reference, "--reason", "out of retention")
        entries = [json.loads(line) for line in node(scene, "audit-trail show", "--json")]
        assert [(it["number"], it["act"], it["erased"]) for it in entries] == [
            *((1, "enter", True), (2, "enter", False), (3, "enter", False)),
            *((4, "revoke", True), (5, "erase", False)),
        ]
        assert (entries[3]["reason"], entries[3]["document"]) == ("", "")


class TestPast:
    def test_any_past_state_is_replayed(self, scene: Scene, file: Path, days_ago: Clock) -> None:
        days_ago(40)
        scene.load(file)
        reference = listed(scene, 1)
        for day, command in ((30, "object"), (28, "reject"), (20, "object"), (5, "revoke")):
            days_ago(day)
            node(scene, command, reference, *WORDS)
        days_ago(0)
        for day, state in (
            *((40, "active"), (30, "disputed"), (29, "disputed"), (28, "active"), (20, "disputed")),
            *((6, "suspended"), (5, "revoked"), (0, "revoked")),
        ):
            document = json.loads("\n".join(node(scene, "show", reference, "--as-of", ago(day), "--json")))
            assert document["state"] == state, day
            assert ["tax-register", state, *(["1"] if state != "active" else ["3"])] in [
                line.replace("│", " ").split() for line in node(scene, "listings", "--as-of", ago(day))
            ]
        assert [step["act"] for step in document["history"]] == ["enter", "object", "reject", "object", "revoke"]
        assert node(scene, "show", reference, "--as-of", ago(41), ends=2) == ["the listing was not entered by then"]

    def test_what_is_out_of_retention_is_erased_at_once_and_nothing_else(
        self, scene: Scene, file: Path, days_ago: Clock
    ) -> None:
        days_ago(450)
        scene.load(file)
        node(scene, "revoke", listed(scene, 1), *WORDS)
        days_ago(0)
        node(scene, "revoke", listed(scene, 2), *WORDS)
        for erased in ("1 erased", "0 erased"):
            assert node(scene, "erase", "--out-of-retention") == [erased]
        assert scene.references() == ["D 2", "D 3"]
        node(scene, "audit-trail verify")


def test_who_left_an_official_list_and_was_erased_is_listed_again_when_it_is_published_again(
    tmp_path: Path, days_ago: Clock
) -> None:
    scene, file = Scene(tmp_path / "federation", preset="sanctions"), tmp_path / "list.csv"
    one, other = "7707083893", "7710140679"

    def publish(days: int, *numbers: str) -> str:
        rows = (f'{it},"A",-0-,"CUBA"{",-0-" * 7},"Tax ID No. {it} (Russia)."' for it in numbers)
        file.write_text("\n".join(rows) + "\n")
        return str(scene.load(file, "--format", "ofac", "--as-of", ago(days)).output)

    for days, numbers in ((900, (one, other)), (800, (one,)), (30, (one,))):
        days_ago(days)
        publish(days, *numbers)
    days_ago(10)
    assert node(scene, "erase", "--out-of-retention") == ["1 erased"]
    days_ago(0)
    assert "was erased" in publish(20, one, other)  # an old edition must not bring it back
    assert publish(0, one, other) == "2 loaded, 0 refused\n"
    (again,) = (record for record in scene.store.all() if other in record.listing.decision_ref)
    assert node(scene, "show", again.reference)[3] == "state: active"
    node(scene, "audit-trail verify")


class TestBackup:
    def test_is_put_back_as_it_was_with_its_seals(self, scene: Scene, file: Path, tmp_path: Path) -> None:
        copy = str(tmp_path / "copy")
        with scene.running():
            scene.load(file)
            [head] = node(scene, "backup", copy)
            assert head == node(scene, "audit-trail verify")[0]
            node(scene, "revoke", listed(scene, 1), *WORDS)
            assert "running" in node(scene, "restore", copy, "--replace", ends=2)[0]
        assert "not empty" in node(scene, "restore", copy, ends=2)[0]
        assert node(scene, "restore", copy, "--replace", "--by", "admin", "--reason", "after the fire") == [head]
        assert node(scene, "find", f"cn.reg_no:{firm(1).value}")[0].endswith("active")
        assert node(scene, "audit-trail show", "--after", "3")[0].endswith("restore  admin")
        node(scene, "audit-trail verify", "--kept", head)
        assert scene.check(firm(1)) == [Effect.APPLIES]

    def test_says_nothing_to_whoever_finds_it_and_overwrites_nothing(
        self, scene: Scene, file: Path, tmp_path: Path
    ) -> None:
        scene.load(file)
        copy = tmp_path / "copy"
        node(scene, "backup", str(copy))
        assert not [it for it in (b"Firm", b"FIRM", b"cn.reg_no") if it in copy.read_bytes()]
        before = copy.read_bytes()
        assert node(scene, "backup", str(copy), ends=2)[0] == "FILE: is there already"
        assert copy.read_bytes() == before
        copy.write_bytes(before[:-1])
        assert node(scene, "restore", str(copy), "--replace", ends=2)[0].startswith("FILE: not a whole backup")
        assert len(scene.references()) == 3


class TestAccess:
    @pytest.fixture
    def credentials(self, scene: Scene) -> Credentials:
        return Credentials(scene.store._engine, scene.store._records._cipher)

    def test_staff_get_a_token_once_and_lose_it(self, scene: Scene, credentials: Credentials) -> None:
        [token] = node(scene, "staff add", "zhang", "--role", "reviewer", "--days", "2")
        holder = credentials.who(token, int(time.time()) + 86_400)
        assert (holder.role, holder.name) == (Role.REVIEWER, "zhang")
        with pytest.raises(CredentialError):
            credentials.who(token, int(time.time()) + 2 * 86_400)
        assert node(scene, "staff list") == [f"reviewer  zhang  {TODAY + timedelta(days=2)}"]
        assert node(scene, "staff remove", "zhang") == ["1 revoked"]
        with pytest.raises(CredentialError):
            credentials.who(token, int(time.time()))
        assert node(scene, "staff list") == []

    def test_a_subject_is_admitted_under_a_name_that_tells_nothing(
        self, scene: Scene, credentials: Credentials
    ) -> None:
        numbers = [f"{it.scheme}:{it.value}" for it in (firm(1), firm(2))]
        [token] = node(scene, "subject admit", *numbers)
        holder = credentials.who(token, int(time.time()))
        assert (holder.role, holder.identifiers) == (Role.SUBJECT, (firm(1), firm(2)))
        [line] = node(scene, "staff list")
        assert line.startswith(f"subject  {holder.name}  ")
        assert "FIRM" not in line
        assert node(scene, "staff remove", holder.name) == ["1 revoked"]


class TestVersions:
    def test_the_database_goes_down_and_up_again_with_its_listings(self, scene: Scene, file: Path) -> None:
        scene.load(file)
        newest = [f"{name}  {version}  newest {version}" for name, version in VERSIONS.items() if name != "portfolios"]
        assert node(scene, "database version") == newest
        node(scene, "object", listed(scene, 1), "--reason", "not me")
        assert node(scene, "database downgrade", "0001") == ["listings  0001"]
        assert node(scene, "database version")[0] == f"listings  0001  newest {VERSIONS['listings']}"
        assert "newer" in node(scene, "database downgrade", VERSIONS["listings"], ends=2)[0]
        node(scene, "database upgrade")
        assert node(scene, "database version") == newest
        assert node(scene, "show", listed(scene, 1))[3] == "state: disputed"
        node(scene, "audit-trail verify")

    def test_not_while_the_node_runs(self, scene: Scene) -> None:
        with scene.running():
            assert "running" in node(scene, "database downgrade", "0001", ends=2)[0]
