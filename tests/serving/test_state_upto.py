"""A bundle fitted to a log that contains events of the state: no event counts twice, as docs/state.md explains."""

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


def write_log(path: Path) -> None:
    data = tastes()
    events = zip(data.users.ids(data.user), data.items.ids(data.item), data.time.tolist(), strict=True)
    lines = [msgspec.json.encode({"user": user, "item": item, "time": time}) for user, item, time in events]
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def test_events_in_the_log_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_log(Path("log.jsonl"))
    assert pasand("fit", "log.jsonl", "--recipe", "linear", "--out", "bundle") == 0
    item, other = tastes().items.ids([0, 1])
    Path("bundle-state").symlink_to("state")
    with serving(Path("bundle"), tmp_path) as served:
        for number in range(3):
            served.request("POST", "/v1/events", json={"id": str(number), "user_id": "new", "item_id": item})
        assert len(served.request("GET", "/v1/users/new/view")["history"]) == 3
        for id, more in (("no", {"disliked": True}), ("slip", {}), ("undo", {"undoes": "slip"})):
            event = {"id": id, "user_id": "new", "item_id": other, **more}
            served.request("POST", "/v1/events", json=event)
    capsys.readouterr()
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(code, "docs/state.md", "exec"), {})
    assert capsys.readouterr().out == "6\n"
    (command,) = re.findall(r"^\$ pasand (fit .*)$", PAGE, re.MULTILINE)
    assert pasand(*command.replace("23437", "6").split()) == 0
    fitted = bundle.read("bundle")
    assert fitted.manifest["state_upto"] == 6
    assert len(fitted.data) == len(tastes()) + 3  # without the rejection, the undone event and the one that undoes it
    with serving(Path("bundle"), tmp_path) as served:
        assert len(served.request("GET", "/v1/users/new/view")["history"]) == 3
        served.request("POST", "/v1/events", json={"id": "later", "user_id": "new", "item_id": item})
        assert len(served.request("GET", "/v1/users/new/view")["history"]) == 4
    state = open_state("state/state.sqlite")
    gathered = gather(fitted, state)
    assert (gathered.n_new, len(gathered.data)) == (1, len(tastes()) + 4)
    state.close()
    assert pasand(*command.replace("23437", "9").split()) == 0
    with (
        pytest.raises(AssertionError, match="it was trained on 9 events of its state"),
        serving(Path("bundle"), tmp_path),
    ):
        pass


def test_a_negative_event_number_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pasand("fit", "bollywood", "--state-upto", "-1", "--out", tmp_path / "bundle") == 2
    assert "--state-upto" in capsys.readouterr().err
