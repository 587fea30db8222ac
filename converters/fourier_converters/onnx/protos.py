"""Protobufs: what attributes hold, every graph and tensor of a model, and its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fourier_format.errors import UnsupportedError, Violation


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
