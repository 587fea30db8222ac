"""Protobufs: what attributes hold, every graph and tensor of a model, and its bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from fourier_format.errors import UnsupportedError, Violation

_LEAST_INPUTS: Final[dict[str, int]] = {
    **dict.fromkeys(("Identity", "Transpose", "Cast", "Reshape", "Squeeze", "Unsqueeze"), 1),
    **dict.fromkeys(("Flatten", "Einsum", "Split", "GroupQueryAttention"), 1),
    **dict.fromkeys(("MatMul", "Gemm", "Conv", "Gather", "Add", "Mul", "MatMulInteger"), 2),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "Attention", "BiasGelu"), 2),
    **dict.fromkeys(("FusedMatMul", "FusedGemm", "FusedConv", "LayerNormalization"), 2),
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), 2),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), 3),
    **dict.fromkeys(("MatMulNBits", "DynamicQuantizeMatMul"), 3),
    "FastGelu": 1,
    "MatMulIntegerToFloat": 4,
}
"""Operators that the search for weights looks at -> how many inputs each must have."""
_DOMAINS: Final = frozenset({"", "ai.onnx", "com.microsoft"})
"""Elsewhere an operator of such a name may be any module, exported as a function."""


def attribute(node: Any, name: str, default: Any) -> Any:
    """Returns a node's attribute of the default's type: float, int, list of int or str."""
    for entry in node.attribute:
        if entry.name == name:
            if isinstance(default, float):
                return entry.f
            if isinstance(default, int):
                return entry.i
            return entry.s.decode("utf-8", "replace") if isinstance(default, str) else [*entry.ints]
    return default


def subgraphs(node: Any) -> Iterator[Any]:
    """Yields the GraphProtos in a node's attributes."""
    for entry in node.attribute:
        if entry.HasField("g"):
            yield entry.g
        yield from entry.graphs


def serialized(proto: Any, where: str) -> bytes:
    """Returns the bytes of a ModelProto; `where` names it in errors.

    Raises:
        UnsupportedError: It is too large for protobuf.
    """
    from google.protobuf.message import EncodeError

    try:
        content: bytes = proto.SerializeToString()
    except (EncodeError, ValueError) as error:  # ValueError: over 2 GB
        problem = f"the merged graph cannot be written as one file: {error}"
        advice = "save the base with external data (onnx.save_model, save_as_external_data=True)"
        raise UnsupportedError(
            Violation("E-BASE-UNSUPPORTED", where, problem, advice=advice)
        ) from None
    return content


def all_tensors(proto: Any) -> Iterator[Any]:
    """Yields every TensorProto of a model: initializers and attributes, at any depth."""
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from _node_tensors(node)


def all_graphs(graph: Any) -> Iterator[Any]:
    """Yields a graph and the graphs inside it, at any depth."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from all_graphs(inner)


def all_nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    """Yields nodes and the nodes of the graphs inside them, at any depth."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from all_nodes(graph.node)


def is_text(proto: Any) -> bool:
    """Whether every name in a model is text: protobuf gives what is not UTF-8 as bytes."""
    return not any(isinstance(name, bytes) for name in _names(proto))


def broken_node(proto: Any) -> Any | None:
    """Returns a node that lacks inputs or outputs that its operator must have, if there is one."""
    nodes = [*proto.graph.node, *(node for f in proto.functions for node in f.node)]
    for node in all_nodes(nodes):
        least = _LEAST_INPUTS.get(node.op_type)
        if least is None:
            continue
        given = node.input[:least]
        lacks_inputs = len(given) < least or not all(given)
        if not any(node.output[:1]) or (lacks_inputs and node.domain in _DOMAINS):
            return node
    return None


def _names(proto: Any) -> Iterator[str | bytes]:
    nodes = list(proto.graph.node)
    for opset in proto.opset_import:
        yield opset.domain
    for function in proto.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
        nodes += function.node
    for node in all_nodes(nodes):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for entry in node.attribute:
            yield entry.name
        for prop in node.metadata_props:
            yield from (prop.key, prop.value)
        for graph in subgraphs(node):
            yield from _graph_names(graph)
    yield from _graph_names(proto.graph)
    for tensor in all_tensors(proto):
        yield tensor.name
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)


def _graph_names(graph: Any) -> Iterator[str | bytes]:
    for value in (*graph.input, *graph.output):
        yield value.name


def _graph_tensors(graph: Any) -> Iterator[Any]:
    for inner in all_graphs(graph):
        yield from inner.initializer
        for sparse in inner.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in inner.node:
            yield from _own_tensors(node)


def _own_tensors(node: Any) -> Iterator[Any]:
    for entry in node.attribute:
        if entry.HasField("t"):
            yield entry.t
        yield from entry.tensors


def _node_tensors(node: Any) -> Iterator[Any]:
    yield from _own_tensors(node)
    for graph in subgraphs(node):
        yield from _graph_tensors(graph)
