"""Comparisons: what "equal to PEFT" means, in one place."""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers.pytorch_utils import Conv1D

from tests.real.workspace import Array, Reference, Workspace, build_base
from tests.tolerances import ONNX_EFFECT_F32, ONNX_OUTPUT_F32

figures = logging.getLogger("figures")
"""What the tests measured; ``pytest --log-level=INFO -rP`` shows it."""


def compare(reference: Array, got: Array) -> float:
    """Return the largest difference, relative to the reference's largest value."""
    if reference.shape != got.shape:
        raise AssertionError(f"shape {got.shape} where {reference.shape} was expected")
    expected, found = reference.astype(np.float64), got.astype(np.float64)
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(expected - found).max() / np.abs(expected).max())


def worst(reference: list[Array], got: list[Array]) -> float:
    """Return the worst ``compare`` over all outputs."""
    return max(compare(*pair) for pair in zip(reference, got, strict=True))


def run_onnx(path: Path, inputs: dict[str, Array]) -> list[Array]:
    """Run a model file in ONNX Runtime, as its default settings would.

    One is changed: by default the activations of layers with int4 DequantizeLinear are rounded to
    int8, by as much as 3 % of the output. What the weights do could not be seen.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # the exporters leave initializers that nobody uses
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, inputs)]


def effects(adapted: list[Array], base: list[Array]) -> list[Array]:
    """Return what the adapter changed, one array an output."""
    return [a.astype(np.float64) - b.astype(np.float64) for a, b in zip(adapted, base, strict=True)]


def assert_equals_peft(reference: Reference, base: Path, merged: Path) -> None:
    """Hold a merged float32 model to the two bars of the main job."""
    got, got_base = run_onnx(merged, reference.inputs), run_onnx(base, reference.inputs)

    output = worst(reference.adapted, got)
    effect = worst(effects(reference.adapted, reference.base), effects(got, got_base))

    figures.info("output %.1e, effect %.1e", output, effect)
    assert output <= ONNX_OUTPUT_F32
    assert effect <= ONNX_EFFECT_F32


def stored_matrices(path: Path) -> list[Array]:
    """Return every matrix that a model file stores, external data included."""
    model = onnx.load(path)
    tensors = [*model.graph.initializer]
    tensors += [
        attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    return [onnx.numpy_helper.to_array(tensor) for tensor in tensors if len(tensor.dims) == 2]


def nearest_stored(path: Path, expected: NDArray[np.float64]) -> Array:
    """Return the stored matrix nearest to ``expected`` [out, in], turned the same way.

    Names are no help here: exporters rename and transpose weights, and converters may clone them.
    """
    found = [
        turned
        for matrix in stored_matrices(path)
        for turned in (matrix, matrix.T)
        if turned.shape == expected.shape
    ]
    if not found:
        raise AssertionError(f"no matrix of shape {expected.shape} in {path}")
    return min(found, key=lambda matrix: np.abs(matrix.astype(np.float64) - expected).max())


def deltas(workspace: Workspace) -> dict[str, NDArray[np.float64]]:
    """Compute each target's delta [out, in] in float64 from the checkpoint, by the formula.

    The entries are drawn as PEFT draws them; its inverse FFT is not used.
    """
    saved = load_file(workspace.adapter() / "adapter_model.safetensors")
    config = workspace.case.config()
    model = build_base(workspace.case)
    result = {}
    for key, spectrum in saved.items():
        if not key.endswith(".fourierft_spectrum"):
            continue
        target = key.removeprefix("base_model.model.").removesuffix(".fourierft_spectrum")
        layer = model.get_submodule(target)
        shape = tuple(layer.weight.shape)
        shape = shape[::-1] if isinstance(layer, Conv1D) else shape
        size = shape[0] * shape[1]
        generator = torch.Generator().manual_seed(config.random_loc_seed)
        entries = torch.randperm(size, generator=generator)[: len(spectrum)].numpy()
        flat = np.zeros(size, np.float64)
        flat[entries] = spectrum.double().numpy()
        result[target] = np.fft.ifft2(flat.reshape(shape)).real * config.scaling
    return result
