"""Adapters of Keras kernels merged into Keras's own exports, held to Keras with changed kernels.

Nothing trains such an adapter yet; it is made by hand for the kernels of each model.
"""

from pathlib import Path

import numpy as np
import pytest

from fourier_converters.onnx import to_onnx
from fourier_format.adapter import Array
from fourier_format.kinds import canonical_matrix
from tests.fourier_converters.adapters import delta
from tests.real.checks import effects, figures, run_onnx, worst
from tests.real.handmade import adapter_of
from tests.real.keras_graphs import BACKENDS, MODELS, Backend, KerasGraphOf, Kernel
from tests.tolerances import ONNX_EFFECT_F32, ONNX_OUTPUT_F32

pytestmark = pytest.mark.real
_LAYOUTS = {"linear": "in_out", "conv2d": "hwio", "embedding": "vocab_dim"}


def canonical(kernel: Kernel) -> Array:
    if kernel.kind == "einsum_dense":
        return canonical_matrix(kernel.array, "einsum_dense", contracted=kernel.contracted)
    return canonical_matrix(kernel.array, kernel.kind, _LAYOUTS[kernel.kind])


def stored(kernel: Kernel, change: Array) -> Array:
    """Returns a canonical (out, in) delta as Keras stores the kernel."""
    shape, rank = kernel.array.shape, kernel.array.ndim
    if kernel.kind == "conv2d":
        height, width, in_, out = shape
        return change.reshape(out, in_, height, width).transpose(2, 3, 1, 0)
    kept = [axis for axis in range(rank) if axis not in kernel.contracted]
    order = [*kept, *sorted(kernel.contracted)]
    return change.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_merged_it_computes_what_keras_does(
    backend: Backend, name: str, keras_graph_of: KerasGraphOf, tmp_path: Path
) -> None:
    """Found by the fingerprint: torch's backend leaves no path of any layer."""
    graph = keras_graph_of(backend, name)
    kernels = graph.kernels()
    whole = adapter_of({path: (k.kind, canonical(k)) for path, k in kernels.items()})
    merged = tmp_path / "merged.onnx"

    report = to_onnx(whole, graph.model, merged)

    assert {row.target for row in report.rows} == set(kernels)
    changes = {path: stored(k, delta(whole, path)) for path, k in kernels.items()}
    expected = graph.adapted({path: c.astype(np.float32) for path, c in changes.items()})
    inputs, base = graph.run()
    got, before = _run(merged, inputs), _run(graph.model, inputs)
    output = worst([expected], got)
    effect = worst(effects([expected], [base]), effects(got, before))
    figures.info("output %.1e, effect %.1e", output, effect)
    assert output <= ONNX_OUTPUT_F32
    assert effect <= ONNX_EFFECT_F32


def _run(path: Path, inputs: Array) -> list[Array]:
    import onnx

    (given,) = onnx.load(path, load_external_data=False).graph.input
    return run_onnx(path, {given.name: inputs})
