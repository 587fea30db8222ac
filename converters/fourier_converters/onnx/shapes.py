"""Shapes that a model states: of inputs, initializers, and values that exporters annotate."""

from __future__ import annotations

from typing import Any


def known_shapes(proto: Any) -> dict[str, tuple[int | None, ...]]:
    """Returns the shapes of the main graph's values by name, None for sizes that vary."""
    graph = proto.graph
    found = {
        info.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None
            for dim in info.type.tensor_type.shape.dim
        )
        for info in (*graph.value_info, *graph.input)
        if info.type.tensor_type.HasField("shape")
    }
    return found | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
