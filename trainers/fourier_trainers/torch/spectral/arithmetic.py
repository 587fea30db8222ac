"""Delta weights and their products, in torch, without autograd.

Coefficients come scaled: c alpha norm, in the dtype of the computation, which is float64 for
float64 and float32 for everything lower. Work goes in blocks of rows, which stay in the cache and
keep what is held beside input and output small.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from fourier_trainers.torch.spectral.basis import Basis, Direction

_BLOCK_CELLS: Final = {"cpu": 2**18}
"""Cells of a block: 2^16 and 2^19 take a fifth longer on two cores."""

_BLOCK_CELLS_ELSEWHERE: Final = 2**25
"""On other devices a block only bounds the memory: 128 MiB in float32."""


def compute_dtype(*dtypes: torch.dtype) -> torch.dtype:
    """Returns the dtype of spectra: float64 where anything is, else float32."""
    return torch.float64 if torch.float64 in dtypes else torch.float32


def delta_weight(basis: Basis, scaled: Tensor) -> Tensor:
    """Returns the delta weight, (out, in), of `scaled` coefficients (n,)."""
    delta = scaled.new_zeros(basis.shape)
    add_delta_weight(delta, basis, scaled)
    return delta


def add_delta_weight(matrix: Tensor, basis: Basis, scaled: Tensor) -> None:
    """Add a delta weight to `matrix` (out, in), which may be of another dtype, in place.

    The transform along the output axis runs over the rows of A_in that are used alone.
    """
    out_axis, in_axis = basis.out_axis, basis.in_axis
    tensors = basis.on(scaled.device, scaled.dtype)
    routed = tensors.to_out
    used = tensors.used_in.numel()
    cells = scaled.new_zeros(used * out_axis.rows)
    cells.index_add_(
        0, tensors.used_place * out_axis.rows + routed.bags, scaled[routed.entry] * tensors.both
    )
    half = out_axis.inverse(cells.view(used, out_axis.rows))  # (m, out)
    for rows in _blocks(basis.shape[0], in_axis.rows, scaled.device):
        z = scaled.new_zeros(rows.stop - rows.start, in_axis.rows)
        z[:, tensors.used_in] = half[:, rows].T  # (m, b) -> (b, m) -> (b, r)
        matrix[rows].add_(in_axis.inverse(z))


def coefficient_gradient(basis: Basis, gradient: Tensor) -> Tensor:
    """Returns the gradient of the scaled coefficients, (n,), from a delta weight's (out, in)."""
    out_axis, in_axis = basis.out_axis, basis.in_axis
    dtype = compute_dtype(gradient.dtype)
    tensors = basis.on(gradient.device, dtype)
    half = gradient.new_empty(tensors.used_in.numel(), basis.shape[0], dtype=dtype)  # (m, out)
    for rows in _blocks(basis.shape[0], in_axis.rows, gradient.device):
        half[:, rows] = in_axis.forward(gradient[rows].to(dtype))[:, tensors.used_in].T
    cells = out_axis.forward(half).reshape(-1)  # (m, r)
    found = cells[tensors.used_place * out_axis.rows + tensors.to_out.bags] * tensors.plain
    return _by_entry(basis, found[tensors.by_entry])


def add_product(y: Tensor, basis: Basis, scaled: Tensor, x: Tensor) -> None:
    """Add x delta^T to `y` in place, without forming the delta weight; (t, in) -> (t, out)."""
    tensors = basis.on(scaled.device, scaled.dtype)
    weights = scaled[tensors.to_out.entry] * tensors.to_out.weight
    for rows in _blocks(x.shape[0], basis.in_axis.rows, x.device):
        table = _turned(basis.in_axis.forward(x[rows].to(scaled.dtype)))  # (r, b)
        y[rows].add_(basis.out_axis.inverse(_routed(tensors.to_out, table, weights)))


def add_transposed_product(x_gradient: Tensor, basis: Basis, scaled: Tensor, g: Tensor) -> None:
    """Add g delta to `x_gradient` in place, without the delta weight; (t, out) -> (t, in)."""
    tensors = basis.on(scaled.device, scaled.dtype)
    weights = scaled[tensors.to_in.entry] * tensors.to_in.weight
    for rows in _blocks(g.shape[0], basis.out_axis.rows, g.device):
        table = _turned(basis.out_axis.forward(g[rows].to(scaled.dtype)))  # (r, b)
        x_gradient[rows].add_(basis.in_axis.inverse(_routed(tensors.to_in, table, weights)))


def product_gradients(
    basis: Basis, scaled: Tensor, x: Tensor, gradient: Tensor, x_gradient: Tensor | None
) -> Tensor:
    """Returns the gradient of the scaled coefficients, (n,), of y = x delta^T.

    n samples of the delta weight's gradient, which is never formed.

    Args:
        basis: The basis.
        scaled: (n,) the scaled coefficients.
        x: (t, in).
        gradient: (t, out), of y.
        x_gradient: (t, in), to which the gradient of x is added in place; None if not wanted.
    """
    tensors = basis.on(scaled.device, scaled.dtype)
    weights = scaled[tensors.to_in.entry] * tensors.to_in.weight
    found = torch.zeros_like(tensors.plain)
    for rows in _blocks(x.shape[0], max(basis.in_axis.rows, basis.out_axis.rows), x.device):
        x_table = _turned(basis.in_axis.forward(x[rows].to(scaled.dtype)))  # (r_in, b)
        table = _turned(basis.out_axis.forward(gradient[rows].to(scaled.dtype)))
        found += row_products(tensors.to_out, table, x_table)
        if x_gradient is not None:
            x_gradient[rows].add_(basis.in_axis.inverse(_routed(tensors.to_in, table, weights)))
    return _by_entry(basis, (found * tensors.plain)[tensors.by_entry])


def add_columns(y: Tensor, basis: Basis, scaled: Tensor, positions: Tensor) -> None:
    """Add the columns of a delta weight at `positions` (t,) to the rows of `y` (t, out)."""
    tensors = basis.on(scaled.device, scaled.dtype)
    routed = tensors.to_out._replace(source=tensors.used_place)
    weights = scaled[routed.entry] * routed.weight
    for rows in _blocks(positions.numel(), 4 * basis.count, y.device):
        table = basis.in_axis.columns(tensors.used_in, positions[rows], scaled.dtype)  # (m, b)
        y[rows].add_(basis.out_axis.inverse(_routed(routed, table, weights)))


def column_gradients(basis: Basis, positions: Tensor, gradient: Tensor) -> Tensor:
    """Returns the gradient of the scaled coefficients, (n,), from that of columns, (t, out)."""
    dtype = compute_dtype(gradient.dtype)
    tensors = basis.on(gradient.device, dtype)
    routed = tensors.to_out._replace(source=tensors.used_place)
    found = torch.zeros_like(tensors.plain)
    for rows in _blocks(positions.numel(), 4 * basis.count, gradient.device):
        x_table = basis.in_axis.columns(tensors.used_in, positions[rows], dtype)  # (m, b)
        table = _turned(basis.out_axis.forward(gradient[rows].to(dtype)))
        found += row_products(routed, table, x_table)
    return _by_entry(basis, (found * tensors.plain)[tensors.by_entry])


def row_products(routed: Direction, table: Tensor, x_table: Tensor) -> Tensor:
    """Returns (s n,) products of a row of `table` with one of `x_table` for each route.

    It is the gradient of `embedding_bag` to its weights, by the very kernel that autograd calls.
    """
    kernel = torch.ops.aten._embedding_bag_per_sample_weights_backward  # noqa: SLF001 - autograd's
    products: Tensor = kernel(table, x_table, routed.source, routed.offsets, routed.bags, 0)
    return products


def _routed(routed: Direction, table: Tensor, weights: Tensor) -> Tensor:
    """Returns the weighted sums of the table's rows, (b, r), from (r, b)."""
    summed = functional.embedding_bag(
        routed.source, table, routed.offsets, mode="sum", per_sample_weights=weights
    )
    pairs = summed.view(-1, 2, summed.shape[1]).permute(2, 0, 1)  # (r / 2, 2, b) -> (b, r / 2, 2)
    return pairs.contiguous().view(summed.shape[1], summed.shape[0])


def _turned(table: Tensor) -> Tensor:
    """Returns the transpose, (r, b), of (b, r), contiguous; r is even.

    As pairs, which makes it three axes: those are copied by all threads, the transpose of a matrix
    by one. With larger blocks, a quarter of the time of a backward pass.
    """
    pairs = table.view(table.shape[0], -1, 2).permute(1, 2, 0)  # (b, r / 2, 2) -> (r / 2, 2, b)
    return pairs.contiguous().view(table.shape[1], table.shape[0])


def _by_entry(basis: Basis, values: Tensor) -> Tensor:
    return values.view(basis.terms, basis.count).sum(0)


def _blocks(count: int, width: int, device: torch.device) -> Iterator[slice]:
    cells = _BLOCK_CELLS.get(device.type, _BLOCK_CELLS_ELSEWHERE)
    step = max(1, cells // width)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
