"""Which entries a configuration means for a target, and how the format notes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from fourier_format import sampling
from fourier_format.adapter import Array, Sampling
from fourier_format.errors import TargetNotFoundError, UsageError, Violation
from fourier_trainers.config import BandPass, Explicit, FourierConfig, TorchRandperm
from fourier_trainers.refusals import Sized

B = TypeVar("B")


def recipe_of(config: FourierConfig, shape: tuple[int, int]) -> Sampling:
    """Returns how entries for `shape` are drawn, as the format notes it."""
    entries = config.entries
    if isinstance(entries, Explicit):
        return Sampling(method="explicit")
    if isinstance(entries, BandPass):
        band = {"centre": float(entries.centre), "width": float(entries.width)}
        return Sampling(method="band-pass", generator="splitmix64-rejection", parameters=band)
    if isinstance(entries, TorchRandperm):
        return Sampling(method="torch-randperm", generator=sampling.torch_generator(shape))
    return Sampling(method="uniform", generator="splitmix64-fisher-yates")


def bases_of(
    sites: Sequence[Sized],
    config: FourierConfig,
    basis: Callable[[str, tuple[int, int], Array], B],
) -> list[B]:
    """Returns the basis of each site; those of one shape and n are one object.

    Args:
        sites: The targets.
        config: What was asked for.
        basis: Makes a basis of a transform, a shape and entries.

    Raises:
        TargetNotFoundError: Entries are explicit, and there are none for a shape.
        UsageError: They are not n distinct entries within the shape.
    """
    made: dict[tuple[tuple[int, int], int], B] = {}
    for site in sites:
        key = site.shape, site.n
        if key not in made:
            entries = entries_for(config, site.shape, site.n, site.name)
            made[key] = basis(config.transform, site.shape, entries)
    return [made[site.shape, site.n] for site in sites]


def entries_for(config: FourierConfig, shape: tuple[int, int], n: int, where: str) -> Array:
    """Returns the entries, (n, 2) int32, of a target of `shape`; `where` names it in errors.

    Raises:
        TargetNotFoundError: Entries are explicit, and there are none for this shape.
        UsageError: They are not n distinct entries within the shape.
    """
    if not isinstance(config.entries, Explicit):
        return sampling.draw(shape, n, recipe_of(config, shape), config.seed)
    given = config.entries.entries.get(shape)
    if given is None:
        problem = f"there are no explicit entries for its shape {shape}"
        raise TargetNotFoundError(Violation("E-TARGET-NOT-FOUND", where, problem))
    entries = np.asarray(given)
    wrong = _explicit_problem(entries, shape, n)
    if wrong is not None:
        code, problem, got, expected = wrong
        raise UsageError(Violation(code, f"entries of {shape}", problem, got, expected))
    return entries.astype(np.int32)


def _explicit_problem(
    entries: Array, shape: tuple[int, int], n: int
) -> tuple[str, str, str, str] | None:
    """Returns code, problem, got and expected of explicit entries; None if they are right."""
    if entries.shape != (n, 2) or entries.dtype.kind not in "iu":
        got = f"{entries.dtype} {entries.shape}"
        return "E-FIELD-VALUE", "not a list of n entries", got, f"integers ({n}, 2)"
    if (entries < 0).any() or (entries >= np.array(shape)).any():
        outside = entries[((entries < 0) | (entries >= np.array(shape))).any(axis=1)][0]
        return (
            "E-ENTRY-RANGE",
            "an entry lies outside",
            str(tuple(outside.tolist())),
            "u < out, v < in",
        )
    if len(np.unique(entries, axis=0)) != len(entries):
        return "E-ENTRY-DUPLICATE", "an entry occurs twice", str(len(entries)), "distinct entries"
    return None
