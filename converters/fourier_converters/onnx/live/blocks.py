"""Blocks: the sparse matrix M of a transform as small dense ones of one size.

Each block holds all routes that end in a few rows of A_out. What a row of the batch multiplies a
block with is made of its own coefficients, so that a batch of small products does what would be a
gather, a scaling and a sum.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np

from fourier_format.adapter import Array
from fourier_format.spectral.routes import Routes

ROWS: int = 8
"""Rows of A_out in a block: fewer make more products, more make more zeros (measured: flat)."""


class Blocks(NamedTuple):
    """M[end, begin] = sum of weights times coefficients, block by block.

    Attributes:
        begins: (blocks, K) int64, the row of A_in of each column.
        entries: (blocks, K) int64, the entry whose coefficient each column has.
        weights: (blocks, ROWS, K) float64; zeros where nothing is.
        ends: (m,) int64, the rows of A_out.
        places: (m,) int64, where each is among the blocks' rows.
    """

    begins: Array
    entries: Array
    weights: Array
    ends: Array
    places: Array


class _Routes(NamedTuple):
    end: Array
    begin: Array
    entry: Array
    weight: Array


def blocks_of(routes: Routes) -> Blocks:
    """Returns the blocks of a transform's routes, weights times `routes.norm`."""
    flat = _flat(routes)
    columns, column = np.unique(
        np.stack([flat.end // 2, flat.entry, flat.begin]), axis=1, return_inverse=True
    )  # (3, c): a frequency's two rows share the columns that begin alike
    column = column.ravel()
    ends, end = np.unique(flat.end, return_inverse=True)
    units, row_counts = np.unique(ends // 2, return_counts=True)
    column_counts = np.bincount(np.searchsorted(units, columns[0]), minlength=units.size)
    block_of = _packed(row_counts, column_counts)
    row_block = block_of[np.searchsorted(units, ends // 2)]
    column_block = block_of[np.searchsorted(units, columns[0])]
    count = int(block_of.max()) + 1
    row_slot, _ = _slots(row_block, count)
    column_slot, width = _slots(column_block, count)
    begins = np.zeros((count, width), np.int64)
    entries = np.zeros((count, width), np.int64)
    weights = np.zeros((count, ROWS, width))
    begins[column_block, column_slot] = columns[2]
    entries[column_block, column_slot] = columns[1]
    at = (row_block[end], row_slot[end], column_slot[column])
    np.add.at(weights, at, flat.weight * routes.norm)
    return Blocks(begins, entries, weights, ends, row_block * ROWS + row_slot)


def _flat(routes: Routes) -> _Routes:
    """Returns the routes one after the other, without those of weight 0."""
    terms, count = routes.out_rows.shape
    entry = np.tile(np.arange(count), terms)
    used = routes.weights.ravel() != 0
    used |= ~used.any()  # a block has to be there, of zeros
    return _Routes(
        routes.out_rows.ravel()[used],
        routes.in_rows.ravel()[used],
        entry[used],
        routes.weights.ravel()[used],
    )


def _packed(rows: Array, columns: Array) -> Array:
    """Returns the block of each frequency: at most ROWS rows, columns spread evenly.

    The largest first, each into the block with the fewest columns (Graham, "Bounds on
    multiprocessing timing anomalies", SIAM J. Appl. Math. 17, 1969).
    """
    count = -(-int(rows.sum()) // ROWS)
    block_of = np.zeros(rows.size, np.int64)
    heap = [(0, block, 0) for block in range(count)]
    for unit in np.lexsort((-rows, -columns)):
        full = []
        while heap and heap[0][2] + rows[unit] > ROWS:
            full.append(heapq.heappop(heap))
        if heap:
            filled, block, taken = heapq.heappop(heap)
        else:
            filled, block, taken = 0, count, 0
            count += 1
        block_of[unit] = block
        heapq.heappush(heap, (filled + int(columns[unit]), block, taken + int(rows[unit])))
        for one in full:
            heapq.heappush(heap, one)
    return block_of


def _slots(block: Array, count: int) -> tuple[Array, int]:
    """Returns the position of each member within its block, and how many the largest has."""
    counts = np.bincount(block, minlength=count)
    order = np.argsort(block, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    slots = np.empty(block.size, np.int64)
    slots[order] = np.arange(block.size) - starts[block[order]]
    return slots, int(counts.max())
