"""A bundle fitted to a log that holds events of the state: nothing comes twice, as docs/state.md says."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from pasand import bundle
from pasand.serving.refresh.training_data import gather
from pasand.serving.states import open_state
from tests.cli.test_commands import pasand
from tests.logs import tastes
from tests.serving.conftest import serving

PAGE = (Path(__file__).parents[2] / "docs" / "state.md").read_text(encoding="utf-8")


def old_log(place: Path) -> None:
    data = tastes()
    told = zip(data.users.ids(data.user), data.items.ids(data.item), data.time.tolist(), strict=True)
    lines = [msgspec.json.encode({"user": user, "item": item, "time": time}) for user, item, time in told]
    place.write_bytes(b"".join(line + b"\n" for line in lines))


def test_events_that_the_log_holds_come_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    old_log(Path("log.jsonl"))
    assert pasand("fit", "log.jsonl", "--recipe", "linear", "--out", "bundle") == 0
    item = tastes().items.ids([0])[0]
    Path("pasand-state").symlink_to("state")
    with serving(Path("bundle"), tmp_path) as served:
        for number in range(3):
            served.ask("POST", "/v1/events", json={"id": str(number), "user": "new", "item": item})
        assert len(served.ask("GET", "/v1/users/new/view")["history"]) == 3
    capsys.readouterr()
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(code, "docs/state.md", "exec"), {})
    assert capsys.readouterr().out == "3\n"
    (command,) = re.findall(r"^\$ pasand (fit .*)$", PAGE, re.MULTILINE)
    assert pasand(*command.replace("23437", "3").split()) == 0
    fitted = bundle.read("bundle")
    assert fitted.manifest["state_upto"] == 3
    assert len(fitted.data) == len(tastes()) + 3
    with serving(Path("bundle"), tmp_path) as served:
        assert len(served.ask("GET", "/v1/users/new/view")["history"]) == 3
        served.ask("POST", "/v1/events", json={"id": "later", "user": "new", "item": item})
        assert len(served.ask("GET", "/v1/users/new/view")["history"]) == 4
    state = open_state("state/state.sqlite")
    found = gather(fitted, state)
    assert (found.n_new, len(found.data)) == (1, len(tastes()) + 4)
    state.close()
    assert pasand(*command.replace("23437", "9").split()) == 0
    with pytest.raises(AssertionError, match="it has learnt 9 events of its state"), serving(Path("bundle"), tmp_path):
        pass


def test_a_number_below_zero_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pasand("fit", "bollywood", "--state-upto", "-1", "--out", tmp_path / "bundle") == 2
    assert "--state-upto" in capsys.readouterr().err
