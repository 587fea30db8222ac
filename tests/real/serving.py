"""What sessions of many adapters must answer: each row alone, on the model it is merged into."""

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import fourier_format
from fourier_converters.onnx import to_onnx
from fourier_converters.onnx.live import to_live
from fourier_format import Adapter
from tests.real.checks import compare, figures
from tests.real.exports import Export
from tests.real.routes import convert
from tests.real.workspace import Array, Workspace, once

TOKENS = 11
_VOCABULARY = 30000
Blend = Mapping[Adapter, float]


@dataclass(frozen=True)
class Form:
    """A base in ONNX, by how it was made."""

    workspace: Workspace
    how: Export
    tools: tuple[str, ...] = ()

    @property
    def base(self) -> Path:
        """The plain model."""
        return self.workspace.rewritten(self.how, self.tools)

    @property
    def live(self) -> Path:
        """Its live graph, in a file."""

        def make(folder: Path) -> None:
            to_live([self.adapter], self.base, folder / "model.onnx")

        name = "+".join(("live", self.how.name, *self.tools))
        return once(self.workspace.folder / name, make) / "model.onnx"

    @property
    def adapter(self) -> Adapter:
        """The case's adapter, which knows its base."""

        def make(folder: Path) -> None:
            checkpoint = self.workspace.safetensors()
            path = folder / "adapter.fft"
            convert(self.workspace.adapter(), "--to", "fft", "--base", checkpoint, "-o", path)

        return fourier_format.load(once(self.workspace.folder / "fft", make) / "adapter.fft")


def form(workspace: Workspace, exporter: Any, *tools: str) -> Form:
    """Return a base for batches of any size, as an exporter and then some tools make it."""
    return Form(workspace, Export(exporter=exporter, dynamic=True), tools)


def variants(adapter: Adapter, count: int, first: int = 0) -> list[Adapter]:
    """Return adapters of one layout with random coefficients, and heads where it has one."""
    return [variant(adapter, seed) for seed in range(first, first + count)]


def variant(adapter: Adapter, seed: int) -> Adapter:
    """Return an adapter of the same layout with random values."""
    rng = np.random.default_rng(seed)

    def drawn(values: Array) -> NDArray[np.float32]:
        return rng.standard_normal(values.shape, np.float32)

    return replace(
        adapter,
        entry_sets=tuple(
            replace(s, coefficients=drawn(s.coefficients)) for s in adapter.entry_sets
        ),
        replacements={n: drawn(v) / 10 for n, v in adapter.replacements.items()},
    )


def one_thread() -> Any:
    """Return session options."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options


def batch(rows: int, seed: int = 3) -> dict[str, Array]:
    """Draw tokens, each row of another length."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1000, _VOCABULARY, (rows, TOKENS))
    lengths = rng.integers(TOKENS // 2, TOKENS + 1, rows)
    mask = (np.arange(TOKENS) < lengths[:, None]).astype(np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask}


def row_of(inputs: Mapping[str, Array], row: int) -> dict[str, Array]:
    """Return one row of a batch, as a batch."""
    return {name: values[row : row + 1] for name, values in inputs.items()}


def alone(base: Path, adapter: Adapter | None, inputs: Mapping[str, Array]) -> list[Array]:
    """Return what the model with `adapter` merged answers, None for the base."""
    own = f"merged-{os.getpid()}-{threading.get_ident()}.onnx"  # workers share the folder
    merged = base if adapter is None else base.with_name(own)
    if adapter is not None:
        to_onnx(adapter, base, merged, overwrite=True)
    try:
        session = onnxruntime.InferenceSession(merged, one_thread())
        return [np.asarray(output) for output in session.run(None, dict(inputs))]
    finally:
        if adapter is not None:
            merged.unlink()


class Wanted:
    """What each row of a batch must be, and what the base makes of it."""

    def __init__(
        self, base: Path, inputs: Mapping[str, Array], adapters: Sequence[Adapter | None]
    ) -> None:
        """Merge every adapter and run its row."""
        rows = [row_of(inputs, row) for row in range(len(adapters))]
        self.inputs = dict(inputs)
        self.base = [alone(base, None, row) for row in rows]
        self.rows = [
            plain if adapter is None else alone(base, adapter, row)
            for adapter, row, plain in zip(adapters, rows, self.base, strict=True)
        ]
        self.plain = [adapter is None for adapter in adapters]

    def errors(self, got: Sequence[Array]) -> tuple[float, float]:
        """Return the worst error by the row's largest output, and by its adapter's effect."""
        outputs, effects = [], []
        for row, (wanted, base) in enumerate(zip(self.rows, self.base, strict=True)):
            for mine, theirs, plain in zip(got, wanted, base, strict=True):
                found = mine[row : row + 1]
                outputs.append(compare(theirs, found))
                if not self.plain[row]:
                    effects.append(
                        compare(theirs.astype(float) - plain, found.astype(float) - plain)
                    )
        figures.info("output %.1e, effect %.1e", max(outputs), max(effects))
        return max(outputs), max(effects)

    def smallest_effect(self) -> float:
        """Return how far the least adapter moves its row, by the row's largest output."""
        pairs = zip(self.rows, self.base, self.plain, strict=True)
        return min(
            compare(base, wanted)
            for rows, bases, plain in pairs
            if not plain
            for wanted, base in zip(rows, bases, strict=True)
        )
