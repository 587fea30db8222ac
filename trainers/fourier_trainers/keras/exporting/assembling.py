"""From a graph whose weights are inputs to a model: names, sizes that vary, and initializers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourier_trainers.keras.exporting.graph import INPUT, WEIGHT, Graph, graphs_of
from fourier_trainers.keras.exporting.signature import Signature
from fourier_trainers.keras.exporting.weights import as_array

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Assembled:
    """A ModelProto that lacks its initializers, and which those are.

    Attributes:
        proto: With the final names.
        weights: Name of the initializer -> the Keras variable.
    """

    proto: Any
    weights: dict[str, Any]


def assembled(
    graph: Graph,
    signature: Signature,
    outputs: list[str],
    variables: list[Any],
    called: Mapping[int, str],
    batched: list[bool],
) -> Assembled:
    """Returns the model of `graph`, whose proto it changes.

    Args:
        graph: What a way of exporting gave.
        signature: The inputs.
        outputs: Names of the outputs, in the graph's order.
        variables: The weights, in the order of their numbers.
        called: What an initializer is called, by the id of its variable.
        batched: For each output, whether its first axis is the batch.
    """
    body = graph.proto.graph
    _separate_outputs(body)
    read = {name for each in graphs_of(body) for node in each.node for name in node.input}
    numbers = [n for n in range(len(variables)) if f"{WEIGHT}{n}" in read]
    wanted = {f"{INPUT}{n}": each.name for n, each in enumerate(signature.inputs)}
    wanted |= {value.name: name for value, name in zip(body.output, outputs, strict=True)}
    names = unique((called[id(variables[n])] for n in numbers), set(wanted.values()))
    wanted |= {f"{WEIGHT}{n}": name for n, name in zip(numbers, names, strict=True)}
    _rename(body, _without_collisions(body, wanted))
    kept = [value for value in body.input if not value.name.startswith(WEIGHT)]
    inputs = {value.name: value for value in kept if value.name not in names}
    del body.input[:]
    body.input.extend(inputs[each.name] for each in signature.inputs)
    _describe(body, signature, batched)
    return Assembled(graph.proto, dict(zip(names, (variables[n] for n in numbers), strict=True)))


def initializer(name: str, variable: Any) -> tuple[Any, Array]:
    """Returns the head of a weight's TensorProto and its values, little-endian and contiguous."""
    import onnx

    array = np.ascontiguousarray(as_array(variable), "<f4")
    head = onnx.TensorProto(name=name, dims=variable.shape, data_type=onnx.TensorProto.FLOAT)
    return head, array


def unique(names: Iterable[str], taken: set[str]) -> list[str]:
    """Returns the names, those that are taken with a number behind them."""
    result: list[str] = []
    for name in names:
        unique, number = name, 0
        while unique in taken:
            number += 1
            unique = f"{name}_{number}"
        taken.add(unique)
        result.append(unique)
    return result


def _separate_outputs(body: Any) -> None:
    """Gives each output a value of its own, where it is an input or another output as well."""
    taken = {value.name for value in body.input}
    for number, value in enumerate(body.output):
        if value.name in taken:
            name = f"fourier_output_{number}"
            body.node.add(op_type="Identity", input=[value.name], output=[name])
            value.name = name
        taken.add(value.name)


def _without_collisions(body: Any, wanted: dict[str, str]) -> dict[str, str]:
    """Returns `wanted`, and other names for inner values that have one of the new names."""
    existing = {
        name
        for each in graphs_of(body)
        for node in each.node
        for name in (*node.input, *node.output)
    }
    existing |= {tensor.name for each in graphs_of(body) for tensor in each.initializer}
    clashing = sorted((existing - set(wanted)) & set(wanted.values()))
    taken = existing | set(wanted.values())
    return wanted | dict(zip(clashing, unique(clashing, taken), strict=True))


def _rename(body: Any, names: Mapping[str, str]) -> None:
    """Rename values in a graph and all inside it."""
    for each in graphs_of(body):
        del each.value_info[:]  # it names sizes of the trace, and says nothing that is needed
        for node in each.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
            del node.metadata_props[:]  # stack traces of the machine that exports
        for value in (*each.input, *each.output, *each.initializer):
            value.name = names.get(value.name, value.name)


def _describe(body: Any, signature: Signature, batched: list[bool]) -> None:
    """Names the sizes that vary: the batch, and each other one by its input and axis."""
    for tensor, value in zip(signature.inputs, body.input, strict=True):
        dims = value.type.tensor_type.shape.dim
        for axis, (size, dim) in enumerate(zip(tensor.shape, dims, strict=True)):
            if size is None:
                dim.dim_param = f"{tensor.name}_{axis}" if axis else "batch"
    for value, is_batch in zip(body.output, batched, strict=True):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if is_batch and axis == 0:
                dim.dim_param = "batch"
            elif dim.HasField("dim_param"):
                dim.Clear()
