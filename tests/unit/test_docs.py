"""The documents are true: commands, exit codes, problems, settings, metrics and links are compared with the code.

Every check is a function from a document's text to what is wrong with it; beside the real document each is given one
with a fault planted, which it must find.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from api import logs
from api.cli import app, exits
from api.founding import read_agreement
from api.gateway_forms import MAX_BATCH, MAX_BODY, MAX_TEXT
from api.settings import Settings
from federation import problem
from nodes.importers import concordat_csv
from protocol.wire import MAX_SUBJECTS

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "federation/docs/contract.md").read_text()
OPERATIONS = (ROOT / "federation/docs/operations.md").read_text()
README = (ROOT / "README.md").read_text()
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "federation/docs").rglob("*.md")),
    *sorted((ROOT / "protocol/spec").rglob("*.md")),
]


def section(document: str, title: str) -> str:
    """What stands under the heading of exactly this title, up to the next of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n", document, flags=re.MULTILINE)
    assert found, f"no heading {title}"
    rest = document[found.end() :]
    following = re.search(rf"^#{{1,{len(found[1])}}} ", rest, flags=re.MULTILINE)
    return rest[: following.start()] if following else rest


def rows(text: str, *header: str) -> list[list[str]]:
    """The rows of the table whose header this is; `\\|` in a cell is `|`."""
    lines = text.splitlines()
    start = lines.index(f"| {' | '.join(header)} |") + 2
    found = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


# Commands

Parameter = tuple[frozenset[str], bool, bool]
"""An argument's or option's names, whether it must be given, and whether an option takes a value."""

_WORD = re.compile(r"(\[)?(?:(--?[a-z][a-z|-]*)(?: ([A-Za-z][\w.|:]*))?|([A-Z][\w.:]*))\]?|(.)")


def documented_commands(document: str) -> dict[str, list[Parameter]]:
    """What the contract's table says of every command."""
    found: dict[str, list[Parameter]] = {}
    for [usage, _] in rows(section(document, "Command line"), "command", "does"):
        path = re.match(r"`concordat((?: [a-z]+(?:-[a-z]+)*)+)", usage)
        assert path, usage
        parameters: list[Parameter] = []
        for bracket, names, value, argument, rest in _WORD.findall(usage[path.end() :].strip("` ")):
            assert not rest.strip(), f"{usage}: {rest}"
            if argument:
                parameters.append((frozenset([argument]), not bracket, False))
            elif names:
                parameters.append((frozenset(names.split("|")), not bracket, bool(value)))
        found[path[1].strip()] = parameters
    return found


def built_commands() -> dict[str, list[Parameter]]:
    """The same of the command line as it is."""
    return dict(_walk(typer.main.get_command(app), ""))


def _walk(command: Any, path: str) -> Iterator[tuple[str, list[Parameter]]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _walk(inner, f"{path} {name}".strip())
        return
    yield (
        path,
        [
            (frozenset([it.metavar]), it.required, False)
            if it.param_type_name == "argument"
            else (frozenset([*it.opts, *it.secondary_opts]), it.required, not it.is_flag)
            for it in command.params
        ],
    )


def wrong_commands(document: str) -> list[str]:
    said, built = documented_commands(document), built_commands()
    return [name for name in sorted(said.keys() | built.keys()) if not _same(said.get(name), built.get(name))]


def _same(said: list[Parameter] | None, built: list[Parameter] | None) -> bool:
    if said is None or built is None:
        return False
    arguments = [[it for it in them if not min(it[0]).startswith("-")] for them in (said, built)]
    return arguments[0] == arguments[1] and set(said) == set(built) and len(said) == len(built)


def test_every_command_stands_in_the_contract_with_exactly_its_arguments_and_options() -> None:
    assert len(built_commands()) >= 12
    assert wrong_commands(CONTRACT) == []


@pytest.mark.parametrize(
    ("said", "instead", "command"),
    [
        ("`concordat down DIR`", "`concordat halt DIR`", "halt"),
        ("[--as-of DATE]", "[--as-at DATE]", "import"),
        ("[--as-of DATE]", "", "import"),
        ("import DIR FILE", "import FILE DIR", "import"),
        ("[--force]", "--force", "init"),
        ("[--end]", "[--end DAY]", "node dispute"),
        ("--output\\|-o OUT.csv", "--output OUT.csv", "screen"),
    ],
)
def test_a_command_that_is_otherwise_would_be_found(said: str, instead: str, command: str) -> None:
    assert said in CONTRACT
    assert command in wrong_commands(CONTRACT.replace(said, instead))


def test_what_is_promised_is_not_there() -> None:
    promised = section(CONTRACT, "Promised, not built yet")
    assert "`browser`" in promised
    assert not [marker for marker in ("browser",) if f'"{marker}:' in (ROOT / "pyproject.toml").read_text()]


# Containers


def test_readme_and_the_guide_run_containers_by_the_same_commands() -> None:
    guide = (ROOT / "federation/docs/compose.md").read_text()
    [said] = fenced(section(README, "Containers"), "sh")
    assert [said] == fenced(section(guide, "Run"), "sh")
    assert said.startswith("docker compose up --build --wait")


# Exit codes

_MEANINGS = {
    "done, decided": "DONE",
    "unexpected": "UNEXPECTED",
    "bad input": "BAD_INPUT",
    "indeterminate": "INDETERMINATE",
    "refused": "REFUSED",
    "partly": "PARTLY",
}


def exit_codes(document: str) -> dict[str, int]:
    table = rows(section(document, "Command line"), "exit code", "means")
    return {_MEANINGS[meaning.partition(":")[0]]: int(code) for code, meaning in table}


def test_exit_codes_are_those_of_the_code() -> None:
    built = {name: value for name, value in vars(exits).items() if name.isupper()}
    assert exit_codes(CONTRACT) == built
    assert exit_codes(CONTRACT.replace("| 3 | indeterminate", "| 6 | indeterminate")) != built
    assert exit_codes(CONTRACT.replace("| 5 | partly |\n", "")) != built


# Problems and limits


def problems(document: str) -> dict[str, int]:
    table = rows(section(document, "Refusals"), "type", "status", "when")
    return {name.strip("`"): int(status) for name, status, _ in table}


def test_problem_types_and_statuses_are_those_of_the_code() -> None:
    assert problems(CONTRACT) == problem.STATUS
    assert problem.PREFIX in section(CONTRACT, "Refusals")
    assert problem.MEDIA_TYPE in section(CONTRACT, "Refusals")
    assert problems(CONTRACT.replace("| `quota` | 429 |", "| `quota` | 403 |")) != problem.STATUS
    assert problems(CONTRACT.replace("| `replayed` |", "| `repeated` |")) != problem.STATUS


def missing_figures(document: str) -> list[str]:
    text = " ".join(document.split())
    figures = [
        f"1 to {MAX_BATCH:,} subjects",
        f"arrays of {MAX_SUBJECTS}",
        f"a body over {MAX_BODY >> 20} MiB",
        f"over {MAX_TEXT} characters",
        f"At most {concordat_csv.MAX_ROWS:,} rows, {concordat_csv.MAX_COLUMNS} columns, {concordat_csv.MAX_FIELD:,} ch",
        f"up to {concordat_csv.MAX_IDENTIFIERS - 1};",
    ]
    columns = [name for name in concordat_csv.REQUIRED + concordat_csv.OPTIONAL if name not in document]
    return [figure for figure in figures if figure not in text] + columns


def test_limits_and_columns_are_those_of_the_code() -> None:
    assert missing_figures(CONTRACT) == []
    assert len(missing_figures(CONTRACT.replace("1,000", "2,000").replace("served_on", "served"))) == 3


def test_the_agreement_of_the_contract_breaks_no_rule() -> None:
    [text] = fenced(section(CONTRACT, "Agreement file"), "yaml")
    agreement = read_agreement(text)
    assert any(agency.kind for agency in agreement.agencies)


# Settings, logs, metrics


def settings_said(document: str) -> set[str]:
    return {
        name.strip("`").removeprefix("CONCORDAT_").lower()
        for name, *_ in rows(section(document, "Settings"), "variable", "default", "meaning")
    }


def test_every_setting_stands_in_the_operations_and_no_other() -> None:
    built = Settings.model_fields.keys() - {"directory"}  # the process's argument
    assert settings_said(OPERATIONS) == built
    assert settings_said(OPERATIONS.replace("`CONCORDAT_DOOR`", "`CONCORDAT_GATE`")) != built


def fields_said(document: str) -> set[str]:
    [fields] = fenced(section(document, "Logs"), "text")
    return set(fields.split())


def test_the_logs_fields_are_the_allow_list() -> None:
    assert fields_said(OPERATIONS) == logs.FIELDS
    assert fields_said(OPERATIONS.replace("missing", "subject")) != logs.FIELDS


def metrics_said(document: str) -> set[str]:
    return {name.strip("`") for name, *_ in rows(section(document, "Metrics"), "name", "labels", "of")}


def test_the_metrics_are_those_that_the_services_make() -> None:
    made = set[str]()
    for path in sorted((ROOT / "api").glob("*.py")):
        for kind, name in re.findall(r'\b(Counter|Histogram|Gauge)\(\s*"(concordat_\w+)"', path.read_text()):
            made.add(name + "_total" * (kind == "Counter"))
    assert len(made) > 2
    assert metrics_said(OPERATIONS) == made
    assert metrics_said(OPERATIONS.replace("`concordat_subjects_total`", "`concordat_people_total`")) != made


# Links


def broken_links(path: Path, text: str) -> list[str]:
    """Targets of relative links in `text`, as if it stood at `path`, that are not there."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"[a-z]+:|#", target)]
    return [target for target in targets if not (path.parent / target.partition("#")[0]).exists()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_points_at_a_file(path: Path) -> None:
    assert broken_links(path, path.read_text()) == []


@pytest.mark.parametrize("link", ["[a](federation/docs/nothing.md)", "[a](docs/contract.md#files)", "![a](a.png)"])
def test_a_link_to_nothing_would_be_found(link: str) -> None:
    assert len(broken_links(ROOT / "README.md", f"[b](LICENSE) [c](https://example.org) {link}")) == 1


def test_links_are_among_what_is_checked() -> None:
    assert sum(len(re.findall(r"\]\([^)]*\.md", path.read_text())) for path in DOCUMENTS) > 5


# The two commands


def readme_commands(document: str) -> dict[str, list[str]]:
    return {title: fenced(section(document, title), "sh") for title in ("Start", "Test")}


def test_the_readmes_shell_blocks_are_exactly_the_contracts_two_commands() -> None:
    [block] = fenced(section(CONTRACT, "Two commands on a fresh machine"), "")
    start, test = block.splitlines(keepends=True)
    expected = {"Start": [start], "Test": [test]}
    assert readme_commands(README) == expected
    assert readme_commands(README.replace("'.[dev]'", ".")) != expected
    assert readme_commands(README.replace("## Test\n", "## Test\n\n```sh\nls\n```\n")) != expected


@pytest.mark.parametrize(
    "read", [documented_commands, exit_codes, problems, readme_commands], ids=lambda read: str(read.__name__)
)
def test_a_section_that_is_gone_is_a_failure(read: Callable[[str], object]) -> None:
    with pytest.raises((AssertionError, ValueError)):
        read("# Nothing\n")
