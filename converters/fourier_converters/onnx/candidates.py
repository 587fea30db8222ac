"""Candidates: the uses of a model with their modules, among which targets are looked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from fourier_converters.mapping import MapEntry
from fourier_converters.naming import renamings
from fourier_converters.onnx import evidence
from fourier_converters.onnx.model import Model, Value
from fourier_converters.onnx.packed import parts_of
from fourier_converters.onnx.quantized import dequantized, dequantized_at
from fourier_converters.onnx.uses import Use, find_uses
from fourier_format.adapter import Array
from fourier_format.errors import TargetNotFoundError, Violation
from fourier_format.fingerprint import positions

KINDS: Final = {"einsum_dense": "linear"}
"""Kind of target -> kind of use, where they differ: an exporter makes a kernel of any axes 2-D."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A use, the module path that is stated for it, if any, and by which source.

    Attributes:
        use: The use.
        module: The module path.
        source: What states it.
        rows: Of a packed weight the canonical matrix's rows that are meant; None for all.
    """

    use: Use
    module: str | None
    source: str | None
    rows: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int] | None:
        """(out, in) of the weight, of a packed one's rows."""
        whole = self.use.canonical_shape
        if whole is None or self.rows is None:
            return whole
        return self.rows[1] - self.rows[0], whole[1]

    @property
    def holds_its_rows(self) -> bool:
        """Whether the rows are rows of the weight, or elements of a vector."""
        if self.rows is None:
            return True
        whole = self.use.canonical_shape or self.use.origin.view.result
        return bool(whole) and 0 <= self.rows[0] < self.rows[1] <= whole[0]

    def __str__(self) -> str:
        """The use in words, for errors and reports."""
        return f"{self.place} ({self.module or 'no module path'})"

    @property
    def place(self) -> str:
        """The stored tensor and the rows of it, in words."""
        rows = "" if self.rows is None else f"[{self.rows[0]}:{self.rows[1]}]"
        return f"{self.use.initializer}{rows}"


class Candidates:
    """The uses of one model with their modules; values are read when they are needed.

    Attributes:
        model: The model.
        all: Every use, and every part of packed ones.
        renamings: How the adapter's module names become the model's.
    """

    def __init__(self, model: Model, names: Iterable[str]) -> None:
        """List the uses of `model`, for an adapter with the module `names`."""
        self.model = model
        names = set(names)
        last = {name.rpartition(".")[2] for name in names}
        self.all = [c for use in find_uses(model) for c in _candidates(model, use, last)]
        self.renamings = renamings(names, (c.module for c in self.all if c.module))
        self._expected = {r(name) for name in names for r in self.renamings}
        self._samples: dict[tuple[Use, tuple[int, int] | None], Array] = {}

    def of_kind(self, kind: str, shape: tuple[int, int] | None = None) -> list[Candidate]:
        """Returns the weights that a target of `kind` could mean, of `shape` if one is given."""
        wanted = KINDS.get(kind, kind)
        return [c for c in self.all if c.use.kind == wanted and (shape is None or c.shape == shape)]

    def values(self, candidate: Candidate) -> Array:
        """Returns the canonical matrix (out, in), or a vector's values; dequantised as float32."""
        use = candidate.use
        if use.quantized is not None:
            stored = dequantized(use.quantized, self.model)
        else:
            stored = self.model.array(use.value)
        whole = use.view.apply(stored)
        return whole if candidate.rows is None else whole[slice(*candidate.rows)]

    def samples(self, candidate: Candidate) -> Array:
        """Returns the fingerprint's (32,) float32 samples; no more of the weight is read."""
        shape = candidate.shape
        if shape is None:
            raise KeyError(str(candidate))
        key = (candidate.use, candidate.rows)
        if key not in self._samples:
            rows, columns = np.divmod(positions(shape), shape[1])
            first = 0 if candidate.rows is None else candidate.rows[0]
            index = candidate.use.view.locate((rows + first, columns))
            self._samples[key] = self._at(candidate.use, index).astype(np.float32)
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
        distinct = {(c.use.value, c.use.view, c.rows): c for c in candidates}
        if len(distinct) == 1:
            return True
        one, *others = (self.values(candidate) for candidate in distinct.values())
        return all(np.array_equal(one, other) for other in others)

    def _at(self, use: Use, index: tuple[Array, ...]) -> Array:
        if use.quantized is not None:
            return dequantized_at(use.quantized, self.model, index)
        return self.model.array(use.value)[index]

    def _is_called_again(self, first: Candidate, other: Candidate) -> bool:
        path = other.module or ""
        if not evidence.is_further_call(path, first.module or "") or path in self._expected:
            return False
        own = (Value(0, f"{path}.{parameter}") for parameter in ("weight", "bias"))
        return not any(self.model.tensor(value) is not None for value in own) and self.equal(
            [first, other]
        )


def _candidates(model: Model, use: Use, last: set[str]) -> Iterator[Candidate]:
    """Yields the use as a whole, and its parts under the names that the adapter could mean."""
    module, source = evidence.module_of(model, use) or (None, None)
    yield Candidate(use, module, source)
    parts = parts_of(model, use)
    if not parts:
        return
    node = model.node(use.read)
    around, source = evidence.fused_module(node), evidence.FUSED_PATH
    if node.op_type != "Attention" and module is not None:
        around, source = module.rpartition(".")[0], evidence.NODE_PATH
    for part in parts:
        names = sorted(part.names & last) if around is not None else []
        for name in names:
            yield Candidate(use, f"{around}.{name}", source, part.rows)
        if not names:
            yield Candidate(use, None, None, part.rows)


def ambiguous(name: str, found: Sequence[Candidate]) -> TargetNotFoundError:
    """Returns the error for a name of the adapter that several weights have."""
    problem = f"could be any of {', '.join(str(c) for c in found[:4])}"
    advice = "say which one with --map"
    return TargetNotFoundError(Violation("E-TARGET-AMBIGUOUS", name, problem, advice=advice))


def by_map(entry: MapEntry, candidates: Iterable[Candidate], model: Model) -> list[Candidate]:
    """Returns the uses that a map entry names by initializer and node, its rows of them."""
    return [
        replace(c, rows=entry.rows)
        for c in candidates
        if (not entry.initializers or c.use.initializer in entry.initializers)
        and (not entry.nodes or not _names(model, c.use).isdisjoint(entry.nodes))
        and c.rows is None
    ]


def node_name(model: Model, use: Use) -> str:
    """Returns a name that a map can mean the node of `use` by.

    Its own; its first output's where it has none, or shares it with another node.
    """
    node = model.node(use.read)
    output = str(node.output[0] if node.output else "")
    return str(node.name) if node.name and model.is_unique(node.name) else output


def _names(model: Model, use: Use) -> set[str]:
    node = model.node(use.read)
    return {str(name) for name in (node.name, *node.output[:1]) if name}
