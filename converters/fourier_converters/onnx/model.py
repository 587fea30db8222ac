"""An ONNX model opened for surgery: the graph's index, its weights left where they lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fourier_format.atomic import os_errors
from fourier_format.errors import UnsupportedError, Violation, dependency_missing


@dataclass(frozen=True, slots=True)
class Read:
    """One input of one node of the main graph: the place where a value is read."""

    node: int
    slot: int


class Model:
    """A ModelProto with an index of who reads and who writes each value.

    Attributes:
        path: The .onnx file.
        proto: The ModelProto, external data not loaded; edited in place by `writing`.
    """

    def __init__(self, path: Path) -> None:
        """Read the graph at `path`.

        Raises:
            DependencyMissingError: onnx is not installed.
            FileAccessError: The file cannot be read.
            UnsupportedError: It is not an ONNX model.
        """
        onnx = _onnx()
        from google.protobuf.message import DecodeError

        self.path = path
        with os_errors(path, "read"):
            data = path.read_bytes()
        try:
            self.proto = onnx.ModelProto.FromString(data)
        except DecodeError as error:
            raise _not_onnx(path, f"not an ONNX model: {error}") from None
        graph = self.proto.graph
        if not graph.node:
            raise _not_onnx(path, "not an ONNX model: it has no nodes")
        self.initializers: Final[dict[str, Any]] = {t.name: t for t in graph.initializer}
        self.nodes: Final[list[Any]] = list(graph.node)
        self._index()

    def reads(self, value: str) -> list[Read]:
        """Returns where the main graph's nodes read `value`."""
        return self._reads.get(value, [])

    def producer(self, value: str) -> Any | None:
        """Returns the node that writes `value`, or None for inputs and initializers."""
        return self._producers.get(value)

    def is_output(self, value: str) -> bool:
        """Whether `value` is an output of the graph."""
        return value in self._outputs

    def is_read_inside(self, value: str) -> bool:
        """Whether `value` is read inside a subgraph."""
        return value in self._read_inside

    def fresh_name(self, stem: str) -> str:
        """Returns an unused value name that begins with `stem`, and takes it."""
        name, count = stem, 1
        while name in self._names:
            count += 1
            name = f"{stem}_{count}"
        self._names.add(name)
        return name

    def _index(self) -> None:
        self._reads: dict[str, list[Read]] = defaultdict(list)
        self._producers: dict[str, Any] = {}
        graph = self.proto.graph
        self._outputs = {output.name for output in graph.output}
        self._read_inside: set[str] = set()
        self._names = set(self.initializers) | {value.name for value in graph.input}
        for index, node in enumerate(self.nodes):
            for slot, name in enumerate(node.input):
                if name:
                    self._reads[name].append(Read(index, slot))
            for name in node.output:
                self._producers[name] = node
                self._names.add(name)
            for subgraph in _subgraphs(node):
                self._read_inside.update(_names_read(subgraph))
                self._names.update(_names_read(subgraph))


def _subgraphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _names_read(graph: Any) -> Iterator[str]:
    """Yields the names that a subgraph reads or shows, from outside too."""
    for node in graph.node:
        yield from node.input
        for subgraph in _subgraphs(node):
            yield from _names_read(subgraph)
    yield from (output.name for output in graph.output)


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise dependency_missing("onnx", "onnx", "reading ONNX models") from None
    return onnx


def _not_onnx(path: Path, problem: str) -> UnsupportedError:
    return UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(path), problem))
