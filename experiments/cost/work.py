"""What there is to do in a training step, counted: the model's side that needs no measurement.

Units, of one linear layer (width d, t tokens, n coefficients, rank r):

- `base`, `lora`, `weight`, `activation`: 1 for each part that is there: what its calls take;
- `gemm`: multiply-adds of dense products, t d^2 each: two of the base, and a third where the
  coefficients' gradient goes through the weight's;
- `thin`: multiply-adds of products with a factor, t d r each: six of a LoRA;
- `fft`: numbers that go through an FFT along an axis, times log2 of its length;
- `route`: numbers that are read and added: 2 n rows of t in each of three sums;
- `moved`: numbers that are read or written beside that.

Counts of products, of FFTs and of sums are held to what torch does. How often a number is `moved`
is assumed from the code (`_BASE_STATES` and below): no counter sees it, so these are part of what
is fitted, and errors tell whether they hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Work = dict[str, float]

THROUGH = ("weight", "activation")
"""Through what a product may be computed."""

ADD_STATES = 3  # a sum of two reads both and writes one
_WAVES = 2  # a cosine and a sine of each entry
_BASE_STATES = 4  # x, y and their gradients
_LORA_STATES = 16  # product, scale and sum of both passes, and what two more products read
_PASS_STATES = 4  # an FFT reads and writes, and so does the transpose beside it
_ROUTE_STATES = 1 + ADD_STATES  # sums of routes are written, and added
_DELTA_CELLS = 7  # the weight copied, the cells of M cleared and filled, the delta added
_CACHED = 2**20  # numbers of a new array that a cache does not hold: 4 MiB
_BLOCK = 2**18  # numbers of a block on the CPU: trainers, spectral/arithmetic.py
_ADJOINT_CELLS = 1  # the weight's gradient is written


def base(width: int, tokens: int) -> Work:
    """Returns the work of a frozen layer, forwards and backwards to its input."""
    cells = 2 * width**2 + _BASE_STATES * tokens * width
    return {"base": 1, "gemm": 2 * tokens * width**2, "moved": cells}


def lora(width: int, tokens: int, rank: int) -> Work:
    """Returns the work of a layer with a LoRA."""
    own = {
        "lora": 1,
        "thin": 6 * tokens * width * rank,
        "moved": _LORA_STATES * tokens * width + 6 * width * rank,
    }
    return together(base(width, tokens), own)


def fourier(width: int, tokens: int, n: int, plan: Sequence[str]) -> Work:
    """Returns the work of a layer with FourierFT.

    Args:
        width: Of the layer.
        tokens: Of the step.
        n: Coefficients.
        plan: Through what output, gradient of the input and gradient of the coefficients are
            computed: "weight" or "activation" (`fourier_trainers.torch.spectral.cost`).
    """
    forward, x_gradient, coefficients = plan
    deltas = [forward, x_gradient].count("weight")
    sums = [forward, x_gradient, coefficients].count("activation")
    passes = _passes(forward, x_gradient, coefficients)
    parts = [base(width, tokens)]
    if "weight" in plan:
        parts.append(_through_weight(width, tokens, n, deltas, coefficients == "weight"))
    if sums:
        parts.append(_through_activations(width, tokens, n, passes, sums))
    return together(*parts)


def delta(kind: str, width: int, size: int) -> Work:
    """Returns the work of a delta weight (width, width), to be merged: of n entries or a rank."""
    cells = width**2
    cold = cells if cells >= _CACHED else 0
    if kind == "lora":
        return {"lora": 1, "product": size * cells, "lora moved": cells, "cold": cold}
    fft = (_used(width, size) + width) * width * math.log2(width)
    return {"fourier": 1, "fft": fft, "fourier moved": cells, "cold": cold}


def held(kind: str, width: int, tokens: int, size: int, plan: Sequence[str]) -> Work:
    """Returns what a forward and backward pass holds at most: numbers of float32, by unit.

    All hold output and gradient of the input. A product through the weight holds matrices of it and
    the rows of A_in in use; one through activations works on blocks of so many numbers at most.
    """
    found: Work = {"state": 2 * tokens * width}
    if kind == "lora":
        return found | {
            "lora state": tokens * width, "product": tokens * size, "factor": width * size,
        }  # fmt: skip
    if "weight" in plan:
        cells = width**2
        rows = _used(width, size) * width
        return found | {"cell": cells, "row": rows, "cell block": min(cells, _BLOCK)}
    if plan:
        return found | {"block": min(tokens * width, _BLOCK), "entry": size}
    return found


def together(*parts: Mapping[str, float]) -> Work:
    """Returns the sum of works."""
    found: Work = {}
    for part in parts:
        for unit, count in part.items():
            found[unit] = found.get(unit, 0.0) + count
    return found


def _passes(forward: str, x_gradient: str, coefficients: str) -> int:
    """Returns how many FFTs of all tokens there are."""
    passes = 2 if forward == "activation" else 0
    if coefficients == "activation":  # of x and of the output's gradient
        passes += 2
    if x_gradient == "activation":  # back; the gradient's own transform is shared if it is there
        passes += 1 if coefficients == "activation" else 2
    return passes


def _through_weight(width: int, tokens: int, n: int, deltas: int, adjoint: bool) -> Work:
    """Each delta, and the adjoint, is an FFT of a whole axis, and one of the rows in use."""
    both = deltas + adjoint
    return {
        "weight": 1,
        "gemm": tokens * width**2 if adjoint else 0,
        "fft": both * (width + _used(width, n)) * width * math.log2(width),
        "moved": (deltas * _DELTA_CELLS + adjoint * _ADJOINT_CELLS + 4 * both) * width**2,
    }


def _through_activations(width: int, tokens: int, n: int, passes: int, sums: int) -> Work:
    return {
        "activation": 1,
        "fft": passes * tokens * width * math.log2(width),
        "route": sums * _WAVES * n * tokens,
        "moved": (passes * _PASS_STATES + sums * _ROUTE_STATES) * tokens * width,
    }


def _used(width: int, n: int) -> float:
    """Returns the rows of A_in that n entries use: width / 2 frequencies, of which n are drawn."""
    return width * (1 - (1 - 2 / width) ** n)
