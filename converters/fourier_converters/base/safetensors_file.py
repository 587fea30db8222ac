"""Reads tensors of a safetensors file where they lie: the file is mapped, not loaded."""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fourier_format import limits, strict_json
from fourier_format.adapter import Array
from fourier_format.atomic import os_errors
from fourier_format.dtypes import DTYPES
from fourier_format.errors import UnsupportedError, Violation


class SafetensorsFile:
    """The tensors of one file by name; `path` is the file."""

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
        header.pop("__metadata__", None)
        self._entries: dict[str, Any] = header
        self._start = 8 + length

    @property
    def names(self) -> list[str]:
        """The names of the tensors in file order."""
        return list(self._entries)

    def tensor(self, name: str) -> Array:
        """Returns the tensor `name` as a read-only view of the file.

        Raises:
            KeyError: There is none of that name.
            UnsupportedError: Its entry in the header is broken, or its dtype unknown.
        """
        entry = self._entries[name]
        try:
            dtype = DTYPES.get(entry["dtype"])
            shape = [int(size) for size in entry["shape"]]
            begin, end = (int(offset) for offset in entry["data_offsets"])
        except (TypeError, KeyError, ValueError):
            self._fail(f"the header's entry of {name!r} is broken")
        if dtype is None:
            self._fail(f"{name!r} has the dtype {entry['dtype']!r}, which is not supported")
        size = math.prod(shape)
        inside = 0 <= begin <= end <= len(self._data) - self._start
        if not inside or min(shape, default=0) < 0 or size * dtype.itemsize != end - begin:
            self._fail(f"the offsets of {name!r} do not fit")
        flat = np.frombuffer(self._data, np.uint8, end - begin, self._start + begin)
        return flat.view(dtype).reshape(shape)

    def _header_text(self, length: int) -> str:
        try:
            return self._data[8 : 8 + length].decode("utf-8")
        except UnicodeDecodeError:
            self._fail("its header is not UTF-8")

    def _fail(self, problem: str) -> NoReturn:
        raise UnsupportedError(
            Violation("E-BASE-UNSUPPORTED", str(self.path), f"not a safetensors file: {problem}")
        )
