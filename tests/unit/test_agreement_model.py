import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import get_args

import jsonschema_rs
import pytest
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from api.cli import app
from protocol import codec, labels
from protocol.agreement.model import (
    MAX_TEXT,
    Agreement,
    PlainLoader,
    canonical,
    digest,
    from_canonical,
    parse,
    schema,
)
from protocol.agreement.violation import InvalidAgreementError
from protocol.errors import AgreementError, DecodeError, NotGrantedError

ROOT = Path(__file__).parents[2]
TEXT = (Path(__file__).parent / "data/procurement.yaml").read_text()


def refusal(text: str) -> InvalidAgreementError:
    with pytest.raises(InvalidAgreementError) as caught:
        parse(text)
    assert caught.value.violations
    return caught.value


def paths(text: str) -> list[str]:
    return [violation.path for violation in refusal(text).violations]


def test_what_is_signed_reads_back_as_the_same_agreement() -> None:
    agreement = parse(TEXT)
    assert from_canonical(canonical(agreement)) == agreement
    assert agreement.version == 1
    assert (agreement.opt_outs, agreement.moratoria) == (None, None)
    assert agreement.agencies[4].registers == ()


def test_layout_and_comments_of_the_text_do_not_change_what_is_signed() -> None:
    rewritten = TEXT.replace("sieve: false\n", "").replace(", min_agencies: 1", "") + "# a comment\nsieve: no\n"
    assert canonical(parse(rewritten)) == canonical(parse(TEXT))


def test_any_changed_field_changes_the_digest() -> None:
    changed = TEXT.replace("threshold: 3", "threshold: 4")
    assert len(digest(parse(TEXT))) == hashlib.sha256().digest_size
    assert digest(parse(changed)) != digest(parse(TEXT))


def test_another_encoding_of_the_same_agreement_is_refused() -> None:
    fields = codec.decode(canonical(parse(TEXT)), 1 << 20)
    del fields["sieve"]  # the default, so the same agreement in fewer bytes
    with pytest.raises(DecodeError, match="canonical"):
        from_canonical(codec.encode(fields))


def test_canonical_bytes_of_another_form_are_refused() -> None:
    fields = codec.decode(canonical(parse(TEXT)), 1 << 20)
    with pytest.raises(InvalidAgreementError, match="title"):
        from_canonical(codec.encode({**fields, "title": 7}))
    with pytest.raises(InvalidAgreementError, match="neither text"):
        from_canonical(codec.encode({**fields, "title": b"bytes"}))
    with pytest.raises(DecodeError):
        from_canonical(canonical(parse(TEXT))[:-1])


def test_an_agreement_cannot_be_altered_after_parsing() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse(TEXT).version = 2  # type: ignore[misc]


def test_the_suites_are_the_labels_of_the_protocol() -> None:
    assert get_args(Agreement.model_fields["suite"].annotation) == (labels.SUITE, labels.INSECURE_TEST_SUITE)


@pytest.mark.parametrize(
    ("text", "lifetime"),
    [("30m", timedelta(minutes=30)), ("24h", timedelta(hours=24)), ("7d", timedelta(days=7))],
)
def test_decisions_live_for_minutes_hours_or_days(text: str, lifetime: timedelta) -> None:
    assert parse(TEXT.replace("24h", text)).decision_lifetime == lifetime


def test_only_requesters_of_the_agreement_are_found() -> None:
    assert parse(TEXT).requester("bank").implements == ("extra-scrutiny",)
    with pytest.raises(NotGrantedError):
        parse(TEXT).requester("court")


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("concordat: 1", "concordat: 2", "concordat"),
        ("id: procurement\n", "id: Procurement\n", "id"),
        ("id: procurement\n", f"id: {'p' * 64}\n", "id"),
        ("id: procurement\n", "id: 1st\n", "id"),
        ("version: 1\n", "version: 0\n", "version"),
        ("version: 1\n", "version: '1'\n", "version"),
        ("version: 1\n", "version: 1.0\n", "version"),
        ("title: Joint", "title: ''\n#", "title"),
        ("title: Joint", 'title: "a\\nb"\n#', "title"),
        ("rank: law", "rank: custom", "legal_basis.rank"),
        ("from: 2026-11-01", "from: 2026-02-30", "valid.from"),
        ("from: 2026-11-01", "from: 2026-11-01 10:00:00", "valid.from"),
        ("[legal]", "[animal]", "subject_kinds[0]"),
        ("[legal]", "[]", "subject_kinds"),
        ("k_min: 1000", "k_min: 1", "anonymity.k_min"),
        ("max_listings: 50000", "max_listings: 0", "anonymity.max_listings"),
        ("suite: concordat-v1", "suite: concordat-v2", "suite"),
        ("sieve: false", "sieve: 'false'", "sieve"),
        ("threshold: 3", "threshold: 0", "keyholders.threshold"),
        ("purposes: [grant-loan]", "purposes: []", "requesters[1].purposes"),
        ("quota_per_day: 500", "quota_per_day: 0", "requesters[1].quota_per_day"),
        (", quota_per_day: 500", "", "requesters[1].quota_per_day"),
        ("effect: notice", "effect: penalty", "measures[1].effect"),
        ("max_months: 12", "max_months: 0", "measures[1].max_months"),
        ("min_weight: 4", "min_weight: 0", "rules[1].when.min_weight"),
        ("min_weight: 4", "min_weight: 256", "rules[1].when.min_weight"),
        ("min_weight: 4", "min_points: 65536", "rules[1].when.min_points"),
        ("min_agencies: 2", "min_agencies: 0", "rules[1].when.min_agencies"),
        ("validity_of_decision: 24h", "validity_of_decision: 24", "validity_of_decision"),
        ("validity_of_decision: 24h", "validity_of_decision: 0h", "validity_of_decision"),
        ("validity_of_decision: 24h", "", "validity_of_decision"),
        ("sieve: false", "seive: false", "seive"),
        ("sieve: false", "91110000 Secret: 1", "?"),
    ],
)
def test_a_field_out_of_form_is_named_by_its_path(old: str, new: str, path: str) -> None:
    assert TEXT.count(old) == 1 or old == "concordat: 1"
    assert paths(TEXT.replace(old, new, 1)) == [path]


def test_every_field_out_of_form_is_reported_at_once() -> None:
    assert paths(TEXT.replace("version: 1", "version: 0").replace("threshold: 3", "threshold: x")) == [
        "version",
        "keyholders.threshold",
    ]


LIMITED = (
    TEXT
    + """
opt_outs: [{agency: tax, measure: extra-scrutiny}]
moratoria:
  - {registers: [wage-arrears], subject_kinds: [legal], until: 2027-01-31, legal_basis: s. 9}
  - {measures: [extra-scrutiny], until: 2027-01-31, legal_basis: s. 9}
"""
)


def test_limits_are_signed_and_their_absence_is_as_if_there_were_no_such_fields() -> None:
    assert from_canonical(canonical(parse(LIMITED))) == parse(LIMITED)
    assert digest(parse(LIMITED)) != digest(parse(TEXT))
    assert not {"opt_outs", "moratoria"} & set(codec.decode(canonical(parse(TEXT)), 1 << 20))
    for empty in ("opt_outs: []", "moratoria: []"):
        assert paths(f"{TEXT}\n{empty}") == [empty.partition(":")[0]]


def errors_by_schema(text: str) -> list[list[str | int]]:
    document = yaml.load(text, PlainLoader)  # noqa: S506  # as `parse` reads it
    return [error.instance_path for error in jsonschema_rs.validator_for(schema()).iter_errors(document)]


def test_the_command_prints_the_schema_and_nothing_else() -> None:
    printed = CliRunner().invoke(app, ["agreement", "schema"])
    assert (printed.exit_code, json.loads(printed.stdout)) == (0, schema())


@pytest.mark.parametrize("text", [TEXT, LIMITED, (ROOT / "api/demo/agreement.yaml").read_text()])
def test_the_schema_accepts_what_the_model_accepts(text: str) -> None:
    assert errors_by_schema(text) == []


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        ("sieve: false", "seive: false", []),
        ("effect: notice", "effect: notice, relatives: [someone]", ["measures", 1]),
        ("effect: notice", "effect: penalty", ["measures", 1, "effect"]),
        ("validity_of_decision: 24h", "validity_of_decision: 24", ["validity_of_decision"]),
        ("{agency: tax,", "{agency: tax, until: 2027-01-31,", ["opt_outs"]),
        ("from: 2026-11-01, ", "", ["valid"]),
    ],
)
def test_the_schema_refuses_what_the_model_refuses(old: str, new: str, at: list[str | int]) -> None:
    assert errors_by_schema(LIMITED.replace(old, new, 1)) == [at]
    assert paths(LIMITED.replace(old, new, 1))


@pytest.mark.parametrize("field", ["relatives", "employees", "also_affects"])
def test_a_measure_cannot_name_anybody_but_the_listed_subject(field: str) -> None:
    for where, path in (("effect: notice", "measures[1]"), ("measure: extra-scrutiny", "rules[1]")):
        error = refusal(TEXT.replace(where, f"{where}, {field}: [someone]"))
        assert [violation.path for violation in error.violations] == [f"{path}.{field}"]
        assert "the listed subject alone" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "[1, 2]",
        "a: b: c",
        "\x00",
        "[" * 2000,
        "x: !!binary aGVsbG8=",
        f"x: 0x{'f' * 9000}",
        "x: *anchor",
        "x: &a [1]\ny: *a",
        "x: !!python/object:os.system {}",
        "? [complex]\n: key",
        "--- {}\n--- {}",
        'concordat: "\\ud800"',
    ],
)
def test_what_is_not_one_plain_mapping_is_refused(text: str) -> None:
    assert paths(text) == ["document"]


def test_a_key_given_twice_is_refused_with_its_line() -> None:
    assert "line 5 " in str(refusal(TEXT.replace("rank: law", "rank: law, rank: regulation")))
    assert paths(TEXT + "version: 1\n") == ["document"]


def test_a_text_beyond_the_limit_is_refused_unread() -> None:
    assert parse(TEXT + "#" * (MAX_TEXT - len(TEXT)))
    assert "longer" in str(refusal(TEXT + "#" * (MAX_TEXT - len(TEXT) + 1)))


def test_a_refusal_never_repeats_what_was_written() -> None:
    written = "Zq9written"
    for old in ("24h", "law", "2026-11-01", "3}", "false", "notice,", "[legal]", "10000}"):
        error = refusal(TEXT.replace(old, f"{written}{old[-1] if old[-1] in ',}' else ''}", 1))
        assert written not in str(error)
        assert written not in repr(error.__cause__)
        assert isinstance(error, AgreementError)
