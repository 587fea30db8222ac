"""An adapter as a .onnx_adapter: what it feeds a live graph, for ONNX Runtime and its genai.

ONNX Runtime's LoraAdapter is a list of named tensors that are added to the inputs of a Run. It
knows nothing of LoRA, nor of bases: which graph a file is for is only checked here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from fourier_converters.base.inputs import refuse_base
from fourier_converters.onnx.generative import graph_of
from fourier_converters.onnx.live.converting import read_interface
from fourier_converters.ort import require_onnxruntime
from fourier_converters.outputs import refuse_input
from fourier_converters.report import Report, replacement_row, target_row
from fourier_format.adapter import Adapter, Array
from fourier_format.atomic import staged
from fourier_format.errors import FileAccessError, UnsupportedError, Violation
from fourier_format.live import Interface, fit
from fourier_format.live.interface import entries_digest

_VERSION: Final = 1
"""Of adapter and model in the file's head, which ONNX Runtime compares with nothing."""


def to_onnx_adapter(
    adapter: Adapter,
    live: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    unverified: bool = False,
    overwrite: bool = False,
) -> Report:
    """Write `output`, a .onnx_adapter that feeds `adapter` to the live graph `live`.

    Its parameters are the graph's inputs, float32: (1, L, n) of a bank, (1, *shape) of a head or
    bias. `onnxruntime.LoraAdapter` and onnxruntime-genai's `Adapters` read it.

    Args:
        adapter: The adapter.
        live: The .onnx file of the live graph, or its directory with genai_config.json; only read.
        output: The file to write.
        unverified: Whether an adapter without fingerprints is taken all the same.
        overwrite: Whether `output` may exist.

    Returns:
        Which input each target and replacement feeds.

    Raises:
        DependencyMissingError: E-DEPENDENCY-MISSING: onnx or onnxruntime is not installed.
        InvalidAdapterError: E-LIVE-INTERFACE: the graph's description of itself is broken.
        UnsupportedError: E-LIVE-INTERFACE: it is no live graph; E-LIVE-LAYOUT: it has no place for
            a target or replacement.
        BaseMismatchError: E-BASE-MISMATCH: its base is not the one that was trained on.
        UsageError: `output` is the graph or holds some of its weights.
        FileAccessError: A file cannot be read or written.
    """
    live, output = Path(live), Path(output)
    runtime = require_onnxruntime("writing a .onnx_adapter")
    graph = graph_of(live) if live.is_dir() else live
    refuse_input(output, live)
    refuse_base(output, graph)
    interface = read_interface(graph)
    if interface is None:
        problem, advice = "it is not a live graph", "convert the base with --to onnx --live"
        raise UnsupportedError(Violation("E-LIVE-INTERFACE", str(graph), problem, advice=advice))
    values = fit(adapter, interface, str(live), unverified=unverified)
    with staged(output, overwrite) as file:
        _export(runtime, values, Path(file.name))
    return _report(adapter, interface, output)


def _export(runtime: Any, values: Mapping[str, Array], path: Path) -> None:
    of_numpy = runtime.OrtValue.ortvalue_from_numpy
    # An OrtValue borrows an array's memory, and set_parameters drops what keeps the array alive.
    rows = {name: np.ascontiguousarray(value[None]) for name, value in values.items()}
    exported = runtime.AdapterFormat()
    exported.set_adapter_version(_VERSION)
    exported.set_model_version(_VERSION)
    exported.set_parameters({name: of_numpy(row) for name, row in rows.items()})
    try:
        exported.export_adapter(str(path.absolute()))
    except (RuntimeError, UnicodeError) as error:
        reason = str(error).strip().splitlines()[-1]
        problem = f"ONNX Runtime cannot write the adapter: {reason}"
        raise FileAccessError(Violation("E-IO", str(path), problem)) from None


def _report(adapter: Adapter, interface: Interface, output: Path) -> Report:
    inputs = {parameter.name: parameter.input for parameter in interface.parameters}
    banks = {(b.transform, b.shape, b.entries_sha256): b.input for b in interface.banks}
    digests = {s.id: entries_digest(s.entries) for s in adapter.entry_sets}
    targets = [
        target_row(adapter, t, banks[adapter.transform, t.shape, digests[t.entries]])
        for t in adapter.targets
    ]
    others = [replacement_row(n, inputs[n], "", v) for n, v in adapter.replacements.items()]
    return Report(str(output), (*targets, *others))
