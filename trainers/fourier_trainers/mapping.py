"""An adapter's targets, and a model's layers: whether one is the other, and if names differ, which.

An adapter that was trained in Keras names its targets as Keras does, and one of PyTorch as PyTorch
does; Keras numbers layers anew in every process. What a target is stays: its weight.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from fourier_format.adapter import Adapter, Array, Target
from fourier_format.errors import TargetNotFoundError, Violation
from fourier_format.fingerprint import Fingerprint, disagreement, row_of

_SHOWN: Final = 5
"""Candidates that an error lists."""


class Held(NamedTuple):
    """A weight as a model holds it.

    Attributes:
        dtype: The format's name for its dtype.
        samples: Returns the (32,) float32 samples of its canonical matrix.
        norm: Returns the Frobenius norm of that.
    """

    dtype: str
    samples: Callable[[], Array]
    norm: Callable[[], float]


class Candidate(NamedTuple):
    """A layer of a model that a target may be.

    Attributes:
        kind: The format's name for its kind.
        shape: (out, in) of its canonical matrix.
        held: Its weight; None where the model holds no values of it, or others in their place.
    """

    kind: str
    shape: tuple[int, int]
    held: Held | None


def differences(
    name: str, candidate: Candidate, target: Target, adapter: Adapter
) -> Iterator[Violation]:
    """Yields what says that a layer, `name`, is not the target that the adapter was trained on."""
    if not same_kind(candidate.kind, target.kind):
        yield _mismatch(name, "another kind of layer", candidate.kind, target.kind)
        return
    if candidate.shape != target.shape:
        got, expected = (f"{shape[0]}x{shape[1]}" for shape in (candidate.shape, target.shape))
        yield _mismatch(name, "its weight has another shape", got, expected)
        return
    prints = adapter.entry_set(target).fingerprints
    if prints is not None and candidate.held is not None:
        yield from _other_weight(name, candidate.held, row_of(prints, target.row))


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
    expected, names = row_of(prints, target.row), list[str]()
    for name, candidate in candidates.items():
        held = candidate.held
        fits = candidate.shape == target.shape and same_kind(candidate.kind, target.kind)
        if held is None or not fits:
            continue
        if name not in samples:
            samples[name] = held.samples()
        if disagreement(expected, held.dtype, samples[name], held.norm) is None:
            names.append(name)
    return names


def _other_weight(name: str, held: Held, expected: Fingerprint) -> Iterator[Violation]:
    part = disagreement(expected, held.dtype, held.samples(), held.norm)
    problem = "its base weight is not the one that the adapter was trained on"
    if part == "norm":
        got, wanted = f"a norm of {held.norm():.9g}", f"{expected.norm:.9g}"
        advice = "load the weights that it was trained on, not a fine-tune of them"
        yield _mismatch(name, problem, got, wanted, advice)
    elif part is not None and held.dtype == expected.dtype:
        yield _mismatch(name, problem, advice="load the weights that it was trained on")
    elif part is not None:
        wanted = f"values of {expected.dtype}, or rounded to {held.dtype} from them"
        advice = f"cast the model to the adapter's {expected.dtype}, if it is the same one"
        yield _mismatch(name, problem, f"a weight of {held.dtype}", wanted, advice)


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


def _mismatch(
    name: str,
    problem: str,
    got: str | None = None,
    expected: str | None = None,
    advice: str | None = None,
) -> Violation:
    return Violation("E-BASE-MISMATCH", name, problem, got, expected, advice)
