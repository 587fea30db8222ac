"""Live graphs of Keras's exports: each row is what Keras computes with its kernels changed."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from fourier_converters.onnx.live import read_interface, to_live
from fourier_format.live import fit
from tests.fourier_converters.adapters import delta
from tests.real.checks import effects, figures, run_onnx, worst
from tests.real.cuda_kernels import operators, opset, without_kernel
from tests.real.handmade import adapter_of
from tests.real.keras_graphs import BACKENDS, Backend, KerasGraphOf
from tests.real.test_keras_merged import canonical, stored
from tests.tolerances import LIVE_EFFECT_F32, LIVE_OUTPUT_F32

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_with_an_adapter_and_one_without(
    backend: Backend, keras_graph_of: KerasGraphOf, tmp_path: Path
) -> None:
    """Dense and EinsumDense of one feature axis or several; an embedding is refused."""
    graph = keras_graph_of(backend, "text")
    kernels = {path: k for path, k in graph.kernels().items() if k.kind != "embedding"}
    whole = adapter_of({path: (k.kind, canonical(k)) for path, k in kernels.items()})
    live = tmp_path / "live.onnx"

    to_live([whole], graph.model, live)

    interface = read_interface(live)
    assert interface is not None
    values = fit(whole, interface, "it")
    (given,) = onnx.load(graph.model, load_external_data=False).graph.input
    inputs, base = graph.run()
    tokens = {given.name: inputs}
    changes = {path: stored(k, delta(whole, path)) for path, k in kernels.items()}
    adapted = graph.adapted({path: c.astype(np.float32) for path, c in changes.items()})
    before = run_onnx(graph.model, tokens)
    assert np.array_equal(run_onnx(live, tokens)[0], before[0])
    for row in range(2):
        fed = {name: np.stack([v * 0, v] if row else [v, v * 0]) for name, v in values.items()}
        expected = np.stack([base[0], adapted[1]] if row else [adapted[0], base[1]])
        got = run_onnx(live, tokens | fed)
        output = worst([expected], got)
        effect = worst(effects([expected], [base]), effects(got, before))
        figures.info("output %.1e, effect %.1e", output, effect)
        assert output <= LIVE_OUTPUT_F32
        assert effect <= LIVE_EFFECT_F32
    added = operators(live) - operators(graph.model)
    assert without_kernel(added, opset(live)) == set()
