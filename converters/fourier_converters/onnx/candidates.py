"""Candidates: the uses of a model with their modules, among which targets are looked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fourier_converters.mapping import MapEntry
from fourier_converters.naming import renamings
from fourier_converters.onnx import evidence
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.tensors import TensorReader
from fourier_converters.onnx.uses import LINEAR, Use, find_uses
from fourier_format.adapter import Adapter, Array
from fourier_format.errors import TargetNotFoundError, Violation
from fourier_format.fingerprint import samples_of
from fourier_format.kinds import canonical_matrix


@dataclass(frozen=True, slots=True)
class Candidate:
    """A use, the module path that is stated for it, if any, and by which source."""

    use: Use
    module: str | None
    source: str | None

    def __str__(self) -> str:
        """The use in words, for errors and reports."""
        return f"{self.use.initializer} ({self.module or 'no module path'})"


class Candidates:
    """The uses of one model with their modules; values are read when they are needed.

    Attributes:
        model: The model.
        reader: Reads its tensors.
        all: Every use.
        renamings: How the adapter's module names become the model's.
    """

    def __init__(self, model: Model, reader: TensorReader, names: Iterable[str]) -> None:
        """List the uses of `model`, for an adapter with the module `names`."""
        self.model = model
        self.reader = reader
        self.all = [_candidate(model, use) for use in find_uses(model)]
        self.renamings = renamings(names, (c.module for c in self.all if c.module))
        self._expected = {r(name) for name in names for r in self.renamings}
        self._samples: dict[tuple[str, str], Array] = {}

    def linear(self, shape: tuple[int, int] | None = None) -> list[Candidate]:
        """Returns the weights of linear operators, of the canonical `shape` if one is given."""
        return [
            c
            for c in self.all
            if c.use.operator in LINEAR
            and c.use.layout is not None
            and (shape is None or c.use.canonical_shape == shape)
        ]

    def values(self, use: Use) -> Array:
        """Returns the tensor that `use` reads; a linear weight as its canonical matrix."""
        stored = self.reader.read(self.model.initializers[use.initializer])
        return stored if use.layout is None else canonical_matrix(stored, "linear", use.layout)

    def samples(self, use: Use) -> Array:
        """Returns the fingerprint's samples of the weight that `use` reads."""
        key = (use.initializer, use.layout or "")
        if key not in self._samples:
            self._samples[key] = samples_of(self.values(use))
        return self._samples[key]

    def named(self, module: str, pool: Sequence[Candidate]) -> list[Candidate]:
        """Returns those of `pool` that the names say are the adapter's `module`.

        TorchScript calls the second call of "query" "query_1". A module may really have such a
        name, so that is believed only where the tensor is equal and nothing else has the name.
        """
        paths = {renaming(module) for renaming in self.renamings}
        found = [c for c in pool if c.module in paths]
        further = [
            replace(c, module=first.module)
            for c in pool
            for first in found
            if c.source == first.source == evidence.NODE_PATH and self._is_called_again(first, c)
        ]
        return found + list(dict.fromkeys(further))

    def are_one_weight(self, candidates: Sequence[Candidate]) -> bool:
        """Whether one module has all the candidates, and they all read the same values."""
        return len({c.module for c in candidates}) == 1 and self.equal(candidates)

    def equal(self, candidates: Sequence[Candidate]) -> bool:
        """Whether the candidates all read the same values."""
        uses = {(c.use.initializer, c.use.layout): c.use for c in candidates}
        one, *others = (self.values(use) for use in uses.values())
        return all(np.array_equal(one, other) for other in others)

    def _is_called_again(self, first: Candidate, other: Candidate) -> bool:
        path = other.module or ""
        if not evidence.is_further_call(path, first.module or "") or path in self._expected:
            return False
        own = (f"{path}.{parameter}" for parameter in ("weight", "bias"))
        return not any(name in self.model.initializers for name in own) and self.equal(
            [first, other]
        )


def _candidate(model: Model, use: Use) -> Candidate:
    module, source = evidence.module_of(model, use) or (None, None)
    return Candidate(use, module, source)


def ambiguous(name: str, found: Sequence[Candidate]) -> TargetNotFoundError:
    """Returns the error for a name of the adapter that several weights have."""
    problem = f"could be any of {', '.join(str(c) for c in found[:4])}"
    advice = "say which one with --map"
    return TargetNotFoundError(Violation("E-TARGET-AMBIGUOUS", name, problem, advice=advice))


def module_names(adapter: Adapter) -> set[str]:
    """Returns the names of the modules that the adapter changes."""
    replaced = {name.rpartition(".")[0] for name in adapter.replacements}
    return {target.name for target in adapter.targets} | (replaced - {""})


def by_map(entry: MapEntry, candidates: Iterable[Candidate], model: Model) -> list[Candidate]:
    """Returns the candidates that a map entry names by initializer or node."""
    return [
        c
        for c in candidates
        if (entry.initializer is None or c.use.initializer == entry.initializer)
        and (entry.node is None or model.nodes[c.use.read.node].name == entry.node)
    ]
