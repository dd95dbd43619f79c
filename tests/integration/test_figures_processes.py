"""Public figures of separate processes, by the commands and the route that anybody may use."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from protocol.figures import Quarter
from tests.integration.test_processes import TODAY, concordat, running

THIS = Quarter(TODAY.year, (TODAY.month + 2) // 3)
LAST = Quarter(TODAY.year, THIS.number - 1) if THIS.number > 1 else Quarter(TODAY.year - 1, 4)
VALID = {"from": str(LAST.last - timedelta(days=9)), "until": str(TODAY + timedelta(days=300))}
BAD_INPUT, INDETERMINATE, REFUSED = 2, 3, 4


def shown(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["figures"]
    return found


@pytest.mark.full
def test_a_quarter_is_opened_once_and_shown_to_anybody(tmp_path: Path) -> None:
    with running(tmp_path, valid=VALID) as home:
        url = json.loads((home / "urls.json").read_text())["coordinator"]
        assert shown(concordat("figures", "show", home, "--json")) == []
        concordat("figures", "open", home, "--quarter", str(THIS), exit_code=REFUSED)
        concordat("figures", "open", home, "--quarter", "2026", exit_code=BAD_INPUT)
        concordat("figures", "open", tmp_path, "--quarter", str(LAST), exit_code=BAD_INPUT)

        [opened] = shown(concordat("figures", "open", home, "--quarter", str(LAST), "--json"))
        assert (opened["quarter"], opened["agencies"]) == (str(LAST), 5)
        assert next(iter(opened["figures"])) == "listings debarment debarred"
        again = shown(concordat("figures", "open", home, "--quarter", str(LAST), "--json"))
        public = httpx.get(f"{url}/v1/figures", trust_env=False)
        assert public.status_code == 200
        assert again == shown(public.text) == shown(concordat("figures", "show", home, "--json")) == [opened]

        roster = shutil.copy(home / "agreement.roster", tmp_path / "roster")
        text = concordat("figures", "show", url, "--roster", roster)
        assert "fewer than 10" in text
        assert f"±{opened['within']}" in text.replace("\n", " ")
        assert shown(concordat("figures", "show", url, "--roster", roster, "--quarter", str(THIS), "--json")) == []
        concordat("figures", "show", url, exit_code=BAD_INPUT)
    concordat("figures", "show", url, "--roster", roster, exit_code=INDETERMINATE)
    concordat("figures", "show", home, exit_code=BAD_INPUT)
