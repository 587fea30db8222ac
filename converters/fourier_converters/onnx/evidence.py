"""Names as evidence: which module a use belongs to, by each thing that can say so.

In order of trust: the exporter's record of module scopes, the node's own path, the initializer's
name, the neighbouring bias. Weights of equal value share one initializer, so a name on a tensor
may be another module's; a name on a node never is.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from typing import Any, Final

from fourier_converters.onnx.model import Model, Read, Value
from fourier_converters.onnx.operators import role
from fourier_converters.onnx.tracing import trace
from fourier_converters.onnx.uses import Use

SCOPES_KEY: Final = "pkg.torch.onnx.name_scopes"
NAME_SCOPES: Final = "name scopes"
NODE_PATH: Final = "node path"
INITIALIZER_NAME: Final = "initializer name"
NEIGHBOURING_BIAS: Final = "neighbouring bias"
FUSED_PATH: Final = "path of the fused node's output"
_PARAMETER: Final = re.compile(r"\.(weight|bias)(_[A-Za-z0-9]+)*$")
_FUSIONS: Final = frozenset({"MatMulAddFusion", "MatMulScaleFusion", ""})
"""What ONNX Runtime appends to the name of a node that it made from another."""
_STEPS: Final = frozenset({"Cast", "Mul", "Reshape", "QuantizeLinear", "DequantizeLinear"})
"""Operators between a quantised or reshaped product and the addition of its bias."""
_MOST_INPUTS: Final = 8
"""Inputs of an operator among which its bias is."""
_MOST_READS: Final = 256
"""Reads of one product that are looked at."""


def module_of(model: Model, use: Use) -> tuple[str, str] | None:
    """Returns the module path of `use` and the source that states it, or None."""
    node = model.node(use.read)
    stated = module_of_node(node)
    if stated is not None:
        return stated[1], stated[0]
    named = _parameter_module(use.initializer)
    if named is not None:
        return named, INITIALIZER_NAME
    neighbour = next(_bias_modules(model, use.read.scope, node), None)
    return None if neighbour is None else (neighbour, NEIGHBOURING_BIAS)


def module_of_node(node: Any) -> tuple[str, str] | None:
    """Returns the source and the module path that a node itself states, or None."""
    for source, path in ((NAME_SCOPES, _scope(node)), (NODE_PATH, _node_path(node.name))):
        if path:
            return source, path
    return None


def fused_module(node: Any) -> str | None:
    """Returns the module around a fused Attention: its output keeps the path of what it was."""
    return _node_path(node.output[0]) if node.output else None


def _scope(node: Any) -> str | None:
    """Dynamo lists the scopes from the model to the operator; the last but one is the module."""
    for entry in node.metadata_props:
        if entry.key == SCOPES_KEY:
            try:
                scopes = ast.literal_eval(entry.value)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                return None
            if isinstance(scopes, list) and len(scopes) > 1 and isinstance(scopes[-2], str):
                return scopes[-2]
    return None


def _node_path(name: str) -> str | None:
    """The TorchScript exporter names nodes "/encoder/layer.0/query/MatMul"."""
    parts = name.strip("/").split("/")
    while len(parts) > 1 and parts[-1] in _FUSIONS:
        parts.pop()
    return ".".join(parts[:-1]) if name.startswith("/") and len(parts) > 1 else None


def is_further_call(path: str, first: str) -> bool:
    """Whether TorchScript may have meant another call of the module `first`: "query_1"."""
    return path.startswith(f"{first}_") and path.removeprefix(f"{first}_").isdecimal()


def _parameter_module(initializer: str) -> str | None:
    match = _PARAMETER.search(initializer)
    return initializer[: match.start()] or None if match else None


def _bias_modules(model: Model, scope: int, node: Any) -> Iterator[str]:
    """Yields the modules of named biases that are added to what `node` computes."""
    names = [(scope, name) for _, name in _biases(node)]
    for read in reads_after_steps(model, Value(scope, node.output[0])):
        reader = model.node(read)
        names += [
            (read.scope, name)
            for slot, name in _biases(reader)
            if slot != read.slot and _is_added(reader, slot, read.slot)
        ]
    for at, name in names:
        origin = trace(model, model.resolve(at, name))
        if origin is not None and ".bias" in origin.value.name:
            module = _parameter_module(origin.value.name)
            if module:
                yield module


def reads_after_steps(model: Model, value: Value) -> Iterator[Read]:
    """Yields who may add a bias to what a node computes, after steps that belong to the product.

    Of each node that reads it the first read alone, and no more reads than exporters write.
    """
    values, seen, left = [value], set[tuple[int, int]](), _MOST_READS
    for _ in range(4):
        found, values = values, []
        for at in found:
            reads = model.reads(at)[:left]
            left -= len(reads)
            for read in reads:
                reader = model.node(read)
                if (read.scope, read.node) in seen:
                    continue
                seen.add((read.scope, read.node))
                if _belongs(model, read):
                    values.append(Value(read.scope, reader.output[0]))
                elif any(_biases(reader)):
                    yield read


def _belongs(model: Model, read: Read) -> bool:
    """Whether a node passes a product on; a factor for each feature is another module's scale.

    What dequantises a product of integers is computed, of the scales of both.
    """
    reader = model.node(read)
    if reader.op_type != "Mul":
        return reader.op_type in _STEPS
    factors = [name for slot, name in enumerate(reader.input[:2]) if slot != read.slot]
    origins = [trace(model, model.resolve(read.scope, name)) for name in factors]
    return all(origin is None or math.prod(origin.shape) == 1 for origin in origins)


def _biases(node: Any) -> Iterator[tuple[int, str]]:
    """Yields the inputs of `node` that are biases by its operator's definition."""
    for slot, name in enumerate(node.input[:_MOST_INPUTS]):
        if name and role(node, slot) == "bias":
            yield slot, name


def _is_added(reader: Any, slot: int, own: int) -> bool:
    """Whether bias `slot` of `reader` is added to its input `own`."""
    if reader.op_type == "SkipLayerNormalization":
        return slot == 4 and own == 0
    return reader.op_type in {"Add", "BiasGelu", "FastGelu"} and own < 2
