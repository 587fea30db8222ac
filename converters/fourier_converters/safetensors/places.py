"""Places: the tensors of a checkpoint, read as weights of a kind, in one layout or another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from fourier_converters.base.shards import Checkpoint
from fourier_converters.naming import renamings
from fourier_format.adapter import Array, Target
from fourier_format.dtypes import WEIGHT_DTYPES
from fourier_format.fingerprint import samples_of
from fourier_format.kinds import LAYOUTS, canonical_matrix, stored_form

_TORCH_LAYOUTS: Final = {
    "linear": ("out_in", "in_out"),
    "conv2d": ("oihw",),
    "embedding": ("vocab_dim",),
}
"""How torch's modules store weights; which of the two a linear one does is not known beforehand."""

_LEGACY: Final = {"weight": "gamma", "bias": "beta"}
"""What old checkpoints call the parameters of a LayerNorm; transformers renames them on loading."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A tensor that holds a target's weight.

    Attributes:
        tensor: Its name in the result.
        kind: The target's kind.
        layout: How it is stored, a key of `LAYOUTS[kind]`.
        stored: Its values as they are stored.
        added: Whether the base lacks it, and the adapter's own tensor stands for it.
    """

    tensor: str
    kind: str
    layout: str
    stored: Array
    added: bool = False

    @property
    def matrix(self) -> Array:
        """The (out, in) canonical matrix."""
        return canonical_matrix(self.stored, self.kind, self.layout)

    def canonical(self) -> Array:
        """Returns `matrix`, for whoever wants it later."""
        return self.matrix

    def restored(self, matrix: Array) -> Array:
        """Returns a canonical (out, in) matrix as the tensor is stored."""
        return stored_form(matrix, self.kind, self.layout, self.stored.shape)

    def __str__(self) -> str:
        """The tensor, and how it is stored where that is not torch's usual way."""
        return f"{self.tensor} (in_out)" if self.layout == "in_out" else self.tensor


class Places:
    """Where the weights of one adapter may lie in a checkpoint.

    Attributes:
        checkpoint: The checkpoint.
        modules: The paths of its modules.
        renamings: How the adapter's module names become the checkpoint's.
    """

    def __init__(self, checkpoint: Checkpoint, names: Iterable[str]) -> None:
        """Takes the names of the adapter's modules."""
        self.checkpoint = checkpoint
        self.modules = {name.rpartition(".")[0] for name in checkpoint.tensors}
        self.renamings = renamings(names, self.modules)
        self._samples: dict[tuple[str, str], Array] = {}

    def __contains__(self, tensor: str) -> bool:
        """Whether the checkpoint has a tensor of this name."""
        return tensor in self.checkpoint.tensors

    def stored(self, tensor: str) -> Array:
        """Returns a tensor of the checkpoint; raises as `SafetensorsFile.tensor`."""
        return self.checkpoint.tensors[tensor].tensor(tensor)

    def dtype(self, tensor: str) -> str:
        """Returns the name of a tensor's dtype, known or not."""
        return self.checkpoint.tensors[tensor].stored[tensor].dtype

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Returns a tensor's shape."""
        return self.checkpoint.tensors[tensor].stored[tensor].shape

    def named(self, module: str, parameter: str) -> list[str]:
        """Returns the checkpoint's tensors that could be this parameter of the adapter's module."""
        parameters = [parameter, *([_LEGACY[parameter]] if parameter in _LEGACY else [])]
        names = [f"{path}.{p}".removeprefix(".") for p in parameters for path in self.paths(module)]
        return [name for name in names if name in self.checkpoint.tensors]

    def paths(self, module: str) -> list[str]:
        """Returns what the checkpoint may call a module; its own name where no renaming applies."""
        found = {path for renaming in self.renamings if (path := renaming(module)) is not None}
        return sorted(found) or [module]

    def readings(self, tensor: str, target: Target) -> list[Place]:
        """Returns the ways to read a tensor of the checkpoint as a weight of the target's shape."""
        stored = self.checkpoint.tensors[tensor].stored[tensor]
        if stored.dtype not in WEIGHT_DTYPES or not _layouts(stored.shape, target):
            return []
        return readings(tensor, self.stored(tensor), target)

    def everywhere(self, target: Target) -> Iterator[Place]:
        """Yields every way to read any tensor as a weight of the target's shape."""
        for tensor in self.checkpoint.tensors:
            yield from self.readings(tensor, target)

    def samples(self, place: Place) -> Array:
        """Returns the fingerprint's samples of the weight at a place of the checkpoint."""
        key = (place.tensor, f"{place.kind} {place.layout}")
        if key not in self._samples:
            self._samples[key] = samples_of(place.matrix)
        return self._samples[key]

    @property
    def vocabularies(self) -> frozenset[int]:
        """The sizes of vocabularies that config.json states."""
        stated = values_of("vocab_size", self.checkpoint.config)
        return frozenset(size for size in stated if type(size) is int)


def readings(tensor: str, stored: Array, target: Target, *, added: bool = False) -> list[Place]:
    """Returns the ways to read the array `stored` as a weight of the target's kind and shape."""
    return [
        Place(tensor, target.kind, layout, stored, added)
        for layout in _layouts(stored.shape, target)
    ]


def _layouts(shape: tuple[int, ...], target: Target) -> list[str]:
    """Returns the layouts by which a tensor of `shape` has the target's canonical shape."""
    found = []
    for layout in _TORCH_LAYOUTS.get(target.kind, ()):
        order = LAYOUTS[target.kind][layout]
        if len(order) == len(shape):
            out, *rest = (shape[axis] for axis in order)
            if (out, math.prod(rest)) == target.shape:
                found.append(layout)
    return found


def values_of(key: str, config: Any) -> Iterator[Any]:
    """Yields what config.json's content states for `key`, in itself and in its parts."""
    if isinstance(config, dict):
        if key in config:
            yield config[key]
        for part in config.values():
            yield from values_of(key, part)
