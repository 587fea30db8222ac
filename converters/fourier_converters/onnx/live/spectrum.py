"""Nodes that compute x delta^T of all targets that read one x with one bank (see `basis`).

Two orders of the same products: by row, where each row of the batch is a small matrix of its own
and coefficients become the blocks' values; and by token, where all tokens stand side by side, which
is better for few tokens a row, as in generation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fourier_converters.onnx.live.basis import Basis
from fourier_converters.onnx.live.blocks import ROWS
from fourier_converters.onnx.live.nodes import Constants, Nodes
from fourier_format.adapter import Array

FEW_TOKENS = 12
"""Tokens a row up to which the order by token is faster (measured: benchmarks/forms.py)."""
FEW_TOKENS_ALONE = 1
"""The same where one adapter is fed for all rows."""


@dataclass(frozen=True, slots=True)
class StoredBasis:
    """A basis whose matrices are in the graph, by name."""

    of: Basis
    outer_in: str
    inner_in: str
    weights: str
    inner_out: str
    outer_out: str


@dataclass(frozen=True, slots=True)
class Fed:
    """What a branch computes with.

    Attributes:
        x: float32, the rows of the batch slowest, features last.
        coefficients: float32 (rows, L, n), values alpha * c.
        rows: int64 (1,): how many adapters there are, 1 or the batch.
        targets: The targets' rows of L.
    """

    x: str
    coefficients: str
    rows: str
    targets: tuple[int, ...]


def stored(basis: Basis, constants: Constants, stem: str) -> StoredBasis:
    """Returns the names of a bank's matrices, put into the graph."""
    return StoredBasis(
        basis,
        constants.of(basis.outer_in, f"{stem}.outer_in"),
        constants.of(basis.inner_in, f"{stem}.inner_in"),
        constants.of(basis.weights, f"{stem}.weights"),
        constants.of(basis.inner_out, f"{stem}.inner_out"),
        constants.of(basis.outer_out, f"{stem}.outer_out"),
    )


def spectral_terms(nodes: Nodes, basis: StoredBasis, fed: Fed, *, static: bool) -> list[str]:
    """Returns x delta^T of each target, (N, out), by whichever order is faster for these tokens.

    Args:
        nodes: Where nodes are added.
        basis: The bank's constants.
        fed: What is computed with.
        static: Whether there may be no If; the order is then by row.
    """
    width = nodes.constants.integers(basis.of.split_in.length)
    rest = nodes.constants.integers(-1)
    shape = nodes.add("Concat", fed.rows, rest, width, axis=0)
    x = nodes.add("Reshape", fed.x, shape)  # (rows, T, in)
    if static:
        return by_row(nodes, basis, x, fed)
    count = nodes.add("Gather", nodes.add("Shape", x), nodes.constants.integers(1), axis=0)
    one, most = nodes.constants.integers(1), nodes.constants.integers(FEW_TOKENS)
    alone = nodes.add("Equal", fed.rows, one)
    limit = nodes.add("Where", alone, nodes.constants.integers(FEW_TOKENS_ALONE), most)
    many = nodes.add("Greater", count, limit)
    model = nodes.constants.model
    outputs = [model.fresh_name(f"{basis.outer_out}.term") for _ in fed.targets]
    nodes.either(
        many,
        lambda inner: by_row(inner, basis, x, fed),
        lambda inner: by_token(inner, basis, x, fed),
        outputs,
        ["F32"] * len(outputs),
    )
    return outputs


def is_by_token(rows: int, tokens: float) -> bool:
    """Whether the graph takes the order by token for `rows` fed rows of so many tokens."""
    return tokens <= (FEW_TOKENS if rows > 1 else FEW_TOKENS_ALONE)


def by_row(nodes: Nodes, basis: StoredBasis, x: str, fed: Fed) -> list[str]:
    """Returns the terms; x is (rows, T, in), and rows stay the slowest axis."""
    of, count = basis.of, len(fed.targets)
    blocks, width = of.begins.shape
    features = _permuted(nodes, nodes.add("Transpose", x, perm=[0, 2, 1]), of.order_in, 1)
    outer = nodes.add("MatMul", basis.outer_in, nodes.reshape(features, 0, of.split_in.a, -1))
    inner = nodes.reshape(outer, 0, of.split_in.groups, 2 * of.split_in.b, -1)
    found = nodes.add("MatMul", basis.inner_in, inner)  # (rows, groups, width, T)
    found = nodes.reshape(found, 0, of.inner_in.shape[0] * of.inner_in.shape[1], -1)
    begun = _taken(nodes, found, of.begins, 1)  # (rows, blocks, K, T)
    index = np.stack([of.entries + at * of.count for at in range(count)], axis=1)
    each = _taken(nodes, _own(nodes, fed), index.ravel(), 0)  # (blocks * targets * K, rows)
    each = nodes.add("Transpose", each, perm=[1, 0])
    each = nodes.reshape(each, -1, blocks, count, 1, width)
    weights = nodes.reshape(basis.weights, blocks, 1, ROWS, width)
    matrices = nodes.reshape(nodes.add("Mul", each, weights), 0, blocks, count * ROWS, width)
    met = nodes.add("MatMul", matrices, begun)  # (rows, blocks, targets * ROWS, T)
    met = nodes.reshape(met, 0, blocks * count * ROWS, -1)
    results = []
    for at in range(count):
        place = (of.ends // ROWS * count + at) * ROWS + of.ends % ROWS
        ended = _taken(nodes, met, place, 1)  # (rows, groups', width', T)
        inner = nodes.reshape(
            nodes.add("MatMul", basis.inner_out, ended), 0, 2 * of.split_out.groups, -1
        )
        outer = nodes.add("MatMul", basis.outer_out, inner)
        result = _permuted(nodes, nodes.reshape(outer, 0, of.split_out.length, -1), of.order_out, 1)
        turned = nodes.add("Transpose", result, perm=[0, 2, 1])
        results.append(nodes.reshape(turned, -1, of.split_out.length))
    return results


def by_token(nodes: Nodes, basis: StoredBasis, x: str, fed: Fed) -> list[str]:
    """Returns the terms; x is (rows, T, in), and all N = T * rows tokens are the fastest axis.

    A row's tokens are `rows` apart, so that coefficients and values meet in vectors of all rows.
    """
    of = basis.of
    blocks, width = of.begins.shape
    rest = nodes.constants.integers(-1)
    mixed = nodes.reshape(nodes.add("Transpose", x, perm=[1, 0, 2]), -1, of.split_in.length)
    features = _permuted(nodes, nodes.add("Transpose", mixed, perm=[1, 0]), of.order_in, 0)
    outer = nodes.add("MatMul", basis.outer_in, nodes.reshape(features, of.split_in.a, -1))
    inner = nodes.reshape(outer, of.split_in.groups, 2 * of.split_in.b, -1)
    found = nodes.add("MatMul", basis.inner_in, inner)
    found = nodes.reshape(found, of.inner_in.shape[0] * of.inner_in.shape[1], -1)
    begun = _taken(nodes, found, of.begins.ravel(), 0)  # (blocks * K, N)
    size = nodes.constants.integers(blocks * width)
    begun = nodes.add("Reshape", begun, nodes.add("Concat", size, rest, fed.rows, axis=0))
    length = nodes.constants.integers(of.split_out.length)
    back = nodes.add("Concat", rest, fed.rows, length, axis=0)
    each = _own(nodes, fed)
    results = []
    for at in range(len(fed.targets)):
        own = _taken(nodes, each, of.entries.reshape(-1, 1) + at * of.count, 0)
        scaled = nodes.add("Mul", begun, own)  # (blocks * K, T, rows) by (blocks * K, 1, rows)
        met = nodes.add("MatMul", basis.weights, nodes.reshape(scaled, blocks, width, -1))
        ended = _taken(nodes, nodes.reshape(met, blocks * ROWS, -1), of.ends, 0)
        inner = nodes.reshape(
            nodes.add("MatMul", basis.inner_out, ended), 2 * of.split_out.groups, -1
        )
        outer = nodes.add("MatMul", basis.outer_out, inner)
        result = _permuted(nodes, nodes.reshape(outer, of.split_out.length, -1), of.order_out, 0)
        mixed = nodes.add("Reshape", nodes.add("Transpose", result, perm=[1, 0]), back)
        turned = nodes.add("Transpose", mixed, perm=[1, 0, 2])  # (rows, T, out)
        results.append(nodes.reshape(turned, -1, of.split_out.length))
    return results


def _own(nodes: Nodes, fed: Fed) -> str:
    """Returns the coefficients of the targets, (targets * n, rows).

    Rows of the batch come last, as ONNX Runtime gathers whole vectors far faster than numbers.
    """
    own = nodes.reshape(_taken(nodes, fed.coefficients, np.array(fed.targets), 1), 0, -1)
    return nodes.add("Transpose", own, perm=[1, 0])


def _taken(nodes: Nodes, values: str, index: Array, axis: int) -> str:
    return nodes.add("Gather", values, nodes.constants.of(index, "fourier.index"), axis=axis)


def _permuted(nodes: Nodes, features: str, order: Array | None, axis: int) -> str:
    return features if order is None else _taken(nodes, features, order, axis)
