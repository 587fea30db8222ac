"""Edits of a graph's structure: new initializers, added terms, and what nothing reads any more."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from fourier_converters.onnx.model import Model, Read, Value
from fourier_converters.onnx.operators import ONNX
from fourier_converters.onnx.protos import all_graphs, subgraphs
from fourier_converters.onnx.tensors import element_type
from fourier_converters.onnx.tracing import is_dequantizer, is_passed

_IR_OF_OWN_INITIALIZERS = 4
"""The first version of ONNX's format in which an initializer need not be an input of the graph."""


def new_initializer(model: Model, name: str, dtype: str, shape: tuple[int, ...]) -> Any:
    """Returns a new TensorProto of the main graph, which subgraphs see, too; its name is unique."""
    if model.proto.ir_version < _IR_OF_OWN_INITIALIZERS:
        _free_initializers(model)
    tensor = model.proto.graph.initializer.add()
    tensor.name = model.fresh_name(name)
    tensor.data_type = element_type(dtype)
    tensor.dims.extend(shape)
    return tensor


def _free_initializers(model: Model) -> None:
    """Make initializers constants that are no inputs.

    Before that version each had to be an input, too, and yet nobody could feed it.
    """
    graph = model.proto.graph
    stored = {tensor.name for tensor in graph.initializer}
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in stored:
            del graph.input[index]
    model.proto.ir_version = _IR_OF_OWN_INITIALIZERS


def new_node(
    model: Model, operator: str, inputs: Sequence[str], stem: str, **attributes: Any
) -> Any:
    """Returns a node of ONNX's own domain, not yet in a graph; its output is named after `stem`."""
    from onnx import helper

    output = model.fresh_name(stem)
    return helper.make_node(operator, list(inputs), [output], name=output, **attributes)


def recompute(model: Model, value: Value, make: Callable[[str], Sequence[Any]]) -> None:
    """Compute `value` anew from what it was: `make` returns the nodes, given the old one's name.

    Whoever reads `value`, the graph's outputs included, reads the new one. What was computed before
    can be recomputed, too.
    """
    producer = model.producer(value)
    bare = model.fresh_name(f"{value.name}.before")
    scope = model.scopes[value.scope]
    index = _position(scope.graph, producer) + 1
    for slot, name in enumerate(producer.output):
        if name == value.name:
            producer.output[slot] = bare
    scope.producers[bare] = producer
    for node in reversed(list(make(bare))):
        scope.graph.node.insert(index, node)
        scope.producers.update(dict.fromkeys(node.output, scope.graph.node[index]))


class Swap(NamedTuple):
    """A value that is computed anew: `before` is what it was, `after` what it will be."""

    before: str
    after: str


def take(model: Model, value: Value, beside: Read | None = None) -> Swap:
    """Make room for a new `value`, or for what one input reads `beside` it; the caller computes it.

    Whoever reads `value`, the graph's outputs included, reads the new one; of `beside` that input
    alone.
    """
    scope = model.scopes[value.scope if beside is None else beside.scope]
    if beside is not None:
        node = model.node(beside)
        before = str(node.input[beside.slot])
        after = model.fresh_name(f"{before}.beside")
        node.input[beside.slot] = after
        said = [*scope.graph.value_info, *scope.graph.input]  # optimisers ask for the shape
        for info in [v for v in said if v.name == before]:
            copy = scope.graph.value_info.add()
            copy.CopyFrom(info)
            copy.name = after
        return Swap(before, after)
    producer = model.producer(value)
    before = model.fresh_name(f"{value.name}.before")
    for slot, name in enumerate(producer.output):
        if name == value.name:
            producer.output[slot] = before
    scope.producers[before] = producer
    return Swap(before, value.name)


def append(model: Model, scope: int, nodes: Sequence[Any]) -> None:
    """Put nodes into a graph, in no order; `sort_nodes` has to follow."""
    graph = model.scopes[scope].graph
    for node in nodes:
        graph.node.append(node)
        model.scopes[scope].producers.update(dict.fromkeys(node.output, graph.node[-1]))


def sort_nodes(model: Model) -> None:
    """Put the nodes of every graph behind what they read, else in the order in which they are."""
    for scope in model.scopes:
        _sort(scope.graph)


def _sort(graph: Any) -> None:
    made = {name: at for at, node in enumerate(graph.node) for name in node.output if name}
    waits: list[int] = []
    follow: dict[int, list[int]] = defaultdict(list)
    for at, node in enumerate(graph.node):
        needed = {made[name] for name in _read_by(node) if name in made} - {at}
        waits.append(len(needed))
        for one in needed:
            follow[one].append(at)
    ready = [at for at, count in enumerate(waits) if count == 0]
    order: list[int] = []
    while ready:
        at = heapq.heappop(ready)
        order.append(at)
        for one in follow[at]:
            waits[one] -= 1
            if waits[one] == 0:
                heapq.heappush(ready, one)
    if len(order) < len(graph.node):
        raise AssertionError("an edit made a node read what depends on it")
    if order == list(range(len(graph.node))):
        return
    nodes = [type(node).FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes[at] for at in order)


def _read_by(node: Any) -> Iterator[str]:
    """Yields what a node reads, its subgraphs' names among them: outer ones are read, too."""
    yield from (str(name) for name in node.input)
    for graph in subgraphs(node):
        for inner in graph.node:
            yield from _read_by(inner)
        yield from (str(output.name) for output in graph.output)


def replace_node(model: Model, read: Read, nodes: Sequence[Any]) -> None:
    """Put nodes in the place of the one that reads; they compute its outputs."""
    scope, node = model.scopes[read.scope], model.node(read)
    index = _position(scope.graph, node)
    del scope.graph.node[index]
    for new in reversed(nodes):
        scope.graph.node.insert(index, new)
        scope.producers.update(dict.fromkeys(new.output, scope.graph.node[index]))


def summed(model: Model, bare: str, term: str, result: str) -> Any:
    """Returns the node of result = bare + term."""
    from onnx import helper

    return helper.make_node("Add", [bare, term], [result], name=model.fresh_name(f"{result}.sum"))


def add_to(model: Model, value: Value, term: str) -> None:
    """Make `value` the sum of what it was and of the tensor `term`."""
    recompute(model, value, lambda bare: [summed(model, bare, term, value.name)])


def drop_unread(model: Model) -> None:
    """Remove what only passed weights on, and tensors, that nothing reads any more.

    What nothing ever read is the base's own affair.
    """
    while True:
        read = {name for graph in all_graphs(model.proto.graph) for name in _names_read(graph)}
        dropped = False
        for scope, graph in ((i, s.graph) for i, s in enumerate(model.scopes)):
            for index in reversed(range(len(graph.node))):
                node = graph.node[index]
                was_read = any(model.reads(Value(scope, name)) for name in node.output)
                if was_read and _could_idle(node) and not read.intersection(node.output):
                    del graph.node[index]
                    dropped = True
        if not dropped:
            break
    for scope, graph in ((i, s.graph) for i, s in enumerate(model.scopes)):
        inputs = {value.name for value in graph.input}
        for index in reversed(range(len(graph.initializer))):
            name = graph.initializer[index].name
            if name not in read | inputs and model.reads(Value(scope, name)):
                del graph.initializer[index]


def drop_attribute(node: Any, name: str) -> None:
    """Give an attribute its default."""
    for index in reversed(range(len(node.attribute))):
        if node.attribute[index].name == name:
            del node.attribute[index]


def opset(model: Model) -> int:
    """Returns the version of ONNX's own domain that the model imports."""
    versions = [entry.version for entry in model.proto.opset_import if entry.domain in ONNX]
    return max(versions, default=1)


def _position(graph: Any, node: Any) -> int:
    """Returns where `node` stands among the graph's nodes, -1 for none."""
    if node is None:
        return -1
    return next(
        index
        for index, other in enumerate(graph.node)
        if other is node or (other.output == node.output and other == node)
    )


def _could_idle(node: Any) -> bool:
    return (
        is_passed(node)
        or is_dequantizer(node)
        or (node.op_type in {"Constant", "Mul"} and node.domain in ONNX)
    )


def _names_read(graph: Any) -> set[str]:
    names = {name for node in graph.node for name in node.input}
    return names | {output.name for output in graph.output}
