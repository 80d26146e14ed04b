"""The origin of results: hashes of the measured code, and the list of results that are older than their code."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from benchmarks import code_hashes, provenance
from benchmarks.__main__ import names
from benchmarks.rows import ROOT

SOURCE = '''
"""A module."""

class A:
    """A class."""

    width: int = 1
    """A width."""

    def double(self) -> int:
        """Return twice the width."""  # a comment
        return 2 * self.width
'''
SAME = "class A:\n  width: int = 1\n  def double(self) -> int:\n    return (2 * self.width)\n"


def test_prose_and_formatting_do_not_change_a_hash_and_code_does() -> None:
    assert code_hashes.code_hash("a.py", SOURCE) == code_hashes.code_hash("a.py", SAME)
    for old, new in (("2 *", "3 *"), ("width: int = 1", "width: int = 2"), ("double", "twice")):
        assert code_hashes.code_hash("a.py", SOURCE) != code_hashes.code_hash("a.py", SOURCE.replace(old, new))


def test_a_definition_has_a_hash_of_its_own() -> None:
    name = "a.py:A.double"
    assert code_hashes.code_hash(name, SOURCE) == code_hashes.code_hash(name, SAME.replace("= 1", "= 5"))
    assert code_hashes.code_hash(name, SOURCE) != code_hashes.code_hash(name, SOURCE.replace("2 *", "3 *"))
    with pytest.raises(LookupError, match=r"A\.triple"):
        code_hashes.code_hash("a.py:A.triple", SOURCE)


def test_a_toml_file_counts_by_its_content() -> None:
    one, same, other = "# why\n[a]\nb = 1\n", "[a]\nb = 1", "[a]\nb = 2"
    assert code_hashes.code_hash("a.toml", one) == code_hashes.code_hash("a.toml", same)
    assert code_hashes.code_hash("a.toml", one) != code_hashes.code_hash("a.toml", other)


def test_missing_paths_are_refused() -> None:
    with pytest.raises(FileNotFoundError, match="no_such"):
        code_hashes.names(["models/no_such.py"])


@pytest.fixture(scope="module")
def hash_of() -> Callable[[str], str | None]:
    files = provenance.all_texts()
    return cache(lambda code: provenance.hash_in(files, code))


@pytest.mark.parametrize("name", names())
def test_each_benchmark_names_code_that_exists(name: str, hash_of: Callable[[str], str | None]) -> None:
    try:
        module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    measured = provenance.measured(module)
    assert [code for code in measured if hash_of(code) is None] == []
    assert any(code.startswith("src/pasand/") for code in measured)
    assert f"benchmarks/{name.replace('-', '_')}.py" in measured


def test_helpers_and_scripts_of_peers_belong_to_a_benchmark() -> None:
    found = provenance.helpers("ncf")
    assert {"ncf.py", "sasrec_peer.py", "peers/rectools_sasrec.py"} <= found
    assert "rows.py" not in found


def test_stale_results_are_listed_with_their_changed_code(tmp_path: Path) -> None:
    code = "src/pasand/heap.py"
    mark = code_hashes.code_hash(code, (ROOT / code).read_text())
    results = {
        "fresh": {"commit": "a" * 40, "code": {code: mark}},
        "changed": {"commit": "b" * 40, "code": {code: "0" * 16}},
        "gone": {"commit": None, "code": {"src/pasand/no_such.py": mark, f"{code}:no_such": mark}},
        "meanwhile": {"commit": "c" * 40, "code": {code: mark}, "changed_while_running": [code]},
        "old": {"rows": []},
    }
    for name, result in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    found = provenance.stale(tmp_path)
    assert found == {
        "changed": f"code changed since bbbbbbbbbb: {code}",
        "gone": f"code changed since an unknown commit: src/pasand/no_such.py, {code}:no_such",
        "meanwhile": f"code changed since cccccccccc: {code}",
        "old": "unknown: the result has no hashes of its code",
    }


def test_the_origin_of_a_result_is_complete() -> None:
    module = importlib.import_module("benchmarks.classical_parity")
    before = provenance.all_texts()
    origin = provenance.provenance(module, before)
    json.dumps(origin)
    assert origin["changed_while_running"] == []
    assert set(origin["code"]) == set(provenance.measured(module))  # type: ignore[call-overload]
    assert {"python", "numpy", "numba"} <= set(origin["versions"])  # type: ignore[call-overload]
    assert {"commit", "dirty", "machine", "date", "threads", "seeds"} <= set(origin)


def test_the_machine_has_the_speed_of_now() -> None:
    found = provenance.machine()
    assert found["instructions"] in ("", *provenance.INSTRUCTIONS)
    speed = provenance.speed()
    assert speed.keys() == found["speed"].keys()  # type: ignore[attr-defined]
    assert all(0.1 < value < 1e5 for value in speed.values())


def test_code_that_changed_during_a_run_is_recorded() -> None:
    module = importlib.import_module("benchmarks.classical_parity")
    before = provenance.all_texts()
    before["src/pasand/models/classical/ease.py"] += "\nX = 1\n"
    changed = provenance.provenance(module, before)["changed_while_running"]
    assert changed == ["src/pasand/models/classical/ease.py"]


def test_the_list_imports_no_benchmark() -> None:
    code = (
        "import sys; sys.argv = ['benchmarks']; from benchmarks.__main__ import main; main(); "
        "print('torch' in sys.modules or 'benchmarks.smoke' in sys.modules)"
    )
    lines = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).splitlines()
    assert lines[-1] == "False"
    assert any(line.startswith("smoke ") for line in lines)
