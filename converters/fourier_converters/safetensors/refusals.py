"""The errors of matching that only checkpoints of torch weights have."""

from __future__ import annotations

from collections.abc import Collection

from fourier_format.adapter import Target
from fourier_format.errors import UnsupportedError, Violation


def kind(target: Target) -> UnsupportedError:
    """Returns the error for a kind that no torch module has."""
    problem = "a checkpoint of torch weights holds no weight of this kind"
    expected = "linear, conv2d or embedding"
    return UnsupportedError(
        Violation("E-CONVERSION-UNSUPPORTED", target.name, problem, target.kind, expected)
    )


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
