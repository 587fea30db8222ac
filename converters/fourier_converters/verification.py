"""Checks that the weights found in a base are those that the adapter was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from fourier_format.adapter import Array, Fingerprints, Target
from fourier_format.errors import BaseMismatchError, Violation
from fourier_format.fingerprint import (
    Fingerprint,
    disagreement,
    frobenius_norm,
    row_of,
    samples_of,
    sha256_of,
)


@dataclass(frozen=True, slots=True, eq=False)
class FoundWeight:
    """A weight of the base that was found for a target.

    Attributes:
        target: The target.
        prints: The fingerprints of the target's entry set; None where the adapter has none.
        source: Where it lies, in words.
        dtype: The dtype that the base stores.
        read: Gives the (out, in) canonical matrix.
        scheme: How it is quantised, in words; such values are near the original's, and neither
            norm nor digest can be compared.
    """

    target: Target
    prints: Fingerprints | None
    source: str
    dtype: str
    read: Callable[[], Array]
    scheme: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """The weights of a base that passed every check that merging makes.

    Attributes:
        weights: One or more for each target; each is read when it is asked for.
        notes: What the user should know of the checks.
    """

    weights: Iterable[FoundWeight]
    notes: tuple[str, ...]


def check_fingerprints(weights: Iterable[FoundWeight]) -> None:
    """Compare samples and Frobenius norms, as exactly as the base's dtype lets them be.

    Raises:
        BaseMismatchError: E-BASE-MISMATCH.
    """
    found: list[Violation] = []
    for weight in weights:
        if weight.prints is not None and weight.scheme is None:
            found += _differences(weight, row_of(weight.prints, weight.target.row))
    if found:
        raise BaseMismatchError(found)


def _differences(weight: FoundWeight, expected: Fingerprint) -> Iterator[Violation]:
    matrix = weight.read()
    norm = partial(frobenius_norm, matrix)
    part = disagreement(expected, weight.dtype, samples_of(matrix), norm)
    if part == "norm":
        yield _mismatch(weight, part, f"{norm():.9g}", f"{expected.norm:.9g}")
    elif part is not None:
        yield _mismatch(weight, part)


def check_digests(weights: Iterable[FoundWeight]) -> list[str]:
    """Compare SHA-256; returns notes on weights where that is not possible.

    Raises:
        BaseMismatchError: E-BASE-MISMATCH.
    """
    found, notes = [], []
    for weight in weights:
        name = weight.target.name
        if weight.prints is None:
            notes.append(f"{name}: the adapter has no fingerprint to verify")
        elif weight.scheme is not None or weight.prints.dtype != weight.dtype:
            held = weight.scheme or weight.dtype
            text = f"the base holds {held} and the fingerprint is of {weight.prints.dtype}"
            notes.append(f"{name}: SHA-256 not comparable, {text}")
        else:
            expected = weight.prints.sha256[weight.target.row].tobytes().hex()
            got = sha256_of(weight.read()).tobytes().hex()
            if got != expected:
                found.append(_mismatch(weight, "SHA-256", got, expected))
    if found:
        raise BaseMismatchError(found)
    return notes


_OTHER: Final = {"samples": "other samples", "norm": "another norm", "SHA-256": "another SHA-256"}


def _mismatch(
    weight: FoundWeight, part: str, got: str | None = None, expected: str | None = None
) -> Violation:
    return Violation(
        "E-BASE-MISMATCH",
        weight.target.name,
        f"{weight.source} has {_OTHER[part]} than the weight that was trained on",
        got,
        expected,
        "use the base that the adapter was trained on, not a fine-tune of it",
    )
