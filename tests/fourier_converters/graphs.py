"""ONNX models written as text, with arrays for their initializers; and what a model computes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, parser

from fourier_format.adapter import Array

SCOPES_KEY = "pkg.torch.onnx.name_scopes"

LINEAR = """
    g (float[N, 4] x) => (float[N, 6] y) {
        [node_MatMul] y = MatMul (x, val_1)
    }
"""
"""One linear layer as dynamo writes it: the weight is anonymous and stored (in, out)."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def weight(out: int = 6, in_: int = 4, seed: int = 0, dtype: Any = np.float32) -> Array:
    """Returns a canonical matrix, (out, in)."""
    return rng(seed).standard_normal((out, in_)).astype(dtype)


def model(text: str, arrays: Mapping[str, Array], scopes: Mapping[str, str] | None = None) -> Any:
    """Returns the ModelProto of a graph in ONNX's text syntax.

    Args:
        text: The graph, without the model's header.
        arrays: The initializers by name.
        scopes: Node name -> module path, recorded as dynamo does.
    """
    proto = parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]>{text}')
    for name, array in arrays.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    for node in proto.graph.node:
        if scopes and node.name in scopes:
            set_scopes(node, str(["", *_prefixes(scopes[node.name]), "linear"]))
    return proto


def set_scopes(node: Any, value: str) -> None:
    entry = node.metadata_props.add()
    entry.key, entry.value = SCOPES_KEY, value


def save(proto: Any, path: Path) -> Path:
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return path


def save_external(proto: Any, path: Path, *, one_file: bool = True) -> Path:
    """Write the model with every initializer in external data, in one file or a file each."""
    onnx.save_model(
        proto,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=one_file,
        location=f"{path.name}.data" if one_file else None,
        size_threshold=0,
    )
    return path


def tensor(path: Path, name: str) -> Array:
    """Returns one initializer of the model at `path`, its external data loaded."""
    array: Array = numpy_helper.to_array(_initializer(onnx.load(path), name))
    return array


def initializers(path: Path) -> list[str]:
    return [t.name for t in onnx.load(path, load_external_data=False).graph.initializer]


def run(path: Path, **inputs: Array) -> list[Array]:
    """Returns the outputs that ONNX Runtime computes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, inputs)
    return outputs


def matrix(path: Path, in_: int, dtype: Any = np.float32) -> Array:
    """Returns W, (out, in), of a model that computes y = x W^T + b."""
    (y,) = run(path, x=np.eye(in_, dtype=dtype))
    (b,) = run(path, x=np.zeros((1, in_), dtype))
    difference: Array = (y - b).T
    return difference


def digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file in `folder`, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _initializer(proto: Any, name: str) -> Any:
    (found,) = [t for t in proto.graph.initializer if t.name == name]
    return found


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]
