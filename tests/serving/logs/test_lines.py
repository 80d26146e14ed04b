"""The log of a service: each record once, and no request waits for its reader."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from pasand import bundle, recipe
from pasand.sources import load
from tests.serving.conftest import serving
from tests.serving.recipes import INDEXED


def test_each_warning_is_one_line_and_a_stalled_reader_stops_nothing(tmp_path: Path) -> None:
    data = load("bollywood:n_users=150,days=30", impressions="none")
    bundle.write(tmp_path / "bundle", recipe.build(INDEXED).fit(data, seed=0), data, seed=0)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    found: list[str] = []

    def read() -> None:
        with open(reader, encoding="utf-8") as file:
            found.extend(file)

    rest = threading.Thread(target=read)
    with serving(tmp_path / "bundle", tmp_path, "--no-log", output_to=writer) as served:
        for n in range(80):  # each leads to a warning; together they exceed the pipe
            served.request("PUT", f"/v1/items/new-{n}", json={"features": {}})
        served.request("GET", "/healthz")
        os.close(writer)
        rest.start()
    rest.join()
    assert sum(map(len, found)) > 4096
    assert sum("no model can score 1 of 1 new items" in line for line in found) == 80
