"""Adapters made by hand, merged into what export_base wrote, held to Keras with changed kernels."""

from pathlib import Path

import numpy as np
import pytest

from fourier_converters.onnx import to_onnx
from fourier_format.adapter import Array
from fourier_format.kinds import canonical_matrix
from tests.fourier_converters.adapters import delta
from tests.fourier_trainers.keras.exporting.exports import BACKENDS, Backend, ExportedOf
from tests.real.checks import effects, figures, run_onnx, worst
from tests.real.handmade import adapter_of
from tests.real.keras_graphs import Kernel
from tests.tolerances import KERAS_EXPORT_F32, ONNX_EFFECT_F32

pytestmark = pytest.mark.real
_LAYOUTS = {"linear": "in_out", "conv2d": "hwio", "embedding": "vocab_dim"}


@pytest.mark.parametrize("name", ["text", "image", "subclassed", "bert"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_merged_it_computes_what_keras_does(
    backend: Backend, name: str, exported_of: ExportedOf, tmp_path: Path
) -> None:
    model = exported_of(backend, name)
    kernels = model.kernels()
    whole = adapter_of({path: (k.kind, _canonical(k)) for path, k in kernels.items()})
    merged = tmp_path / "merged.onnx"

    report = to_onnx(whole, model.model, merged)

    assert {row.target for row in report.rows} == set(kernels)
    changes = {path: _stored(k, delta(whole, path)) for path, k in kernels.items()}
    expected = model.adapted({path: c.astype(np.float32) for path, c in changes.items()})
    base, inputs = model.outputs(), model.inputs()
    got, before = run_onnx(merged, inputs), run_onnx(model.model, inputs)
    output = worst(expected, got)
    effect = worst(effects(expected, base), effects(got, before))
    figures.info("output %.1e, effect %.1e", output, effect)
    assert output <= KERAS_EXPORT_F32
    assert effect <= ONNX_EFFECT_F32


def _canonical(kernel: Kernel) -> Array:
    if kernel.kind == "einsum_dense":
        return canonical_matrix(kernel.array, "einsum_dense", contracted=kernel.contracted)
    return canonical_matrix(kernel.array, kernel.kind, _LAYOUTS[kernel.kind])


def _stored(kernel: Kernel, change: Array) -> Array:
    """Returns a canonical (out, in) delta as Keras stores the kernel."""
    shape, rank = kernel.array.shape, kernel.array.ndim
    if kernel.kind == "conv2d":
        height, width, in_, out = shape
        return change.reshape(out, in_, height, width).transpose(2, 3, 1, 0)
    kept = [axis for axis in range(rank) if axis not in kernel.contracted]
    order = [*kept, *sorted(kernel.contracted)]
    return change.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
