"""An adapter's names, and a model's: where they differ, fingerprints say which target is which.

An adapter that was trained in Keras names its targets as Keras does, and one of PyTorch as PyTorch
does; Keras numbers layers anew in every process. What a target is stays: its weight.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from fourier_format.adapter import Adapter, Array, Target
from fourier_format.errors import TargetNotFoundError, Violation
from fourier_format.fingerprint import agrees

_SHOWN: Final = 5
"""Candidates that an error lists."""


class Candidate(NamedTuple):
    """A layer of a model that a target may be.

    Attributes:
        kind: The format's name for its kind.
        shape: (out, in) of its canonical matrix.
        dtype: The format's name for its weight's dtype.
        samples: Returns the (32,) float32 samples of its canonical matrix.
    """

    kind: str
    shape: tuple[int, int]
    dtype: str
    samples: Callable[[], Array]


def same_kind(one: str, other: str) -> bool:
    """Whether layers of two kinds compute the same with one canonical matrix.

    A Dense over one axis may stand for an EinsumDense over several that are flattened.
    """
    return one == other or {one, other} == {"linear", "einsum_dense"}


def by_fingerprint(adapter: Adapter, candidates: Mapping[str, Candidate]) -> dict[str, str]:
    """Returns the candidate of each target, by name: the one whose weight has its fingerprint.

    Raises:
        TargetNotFoundError: A target has no fingerprint, no candidate, or several; or two targets
            have the same.
    """
    samples: dict[str, Array] = {}
    found, wrong = dict[str, str](), list[Violation]()
    for target in adapter.targets:
        names = _agreeing(adapter, target, candidates, samples)
        if len(names) == 1:
            found[target.name] = names[0]
        else:
            wrong.append(_unclear(adapter, target, names))
    for name, count in Counter(found.values()).items():
        if count > 1:
            targets = ", ".join(target for target, one in found.items() if one == name)
            problem = "several targets have its fingerprint"
            wrong.append(Violation("E-TARGET-AMBIGUOUS", name, problem, targets))
    if wrong:
        raise TargetNotFoundError(wrong)
    return found


def renamed(adapter: Adapter, names: Mapping[str, str], kinds: Mapping[str, str]) -> Adapter:
    """Returns the adapter with its targets called, and of the kind, that a model says."""
    targets = tuple(
        replace(t, name=names[t.name], kind=kinds[names[t.name]]) for t in adapter.targets
    )
    return replace(adapter, targets=targets, target_modules=None)


def show(names: Mapping[str, str]) -> None:
    """Print which target is which layer, for a user to see."""
    width = max(map(len, names))
    lines = [f"  {target:<{width}} -> {name}" for target, name in names.items()]
    head = "fourier-format: the adapter's names are not the model's; by fingerprint they are"
    print("\n".join([head, *lines]), file=sys.stderr)  # noqa: T201 - what it is for


def _agreeing(
    adapter: Adapter,
    target: Target,
    candidates: Mapping[str, Candidate],
    samples: dict[str, Array],
) -> list[str]:
    prints = adapter.entry_set(target).fingerprints
    if prints is None:
        return []
    names = []
    for name, candidate in candidates.items():
        if candidate.shape != target.shape or not same_kind(candidate.kind, target.kind):
            continue
        if name not in samples:
            samples[name] = candidate.samples()
        if agrees(prints.samples[target.row], samples[name], candidate.dtype):
            names.append(name)
    return names


def _unclear(adapter: Adapter, target: Target, names: list[str]) -> Violation:
    if names:
        problem = "several layers of the model have the weight that it was trained on"
        listed = ", ".join(names[:_SHOWN])
        return Violation("E-TARGET-AMBIGUOUS", target.name, problem, listed)
    if adapter.entry_set(target).fingerprints is None:
        problem = "no layer of the model has this name, and the adapter has no fingerprint of it"
        advice = "load it onto a model whose layers have the adapter's names"
        return Violation("E-TARGET-NOT-FOUND", target.name, problem, advice=advice)
    problem = "no layer of the model has the weight that it was trained on"
    expected = f"{target.kind} {target.shape[0]}x{target.shape[1]}"
    advice = "load the base that the adapter was trained on, in its dtype"
    return Violation("E-TARGET-NOT-FOUND", target.name, problem, None, expected, advice)
