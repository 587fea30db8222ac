"""Checks that a base's weights are those the adapter was trained on, beyond the samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fourier_format.adapter import Array, Fingerprints, Target
from fourier_format.errors import BaseMismatchError, Violation
from fourier_format.fingerprint import NORM_TOLERANCE, ROUNDED_NORM, frobenius_norm, sha256_of


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


def check_norms(weights: Iterable[FoundWeight]) -> None:
    """Compare Frobenius norms, as exactly as the base's dtype lets them be.

    Raises:
        BaseMismatchError: E-BASE-MISMATCH.
    """
    found = []
    for weight in weights:
        if weight.prints is not None and weight.scheme is None:
            norm = float(weight.prints.norm[weight.target.row])
            got = frobenius_norm(weight.read())
            same = weight.prints.dtype == weight.dtype
            tolerance = NORM_TOLERANCE if same else ROUNDED_NORM[weight.dtype]
            if not math.isclose(got, norm, rel_tol=tolerance):
                found.append(_mismatch(weight, "norm", f"{got:.9g}", f"{norm:.9g}"))
    if found:
        raise BaseMismatchError(found)


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


def _mismatch(weight: FoundWeight, what: str, got: str, expected: str) -> Violation:
    return Violation(
        "E-BASE-MISMATCH",
        weight.target.name,
        f"{weight.source} has another {what} than the weight that was trained on",
        got,
        expected,
        "use the base that the adapter was trained on, not a fine-tune of it",
    )
