"""The dtypes of the format, by the names that safetensors gives them (spec, clause 4.1)."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np

BFLOAT16: Final = np.dtype(ml_dtypes.bfloat16)

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
"""Name in the file -> little-endian NumPy dtype."""

COEFFICIENT_DTYPES: Final = ("F32", "F16", "BF16")
WEIGHT_DTYPES: Final = ("F32", "F16", "BF16", "F64")
FLOAT_DTYPES: Final = ("F16", "BF16", "F32", "F64")

_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}


def dtype_name(dtype: np.dtype[Any]) -> str | None:
    """Returns the format's name of `dtype` ("F32", "BF16", ...), or None where it has none."""
    return _NAMES.get(dtype) or _NAMES.get(np.dtype(dtype).newbyteorder("<"))


def round_once(values: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """Returns float64 `values` in the dtype called `name`, rounded once, to nearest even.

    ml_dtypes takes float64 to bfloat16 by way of float32, which rounds twice. Rounding to odd on
    that way keeps the second rounding right (Boldo and Melquiond, "Emulation of FMA and correctly
    rounded sums", IEEE Transactions on Computers 57(4), 2008).
    """
    if name != "BF16":
        return values.astype(DTYPES[name], copy=False)
    single = values.astype(np.float32)
    bits = single.view(np.uint32)
    bits -= np.abs(single) > np.abs(values)  # towards zero
    bits |= single != values  # odd where something was cut off
    return single.astype(BFLOAT16)


def all_finite(values: np.ndarray[Any, Any]) -> bool:
    """Whether no value is infinite or NaN; half precision is asked by its bits, 10 times faster."""
    exponent = _EXPONENTS.get(values.dtype)
    if exponent is None:
        return bool(np.isfinite(values).all())
    bits = values.view(np.uint16) & exponent
    return bool(bits.max(initial=0) < exponent)


_EXPONENTS: Final = {np.dtype("<f2"): np.uint16(0x7C00), BFLOAT16: np.uint16(0x7F80)}
"""The bits that are all set in what is not finite."""


def little_endian_bytes(array: np.ndarray[Any, Any]) -> memoryview:
    """Returns the bytes of `array`, row-major and little-endian, without a copy where it can."""
    ordered = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return ordered.reshape(-1).view(np.uint8).data
