"""Exported files against Keras, on each backend."""

from collections import Counter
from math import erfc, sqrt
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.fourier_trainers.keras.exporting.exports import BACKENDS, MODELS, Backend, ExportedOf
from tests.real.checks import figures, run_onnx, worst
from tests.tolerances import KERAS_EXPORT_F32, KERAS_GELU_TAIL_F32

pytestmark = pytest.mark.real
_RECURRENT = "lstm_cell"
_OPENING = {"text": "ids_1", "subclassed": 5, "bert": "token_ids_1", "recurrent": "steps_1"}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_it_computes_what_keras_does(backend: Backend, name: str, exported_of: ExportedOf) -> None:
    """On a batch of other sizes than those that export_base itself compares."""
    model = exported_of(backend, name)

    error = worst(model.outputs(), run_onnx(model.model, model.inputs()))

    figures.info("off by %.1e", error)
    assert error <= KERAS_EXPORT_F32


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_have_the_model_s_names(
    backend: Backend, name: str, exported_of: ExportedOf
) -> None:
    model = exported_of(backend, name)
    graph = onnx.load(model.model).graph

    names = [value.name for value in graph.input]

    assert sorted(names) == sorted(model.inputs())
    assert list(model.report()["inputs"]) == names
    assert list(model.report()["outputs"]) == [value.name for value in graph.output]
    sizes = [d.dim_param or d.dim_value for d in graph.input[-1].type.tensor_type.shape.dim]
    assert sizes[0] == "batch"
    assert sizes[1] == _OPENING.get(name, sizes[1])


def test_outputs_have_the_names_of_keys_or_of_last_layers(exported_of: ExportedOf) -> None:
    names = {name: exported_of("tensorflow", name).report()["outputs"] for name in MODELS}

    assert names["text"] == ["head"]
    assert names["subclassed"] == ["scores", "states_1"]  # "states" is the input
    assert names["bert"] == ["pooled_output", "sequence_output"]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_each_weight_is_one_initializer_under_its_path(
    backend: Backend, name: str, exported_of: ExportedOf
) -> None:
    """Whole, as Keras stores it, and stored once: but for recurrent layers, which are constants."""
    model = exported_of(backend, name)
    stored = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(model.model).graph.initializer
    }
    weights = {
        path: array
        for path, array in model.weights().items()
        if array.dtype == np.float32 and _RECURRENT not in path
    }

    assert set(weights) <= set(stored)
    assert all(np.array_equal(stored[path], array) for path, array in weights.items())
    if name != "recurrent":
        others = [array for path, array in stored.items() if path not in weights]
        assert all(array.size <= 8 for array in others)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_graph_is_valid_and_says_nothing_of_the_machine(
    backend: Backend, name: str, exported_of: ExportedOf
) -> None:
    path = exported_of(backend, name).model

    onnx.checker.check_model(path, full_check=True)

    data = path.read_bytes()
    assert str(Path.home()).encode() not in data
    assert b".py" not in data


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_far_tail_of_exact_gelu_is_float32_s(
    backend: Backend, exported_of: ExportedOf, tmp_path: Path
) -> None:
    """0.5 x erfc(-x / sqrt(2)) in float64, where x is negative and 1 + erf cancels."""
    path = exported_of(backend, "gelu").model
    x = np.linspace(-12, 0, 4001, dtype=np.float32)[:, None]
    exact = np.array([0.5 * v * erfc(-v / sqrt(2)) for v in x[:, 0].astype(np.float64)])

    (got,) = run_onnx(path, {"x": x})

    error = np.abs(got[:, 0] - exact).max() / np.abs(exact).max()
    figures.info("off by %.1e", error)
    assert error <= KERAS_GELU_TAIL_F32


@pytest.mark.parametrize("backend", BACKENDS)
def test_onnx_runtime_runs_exact_gelu_as_one_operator(
    backend: Backend, exported_of: ExportedOf, tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3

    onnxruntime.InferenceSession(exported_of(backend, "gelu").model, options)

    nodes = onnx.load(tmp_path / "optimized.onnx").graph.node
    assert Counter(node.op_type for node in nodes) == {"Gelu": 1}


@pytest.mark.parametrize("name", MODELS)
def test_torch_s_own_exporter_is_taken_where_it_manages(name: str, exported_of: ExportedOf) -> None:
    report = exported_of("torch", name).report()

    if name == "recurrent":  # of any length, over which torch cannot loop
        assert report["way"] == "tf2onnx, in a process of its own"
        assert "torch.onnx.export" in report["declined"][0]
    else:
        assert report["way"] == "torch.onnx.export"
        assert report["declined"] == []


def test_weights_may_lie_in_a_file_of_their_own(exported_of: ExportedOf) -> None:
    """Exported twice: the first one's data is gone with it."""
    external = exported_of("tensorflow", "external")
    inside = exported_of("tensorflow", "sequential")

    graph = onnx.load(external.model, load_external_data=False).graph
    data = [path.name for path in external.folder.iterdir() if path.suffix == ".data"]

    located = {e.value for t in graph.initializer for e in t.external_data if e.key == "location"}
    assert data == list(located)
    got = run_onnx(external.model, inside.inputs())
    assert worst(run_onnx(inside.model, inside.inputs()), got) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_exporting_prints_nothing_of_ours(backend: Backend, exported_of: ExportedOf) -> None:
    """TensorFlow's C++ logs a line or two before its settings are read, and Keras warns."""
    folder = exported_of(backend, "text").folder.parent

    printed = (folder / "export.stderr").read_text()

    assert "tf2onnx" not in printed
    assert "torchvision" not in printed
    assert "fourier" not in printed.replace("fourier_trainers/keras", "")
