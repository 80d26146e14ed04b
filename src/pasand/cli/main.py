"""The command `pasand`: each file of this folder with a function `command` is a subcommand of that name.

A file with a typer application `app` instead is a group of subcommands.
"""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import typer

import pasand
import pasand.cli
from pasand.errors import InputError, is_interruption

if TYPE_CHECKING:
    from rich.text import Text

SUMMARY = "Build recommenders from interaction logs: compare, tune and fit models, explain and serve recommendations."
INTERRUPTED = 130
"""Exit code after Ctrl-C, by the convention of shells."""
WRONG_INPUT = 2
BROKEN_PIPE = 141
"""Exit code after the reader of standard output has closed it, by the convention of shells."""


def application(only: str | None = None) -> typer.Typer:
    """Return the whole command line; if `only` is the name of a command, load that command alone, which is faster."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help=SUMMARY,
        epilog="Begin with: pasand compare YOUR.csv --out bundle\n\nThen: pasand serve bundle",
        name="pasand",
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def options(
        show: bool = typer.Option(False, "--version", help="Print the version and exit."),
        allow_network: bool = typer.Option(
            False, "--allow-network", help="Let recipes, also those of bundles, connect to the servers that they name."
        ),
    ) -> None:
        if allow_network:
            os.environ["PASAND_ALLOW_NETWORK"] = "1"  # for the processes that the command starts, too
        if show:
            print(pasand.__version__)
            raise typer.Exit

    names = [file.name for file in pkgutil.iter_modules(pasand.cli.__path__)]
    for name in [only] if only in names else names:
        module = importlib.import_module(f"pasand.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        elif hasattr(module, "command"):
            app.command(name, epilog=examples(module))(module.command)
    return app


def examples(module: ModuleType) -> str | None:
    """Return the examples of a command for the end of its help; None if it has none."""
    lines: Sequence[str] = getattr(module, "EXAMPLES", ())
    return "\n\n".join(("Examples:", *lines)) if lines else None


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a failed check, 2 wrong input, 130 interrupted by Ctrl-C."""
    words = sys.argv[1:] if arguments is None else arguments
    logger = logging.getLogger("pasand")
    if not any(isinstance(handler, _Printed) for handler in logger.handlers):
        logger.addHandler(_Printed())
    try:
        code = application(next(iter(words), None) or _completed())(args=arguments, standalone_mode=False)
    except InputError as error:
        _print_error(str(error))
        code = WRONG_INPUT
    except MemoryError as error:
        cause = f"not enough memory{f' ({error})' if str(error) else ''}"
        _print_error(f"{cause}. Cure: use fewer items or smaller models.")
        code = WRONG_INPUT
    except (KeyboardInterrupt, SystemError, typer.Abort) as error:
        if not isinstance(error, typer.Abort) and not is_interruption(error):
            raise
        code = INTERRUPTED
    except typer.TyperException as error:
        show = getattr(error, "show", None)
        if show is not None:
            show()
        code = WRONG_INPUT
    except BrokenPipeError:
        sys.stderr.close()
        code = BROKEN_PIPE
    except OSError as error:
        _print_error(f"{error}. Cure: check that file, disk or address.")
        code = WRONG_INPUT
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code before it is seen here
        _print("stopped; files saved before are intact")
    sys.exit(code if isinstance(code, int) else 0)


def _completed() -> str | None:
    """Return the command whose words the shell completes; None where it completes the command or nothing."""
    words = os.environ.get("COMP_WORDS", "").split() if "_PASAND_COMPLETE" in os.environ else []
    return words[1] if len(words) > 1 else None


class _Printed(logging.Handler):
    """Prints warnings of the library on standard error, safely for a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _print(self.format(record))
        except Exception:  # as all handlers do: a full disk under standard error ends no work
            self.handleError(record)


def _print_error(text: str) -> None:
    """Print an error as one line on standard error."""
    from rich.text import Text

    from pasand.cli.console import printable

    _print(Text.assemble(("error", "bold red"), " ", printable(text, lines=False)))


def _print(text: str | Text) -> None:
    """Print to standard error, without added line breaks unless it is a terminal."""
    from pasand.cli.console import errors

    errors.print(text, soft_wrap=not errors.is_terminal)
