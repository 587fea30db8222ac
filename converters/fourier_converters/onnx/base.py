"""An ONNX model as the base of a PEFT import: shapes and orientation come from the operators."""

from __future__ import annotations

from pathlib import Path

from fourier_converters.base import BaseWeight
from fourier_converters.mapping import Map
from fourier_converters.onnx.matching import Candidate, Candidates, by_map
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.tensors import TensorReader
from fourier_format.adapter import Array
from fourier_format.errors import TargetNotFoundError, Violation


class OnnxBase:
    """Weights found by the names of an ONNX graph."""

    def __init__(self, path: Path, mapping: Map) -> None:
        """Read the graph at `path`; raises as `Model`."""
        model = Model(path)
        self._path = path
        self._mapping = mapping
        self._candidates = Candidates(model, TensorReader(path))

    @property
    def description(self) -> dict[str, str]:
        """Nothing: an ONNX file does not name its model."""
        return {}

    def weight(self, module: str, saved: Array | None = None) -> BaseWeight:  # noqa: ARG002 (a graph has every weight that it computes with)
        """Returns the weight that the linear operator of `module` reads."""
        entry = self._mapping.target(module)
        pool = self._candidates.linear()
        if entry.initializer is not None or entry.node is not None:
            found = by_map(entry, pool, self._candidates.model)
            source: str | None = "map"
        else:
            found, source = self._candidates.named(module, pool)
        if not found or source is None:
            raise self._not_found(module)
        use = self._only(module, found).use
        matrix = self._candidates.matrix(use)
        return BaseWeight(matrix, f"{use.initializer} (by {source})")

    def _only(self, module: str, found: list[Candidate]) -> Candidate:
        """Several uses under one name are one weight if they hold the same values."""
        first = self._candidates.samples(found[0].use).tobytes()
        if any(self._candidates.samples(c.use).tobytes() != first for c in found):
            listed = ", ".join(str(c) for c in found[:4])
            raise TargetNotFoundError(
                Violation(
                    "E-TARGET-AMBIGUOUS",
                    module,
                    f"could be any of {listed}",
                    advice="say which one with --map",
                )
            )
        return found[0]

    def _not_found(self, module: str) -> TargetNotFoundError:
        known = sorted({p for c in self._candidates.linear() for p in c.paths.values()})
        got = f"{self._path} with {len(known)} linear layers"
        if known:
            got += f", such as {', '.join(known[:3])}"
        return TargetNotFoundError(
            Violation(
                "E-TARGET-NOT-FOUND",
                module,
                "no linear layer of the graph has this name",
                got=got,
                advice="give the checkpoint (.safetensors) as --base, or a --map",
            )
        )
