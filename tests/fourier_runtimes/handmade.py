"""A small live graph made by hand, and its answers in float64.

Three layers: x [batch, tokens, 8] -> tanh(first) -> tanh(second) -> head [3]. Its delta weights are
dense products of coefficients and inverse transforms by NumPy's FFT: nothing of our own formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fourier_format import Adapter, EntrySet, Fingerprints, Target
from fourier_format.adapter import Array
from fourier_format.fingerprint import fingerprint
from fourier_format.live import Bank, Interface, Parameter, Seat, to_text
from fourier_format.live.interface import KEY, entries_digest

WIDTH = 8
COUNT = 12
LAYERS = ("first", "second")
DIFFERENCE = "fourier.head.difference"


def entries_of(seed: int, count: int = COUNT) -> Array:
    """Returns (count, 2) int32 entries of an 8 x 8 spectrum, drawn without replacement."""
    flat = np.random.default_rng(seed).permutation(WIDTH * WIDTH)[:count]
    return np.stack([flat // WIDTH, flat % WIDTH], axis=1).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Handmade:
    """A base with the entries of each bank of its live graph, all for both layers."""

    weights: Mapping[str, Array]
    banks: tuple[Array, ...]
    static: bool = False
    half: bool = False

    @property
    def interface(self) -> Interface:
        seats = tuple(
            Seat(name, "linear", "F32", 0.0, prints.samples, prints.norm)
            for name, prints in ((n, fingerprint(self.weights[n], n)) for n in LAYERS)
        )
        banks = tuple(
            Bank(bank_input(e), "dft2", (WIDTH, WIDTH), len(e), entries_digest(e), seats)
            for e in self.banks
        )
        head = Parameter("head.weight", DIFFERENCE, self.weights["head"])
        return Interface(banks, (head,), static=self.static)

    def model(self) -> bytes:
        return _Graph(self).model()

    def answer(self, x: Array, *rows: Mapping[Adapter, float]) -> Array:
        """Returns the head's outputs in float64; row i has the weighted adapters rows[i]."""
        return np.stack([self._row(one, given) for one, given in zip(x, rows, strict=True)])

    def _row(self, x: Array, given: Mapping[Adapter, float]) -> Array:
        values = x.astype(np.float64)
        for name in LAYERS:
            weight = self.weights[name].astype(np.float64)
            for adapter, scale in given.items():
                weight = weight + scale * delta_of(adapter, name)
            values = np.tanh(values @ weight.T)
        head = self.weights["head"].astype(np.float64)
        for adapter, scale in given.items():
            if "head.weight" in adapter.replacements:
                other = adapter.replacements["head.weight"].astype(np.float64)
                head = head + scale * (other - self.weights["head"])
        return np.asarray(values @ head.T)


def handmade(*seeds: int, static: bool = False, half: bool = False) -> Handmade:
    """Returns the base with one bank for each seed of its entries."""
    rng = np.random.default_rng(11)
    weights = {n: rng.normal(0, 0.4, (WIDTH, WIDTH)).astype(np.float32) for n in LAYERS}
    weights["head"] = rng.normal(0, 0.4, (3, WIDTH)).astype(np.float32)
    return Handmade(weights, tuple(entries_of(seed) for seed in seeds), static, half)


def delta_of(adapter: Adapter, name: str) -> Array:
    """Returns alpha * Re ifft2 of a target's spectrum, in float64; zeros without such a target."""
    spectrum = np.zeros((WIDTH, WIDTH), np.complex128)
    found = [target for target in adapter.targets if target.name == name]
    for target in found:
        u, v = adapter.entry_set(target).entries.T
        spectrum[u, v] = adapter.coefficients(target)
    scale = adapter.alpha_of(found[0]) if found else 0.0
    return np.asarray(np.fft.ifft2(spectrum).real * scale)


def adapter_for(
    base: Handmade,
    seed: int,
    bank: int = 0,
    *,
    alpha: float = 40.0,
    head: bool = False,
    targets: Sequence[str] = LAYERS,
    dtype: Any = np.float32,
    entries: Array | None = None,
    prints: bool = True,
) -> Adapter:
    """Returns an adapter with random coefficients, trained on `base` by its fingerprint."""
    rng = np.random.default_rng(seed)
    chosen = base.banks[bank] if entries is None else entries
    found = [fingerprint(base.weights[name], name) for name in targets]
    known = Fingerprints(
        dtype="F32",
        samples=np.stack([p.samples for p in found]),
        norm=np.array([p.norm for p in found]),
        sha256=np.stack([p.sha256 for p in found]),
    )
    coefficients = rng.normal(0, 1, (len(targets), len(chosen))).astype(dtype)
    shape = (WIDTH, WIDTH)
    entry_set = EntrySet(
        id="8x8",
        shape=shape,
        entries=chosen,
        coefficients=coefficients,
        fingerprints=known if prints else None,
    )
    named = tuple(
        Target(name=name, kind="linear", shape=shape, entries="8x8", row=row)
        for row, name in enumerate(targets)
    )
    tensors = {"head.weight": rng.normal(0, 1, (3, WIDTH)).astype(np.float32)} if head else {}
    return Adapter(alpha=alpha, entry_sets=(entry_set,), targets=named, replacements=tensors)


def bank_input(entries: Array) -> str:
    return f"fourier.{entries_digest(entries)[:6]}.coefficients"


class _Graph:
    """The ONNX graph of a Handmade."""

    def __init__(self, base: Handmade) -> None:
        self.base = base
        self.kind = TensorProto.FLOAT16 if base.half else TensorProto.FLOAT
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.defaults: dict[str, Array] = {}

    def model(self) -> bytes:
        for input_, layout in self.base.interface.layouts.items():
            rows = 1 if self.base.static else 0
            self.defaults[input_] = np.zeros((rows, *layout), np.float32)
        values = "x"
        for row, name in enumerate(LAYERS):
            values = self.layer(values, name, row)
        self.head(values)
        batch = ["batch", "tokens", WIDTH]
        taken = [helper.make_tensor_value_info("x", self.kind, batch)]
        for name, value in self.defaults.items():
            shape = ["adapters", *value.shape[1:]]
            taken.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        made = [helper.make_tensor_value_info("y", self.kind, ["batch", "tokens", 3])]
        tensors = [
            numpy_helper.from_array(v, n) for n, v in (self.constants | self.defaults).items()
        ]
        graph = helper.make_graph(self.nodes, "handmade", taken, made, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, {"other": "x", KEY: to_text(self.base.interface)})
        return bytes(model.SerializeToString())

    def layer(self, x: str, name: str, row: int) -> str:
        plain = self.product(x, name)
        for bank, entries in enumerate(self.base.banks):
            units = np.zeros((len(entries), WIDTH, WIDTH))
            units[np.arange(len(entries)), entries[:, 0], entries[:, 1]] = 1
            dense = np.fft.ifft2(units).real.reshape(len(entries), -1).astype(np.float32)
            mark = f"{name}.{bank}"
            basis = self.constant(f"{mark}.basis", dense)
            index = self.constant(f"{mark}.row", np.array(row))
            shape = self.constant("square", np.array([-1, WIDTH, WIDTH]))
            term = [
                helper.make_node(
                    "Gather", [bank_input(entries), index], [f"{mark}.c"], axis=1
                ),  # (rows, n)
                helper.make_node("MatMul", [f"{mark}.c", basis], [f"{mark}.flat"]),
                helper.make_node("Reshape", [f"{mark}.flat", shape], [f"{mark}.delta"]),
            ]
            plain = self.added(plain, x, bank_input(entries), mark, term)
        return self.node("Tanh", [plain], f"{name}.out")

    def head(self, x: str) -> None:
        plain = self.product(x, "head")
        term = [helper.make_node("Identity", [DIFFERENCE], ["head.0.delta"])]
        self.node("Identity", [self.added(plain, x, DIFFERENCE, "head.0", term)], "y")

    def added(self, plain: str, x: str, input_: str, mark: str, delta: list[Any]) -> str:
        """Returns plain + x delta^T where `input_` has rows; `delta` makes (rows, out, in)."""
        turned = helper.make_node(
            "Transpose", [f"{mark}.delta"], [f"{mark}.turned"], perm=[0, 2, 1]
        )
        cast = helper.make_node("Cast", [f"{mark}.turned"], [f"{mark}.cast"], to=self.kind)
        term = helper.make_node("MatMul", [x, f"{mark}.cast"], [f"{mark}.term"])
        total = helper.make_node("Add", [plain, f"{mark}.term"], [f"{mark}.total"])
        nodes = [*delta, turned, cast, term, total]
        if self.base.static:
            self.nodes += nodes
            return f"{mark}.total"
        size = self.node("Shape", [input_], f"{mark}.shape")
        zero = self.constant("zero", np.array(0))
        first = self.node("Gather", [size, zero], f"{mark}.first")
        asked = self.node("Greater", [first, zero], f"{mark}.asked")
        out = [helper.make_tensor_value_info(f"{mark}.total", self.kind, None)]
        then = helper.make_graph(nodes, "then", [], out)
        same = helper.make_node("Identity", [plain], [f"{mark}.same"])
        out = [helper.make_tensor_value_info(f"{mark}.same", self.kind, None)]
        otherwise = helper.make_graph([same], "else", [], out)
        chosen = f"{mark}.chosen"
        self.nodes.append(
            helper.make_node("If", [asked], [chosen], then_branch=then, else_branch=otherwise)
        )
        return chosen

    def product(self, x: str, name: str) -> str:
        weight = self.base.weights[name].T
        stored = weight.astype(np.float16 if self.base.half else np.float32)
        return self.node("MatMul", [x, self.constant(f"{name}.weight", stored)], f"{name}.plain")

    def node(self, operator: str, inputs: list[str], output: str) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output]))
        return output

    def constant(self, name: str, value: Array) -> str:
        self.constants[name] = np.ascontiguousarray(value)
        return name


def plain_model(base: Handmade) -> bytes:
    """Returns the base alone: no inputs for adapters, no metadata."""
    graph = _Graph(Handmade(base.weights, (), half=base.half))
    values = "x"
    for name in LAYERS:
        values = graph.node("Tanh", [graph.product(values, name)], f"{name}.out")
    graph.node("Identity", [graph.product(values, "head")], "y")
    taken = [helper.make_tensor_value_info("x", graph.kind, ["batch", "tokens", WIDTH])]
    made = [helper.make_tensor_value_info("y", graph.kind, ["batch", "tokens", 3])]
    tensors = [numpy_helper.from_array(v, n) for n, v in graph.constants.items()]
    whole = helper.make_graph(graph.nodes, "plain", taken, made, tensors)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def batch(rows: int, seed: int = 5, tokens: int = 4) -> Array:
    """Returns x (rows, tokens, 8) float32."""
    x = np.random.default_rng(seed).normal(0, 1, (rows, tokens, WIDTH))
    return x.astype(np.float32)
