"""Errors say where, what and what to do, in one line each, and travel between processes."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from fourier_format import errors
from fourier_format.codes import CODES
from fourier_format.errors import (
    DependencyMissingError,
    FileAccessError,
    FourierFormatError,
    InvalidAdapterError,
    OutputExistsError,
    TargetNotFoundError,
    UsageError,
    Violation,
    dependency_missing,
    io_violation,
    one_line,
)

BUILTINS: list[tuple[type[FourierFormatError], type[Exception]]] = [
    (errors.InvalidAdapterError, ValueError),
    (errors.UnsupportedError, ValueError),
    (errors.BaseMismatchError, ValueError),
    (errors.TargetNotFoundError, LookupError),
    (errors.UsageError, ValueError),
    (errors.DependencyMissingError, ImportError),
    (errors.FileAccessError, OSError),
    (errors.OutputExistsError, FileExistsError),
    (errors.UnknownAdapterError, KeyError),
    (errors.ServingError, RuntimeError),
]
EVERY_ERROR = [FourierFormatError, *(error for error, _ in BUILTINS)]

PLAIN = Violation("E-TARGET-ROW", "targets[0].row", "no such row")
FULL = Violation("E-IO", "a.fft", "cannot be read", "nothing", "a file", "look again")


@pytest.mark.parametrize(("error", "builtin"), BUILTINS)
def test_each_error_is_also_the_builtin_that_callers_expect(
    error: type[FourierFormatError], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin) as caught:
        raise error(PLAIN)

    assert isinstance(caught.value, FourierFormatError)


def test_an_existing_output_is_a_file_access_error_too() -> None:
    assert issubclass(OutputExistsError, FileAccessError)


def test_the_module_defines_no_error_that_these_tests_forget() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, FourierFormatError)
    }

    assert defined == set(EVERY_ERROR)


@pytest.mark.parametrize("error", EVERY_ERROR)
def test_an_error_speaks_by_its_violations_one_line_each(error: type[FourierFormatError]) -> None:
    found = error([PLAIN, FULL])

    assert str(found).splitlines() == [str(PLAIN), str(FULL)]
    assert found.code == "E-TARGET-ROW"
    assert found.violations == (PLAIN, FULL)


@pytest.mark.parametrize("error", EVERY_ERROR)
def test_an_error_survives_pickling_and_copying(error: type[FourierFormatError]) -> None:
    found = error([PLAIN, FULL])

    for twin in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):
        assert type(twin) is error
        assert twin.violations == found.violations
        assert str(twin) == str(found)


def test_a_violation_names_place_problem_values_advice_code_and_clause() -> None:
    assert str(PLAIN) == "targets[0].row: no such row [E-TARGET-ROW, clause 5.3]"
    assert str(FULL) == "a.fft: cannot be read (got nothing, expected a file); look again [E-IO]"


def test_a_violation_says_only_what_it_knows() -> None:
    assert str(Violation("E-IO", "", "bad")) == "bad [E-IO]"
    assert str(Violation("E-IO", "f", "bad", got="1")) == "f: bad (got 1) [E-IO]"
    assert str(Violation("E-IO", "f", "bad", expected="2")) == "f: bad (expected 2) [E-IO]"


def test_a_violation_with_an_unregistered_code_is_a_programming_error() -> None:
    with pytest.raises(KeyError, match="E-MADE-UP"):
        Violation("E-MADE-UP", "here", "wrong")


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_a_meaning_and_its_clause_reaches_the_violation(code: str) -> None:
    violation = Violation(code, "here", "wrong")

    assert CODES[code].summary
    assert violation.clause == (None if CODES[code].clause == "-" else CODES[code].clause)


def test_a_violation_as_json_has_code_and_clause_first_and_every_field() -> None:
    fields = PLAIN.as_json()

    assert list(fields)[:2] == ["code", "clause"]
    assert fields["clause"] == "5.3"
    assert fields["where"] == "targets[0].row"
    assert fields["got"] is None


@pytest.mark.parametrize(
    "hostile", ["a\nforged: line", "\x1b[31mred", "\u202egnp", "a\u2028b", "\ud800", "\x00", "\x85"]
)
def test_a_name_in_a_file_cannot_forge_output(hostile: str) -> None:
    shown = str(Violation("E-TARGET-DUPLICATE", hostile, hostile, hostile, hostile, hostile))

    assert shown.isprintable()
    assert shown.isascii()


def test_printable_names_are_shown_as_they_are() -> None:
    assert one_line("größe/层 🙂") == "größe/层 🙂"


def test_a_missing_dependency_names_the_extra_that_brings_it() -> None:
    error = dependency_missing("h5py", "h5", "reading .fft.h5")

    assert isinstance(error, DependencyMissingError)
    assert error.code == "E-DEPENDENCY-MISSING"
    assert "pip install 'fourier-format[h5]'" in str(error)


def test_an_operating_system_error_is_told_in_its_own_words() -> None:
    error = PermissionError(13, "Permission denied")

    assert str(io_violation(Path("a.fft"), error, "read")) == (
        "a.fft: cannot read the file: Permission denied [E-IO]"
    )
    assert "odd" in str(io_violation("a.fft", OSError("odd"), "read"))


def test_one_violation_or_several_are_taken_alike() -> None:
    assert UsageError(PLAIN).violations == UsageError([PLAIN]).violations
    assert InvalidAdapterError(PLAIN).code == TargetNotFoundError(iter([PLAIN])).code
