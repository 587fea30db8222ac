"""Adapters of Keras kernels merged into Keras's own exports, held to Keras with changed kernels.

Nothing trains such an adapter yet; it is made by hand for the kernels of each model.
"""

from pathlib import Path

import numpy as np
import pytest

from fourier_converters.onnx import to_onnx
from fourier_format import Adapter, EntrySet, Target
from fourier_format.adapter import Array
from fourier_format.fingerprint import fingerprint, stack
from fourier_format.kinds import canonical_matrix
from tests.fourier_converters.adapters import delta
from tests.real.checks import effects, figures, run_onnx, worst
from tests.real.keras_graphs import BACKENDS, MODELS, Backend, KerasGraph, KerasGraphOf, Kernel
from tests.tolerances import ONNX_EFFECT_F32, ONNX_OUTPUT_F32

pytestmark = pytest.mark.real
_LAYOUTS = {"linear": "in_out", "conv2d": "hwio", "embedding": "vocab_dim"}
_COUNT = 40


def _canonical(kernel: Kernel) -> Array:
    if kernel.kind == "einsum_dense":
        return canonical_matrix(kernel.array, "einsum_dense", contracted=kernel.contracted)
    return canonical_matrix(kernel.array, kernel.kind, _LAYOUTS[kernel.kind])


def _adapter(kernels: dict[str, Kernel]) -> Adapter:
    """One target for each kernel, its delta about as large as the kernel."""
    random = np.random.default_rng(5)
    sets, targets = [], []
    for number, (path, kernel) in enumerate(kernels.items()):
        matrix = _canonical(kernel)
        out, in_ = matrix.shape
        n = min(_COUNT, out * in_)
        flat = random.choice(out * in_, n, replace=False)
        entries = np.stack(np.divmod(flat, in_), axis=1).astype(np.int32)
        coefficients = random.standard_normal((1, n)).astype(np.float32) * np.sqrt(out * in_)
        prints = stack([fingerprint(np.ascontiguousarray(matrix), path)])
        id_ = str(number)
        sets.append(
            EntrySet(
                id=id_,
                shape=(out, in_),
                entries=entries,
                coefficients=coefficients.astype(np.float32),
                fingerprints=prints,
            )
        )
        targets.append(Target(name=path, kind=kernel.kind, shape=(out, in_), entries=id_, row=0))
    return Adapter(alpha=0.3, entry_sets=tuple(sets), targets=tuple(targets))


def _stored(kernel: Kernel, change: Array) -> Array:
    """Returns a canonical (out, in) delta as Keras stores the kernel."""
    shape, rank = kernel.array.shape, kernel.array.ndim
    if kernel.kind == "conv2d":
        height, width, in_, out = shape
        return change.reshape(out, in_, height, width).transpose(2, 3, 1, 0)
    kept = [axis for axis in range(rank) if axis not in kernel.contracted]
    order = [*kept, *sorted(kernel.contracted)]
    return change.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def _kernels(graph: KerasGraph) -> dict[str, Kernel]:
    """A gathered embedding's rows count as contracted, as do a Dense kernel's."""
    return graph.kernels()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_merged_it_computes_what_keras_does(
    backend: Backend, name: str, keras_graph_of: KerasGraphOf, tmp_path: Path
) -> None:
    """Found by the fingerprint: torch's backend leaves no path of any layer."""
    graph = keras_graph_of(backend, name)
    kernels = _kernels(graph)
    whole = _adapter(kernels)
    merged = tmp_path / "merged.onnx"

    report = to_onnx(whole, graph.model, merged)

    assert {row.target for row in report.rows} == set(kernels)
    changes = {path: _stored(k, delta(whole, path)) for path, k in kernels.items()}
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
