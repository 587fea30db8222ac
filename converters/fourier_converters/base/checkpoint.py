"""A base given as safetensors: one file, or a directory with one or with shards."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from fourier_converters.base.protocol import BaseWeight
from fourier_converters.base.shards import open_checkpoint
from fourier_converters.layouts import framework_layout
from fourier_converters.mapping import Map
from fourier_converters.naming import renamings
from fourier_format.adapter import Array
from fourier_format.errors import TargetNotFoundError, UnsupportedError, Violation
from fourier_format.kinds import canonical_matrix

_WEIGHT: Final = ".weight"


class CheckpointBase:
    """Weights of safetensors files; the layout comes from config.json beside them."""

    def __init__(self, path: Path, mapping: Map, names: Collection[str]) -> None:
        """Open the file or directory at `path`; raises as `open_base`."""
        self._path = path
        self._mapping = mapping
        self._checkpoint = open_checkpoint(path)
        self._files = self._checkpoint.tensors
        modules = [n.removesuffix(_WEIGHT) for n in self._files if n.endswith(_WEIGHT)]
        self._modules = frozenset(modules)
        self._renamings = renamings(names, modules)

    @property
    def description(self) -> dict[str, str]:
        """What config.json says of the base."""
        known = {"name": "_name_or_path", "model_type": "model_type"}
        config = self._checkpoint.config if isinstance(self._checkpoint.config, dict) else {}
        found = {key: config.get(field) for key, field in known.items()}
        return {key: value for key, value in found.items() if isinstance(value, str) and value}

    def weight(self, module: str, saved: Array | None = None) -> BaseWeight:
        """Returns the weight of `module`, by its name or the one that the map file gives.

        Tied weights are stored once, so a module may have none; then `saved` stands for it.
        """
        mapped = self._mapping.target(module).weight
        name = mapped if mapped is not None else self._find(module, saved is None)
        if name is None and saved is not None:
            stored, name = saved, f"{module}.weight of the adapter's own checkpoint"
        elif name in self._files:
            stored = self._files[name].tensor(name)
        else:
            raise self._not_found(module, f"the map names {name!r}, which is not in the base")
        if stored.ndim != 2:
            problem = f"{name!r} is not the weight of a linear layer"
            shape = str(stored.shape)
            raise TargetNotFoundError(
                Violation("E-TARGET-NOT-FOUND", module, problem, shape, "two axes")
            )
        layout = self._layout(module)
        return BaseWeight(canonical_matrix(stored, "linear", layout), f"{name} ({layout})")

    def _find(self, module: str, required: bool) -> str | None:
        found = {renaming(module) for renaming in self._renamings} & self._modules
        if len(found) > 1:
            listed = ", ".join(sorted(map(str, found))[:5])
            advice = "say which one with --map"
            raise TargetNotFoundError(
                Violation("E-TARGET-AMBIGUOUS", module, f"could be any of {listed}", advice=advice)
            )
        if not found and required:
            raise self._not_found(module, "no weight of this module is in the base")
        return f"{found.pop()}{_WEIGHT}" if found else None

    def _not_found(self, module: str, problem: str) -> TargetNotFoundError:
        return TargetNotFoundError(
            Violation(
                "E-TARGET-NOT-FOUND",
                module,
                problem,
                got=f"{self._path} with {len(self._files)} tensors",
                advice="is this the base that the adapter was trained on? Else use --map",
            )
        )

    def _layout(self, module: str) -> str:
        layout = self._mapping.target(module).layout or self._mapping.layout
        if layout is not None:
            return layout
        model_types = self._checkpoint.model_types
        layout = framework_layout(module, model_types) if model_types else None
        if layout is None:
            told = f"the model types {sorted(model_types)}" if model_types else "no model type"
            raise UnsupportedError(
                Violation(
                    "E-ORIENTATION-UNKNOWN",
                    module,
                    "nothing says whether the base stores this weight as (out, in) or (in, out)",
                    got=f"{told} in config.json beside {self._path}",
                    advice="put the model's config.json there, or say it with --map and "
                    '{"layout": "out_in"} for nn.Linear, "in_out" for Conv1D',
                )
            )
        return layout
