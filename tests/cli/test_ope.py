"""pasand ope from the command line: columns, other logs, bundles, groups, comparison and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle
from tests.cli.test_commands import Output, pasand

RATES = np.array([0.1, 0.2, 0.3, 0.4])
NAMES = np.array(["i000", "i001", "i002", "i003"])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log of lists of two items; the second one is random, and two policies are columns."""
    rng = np.random.default_rng(0)
    lines = ["request_id,user,item,time,position,clicked,propensity,good,bad,segment"]
    for n in range(3000):
        user, time, second = f"u{n % 60:03}", 2_000_000_000 + n, rng.integers(1, 4)
        good, bad = [0.0, 0.1, 0.3, 0.6][second], [0.0, 0.6, 0.3, 0.1][second]
        segment = "old" if n % 60 < 30 else "new"
        for position, item, p, one, two in ((1, 0, 1, 1, 1), (2, second, 1 / 3, good, bad)):
            clicked = int(rng.random() < RATES[item])
            lines.append(f"r{n},{user},{NAMES[item]},{time},{position},{clicked},{p:.17g},{one},{two},{segment}")
    file = tmp_path_factory.mktemp("ope") / "shown.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_two_columns_are_compared(log: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "values.json"
    columns = ("--policy-column", "good", "--policy-column", "bad")
    assert pasand("ope", log, *columns, "--compare", "--by", "segment", "--json", out) == 0
    printed = capsys.readouterr().out
    assert "This log can show what the policy would earn" in printed
    assert "segment: new" in printed
    assert "good - bad" in printed
    found = json.loads(out.read_text())
    good, bad = found["values"]
    assert good["usual"]["low"] < 0.1 + np.array([0, 0.1, 0.3, 0.6]) @ RATES < good["usual"]["high"]
    assert bad["safe"]["low"] < 0.1 + np.array([0, 0.6, 0.3, 0.1]) @ RATES < bad["safe"]["high"]
    assert found["comparison"][0]["verdict"] == "better"


def test_json_alone_on_standard_output(log: Path, capsys: Output) -> None:
    assert pasand("ope", log, "--policy-column", "good", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["values"][0]["status"] == "ok"


def test_another_log_and_a_bundle_are_policies(log: Path, tmp_path: Path, capsys: Output) -> None:
    events = tmp_path / "events.csv"
    clicks = [f"u{n:03},{NAMES[item]},{1_900_000_000 + n}" for n in range(60) for item in ((0, 3) if n % 2 else (0,))]
    events.write_text("user,item,time\n" + "\n".join(clicks) + "\nzz,i001,1900000100\nzz,i002,1900000101\n")
    folder = tmp_path / "bundle"
    assert pasand("fit", events, "--model", "popularity", "--out", folder) == 0
    capsys.readouterr()
    code = pasand("ope", log, "--policy", folder, "--policy", log, "--json", tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())["values"]
    assert code == 1  # the bundle never repeats what users have seen, which the log does
    assert found[0]["status"] == "refused"
    assert "could not have been logged" in found[0]["sentence"]
    assert found[1]["status"] == "ok"
    assert found[1]["estimator"] == "switch_dr"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "add --policy BUNDLE"),
        (("--policy-column", "good", "--compare"), "give --policy or --policy-column twice"),
        (("--policy-column", "none"), "there is no such column"),
        (("--policy", "missing"), "there is no such file or folder"),
        (("--policy-column", "good", "--column", "propensity=segment"), "not a number"),
        (("--policy-column", "good", "--estimator", "magic"), "there is no such estimator here"),
    ],
)
def test_wrong_arguments_are_refused(log: Path, capsys: Output, arguments: tuple[str, ...], message: str) -> None:
    assert pasand("ope", log, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_bundle_that_is_logged_with_one_random_slot_earns_what_it_shows(tmp_path: Path, capsys: Output) -> None:
    world, folder = "bollywood:n_users=150,days=30", tmp_path / "bundle"
    assert pasand("fit", world, "--model", "popularity", "--out", folder) == 0
    read = bundle.read(folder)
    data, rng = read.data, np.random.default_rng(0)
    start = int(data.time[-1]) + 10
    users = np.arange(data.n_users, dtype=np.int32)
    ranked = read.assembly.recommender(data.queries(users, k=10)).items
    lines = ["request_id,user,item,time,position,clicked,propensity"]
    for n in range(6 * data.n_users):
        user = n % data.n_users
        choice = rng.choice([1, 5, 6, 7])  # the second slot shows its own item, or one from below the list
        shown = [ranked[user, 0], ranked[user, choice], *ranked[user, 2:5]]
        ids = zip(data.items.ids(np.array(shown)), (0.1, 0.6 if choice == 1 else 0.2, 0.1, 0.1, 0.1), strict=True)
        for position, (item, rate) in enumerate(ids, 1):
            propensity = 0.25 if position == 2 else 1
            clicked = int(rng.random() < rate)
            lines.append(f"r{n},{data.users.ids([user])[0]},{item},{start + n},{position},{clicked},{propensity}")
    log = tmp_path / "shown.csv"
    log.write_text("\n".join(lines) + "\n")
    out = tmp_path / "value.json"
    assert (
        pasand("ope", log, "--policy", folder, "--by", "language", "--by", "city_tier", "--by", "genres", "--json", out)
        == 0
    )
    (value,) = json.loads(out.read_text())["values"]
    assert value["status"] == "ok"
    assert value["usual"]["low"] < 1.0 < value["usual"]["high"]
    assert value["safe"]["low"] < 1.0 < value["safe"]["high"]
    assert value["logged"]["high"] < 1.0
    kinds = {group["attribute"]: group["of"] for group in value["groups"]}
    assert kinds == {"language": "users", "city_tier": "users", "genres": "items"}
    row, code = data.item_features["genres"].members()
    genres = [{data.item_features["genres"].names[c] for c in code[row == one]} for one in range(data.n_items)]
    shown_items = data.items.rows([line.split(",")[2] for line in lines[1:]])
    for group in value["groups"]:
        if group["attribute"] == "genres":  # a film is in the groups of all its genres
            assert group["n"] == sum(group["group"] in genres[item] for item in shown_items)
