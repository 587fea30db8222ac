"""What ONNX Runtime makes of a model at its default level."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime


def optimised(path: Path) -> set[str]:
    """Returns the operators of the optimised main graph."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = str(path.with_suffix(".optimised.onnx"))
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(options.optimized_model_filepath).graph
    return {node.op_type for node in graph.node}
