"""A base whose first layer is adapted, with layers after it whose parameters are replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fourier_format.adapter import Array
from tests.fourier_converters.adapters import adapter, delta, save
from tests.fourier_converters.command import Captured, converted, refused
from tests.fourier_converters.graphs import model, run, weight
from tests.fourier_converters.graphs import save as save_model

W = weight(6, 4)
EYE = np.eye(4, dtype=np.float32)


def values(*shape: int, seed: int = 9) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Graph:
    """A model whose first node is the adapted layer `q`, with more after it."""

    def __init__(self, folder: Path, capsys: Captured) -> None:
        self.folder = folder
        self.capsys = capsys
        self.output = folder / "merged.onnx"

    def build(
        self,
        body: str,
        arrays: dict[str, Array],
        scopes: dict[str, str] | None = None,
        **names: str,
    ) -> None:
        """Write the base; `names` gives initializers names that the text syntax cannot."""
        text = f"g (float[N, 4] x) => (float[N, M] y) {{ [q] h = MatMul (x, w) {body} }}"
        proto = model(text, {"w": W.T} | arrays, {"q": "q"} | (scopes or {}))
        for t in proto.graph.initializer:
            t.name = names.get(t.name, t.name)
        for node in proto.graph.node:
            for slot, name in enumerate(node.input):
                node.input[slot] = names.get(name, name)
        save_model(proto, self.folder / "base.onnx")

    def arguments(self, replacements: dict[str, Array], **fields: Any) -> list[str | Path]:
        self.whole = adapter({"q": W}, replacements=replacements, **fields)
        file = save(self.whole, self.folder)
        base = self.folder / "base.onnx"
        return [file, "--to", "onnx", "--base", base, "-o", self.output]

    def merge(self, replacements: dict[str, Array], *more: str | Path, **fields: Any) -> Array:
        """Returns what the merged model computes for the unit vectors."""
        converted(*self.arguments(replacements, **fields), *more)
        onnx.checker.check_model(self.output, full_check=True)
        (y,) = run(self.output, x=EYE)
        return y

    def refuse(self, replacements: dict[str, Array], *more: str | Path) -> list[str]:
        lines = refused(self.capsys, *self.arguments(replacements), *more)
        assert not self.output.exists()
        return lines

    @property
    def hidden(self) -> Array:
        """What the adapted layer gives for the unit vectors."""
        result: Array = (W + delta(self.whole, "q")).T
        return result


def assert_close(got: Array, expected: Array) -> None:
    assert np.allclose(got, expected, atol=2e-6 * np.abs(expected).max())
