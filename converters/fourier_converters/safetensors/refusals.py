"""The errors of matching: what was looked for in a checkpoint, and what was there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from fourier_converters.safetensors.places import Place, Places
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


def kind(target: Target) -> UnsupportedError:
    """Returns the error for a kind that no torch module has."""
    problem = "a checkpoint of torch weights holds no weight of this kind"
    expected = "linear, conv2d or embedding"
    return UnsupportedError(
        Violation("E-CONVERSION-UNSUPPORTED", target.name, problem, target.kind, expected)
    )


def dtype(target: Target, tensor: str, stored: str) -> UnsupportedError:
    """Returns the error for a weight that is quantised."""
    problem = f"the base holds {tensor!r} as {stored}, which nothing can be added to"
    advice = "merge into the base before it is quantised"
    return UnsupportedError(Violation("E-BASE-UNSUPPORTED", target.name, problem, advice=advice))


def not_found(target: Target, problem: str, places: Places) -> TargetNotFoundError:
    """Returns the error for a target whose weight is nowhere; lists weights of its shape."""
    alike = list(dict.fromkeys(place.tensor for place in places.everywhere(target)))
    got = f"{len(alike)} weights of shape (out, in) {words.shape(target.shape)}"
    if alike:
        got += f": {_listed(alike)}"
    advice = "is this the base that the adapter was trained on? Else say where with --map"
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
    problem = f"could be any of {_listed(found)}"
    advice = 'say which one with --map and "weight"'
    return TargetNotFoundError(Violation("E-TARGET-AMBIGUOUS", name, problem, advice=advice))


def maybe_tied(target: Target, place: Place) -> TargetNotFoundError:
    """Returns the error for a head that is found as what may be the embedding alone."""
    problem = (
        f"its weight is stored as {place.tensor!r}, which may be an embedding that it is tied to: "
        "what reads that would change too"
    )
    advice = f'if both are to change, say so with --map and {{"weight": "{place.tensor}"}}'
    return TargetNotFoundError(Violation("E-TARGET-AMBIGUOUS", target.name, problem, advice=advice))


def orientation(target: Target, tensor: str, model_types: Collection[str]) -> UnsupportedError:
    """Returns the error for a square weight that nothing says the orientation of."""
    told = f"the model types {sorted(model_types)}" if model_types else "no model type"
    problem = f"nothing says whether the base stores {tensor!r} as (out, in) or (in, out)"
    advice = (
        'say it with --map and {"layout": "out_in"} for nn.Linear, "in_out" for Conv1D, or put the '
        "model's config.json into the base's directory"
    )
    return UnsupportedError(
        Violation(
            "E-ORIENTATION-UNKNOWN", target.name, problem, f"{told} in config.json", advice=advice
        )
    )


def wrong_weight(
    target: Target, place: Place, evidence: str, elsewhere: Sequence[Place]
) -> TargetNotFoundError | BaseMismatchError:
    """Returns the error for a weight without the target's fingerprint."""
    if elsewhere:
        got = f"{evidence}: {place}; fingerprint: {_listed([str(p) for p in elsewhere])}"
        problem = f"the {evidence} and the fingerprint point to different weights"
        advice = "is this the right base? Else say which with --map"
        return TargetNotFoundError(
            Violation("E-EVIDENCE-DISAGREES", target.name, problem, got, advice=advice)
        )
    problem = "the weight found does not have the fingerprint of the one that was trained on"
    return BaseMismatchError(
        Violation("E-BASE-MISMATCH", target.name, problem, str(place), advice=_RIGHT_BASE)
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
