"""What a base tells of the weights that an adapter changes, once it is known to be the right."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NamedTuple

from fourier_converters.html.measuring import BaseWeight, Progress
from fourier_converters.mapping import Map
from fourier_converters.verification import FoundWeight, Verified
from fourier_format.adapter import Adapter
from fourier_format.fingerprint import frobenius_norm

_KERAS: Final = (".keras", ".h5", ".hdf5", ".weights.json")


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
        UnsupportedError: The base is of a sort that is not supported.
        FileAccessError: Reading failed.
        DependencyMissingError: The base's sort needs a package that is not installed.
    """
    weights: dict[str, BaseWeight] = {}
    with _opener(base)(adapter, base, mapping, verify_full) as found:
        for weight in found.weights:
            name = weight.target.name
            if name not in weights:  # a graph may hold several copies of one
                progress(name)
                weights[name] = _read(weight)
        return FoundBase(weights, (_checked(adapter, base), *found.notes))


_Open = Callable[[Adapter, Path, Map, bool], AbstractContextManager[Verified]]


def _opener(base: Path) -> _Open:
    from fourier_converters.usage import is_onnx_base

    if is_onnx_base(base):
        from fourier_converters.onnx.convert import verified as onnx

        return onnx
    if base.name.endswith(_KERAS):
        from fourier_converters.keras.convert import verified as keras

        return keras
    from fourier_converters.safetensors.convert import verified as safetensors

    return safetensors


def _checked(adapter: Adapter, base: Path) -> str:
    """Returns what is known of a base in which everything was found."""
    if all(entry_set.fingerprints is not None for entry_set in adapter.entry_sets):
        return f"checked against {base.name}: its weights have the adapter's fingerprints"
    return f"compared with {base.name} by names alone: the adapter has no fingerprints for it"


def _read(weight: FoundWeight) -> BaseWeight:
    """Returns what is known of a weight; a change beside a quantised one is never rounded to it."""
    dtype = None if weight.scheme else weight.dtype
    return BaseWeight(frobenius_norm(weight.read()), dtype, weight.source)
