"""Names as evidence: which module a use belongs to, by each thing that can say so.

In order of trust: the exporter's record of module scopes, the node's own path, the initializer's
name, the neighbouring bias. Weights of equal value share one initializer, so a name on a tensor
may be another module's; a name on a node never is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, Final

from fourier_converters.onnx.model import Model
from fourier_converters.onnx.uses import Use

SCOPES_KEY: Final = "pkg.torch.onnx.name_scopes"
NAME_SCOPES: Final = "name scopes"
NODE_PATH: Final = "node path"
INITIALIZER_NAME: Final = "initializer name"
NEIGHBOURING_BIAS: Final = "neighbouring bias"
_PARAMETER: Final = re.compile(r"\.(weight|bias)(_[A-Za-z0-9]+)?$")


def module_of(model: Model, use: Use) -> tuple[str, str] | None:
    """Returns the module path of `use` and the source that states it, or None."""
    node = model.nodes[use.read.node]
    stated = module_of_node(node)
    if stated is not None:
        return stated[1], stated[0]
    named = _parameter_module(use.initializer)
    if named is not None:
        return named, INITIALIZER_NAME
    neighbour = next(_bias_modules(model, node), None)
    return None if neighbour is None else (neighbour, NEIGHBOURING_BIAS)


def module_of_node(node: Any) -> tuple[str, str] | None:
    """Returns the source and the module path that a node itself states, or None."""
    for source, path in ((NAME_SCOPES, _scope(node)), (NODE_PATH, _node_path(node.name))):
        if path:
            return source, path
    return None


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
    return ".".join(parts[:-1]) if name.startswith("/") and len(parts) > 1 else None


def is_further_call(path: str, first: str) -> bool:
    """Whether TorchScript may have meant another call of the module `first`: "query_1"."""
    return path.startswith(f"{first}_") and path.removeprefix(f"{first}_").isdecimal()


def _parameter_module(initializer: str) -> str | None:
    match = _PARAMETER.search(initializer)
    return initializer[: match.start()] or None if match else None


def _bias_modules(model: Model, node: Any) -> Iterator[str]:
    """Yields the modules of named biases that are added to what `node` computes."""
    names = list(node.input[2:]) if node.op_type == "Gemm" else []
    for read in model.reads(node.output[0]):
        reader = model.nodes[read.node]
        if reader.op_type == "Add":
            names += [name for name in reader.input if name != node.output[0]]
    for name in names:
        if name in model.initializers and ".bias" in name:
            module = _parameter_module(name)
            if module:
                yield module
