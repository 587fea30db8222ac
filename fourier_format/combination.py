"""One adapter whose delta weights are a weighted sum of those of several.

A delta weight is linear in alpha times its coefficients (spec, clause 3.1), so the sum is made in
coefficients: exact but for one rounding to float32, and as small as an adapter. Replacements are
whole tensors, of which there is no sum; they are taken as they are, whatever the scale.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from fourier_format import agreement, limits, words
from fourier_format.adapter import Adapter, Array, EntrySet, Sampling, Target
from fourier_format.assembly import Piece, assemble
from fourier_format.errors import BaseMismatchError, UnsupportedError, UsageError, Violation
from fourier_format.fingerprint import NORM_TOLERANCE, Fingerprint, row_of

T = TypeVar("T")


def combine(adapters: Sequence[Adapter], scales: Sequence[float]) -> Adapter:
    """Returns one adapter whose delta weights are the sums of scale times the given ones'.

    A target that only some adapters have gets what those give. It keeps the alpha of the first of
    them whose alpha is not 0, and its coefficients are float32, relative to that alpha. Where
    entries differ, their union is taken in the order in which they come. Replacements are kept
    whole, whatever the scale. Of what the adapters state beside that, the result states what none
    of them contradicts; recipes where they still draw the entries; origins, metadata and
    extensions not at all, for they describe a single adapter.

    Args:
        adapters: One or more valid adapters of one base.
        scales: A finite factor for each.

    Raises:
        BaseMismatchError: A target's kind, shape or fingerprint says that the bases differ.
        UnsupportedError: Two adapters replace one tensor by different ones, the transforms
            differ, coefficients exceed float32, or the result exceeds the format's limits.
        UsageError: No adapters, or not one finite scale for each.
    """
    from fourier_format import __version__  # here: the package exports this module's function

    _check_arguments(adapters, scales)
    _check_transforms(adapters)
    sums = _sums(adapters, scales)
    first = adapters[0]
    modules: list[tuple[str, ...] | str | None] = [a.target_modules for a in adapters]
    seed = agreement.common([a.seed for a in adapters])
    entry_sets, targets = assemble(_pieces(sums, first.alpha, seed))
    _check_limits(targets, entry_sets)
    return Adapter(
        alpha=first.alpha,
        seed=seed,
        transform=first.transform,
        entry_sets=entry_sets,
        targets=targets,
        target_modules=agreement.common(modules),
        replacements=agreement.replacements(adapters),
        base_model=agreement.base_model(adapters),
        labels=agreement.agreed([a.labels for a in adapters]),
        producer={"name": "fourier-format", "version": __version__},
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What one adapter gives to a target of the combination."""

    adapter: Adapter
    target: Target
    scale: float

    @property
    def alpha(self) -> float:
        return self.adapter.alpha_of(self.target)

    @property
    def entries(self) -> Array:
        return self.adapter.entry_set(self.target).entries

    @property
    def fingerprint(self) -> Fingerprint | None:
        prints = self.adapter.entry_set(self.target).fingerprints
        return None if prints is None else row_of(prints, self.target.row)

    @property
    def recipe(self) -> Sampling | None:
        """The recipe of its entries, with the seed that it means."""
        recipe = self.adapter.entry_set(self.target).sampling
        if recipe is None or recipe.method == "explicit":
            return recipe
        return replace(recipe, seed=self.adapter.seed if recipe.seed is None else recipe.seed)


class _Sum(NamedTuple):
    """A target of the combination.

    Attributes:
        target: Its name, kind and shape; its set and row are not known yet.
        entries: (n, 2) int32.
        coefficients: (n,) float32, relative to the target's alpha.
        recipe: What draws the entries, if an adapter states it.
        fingerprint: The base's, if known.
    """

    target: Target
    entries: Array
    coefficients: Array
    recipe: Sampling | None
    fingerprint: Fingerprint | None


def _sums(adapters: Sequence[Adapter], scales: Sequence[float]) -> list[_Sum]:
    """Returns the combination's targets, in the order in which they come."""
    parts: dict[str, list[_Part]] = defaultdict(list)
    for adapter, scale in zip(adapters, scales, strict=True):
        for target in adapter.targets:
            parts[target.name].append(_Part(adapter, target, scale))
    different = [v for members in parts.values() for v in _differences(members)]
    if different:
        raise BaseMismatchError(different)
    sums = [_sum(members) for members in parts.values()]
    too_large = [s.target.name for s in sums if not np.isfinite(s.coefficients).all()]
    if too_large:
        problem = "the sum of its coefficients is beyond float32"
        advice = "use smaller scales"
        raise UnsupportedError(
            [Violation("E-NUMBER-NONFINITE", n, problem, advice=advice) for n in too_large]
        )
    return sums


def _sum(parts: Sequence[_Part]) -> _Sum:
    alpha = next((part.alpha for part in parts if part.alpha), 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # refused by the caller, by name
        values = [
            part.adapter.coefficients(part.target).astype(np.float64)
            * part.scale
            * (part.alpha / alpha if alpha else 1.0)
            for part in parts
        ]
        entries, summed = _union([part.entries for part in parts], values, parts[0].target.shape)
        coefficients = summed.astype(np.float32)
    same = [part.recipe for part in parts if np.array_equal(part.entries, entries)]
    target = replace(parts[0].target, alpha=alpha, extensions={})
    prints = [p for part in parts if (p := part.fingerprint) is not None]
    return _Sum(target, entries, coefficients, _first(same), _first(prints))


def _union(
    entries: Sequence[Array], values: Sequence[Array], shape: tuple[int, int]
) -> tuple[Array, Array]:
    """Returns distinct (n, 2) int32 entries as they come, and the (n,) float64 sums of values."""
    width = shape[1]
    flat = np.concatenate([e[:, 0].astype(np.int64) * width + e[:, 1] for e in entries])  # (m,)
    distinct, first, inverse = np.unique(flat, return_index=True, return_inverse=True)
    order = np.argsort(first)  # (n,), sorted -> as they come
    summed = np.bincount(inverse, np.concatenate(values), minlength=distinct.size)
    return np.stack(np.divmod(distinct[order], width), axis=1).astype(np.int32), summed[order]


def _pieces(sums: Sequence[_Sum], alpha: float, seed: int | None) -> list[Piece]:
    """Returns the targets as `assemble` takes them; recipes leave out a seed that is the common."""
    return [
        Piece(
            name=s.target.name,
            kind=s.target.kind,
            shape=s.target.shape,
            entries=s.entries,
            coefficients=s.coefficients,
            alpha=None if s.target.alpha == alpha else s.target.alpha,
            sampling=_relative(s.recipe, seed),
            fingerprint=s.fingerprint,
        )
        for s in sums
    ]


def _relative(recipe: Sampling | None, seed: int | None) -> Sampling | None:
    return recipe if recipe is None or recipe.seed != seed else replace(recipe, seed=None)


def _differences(parts: Sequence[_Part]) -> Iterator[Violation]:
    """Yields what says that the adapters were trained on different weights of this name."""
    name = parts[0].target.name
    for what, values in (
        ("kinds", [part.target.kind for part in parts]),
        ("shapes", [words.shape(part.target.shape) for part in parts]),
    ):
        other = next((value for value in values if value != values[0]), None)
        if other is not None:
            yield _mismatch(name, f"the adapters give it different {what}", values[0], other)
            return
    prints = [p for part in parts if (p := part.fingerprint) is not None]
    if any(not _is_same_weight(prints[0], other) for other in prints[1:]):
        yield _mismatch(name, "its fingerprints differ: the adapters were trained on other weights")


def _is_same_weight(a: Fingerprint, b: Fingerprint) -> bool:
    return (
        a.dtype == b.dtype
        and np.array_equal(a.samples, b.samples)
        and math.isclose(a.norm, b.norm, rel_tol=NORM_TOLERANCE)
        and np.array_equal(a.sha256, b.sha256)
    )


def _mismatch(name: str, problem: str, *got: str) -> Violation:
    advice = "combine adapters that were trained on one base"
    return Violation("E-BASE-MISMATCH", name, problem, " and ".join(got) or None, advice=advice)


def _first(values: Sequence[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)


def _check_arguments(adapters: Sequence[Adapter], scales: Sequence[float]) -> None:
    if not adapters:
        raise UsageError(Violation("E-USAGE", "combine", "there are no adapters"))
    if len(adapters) != len(scales):
        got, expected = f"{len(scales)} scales", f"{len(adapters)}, one for each adapter"
        problem = "adapters and scales do not pair"
        raise UsageError(Violation("E-USAGE", "combine", problem, got, expected))
    unusable = [str(scale) for scale in scales if not math.isfinite(scale)]
    if unusable:
        problem = "a scale is not finite"
        raise UsageError(Violation("E-USAGE", "combine", problem, ", ".join(unusable)))


def _check_transforms(adapters: Sequence[Adapter]) -> None:
    transforms = sorted({a.transform for a in adapters})
    if len(transforms) > 1:
        problem = "adapters of different transforms have no common coefficients"
        got = " and ".join(transforms)
        raise UnsupportedError(Violation("E-CONVERSION-UNSUPPORTED", "transform", problem, got))


def _check_limits(targets: Sequence[Target], sets: Sequence[EntrySet]) -> None:
    """Refuse a union that no file could hold (spec, clause 8)."""
    advice = "combine fewer adapters at a time, or ones that share their entries"
    for where, count, most in (
        ("targets", len(targets), limits.MAX_TARGETS),
        ("entries", len(sets), limits.MAX_ENTRY_SETS),
    ):
        if count > most:
            problem = f"the combination has too many {where} for one file"
            raise UnsupportedError(
                Violation("E-LIMIT", where, problem, str(count), f"at most {most}", advice)
            )
