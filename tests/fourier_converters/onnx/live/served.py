"""Small bases made live, and what ONNX Runtime computes with them, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from fourier_converters.onnx.live import read_interface, to_live
from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.live import Interface, fit
from tests.fourier_converters import adapters
from tests.fourier_converters.adapters import delta, replaced
from tests.fourier_converters.graphs import rng
from tests.fourier_converters.graphs import save as save_model

ALPHA = 400.0
"""Makes terms about as large as the layers' own outputs, so that these do not drown them."""
Row = Adapter | None | Mapping[str, Array]


def adapter(weights: Mapping[str, Array], **fields: Any) -> Adapter:
    return adapters.adapter(weights, **({"alpha": ALPHA} | fields))


def tuned(whole: Adapter, seed: int, **fields: Any) -> Adapter:
    """Returns an adapter of the same entries with coefficients of its own."""
    sets = [
        replaced(s, coefficients=rng(seed).standard_normal(s.coefficients.shape, np.float32))
        for s in whole.entry_sets
    ]
    result: Adapter = replaced(whole, entry_sets=tuple(sets), **fields)
    return result


def elsewhere(whole: Adapter, step: int = 3) -> Adapter:
    """Returns an adapter of the same targets whose entries are others."""
    sets = [
        replaced(s, entries=_moved(s.entries, s.shape, step), sampling=None)
        for s in whole.entry_sets
    ]
    return tuned(replaced(whole, entry_sets=tuple(sets), seed=None), 50 + step)


def _moved(entries: Array, shape: tuple[int, int], step: int) -> Array:
    moved: Array = ((entries + step) % np.array(shape)).astype(np.int32)
    return moved


@dataclass(frozen=True)
class Served:
    """A base and its live graph."""

    base: Path
    path: Path
    plainly: bool = False
    """Whether ONNX Runtime fuses nothing."""
    _sessions: dict[Path, Any] = field(default_factory=dict)

    @cached_property
    def interface(self) -> Interface:
        found = read_interface(self.path)
        assert found is not None
        return found

    def feeds(self, rows: Sequence[Row]) -> dict[str, Array]:
        """Returns the values of every input, zeros for rows without an adapter."""
        given = [self.values(row) for row in rows]
        return {
            name: np.array(
                [each.get(name, np.zeros(layout, np.float32)) for each in given], np.float32
            ).reshape(len(given), *layout)
            for name, layout in self.interface.layouts.items()
        }

    def values(self, row: Row) -> Mapping[str, Array]:
        """Returns what one row feeds."""
        if row is None:
            return {}
        if isinstance(row, Adapter):
            return fit(row, self.interface, "it", unverified=True)
        return row

    def run(self, rows: Sequence[Row] | None, **given: Array) -> Array:
        """Returns the live graph's first output; None feeds nothing."""
        return self._run(self.path, given | ({} if rows is None else self.feeds(rows)))

    def fed(self, feeds: Mapping[str, Array], **given: Array) -> Array:
        """Returns the live graph's first output."""
        return self._run(self.path, given | dict(feeds))

    def unchanged(self, **given: Array) -> Array:
        """Returns the base's first output."""
        return self._run(self.base, given)

    def _run(self, path: Path, given: Mapping[str, Array]) -> Array:
        if path not in self._sessions:
            self._sessions[path] = opened(path, plainly=self.plainly)
        first: Array = self._sessions[path].run(None, dict(given))[0]
        return first


def opened(path: Path, *, plainly: bool = False) -> Any:
    """Returns the session of a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if plainly:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def serve(proto: Any, wholes: Adapter | Sequence[Adapter], folder: Path, **options: Any) -> Served:
    """Make a model live for adapters, which must go well; the base stays as it was."""
    plainly = options.pop("plainly", False)
    base, path = save_model(proto, folder / "base.onnx"), folder / "live.onnx"
    before = base.read_bytes()
    given = [wholes] if isinstance(wholes, Adapter) else list(wholes)
    to_live(given, base, path, overwrite=True, **options)
    assert base.read_bytes() == before
    onnx.checker.check_model(path)
    return Served(base, path, plainly)


def terms(rows: Sequence[Row], x: Array, name: str, columns: int) -> Array:
    """Returns x delta^T of each row in float64; x has rows first and features last."""
    result = np.zeros((*x.shape[:-1], columns))
    for number, row in enumerate(rows):
        if isinstance(row, Adapter) and name in {target.name for target in row.targets}:
            result[number] = x[number].astype(np.float64) @ delta(row, name).T
    return result


def worst(got: Array, expected: Array) -> float:
    """Returns the largest difference, relative to the largest value that is expected."""
    assert got.shape == expected.shape
    off = np.abs(got.astype(np.float64) - expected)
    return float(off.max() / np.abs(expected).max())


def batch(*shape: int, seed: int = 3, dtype: Any = np.float32) -> Array:
    return rng(seed).standard_normal(shape).astype(dtype)


def rows_of(whole: Adapter) -> tuple[Adapter | None, ...]:
    """Returns five rows: the base among two adapters of one bank."""
    return (None, whole, tuned(whole, 11), whole, None)
