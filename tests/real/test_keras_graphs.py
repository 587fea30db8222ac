"""Keras's exports, and the reference that converters are held to: Keras with changed kernels."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from tests.real.checks import compare, figures, run_onnx
from tests.real.keras_graphs import BACKENDS, MODELS, Array, Backend, KerasGraphOf
from tests.tolerances import ONNX_OUTPUT_F32

pytestmark = pytest.mark.real
_KINDS = {
    "text": {"linear": 2, "einsum_dense": 8, "embedding": 1},
    "image": {"linear": 1, "conv2d": 3},
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_export_computes_what_keras_does(
    backend: Backend, name: str, keras_graph_of: KerasGraphOf
) -> None:
    """The exporter's own error stays below the bar for merged models."""
    graph = keras_graph_of(backend, name)
    inputs, expected = graph.run()

    error = compare(expected, _run(graph.model, inputs))

    figures.info("off by %.1e", error)
    assert error <= ONNX_OUTPUT_F32


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_kernel_is_known(backend: Backend, name: str, keras_graph_of: KerasGraphOf) -> None:
    """Sublayers of attention included; the kinds are those that adapters can have."""
    kernels = keras_graph_of(backend, name).kernels()

    assert Counter(kernel.kind for kernel in kernels.values()) == _KINDS[name]
    assert all(np.ptp(kernel.array) > 0 for kernel in kernels.values())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_kernel_stands_in_the_graph(
    backend: Backend, name: str, keras_graph_of: KerasGraphOf
) -> None:
    """As it is, flattened to [in, out], or as the convolution's [out, in, height, width]."""
    graph = keras_graph_of(backend, name)
    stored = [
        onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(graph.model).graph.initializer
    ]

    for kernel in graph.kernels().values():
        forms = [kernel.array, kernel.matrix, kernel.matrix.T]
        if kernel.kind == "conv2d":
            forms.append(kernel.array.transpose(3, 2, 0, 1))
        assert any(_same(form, array) for form in forms for array in stored), kernel.path


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_deltas_show_in_keras(backend: Backend, name: str, keras_graph_of: KerasGraphOf) -> None:
    """What ``adapted`` returns is another output than the base's."""
    graph = keras_graph_of(backend, name)
    _, base = graph.run()
    random = np.random.default_rng(5)
    kernels = graph.kernels().values()
    deltas = {k.path: random.normal(0, 0.1, k.array.shape).astype(np.float32) for k in kernels}

    moved = graph.adapted(deltas)

    assert compare(base, moved) > 0.05


def _run(path: Path, inputs: Array) -> Array:
    graph = onnx.load(path).graph
    (output,) = run_onnx(path, {graph.input[0].name: inputs})
    return output


def _same(form: NDArray[np.float32], stored: Array) -> bool:
    return form.shape == stored.shape and bool(np.array_equal(form, stored))
