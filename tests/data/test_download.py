"""Downloads from a local server that breaks off, ignores ranges and serves wrong checksums."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pasand.data.download import PublishedDataset, get, unzip
from pasand.errors import InputError
from pasand.progress import listening


def archive(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return out.getvalue()


CONTENT = np.random.default_rng(0).bytes(1_500_000)
ARCHIVE = archive(**{"set/u.data": CONTENT, "set/README": b"read me"})


class Server(ThreadingHTTPServer):
    """Serves `body`; the first `breaks` responses end after half of their promised length."""

    body, breaks, ranges, status, md5 = ARCHIVE, 0, True, 200, ""
    ranges_requested: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path.endswith(".md5"):
            found = self.server.md5.encode()
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(found)
            return
        wanted = self.headers.get("Range", "")
        self.server.ranges_requested.append(wanted)
        match = re.fullmatch(r"bytes=(\d+)-", wanted) if self.server.ranges else None
        start = int(match[1]) if match else 0
        if start >= len(self.server.body):
            self.send_error(416)
            return
        rest = self.server.body[start:]
        self.send_response(self.server.status if self.server.status != 200 else 206 if match else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.server.breaks > 0:
            self.server.breaks -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.ranges_requested = []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def published(server: Server, checksum: str = "") -> PublishedDataset:
    return PublishedDataset(url=f"http://127.0.0.1:{server.server_port}/set.zip", checksum=checksum)


SHA = "sha256:" + hashlib.sha256(ARCHIVE).hexdigest()


def test_a_data_set_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    with listening(lambda label, done, total: seen.append((done, total))):
        folder = get("set", tmp_path, published=published(server, SHA))
    assert (folder / "u.data").read_bytes() == CONTENT
    assert seen[-1] == (len(ARCHIVE), len(ARCHIVE))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert get("set", tmp_path, published=published(server, SHA)) == folder
    assert len(server.ranges_requested) == 1


def test_a_mirror_is_downloaded_to_the_default_folder(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASAND_DATA", str(tmp_path))
    assert get("set", url=published(server).url) == tmp_path / "set"


def test_a_broken_transfer_is_resumed(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    folder = get("set", tmp_path, published=published(server, SHA), wait=0)
    assert (folder / "u.data").read_bytes() == CONTENT
    half = len(ARCHIVE) // 2
    assert server.ranges_requested == ["", f"bytes={half}-", f"bytes={half + (len(ARCHIVE) - half) // 2}-"]


def test_a_partial_download_is_kept_for_the_next_call(server: Server, tmp_path: Path) -> None:
    server.breaks = 1
    with pytest.raises(InputError, match="transfer failed 1 times"):
        get("set", tmp_path, published=published(server, SHA), attempts=1)
    assert (tmp_path / "set.zip.part").stat().st_size == len(ARCHIVE) // 2
    get("set", tmp_path, published=published(server, SHA), attempts=1)
    assert server.ranges_requested[1] == f"bytes={len(ARCHIVE) // 2}-"


def test_a_server_without_ranges_sends_the_whole_file_again(server: Server, tmp_path: Path) -> None:
    server.breaks, server.ranges = 1, False
    assert (get("set", tmp_path, published=published(server, SHA), wait=0) / "u.data").read_bytes() == CONTENT


def test_a_complete_part_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(ARCHIVE)
    assert (get("set", tmp_path, published=published(server, SHA)) / "README").read_bytes() == b"read me"


def test_wrong_checksums_are_rejected(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its sha256 is"):
        get("set", tmp_path, published=published(server, "sha256:" + "0" * 64))
    server.md5 = f"MD5 (set.zip) = {'0' * 32}"
    with pytest.raises(InputError, match="its md5 is"):
        get("set", tmp_path, published=published(server))
    assert not list(tmp_path.iterdir())
    server.md5 = f"{hashlib.md5(ARCHIVE, usedforsecurity=False).hexdigest()}  set.zip"
    assert get("set", tmp_path, published=published(server)).is_dir()


def test_server_errors_are_reported(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(InputError, match="the server returned 404"):
        get("set", tmp_path, published=published(server))
    with pytest.raises(InputError, match="choose one of ml-100k"):
        get("unknown", tmp_path)
    gone = PublishedDataset(url="http://127.0.0.1:9/set.zip")
    with pytest.raises(InputError, match="transfer failed 2 times"):
        get("set", tmp_path, published=gone, attempts=2, wait=0)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:evil"])
def test_archives_that_point_outside_are_rejected(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad.zip"
    path.write_bytes(archive(**{"good": b"", name: b"evil"}))
    with pytest.raises(InputError, match="points outside the folder"):
        unzip(path, tmp_path / "out")
    assert [found.name for found in tmp_path.rglob("*")] == ["bad.zip"]


def test_an_incomplete_archive_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "bad.zip"
    path.write_bytes(ARCHIVE[:1000])
    with pytest.raises(InputError, match="not a complete zip archive"):
        unzip(path, tmp_path / "out")
