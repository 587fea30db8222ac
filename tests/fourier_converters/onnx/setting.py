"""A base of two layers and an adapter in one folder, to be merged or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fourier_format import Adapter
from fourier_format.adapter import Array
from tests.fourier_converters.adapters import save
from tests.fourier_converters.command import Captured, as_json, refused
from tests.fourier_converters.graphs import digests, model, tensor, weight
from tests.fourier_converters.graphs import save as save_model

TWO = """
    g (float[N, 8] x) => (float[N, 8] y, float[N, 8] z) {
        [q] y = MatMul (x, val_1)
        [k] z = MatMul (x, val_2)
    }
"""
NAMES = {"q": "enc.q", "k": "enc.k"}
Q, K = weight(8, 8), weight(8, 8, seed=1)


class Setting:
    """A folder with a base of two layers, an adapter, and what becomes of them."""

    def __init__(self, folder: Path, capsys: Captured) -> None:
        self.folder = folder
        self.capsys = capsys
        self.output = folder / "merged.onnx"

    def base(self, q: Array = Q, k: Array = K, names: dict[str, str] | None = NAMES) -> Path:
        arrays = {"val_1": q.T, "val_2": k.T}
        return save_model(model(TWO, arrays, names), self.folder / "base.onnx")

    def arguments(self, whole: Adapter, *more: str | Path) -> list[str | Path]:
        file = save(whole, self.folder)
        base = self.folder / "base.onnx"
        return [file, "--to", "onnx", "--base", base, "-o", self.output, "--force", *more]

    def merge(self, whole: Adapter, *more: str | Path) -> Any:
        """Merge, which must go well; returns the report."""
        code, found = as_json(self.capsys, *self.arguments(whole, *more))
        assert code == 0, found
        return found

    def refuse(self, whole: Adapter, *more: str | Path, exit_code: int = 1) -> list[str]:
        """Returns why merging is refused; the base stays as it was, and nothing is written."""
        arguments = self.arguments(whole, *more)
        before = digests(self.folder)
        lines = refused(self.capsys, *arguments, exit_code=exit_code)
        assert digests(self.folder) == before
        return lines

    def map(self, **value: Any) -> tuple[str, Path]:
        path = self.folder / "map.json"
        path.write_text(json.dumps(value))
        return "--map", path

    def merged(self, name: str) -> Array:
        """Returns the canonical matrix that the merged model holds."""
        return tensor(self.output, name).T
