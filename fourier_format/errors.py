"""The errors of every package of this project.

    FourierFormatError
    ├── InvalidAdapterError (ValueError)        a file or Adapter that breaks the format
    ├── UnsupportedError (ValueError)           valid, and beyond what this library does
    ├── BaseMismatchError (ValueError)          adapter and base do not belong together
    ├── TargetNotFoundError (LookupError)       a weight was not found, or not uniquely
    ├── UsageError (ValueError)                 a command or argument that makes no sense
    ├── DependencyMissingError (ImportError)    an optional package is not installed
    ├── UnknownAdapterError (KeyError)          a runtime has no adapter of this name
    ├── ServingError (RuntimeError)             a provider, a device or a run failed
    └── FileAccessError (OSError)               reading or writing failed
        └── OutputExistsError (FileExistsError) refuse to overwrite

Every error carries one or more `Violation`s, and speaks by them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fourier_format.codes import CODES


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong.

    Attributes:
        code: A key of `fourier_format.codes.CODES`.
        where: The place: a file, a field ("targets[0].row"), a tensor.
        problem: What is wrong, as a clause without a full stop.
        got: What was found there, if that helps.
        expected: What would have been right.
        advice: What to do about it.
    """

    code: str
    where: str
    problem: str
    got: str | None = None
    expected: str | None = None
    advice: str | None = None

    def __post_init__(self) -> None:
        """Reject codes outside the registry, so that every code stays documented."""
        if self.code not in CODES:
            raise KeyError(self.code)

    @property
    def clause(self) -> str | None:
        """The spec clause that is broken, or None where the spec has no say."""
        clause = CODES[self.code].clause
        return None if clause == "-" else clause

    def as_json(self) -> dict[str, str | None]:
        """Returns the fields, code and clause first, for `--json`."""
        return {
            "code": self.code,
            "clause": self.clause,
            "where": self.where,
            "problem": self.problem,
            "got": self.got,
            "expected": self.expected,
            "advice": self.advice,
        }

    def __str__(self) -> str:
        """One line: where, what is wrong, got and expected, what to do, code and clause."""
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        if self.got is not None and self.expected is not None:
            text += f" (got {self.got}, expected {self.expected})"
        elif self.got is not None:
            text += f" (got {self.got})"
        elif self.expected is not None:
            text += f" (expected {self.expected})"
        if self.advice is not None:
            text += f"; {self.advice}"
        clause = f", clause {self.clause}" if self.clause else ""
        return one_line(f"{text} [{self.code}{clause}]")


def one_line(text: str) -> str:
    """Returns `text` with control characters escaped, so that a name cannot forge output."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class FourierFormatError(Exception):
    """The root of every error that this project raises on purpose."""

    def __init__(self, violations: Violation | Iterable[Violation]) -> None:
        """Takes one violation or several; the first gives the error its code."""
        self.violations = (violations,) if isinstance(violations, Violation) else tuple(violations)
        super().__init__("\n".join(str(v) for v in self.violations))

    @property
    def code(self) -> str:
        """The code of the first violation."""
        return self.violations[0].code

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the violations: process pools hand errors over this way."""
        return type(self), (self.violations,)


class InvalidAdapterError(FourierFormatError, ValueError):
    """A file, or an Adapter in memory, breaks a rule of the format."""


class UnsupportedError(FourierFormatError, ValueError):
    """The input is sound, but cannot be expressed or handled here."""


class BaseMismatchError(FourierFormatError, ValueError):
    """The adapter and the base do not belong together."""


class TargetNotFoundError(FourierFormatError, LookupError):
    """A target's weight was not found in the base, or not uniquely."""

    def __str__(self) -> str:
        """The violations; LookupError would quote them."""
        return "\n".join(str(v) for v in self.violations)


class UsageError(FourierFormatError, ValueError):
    """A command line or an argument that makes no sense."""


class DependencyMissingError(FourierFormatError, ImportError):
    """An optional package is not installed; the message names the extra."""


class FileAccessError(FourierFormatError, OSError):
    """Reading or writing failed for a reason outside the file's content."""

    def __str__(self) -> str:
        """The violations; OSError would print its arguments."""
        return "\n".join(str(v) for v in self.violations)


class OutputExistsError(FileAccessError, FileExistsError):
    """The output exists already and was not to be overwritten."""


class UnknownAdapterError(FourierFormatError, KeyError):
    """A runtime has no adapter of this name, and finds none."""

    def __str__(self) -> str:
        """The violations; KeyError would quote them."""
        return "\n".join(str(v) for v in self.violations)


class ServingError(FourierFormatError, RuntimeError):
    """ONNX Runtime, one of its providers or a device failed; the session goes on."""


def raise_all(failures: Sequence[FourierFormatError]) -> None:
    """Raise one error with the violations of all `failures`, if any; its type is the first's."""
    if failures:
        kind: Callable[[Iterable[Violation]], FourierFormatError] = type(failures[0])
        raise kind(dict.fromkeys(v for failure in failures for v in failure.violations))


def dependency_missing(package: str, extra: str, purpose: str) -> DependencyMissingError:
    """Returns the error for an absent optional `package`, naming the `extra` that brings it."""
    return DependencyMissingError(
        Violation(
            "E-DEPENDENCY-MISSING",
            package,
            f"{purpose} needs the package {package}, which is not installed",
            advice=f"install it with: pip install 'fourier-format[{extra}]'",
        )
    )


def io_violation(path: object, error: OSError, action: str) -> Violation:
    """Returns the violation for an OSError met while doing `action` to `path`."""
    reason = error.strerror or str(error)
    return Violation("E-IO", str(path), f"cannot {action} the file: {reason}")
