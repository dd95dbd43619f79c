"""`concordat node …`: the life of a listing by the commands that an agency's staff types, and what they refuse."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api.cli.node.steps import COMMANDS
from nodes.life import Act
from protocol.messages import Effect
from tests.agencies import AGENCY, SECRET, TODAY, Scene, firm, row, write

pytestmark = pytest.mark.usefixtures("quick_keys")

REGISTER = ("--register", "tax-register")
WORDS = ("--reason", "looked into", "--document", "D 9")
REVIEWER = ("--by", "reviewer")


def ago(days: int) -> str:
    return str(TODAY - timedelta(days=days))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "federation")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three firms whose time to ask for repair has come."""
    return write(tmp_path / "listings.csv", [old(number) for number in (1, 2, 3)])


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """One with those three, for what is refused and changes nothing."""
    folder = tmp_path_factory.mktemp("loaded")
    scene = Scene(folder / "federation")
    scene.load(write(folder / "listings.csv", [old(number) for number in (1, 2, 3)]))
    return scene


def old(number: int) -> str:
    return row(number, decided_on=ago(500), served_on=ago(480))


def node(scene: Scene, command: str, *options: str, ends: int = 0) -> list[str]:
    """Run a command of the agency's; returns the lines that it printed, or where it fails those on stderr."""
    result = scene.run(f"node {command}", *options, *AGENCY)
    assert result.exit_code == ends, result.output
    assert SECRET not in result.output
    return list((result.stderr if ends else result.stdout).splitlines())


def listed(scene: Scene, number: int) -> str:
    """The reference of a firm's listing."""
    [line] = node(scene, "find", f"cn.reg_no:{firm(number).value}")
    return line.split()[0]


def entering(number: int, **changes: Any) -> list[str]:
    """Options that enter a firm by hand."""
    fields = {
        "identifier_scheme": "cn.reg_no",
        "identifier": firm(number).value,
        "subject_kind": "legal",
        "name": f"Firm {number}",
        "ground": "debarred",
        "decision_ref": f"D {number}",
        "decided_on": ago(90),
        "served_on": ago(60),
        "severity": 2,
    } | changes
    given = {name: value for name, value in fields.items() if value is not None}
    return [it for name, value in given.items() for it in (f"--{name.replace('_', '-')}", str(value))]


class TestSteps:
    def test_every_act_of_a_person_is_a_command(self) -> None:
        elsewhere = {Act.ENTER, Act.CORRECT, Act.ERASE}
        of_no_person = {Act.RENEW, Act.ACCESS, Act.REFUSE, Act.RESTORE}
        assert set(COMMANDS) | elsewhere | of_no_person == set(Act)

    def test_each_changes_the_very_next_answer(self, scene: Scene, file: Path) -> None:
        with scene.running():
            scene.load(file)
            reference = listed(scene, 1)
            for command, words, effect in (
                ("object", ("--reason", "not me"), Effect.DISPUTED),
                ("reject", WORDS, Effect.APPLIES),
                ("request-correction", ("--reason", "not so"), Effect.DISPUTED),
                ("reject", WORDS, Effect.APPLIES),
                ("suspend", ("--reason", "by order"), Effect.NONE),
                ("resume", ("--reason", "order lifted"), Effect.APPLIES),
                ("request-repair", ("--reason", "performed"), Effect.APPLIES),
                ("refuse-repair", WORDS, Effect.APPLIES),
                ("request-repair", ("--reason", "performed now"), Effect.APPLIES),
                ("repair", WORDS, Effect.NONE),
            ):
                [line] = node(scene, command, reference, *words)
                assert line.startswith(reference)
                assert scene.check(firm(1), firm(2)) == [effect, Effect.APPLIES], command
            assert node(scene, "revoke", listed(scene, 2), *WORDS) == [f"{listed(scene, 2)}  revoked"]
            assert scene.check(firm(2), firm(3)) == [Effect.NONE, Effect.APPLIES]
        node(scene, "audit-trail verify")

    @pytest.mark.parametrize(
        ("command", "words", "reason"),
        [
            ("reject", WORDS, "reject: no objection or request for correction is open"),
            ("resume", ("--reason", "why not"), "resume: not from the state active"),
            ("repair", WORDS, "repair: no request for repair is open"),
            ("serve", ("--document", "D", "--on", ago(1)), "serve: not from the state active"),
            ("object", (), "object: reason is missing"),
            ("revoke", ("--reason", "wrong"), "revoke: document is missing"),
            ("leave", ("--reason", "wants to"), "leave: only an opt-in scheme or an official list is left"),
            ("erase", ("--reason", "wants to"), "erase: not from the state active"),
            ("object", ("--reason", "late", "--on", ago(-1)), "--on: a day to come"),
            ("object", ("--reason", "early", "--on", ago(490)), "object: on is before the service"),
            ("object", ("--reason", "no day", "--on", SECRET), "--on: not a date of the form YYYY-MM-DD"),
            ("suspend", ("--reason", "x", "--by", ""), "suspend: actor is missing"),
        ],
    )
    def test_outside_its_life_a_step_is_refused_with_the_reason(
        self, loaded: Scene, command: str, words: Sequence[str], reason: str
    ) -> None:
        assert node(loaded, command, listed(loaded, 1), *words, ends=2)[0] == reason
        assert len(loaded.store.trail()) == 3

    @pytest.mark.parametrize("reference", ["0" * 32, "0" * 8, "0", SECRET])
    def test_an_unknown_reference_is_not_repeated(self, loaded: Scene, reference: str) -> None:
        for command in ("show", "revoke", "erase"):
            assert "reference" in node(loaded, command, reference, *(() if command == "show" else WORDS[:2]), ends=2)[0]

    def test_nobody_decides_on_what_they_entered(self, scene: Scene) -> None:
        [line] = node(scene, "enter", *REGISTER, *entering(1), "--by", "clerk")
        reference = line.split()[0]
        refused = node(scene, "revoke", reference, *WORDS, "--by", "clerk", ends=2)
        assert refused[0] == "revoke: decided by somebody else than who entered or served the listing"
        node(scene, "revoke", reference, *WORDS, *REVIEWER)

    def test_a_dispute_acts_on_the_next_question_and_so_does_its_end(self, scene: Scene, file: Path) -> None:
        with scene.running():
            scene.load(file)
            assert node(scene, "dispute", *REGISTER, "cn.alias:a-3") == ["disputed: 1"]
            assert scene.check(firm(3), firm(1)) == [Effect.DISPUTED, Effect.APPLIES]
            node(scene, "dispute", *REGISTER, "--end", f"cn.reg_no:{firm(3).value}")
            assert scene.check(firm(3)) == [Effect.APPLIES]

    @pytest.mark.parametrize("subject", [f"cn.reg_no:{SECRET}", SECRET, f"{SECRET}:1", f"cn.uscc:{SECRET}"])
    def test_a_subject_that_is_not_listed_is_not_repeated(self, loaded: Scene, subject: str) -> None:
        assert node(loaded, "dispute", *REGISTER, subject, ends=2)[0].startswith("SCHEME:VALUE")

    def test_who_leaves_an_opt_in_scheme_is_erased_from_it(self, tmp_path: Path) -> None:
        rules = [{"measure": it, "when": {"registers": ["labour-register"]}} for it in ("exclude", "scrutinise")]
        scene = Scene(tmp_path / "federation", preset="civic-points", rules=rules)
        balances = [entering(1, ground="enrolled", points=points, decision_ref=f"B {points}") for points in (10, 20)]
        for balance in balances:
            [line] = node(scene, "enter", *REGISTER, *balance)
        assert node(scene, "leave", line.split()[0], "--reason", "wants to") == [f"{line.split()[0]}  erased"]
        assert scene.references() == []
        node(scene, "audit-trail verify")


class TestEntering:
    def test_it_counts_in_the_very_next_question_once_its_window_is_over(self, scene: Scene) -> None:
        with scene.running():
            assert node(scene, "enter", *REGISTER, *entering(1))[0].endswith("  active")
            assert node(scene, "enter", *REGISTER, *entering(2, served_on=str(TODAY)))[0].endswith("  notified")
            assert scene.check(firm(1), firm(2)) == [Effect.APPLIES, Effect.NONE]

    def test_a_draft_is_nobodys_business_until_it_is_served(self, scene: Scene) -> None:
        with scene.running():
            [line] = node(scene, "enter", *REGISTER, *entering(1, served_on=None))
            reference, state, *_ = line.split()
            assert state == "draft"
            assert scene.check(firm(1)) == [Effect.NONE]
            assert node(scene, "due")[0].endswith(f"{reference}  tax-register  serve the notice")
            node(scene, "serve", reference, "--document", "notice 4", "--on", ago(30))
            assert scene.check(firm(1)) == [Effect.APPLIES]
            assert node(scene, "due") == []

    def test_from_a_file_as_http_takes_it(self, scene: Scene, tmp_path: Path) -> None:
        words = entering(1, other_identifiers="cn.alias:A1;lei:529900T8BM49AURSDO55")
        fields = {words[at][2:].replace("-", "_"): words[at + 1] for at in range(0, len(words), 2)}
        path = tmp_path / "listing.json"
        path.write_text(json.dumps(fields | {"severity": 2, "register": "tax-register"}))
        [line] = node(scene, "enter", *REGISTER, "--file", str(path))
        assert node(scene, "find", "cn.alias:A1") == [f"{line.split()[0]}  tax-register  active"]
        assert node(scene, "find", "cn.alias:A2") == []
        path.write_text('{"severity": 2, "severity": 3}')
        assert node(scene, "enter", *REGISTER, "--file", str(path), ends=2)[0].startswith("FILE.json: ")

    def test_without_the_federation_it_waits_to_be_sealed(self, scene: Scene) -> None:
        node(scene, "enter", *REGISTER, *entering(1))
        assert "not sealed" in "".join(node(scene, "listings"))
        asyncio.run(scene.federation.start())
        assert "not sealed" not in "".join(node(scene, "listings"))
        assert scene.check(firm(1)) == [Effect.APPLIES]

    def test_corrected_the_old_one_ends_as_the_new_one_begins(self, scene: Scene, file: Path, tmp_path: Path) -> None:
        changes = tmp_path / "changes.json"
        changes.write_text(json.dumps({"identifier": firm(9).value}))
        with scene.running():
            scene.load(file)
            old = listed(scene, 1)
            [line] = node(scene, "correct", old, str(changes), *WORDS)
            assert scene.check(firm(1), firm(9)) == [Effect.NONE, Effect.APPLIES]
            assert node(scene, "find", f"cn.reg_no:{firm(1).value}") == [f"{old}  tax-register  corrected"]
            assert f"replaced_by: {line.split()[0]}" in node(scene, "show", old)
            refused = node(scene, "correct", line.split()[0], str(changes), *WORDS, ends=2)
            assert refused[0] == "listing: the same as one that is stored already"

    def test_without_a_quorum_nothing_was_changed(self, scene: Scene) -> None:
        with scene.running():
            for agency in ("labour", "court", "market"):
                scene.federation.network.detach(agency)
            assert "Nothing was changed" in node(scene, "enter", *REGISTER, *entering(1), ends=3)[1]
        assert scene.references() == []


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such ground": ({"ground": SECRET}, "ground: not in the register's catalogue"),
    "no decision": ({"decision_ref": ""}, "decision_ref: missing"),
    "served before the decision": ({"served_on": ago(91)}, "served_on: before the decision"),
    "served on a day to come": ({"served_on": ago(-1)}, "served_on: a day to come"),
    "decided on a day to come": ({"decided_on": ago(-1), "served_on": ago(-1)}, "decided_on: a day to come"),
    "an excess term": ({"expires_on": "2999-01-01"}, "expires_on: beyond the ground's maximum of 60 months"),
    "over before it began": ({"expires_on": ago(91)}, "expires_on: before the decision"),
    "a wrong number": ({"identifier_scheme": "cn.uscc", "identifier": SECRET}, "identifier: cn.uscc: wrong length"),
    "points where there are none": ({"points": 5}, "points: the ground has none"),
    "a weight that is none": ({"severity": 4}, "severity: not 1, 2 or 3"),
}


def imported(scene: Scene, folder: Path, changes: dict[str, Any]) -> str:
    """Why the import refuses this row."""
    points = changes.get("points")
    texts = {name: str(value) for name, value in changes.items() if name != "points"}
    path = write(folder / "wrong.csv", [row(1, **{"decided_on": ago(90), "served_on": ago(60)} | texts)])
    if points is not None:
        header, line = path.read_text().splitlines()
        path.write_text(f"{header},points\n{line},{points}\n")
    result = scene.load(path)
    assert result.exit_code == 5
    assert SECRET not in result.output
    return str(result.stderr.strip()).removeprefix("line 2, column ")


class TestRefusals:
    @pytest.mark.parametrize(("changes", "reason"), WRONG.values(), ids=WRONG.keys())
    def test_import_and_entry_refuse_alike(
        self, loaded: Scene, tmp_path: Path, changes: dict[str, Any], reason: str
    ) -> None:
        assert imported(loaded, tmp_path, changes) == reason
        assert node(loaded, "enter", *REGISTER, *entering(1, **changes), ends=2)[0] == reason
        assert len(loaded.references()) == 3

    def test_a_minor_is_never_listed(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path / "federation", preset="sanctions", subject_kinds=["legal", "natural"])
        born = f"110105{TODAY.year - 10}0101123"
        weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
        check = "10X98765432"[sum(int(digit) * weight for digit, weight in zip(born, weights, strict=True)) % 11]
        child = {
            "identifier_scheme": "cn.ric",
            "identifier": born + check,
            "subject_kind": "natural",
            "ground": "designated",
        }
        reason = "identifier: belongs to a minor; minors are never listed"
        assert imported(scene, tmp_path, child) == reason
        assert node(scene, "enter", *REGISTER, *entering(1, **child), ends=2)[0] == reason

    def test_who_was_not_served_is_not_imported_and_a_draft_at_most(self, scene: Scene, tmp_path: Path) -> None:
        assert imported(scene, tmp_path, {"served_on": ""}) == "served_on: missing"
        assert node(scene, "enter", *REGISTER, *entering(1, served_on=None))[0].split()[1] == "draft"

    def test_what_was_erased_comes_back_by_neither(self, scene: Scene, file: Path) -> None:
        scene.load(file)
        reference = listed(scene, 1)
        node(scene, "revoke", reference, *WORDS)
        assert node(scene, "erase", reference, "--reason", "by judgment") == [f"{reference}  erased"]
        assert scene.load(file).stderr == "line 2, column identifier: was erased: it takes a new decision\n"
        by_hand = entering(1, decided_on=ago(500), served_on=ago(480))
        assert node(scene, "enter", *REGISTER, *by_hand, ends=2)[0] == "listing: was erased: it takes a new decision"

    @pytest.mark.parametrize(
        ("command", "options"),
        [
            ("listings", ("--register", SECRET)),
            ("catalogue", ("--register", SECRET)),
            ("listings", ("--as-of", SECRET)),
            ("listings", ("--as-of", ago(-1))),
            ("find", (SECRET,)),
            ("find", (f"cn.uscc:{SECRET}",)),
            ("erase", ()),
            ("erase", ("0" * 32, "--out-of-retention")),
            ("audit-trail verify", ("--kept", SECRET)),
            ("staff add", (SECRET, "--role", "clerk")),
            ("staff add", ("zhang", "--role", SECRET)),
            ("staff remove", ("nobody",)),
            ("subject admit", (f"cn.uscc:{SECRET}",)),
            ("database downgrade", (SECRET,)),
            ("restore", (f"/nowhere/{SECRET}",)),
            ("backup", (f"/nowhere/{SECRET}",)),
            ("enter", (*REGISTER, "--file", f"/nowhere/{SECRET}")),
            ("enter", REGISTER),
        ],
    )
    def test_what_is_wrong_is_named_and_never_repeated(
        self, loaded: Scene, command: str, options: Sequence[str]
    ) -> None:
        assert node(loaded, command, *options, ends=2)


class TestLooking:
    def test_listings_are_counted_by_state(self, scene: Scene, tmp_path: Path) -> None:
        rows = [row(1), row(2, served_on=str(TODAY)), row(3, expires_on=ago(1)), row(4)]
        scene.load(write(tmp_path / "states.csv", rows))
        node(scene, "dispute", *REGISTER, f"cn.reg_no:{firm(4).value}")
        lines = node(scene, "listings")
        counts = [line.replace("│", " ").split() for line in lines if line.startswith("│")]
        one_each = [["tax-register", state, "1"] for state in ("notified", "active", "disputed", "expired")]
        assert counts == [*one_each, ["tax-register", "all", "4"]]
        assert "not sealed" in lines[-1]
        yesterday = [line.replace("│", " ").split() for line in node(scene, "listings", "--as-of", ago(1))]
        assert ["tax-register", "all", "0"] in yesterday

    def test_a_record_is_shown_with_its_clocks_and_every_step(self, scene: Scene, file: Path) -> None:
        scene.load(file)
        reference = listed(scene, 1)
        node(scene, "object", reference, "--reason", "it was not me", "--by", "clerk")
        shown = "\n".join(node(scene, "show", reference[:8]))
        for said in ("Firm 1", "state: disputed", "dispute.asked: object", "object  by clerk", "reason it was not me"):
            assert said in shown
        document = json.loads("\n".join(node(scene, "show", reference, "--json")))
        assert document["subject"]["identifiers"] == [{"scheme": "cn.reg_no", "value": firm(1).value}]
        assert [step["act"] for step in document["history"]] == ["enter", "object"]

    def test_a_name_cannot_move_the_terminals_cursor(self, scene: Scene, tmp_path: Path) -> None:
        scene.load(write(tmp_path / "escape.csv", [row(1, name="Firm \x1b[2J 1")]))
        assert "subject.name: Firm ·[2J 1" in node(scene, "show", listed(scene, 1))

    def test_it_is_found_under_every_spelling_of_its_number(self, loaded: Scene) -> None:
        assert node(loaded, "find", f"cn.reg_no:{firm(1).value.lower()}") == node(
            loaded, "find", f"cn.reg_no:{firm(1).value}"
        )
        assert len(node(loaded, "find", "cn.alias:a-3")) == 1

    def test_no_other_command_shows_a_name_or_number(self, scene: Scene, file: Path) -> None:
        scene.load(file)
        node(scene, "object", listed(scene, 1), "--reason", "it was not me")
        for command in ("listings", "due", "audit-trail show", "audit-trail verify", "catalogue"):
            printed = "\n".join(node(scene, command))
            assert not [it for it in ("Firm", "FIRM", "not me") if it in printed]
        assert "Firm" not in "".join(node(scene, "find", f"cn.reg_no:{firm(1).value}"))

    def test_what_is_due_comes_first_deadline_first(self, scene: Scene, file: Path) -> None:
        scene.load(file)
        first, second, third = (listed(scene, number) for number in (1, 2, 3))
        node(scene, "object", second, "--reason", "not me", "--on", ago(40))
        node(scene, "request-repair", third, "--reason", "performed")
        node(scene, "object", first, "--reason", "not me")
        lines = [line.split() for line in node(scene, "due")]
        assert [line for line in lines if "overdue" in line] == [lines[0]]
        assert lines[0][2] == second
        assert [line[0] for line in lines] == sorted(line[0] for line in lines)
        assert node(scene, "show", second)[3] == "state: suspended"

    def test_the_catalogue_in_force_has_the_agencys_overlay_and_every_source(self, scene: Scene) -> None:
        overlay = scene.home.directory / "agencies/tax/catalogue.yaml"
        overlay.write_text('debarment:\n  notice:\n    window: {value: 21, source: "Ordinance 7, s. 9"}\n')
        printed = node(scene, "catalogue", *REGISTER)
        assert "| notice window | 21 working days | Ordinance 7, s. 9 |" in printed
        figures = [line.split("|")[3].strip() for line in printed if line.startswith("| ") and line.count("|") == 4]
        assert len(figures) > 8
        assert all(figures)
        overlay.write_text("debarment: {notice: {window: {value: 1, source: us}}}\n")
        assert "catalogue.yaml: " in node(scene, "catalogue", ends=2)[0]
