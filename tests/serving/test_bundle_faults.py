"""Bundles that go wrong under a running service: it keeps the one in use, says so, and stores what is waiting."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pasand import bundle, default_recipe, recipe
from pasand.bundle_files import MANIFEST
from pasand.serving import active_bundles
from pasand.serving import service as services
from pasand.serving.http.app import create_app
from pasand.serving.schemas import RecommendRequest, RequestError
from pasand.serving.service import Service, Settings
from tests.logs import tastes
from tests.resources import small_disk
from tests.serving.test_full_disk import fill


def write(folder: Path, seed: int, model: str = "item_knn") -> Path:
    data = tastes()
    bundle.write(folder, recipe.build(default_recipe.of_model(model, {})).fit(data, seed=seed), data, seed=seed)
    return folder


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(Settings(variants=[("main", str(write(tmp_path / "b", 0)), 1.0)], folder=str(tmp_path / "state")))
    yield made
    made.close()


async def until(done: Callable[[], bool]) -> None:
    for _ in range(3000):
        if done():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def test_following_survives_every_manifest_and_says_so(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "POLL_SECONDS", 0.01)
    manifest = tmp_path / "b" / MANIFEST
    good = json.loads(manifest.read_bytes())
    wrong = (b"", b"[]", b"null", b"[" * 100_000, b"\xff", b'{"format": 4, "files": 7, "recipe": 1}')
    files: tuple[object, ...] = ([], {"a": 5}, {"a": {"file": 1}})
    contents = [*wrong, *(json.dumps({**good, "files": value}).encode() for value in files)]

    async def follow() -> None:
        following = asyncio.create_task(service.follow())
        first = service.engine.variants[0].digest
        for content in contents:
            service.not_followed.clear()
            manifest.with_suffix(".new").write_bytes(content)
            manifest.with_suffix(".new").replace(manifest)
            await until(lambda: "main" in service.not_followed)
            assert not following.done()
            assert service.engine.variants[0].digest == first
        manifest.unlink()
        os.mkfifo(manifest)
        service.not_followed.clear()
        await until(lambda: "not a regular file" in service.not_followed.get("main", ""))
        manifest.unlink()
        write(tmp_path / "b", 1)
        await until(lambda: service.engine.variants[0].bundle.manifest["seed"] == 1 and not service.not_followed)
        following.cancel()

    asyncio.run(follow())


def test_a_bundle_whose_manifest_is_copied_first_is_followed(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(services, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(services, "RETRY_SECONDS", 0.02)
    new = write(tmp_path / "new", 1, "popularity")

    async def follow() -> None:
        following = asyncio.create_task(service.follow())
        shutil.copy(new / MANIFEST, tmp_path / "b")
        await until(lambda: "main" in service.not_followed)
        await asyncio.sleep(0.1)  # a few attempts
        shutil.copytree(new, tmp_path / "b", dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        await until(lambda: service.engine.variants[0].bundle.manifest["seed"] == 1 and not service.not_followed)
        following.cancel()

    asyncio.run(follow())
    assert sum("keeps its bundle" in record.message for record in caplog.records) == 1


def test_a_reload_ends_what_was_not_followed(service: Service, tmp_path: Path) -> None:
    service.not_followed["main"] = "a cause"
    with pytest.raises(RequestError, match="not a bundle"):
        asyncio.run(service.reload(None, str(tmp_path / "nothing")))
    assert service.not_followed == {"main": "a cause"}
    asyncio.run(service.reload(None, str(write(tmp_path / "c", 1))))
    assert not service.not_followed


def test_a_rollback_goes_to_another_folder(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a bundle was fitted again to its folder a rollback once loaded the same folder again."""
    monkeypatch.setattr(services, "POLL_SECONDS", 0.01)
    first, second = str(tmp_path / "b"), str(write(tmp_path / "c", 1))
    write(tmp_path / "b", 2)
    with pytest.raises(RequestError, match="has used no other folder"):
        asyncio.run(service.rollback(None))
    asyncio.run(service.reload(None, second))
    write(tmp_path / "c", 3)

    async def follow() -> None:
        following = asyncio.create_task(service.follow())
        await until(lambda: service.engine.variants[0].bundle.manifest["seed"] == 3)
        following.cancel()

    asyncio.run(follow())
    asyncio.run(service.rollback(None))
    assert service.engine.variants[0].folder == first


def test_a_reload_that_cannot_be_recorded_keeps_the_bundle(tmp_path: Path) -> None:
    first, second = write(tmp_path / "b", 0), write(tmp_path / "c", 1)
    with small_disk(tmp_path / "state", "2m") as disk:
        service = Service(Settings(variants=[("main", str(first), 1.0)], folder=str(disk)))
        filler = fill(disk)
        with pytest.raises(RequestError, match="the bundle in use is kept") as refused:
            asyncio.run(service.reload("main", str(second)))
        assert refused.value.status == 503
        assert service.engine.variants[0].folder == str(first)
        assert not list(disk.glob("*.part"))
        assert active_bundles.read(disk / active_bundles.NAME) == {}
        filler.unlink()
        asyncio.run(service.reload("main", str(second)))
        assert active_bundles.read(disk / active_bundles.NAME) == {"main": str(second)}
        service.close()


def test_impressions_are_stored_however_following_ended(service: Service, tmp_path: Path) -> None:
    async def broken() -> None:
        raise RuntimeError("following ended")

    async def live() -> None:
        app = create_app(service)
        async with app.router.lifespan_context(app):
            await asyncio.sleep(0)
            requests = [RecommendRequest(user_id="u00")]
            service.record([("u00", response) for response in service.engine.responses(requests)])

    service.follow = broken  # type: ignore[method-assign]
    asyncio.run(live())
    assert list((tmp_path / "state" / "impressions").rglob("*.parquet"))
