"""The first minute: what is wrong is printed before the work begins, and what is printed works as typed."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pasand.cli import console, serve
from pasand.cli.main import application, examples
from pasand.errors import InputError
from pasand.serving.schemas import RequestError, decode_events, decode_requests
from tests.cli.test_commands import Output, pasand

ROOT = Path(__file__).parents[2]


def test_make_names_the_version_of_python_that_it_needs(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} -c "import sys; sys.version_info = (3, 10, 2); '
        'exec(sys.argv[1])" "$2"\nexit 3\n'
    )
    old.chmod(0o755)
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    process = subprocess.run(["make", f"PYTHON={old}", "demo"], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode != 0
    assert f"pasand needs Python 3.11 or newer, and {old} is 3.10" in process.stderr
    assert "make PYTHON=python3.12 demo" in process.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_busy_port_gives_the_next_free_one(capsys: Output) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        found = serve.next_open_port("127.0.0.1", port)
        assert port < found < port + serve.PORTS
        assert f"port {port} is in use; the page will be at port {found}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--folder", "/proc/none", "--no-serve"],
        ["fit", "bollywood", "--out", "/proc/none/bundle"],
        ["compare", "bollywood", "--out", "/proc/none"],
        ["compare", "bollywood", "--report", "/proc/report.html"],
    ],
)
def test_outputs_that_cannot_be_written_are_refused_before_the_work(arguments: list[str], capsys: Output) -> None:
    assert pasand(*arguments) == 2
    printed = capsys.readouterr()
    assert "/proc cannot be written to: " in " ".join(printed.err.split())
    assert not printed.out


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file is a file\. Cure: name another folder"):
        console.check_folder(tmp_path / "file" / "bundle")


def test_commands_are_printed_as_they_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / ".venv" / "bin" / "pasand"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [".venv/bin/pasand", "demo"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert console.program() == ".venv/bin/pasand"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "argv", [str(script), "demo"])
    assert console.program() == str(script)
    monkeypatch.setenv("PATH", str(script.parent))
    assert console.program() == "pasand"


CODE = """
import sys
from pasand.cli import console
from pasand.progress import step
with console.progress():
    step("reading", 1, 3)
    console.output.print("first line")
    step("reading", 3, 3)
console.output.print("second line")
"""


def test_no_progress_is_left_on_a_line_of_output() -> None:
    """A terminal with progress on standard error shows the lines of standard output alone."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=child, stderr=child, env={**os.environ, "TERM": "xterm"}
    )
    os.close(child)
    received = b""
    while True:
        try:
            chunk = os.read(parent, 4096)
        except OSError:
            break
        if not chunk:
            break
        received += chunk
    os.close(parent)
    assert process.wait() == 0
    assert "first line" in shown(received.decode())
    assert "second line" in shown(received.decode())
    assert not any("reading" in line for line in shown(received.decode()))


def shown(text: str) -> list[str]:
    """Return the lines that a terminal shows after a text with returns, erased lines and movements up."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif piece.startswith("\x1b"):
            row -= int(piece[2:-1] or 1) if piece.endswith("A") else 0
            lines[row] = "" if piece == "\x1b[2K" else lines[row]
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + piece + line[column + len(piece) :]
            column += len(piece)
    return lines


@pytest.mark.parametrize(
    ("arguments", "suggested"),
    [
        (["comapre", "bollywood"], "compare"),
        (["compare", "bollywood", "--report-file", "x"], "--report"),
        (["compare", "LOG", "--models", "item-knn"], "did you mean item_knn?"),
        (["compare", "LOG", "--models", "clasic"], "did you mean classic?"),
        (["fit", "bollywood", "--recipe", "clasic", "--out", "b"], "did you mean classic?"),
        (["fit", "bollywood", "--model", "iALS", "--out", "b"], "did you mean ials?"),
        (["tune", "bollywood", "--model", "popularty"], "did you mean popularity?"),
    ],
)
def test_a_name_that_is_nearly_right_is_suggested(
    arguments: list[str], suggested: str, tmp_path: Path, capsys: Output
) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item,time\n" + "".join(f"u{e % 5},i{e % 7},{1_700_000_000 + e}\n" for e in range(40)))
    assert pasand(*(log if word == "LOG" else word for word in arguments)) == 2
    assert suggested in " ".join(capsys.readouterr().err.split())


def test_models_and_recipes_are_listed_with_a_line_each(capsys: Output) -> None:
    assert pasand("models", "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"ease", "sasrec", "popularity"} <= set(found["models"])
    assert {"best", "classic"} <= set(found["recipes"])
    assert all(30 < len(line) < 300 for lines in found.values() for line in lines.values())


def test_every_command_has_help_by_h_and_its_examples_parse(capsys: Output) -> None:
    import importlib
    import shlex

    from typer.main import get_command

    commands = get_command(application()).commands  # type: ignore[attr-defined]
    for name in ("compare", "fit", "tune", "recommend", "serve", "refresh", "explain", "demo", "models", "audit"):
        assert pasand(name, "-h") == 0
        assert f"pasand {name}" in capsys.readouterr().out
        module = importlib.import_module(f"pasand.cli.{name}")
        assert (examples(module) or "").startswith("Examples:")
        for line in module.EXAMPLES:
            _, called, *words = shlex.split(line)
            commands[called].make_context(called, words, resilient_parsing=False)


def test_completion_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; sys.argv = ['pasand']; from pasand.cli.main import run; run()"
    environment = {**os.environ, "_PASAND_COMPLETE": "complete_bash", "COMP_WORDS": "pasand com", "COMP_CWORD": "1"}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert process.stdout.split() == ["compare"], process.stderr


def test_whole_numbers_are_ids_in_json() -> None:
    body = {"user_id": 42, "history": [7, {"item_id": 8, "time": 5}], "deny": [9], "k": 3, "filters": {"year": 2000}}
    (request,), _ = decode_requests(json.dumps(body).encode())
    assert (request.user_id, request.k, request.deny, request.filters) == ("42", 3, ["9"], {"year": 2000})
    assert [each if isinstance(each, str) else each.item_id for each in request.history] == ["7", "8"]
    (event,) = decode_events(b'{"user_id": 1, "item_id": 2, "id": 3, "value": 4}', lines=False)
    assert (event.user_id, event.item_id, event.id, event.value) == ("1", "2", "3", 4)
    for wrong in ({"user_id": True}, {"user_id": 1.5}, {"user_id": 1, "k": "3"}, {"user_id": 1, "features": 3}):
        with pytest.raises(RequestError):
            decode_requests(json.dumps(wrong).encode())
