"""Rows of one shape, one for each adapter: blocks of one array each, in memory or in a file.

A float32 table holds what is fed, alpha * c. A float16 table holds, of every row of the last axis,
float16 numbers and one float64 factor, alpha times the power of two that puts the row's largest
magnitude just under 2**15. So nothing overflows; coefficients that were float16 in the adapter stay
exact (but for a row that spans all of float16's range), and any other value is off by at most
2**-11 of itself or 2**-39 of its row's largest one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from fourier_format.adapter import Array
from fourier_format.atomic import os_errors

Precision = Literal["float32", "float16"]

BLOCK_BYTES: Final = 2**24
"""Of a block; memory that no row was written to is not resident."""
_MAX_BLOCK_ROWS: Final = 2**16
_MAP_BLOCKS: Final = 64
"""Blocks of a file that are mapped together."""
_HALF: Final = 2.0**-10
"""Relative; twice what float16 rounds, for values that were stored twice."""
_TOP: Final = 15
"""Scaled rows stay under two to this: float16 ends at 65504."""


class Table:
    """Rows of one shape; not thread-safe, its store has the lock.

    Attributes:
        shape: The shape of one row.
        precision: What is stored of it.
    """

    def __init__(self, shape: tuple[int, ...], precision: Precision, path: Path | None) -> None:
        """Opens the table; `path` is of its file, which may be there already; None: in memory."""
        self.shape = shape
        self.precision: Precision = precision
        self._record = _record(shape, precision)
        rows = BLOCK_BYTES // max(1, self._record.itemsize)
        self.block_rows = min(max(1, rows), _MAX_BLOCK_ROWS)
        self._path = path
        self._blocks: list[Array] = []
        self._maps: list[np.memmap[Any, Any]] = []
        self._free: list[int] = []
        self._pending: list[int] = []
        self._next = 0
        if path is not None:
            with os_errors(path, "read"):
                size = path.stat().st_size if path.exists() else 0
            self._map(path, size // (self.block_rows * self._record.itemsize))

    @property
    def capacity(self) -> int:
        """How many rows the blocks have."""
        return len(self._blocks) * self.block_rows

    @property
    def row_bytes(self) -> int:
        """Bytes of one row as it is stored."""
        return self._record.itemsize

    def add(self, values: Array, alpha: float) -> int:
        """Returns the slot that now holds float32 `values`; a freed one where there is one.

        Raises:
            ValueError: They are of another shape.
            FileAccessError: The disk is full.
        """
        if values.shape != self.shape:
            message = f"values of shape {values.shape} in a table of {self.shape}"
            raise ValueError(message)
        slot = self._vacant()
        self._write(slot, values, alpha)
        return slot

    def copy(self, other: Table, slot: int, rows: Sequence[int]) -> int:
        """Returns the slot that now holds what another table of this precision has, as it is.

        Args:
            other: The other table; its shape differs in the first axis alone.
            slot: The slot there.
            rows: Of each row of the other's first axis, its place here; further rows are zeros.

        Raises:
            FileAccessError: The disk is full.
        """
        copied = self._vacant()
        self._write(copied, np.zeros(self.shape, np.float32), 1.0)
        for name in self._record.names or ():
            self._at(copied)[name][list(rows)] = other._at(slot)[name]
        return copied

    def _vacant(self) -> int:
        slot = self._free.pop() if self._free else self._next
        if slot == self._next:
            if slot == self.capacity:
                self._grow()
            self._next += 1
        return slot

    def read(self, slot: int) -> Array:
        """Returns (*shape) float32; of a float32 table a view, good until the slot is freed."""
        record = self._at(slot)
        if self.precision == "float32":
            return record["values"]
        scale = record["scale"][..., None] if self.shape else record["scale"]
        values: Array = (record["values"] * scale).astype(np.float32)
        return values

    def has(self, slot: int, values: Array) -> bool:
        """Whether a slot holds float32 `values`, but for the rounding of float16."""
        held = self.read(slot)
        if self.precision == "float32" or held.shape != values.shape:
            return np.array_equal(held, values)
        largest = np.abs(values).max(axis=-1, initial=0.0, keepdims=True) if self.shape else 0.0
        return bool((np.abs(held - values) <= _HALF * (np.abs(values) + _HALF * largest)).all())

    def digest(self, slot: int) -> str:
        """Returns the SHA-256 of what is stored, in lower-case hex."""
        return hashlib.sha256(self._at(slot).tobytes()).hexdigest()

    def free(self, slot: int) -> None:
        """Give a slot back: of a table in memory at once, of one in a file at `release`."""
        (self._free if self._path is None else self._pending).append(slot)

    def release(self) -> None:
        """Let freed slots be used again: no index on disk names them any more."""
        self._free += self._pending
        self._pending.clear()

    def take(self, slots: Iterable[int]) -> bool:
        """Returns whether `slots` can all be in use; then they are, and no other one is."""
        taken = list(slots)
        used = set(taken)
        if len(used) != len(taken) or not all(0 <= slot < self.capacity for slot in used):
            return False
        self._next = max(used, default=-1) + 1
        self._free = [slot for slot in range(self._next) if slot not in used]
        return True

    def sync(self) -> None:
        """Make what was written durable, where it is in a file."""
        for mapped in self._maps:
            mapped.flush()

    def drop(self) -> None:
        """Remove its file; its rows are gone."""
        self._blocks, self._maps = [], []
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _at(self, slot: int) -> Array:
        block: Array = self._blocks[slot // self.block_rows]
        row: Array = block[slot % self.block_rows]
        return row

    def _write(self, slot: int, values: Array, alpha: float) -> None:
        record = self._at(slot)
        if self.precision == "float32":
            record["values"] = values
            return
        plain = values.astype(np.float64)
        plain /= alpha or 1.0
        largest = np.abs(values).max(axis=-1, initial=0.0) if self.shape else np.abs(values)
        largest = largest.astype(np.float64) / abs(alpha or 1.0)
        exponent = _TOP - np.frexp(largest)[1]  # (*shape[:-1])
        factor = np.ldexp(1.0, exponent)
        plain *= factor[..., None] if self.shape else factor
        record["values"] = plain
        record["scale"] = np.ldexp(alpha or 1.0, -exponent)

    def _grow(self) -> None:
        if self._path is None:
            self._blocks.append(np.empty(self.block_rows, self._record))
            return
        size = self.block_rows * self._record.itemsize
        with os_errors(self._path, "write"), self._path.open("ab+") as file:
            _reserve(file.fileno(), len(self._blocks) * size, size)
        self._map(self._path, len(self._blocks) + 1)

    def _map(self, path: Path, blocks: int) -> None:
        """Map what the file has now, many blocks at once: each mapping keeps a file descriptor."""
        first = len(self._blocks) // _MAP_BLOCKS  # full ones stay as they are
        maps = []
        for start in range(first * _MAP_BLOCKS, blocks, _MAP_BLOCKS):
            shape = (min(_MAP_BLOCKS, blocks - start), self.block_rows)
            offset = start * self.block_rows * self._record.itemsize
            with os_errors(path, "map"):
                maps.append(np.memmap(path, self._record, "r+", offset=offset, shape=shape))
        self._maps[first:] = maps
        self._blocks[first * _MAP_BLOCKS :] = [block for m in maps for block in np.asarray(m)]


def _record(shape: tuple[int, ...], precision: Precision) -> np.dtype[np.void]:
    if precision == "float32":
        return np.dtype([("values", "<f4", shape)])
    return np.dtype([("scale", "<f8", shape[:-1]), ("values", "<f2", shape)])


def _reserve(descriptor: int, offset: int, size: int) -> None:
    """Have the disk say now that it is full: a write to mapped memory could only crash."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, offset, size)
    else:
        os.ftruncate(descriptor, offset + size)
