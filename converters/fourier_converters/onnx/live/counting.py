"""What is fed, and for how many rows: every size but those of the interface fails (clause 2.3).

A Reshape fails for them before a row could get the wrong adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fourier_converters.onnx.batches import Batch
from fourier_converters.onnx.live.arranging import batch_size
from fourier_converters.onnx.live.nodes import Nodes


class Checked(NamedTuple):
    """What is fed, and its first axis.

    Attributes:
        values: The fed tensor.
        rows: int64 (1,): 1 or the rows of the batch.
    """

    values: str
    rows: str


def count_of(nodes: Nodes, name: str) -> str:
    """Returns the first axis of a value, int64 (1,)."""
    shape = nodes.add("Shape", name, name="shape")
    return nodes.add("Gather", shape, nodes.constants.integers(0), axis=0)


def by_batch(nodes: Nodes, name: str, layout: Sequence[int], batch: Batch) -> Checked:
    """Returns an input that has one adapter for all rows, or one for each row of the batch."""
    one, count = nodes.constants.integers(1), count_of(nodes, name)
    rows = nodes.add("Where", nodes.add("Equal", count, one), one, batch_size(nodes, batch))
    first = nodes.constants.integers(1, *(0 for _ in layout))
    others = nodes.constants.integers(0, *layout)
    # Of a Concat, ONNX Runtime makes the constant (-1, *layout), which takes any count.
    shape = nodes.add("Add", nodes.add("Mul", rows, first), others)
    return Checked(nodes.add("Reshape", name, shape, name="rows_are_1_or_batch"), rows)
