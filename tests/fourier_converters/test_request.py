"""A request holds what the command line said, typed, and refuses what it lacks."""

from __future__ import annotations

import argparse
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest

from fourier_converters.request import Request
from fourier_format.errors import UsageError

GIVEN = argparse.Namespace(
    **dict.fromkeys((field.name for field in fields(Request)), None),
    command="not of the request",
)
GIVEN.sources, GIVEN.adapters, GIVEN.to = [Path("a.fft")], [Path("b.fft")], "onnx"


def test_all_adapters_are_files_and_lists_are_frozen() -> None:
    found = Request.of(GIVEN)

    assert found.sources == (Path("a.fft"),)
    assert found.files == (Path("a.fft"), Path("b.fft"))
    with pytest.raises(FrozenInstanceError):
        found.to = "h5"  # type: ignore[misc]  # that is what is tested


@pytest.mark.parametrize(("verify", "full"), [(None, False), ("full", True)])
def test_hashes_are_compared_where_that_is_asked_for(verify: str | None, full: bool) -> None:
    assert Request.of(argparse.Namespace(**{**vars(GIVEN), "verify": verify})).verify_full is full


@pytest.mark.parametrize("option", ["base", "rank"])
def test_what_is_needed_and_not_given_is_named(option: str) -> None:
    found = Request.of(GIVEN)

    with pytest.raises(UsageError, match=rf"--{option}: --to onnx needs it.*add --{option}"):
        getattr(found, f"given_{option}")
    there = replace(found, base=Path("base.onnx"), rank=8)
    assert getattr(there, f"given_{option}") in {Path("base.onnx"), 8}
