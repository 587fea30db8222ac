"""The errors of matching whole tensors: what was looked for in a base, and what was there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fourier_format import words
from fourier_format.adapter import Target
from fourier_format.errors import (
    BaseMismatchError,
    TargetNotFoundError,
    UnsupportedError,
    Violation,
)

_SHOWN: Final = 4
_RIGHT_BASE: Final = "use the base that the adapter was trained on, not a fine-tune of it"


def dtype(target: Target, tensor: str, stored: str) -> UnsupportedError:
    """Returns the error for a weight that is quantised."""
    problem = f"the base holds {tensor!r} as {stored}, which nothing can be added to"
    advice = "merge into the base before it is quantised"
    return UnsupportedError(Violation("E-BASE-UNSUPPORTED", target.name, problem, advice=advice))


def not_found(
    target: Target, problem: str, alike: Sequence[str], advice: str | None = None
) -> TargetNotFoundError:
    """Returns the error for a target whose weight is nowhere; `alike` are those of its shape."""
    got = f"{len(alike)} weights of shape (out, in) {words.shape(target.shape)}"
    if alike:
        got += f": {listed(alike)}"
    advice = advice or "is this the base that the adapter was trained on? Else say where with --map"
    return TargetNotFoundError(
        Violation("E-TARGET-NOT-FOUND", target.name, problem, got, advice=advice)
    )


def other_shape(target: Target, tensor: str, shape: tuple[int, ...]) -> TargetNotFoundError:
    """Returns the error for a weight that is not of the target's shape in the layout it has."""
    problem = f"{tensor!r} is no {target.kind} weight of the target's shape, as the base stores it"
    got, expected = words.shape(shape), f"(out, in) {words.shape(target.shape)}"
    advice = "is this the base that the adapter was trained on? Else say how with --map"
    return TargetNotFoundError(
        Violation("E-TARGET-NOT-FOUND", target.name, problem, got, expected, advice)
    )


def ambiguous(name: str, found: Sequence[str]) -> TargetNotFoundError:
    """Returns the error for a name or a fingerprint that several tensors have."""
    problem = f"could be any of {listed(found)}"
    advice = 'say which one with --map and "weight"'
    return TargetNotFoundError(Violation("E-TARGET-AMBIGUOUS", name, problem, advice=advice))


def maybe_tied(target: Target, tensor: str) -> TargetNotFoundError:
    """Returns the error for a head that is found as what may be the embedding alone."""
    problem = (
        f"its weight is stored as {tensor!r}, which may be an embedding that it is tied to: "
        "what reads that would change too"
    )
    advice = f'if both are to change, say so with --map and {{"weight": "{tensor}"}}'
    return TargetNotFoundError(Violation("E-TARGET-AMBIGUOUS", target.name, problem, advice=advice))


def wrong_weight(
    target: Target, place: str, evidence: str, elsewhere: Sequence[str]
) -> TargetNotFoundError | BaseMismatchError:
    """Returns the error for a weight without the target's fingerprint."""
    if elsewhere:
        got = f"{evidence}: {place}; fingerprint: {listed(elsewhere)}"
        problem = f"the {evidence} and the fingerprint point to different weights"
        advice = "is this the right base? Else say which with --map"
        return TargetNotFoundError(
            Violation("E-EVIDENCE-DISAGREES", target.name, problem, got, advice=advice)
        )
    problem = "the weight found does not have the fingerprint of the one that was trained on"
    return BaseMismatchError(
        Violation("E-BASE-MISMATCH", target.name, problem, place, advice=_RIGHT_BASE)
    )


def no_replacement(name: str, problem: str, advice: str | None = None) -> TargetNotFoundError:
    """Returns the error for a replacement that has no tensor to take the place of."""
    advice = advice or (
        'say which tensor it replaces with --map and "weight", or leave it out with '
        f'{{"replacements": {{"{name}": {{"skip": true}}}}}}'
    )
    return TargetNotFoundError(Violation("E-REPLACEMENT-NOT-FOUND", name, problem, advice=advice))


def listed(names: Sequence[str]) -> str:
    """Returns the first few of `names`, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
