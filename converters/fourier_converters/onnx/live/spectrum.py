"""Nodes that compute x delta^T of all targets that read one x with one bank.

Everything but what each target's coefficients scale is shared by them: the transform of x, and the
rows that routes begin at (see `basis`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fourier_converters.onnx.live.basis import Basis
from fourier_converters.onnx.live.nodes import Constants, Nodes


@dataclass(frozen=True, slots=True)
class StoredBasis:
    """A basis whose constants are in the graph, by name; what is None is not needed.

    Attributes:
        of: The basis.
        order_in: As there.
        order_out: As there.
        outer_in: As there.
        inner_in: As there.
        gather: As there.
        entry: As there.
        inner_out: As there.
        outer_out: As there.
    """

    of: Basis
    order_in: str | None
    order_out: str | None
    outer_in: str
    inner_in: str
    gather: str
    entry: str
    inner_out: str
    outer_out: str


def stored(basis: Basis, constants: Constants, stem: str) -> StoredBasis:
    """Returns the names of the constants of a bank, put into the graph."""

    def order(values: np.ndarray | None, name: str) -> str | None:
        return None if values is None else constants.of(values, f"{stem}.{name}")

    return StoredBasis(
        basis,
        order(basis.order_in, "order_in"),
        order(basis.order_out, "order_out"),
        constants.of(basis.outer_in, f"{stem}.outer_in"),
        constants.of(basis.inner_in, f"{stem}.inner_in"),
        constants.of(basis.gather, f"{stem}.gather"),
        constants.of(basis.entry, f"{stem}.entry"),
        constants.of(basis.inner_out, f"{stem}.inner_out"),
        constants.of(basis.outer_out, f"{stem}.outer_out"),
    )


def begun(nodes: Nodes, basis: StoredBasis, x: str, rows: str) -> str:
    """Returns the rows that routes begin at, (K, rows, tokens a row).

    Args:
        nodes: Where nodes are added.
        basis: The bank's constants.
        x: float32, features last, the rows of the batch slowest.
        rows: int64 (1,): how many adapters there are, 1 or the batch.
    """
    of = basis.of
    split = of.split_in
    features = nodes.add("Transpose", nodes.reshape(x, -1, split.length), perm=[1, 0])  # (in, N)
    if basis.order_in is not None:
        features = nodes.add("Gather", features, basis.order_in, axis=0)
    outer = nodes.add("MatMul", basis.outer_in, nodes.reshape(features, split.a, -1))
    inner = nodes.reshape(outer, split.blocks, 2 * split.b, -1)  # (F, 2 b, N)
    found = nodes.add("MatMul", basis.inner_in, inner)  # (F, width, N)
    gathered = nodes.add(
        "Gather",
        nodes.reshape(found, of.inner_in.shape[0] * of.inner_in.shape[1], -1),
        basis.gather,
        axis=0,
    )  # (K, N)
    size, rest = nodes.constants.integers(of.gather.size), nodes.constants.integers(-1)
    return nodes.add("Reshape", gathered, nodes.add("Concat", size, rows, rest, axis=0))


def ended(nodes: Nodes, basis: StoredBasis, begin: str, coefficients: str, row: int) -> str:
    """Returns x delta^T of one target, (N, out).

    Args:
        nodes: Where nodes are added.
        basis: The bank's constants.
        begin: What `begun` returned.
        coefficients: (rows, L, n), values alpha * c.
        row: The target's row of L.
    """
    of = basis.of
    split = of.split_out
    own = nodes.add("Gather", coefficients, nodes.constants.scalar(row), axis=1)  # (rows, n)
    each = nodes.add("Gather", own, basis.entry, axis=1)  # (rows, K)
    turned = nodes.reshape(nodes.add("Transpose", each, perm=[1, 0]), of.gather.size, -1, 1)
    scaled = nodes.add("Mul", begin, turned)  # (K, rows, tokens)
    width = of.inner_out.shape[2]
    inner = nodes.add("MatMul", basis.inner_out, nodes.reshape(scaled, split.blocks, width, -1))
    outer = nodes.reshape(inner, 2 * split.blocks, -1)  # (2 F', b' N)
    features = nodes.add("MatMul", basis.outer_out, outer)
    features = nodes.reshape(features, split.length, -1)  # (out, N)
    if basis.order_out is not None:
        features = nodes.add("Gather", features, basis.order_out, axis=0)
    return nodes.add("Transpose", features, perm=[1, 0])
