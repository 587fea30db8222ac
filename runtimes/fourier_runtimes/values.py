"""Arrays and OrtValues; bfloat16 too, which ONNX Runtime hands over to NumPy in no other way."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fourier_format.adapter import Array
from fourier_format.dtypes import BFLOAT16
from fourier_runtimes.providers import onnxruntime

_BFLOAT16: Final = 16
"""TensorProto.BFLOAT16."""


def ort_value(value: Any) -> Any:
    """Returns an OrtValue of an array, on the CPU and of its memory; an OrtValue as it is."""
    kind = onnxruntime().OrtValue
    if isinstance(value, kind):
        return value
    array = np.ascontiguousarray(value)
    if array.dtype == BFLOAT16:
        return kind.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _BFLOAT16)
    return kind.ortvalue_from_numpy(array)


def array_of(value: Any) -> Array:
    """Returns the array of an OrtValue, of its memory where that is the host's; or an array."""
    if not isinstance(value, onnxruntime().OrtValue):
        return np.asarray(value)
    if value.element_type() != _BFLOAT16:
        array: Array = value.numpy()
        return array
    if value.device_name() != "cpu":
        here = onnxruntime().OrtValue.ortvalue_from_shape_and_type(value.shape(), _BFLOAT16)
        here.update_inplace(value)
        value = here
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(bytearray(raw), BFLOAT16).reshape(value.shape())


def numpy_lacks(session: Any) -> bool:
    """Whether the session has inputs or outputs of bfloat16."""
    return any("bfloat16" in arg.type for arg in (*session.get_inputs(), *session.get_outputs()))


def mistyped(session: Any, inputs: Mapping[str, Any]) -> str | None:
    """Returns which types the session takes where `inputs` have others: ONNX Runtime names none."""
    wanted = {arg.name: arg.type for arg in session.get_inputs()}
    wrong = [n for n, v in inputs.items() if n in wanted and _type_of(v) not in {wanted[n], None}]
    return ", ".join(f"{wanted[name]} {name}" for name in wrong) or None


def _type_of(value: Any) -> str | None:
    """Returns ONNX Runtime's name of a value's type; None of those that have no plain one."""
    if isinstance(value, onnxruntime().OrtValue):
        return str(value.data_type())
    name = np.asarray(value).dtype.name
    known = {"float32": "float", "float64": "double"}
    plain = name.startswith(("int", "uint", "bool", "bfloat16", "float"))
    return f"tensor({known.get(name, name)})" if plain else None


def run_arrays(
    session: Any, outputs: Sequence[str] | None, inputs: Mapping[str, Any], options: Any, wide: bool
) -> list[Any]:
    """Returns the outputs of a run as arrays.

    Args:
        session: The InferenceSession.
        outputs: The outputs' names; all by default.
        inputs: Arrays or OrtValues.
        options: ONNX Runtime's RunOptions.
        wide: Whether `numpy_lacks` a type of the session's.
    """
    if not wide:
        return list(session.run(outputs, inputs, options))
    values = {name: ort_value(value) for name, value in inputs.items()}
    return [array_of(v) for v in session.run_with_ort_values(outputs, values, options)]
