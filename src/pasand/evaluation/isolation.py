"""Runs a function in a process of its own, so that a crash of the process does not end the caller."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from pasand.errors import ProcessFailed, failure_cause

Result = TypeVar("Result")


def in_own_process(function: Callable[..., Result], *arguments: object) -> Result:
    """Return the result of a function that runs in a new process, which is started from scratch and not forked.

    Function, arguments and result travel through a pipe between the two processes, so they have to be picklable; copies
    of the arguments take memory in both. Raises ProcessFailed if the function raises an exception, and if the process
    crashes or is killed.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, function, arguments), daemon=True)
    try:
        process.start()
        sender.close()
        try:
            succeeded, content = receiver.recv()
        except EOFError:
            process.join()
            raise ProcessFailed(f"its process {_ending(process.exitcode)}") from None
    finally:
        if process.pid is not None:
            process.kill()
            process.join()
        receiver.close()
    if not succeeded:
        raise ProcessFailed(content)
    result: Result = content
    return result


def _run(sender: Connection, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller, which ends this process
    try:
        message: tuple[bool, object] = (True, function(*arguments))
    except Exception as error:
        message = (False, failure_cause(error))
    sender.send(message)


def _ending(code: int | None) -> str:
    """Return how a process ended, in words: by a signal (negative code), or with an exit code."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ", which systems send when memory runs out" if -code == signal.SIGKILL else ""
    return f"was ended by signal {name}{hint}"
