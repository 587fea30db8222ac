"""fourier-convert as its user runs it, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fourier_converters.cli import main

Captured = pytest.CaptureFixture[str]


def convert(*arguments: str | Path) -> int:
    """Returns the exit code of fourier-convert."""
    return main([str(argument) for argument in arguments])


def converted(*arguments: str | Path) -> None:
    """Run a conversion that must go well."""
    assert convert(*arguments, "--quiet") == 0


def refused(capsys: Captured, *arguments: str | Path, exit_code: int = 1) -> list[str]:
    """Run a conversion that must be refused; returns the error's lines, for people."""
    capsys.readouterr()
    code = convert(*arguments)
    out, err = capsys.readouterr()
    assert code == exit_code, err
    assert not out
    lines = err.splitlines()
    assert lines
    assert all(line.startswith("fourier-convert: error: ") for line in lines), err
    return [line.removeprefix("fourier-convert: error: ") for line in lines]


def as_json(capsys: Captured, *arguments: str | Path) -> tuple[int, Any]:
    """Returns the exit code and the object that --json prints, which is all of stdout."""
    capsys.readouterr()
    code = convert(*arguments, "--json")
    return code, json.loads(capsys.readouterr().out)
