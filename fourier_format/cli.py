"""The command `fourier-format`: validate, inspect and compare adapters.

stdout is data and stderr is talk. Only what a command needs is imported, when it runs.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fourier_format import __version__
from fourier_format.command_line import (
    BAD,
    GOOD,
    Parser,
    add_common_options,
    exit_code,
    print_json,
    report,
    run,
)
from fourier_format.errors import FourierFormatError, UsageError, Violation, one_line

if TYPE_CHECKING:
    from fourier_format.validation import Report

PROGRAM: Final = "fourier-format"
_DIGEST_DIGITS: Final = 12
_EXAMPLES: Final = """\
examples:
  fourier-format validate adapter.fft                 is the file right, to the last bit?
  fourier-format inspect adapter.fft --plot out.png   what is in it?
  fourier-format diff old.fft new.fft.h5              do two files mean the same?

exit codes: 0 good, 1 invalid or different, 2 usage, files or packages, 130 Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of the command line `argv`, by default the process's own."""
    return run(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROGRAM,
        description="Check, show and compare FourierFT adapters (.fft and .fft.h5).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    text = "say everything that is wrong with files"
    validate = commands.add_parser("validate", help=text, description=f"{text.capitalize()}.")
    validate.add_argument("files", metavar="FILE", nargs="+", help="a .fft or .fft.h5 file")
    validate.set_defaults(command=_validate)

    text = "show what a file holds, and what it costs compared with LoRA"
    inspect = commands.add_parser("inspect", help=text, description=f"{text.capitalize()}.")
    inspect.add_argument("file", metavar="FILE", help="a .fft or .fft.h5 file")
    inspect.add_argument("--plot", metavar="PNG", help="draw entries and coefficients to this file")
    inspect.add_argument("--force", action="store_true", help="overwrite the picture if it exists")
    inspect.set_defaults(command=_inspect)

    text = "show where two files differ in meaning"
    diff = commands.add_parser("diff", help=text, description=f"{text.capitalize()}.")
    diff.add_argument("a", metavar="A", help="a .fft or .fft.h5 file")
    diff.add_argument("b", metavar="B", help="another")
    diff.set_defaults(command=_diff)

    for command in (validate, inspect, diff):
        add_common_options(command)
    return parser


def _validate(arguments: argparse.Namespace) -> int:
    """All files, whatever is wrong with one; the exit code is the worst."""
    from fourier_format.validation import validate

    worst, found = GOOD, []
    for file in arguments.files:
        try:
            outcome = validate(file)
        except FourierFormatError as error:
            if arguments.debug:
                raise
            worst = max(worst, exit_code(error))
            found.append({"file": _utf8(file), "valid": None, "errors": _errors(error)})
            if not arguments.json:
                report(PROGRAM, error, as_json=False)
            continue
        worst = max(worst, GOOD if outcome.valid else BAD)
        found.append(_report_json(outcome))
        if not arguments.json:
            _print_report(outcome)
    if arguments.json:
        print_json({"ok": worst == GOOD, "files": found})
    return worst


def _print_report(outcome: Report) -> None:
    name = one_line(str(outcome.path))
    for violation in outcome.violations:
        print(f"{name}: {violation}")
    if outcome.adapter is not None and outcome.digest is not None and outcome.valid:
        counts = ", ".join(str(n) for n in _counts(outcome))
        content = (
            f"{len(outcome.adapter.targets)} targets, n = {counts}, {', '.join(_dtypes(outcome))}"
        )
        print(f"{name}: valid ({content}, SHA-256 {outcome.digest[:_DIGEST_DIGITS]})")
    for note in outcome.notes:
        print(f"{name}: note: {one_line(note)}")


def _report_json(outcome: Report) -> dict[str, Any]:
    return {
        "file": _utf8(str(outcome.path)),
        "valid": outcome.valid,
        "violations": [v.as_json() for v in outcome.violations],
        "notes": outcome.notes,
        "targets": None if outcome.adapter is None else len(outcome.adapter.targets),
        "n": _counts(outcome),
        "dtypes": _dtypes(outcome),
        "sha256": outcome.digest,
    }


def _counts(outcome: Report) -> list[int]:
    sets = outcome.adapter.entry_sets if outcome.adapter else ()
    return sorted({s.count for s in sets})


def _dtypes(outcome: Report) -> list[str]:
    from fourier_format.dtypes import dtype_name

    sets = outcome.adapter.entry_sets if outcome.adapter else ()
    return sorted({dtype_name(s.coefficients.dtype) or "" for s in sets})


def _inspect(arguments: argparse.Namespace) -> int:
    from fourier_format import inspection
    from fourier_format.atomic import os_errors
    from fourier_format.files import load

    file = Path(arguments.file)
    adapter = load(file)
    with os_errors(file, "read"):
        size = file.stat().st_size
    if arguments.plot is not None:
        _plot(adapter, file, Path(arguments.plot), force=arguments.force)
    found = inspection.summary(adapter, size)
    if arguments.json:
        print_json({"ok": True, "file": _utf8(str(file)), **found})
    else:
        print(inspection.as_text(found, str(file)))
    return GOOD


def _plot(adapter: Any, file: Path, picture: Path, *, force: bool) -> None:
    from fourier_format.plot import plot

    if picture.exists() and picture.samefile(file):
        problem = "the picture would overwrite the adapter"
        raise UsageError(Violation("E-USAGE", str(picture), problem))
    plot(adapter, picture, overwrite=force)
    print(f"{PROGRAM}: wrote {one_line(str(picture))}", file=sys.stderr)


def _diff(arguments: argparse.Namespace) -> int:
    from fourier_format.atomic import os_errors
    from fourier_format.diff import diff
    from fourier_format.files import load

    found = diff(load(arguments.a), load(arguments.b))
    with os_errors(Path(arguments.a), "read"):
        same_bytes = filecmp.cmp(arguments.a, arguments.b, shallow=False)
    if arguments.json:
        differences = [asdict(difference) for difference in found]
        print_json({"ok": not found, "same_bytes": same_bytes, "differences": differences})
    elif found:
        for difference in found:
            print(difference)
    else:
        print(f"the same adapter, {'byte for byte' if same_bytes else 'stored differently'}")
    return BAD if found else GOOD


def _errors(error: FourierFormatError) -> list[dict[str, str | None]]:
    return [violation.as_json() for violation in error.violations]


def _utf8(name: str) -> str:
    """Returns a file's name as text that any JSON can hold, even if its bytes are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
