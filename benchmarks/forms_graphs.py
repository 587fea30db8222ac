"""The graphs that `forms.py` measures: two adapted layers, or a transformer layer, in each form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fourier_converters.onnx.live import live_at_load, spectrum
from fourier_format.adapter import Adapter, EntrySet, Target

Array = NDArray[Any]
TARGETS: Final = ("query", "value")
HEADS: Final = 12
SEED: Final = 0
FEATURES: Final = 4
"""Of the MLP, in widths."""
ORDERS: Final = {"by_row": -1, "by_token": 2**40}
"""spectrum.FEW_TOKENS, so that a graph takes this order whatever it is fed."""


class Graph:
    """A graph that is being made, its adapted layers in one of the forms.

    `form` is "base", "inputs", "dense" or "factored"; the converter makes the spectral ones.
    """

    def __init__(self, form: str, width: int, n: int) -> None:
        self.form, self.width, self.n = form, width, n
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.inputs: dict[str, list[int | str]] = {}
        self._random = np.random.default_rng(SEED)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Array) -> str:
        self.constants[name] = np.ascontiguousarray(value)
        return name

    def shape(self, *sizes: int) -> str:
        return self.constant("shape" + "_".join(map(str, sizes)), np.array(sizes, np.int64))

    def weight(self, name: str, in_: int, out: int) -> str:
        values = self._random.standard_normal((in_, out), np.float32) / np.float32(in_**0.5)
        return self.constant(name, values)

    def linear(self, x: str, name: str, in_: int, out: int) -> str:
        """A linear layer; adapted, if it is one of the targets."""
        weight = self.weight(f"{name}.weight", in_, out)
        bias = self.constant(f"{name}.bias", self._random.standard_normal(out, np.float32))
        y = self.add("Add", self.add("MatMul", x, weight), bias)
        if name not in TARGETS or self.form == "base":
            return y
        if self.form == "inputs":
            self.inputs[weight] = [in_, out]
            return y
        return self.add(
            "Add", y, {"dense": self._dense, "factored": self._factored}[self.form](x, name)
        )

    def _dense(self, x: str, name: str) -> str:
        delta = f"{name}.delta"
        self.inputs[delta] = ["adapters", self.width, self.width]
        return self.add("MatMul", x, delta)

    def _factored(self, x: str, name: str) -> str:
        """Cosines and sines of n entries each; x's part is shared, as ONNX Runtime sees."""
        coefficients, size = f"{name}.coefficients", (self.width, 2 * self.n)
        self.inputs[coefficients] = ["adapters", 1, 2 * self.n]
        if "inward" not in self.constants:
            self.constant("inward", self._random.standard_normal(size, np.float32))
            self.constant("outward", self._random.standard_normal(size[::-1], np.float32))
            self.shared = self.add("MatMul", x, "inward")
        return self.add("MatMul", self.add("Mul", self.shared, coefficients), "outward")

    def model(self, *outputs: str) -> bytes:
        """Serialize; weights that are inputs have defaults, as overridable initializers."""
        taken: dict[str, list[int | str]] = {"x": ["batch", "tokens", self.width], **self.inputs}
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in taken.items()]
        made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
        tensors = [numpy_helper.from_array(v, n) for n, v in self.constants.items()]
        graph = helper.make_graph(self.nodes, "forms", infos, made, tensors)
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        return bytes(model.SerializeToString())


def pair(form: str, width: int, n: int) -> bytes:
    """Query and value of one x."""
    graph = Graph(form, width, n)
    return graph.model(*[graph.linear("x", name, width, width) for name in TARGETS])


def layer(form: str, width: int, n: int) -> bytes:
    """A transformer layer, query and value adapted."""
    graph = Graph(form, width, n)
    add, size = graph.add, width // HEADS
    heads = graph.shape(0, 0, HEADS, size)
    query, key, value = (
        add("Reshape", graph.linear("x", name, width, width), heads)
        for name in ("query", "key", "value")
    )
    scores = add(
        "MatMul",
        add("Transpose", query, perm=[0, 2, 1, 3]),
        add("Transpose", key, perm=[0, 2, 3, 1]),
    )
    scale = graph.constant("scale", np.array(size**-0.5, np.float32))
    met = add(
        "MatMul",
        add("Softmax", add("Mul", scores, scale), axis=-1),
        add("Transpose", value, perm=[0, 2, 1, 3]),
    )
    flat = add("Reshape", add("Transpose", met, perm=[0, 2, 1, 3]), graph.shape(0, 0, width))
    ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
    norm = (graph.constant("norm.weight", ones), graph.constant("norm.bias", zeros))
    states = add(
        "LayerNormalization", add("Add", graph.linear(flat, "output", width, width), "x"), *norm
    )
    inner = graph.linear(states, "up", width, FEATURES * width)
    root, one, half = (
        graph.constant(name, np.array(number, np.float32))
        for name, number in {"root": 2**0.5, "one": 1.0, "half": 0.5}.items()
    )
    erf = add("Add", add("Erf", add("Div", inner, root)), one)
    inner = add("Mul", add("Mul", inner, erf), half)
    down = graph.linear(inner, "down", FEATURES * width, width)
    return graph.model(add("LayerNormalization", add("Add", down, states), *norm))


TOPOLOGIES: Final[dict[str, Callable[[str, int, int], bytes]]] = {"pair": pair, "layer": layer}


def adapter_of(width: int, n: int, seed: int = SEED) -> Adapter:
    """An adapter of query and value with random coefficients; all seeds have the same entries."""
    flat = np.random.default_rng(SEED).permutation(width * width)[:n]
    entries = np.stack([flat // width, flat % width], axis=1).astype(np.int32)
    coefficients = np.random.default_rng(seed).standard_normal((len(TARGETS), n), np.float32)
    shape = (width, width)
    entry_set = EntrySet(id="q", shape=shape, entries=entries, coefficients=coefficients)
    targets = tuple(
        Target(name=name, kind="linear", shape=shape, entries="q", row=row)
        for row, name in enumerate(TARGETS)
    )
    return Adapter(alpha=1.0, entry_sets=(entry_set,), targets=targets)


def spectral(
    base: Path, width: int, n: int, order: str | None, options: Any, providers: Sequence[str]
) -> Any:
    """Open the converter's live graph; `order` is "by_row", "by_token" or its own choice."""
    with _order(order):
        live = live_at_load([adapter_of(width, n)], base, options)
    return onnxruntime.InferenceSession(live.model, live.options, providers=list(providers))


@contextmanager
def _order(order: str | None) -> Iterator[None]:
    before = spectrum.FEW_TOKENS
    try:
        spectrum.FEW_TOKENS = before if order is None else ORDERS[order]
        yield
    finally:
        spectrum.FEW_TOKENS = before


def fed(session: Any, rows: int, batch: int, tokens: int, width: int) -> dict[str, Array]:
    """Random values for x and for what the form is fed, one adapter for each of `rows`."""
    random = np.random.default_rng(SEED + 1)
    feeds = {"x": random.standard_normal((batch, tokens, width), np.float32)}
    others = [e for e in session.get_inputs() if e.name != "x"]
    others += session.get_overridable_initializers()
    for entry in others:
        if entry.name in {f"{name}.weight" for name in TARGETS}:
            size: Sequence[int] = entry.shape
        else:
            size = [rows, *entry.shape[1:]]
        feeds[entry.name] = random.standard_normal(size, np.float32)
    return feeds
