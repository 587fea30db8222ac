"""What a base tells of the weights that an adapter changes, once it is known to be the right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NamedTuple

from fourier_converters.base_kinds import is_keras_base, is_onnx_base
from fourier_converters.html.markup import counted, figure
from fourier_converters.html.measuring import BaseWeight, Progress
from fourier_converters.mapping import Map
from fourier_converters.verification import FoundWeight, Verified
from fourier_format import words
from fourier_format.adapter import Adapter
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.fingerprint import ROUNDED_NORM, frobenius_norm

_MOST_TEXT: Final = 1_000
"""Characters of the names in a note, at most."""


class FoundBase(NamedTuple):
    """What a base tells.

    Attributes:
        weights: By the targets' names; without those that a map skips.
        notes: What the user should know of the checks.
    """

    weights: dict[str, BaseWeight]
    notes: tuple[str, ...]


def read_base(
    adapter: Adapter, base: Path, mapping: Map, verify_full: bool, progress: Progress
) -> FoundBase:
    """Returns what the base at `base` tells, after every check of it that merging makes.

    Args:
        adapter: The adapter.
        base: An ONNX model, a directory of onnxruntime-genai, a safetensors checkpoint, or what
            Keras saved.
        mapping: What the user says of where weights lie.
        verify_full: Compare the SHA-256 of every adapted weight, not only samples and norms.
        progress: Called before each weight's work.

    Raises:
        TargetNotFoundError: A target or replacement was not found, or not uniquely.
        BaseMismatchError: The base is not the one that the adapter was trained on.
        UnsupportedError: The base is of a sort that is not supported, or a weight is not finite.
        FileAccessError: Reading failed.
        DependencyMissingError: The base's sort needs a package that is not installed.
    """
    weights: dict[str, BaseWeight] = {}
    compared: dict[str, _Comparison] = {}  # by targets: of several copies that which proves least
    with _opener(base)(adapter, base, mapping, verify_full) as found:
        for weight in found.weights:
            name = weight.target.name
            comparison = _comparison(weight, verify_full)
            compared[name] = min(compared.get(name, comparison), comparison)
            if name not in weights:  # a graph may hold several copies of one
                progress(name)
                weights[name] = _read(weight)
        said = _compared(compared.values(), len(adapter.targets), base)
        return FoundBase(weights, (said, *_skipped(adapter, mapping), *found.notes))


_Open = Callable[[Adapter, Path, Map, bool], AbstractContextManager[Verified]]


def _opener(base: Path) -> _Open:
    if is_onnx_base(base):
        from fourier_converters.onnx.convert import verified as onnx

        return onnx
    if is_keras_base(base):
        from fourier_converters.keras.convert import verified as keras

        return keras
    from fourier_converters.safetensors.convert import verified as safetensors

    return safetensors


class _Comparison(NamedTuple):
    """How a weight was compared with its fingerprint; what proves least comes first.

    Attributes:
        proof: How much it proves, among others.
        said: How, in words.
    """

    proof: int
    said: str


def _comparison(weight: FoundWeight, verify_full: bool) -> _Comparison:
    """Returns which of a base's checks a weight passed: `verification` says which can be made."""
    if weight.prints is None:
        return _Comparison(0, "by name alone, as the adapter has no fingerprint of it")
    if weight.scheme is not None:
        return _Comparison(1, "quantised: by samples alone")
    if weight.prints.dtype != weight.dtype:
        within = f"{figure(ROUNDED_NORM[weight.dtype])} of it"
        dtypes = f"{weight.dtype} in the base, trained on {weight.prints.dtype}"
        return _Comparison(2, f"by samples and by norm within {within} ({dtypes})")
    if verify_full:
        return _Comparison(4, "by samples, norm and SHA-256")
    return _Comparison(3, "by samples and norm")


def _compared(comparisons: Iterable[_Comparison], total: int, base: Path) -> str:
    """Returns how many weights were compared, and how."""
    counts = Counter(comparisons)
    said = [f"{counts[one]:,} {one.said}" for one in sorted(counts, reverse=True)]
    targets = counted(total, "target", "targets")
    return f"{base.name}: of {targets}: {'; '.join(said) or 'none compared'}"


def _skipped(adapter: Adapter, mapping: Map) -> tuple[str, ...]:
    """Returns what is to be known of targets that nothing was compared with."""
    skipped = [target for target in adapter.targets if mapping.target(target.name).skip]
    if not skipped:
        return ()
    names = words.shortened(", ".join(target.name for target in skipped), _MOST_TEXT)
    said = f"{len(skipped):,} skipped by the map, so not compared: {names}"
    if any(adapter.entry_set(target).fingerprints is not None for target in skipped):
        said += "; where |W| is shown of them, it is the fingerprint's"
    return (said,)


def _read(weight: FoundWeight) -> BaseWeight:
    """Returns what is known of a weight; a change beside a quantised one is never rounded to it.

    Raises:
        UnsupportedError: E-NUMBER-NONFINITE: the weight holds infinities or NaN.
    """
    norm = frobenius_norm(weight.read())
    if not math.isfinite(norm):
        name, problem = weight.target.name, f"{weight.source} in the base is not finite"
        advice = "use a base whose weights are finite"
        raise UnsupportedError(Violation("E-NUMBER-NONFINITE", name, problem, advice=advice))
    return BaseWeight(norm, None if weight.scheme else weight.dtype, weight.source)
