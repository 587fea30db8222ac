"""A model with an adapter merged into it, and how exact its weights must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fourier_format import Adapter
from fourier_format.adapter import Array
from tests.fourier_converters.adapters import save
from tests.fourier_converters.command import converted
from tests.fourier_converters.graphs import save as save_model
from tests.tolerances import DELTA_F32


def merged(proto: Any, whole: Adapter, folder: Path, *more: str | Path) -> Path:
    """Merge the adapter into the model, which must go well; returns the merged model, checked."""
    base = save_model(proto, folder / "base.onnx")
    output = folder / "merged.onnx"
    before = base.read_bytes()
    converted(save(whole, folder), "--to", "onnx", "--base", base, "-o", output, *more)
    assert base.read_bytes() == before
    onnx.checker.check_model(output, full_check=True)
    return output


def assert_close(got: Array, expected: Array) -> None:
    """Compare float32 results with float64, to float32's own rounding of sum and weight."""
    bar = 2 * DELTA_F32 * np.abs(expected).max()
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= bar


def rename(proto: Any, old: str, new: str) -> None:
    """Give an initializer a name that ONNX's text syntax has no room for."""
    for t in proto.graph.initializer:
        if t.name == old:
            t.name = new
    for node in proto.graph.node:
        for slot, name in enumerate(node.input):
            if name == old:
                node.input[slot] = new
