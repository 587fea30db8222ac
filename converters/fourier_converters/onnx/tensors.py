"""Reads and writes the values of TensorProtos, inside the model file or in external data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from fourier_converters.onnx.external import ExternalFiles, byte_size, is_external
from fourier_format.adapter import Array
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
_UINT4, _INT4 = 21, 22
FOUR_BITS: Final = frozenset({_UINT4, _INT4})
"""TensorProto.DataTypes that hold two values in a byte."""


def dtype_of(tensor: Any) -> str | None:
    """Returns the dtype name of a TensorProto, None for types that the format has not."""
    return ELEMENT_TYPES.get(tensor.data_type)


def element_type(dtype: str) -> int:
    """Returns the TensorProto.DataType of a dtype name."""
    return next(number for number, name in ELEMENT_TYPES.items() if name == dtype)


class TensorReader:
    """Reads tensors of one model.

    Attributes:
        files: The model's external data.
    """

    def __init__(self, model_path: Path) -> None:
        """Takes the .onnx file that locations are relative to."""
        self.files: Final = ExternalFiles(model_path)
        self._where = str(model_path)

    def read(self, tensor: Any) -> Array:
        """Returns the tensor's values in their own dtype, in memory or as a view of its file.

        Four-bit integers come as int8 or uint8, one a value.

        Raises:
            UnsupportedError: The external data breaks a rule, or the dtype is not supported.
            FileAccessError: The external file cannot be read.
        """
        name, shape = dtype_of(tensor), tuple(tensor.dims)
        if tensor.data_type not in FOUR_BITS and name is None:
            self._fail(tensor, f"data type {tensor.data_type} is not supported")
        if min(shape, default=0) < 0:
            self._fail(tensor, f"its shape has a negative size: {shape[:8]}")
        if is_external(tensor):
            data = self.files.data(self.files.place(tensor))
        elif tensor.raw_data:
            if len(tensor.raw_data) != byte_size(tensor):
                self._fail(tensor, "raw_data has the wrong length")
            data = np.frombuffer(tensor.raw_data, np.uint8)
        else:
            return self._typed_fields(tensor)
        if name is None:
            return _unpacked(data, shape, signed=tensor.data_type == _INT4)
        return data.view(DTYPES[name]).reshape(shape)

    def _typed_fields(self, tensor: Any) -> Array:
        from onnx import numpy_helper  # the typed fields' many encodings

        try:
            values: Array = np.asarray(numpy_helper.to_array(tensor))
        except ValueError:
            self._fail(tensor, "its values do not fill its shape")
        if tensor.data_type in FOUR_BITS:
            return values.astype(np.int8 if tensor.data_type == _INT4 else np.uint8)
        return values

    def _fail(self, tensor: Any, problem: str) -> NoReturn:
        where = f"{self._where}, {tensor.name}"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", where, problem))


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
    tensor.raw_data = stored_bytes(tensor, values)


def stored_bytes(tensor: Any, values: Array) -> bytes:
    """Returns the bytes of `values` as the tensor's data type stores them."""
    if tensor.data_type not in FOUR_BITS:
        return bytes(little_endian_bytes(values))
    nibbles = values.reshape(-1).astype(np.uint8) & 0xF
    padded = np.append(nibbles, np.zeros(nibbles.size % 2, np.uint8))
    packed: bytes = (padded[0::2] | padded[1::2] << 4).astype(np.uint8).tobytes()
    return packed


def _unpacked(data: Array, shape: tuple[int, ...], *, signed: bool) -> Array:
    """Two values a byte, the low four bits first (onnx/docs/docsgen/source/technical/int4.md)."""
    nibbles = np.stack([data & 0xF, data >> 4], axis=1).reshape(-1)
    values = nibbles[: int(np.prod(shape, dtype=np.int64))].reshape(shape)
    if not signed:
        return values
    return ((values ^ 8).astype(np.int8) - 8).astype(np.int8)
