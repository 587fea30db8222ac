"""Adapters on a device: a table of what they feed, from which the rows of a batch are gathered.

The host's store has all adapters; the device those that were asked for last. One row is written by
an Identity whose output is bound to the row's address, rows are read by a Gather; both are small
ONNX Runtime sessions, so that this needs no package of the device's, and runs on "cpu" as well.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np

from fourier_format.adapter import Array
from fourier_format.errors import ServingError, Violation
from fourier_format.live import Interface
from fourier_runtimes.providers import (
    Device,
    Provider,
    onnxruntime,
    opened,
    without_graphs,
)
from fourier_runtimes.rows import Blend
from fourier_runtimes.store import Store

_Key: TypeAlias = tuple[tuple[int, float], ...]

ZEROS: Final = 0
"""The slot of rows that have no adapter."""
_MAX_ROWS: Final = 2**16
_OPSET: Final = 17


class DeviceTables:
    """One table [rows, *layout] float32 on the device for each input; slot 0 is zeros.

    Attributes:
        capacity: The rows of each table.
    """

    def __init__(
        self,
        store: Store,
        interface: Interface,
        device: Device,
        providers: Sequence[Provider],
        budget: int,
    ) -> None:
        """Reserves up to `budget` bytes on the device.

        Raises:
            ServingError: The device has no room, or ONNX Runtime refused.
        """
        self._store, self._interface, self._device = store, interface, device
        self._layouts = interface.layouts
        row_bytes = sum(4 * math.prod(shape) for shape in self._layouts.values())
        self.capacity = min(max(2, budget // max(1, row_bytes)), _MAX_ROWS)
        self._tables = {i: self.empty((self.capacity, *s)) for i, s in self._layouts.items()}
        self._row_bytes = {i: 4 * math.prod(shape) for i, shape in self._layouts.items()}
        where, plain = "adapters on the device", without_graphs(providers)
        self._writer = opened(_identity(), None, plain, where, strict=False)
        self._reader = opened(_gather(), None, plain, where, strict=False)
        self._slots: OrderedDict[_Key, int] = OrderedDict()
        self._lock = threading.Lock()
        self._write(ZEROS, {})

    def empty(self, shape: tuple[int, ...]) -> Any:
        """Returns an OrtValue of float32 on the device, not filled."""
        return onnxruntime().OrtValue.ortvalue_from_shape_and_type(
            shape, np.float32, self._device.type, self._device.id
        )

    def gather(
        self,
        blends: Sequence[Blend],
        indices: Array,
        out: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Returns OrtValues [rows, *layout] on the device, by input; raises StaleError as `Store`.

        Args:
            blends: What rows ask for; those that are not on the device are brought there.
            indices: (rows,) int64, of each row its place in `blends`.
            out: Where the rows go, of each input; by default fresh values, of the inputs that one
                of the blends feeds.

        Raises:
            ServingError: E-DEVICE-MEMORY: the tables have too few rows for these blends.
        """
        with self._lock:
            brought, touched = self._bring(blends)
            slots = np.array(brought, np.int64)[indices]
            return {
                input_: self._read(input_, slots, None if out is None else out[input_])
                for input_ in (touched if out is None else out)
            }

    def _bring(self, blends: Sequence[Blend]) -> tuple[list[int], list[str]]:
        """Returns the slot of each blend, and the inputs that they feed: both of one moment."""
        with self._store.serving(self._interface):
            touched = self._store.touched(blends)
            keys = [self._store.serials(blend) for blend in blends]
            fresh = dict.fromkeys(k for k in keys if k and k not in self._slots)
            kept = {key for key in keys if key in self._slots}
            if len(kept) + len(fresh) > self.capacity - 1:
                problem = "more adapters in one batch than the device's tables hold"
                advice = "raise device_bytes, or use smaller batches"
                got, expected = str(len(kept) + len(fresh)), f"at most {self.capacity - 1}"
                raise ServingError(
                    Violation("E-DEVICE-MEMORY", "adapters", problem, got, expected, advice)
                )
            values = {
                k: self._store.compose(b) for k, b in zip(keys, blends, strict=True) if k in fresh
            }
        for key in kept:
            self._slots.move_to_end(key)
        for key, composed in values.items():
            slot = self._vacant()
            self._write(slot, composed)  # where it fails, nobody's slot is lost but the oldest's
            self._slots[key] = slot
        return [self._slots[key] if key else ZEROS for key in keys], touched

    def _vacant(self) -> int:
        if len(self._slots) < self.capacity - 1:
            used = set(self._slots.values())
            if len(used) + 1 not in used:
                return len(used) + 1
            return next(slot for slot in range(1, self.capacity) if slot not in used)
        _, slot = self._slots.popitem(last=False)
        return slot

    def _write(self, slot: int, values: Mapping[str, Array]) -> None:
        for input_, table in self._tables.items():
            shape = self._layouts[input_]
            row = values.get(input_)
            binding = self._writer.io_binding()
            row = np.zeros(shape, np.float32) if row is None else np.ascontiguousarray(row)
            binding.bind_cpu_input("x", row)
            address = table.data_ptr() + slot * self._row_bytes[input_]
            device = self._device
            binding.bind_output("y", device.type, device.id, np.float32, shape, address)
            self._writer.run_with_iobinding(binding)

    def _read(self, input_: str, slots: Array, out: Any) -> Any:
        binding = self._reader.io_binding()
        binding.bind_ortvalue_input("table", self._tables[input_])
        binding.bind_cpu_input("rows", slots)
        if out is None:
            out = self.empty((len(slots), *self._layouts[input_]))
        binding.bind_ortvalue_output("gathered", out)
        self._reader.run_with_iobinding(binding)
        return out


@cache
def _identity() -> bytes:
    return _graph("Identity", {"x": 1}, "y")


@cache
def _gather() -> bytes:
    return _graph("Gather", {"table": 1, "rows": 7}, "gathered")


def _graph(operator: str, inputs: Mapping[str, int], output: str) -> bytes:
    """Returns a model of one operator for shapes of any rank."""
    from onnx import helper

    taken = [helper.make_tensor_value_info(name, kind, None) for name, kind in inputs.items()]
    made = [helper.make_tensor_value_info(output, 1, None)]
    node = helper.make_node(operator, list(inputs), [output])
    graph = helper.make_graph([node], operator.lower(), taken, made)
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return bytes(model.SerializeToString())
