"""`concordat check` and `concordat screen` against a gateway that listens on a real port."""

import csv
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog
import uvicorn
import yaml
from rich.console import Console

from api import cli
from api.cli import client, screening
from api.cli.ask import _show
from api.cli.exits import BAD_INPUT, DONE, INDETERMINATE, PARTLY, REFUSED
from api.home import Home
from federation.gateway import Gateway
from federation.problem import PREFIX, BusyError
from federation.room import Room
from tests.gateways import BOTH, CASE, DISPUTED, NOBODY, ONE, TOKEN, Office
from tests.parties import PURPOSE, REQUESTER

SECRET = "9111SECRET000010"  # noqa: S105  # stands for an identifier: must never come back
ASKED = ("--purpose", PURPOSE, "--case", CASE)


class Server:
    """An office's gateway on a port of this machine, and the directory by which commands find it."""

    def __init__(self, folder: Path, **document: Any) -> None:
        self.office = Office.create(folder, **document)
        self.home = Home(folder)
        agreement = self.office.federation.terms.agreement
        plain = agreement.model_dump(mode="json", by_alias=True, exclude_none=True)
        self.home.agreement_path.write_text(yaml.safe_dump(plain), "utf-8")
        self.home.token_path(REQUESTER).parent.mkdir()
        self.home.token_path(REQUESTER).write_text(f"{TOKEN}\n", "utf-8")
        self._server = uvicorn.Server(uvicorn.Config(self.office.app(), port=0, log_config=None, access_log=False))
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> "Server":
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.write_url(f"http://127.0.0.1:{port}")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    def write_url(self, url: str) -> None:
        document = {"coordinator": "", "agencies": {}, "gateways": {REQUESTER: url, "bank": url}}
        self.home.urls_path.write_text(json.dumps(document), "utf-8")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with Server(tmp_path, quota=20) as running:
        yield running
    structlog.reset_defaults()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command; returns its exit code, standard output and standard error."""

    def concordat(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["concordat", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        written = capsys.readouterr()
        return int(ended.value.code or 0), written.out, written.err

    return concordat


def of(identifier: Any) -> str:
    return f"{identifier.scheme}:{identifier.value}"


def test_check_prints_the_decision_as_the_gateway_gave_it_and_nothing_else(server: Server, run: Any) -> None:
    code, out, err = run("check", server.home.directory, of(BOTH), *ASKED, "--json")
    assert (code, err) == (DONE, "")
    assert [measure["id"] for measure in json.loads(out)["measures"]] == ["exclude", "scrutinise"]


def test_check_tells_people_what_applies_and_where_to_object(server: Server, run: Any) -> None:
    code, out, err = run("check", server.home.directory, of(DISPUTED), *ASKED, "--requester", REQUESTER)
    assert (code, err) == (DONE, "")
    assert all(text in out for text in ("exclude", "restriction", "disputed", "You are told.", "5 of 5 agencies"))
    assert "No measure applies." in run("check", server.home.directory, of(NOBODY), *ASKED)[1]


@pytest.mark.parametrize(
    ("change", "code", "kind"),
    [
        ({"subject": "cn.uscc:9111000010000106X2"}, BAD_INPUT, "malformed"),
        ({"subject": f"{SECRET}:{SECRET}"}, BAD_INPUT, "malformed"),
        ({"subject": f"{SECRET}"}, BAD_INPUT, "malformed"),
        ({"subject": f"cn.reg_no:{SECRET}\udc80"}, BAD_INPUT, "malformed"),
        ({"case": f"{SECRET}\n"}, BAD_INPUT, "malformed"),
        ({"requester": SECRET}, BAD_INPUT, "malformed"),
        ({"purpose": SECRET}, REFUSED, "not-granted"),
        ({"requester": "bank"}, REFUSED, "unauthenticated"),
    ],
    ids=repr,
)
def test_check_says_what_is_wrong_and_never_repeats_it(
    server: Server, run: Any, change: dict[str, str], code: int, kind: str
) -> None:
    server.home.token_path("bank").write_text("another token\n", "utf-8")
    asked = {"subject": of(ONE), "purpose": PURPOSE, "case": CASE, "requester": REQUESTER} | change
    options = [it for name in ("purpose", "case", "requester") for it in (f"--{name}", asked[name])]
    for json_ in ([], ["--json"]):
        ended, out, err = run("check", server.home.directory, asked["subject"], *options, *json_)
        assert ended == code
        assert err
        assert SECRET not in out + err
        assert not json_ or json.loads(out)["type"] == PREFIX + kind


def test_check_writes_a_certificate_that_names_its_subject_to_a_new_private_file(server: Server, run: Any) -> None:
    file = server.home.directory / "standing.json"
    code, out, err = run("check", server.home.directory, of(NOBODY), *ASKED, "--standing", file)
    assert (code, err) == (DONE, "")
    assert "No measure applies." in out
    assert set(json.loads(file.read_text())) == {"certificate", "evidence"}
    assert file.stat().st_mode & 0o777 == 0o600
    before, asked = file.read_bytes(), server.office.asked()
    for other in (file, server.home.directory, server.home.directory / "nowhere" / "standing.json"):
        code, out, err = run("check", server.home.directory, of(NOBODY), *ASKED, "--standing", other, "--json")
        assert (code, json.loads(out)["type"]) == (BAD_INPUT, PREFIX + "malformed")
        assert "--standing" in err
    assert (file.read_bytes(), server.office.asked()) == (before, asked)


def test_check_writes_no_certificate_where_it_cannot_or_nothing_was_decided(
    server: Server, run: Any, tmp_path: Path
) -> None:
    code, _, err = run("check", server.home.directory, of(ONE), *ASKED, "--standing", tmp_path / ("x" * 300))
    assert (code, "--standing: no new file" in err) == (BAD_INPUT, True)
    file = tmp_path / "standing.json"
    server.office.federation.network.detach("tax")
    assert run("check", server.home.directory, of(ONE), *ASKED, "--standing", file)[0] == INDETERMINATE
    assert not file.exists()


def test_check_ends_with_3_where_nothing_was_decided(server: Server, run: Any) -> None:
    server.office.federation.network.detach("tax")
    code, out, err = run("check", server.home.directory, of(ONE), *ASKED, "--json")
    assert (code, json.loads(out)["missing"]) == (INDETERMINATE, ["tax"])
    assert "tax" in err
    server.write_url("http://127.0.0.1:1")
    code, out, _ = run("check", server.home.directory, of(ONE), *ASKED, "--json")
    assert (code, json.loads(out)["outcome"]) == (INDETERMINATE, "indeterminate")
    server.home.urls_path.unlink()
    assert run("check", server.home.directory, of(ONE), *ASKED)[0] == INDETERMINATE


def test_check_ends_with_4_where_the_quota_is_spent(server: Server, run: Any) -> None:
    server.office.ask(*[ONE] * 20)
    assert run("check", server.home.directory, of(ONE), *ASKED)[0] == REFUSED


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "DIR", "cn.reg_no", SECRET, *ASKED),
        ("check", "DIR", of(ONE), f"--{SECRET}", *ASKED),
        ("check", "DIR", of(ONE), "--purpose"),
        ("check", "DIR"),
        (SECRET,),
        ("screen", SECRET, SECRET, "-o", SECRET, *ASKED),
    ],
)
def test_arguments_that_are_wrong_are_never_repeated(run: Any, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (BAD_INPUT, "")
    assert err
    assert SECRET not in err


def write(path: Path, rows: list[tuple[str, str]], header: str = "scheme,identifier") -> Path:
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", "utf-8")
    return path


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


PEOPLE = [(it.scheme, it.value) for it in (NOBODY, BOTH, DISPUTED, ONE)]
ANSWERS = ["", "exclude;scrutinise", "exclude (disputed)", "exclude"]
DECIDED = [[*person, "decided", answer] for person, answer in zip(PEOPLE, ANSWERS, strict=True)]
HEADER = list(screening.HEADER)


def test_screen_answers_every_row_in_order(server: Server, run: Any, tmp_path: Path) -> None:
    people = [*PEOPLE, PEOPLE[1]]
    file, out = write(tmp_path / "people.csv", people), tmp_path / "out.csv"
    code, printed, err = run("screen", server.home.directory, file, "-o", out, *ASKED)
    assert (code, err) == (DONE, "")
    assert "decided" in printed
    assert read(out) == [HEADER, *DECIDED, DECIDED[1]]


def test_screen_reports_rows_that_have_no_decision_and_goes_on(server: Server, run: Any, tmp_path: Path) -> None:
    wrong = [("cn.uscc", "9111000010000106X2"), ("", "1"), ("cn.reg_no", ""), ("cn.reg_no", "1" * 300)]
    file, out = write(tmp_path / "people.csv", [*wrong, *PEOPLE]), tmp_path / "out.csv"
    assert run("screen", server.home.directory, file, "-o", out, *ASKED)[0] == PARTLY
    assert read(out) == [HEADER, *([*row, "error", ""] for row in wrong), *DECIDED]


def test_screen_keeps_what_is_final_and_asks_the_rest(
    server: Server, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screening, "BATCH", 2)
    file, out = write(tmp_path / "people.csv", PEOPLE), tmp_path / "out.csv"
    kept = [*PEOPLE[0], "decided", "kept as it is"]
    lines = [HEADER, kept, [*PEOPLE[1], "indeterminate", ""], [*PEOPLE[2], "decided", "exclu"]]
    out.write_text("\n".join(",".join(line) for line in lines), "utf-8")  # the last line was cut off in writing
    asked = server.office.asked()
    assert run("screen", server.home.directory, file, "-o", out, *ASKED)[0] == DONE
    assert read(out) == [HEADER, kept, *DECIDED[1:]]
    assert server.office.asked() == asked + 2


def test_screen_that_is_refused_midway_keeps_what_it_has(
    server: Server, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screening, "BATCH", 2)
    server.office.ask(*[ONE] * 17)
    file, out = write(tmp_path / "people.csv", PEOPLE), tmp_path / "out.csv"
    code, printed, err = run("screen", server.home.directory, file, "-o", out, *ASKED)
    assert code == REFUSED
    assert "not asked" in printed
    assert "quota" in err
    assert read(out) == [HEADER, *DECIDED[:2]]
    server.office.clock.now += 86_400
    assert run("screen", server.home.directory, file, "-o", out, *ASKED)[0] == DONE
    assert read(out) == [HEADER, *DECIDED]


def test_screen_with_an_agency_away_is_partly_and_then_whole(server: Server, run: Any, tmp_path: Path) -> None:
    file, out = write(tmp_path / "people.csv", PEOPLE), tmp_path / "out.csv"
    honest = server.office.handler("tax")
    server.office.federation.network.detach("tax")
    assert run("screen", server.home.directory, file, "-o", out, *ASKED)[0] == PARTLY
    assert {row[2] for row in read(out)[1:]} == {"indeterminate"}
    server.office.disturb("tax", honest)
    assert run("screen", server.home.directory, file, "-o", out, *ASKED)[0] == DONE
    assert read(out) == [HEADER, *DECIDED]


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how long a command waited, each time; nobody does."""
    seconds: list[float] = []
    monkeypatch.setattr(client, "_wait", seconds.append)
    return seconds


def full() -> NoReturn:
    raise BusyError("full", 90)


def test_screen_waits_for_a_busy_gateway_as_long_as_it_says(
    server: Server, run: Any, tmp_path: Path, waited: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, left = Gateway.ask, iter(range(5))

    async def busy(self: Gateway, *question: Any) -> Any:
        if next(left, None) is not None:
            raise BusyError("full", 2)
        return await ask(self, *question)

    monkeypatch.setattr(Gateway, "ask", busy)
    file, out = write(tmp_path / "people.csv", PEOPLE), tmp_path / "out.csv"
    assert run("screen", server.home.directory, file, "-o", out, *ASKED)[0] == DONE
    assert (read(out), waited) == ([HEADER, *DECIDED], [2.0] * 5)


def test_screen_gives_up_where_a_gateway_stays_busy_or_away_and_goes_on_later(
    server: Server, run: Any, tmp_path: Path, waited: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = write(tmp_path / "people.csv", PEOPLE), tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        patch.setattr(Room, "taken", lambda *_: full())
        code, printed, err = run("screen", server.home.directory, file, "-o", out, *ASKED)
        assert (code, waited) == (INDETERMINATE, [])
        assert "not asked" in printed
        assert "busy" in err
    url = json.loads(server.home.urls_path.read_text())["gateways"][REQUESTER]
    server.write_url("http://127.0.0.1:1")
    code, printed, err = run("screen", server.home.directory, file, "-o", out, *ASKED)
    assert (code, waited) == (INDETERMINATE, list(client.PAUSES))
    assert "gateway" in err
    server.write_url(url)
    assert run("screen", server.home.directory, file, "-o", out, *ASKED)[0] == DONE
    assert read(out) == [HEADER, *DECIDED]


def test_screen_asks_nothing_more_while_somebody_is_away(
    server: Server, run: Any, tmp_path: Path, waited: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or every row would be charged for nothing."""
    monkeypatch.setattr(screening, "BATCH", 1)
    file, out = write(tmp_path / "people.csv", PEOPLE), tmp_path / "out.csv"
    honest = server.office.handler("tax")
    server.office.federation.network.detach("tax")
    code, printed, err = run("screen", server.home.directory, file, "-o", out, *ASKED)
    assert (code, waited) == (INDETERMINATE, list(client.PAUSES))
    assert "not asked" in printed
    assert "tax" in err
    assert [row[2] for row in read(out)[1:]] == ["indeterminate"]
    server.office.disturb("tax", honest)
    server.office.clock.now += 3_600  # the canaries are asked again
    assert run("screen", server.home.directory, file, "-o", out, *ASKED)[0] == DONE
    assert read(out) == [HEADER, *DECIDED]


def test_rows_are_read_where_they_stand(tmp_path: Path) -> None:
    """Whatever a file's line ends, quotes and byte order mark: each span holds exactly its row."""
    text = '\ufeffidentifier,scheme\r\n1,"a\nb"\r\n\r\n"2,",c\n3,ü\r4,d'
    file = tmp_path / "rows.csv"
    file.write_bytes(text.encode())
    places, rows = screening._rows(file, "FILE.csv", ("scheme", "identifier"))
    assert [row for row, _ in rows] == [["a\nb", "1"], ["c", "2,"], ["ü", "3"], ["d", "4"]]
    for chosen in ([0, 1, 2, 3], [3, 1], []):
        spans = [rows[number][1] for number in chosen]
        assert screening.rows_at(file, places, spans) == tuple(tuple(rows[number][0]) for number in chosen)


@pytest.mark.parametrize("text", [b"", b"name\nx\n", b"scheme,identifier\n\xff,1\n", b'scheme,identifier\n"a,1\n'])
def test_screen_refuses_what_is_no_such_file(server: Server, run: Any, tmp_path: Path, text: bytes) -> None:
    file, out = tmp_path / "people.csv", tmp_path / "out.csv"
    file.write_bytes(text)
    code, _, err = run("screen", server.home.directory, file, "-o", out, *ASKED)
    assert (code, out.exists()) == (BAD_INPUT, False)
    assert "FILE.csv" in err
    assert run("screen", server.home.directory, file, "-o", file, *ASKED)[0] == BAD_INPUT
    assert file.read_bytes() == text


def test_an_answer_from_outside_cannot_dress_up_the_terminal() -> None:
    answer = {
        "measures": [{"id": "exclude", "effect": "restriction", "disputed": False}],
        "notice": [{"measure": "exclude", "text": "[red]told[/red]", "door": "https://door.invalid"}],
        "requires_human_review": True,
        "agencies": {"required": 5, "answered": 5},
        "as_of": "",
        "valid_until": "",
    }
    console = Console(record=True, width=200)
    _show(answer, console)
    assert "[red]told[/red]" in console.export_text()
