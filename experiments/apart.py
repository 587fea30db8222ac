"""A function in a process of its own: what it tells is heard, and its death is no other's."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Result = TypeVar("Result")
Tell = Callable[[Any], None]
_TOLD, _DONE, _FAILED = range(3)


class ProcessDiedError(RuntimeError):
    """A process ended without a result and without an error."""


def apart(function: Callable[..., Result], *arguments: object, hear: Tell) -> Result:
    """Returns what `function(tell, *arguments)` returns in a new process.

    Args:
        function: It can be pickled, as its arguments and its result.
        *arguments: Of it, after `tell`.
        hear: Called here with all that is told there.

    Raises:
        ProcessDiedError: The process was killed.
        BaseException: What the function raised.
    """
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_begin, args=(sender, function, arguments))
    process.start()
    sender.close()  # so that the pipe ends with the process
    kind, value = _TOLD, None
    with receiver, suppress(EOFError):
        while kind == _TOLD:
            kind, value = receiver.recv()
            if kind == _TOLD:
                hear(value)
    process.join()
    if kind == _FAILED and isinstance(value, BaseException):
        raise value
    if kind != _DONE:
        why = "; the system may have been short of memory" if process.exitcode == -9 else ""
        said = f"its process was terminated abruptly, exit code {process.exitcode}{why}"
        raise ProcessDiedError(said)
    result: Result = value  # type: ignore[assignment]  # of the function
    return result


def _begin(sender: Connection, function: Callable[..., object], arguments: Any) -> None:
    try:
        told = _DONE, function(lambda news: sender.send((_TOLD, news)), *arguments)
    except BaseException as wrong:  # noqa: BLE001  # raised where it is waited for
        told = _FAILED, _portable(wrong)
    sender.send(told)


def _portable(wrong: BaseException) -> BaseException:
    """Returns an error that comes through a pipe: itself, or one that tells of it."""
    try:
        pickle.loads(pickle.dumps(wrong))  # noqa: S301  # our own
    except Exception:  # noqa: BLE001  # whatever it is made of
        return RuntimeError(f"{type(wrong).__name__}: {wrong}")
    return wrong
