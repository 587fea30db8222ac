"""What each way of exporting gives: a graph that takes its weights as inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from fourier_format.errors import UnsupportedError, Violation

INPUT: Final = "fourier_input_"
WEIGHT: Final = "fourier_weight_"
"""Names of a graph's inputs until it is assembled: the input's or weight's number follows."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A converted model without its weights.

    Attributes:
        proto: A ModelProto; inputs and weights are its inputs, named by `INPUT` and `WEIGHT`.
        way: What made it, in words.
    """

    proto: Any
    way: str


def input_names(signature: Any, weights: Iterable[Any]) -> list[str]:
    """Returns the names of the graph's inputs: first the model's inputs, then the weights."""
    inputs = [f"{INPUT}{number}" for number, _ in enumerate(signature.inputs)]
    return inputs + [f"{WEIGHT}{number}" for number, _ in enumerate(weights)]


def graphs_of(graph: Any) -> Iterator[Any]:
    """Yields a GraphProto and every graph inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs_of(attribute.g)
            for inner in attribute.graphs:
                yield from graphs_of(inner)


def cannot(
    where: str, problem: str, got: str | None = None, advice: str | None = None
) -> UnsupportedError:
    """Returns the error for a model that a way of exporting does not manage."""
    return UnsupportedError(
        Violation("E-CONVERSION-UNSUPPORTED", where, problem, got, advice=advice)
    )


def root_cause(error: BaseException) -> str:
    """Returns the line that says what went wrong at first, in an exporter's chain of exceptions."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    lines = text.splitlines() or [""]
    line = lines[-1] if lines[0].startswith("in user code") else lines[0]
    if line.endswith(":"):
        line = " ".join(map(str.strip, lines[:2]))
    _, wraps, inner = text.partition("Exception encountered: ")  # Keras's way to chain
    return f"{type(error).__name__}: {(inner if wraps else line).strip()[:300]}"
