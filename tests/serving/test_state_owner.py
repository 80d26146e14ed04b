"""State lies beside its bundle, belongs to it, and is refused to a bundle with another catalogue."""

from __future__ import annotations

import asyncio
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle, default_recipe, recipe
from pasand.cli import serve
from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.serving import active_bundles, state_owner
from pasand.serving.schemas import RequestError
from pasand.serving.service import Service, Settings
from pasand.serving.states import open_state
from tests.cli.test_commands import Output, pasand
from tests.logs import tastes


def renamed(letter: str) -> Dataset:
    """Return a data set with other ids of items, of the same events."""
    data = tastes()
    ids = [f"{letter}{row:03}" for row in range(data.n_items)]
    return replace(data, name=f"shop {letter}", items=Vocabulary.in_order(ids))


def write(folder: Path, data: Dataset) -> Path:
    fitted = recipe.build(default_recipe.of_model("popularity", {})).fit(data, seed=0)
    bundle.write(folder, fitted, data, seed=0)
    return folder


def start(folder: Path, state: Path) -> None:
    Service(Settings(variants=[("main", str(folder), 1.0)], folder=str(state), impressions=False)).close()


def test_state_of_another_catalogue_is_refused_with_a_cure_that_works(tmp_path: Path) -> None:
    first, other = write(tmp_path / "a", tastes()), write(tmp_path / "b", renamed("x"))
    state = tmp_path / "state"
    start(first, state)
    start(first, state)
    with pytest.raises(
        InputError, match=r"belongs to .*/a \(data set test\), and .*/b .* knows 0% of its items"
    ) as why:
        start(other, state)
    assert f"leave --folder out, to use {tmp_path / 'b-state'}" in str(why.value)
    start(other, state_owner.folder_of(other))
    _, file = shlex.split(re.findall(r"rm [^;]*belongs-to\.json", str(why.value))[-1])
    Path(file).unlink()
    start(other, state)


def test_a_bundle_fitted_again_keeps_its_state_and_another_in_its_folder_does_not(tmp_path: Path) -> None:
    data = tastes()
    folder, state = write(tmp_path / "a", data), tmp_path / "a-state"
    start(folder, state)
    start(write(folder, data.select(slice(0, len(data) - 20))), state)  # fitted again, to other events
    with pytest.raises(InputError, match="use a new one: --folder NAME"):
        start(write(folder, renamed("x")), state)


def test_the_bundle_that_is_given_counts_not_the_one_in_use(tmp_path: Path) -> None:
    """As `serve b` once responded from the refreshed bundle of another data set, without a word."""
    first, refreshed = write(tmp_path / "a", tastes()), write(tmp_path / "a-20260101-000000", tastes())
    state = tmp_path / "state"
    start(first, state)
    active_bundles.write(state / active_bundles.NAME, "main", str(refreshed))
    start(first, state)
    with pytest.raises(InputError, match="belongs to"):
        start(write(tmp_path / "b", renamed("x")), state)


def test_variants_and_reloads_of_another_catalogue_are_refused(tmp_path: Path) -> None:
    first, other, state = write(tmp_path / "a", tastes()), write(tmp_path / "b", renamed("x")), tmp_path / "state"
    pairs = [("main", str(first), 0.5), ("new", str(other), 0.5)]
    with pytest.raises(InputError, match=r"knows 0% of its items.*pasand serve .*/b; or"):
        Service(Settings(variants=pairs, folder=str(state), impressions=False))
    service = Service(Settings(variants=pairs[:1], folder=str(state), impressions=False))
    with pytest.raises(RequestError, match=r"knows 0% of its items.*pasand serve .*/b; or") as why:
        asyncio.run(service.reload(None, str(other)))
    assert why.value.status == 422
    assert service.engine.variants[0].folder == str(first)
    assert not active_bundles.read(state / active_bundles.NAME)
    _, file = shlex.split(re.findall(r"rm [^;]*belongs-to\.json", str(why.value.message))[-1])
    Path(file).unlink()
    asyncio.run(service.reload(None, str(other)))
    service.close()
    start(first, state)  # the folder still belongs to the bundle of the command line


def test_a_catalogue_that_grows_or_loses_a_few_items_is_the_same(tmp_path: Path) -> None:
    data = tastes()
    state_owner.check(tmp_path, write(tmp_path / "a", data))
    most = data.select(np.flatnonzero(data.item >= data.n_items // 3))
    state_owner.check(tmp_path, write(tmp_path / "b", most), most)
    file = tmp_path / state_owner.NAME
    file.write_text("[]")
    with pytest.raises(InputError, match="cannot be read"):
        state_owner.check(tmp_path, tmp_path / "a")


def test_a_wrong_path_fails_clearly_and_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pasand("refresh", "nope", "--once") == 2
    assert "nope: not a bundle" in capsys.readouterr().err
    with pytest.raises(InputError, match="not a bundle"):
        start(tmp_path / "nope", tmp_path / "nope-state")
    assert not list(tmp_path.iterdir())


def test_a_refresh_finds_the_state_beside_the_bundle_and_refuses_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr("os.nice", lambda _: 0)
    first, other = write(tmp_path / "a", tastes()), write(tmp_path / "b", renamed("x"))
    start(first, tmp_path / "a-state")
    assert pasand("refresh", first, "--once") == 0
    assert "nothing new" in capsys.readouterr().err
    assert pasand("refresh", other, "--once") == 2
    assert "b-state/state.sqlite: no such state" in capsys.readouterr().err
    assert pasand("refresh", other, "--once", "--folder", tmp_path / "a-state") == 2
    assert "belongs to" in capsys.readouterr().err


def test_the_start_prints_bundle_state_report_and_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "a", tastes())
    Path("pasand-state").mkdir()
    open_state("pasand-state/state.sqlite").close()
    settings = serve.settings_of(Path("a"), [], None, None, None, 0.0, True, 1, False, None, "real", False)
    lines = serve.described(settings)
    assert lines == [
        f"bundle: {folder} (data set test, 540 events)",
        f"state: {tmp_path / 'a-state'}",
        "report: none; link one with --report FILE",
        f"keys: this machine only; {tmp_path / 'a-state' / 'admin-key'} has the admin key",
    ]
    assert f"to go on with {tmp_path / 'pasand-state'}: --folder pasand-state" in capsys.readouterr().err
