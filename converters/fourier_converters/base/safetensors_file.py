"""Reads tensors of a safetensors file where they lie: the file is mapped, not loaded."""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fourier_format import limits, strict_json
from fourier_format.adapter import Array
from fourier_format.atomic import os_errors
from fourier_format.dtypes import DTYPES
from fourier_format.errors import UnsupportedError, Violation

_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor lies and what the header says of it.

    Attributes:
        dtype: The dtype's name in the header, known or not.
        shape: Its shape.
        start: The offset of its first byte in the file.
        stop: The offset behind its last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class SafetensorsFile:
    """The tensors of one file by name.

    Attributes:
        path: The file.
        metadata: The header's `__metadata__`, as it is; None without one.
        stored: Each tensor's place, in the order of the header.
    """

    def __init__(self, path: Path) -> None:
        """Map the file at `path` and read its header.

        Raises:
            UnsupportedError: It is not a safetensors file.
            FileAccessError: It cannot be read.
        """
        self.path = path
        with os_errors(path, "read"), path.open("rb") as file:
            size = file.seek(0, 2)
            if size < 8:
                self._fail("too short for a header")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        (length,) = struct.unpack_from("<Q", self._data)
        if length > min(limits.MAX_HEADER_BYTES, size - 8):
            self._fail("its header goes beyond its end")
        header = strict_json.loads(self._header_text(length), str(path), limits.MAX_HEADER_BYTES)
        if not isinstance(header, dict):
            self._fail("its header is not an object")
        self.metadata = header.pop(_METADATA, None)
        self.stored = {name: self._place(name, e, 8 + length) for name, e in header.items()}
        self._refuse_overlap()

    @property
    def names(self) -> list[str]:
        """The names of the tensors in the order of the header."""
        return list(self.stored)

    def tensor(self, name: str) -> Array:
        """Returns the tensor `name` as a read-only view of the file.

        Raises:
            KeyError: There is none of that name.
            UnsupportedError: Its dtype is unknown, or its size does not fit its shape.
        """
        stored = self.stored[name]
        dtype = DTYPES.get(stored.dtype)
        if dtype is None:
            self._fail(f"{name!r} has the dtype {stored.dtype!r}, which is not supported")
        length = stored.stop - stored.start
        if math.prod(stored.shape) * dtype.itemsize != length:
            self._fail(f"the offsets of {name!r} do not fit")
        flat = np.frombuffer(self._data, np.uint8, length, stored.start)
        return flat.view(dtype).reshape(stored.shape)

    def _place(self, name: str, entry: Any, data_start: int) -> Stored:
        try:
            dtype = str(entry["dtype"])
            shape = tuple(int(size) for size in entry["shape"])
            begin, end = (int(offset) for offset in entry["data_offsets"])
        except (TypeError, KeyError, ValueError):
            self._fail(f"the header's entry of {name!r} is broken")
        inside = 0 <= begin <= end <= len(self._data) - data_start
        if not inside or min(shape, default=0) < 0:
            self._fail(f"the offsets of {name!r} do not fit")
        return Stored(dtype, shape, data_start + begin, data_start + end)

    def _refuse_overlap(self) -> None:
        """What is written over one tensor must not change another."""
        end, before = 0, ""
        for name, place in sorted(self.stored.items(), key=lambda item: item[1].start):
            if place.start < end and place.start < place.stop:
                self._fail(f"{before!r} and {name!r} overlap")
            if place.stop > end:
                end, before = place.stop, name

    def _header_text(self, length: int) -> str:
        try:
            return self._data[8 : 8 + length].decode("utf-8")
        except UnicodeDecodeError:
            self._fail("its header is not UTF-8")

    def _fail(self, problem: str) -> NoReturn:
        raise UnsupportedError(
            Violation("E-BASE-UNSUPPORTED", str(self.path), f"not a safetensors file: {problem}")
        )
