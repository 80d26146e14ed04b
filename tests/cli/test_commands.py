"""The commands of the command line, run in this process on real files."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pasand import bundle as bundles
from pasand.cli import compare, main
from pasand.evaluation.compare import baselines
from pasand.evaluation.contenders import contenders
from pasand.recipe import PACKAGED
from tests.evaluation.logs import log as small_log
from tests.logs import tastes

BASELINES = [baseline.name for baseline in baselines()]

Output = pytest.CaptureFixture[str]


def pasand(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main.run([str(argument) for argument in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tastes()
    users, items = data.users.ids(data.user), data.items.ids(data.item)
    assert data.value is not None
    rows = zip(users, items, data.value.tolist(), data.time.tolist(), strict=True)
    file = tmp_path_factory.mktemp("log") / "log.csv"
    file.write_text("user,item,rating,timestamp\n" + "".join(f"{u},{i},{v:g},{t}\n" for u, i, v, t in rows))
    return file


@pytest.fixture(scope="module")
def bundle(log: Path) -> Path:
    folder = log.parent / "bundle"
    assert pasand("fit", log, "--out", folder) == 0
    return folder


def test_demo_runs_the_whole_path(tmp_path: Path, capsys: Output) -> None:
    assert pasand("demo", "--folder", tmp_path, "--no-serve") == 0
    output = capsys.readouterr().out
    assert "against popularity" in output
    assert "because of" in output
    assert "of the policy:\n  the rule 'new studios': All users" in output
    assert "<svg" in (tmp_path / "reports" / "bollywood.html").read_text()
    assert "Drift over rounds" in (tmp_path / "reports" / "audit.html").read_text()
    audited = json.loads((tmp_path / "reports" / "audit.json").read_text())
    assert [line.partition(":")[0] for line in audited["policy"]] == ["new studios", "studios in Mumbai", "calibration"]
    assert pasand("recommend", tmp_path / "bundles" / "bollywood", "--json", "-") == 0


def test_compare_writes_the_results_and_the_report(log: Path, tmp_path: Path, capsys: Output) -> None:
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    assert pasand("compare", log, "--models", "item_knn,ease", "--k", "5,10", "--json", out, "--report", page) == 0
    results = json.loads(out.read_text())
    assert results["protocol"].startswith("temporal")
    assert results["k"] == [5, 10]
    names = [model["name"] for model in results["models"]]
    assert set(names) == {"item_knn", "ease", *BASELINES}
    for model in results["models"]:
        interval = model["metrics"]["ndcg@5"]
        assert interval["low"] <= interval["mean"] <= interval["high"]
        assert {"hyperparameters", "groups", "fit_seconds", "evaluate_seconds", "peak_memory_mb"} <= set(model)
    assert names[0] in ("item_knn", "ease")
    assert "ease" in page.read_text()
    assert "item_knn" in capsys.readouterr().out


def test_recipes_are_compared_as_they_would_be_saved(log: Path, tmp_path: Path, capsys: Output) -> None:
    own = tmp_path / "mine.toml"
    own.write_text((PACKAGED / "classic.toml").read_text())
    assert pasand("compare", log, "--models", f"item_knn,classic,{own}", "--json", "-") == 0
    results = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert results["mine"]["metrics"] == results["classic"]["metrics"] != results["item_knn"]["metrics"]


def test_deep_models_are_compared_with_hyper_parameters(log: Path, tmp_path: Path, capsys: Output) -> None:
    page = tmp_path / "deep.html"
    fields = ["bpr_mf.epochs=2", "two_tower.epochs=2", "two_tower.layers=8,4", "two_tower.item_features=none"]
    options = [word for field in fields for word in ("--set", field)]
    assert pasand("compare", log, "--models", "bpr_mf,two_tower", *options, "--json", "-", "--report", page) == 0
    found = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert set(found) == {*BASELINES, "bpr_mf", "two_tower"}
    assert found["two_tower"]["hyperparameters"]["layers"] == [8, 4]
    assert found["two_tower"]["hyperparameters"]["item_features"] == []
    for name in ("bpr_mf", "two_tower"):
        assert {curve: len(values) for curve, values in found[name]["curves"].items()} == {
            "train loss": 2,
            "validation ndcg@10": 2,
        }
    assert "two_tower: ndcg@10" in page.read_text()


def test_a_recipe_with_the_name_of_a_model_keeps_its_suffix(tmp_path: Path) -> None:
    own = tmp_path / "bpr_mf.toml"
    own.write_text((PACKAGED / "classic.toml").read_text())
    chosen = contenders(tastes(), ["bpr_mf", str(own), "classic"])
    assert [contender.name for contender in chosen] == ["bpr_mf", "bpr_mf.toml", "classic"]


def test_slow_models_are_left_out_by_default(capsys: Output) -> None:
    data = small_log([(f"user {n % 50}", f"item {n}", n, 5.0) for n in range(10_001)])
    chosen = [contender.name for contender in contenders(data, None)]
    assert "ease" not in chosen
    assert "ials" in chosen
    assert "ease is left out: 10,001 items" in " ".join(capsys.readouterr().err.split())


def test_json_to_standard_output_is_json_alone(log: Path, capsys: Output) -> None:
    assert pasand("compare", log, "--models", "item_knn", "--json", "-", "--set", "item_knn.neighbours=3") == 0
    results = json.loads(capsys.readouterr().out)
    chosen = next(model for model in results["models"] if model["name"] == "item_knn")
    assert chosen["hyperparameters"]["neighbours"] == 3


@pytest.mark.parametrize("protocol", ["temporal", "leave-last-out", "strong-generalisation", "folds"])
def test_results_name_their_protocol(log: Path, capsys: Output, protocol: str) -> None:
    assert pasand("compare", log, "--models", "item_knn", "--protocol", protocol, "--json", "-") == 0
    results = json.loads(capsys.readouterr().out)
    assert results["protocol"].startswith(protocol)
    assert (results["leakage"] is None) == (protocol == "temporal")


@pytest.mark.parametrize("command", ["compare --models item_knn", "tune --model item_knn --grid neighbours=3,5"])
@pytest.mark.parametrize("protocol", ["temporal", "folds"])
def test_every_output_states_the_leakage_the_seed_and_the_versions(
    log: Path, tmp_path: Path, capsys: Output, command: str, protocol: str
) -> None:
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    name, *options = command.split()
    assert pasand(name, log, *options, "--protocol", protocol, "--seed", "3", "--json", out, "--report", page) == 0
    results, terminal = json.loads(out.read_text()), " ".join(capsys.readouterr().out.split())
    sentence = f"Leakage: {results['leakage']}." if protocol == "folds" else "No leakage."
    assert sentence in terminal
    assert sentence in page.read_text()
    assert "over test users only" in terminal
    assert (results["seed"], len(results["data"]["fingerprint"])) == (3, 64)
    assert {"pasand", "numpy", "torch", "onnxruntime"} <= set(results["versions"])
    assert results["threads"]["cores"] >= 1
    assert f"pasand {results['versions']['pasand']}, numpy" in page.read_text()


def test_tune_finds_and_tests_the_best(log: Path, tmp_path: Path, capsys: Output) -> None:
    page, out = tmp_path / "t.html", tmp_path / "t.json"
    grid = ("--grid", "dimensions=2,4", "--grid", "l2=0.02,0.1")
    assert pasand("tune", log, "--model", "biased_mf", *grid, "--report", page, "--json", out) == 0
    results = json.loads(out.read_text())
    assert len(results["trials"]) == 4
    assert results["metric"] == "rmse"
    means = [trial["validation"]["rmse"]["mean"] for trial in results["trials"]]
    assert results["best"]["validation"]["rmse"]["mean"] == min(means)
    assert "rmse" in results["test"]["metrics"]
    assert page.read_text().count("dimensions 2, l2 0.02") >= 1
    assert "test, all: rmse" in capsys.readouterr().out


def test_fit_and_recommend_for_known_new_and_unknown_users(bundle: Path, capsys: Output) -> None:
    capsys.readouterr()
    assert pasand("recommend", bundle, "--user", "u001", "-k", "5", "--why", "--json", "-") == 0
    known = json.loads(capsys.readouterr().out)
    assert known["known"] is True
    assert len(known["items"]) == 5
    assert known["items"][0]["reason"]
    assert pasand("recommend", bundle, "--history", "i000,i003", "--json", "-") == 0
    new = json.loads(capsys.readouterr().out)
    assert new["known"] is False
    assert not {"i000", "i003"} & {line["item_id"] for line in new["items"]}
    first = [int(line["item_id"][1:]) % 3 for line in new["items"][:3]]
    assert first == [0, 0, 0], "a new user with two items of one group gets items of that group"
    assert pasand("recommend", bundle, "--user", "unknown") == 0
    assert "unknown is not in the log: recommendations are based on popularity" in capsys.readouterr().out


def test_a_single_model_is_fitted_with_hyper_parameters(log: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "tower"
    fields = [
        "epochs=1",
        "layers=8,4",
        "item_features=none",
        "learning_rate=1e-05",
        "use_ids=true",
        "negative_sampling=popularity",
    ]
    options = [word for field in fields for word in ("--set", field)]
    assert pasand("fit", log, "--model", "two_tower", *options, "--out", out) == 0
    model = bundles.read(out).assembly.components["model"]
    assert (model.epochs, model.layers, model.item_features, model.learning_rate) == (1, (8, 4), (), 1e-5)
    assert (model.use_ids, model.negative_sampling) == (True, "popularity")
    capsys.readouterr()
    assert pasand("recommend", out, "--history", "i000,i003", "--json", "-") == 0
    assert len(json.loads(capsys.readouterr().out)["items"]) == 10


def test_k_beyond_the_catalogue_gives_the_whole_catalogue(bundle: Path, capsys: Output) -> None:
    capsys.readouterr()
    assert pasand("recommend", bundle, "--user", "unknown", "-k", "500") == 0
    assert "only 30 items are left" in capsys.readouterr().out
    assert pasand("recommend", bundle, "--user", "unknown", "-k", "9" * 30) == 0


def test_data_check_reports(log: Path, capsys: Output) -> None:
    assert pasand("data", "check", log) == 0
    assert "60" in capsys.readouterr().out
    assert pasand("data", "check", log, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)


def test_the_version_is_printed(capsys: Output) -> None:
    assert pasand("--version") == 0
    assert capsys.readouterr().out.strip().count(".") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "LOG", "--k", "0"], "--k: '0' is wrong"),
        (["compare", "LOG", "--k", "ten"], "not whole numbers"),
        (["compare", "LOG", "--models", "nonsense"], "no such model"),
        (["compare", "LOG", "--protocol", "nonsense"], "no such protocol"),
        (["compare", "LOG", "--set", "ease.l3=1", "--models", "ease"], "l3"),
        (["compare", "LOG", "--set", "ease.l2=1", "--models", "item_knn"], "no model of that name is compared"),
        (["compare", "LOG", "--set", "ease"], "not of the form"),
        (["compare", "LOG", "--metrics", "wisdom@3"], "no such metric"),
        (["compare", "LOG", "--column", "film=item"], "events have no such column"),
        (["compare", "LOG", "--set", "ease.l2=-1", "--models", "ease"], "l2 must be positive"),
        (["compare", "LOG", "--histories", "lively"], "live or frozen"),
        (["compare", "LOG", "--query", "select 1"], "only a database"),
        (["compare", "LOG", "--positive-from", "9"], "no event reaches it: values run from 2 to 5"),
        (["compare", "LOG", "--positive-from", "nan"], "no event reaches it"),
        (["compare", "LOG", "--json", "/nowhere/out.json"], "/nowhere/out.json: its folder does not exist"),
        (["compare", "LOG", "--report", "/"], "it is a folder"),
        (["tune", "LOG", "--model", "ease", "--grid", "l2=1", "--json", "/nowhere/out.json"], "does not exist"),
        (["tune", "LOG", "--model", "ease", "--grid", "l2=-1"], "l2 must be positive"),
        (["compare", "nowhere.csv"], "no such file"),
        (["tune", "LOG", "--model", "ease", "--grid", "l3=1"], "l3"),
        (["tune", "LOG", "--model", "ease", "--grid", "l2=many"], "many"),
        (["fit", "LOG", "--recipe", "none.toml", "--out", "b"], "classic"),
        (["recommend", "nowhere"], "not a bundle"),
        (["recommend", "BUNDLE", "--history", "zz"], "not an item"),
        (["data", "get", "nonsense"], "nonsense"),
        (["data", "get", "ml-100k", "--folder", "/proc/none", "--url", "http://127.0.0.1:1/"], "cannot be made"),
        (["data", "get", "ml-100k", "--folder", "nowhere", "--url", "nonsense"], "not a web address"),
        (["fit", "LOG", "--out", "b", "--model", "ease", "--recipe", "classic"], "given together with --model"),
        (["fit", "LOG", "--out", "b", "--set", "l2=3"], "given without --model"),
        (["fit", "LOG", "--out", "b", "--model", "ease", "--set", "l2=3,4"], "one value is needed"),
        (["fit", "LOG", "--out", "b", "--model", "ease", "--set", "l2=-1"], "l2 must be positive"),
        (["fit", "LOG", "--out", "b", "--model", "sasrec", "--set", "dimensions=none"], "cannot hold None"),
        (["tune", "LOG", "--model", "ease"], "no fields to search are given"),
        (["fit", "LOG", "--out", "LOG"], "exists and is not a bundle"),
    ],
)
def test_wrong_input_prints_one_error_message(
    log: Path, bundle: Path, tmp_path: Path, capsys: Output, arguments: list[str], message: str
) -> None:
    capsys.readouterr()
    code = pasand(*[{"LOG": log, "BUNDLE": bundle}.get(argument, argument) for argument in arguments])
    error = " ".join(capsys.readouterr().err.split())
    assert code == 2
    assert message in error
    assert "Traceback" not in error


def test_lists_longer_than_the_catalogue_hold_every_item(log: Path, capsys: Output) -> None:
    assert pasand("compare", log, "--models", "item_knn", "--k", "30,100000000", "--json", "-") == 0
    for model in json.loads(capsys.readouterr().out)["models"]:
        assert model["metrics"]["recall@30"]["mean"] == model["metrics"]["recall@100000000"]["mean"] == 1


def test_a_narrow_terminal_keeps_the_important_columns(capsys: Output) -> None:
    head = ["model", "ndcg@10 [95 %]", "recall@10", "rmse", "0", "> 20", "against popularity", "fit s", "MB"]
    row = ["popularity_7_days", "0.1000 [0.0000, 0.2000]", *["0.5000"] * 4, "worse, p < 0.001", "1.00", "300"]
    for width, left in ((140, head), (100, [*head[:2], *head[3:7]]), (40, [head[0], head[1], head[6]])):
        table = compare.leaderboard(head, [row], width)
        assert [str(column.header) for column in table.columns] == left


def test_baselines_and_duplicates_may_be_named(log: Path, capsys: Output) -> None:
    assert pasand("compare", log, "--models", "popularity,popularity_7_days,random,random", "--json", "-") == 0
    names = [model["name"] for model in json.loads(capsys.readouterr().out)["models"]]
    assert sorted(names) == sorted([*BASELINES, "random"])


def test_brackets_in_names_are_printed(log: Path, tmp_path: Path, capsys: Output) -> None:
    strange = tmp_path / "a [bold]log.csv"
    strange.write_bytes(log.read_bytes())
    assert pasand("compare", strange, "--models", "item_knn") == 0
    assert "a [bold]log.csv: " in capsys.readouterr().out


def test_a_full_disk_leaves_no_partial_result(
    log: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for option, name in (("--json", "out.json"), ("--report", "out.html")):
        with monkeypatch.context() as broken:
            broken.setattr(Path if option == "--json" else os, "replace", full)
            assert pasand("compare", log, "--models", "item_knn", option, tmp_path / name) == 2
        assert f"{name}: cannot be written: No space left on device" in " ".join(capsys.readouterr().err.split())
        assert not list(tmp_path.iterdir())


def test_a_usage_error_is_printed(capsys: Output) -> None:
    assert pasand("recommend", "somewhere", "-k", "0") == 2
    assert "greater than or equal to 1" in capsys.readouterr().err


WORLD = "bollywood:n_users=4000,n_items=2000"


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", WORLD, "--json", "out.json"],
        ["fit", WORLD, "--out", "bundle"],
        ["tune", WORLD, "--model", "ials", "--grid", "dimensions=64,128", "--grid", "epochs=50", "--json", "out.json"],
        ["demo", "--no-serve"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_ctrl_c_stops_cleanly(tmp_path: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-c", "from pasand.cli.main import run; run()", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        while "users and" not in process.stdout.readline():  # the log has been read; the long part begins
            assert process.poll() is None
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "stopped" in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("*.part"))
    if (tmp_path / "out.json").exists():
        assert json.loads((tmp_path / "out.json").read_text())["complete"] is False
    assert not (tmp_path / "bundle" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "done"),
    [
        (["compare", "--models", "item_knn,ials", "--set", "ials.epochs=100000"], "item_knn: ndcg@10"),
        (["tune", "--model", "ials", "--grid", "epochs=1,100000"], "trial 1: epochs=1: ndcg@10"),
    ],
    ids=["compare", "tune"],
)
def test_ctrl_c_keeps_what_is_done(tmp_path: Path, arguments: list[str], done: str) -> None:
    options = [arguments[0], WORLD, *arguments[1:], "--json", "out.json", "--report", "out.html"]
    command = [sys.executable, "-c", "from pasand.cli.main import run; run()", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stderr is not None
            while done not in process.stderr.readline():  # rows are printed as they finish
                assert process.poll() is None
            written = json.loads((tmp_path / "out.json").read_text())
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            output, error = process.communicate(timeout=100)
        finally:
            process.kill()
    assert process.returncode == 130, error
    assert "stopped" in error
    found = json.loads((tmp_path / "out.json").read_text())
    assert written["complete"] is found["complete"] is False
    if arguments[0] == "compare":
        names = {*BASELINES, "newest", "item_knn"}
        assert {model["name"] for model in found["models"]} == names
        assert names <= set(output.split())
    else:
        assert [trial["hyperparameters"] for trial in found["trials"]] == [{"epochs": 1}]
        assert "best configuration: epochs=1; stopped early, not tested" in output
    assert "<svg" in (tmp_path / "out.html").read_text()


def test_ctrl_c_inside_compiled_code_is_recognised(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    def interrupted(**_: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise SystemError("returned a result with an exception set") from error

    monkeypatch.setattr(main, "application", lambda only: interrupted)
    assert pasand("demo") == 130
    assert "stopped" in capsys.readouterr().err
