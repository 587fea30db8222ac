"""Outputs: what is only read is never written, not even on request."""

from __future__ import annotations

from pathlib import Path

from fourier_format.atomic import os_errors
from fourier_format.errors import UsageError, Violation


def refuse_input(output: Path, *inputs: Path) -> None:
    """Check that `output` is none of the files and directories that are read, nor a file in one.

    Raises:
        UsageError: E-USAGE: it is one of `inputs`.
    """
    with os_errors(output, "write"):
        there = [path for path in inputs if path.exists()] if output.exists() else []
        same = any(output.samefile(path) for path in there)
        among = any(path.is_dir() and output.parent.samefile(path) for path in there)
    if same or (among and output.is_file()):
        problem = "the output is an input of this conversion, which is only read"
        advice = "choose another name for it"
        raise UsageError(Violation("E-USAGE", str(output), problem, advice=advice))


def refuse_one_file(explanation: Path, output: Path) -> None:
    """Check that what is written beside the result has a name of its own.

    Raises:
        UsageError: E-USAGE: both are one file.
    """
    with os_errors(explanation, "write"):
        same = explanation.resolve() == output.resolve()
    if same:
        problem = "the explanation and the result would be one file"
        advice = "choose another name for one of them"
        raise UsageError(Violation("E-USAGE", str(explanation), problem, advice=advice))


def refuse_within(output: Path, directory: Path) -> None:
    """Check that `output` does not lie in `directory`, which is only read.

    Raises:
        UsageError: E-USAGE: it does.
    """
    if output.absolute().resolve().is_relative_to(directory.resolve()):
        problem = f"the output lies in {directory}, which is only read"
        advice = "choose another place with -o"
        raise UsageError(Violation("E-USAGE", str(output), problem, advice=advice))


def refuse_unwritable_name(output: Path) -> None:
    """A model names its data file, and protobuf's text is UTF-8.

    Raises:
        UsageError: E-USAGE.
    """
    try:
        output.name.encode()
    except UnicodeEncodeError:
        problem = "the output's name is not UTF-8"
        advice = "choose another name with -o"
        raise UsageError(Violation("E-USAGE", str(output), problem, advice=advice)) from None
