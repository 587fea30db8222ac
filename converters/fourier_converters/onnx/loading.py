"""Merging at load: a merged ONNX Runtime session without a merged file.

The changed weights are handed over by `add_external_initializers`, which replaces them before the
graph is optimised. (`add_initializer` does not: where a constant is folded on the way to its use,
ONNX Runtime takes the old value, without a word.)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fourier_converters.mapping import Map
from fourier_converters.onnx.applying import QuantizedMode
from fourier_converters.onnx.convert import find
from fourier_converters.onnx.external import External, is_external, set_external
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.protos import all_tensors, serialized
from fourier_converters.onnx.stores import INLINE_LIMIT
from fourier_converters.onnx.tensors import FOUR_BITS, set_values
from fourier_converters.report import Report
from fourier_format.adapter import Adapter, Array
from fourier_format.dtypes import BFLOAT16
from fourier_format.errors import dependency_missing

FOLDER: Final = "session.model_external_initializers_file_folder_path"


@dataclass(frozen=True, slots=True, eq=False)
class MergedAtLoad:
    """What makes a merged session: `onnxruntime.InferenceSession(merged.model, merged.options)`.

    Attributes:
        model: The graph, serialized; unchanged external data stays in the base's files.
        options: Session options that hold the changed weights.
        report: What was found where, and how large each change is.
        values: The changed weights; they must live until the session is made.
    """

    model: bytes
    options: Any
    report: Report
    values: tuple[Any, ...]


def merge_at_load(
    adapter: Adapter,
    base: Path,
    options: Any = None,
    *,
    mapping: Map | None = None,
    quantized: QuantizedMode = "live",
    verify_full: bool = False,
) -> MergedAtLoad:
    """Returns the model and session options of `base` with `adapter` merged; nothing is written.

    Args:
        adapter: The adapter.
        base: The .onnx file.
        options: ONNX Runtime session options to add to; new ones by default.
        mapping: What the user says of where weights lie.
        quantized: As in `to_onnx`.
        verify_full: As in `to_onnx`.

    Raises:
        DependencyMissingError: onnxruntime is not installed.
        TargetNotFoundError: A target or replacement was not found, or not uniquely.
        BaseMismatchError: The base is not the one that the adapter was trained on.
        UnsupportedError: The base is of a sort that is not supported.
        FileAccessError: The base cannot be read.
    """
    try:
        import onnxruntime
    except ImportError:
        raise dependency_missing("onnxruntime", "ort", "merging at load") from None
    found = find(adapter, base, mapping=mapping, quantized=quantized, verify_full=verify_full)
    model = found.candidates.model
    model.reader.files.refuse_overlaps(all_tensors(model.proto))
    store = _Handed(model)
    outcome = found.apply(store)
    names = list(store.handed)
    values = tuple(_value(onnxruntime, *pair) for pair in store.handed.values())
    options = onnxruntime.SessionOptions() if options is None else options
    folder = point_to_real_files(model, [tensor for tensor, _ in store.handed.values()])
    if folder is not None:
        options.add_session_config_entry(FOLDER, str(folder))
    options.add_external_initializers(names, list(values))
    report = found.report(str(base), outcome)
    return MergedAtLoad(serialized(model.proto, str(base)), options, report, values)


def point_to_real_files(model: Model, handed: Sequence[Any]) -> Path | None:
    """Returns the folder that external data is now relative to, None without any.

    But for the tensors that are `handed` over.

    In a hub cache the data is a link, and ONNX Runtime refuses links that leave the folder.
    """
    files, elsewhere = model.reader.files, {id(tensor) for tensor in handed}
    tensors = [t for t in all_tensors(model.proto) if is_external(t) and id(t) not in elsewhere]
    if not tensors:
        return None
    places = [files.place(tensor) for tensor in tensors]
    real = {location: files.path(location) for location in {place.location for place in places}}
    folder = Path(os.path.commonpath([path.parent for path in real.values()]))
    for tensor, place in zip(tensors, places, strict=True):
        location = real[place.location].relative_to(folder).as_posix()
        set_external(tensor, External(location, place.offset, place.length))
    return folder


class _Handed:
    """A store that keeps values in memory and marks their tensors as external."""

    def __init__(self, model: Model) -> None:
        self._constants = {
            id(t)
            for scope in model.scopes
            for name, t in scope.tensors.items()
            if name in scope.producers or scope is not model.scopes[0]
        }
        self.handed: dict[str, tuple[Any, Array]] = {}

    def replace(self, tensor: Any, values: Array) -> None:
        """Hand over an initializer's new values; Constants and inner ones go inside the model."""
        if id(tensor) in self._constants:
            set_values(tensor, values)
        else:
            self._hand(tensor, values)

    def add(self, tensor: Any, values: Array) -> None:
        """Hand over a new tensor's values; small ones go inside the model."""
        if values.nbytes <= INLINE_LIMIT:
            set_values(tensor, values)
        else:
            self._hand(tensor, values)

    def _hand(self, tensor: Any, values: Array) -> None:
        if tensor.data_type in FOUR_BITS:  # no OrtValue from Python has such a type
            set_values(tensor, values)
            return
        size = values.nbytes
        set_external(tensor, External("handed-over-at-load", 0, size))
        self.handed[tensor.name] = (tensor, values)


def _value(onnxruntime: Any, tensor: Any, values: Array) -> Any:
    make = onnxruntime.OrtValue
    if values.dtype != BFLOAT16:
        return make.ortvalue_from_numpy(values)
    return make.ortvalue_from_numpy_with_onnx_type(values.view(np.uint16), tensor.data_type)
