"""Drawing entries: the registered generators, defined to the bit (spec, clause 7).

One module a method; each has `draw(shape, count, ...) -> flat indices`. The recipe in a file is
provenance: `mismatch` re-draws it, and the stored tensor wins whatever comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from fourier_format import limits
from fourier_format.adapter import Array, Sampling
from fourier_format.errors import UsageError, Violation
from fourier_format.sampling import band_pass, torch_randperm, uniform
from fourier_format.sampling.budget import Budget

Draw = Callable[[tuple[int, int], int, int, Sampling, Budget], Array]

GENERATORS: Final[dict[tuple[str, str], Draw]] = {
    ("uniform", uniform.GENERATOR): lambda shape, n, seed, *_: uniform.draw(shape, n, seed),
    ("band-pass", band_pass.GENERATOR): lambda shape, n, seed, sampling, budget: band_pass.draw(
        shape, n, seed, **_band(sampling), budget=budget
    ),
    ("torch-randperm", torch_randperm.FORWARD): lambda shape, n, seed, *_: torch_randperm.forward(
        shape[0] * shape[1], n, seed
    ),
    ("torch-randperm", torch_randperm.INSIDE_OUT): lambda shape, n, seed, _, budget: (
        torch_randperm.inside_out(shape[0] * shape[1], n, seed, budget)
    ),
}
"""(method, generator) -> its draw; the registry's table 3."""


def draw(
    shape: tuple[int, int],
    count: int,
    sampling: Sampling,
    seed: int | None = None,
    budget: Budget | None = None,
) -> Array:
    """Returns (count, 2) int32 distinct entries (u, v), in the order of drawing.

    Args:
        shape: (out, in).
        count: How many, 1 to out * in.
        sampling: The recipe.
        seed: The seed where the recipe has none of its own.
        budget: What drawing may cost; without one, whatever it does.

    Raises:
        UsageError: The recipe is not defined, has no seed, or asks for too many entries.
        BudgetSpentError: It costs more than the budget has left.
    """
    chosen = sampling.seed if sampling.seed is not None else seed
    generator = GENERATORS.get((sampling.method, sampling.generator or ""))
    if generator is None:
        got = f"{sampling.method} by {sampling.generator}"
        raise _refused("E-SAMPLING-UNKNOWN", "not a registered recipe", got)
    if chosen is None:
        raise _refused("E-FIELD-MISSING", "neither the recipe nor the adapter has a seed")
    if not 1 <= count <= shape[0] * shape[1]:
        problem = "as many entries as that do not exist"
        raise _refused("E-FIELD-VALUE", problem, str(count), f"1 to {shape[0] * shape[1]}")
    flat = generator(shape, count, chosen & limits.MAX_SEED, sampling, budget or Budget())
    return np.stack([flat // shape[1], flat % shape[1]], axis=1).astype(np.int32)  # (n, 2)


def is_known(sampling: Sampling) -> bool:
    """Whether `draw` can re-draw this recipe."""
    return (sampling.method, sampling.generator or "") in GENERATORS


def torch_generator(shape: tuple[int, int]) -> str:
    """Returns the generator that torch >= 2.6 uses for a layer of this shape."""
    return torch_randperm.generator_for(shape[0] * shape[1])


def mismatch(
    shape: tuple[int, int],
    entries: Array,
    sampling: Sampling,
    seed: int | None,
    budget: Budget | None = None,
) -> Violation | None:
    """Returns how the recipe's draw differs from the stored `entries`, None where it does not.

    Raises:
        BudgetSpentError: Drawing costs more than the budget has left.
    """
    try:
        drawn = draw(shape, entries.shape[0], sampling, seed, budget)
    except UsageError as error:
        (violation,) = error.violations
        return Violation("E-SAMPLING-MISMATCH", "", f"cannot be drawn: {violation.problem}")
    wrong = np.flatnonzero((drawn != entries).any(axis=1))
    if not wrong.size:
        return None
    k = int(wrong[0])
    problem = f"{wrong.size} of {entries.shape[0]} entries are not what the recipe draws, first {k}"
    got, expected = str(tuple(entries[k].tolist())), str(tuple(drawn[k].tolist()))
    advice = "the stored entries count; correct or drop the recipe"
    return Violation("E-SAMPLING-MISMATCH", "", problem, got, expected, advice)


def _band(sampling: Sampling) -> dict[str, float]:
    try:
        return {key: float(sampling.parameters[key]) for key in ("centre", "width")}
    except KeyError as error:
        raise _refused("E-FIELD-MISSING", f"band-pass needs the parameter {error}") from None


def _refused(
    code: str, problem: str, got: str | None = None, expected: str | None = None
) -> UsageError:
    return UsageError(Violation(code, "sampling", problem, got, expected))
