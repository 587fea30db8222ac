"""What a quantised graph computes with, found by asking the graph: not by reading its formats.

A linear layer that is given unit vectors answers with its weight. So the node, with whatever scales
and zero points it reads, is cut out and run in ONNX Runtime: the formula in use is the runtime's.
"""

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

Array = NDArray[np.generic]
# A chain of these is a layer of quantize_dynamic; DynamicQuantizeLinear reads its activations.
_CHAIN = {"Add", "Mul", "Cast", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeLinear"}


def layer_outputs(path: Path) -> dict[str, str]:
    """Name, by module, the tensor that each layer of an exported graph writes before its bias.

    The rewriting tools rename nodes and initializers, but not these.
    """
    graph = onnx.load(path, load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    return {
        _module(node): node.output[0]
        for node in graph.node
        if node.op_type in {"MatMul", "Gemm"} and stored.intersection(node.input)
    }


def _module(node: onnx.NodeProto) -> str:
    scopes = [
        property_.value
        for property_ in node.metadata_props
        if property_.key == "pkg.torch.onnx.name_scopes"
    ]
    if scopes:
        path: str = ast.literal_eval(scopes[0])[-2]
    else:
        path = ".".join(node.name.split("/")[1:-1])
    return path.removeprefix("model.")


def layer_weight(path: Path, output: str, width: int) -> NDArray[np.float32]:
    """Return the weight [out, ``width``] of the layer that writes ``output``, as it is used."""
    model = _load(path)
    producers = {name: node for node in model.graph.node for name in node.output}
    kept = [producers[output]]
    source = kept[0].input[0]
    if kept[0].op_type in {"Add", "Mul", "MatMulIntegerToFloat"}:
        kept = list(_chain(producers, output))
        source = next(n.input[0] for n in kept if n.op_type == "DynamicQuantizeLinear")
    # What the layer makes of nothing is its bias, where a tool has moved that into the node.
    rows = np.vstack([np.eye(width, dtype=np.float32), np.zeros((1, width), np.float32)])
    answers = _run(model, kept, source, output, rows)
    return np.ascontiguousarray((answers[:-1] - answers[-1]).T)


def table(path: Path, output: str, rows: int) -> NDArray[np.float32]:
    """Return the embedding table [``rows``, width] whose looked-up rows are ``output``."""
    model = _load(path)
    producers = {name: node for node in model.graph.node for name in node.output}
    kept = [producers[output]]
    while not kept[-1].op_type.startswith("Gather"):
        kept.append(producers[kept[-1].input[0]])
    return _run(model, kept, kept[-1].input[1], output, np.arange(rows, dtype=np.int64))


@lru_cache(maxsize=1)
def _load(path: Path) -> onnx.ModelProto:
    """Load a model once for all its layers."""
    return onnx.load(path)


def _chain(producers: dict[str, onnx.NodeProto], output: str) -> Iterator[onnx.NodeProto]:
    waiting, seen = [output], set[str]()
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.op_type not in _CHAIN or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        yield node
        if node.op_type != "DynamicQuantizeLinear":
            waiting.extend(node.input)


def _run(
    model: onnx.ModelProto, kept: list[onnx.NodeProto], source: str, output: str, fed: Array
) -> NDArray[np.float32]:
    """Run a few nodes, with the constants that they read."""
    nodes, read = _with_constants(model.graph, kept, source)
    kind = helper.np_dtype_to_tensor_dtype(fed.dtype)
    part = helper.make_model(
        helper.make_graph(
            nodes,
            "part",
            [helper.make_tensor_value_info(source, kind, fed.shape)],
            [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
            [tensor for tensor in model.graph.initializer if tensor.name in read],
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    session = onnxruntime.InferenceSession(part.SerializeToString())
    (answers,) = session.run([output], {source: fed})
    return np.asarray(answers, np.float32)


def _with_constants(
    graph: onnx.GraphProto, kept: list[onnx.NodeProto], source: str
) -> tuple[list[onnx.NodeProto], set[str]]:
    """Add the nodes that make their constants, in the graph's order; return also what is read."""
    wanted = {name for node in kept for name in node.output}
    read, nodes = set[str](), []
    for node in reversed(graph.node):
        if not wanted.intersection(node.output):
            continue
        nodes.append(node)
        read.update(node.input)
        # Whatever else is read comes from constants, or the source would have to be fed too.
        wanted.update(name for name in node.input if name != source)
    return nodes[::-1], read
