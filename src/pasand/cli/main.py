"""The command `pasand`: every file of this folder that has a function `command` is a command of that name.

A file with a typer application `app` instead is a group of commands.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence

import typer

import pasand
import pasand.cli
from pasand.errors import InputError

STOPPED = 130
"""Exit code after Ctrl-C, as shells know it."""
WRONG_INPUT = 2
CUT_OFF = 141
"""Exit code where whoever read standard output has gone, as shells know it."""


def application(only: str | None = None) -> typer.Typer:
    """Return the whole command line, or, where `only` is the name of a command, that command alone.

    What the other commands import then need not be loaded.
    """
    app = typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=pasand.__doc__, name="pasand"
    )

    @app.callback(invoke_without_command=True)
    def version(show: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
        if show:
            print(pasand.__version__)
            raise typer.Exit

    names = [file.name for file in pkgutil.iter_modules(pasand.cli.__path__)]
    for name in [only] if only in names else names:
        module = importlib.import_module(f"pasand.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        elif hasattr(module, "command"):
            app.command(name)(module.command)
    return app


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a failed check, 2 wrong input, 130 stopped by Ctrl-C."""
    told = sys.argv[1:] if arguments is None else arguments
    try:
        code = application(next(iter(told), None))(args=arguments, standalone_mode=False)
    except InputError as error:
        _say(f"[bold red]error[/] {_plain(error)}")
        code = WRONG_INPUT
    except MemoryError as error:
        cause = f"the memory is not enough{f' ({error})' if str(error) else ''}"
        _say(f"[bold red]error[/] {_plain(cause)}. Cure: fewer items, or smaller models.")
        code = WRONG_INPUT
    except (KeyboardInterrupt, SystemError, typer.Abort) as error:
        if not isinstance(error, typer.Abort) and not _interrupted(error):
            raise
        code = STOPPED
    except typer.TyperException as error:
        show = getattr(error, "show", None)
        if show is not None:
            show()
        code = WRONG_INPUT
    except BrokenPipeError:
        sys.stderr.close()
        code = CUT_OFF
    except OSError as error:
        _say(f"[bold red]error[/] {_plain(error)}. Cure: see to that file, disk or address.")
        code = WRONG_INPUT
    if code == STOPPED:  # typer turns Ctrl-C into this code before it is seen here
        _say("stopped; what was saved before is whole")
    sys.exit(code if isinstance(code, int) else 0)


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the root; compiled code that it meets ends in a SystemError caused by it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _say(text: str) -> None:
    """Print to standard error, without line breaks where no person reads along."""
    from pasand.cli.console import errors

    errors.print(text, soft_wrap=not errors.is_terminal)


def _plain(error: object) -> str:
    return str(error).replace("[", r"\[")
