"""The tools that turn an exported graph into the one that is served: fused, optimised, quantised.

Each takes a model file and writes another with the same inputs and outputs. What they leave of
names, node metadata and weights differs from tool to tool, and a converter meets all of it.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.transformers import optimizer
from transformers import PretrainedConfig

_BLOCK = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One model for one tool."""

    source: Path
    target: Path
    config: PretrainedConfig
    """The base's: the optimizer wants to know architecture, heads and width."""
    inputs: dict[str, NDArray[np.generic]]
    """What static quantisation calibrates with."""


Tool = Callable[[Job], None]


def rewrite(tool: str, job: Job) -> None:
    """Run the tool of this name; their warnings are theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TOOLS[tool](job)


def _fused(job: Job, *, half: bool = False) -> None:
    """Run ``onnxruntime.transformers.optimizer`` on patterns alone, without ONNX Runtime's own.

    It knows no Llama; "gpt2" is what its users say of other decoders.
    """
    known = job.config.model_type in optimizer.MODEL_TYPES
    model = optimizer.optimize_model(
        str(job.source),
        model_type=job.config.model_type if known else "gpt2",
        num_heads=job.config.num_attention_heads,
        hidden_size=job.config.hidden_size,
        opt_level=0,
    )
    if half:
        model.convert_float_to_float16(keep_io_types=True)
    model.save_model_to_file(str(job.target))


def _optimised(job: Job, *, level: str) -> None:
    """Save what ONNX Runtime makes of the graph when it opens it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the result suits this machine only
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(job.target)
    onnxruntime.InferenceSession(job.source, options, providers=["CPUExecutionProvider"])


def _blocks(
    job: Job, *, bits: int, symmetric: bool = True, as_qdq: bool = False, level: int | None = None
) -> None:
    """Quantise the weights of MatMul in blocks; ``level`` 4 has activations rounded to int8."""
    quantizer = MatMulNBitsQuantizer(
        onnx.load(job.source),
        bits=bits,
        block_size=_BLOCK,
        is_symmetric=symmetric,
        accuracy_level=level,
        quant_format=quantization.QuantFormat.QDQ if as_qdq else quantization.QuantFormat.QOperator,
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(job.target))


def _static(job: Job, *, per_channel: bool, as_qdq: bool = True) -> None:
    """Quantise weights and activations of the layers to int8, calibrated on the inputs.

    Left to itself the tool quantises masks too, whose -3e38 leaves nothing of the scores.
    """
    form = quantization.QuantFormat.QDQ if as_qdq else quantization.QuantFormat.QOperator
    quantization.quantize_static(
        job.source,
        job.target,
        _Once(job.inputs),
        quant_format=form,
        op_types_to_quantize=["MatMul", "Gemm", "Conv"],
        per_channel=per_channel,
    )


def _dynamic(job: Job, *, per_channel: bool) -> None:
    """Quantise weights to int8, and activations as they come."""
    quantization.quantize_dynamic(
        job.source,
        job.target,
        per_channel=per_channel,
        weight_type=quantization.QuantType.QInt8,
        # Shape inference knows no fused operator, and the tool asks it for types.
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )


class _Once(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """One batch of calibration data."""

    def __init__(self, inputs: dict[str, NDArray[np.generic]]) -> None:
        self._batches = iter([inputs])

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        return next(self._batches, None)


TOOLS: dict[str, Tool] = {
    "fused": _fused,
    "fused-float16": partial(_fused, half=True),
    "ort-basic": partial(_optimised, level="ORT_ENABLE_BASIC"),
    "ort-extended": partial(_optimised, level="ORT_ENABLE_EXTENDED"),
    "ort-all": partial(_optimised, level="ORT_ENABLE_ALL"),
    "int4": partial(_blocks, bits=4),
    "int4-asymmetric": partial(_blocks, bits=4, symmetric=False),
    "int4-accuracy-4": partial(_blocks, bits=4, level=4),
    "int8-blocks": partial(_blocks, bits=8),
    "int8-blocks-asymmetric": partial(_blocks, bits=8, symmetric=False),
    "int4-qdq": partial(_blocks, bits=4, as_qdq=True),
    "int4-qdq-asymmetric": partial(_blocks, bits=4, symmetric=False, as_qdq=True),
    "qdq": partial(_static, per_channel=False),
    "qdq-per-channel": partial(_static, per_channel=True),
    "qlinear": partial(_static, per_channel=True, as_qdq=False),
    "dynamic": partial(_dynamic, per_channel=False),
    "dynamic-per-channel": partial(_dynamic, per_channel=True),
}
"""Every tool by the name that samples and folders use."""
