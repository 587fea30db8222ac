"""Merging at load: a merged ONNX Runtime session without a merged file (see `preparing`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourier_converters.mapping import Map
from fourier_converters.onnx.applying import QuantizedMode
from fourier_converters.onnx.preparing import prepare
from fourier_converters.ort import require_onnxruntime
from fourier_converters.report import Report
from fourier_format.adapter import Adapter


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
    base: str | os.PathLike[str],
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
    base = Path(base)
    require_onnxruntime("merging at load")
    prepared = prepare(adapter, base, mapping=mapping, quantized=quantized, verify_full=verify_full)
    merged = prepared.merged(adapter, options)
    report = prepared.found.report(str(base), prepared.outcome)
    return MergedAtLoad(merged.model, merged.options, report, merged.values)
