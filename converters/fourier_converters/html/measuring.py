"""What is measured of an adapter: how much each target changes, and how that is spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from fourier_converters.html.singular import Core, Singular
from fourier_format.adapter import Adapter, Array, EntrySet, Target
from fourier_format.diagnostics import Finding, WatchedTarget, finished_findings
from fourier_format.spectral.routes import routes
from fourier_format.transforms import named

Progress = Callable[[str], None]
"""Told what is being worked on."""

LORA_RANK: Final = 8
"""The rank of LoRA that people compare with."""

DETAILED: Final = 256
"""Targets of which singular values and maps are made: those that change most."""

CACHED: Final = 8
"""Entry sets of which what their targets share is kept: it is several times the entries' size."""

_ROWS: Final = 64
"""Rows of coefficients whose norms are computed together: a set's would take its size again."""


@dataclass(frozen=True, slots=True)
class BaseWeight:
    """What is known of the weight that a target changes.

    Attributes:
        norm: Its Frobenius norm; None where not known.
        dtype: The dtype that a merged weight would be rounded to; None where not known.
        found: Where it lies in the base; "" without a base.
    """

    norm: float | None = None
    dtype: str | None = None
    found: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What is known of one target.

    Attributes:
        target: The target.
        n: The number of its coefficients.
        alpha: Its scale.
        norm: The Frobenius norm of its delta weight.
        base: What is known of the base's weight.
        singular: Singular values at alpha = 1; None where they were not computed.
    """

    target: Target
    n: int
    alpha: float
    norm: float
    base: BaseWeight
    singular: Singular | None = None

    @property
    def relative(self) -> float | None:
        """Returns the norm over the weight's; None where that is zero or not known."""
        return self.norm / self.base.norm if self.base.norm else None

    @property
    def spectral(self) -> float | None:
        """Returns the largest singular value of the delta weight."""
        if self.singular is None or not self.singular.values.size:
            return None
        return float(self.singular.values[0]) * abs(self.alpha)

    def findings(self) -> tuple[Finding, ...]:
        """Returns what diagnostics see in the finished target."""
        watched = WatchedTarget(
            name=self.target.name,
            shape=self.target.shape,
            count=self.n,
            alpha=self.alpha,
            weight_norm=self.base.norm,
            dtype=self.base.dtype,
        )
        return finished_findings(watched, self.norm)


def measure(
    adapter: Adapter, weights: Mapping[str, BaseWeight], progress: Progress
) -> tuple[Measured, ...]:
    """Returns what is known of every target, in the adapter's order.

    Args:
        adapter: The adapter.
        weights: What a base tells of targets' weights, by name; for others the adapter's
            fingerprints do.
        progress: Called before each target's work.
    """
    norms = {(s.id, row): norm for s in adapter.entry_sets for row, norm in _norms(adapter, s)}
    found = [
        Measured(
            target=target,
            n=adapter.entry_set(target).count,
            alpha=adapter.alpha_of(target),
            norm=norms[target.entries, target.row] * abs(adapter.alpha_of(target)),
            base=weights.get(target.name) or _printed(adapter, target),
        )
        for target in adapter.targets
    ]
    chosen = {one.target.name for one in by_change(found)[:DETAILED]}
    sets = {entry_set.id: entry_set for entry_set in adapter.entry_sets}

    @lru_cache(CACHED)
    def core(id_: str) -> Core:
        return Core(routes(adapter.transform, sets[id_].shape, sets[id_].entries))

    for place, one in enumerate(found):
        progress(one.target.name)
        if one.target.name in chosen and one.norm:
            norm = norms[one.target.entries, one.target.row]
            values = adapter.coefficients(one.target)
            found[place] = replace(one, singular=core(one.target.entries).singular(values, norm))
    return tuple(found)


def is_relative(measured: Sequence[Measured]) -> bool:
    """Whether changes are shown over their weights: all norms are known, and some are not zero."""
    known = all(one.base.norm is not None for one in measured)
    return known and any(one.base.norm for one in measured)


def by_change(measured: Sequence[Measured]) -> list[Measured]:
    """Returns the targets, those that change most first, by what is shown: `is_relative`.

    A weight of zero is changed more than any other, unless the change is zero too.
    """
    if not is_relative(measured):
        return sorted(measured, key=lambda one: -one.norm)
    return sorted(measured, key=lambda one: (-_over_weight(one), -one.norm))


def _over_weight(one: Measured) -> float:
    if one.relative is not None:
        return one.relative
    return math.inf if one.norm else 0.0


def _norms(adapter: Adapter, entry_set: EntrySet) -> Iterator[tuple[int, float]]:
    """Yields the rows of a set with the Frobenius norms of their delta weights at alpha = 1."""
    norms = named(adapter.transform).norms
    for start in range(0, entry_set.coefficients.shape[0], _ROWS):
        part: Array = entry_set.coefficients[start : start + _ROWS]
        found = norms(entry_set.entries, part, entry_set.shape)
        yield from enumerate(map(float, found), start)


def _printed(adapter: Adapter, target: Target) -> BaseWeight:
    """Returns what the adapter's fingerprint tells of the weight."""
    prints = adapter.entry_set(target).fingerprints
    if prints is None:
        return BaseWeight()
    return BaseWeight(float(prints.norm[target.row]), prints.dtype)
