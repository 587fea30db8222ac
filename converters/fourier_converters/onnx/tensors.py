"""Reads and writes the values of TensorProtos, inside the model file or in external data.

External data is held to the rules that ONNX Runtime, onnx and onnx-ir enforce: a relative path
without "..", no symbolic link, nothing outside the model's directory, nothing outside the file.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from fourier_format.adapter import Array
from fourier_format.atomic import os_errors
from fourier_format.dtypes import DTYPES, little_endian_bytes
from fourier_format.errors import UnsupportedError, Violation

ELEMENT_TYPES: Final[dict[int, str]] = {
    1: "F32",
    2: "U8",
    3: "I8",
    4: "U16",
    5: "I16",
    6: "I32",
    7: "I64",
    9: "BOOL",
    10: "F16",
    11: "F64",
    12: "U32",
    13: "U64",
    16: "BF16",
}
"""TensorProto.DataType -> the format's dtype name."""

FLOATS: Final = frozenset({"F32", "F16", "BF16", "F64"})
_EXTERNAL: Final = 1  # TensorProto.DataLocation.EXTERNAL


@dataclass(frozen=True, slots=True)
class External:
    """Where a tensor's bytes lie outside the model file."""

    location: str
    offset: int
    length: int


def dtype_of(tensor: Any) -> str | None:
    """Returns the dtype name of a TensorProto, None for types that the format has not."""
    return ELEMENT_TYPES.get(tensor.data_type)


def element_type(dtype: str) -> int:
    """Returns the TensorProto.DataType of a dtype name."""
    return next(number for number, name in ELEMENT_TYPES.items() if name == dtype)


def is_external(tensor: Any) -> bool:
    """Whether the tensor's bytes lie outside the model file."""
    return bool(tensor.data_location == _EXTERNAL)


def byte_size(tensor: Any) -> int | None:
    """Returns how many bytes the tensor's values take, None for types that the format has not."""
    name = dtype_of(tensor)
    count: int = math.prod(tensor.dims)
    return None if name is None else count * DTYPES[name].itemsize


class TensorReader:
    """Reads tensors of one model; external files are mapped once each."""

    def __init__(self, model_path: Path) -> None:
        """Takes the .onnx file that locations are relative to."""
        self.directory = model_path.parent
        self._where = str(model_path)
        self._files: dict[str, Array] = {}

    def read(self, tensor: Any) -> Array:
        """Returns the tensor's values in their own dtype, in memory or as a view of its file.

        Raises:
            UnsupportedError: The external data breaks a rule, or the dtype is not supported.
            FileAccessError: The external file cannot be read.
        """
        name = dtype_of(tensor)
        if name is None:
            self._fail(tensor, f"data type {tensor.data_type} is not supported")
        dtype, shape = DTYPES[name], tuple(tensor.dims)
        if is_external(tensor):
            place = self.external(tensor)
            data = self._files[place.location][place.offset : place.offset + place.length]
            return data.view(dtype).reshape(shape)
        raw = tensor.raw_data
        if raw:
            if len(raw) != byte_size(tensor):
                self._fail(tensor, "raw_data has the wrong length")
            return np.frombuffer(raw, dtype).reshape(shape)
        from onnx import numpy_helper  # the typed fields' many encodings

        try:
            values: Array = np.asarray(numpy_helper.to_array(tensor))
        except ValueError:
            self._fail(tensor, "its values do not fill its shape")
        return values

    def external(self, tensor: Any) -> External:
        """Returns where the tensor's bytes lie, its file opened and the place checked."""
        fields = {entry.key: entry.value for entry in tensor.external_data}
        location = fields.get("location", "")
        if not location:
            self._fail(tensor, "its external data has no location")
        try:
            offset, length = int(fields.get("offset", 0)), int(fields.get("length", 0))
        except ValueError:
            self._fail(tensor, "its external offset or length is not a number")
        if location not in self._files:
            self._files[location] = self._map(tensor, location)
        size = byte_size(tensor)
        if size is None:  # a type that is only carried over
            size = length or self._files[location].size - offset
        if length not in {0, size}:
            self._fail(tensor, f"its external length is {length}, its shape needs {size} bytes")
        if offset < 0 or size < 0 or offset + size > self._files[location].size:
            self._fail(tensor, f"its external data lies outside the file {location}")
        return External(location, offset, size)

    def _map(self, tensor: Any, location: str) -> Array:
        path = self.external_path(tensor, location)
        with os_errors(path, "read"):
            return (
                np.memmap(path, np.uint8, "r").view(np.ndarray)
                if path.stat().st_size
                else np.zeros(0, np.uint8)
            )

    def external_path(self, tensor: Any, location: str) -> Path:
        """Returns the file at `location`, refused where it leaves the model's directory."""
        relative = Path(location)
        broken = not location or "\0" in location
        if broken or relative.is_absolute() or ".." in relative.parts:
            self._fail(tensor, f"its external data leaves the model's directory: {location!r}")
        path = self.directory / relative
        real, root = os.path.realpath(path), os.path.realpath(self.directory)
        if path.is_symlink() or os.path.commonpath([real, root]) != root:
            advice = "copy the model and its data to one directory (for a hub cache: cp -RL)"
            self._fail(tensor, f"its external data {location!r} is a symbolic link", advice)
        return path

    def _fail(self, tensor: Any, problem: str, advice: str | None = None) -> NoReturn:
        where = f"{self._where}, {tensor.name}"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", where, problem, advice=advice))


def set_values(tensor: Any, values: Array) -> None:
    """Put `values`, of the tensor's own shape and dtype, inside the model file."""
    for field in (
        "float_data",
        "int32_data",
        "int64_data",
        "double_data",
        "uint64_data",
        "external_data",
    ):
        tensor.ClearField(field)
    tensor.ClearField("data_location")
    tensor.raw_data = bytes(little_endian_bytes(values))


def set_external(tensor: Any, place: External) -> None:
    """Point the tensor at bytes in an external file."""
    tensor.ClearField("raw_data")
    tensor.ClearField("external_data")
    tensor.data_location = _EXTERNAL
    fields = {"location": place.location, "offset": place.offset, "length": place.length}
    for key, value in fields.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
