"""An ONNX model as the base of a PEFT import: shapes and orientation come from the operators."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fourier_converters.base.protocol import BaseWeight
from fourier_converters.mapping import Map
from fourier_converters.onnx.candidates import Candidates, ambiguous, by_map
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.uses import unopened
from fourier_format.adapter import Array
from fourier_format.errors import TargetNotFoundError, Violation


class OnnxBase:
    """Weights found by the names of an ONNX graph."""

    def __init__(self, path: Path, mapping: Map, names: Collection[str]) -> None:
        """Read the graph at `path`; raises as `Model`."""
        model = Model(path)
        self._path = path
        self._mapping = mapping
        self._candidates = Candidates(model, names)

    @property
    def description(self) -> dict[str, str]:
        """Nothing: an ONNX file does not name its model."""
        return {}

    def weight(self, module: str, saved: Array | None = None) -> BaseWeight:
        """Returns the weight that the linear operator of `module` reads; `saved` is not needed."""
        del saved  # a graph has every weight that it computes with
        entry = self._mapping.target(module)
        pool = self._candidates.of_kind("linear")
        if entry.initializers or entry.nodes:
            found, source = by_map(entry, pool, self._candidates.model), "map"
        else:
            found = self._candidates.named(module, pool)
            source = str(found[0].source) if found else ""
        if not found:
            raise self._not_found(module)
        if not self._candidates.are_one_weight(found):
            raise ambiguous(module, found)
        first = found[0]
        return BaseWeight(self._candidates.values(first), f"{first.place} (by {source})")

    def _not_found(self, module: str) -> TargetNotFoundError:
        layers = self._candidates.of_kind("linear")
        known = sorted({c.module for c in layers if c.module})
        got = f"{self._path} with {len({c.use for c in layers})} linear layers"
        if known:
            got += f", {len(known)} of them with names, such as {', '.join(known[:3])}"
        elif layers:
            got += ", none of which has a name"
        hidden = unopened(self._candidates.model)
        if hidden:
            got += f"; not looked into: {', '.join(hidden)}"
        return TargetNotFoundError(
            Violation(
                "E-TARGET-NOT-FOUND",
                module,
                "no linear layer of the graph has this name",
                got=got,
                advice="make a .fft with the checkpoint (.safetensors) as --base, which is then "
                "found by its fingerprint; or say where with --map",
            )
        )
