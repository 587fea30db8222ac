"""The adapters that every implementation reads, and their delta weights in float64."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from fourier_format.adapter import Adapter, Array
from fourier_format.assembly import Piece, assemble
from tests.fourier_trainers import reference

TRANSFORMS: Final = ("dft2", "dht2", "dct2", "dwt2:db1", "dwt2:sym4", "dwt2:coif4-peft")
COUNT: Final = 60


class Target(NamedTuple):
    """A weight.

    Attributes:
        kind: As the registry calls it.
        inner: Its axes of input: (in), (I, kh, kw), (vocab) or several of an EinsumDense.
        outer: Those of output.
    """

    kind: str
    inner: tuple[int, ...]
    outer: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Returns (out, in)."""
        return math.prod(self.outer), math.prod(self.inner)


TARGETS: Final = {
    "square": Target("linear", (64,), (64,)),
    "prime": Target("linear", (89,), (97,)),
    "vector": Target("linear", (1,), (50,)),
    "wide": Target("linear", (512,), (384,)),
    "convolution": Target("conv2d", (4, 3, 2), (10,)),
    "embedding": Target("embedding", (101,), (12,)),
    "query": Target("einsum_dense", (16,), (3, 5)),
    "attention_output": Target("einsum_dense", (3, 5), (16,)),
}


def adapter_of(transform: str) -> Adapter:
    """Returns an adapter of every target; elements of its delta weights are about 1."""
    pieces = [_piece(transform, name, target) for name, target in TARGETS.items()]
    entry_sets, targets = assemble(pieces)
    return Adapter(
        alpha=1.0,
        seed=None,
        transform=transform,
        target_modules=(),
        entry_sets=entry_sets,
        targets=targets,
        replacements={},
        base_model=None,
        producer=None,
        labels=None,
        metadata=None,
    )


def expected(adapter: Adapter) -> dict[str, Array]:
    """Returns the delta weights, by the formulas' sums in float64."""
    found = {}
    for target in adapter.targets:
        entries = adapter.entry_set(target).entries
        values = adapter.coefficients(target).astype(np.float64)
        p, q = (np.arange(size) for size in target.shape)
        block = reference.delta_block(adapter.transform, target.shape, entries, values, p, q)
        found[target.name] = adapter.alpha_of(target) * block
    return found


def _piece(transform: str, name: str, target: Target) -> Piece:
    entries = reference.entries_of(target.shape, COUNT, seed=len(name))
    size = float(math.prod(target.shape))
    alpha = {"dft2": size, "dht2": size, "dct2": size**0.5}.get(transform, 1.0)
    values = reference.values_of(len(entries), seed=len(name)).astype(np.float32)
    return Piece(
        name=name,
        kind=target.kind,
        shape=target.shape,
        entries=entries,
        coefficients=values,
        alpha=alpha / 3,
    )
