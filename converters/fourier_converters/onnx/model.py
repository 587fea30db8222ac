"""An ONNX model opened for surgery: an index of its graphs, the weights left where they lie.

The main graph and the bodies of If, Loop and Scan are scopes. A name means what the innermost scope
says that has it, so a value is a scope and a name.
"""

from __future__ import annotations

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from fourier_converters.onnx.external import READ_ONLY
from fourier_converters.onnx.functions import inline_functions
from fourier_converters.onnx.protos import broken_node, is_text, subgraphs
from fourier_converters.onnx.tensors import TensorReader
from fourier_format.adapter import Array
from fourier_format.atomic import os_errors
from fourier_format.errors import UnsupportedError, Violation, dependency_missing

_LARGEST: Final = 2**31 - 1
"""Bytes that protobuf can hold in one message."""


class Value(NamedTuple):
    """A value of the model: the scope that makes it, 0 for the main graph, and its name there."""

    scope: int
    name: str


@dataclass(frozen=True, slots=True, order=True)
class Read:
    """One input of one node: the place where a value is read; scope 0 is the main graph."""

    node: int
    slot: int
    scope: int = 0


class Scope:
    """The main graph or a subgraph.

    Attributes:
        graph: The GraphProto.
        parent: The scope around it, None for the main graph.
        nodes: Its nodes as they were when the model was opened.
        tensors: Name -> TensorProto: initializers, and what Constant nodes hold.
    """

    def __init__(self, graph: Any, parent: int | None) -> None:
        """Index `graph`."""
        self.graph: Final = graph
        self.parent: Final = parent
        self.nodes: Final[list[Any]] = list(graph.node)
        self.tensors: Final[dict[str, Any]] = {t.name: t for t in graph.initializer}
        self.producers: Final[dict[str, Any]] = {}
        self.outputs: Final = {output.name for output in graph.output}
        for node in self.nodes:
            self.producers.update(dict.fromkeys(node.output, node))
            constant = _constant(node)
            if constant is not None:
                self.tensors[node.output[0]] = constant
        self.defined: Final = {v.name for v in graph.input} | set(self.tensors)
        self.defined.update(self.producers)


class Model:
    """A ModelProto with an index of who reads and who writes each value.

    Attributes:
        path: The .onnx file.
        reader: Reads its tensors.
        proto: The ModelProto, external data not loaded; edited in place by `writing`.
        scopes: The main graph first, then subgraphs.
        inlined: The names of the model-local functions that were replaced by their bodies.
    """

    def __init__(self, path: Path) -> None:
        """Read the graph at `path`.

        Raises:
            DependencyMissingError: onnx is not installed.
            FileAccessError: The file cannot be read.
            UnsupportedError: It is not an ONNX model, or larger than protobuf allows.
        """
        self.path = path
        self.reader: Final = TensorReader(path)
        proto = _read(path)
        self.proto, self.inlined = inline_functions(proto, path)
        self.scopes: list[Scope] = []
        self._reads: dict[Value, list[Read]] = defaultdict(list)
        self._names: set[str] = set()
        self._node_names: Counter[str] = Counter()
        self._add_scopes(self.proto.graph, None)
        for index, scope in enumerate(self.scopes):
            self._names |= scope.defined
            self._node_names.update(str(node.name) for node in scope.nodes)
            for number, node in enumerate(scope.nodes):
                for slot, name in enumerate(node.input):
                    if name:
                        self._reads[self.resolve(index, name)].append(Read(number, slot, index))

    def nodes(self) -> Iterator[tuple[int, int, Any]]:
        """Yields (scope, number, node) of every node, the main graph's first."""
        for index, scope in enumerate(self.scopes):
            for number, node in enumerate(scope.nodes):
                yield index, number, node

    def node(self, read: Read) -> Any:
        """Returns the node that reads."""
        return self.scopes[read.scope].nodes[read.node]

    def value(self, read: Read) -> Value:
        """Returns what is read."""
        return self.resolve(read.scope, self.node(read).input[read.slot])

    def resolve(self, scope: int, name: str) -> Value:
        """Returns the value that `name` means inside `scope`."""
        at: int | None = scope
        while at is not None:
            if name in self.scopes[at].defined:
                return Value(at, name)
            at = self.scopes[at].parent
        return Value(scope, name)

    def tensor(self, value: Value) -> Any:
        """Returns the TensorProto behind an initializer or a Constant, None for other values."""
        return self.scopes[value.scope].tensors.get(value.name)

    def array(self, value: Value) -> Array:
        """Returns the values of an initializer or a Constant.

        Raises:
            KeyError: It is neither.
            UnsupportedError: Its data breaks a rule, or its type is not supported.
        """
        return self.reader.read(self.scopes[value.scope].tensors[value.name])

    def reads(self, value: Value) -> list[Read]:
        """Returns where nodes read `value`, in subgraphs too."""
        return self._reads.get(value, [])

    def producer(self, value: Value) -> Any:
        """Returns the node that writes `value`, or None for inputs and initializers."""
        return self.scopes[value.scope].producers.get(value.name)

    def is_output(self, value: Value) -> bool:
        """Whether `value` is an output of the model."""
        return value.scope == 0 and value.name in self.scopes[0].outputs

    def is_result(self, value: Value) -> bool:
        """Whether a subgraph hands `value` to the node that it belongs to."""
        return any(
            value.name in scope.outputs and self.resolve(index, value.name) == value
            for index, scope in enumerate(self.scopes)
            if index
        )

    def is_unique(self, node: str) -> bool:
        """Whether one node alone has the name `node`; ONNX does not ask for that."""
        return self._node_names[node] == 1

    def fresh_name(self, stem: str) -> str:
        """Returns an unused value name that begins with `stem`, and takes it."""
        name, count = stem, 1
        while name in self._names:
            count += 1
            name = f"{stem}_{count}"
        self._names.add(name)
        return name

    def _add_scopes(self, graph: Any, parent: int | None) -> None:
        index = len(self.scopes)
        self.scopes.append(Scope(graph, parent))
        for node in self.scopes[index].nodes:
            for subgraph in subgraphs(node):
                self._add_scopes(subgraph, index)


def _constant(node: Any) -> Any | None:
    if node.op_type != "Constant" or node.domain not in {"", "ai.onnx"} or not node.output:
        return None
    return next((a.t for a in node.attribute if a.name == "value" and a.HasField("t")), None)


def _read(path: Path) -> Any:
    onnx = _onnx()
    from google.protobuf.message import DecodeError

    with os_errors(path, "read"), open(os.open(path, READ_ONLY), "rb") as file:  # noqa: PTH123
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            _not_onnx(path, "the base is not a regular file")
        if facts.st_size > _LARGEST:
            problem = f"the .onnx file has {facts.st_size} bytes, and protobuf holds 2 GB at most"
            _not_onnx(path, problem, "save it with external data")
        data = file.read(facts.st_size)
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        _not_onnx(path, f"not an ONNX model: {error}")
    if not proto.graph.node:
        _not_onnx(path, "not an ONNX model: it has no nodes")
    if not is_text(proto):
        _not_onnx(path, "not an ONNX model: a name in it is not UTF-8")
    node = broken_node(proto)
    if node is not None:
        named = f"{path}, {node.name[:60] or 'a node without a name'}"
        _not_onnx(named, f"not an ONNX model: this {node.op_type} lacks inputs or outputs")
    return proto


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise dependency_missing("onnx", "onnx", "reading ONNX models") from None
    return onnx


def _not_onnx(path: Path | str, problem: str, advice: str | None = None) -> NoReturn:
    raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(path), problem, advice=advice))
