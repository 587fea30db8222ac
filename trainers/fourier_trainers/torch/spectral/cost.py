"""Which way to compute is cheapest: through the delta weight, or through activations alone.

Through the weight: FFTs over (out, in), and matrix products that the base needs anyway, or, for the
coefficients' gradient, one that it does not. Through activations: FFTs over the tokens, and sums
over n entries. Times are in nanoseconds, from `benchmarks/calibrate_paths.py`; only their ratios
matter, and a wrong one costs time and never a digit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch

from fourier_trainers.config import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What a device needs, in nanoseconds.

    Attributes:
        multiply_add: One of a matrix product.
        fft_cell: One real number through an FFT along its axis and a transpose, for length 1024;
            it grows with the logarithm of the length.
        route_cell: One number of one route, read and added.
        call: What each of the few kernels of a block takes at least.
    """

    multiply_add: float
    fft_cell: float
    route_cell: float
    call: float


COSTS: Final[dict[str, Costs]] = {
    "cpu": Costs(multiply_add=0.0105, fft_cell=0.85, route_cell=0.06, call=5e3),
    "cuda": Costs(multiply_add=6e-6, fft_cell=8e-3, route_cell=2e-3, call=5e3),
}
"""Device type -> its costs: two cores with AVX-512 (2026-11); for CUDA estimates from bandwidth."""


class Plan(NamedTuple):
    """Through what each of a layer's three products is computed: "weight" or "activation".

    Attributes:
        forward: The output.
        x_gradient: The gradient of the input.
        coefficients: The gradient of the coefficients.
    """

    forward: str
    x_gradient: str
    coefficients: str


def plan(
    path: Path,
    shape: tuple[int, int],
    routes: int,
    tokens: int,
    device: torch.device,
    *,
    x_gradient: bool,
    separate: bool,
) -> Plan:
    """Returns the cheapest plan, or the one that `path` asks for.

    Args:
        path: "auto", or what all three must be computed through.
        shape: (out, in).
        routes: Cells of M that hold coefficients, over all active adapters.
        tokens: Rows of the input.
        device: Where it runs.
        x_gradient: Whether the input's gradient is wanted.
        separate: Whether delta and base weight are multiplied separately, as half precision needs.
    """
    if path != "auto":
        return Plan(path, path, path)
    costs = COSTS.get(device.type, COSTS["cuda"])
    out, in_ = shape
    product = tokens * out * in_ * costs.multiply_add
    delta = _fft(costs, out, in_) + (product if separate else 0.0)
    into = tokens * _per_cell(costs, in_) * in_ + 2 * costs.call
    onto = tokens * _per_cell(costs, out) * out + 2 * costs.call
    sums = tokens * routes * costs.route_cell + costs.call
    forward = "weight" if delta < into + sums + onto else "activation"
    choices = [
        (delta + product + _fft(costs, out, in_), "weight", "weight"),
        (delta + into + onto + sums, "weight", "activation"),
        (onto + sums + into + product + _fft(costs, out, in_), "activation", "weight"),
        (2 * into + onto + 2 * sums, "activation", "activation"),
    ]
    if not x_gradient:
        choices = [
            (product + _fft(costs, out, in_), "activation", "weight"),
            (into + onto + sums, "activation", "activation"),
        ]
    best = choices[0]
    for choice in choices[1:]:  # min with a key cannot be compiled where tokens vary
        if choice[0] < best[0]:
            best = choice
    return Plan(forward, *best[1:])


def _fft(costs: Costs, out: int, in_: int) -> float:
    """A delta weight, or the adjoint: one pass along each axis."""
    return out * in_ * (_per_cell(costs, out) + _per_cell(costs, in_)) + 6 * costs.call


def _per_cell(costs: Costs, length: int) -> float:
    return costs.fft_cell * (1 + math.log2(max(length, 2))) / 11
