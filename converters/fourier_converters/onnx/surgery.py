"""Edits of a graph's structure: new initializers, new biases, and what nothing reads any more."""

from __future__ import annotations

from typing import Any

from fourier_converters.onnx.model import Model
from fourier_converters.onnx.replacing import Replaced
from fourier_converters.onnx.tensors import element_type, set_values
from fourier_converters.onnx.uses import PASSED
from fourier_format.dtypes import DTYPES


def new_initializer(model: Model, name: str, dtype: str, shape: tuple[int, ...]) -> Any:
    """Returns a new TensorProto of the graph, its values not yet set; the name is made unique."""
    tensor = model.proto.graph.initializer.add()
    tensor.name = model.fresh_name(name)
    tensor.data_type = element_type(dtype)
    tensor.dims.extend(shape)
    return tensor


def add_bias(model: Model, bias: Replaced) -> None:
    """Give the linear nodes of `bias` the bias that they lack: Gemm's third input, or an Add."""
    dtype = bias.uses[0].use.operand_dtype
    tensor = new_initializer(model, bias.name, dtype, bias.values.shape)
    set_values(tensor, bias.values.astype(DTYPES[dtype]))
    for candidate in bias.uses:
        node = model.nodes[candidate.use.read.node]
        if node.op_type == "Gemm":
            del node.input[2:]
            node.input.append(tensor.name)
            _drop_attribute(node, "beta")
        else:
            _add_after(model, node, tensor.name)


def drop_unread(model: Model) -> None:
    """Remove initializers, and nodes that only passed them on, that nothing reads any more."""
    graph = model.proto.graph

    def kept(name: str) -> bool:
        return model.is_output(name) or model.is_read_inside(name)

    while True:
        read = {name for node in graph.node for name in node.input}
        idle = [
            index
            for index, node in enumerate(graph.node)
            if node.op_type in PASSED
            and not any(name in read or kept(name) for name in node.output)
        ]
        if not idle:
            break
        for index in reversed(idle):
            del graph.node[index]
    inputs = {value.name for value in graph.input}
    unread = [
        index
        for index, tensor in enumerate(graph.initializer)
        if tensor.name not in read | inputs
        and not kept(tensor.name)
        and model.reads(tensor.name)  # what nothing ever read is the base's own affair
    ]
    for index in reversed(unread):
        del graph.initializer[index]


def _drop_attribute(node: Any, name: str) -> None:
    """Give an attribute its default: a beta without a C may be anything."""
    for index in reversed(range(len(node.attribute))):
        if node.attribute[index].name == name:
            del node.attribute[index]


def _add_after(model: Model, node: Any, bias: str) -> None:
    """Insert output = node's output + bias; the node's own output gets a new name."""
    graph = model.proto.graph
    (output,) = node.output
    bare = model.fresh_name(f"{output}.without_bias")
    node.output[0] = bare
    index = next(i for i, other in enumerate(graph.node) if other is node or other == node)
    added = type(node)()
    added.op_type, added.name = "Add", model.fresh_name(f"{node.name}.bias")
    added.input.extend([bare, bias])
    added.output.append(output)
    graph.node.insert(index + 1, added)
