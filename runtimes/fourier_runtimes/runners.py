"""How a batch runs on one session: arrays fed, or values bound on a device, or a CUDA graph."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from fourier_format.adapter import Array
from fourier_format.dtypes import BFLOAT16
from fourier_format.live import Interface
from fourier_runtimes.devices import DeviceTables
from fourier_runtimes.feeding import Inputs
from fourier_runtimes.providers import Device, onnxruntime
from fourier_runtimes.rows import Rows
from fourier_runtimes.store import Store
from fourier_runtimes.values import array_of, numpy_lacks, ort_value, run_arrays

_MAX_FIXED: Final = 32
"""Shapes that keep buffers and a CUDA graph of their own; further ones run without a graph."""


class Runner(Protocol):
    """One way to run a live graph."""

    def run(
        self, inputs: Inputs, rows: Rows, outputs: Sequence[str] | None, options: Any
    ) -> list[Any]:
        """Returns the outputs; raises StaleError where the store serves another graph by now."""


class FedRunner:
    """Feeds arrays."""

    def __init__(self, session: Any, store: Store, interface: Interface) -> None:
        self._session, self._store, self._interface = session, store, interface
        self._wide = numpy_lacks(session)

    def run(
        self, inputs: Inputs, rows: Rows, outputs: Sequence[str] | None, options: Any
    ) -> list[Any]:
        """Returns the outputs; see `Runner`."""
        with self._store.serving(self._interface):
            gathered = self._store.gather(rows)
        return run_arrays(self._session, outputs, {**inputs, **gathered}, options, self._wide)


class BoundRunner:
    """Binds rows that were gathered on the device; outputs come back to the host."""

    def __init__(self, session: Any, tables: DeviceTables) -> None:
        self._session, self._tables = session, tables
        self._outputs = [output.name for output in session.get_outputs()]

    def run(
        self, inputs: Inputs, rows: Rows, outputs: Sequence[str] | None, options: Any
    ) -> list[Any]:
        """Returns the outputs; see `Runner`."""
        gathered = self._tables.gather(rows.blends, rows.indices)
        kept = {name: ort_value(value) for name, value in inputs.items()}
        binding = self._session.io_binding()
        for name, value in kept.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in gathered.items():
            binding.bind_ortvalue_input(name, value)
        for name in outputs or self._outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding, options)
        return [array_of(value) for value in binding.get_outputs()]


@dataclass(frozen=True, slots=True, eq=False)
class _Fixed:
    """Buffers of one set of shapes, at addresses that stay, bound once."""

    binding: Any
    inputs: dict[str, Any]
    gathered: dict[str, Any]
    outputs: list[Any]
    options: Any


class FixedRunner:
    """Keeps all buffers of a set of shapes, so that CUDA graphs can be captured and replayed.

    Batches take turns. Every input of adapters is fed, zeros where no row has one.
    """

    def __init__(
        self,
        session: Any,
        store: Store,
        interface: Interface,
        tables: DeviceTables,
        device: Device,
    ) -> None:
        self._session, self._store, self._interface = session, store, interface
        self._tables, self._device = tables, device
        self._other = BoundRunner(session, tables)
        self._names = [output.name for output in session.get_outputs()]
        self._fixed: dict[tuple[Any, ...], _Fixed] = {}
        self._lock = threading.Lock()

    def run(
        self, inputs: Inputs, rows: Rows, outputs: Sequence[str] | None, options: Any
    ) -> list[Any]:
        """Returns the outputs; see `Runner`. `options` hold where no graph is captured."""
        arrays = {name: np.ascontiguousarray(array_of(value)) for name, value in inputs.items()}
        length = 1 if rows.listed is None else rows.listed
        shapes = tuple(sorted((n, a.shape, a.dtype.str) for n, a in arrays.items()))
        names = list(outputs or self._names)
        key = (shapes, length, tuple(names))
        with self._lock:
            if key not in self._fixed and len(self._fixed) == _MAX_FIXED:
                skipped = options or self._run_options(-1)
                return self._other.run(inputs, rows, outputs, skipped)
            with self._store.serving(self._interface):
                self._store.touched(rows.blends)  # an unknown name is said before anything is made
            if key not in self._fixed:
                self._fixed[key] = self._made(arrays, length, names)
            fixed = self._fixed[key]
            for name, array in arrays.items():
                fixed.inputs[name].update_inplace(_raw(array))
            indices = np.broadcast_to(rows.indices, (length,))
            self._tables.gather(rows.blends, indices, fixed.gathered)
            self._session.run_with_iobinding(fixed.binding, fixed.options)
            return [np.array(array_of(value)) for value in fixed.outputs]

    def _made(self, arrays: dict[str, Array], length: int, names: list[str]) -> _Fixed:
        """Returns buffers for these shapes; the outputs' shapes are learnt by running once."""
        ort, device = onnxruntime(), (self._device.type, self._device.id)
        inputs = {n: ort.OrtValue.ortvalue_from_numpy(a.copy(), *device) for n, a in arrays.items()}
        layouts = self._interface.layouts
        gathered = {i: self._tables.empty((length, *shape)) for i, shape in layouts.items()}
        self._tables.gather([()], np.zeros(length, np.int64), gathered)
        binding = self._session.io_binding()
        for name, value in {**inputs, **gathered}.items():
            binding.bind_ortvalue_input(name, value)
        for name in names:
            binding.bind_output(name, *device)
        self._session.run_with_iobinding(binding, self._run_options(-1))
        outputs = list(binding.get_outputs())
        binding.clear_binding_outputs()
        for name, value in zip(names, outputs, strict=True):
            binding.bind_ortvalue_output(name, value)
        return _Fixed(binding, inputs, gathered, outputs, self._run_options(len(self._fixed) + 1))

    def _run_options(self, graph: int) -> Any:
        """Returns options for the graph of this number; -1 is none."""
        options = onnxruntime().RunOptions()
        if self._device.graphs:
            options.add_run_config_entry("gpu_graph_id", str(graph))
        return options


def _raw(array: Array) -> Array:
    """Returns the array as ONNX Runtime copies it."""
    return array.view(np.uint16) if array.dtype == BFLOAT16 else array
