"""What both commands share: exit codes, and errors as one line or as JSON."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from fourier_format.errors import FourierFormatError, UsageError, Violation, one_line

GOOD: Final = 0
BAD: Final = 1
TROUBLE: Final = 2
INTERRUPTED: Final = 130

Command = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are errors like any other."""

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError instead of ending the process."""
        advice = f"{self.prog} --help shows what can be said"
        raise UsageError(Violation("E-USAGE", "", message, advice=advice))


def run(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Returns the exit code of the command that `parser` finds in `argv`.

    The parser sets `command` to a function of the parsed arguments, and has the options of
    `add_common_options`. 0 is good; 1 invalid, different or refused; 2 usage or I/O; 130 Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that a terminal cannot show
    words = sys.argv[1:] if argv is None else argv
    if "--debug" in words:
        return _flushed(parser, argv)
    as_json = "--json" in words
    try:
        return _flushed(parser, argv)
    except KeyboardInterrupt:
        _say(parser.prog, "interrupted; nothing was left half written", as_json=as_json)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return TROUBLE
    except FourierFormatError as error:
        report(parser.prog, error, as_json=as_json)
        return exit_code(error)
    except Exception as error:  # noqa: BLE001 -- a traceback helps nobody who did not ask for it
        _say(parser.prog, _unexpected(error), as_json=as_json)
        return TROUBLE


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError):  # stdout: every file of ours has its own errors
        return one_line(f"error: cannot print the result: {error}")
    text = one_line(f"unexpected {type(error).__name__}: {error}")
    return f"{text}; this is a bug; please report it with the output of the command and --debug"


def _say(program: str, text: str, *, as_json: bool) -> None:
    if as_json:
        with contextlib.suppress(OSError):
            print_json({"ok": False, "errors": [{"problem": text}]})
            return
    print(f"{program}: {text}", file=sys.stderr)


def _flushed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Run the command, and flush here, where a closed pipe can still be handled."""
    arguments = parser.parse_args(argv)
    command: Command = arguments.command
    code = command(arguments)
    sys.stdout.flush()
    return code


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has."""
    parser.add_argument("--json", action="store_true", help="print JSON on stdout, errors included")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")


def exit_code(error: FourierFormatError) -> int:
    """Returns 2 for trouble with files, packages or usage, and 1 for a verdict on the input."""
    return TROUBLE if isinstance(error, (OSError, ImportError, UsageError)) else BAD


def report(program: str, error: FourierFormatError, *, as_json: bool) -> None:
    """Print `error`: a line on stderr for each violation, or one JSON object on stdout."""
    if as_json:
        print_json({"ok": False, "errors": [v.as_json() for v in error.violations]})
        return
    for violation in error.violations:
        print(f"{program}: error: {violation}", file=sys.stderr)


def print_json(value: Any) -> None:
    """Print `value` as indented JSON in ASCII; what is not finite, which JSON has not, as null."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns rows in aligned columns under `header`; columns of numbers are right-aligned."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    numeric = [all(_is_number(cell) for cell in column[1:]) for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join(line(cells) for cells in (header, *rows))


def _is_number(cell: str) -> bool:
    return cell.replace(".", "").replace("e-", "").replace("%", "").replace(",", "").isdigit()
