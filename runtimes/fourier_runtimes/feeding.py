"""The caller's inputs against the rows that it asks for: a batch of another size is refused.

ONNX Runtime does not compare symbolic sizes. A list of adapters that does not fit the batch would
hand rows to the wrong adapter, or fail deep inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from fourier_format.errors import UsageError, Violation
from fourier_format.live.interface import ROW_ADAPTER
from fourier_runtimes.rows import Rows

Inputs: TypeAlias = Mapping[str, Any]
"""Arrays or OrtValues by the input's name."""

Declared: TypeAlias = Mapping[str, Sequence[int | str | None]]
"""The shapes that the graph declares for its inputs, adapters' left out."""


def fitting(declared: Declared, inputs: Inputs, rows: Rows, *, by_token: bool) -> dict[str, Any]:
    """Returns the inputs to feed beside the adapters', checked against the rows.

    Args:
        declared: The graph's inputs.
        inputs: The caller's.
        rows: What it asks for.
        by_token: Whether the graph has the input `fourier.row_adapter`.

    Raises:
        UsageError: E-ADAPTER-ROWS: there are more or fewer rows than entries of the list, inputs
            disagree on a size, or `fourier.row_adapter` names a row that is not there.
    """
    fed = dict(inputs)
    if rows.listed is None:
        if by_token and ROW_ADAPTER in fed:
            fed[ROW_ADAPTER] = np.zeros(_shape(fed[ROW_ADAPTER]), np.int64)
        return fed
    if by_token:
        return fed | {ROW_ADAPTER: _tokens(fed.get(ROW_ADAPTER), rows)}
    batch = batch_size(declared, inputs)
    if batch is None or batch != rows.listed:
        got = f"{rows.listed} in the list"
        expected = None if batch is None else f"{batch}, one for each row of the batch"
        problem = "the list of adapters does not fit the batch"
        raise UsageError(Violation("E-ADAPTER-ROWS", "adapters", problem, got, expected))
    return fed


def batch_size(declared: Declared, inputs: Inputs) -> int | None:
    """Returns the first axis of the inputs, None where none of them has one.

    Inputs that declare a symbolic first axis are asked before those of a fixed one.

    Raises:
        UsageError: E-ADAPTER-ROWS: a symbolic size is not the same everywhere.
    """
    sizes: dict[str, tuple[int, str]] = {}
    first: list[tuple[bool, int]] = []
    for name, dimensions in declared.items():
        shape = _shape(inputs[name]) if name in inputs else ()
        if not shape or len(shape) != len(dimensions):
            continue  # of another rank: ONNX Runtime says so
        first.append((isinstance(dimensions[0], int), shape[0]))
        for symbol, size in zip(dimensions, shape, strict=True):
            if not isinstance(symbol, str) or not symbol:
                continue
            known, where = sizes.setdefault(symbol, (size, name))
            if known != size:
                problem = f"inputs disagree on the size {symbol!r}"
                got, expected = f"{size} in {name}", f"{known} as in {where}"
                raise UsageError(Violation("E-ADAPTER-ROWS", "inputs", problem, got, expected))
    return min(first, key=lambda pair: pair[0])[1] if first else None


def _tokens(value: Any, rows: Rows) -> Any:
    if value is None:
        problem = "a list of adapters needs the input that says which of them each token takes"
        raise UsageError(Violation("E-ADAPTER-ROWS", ROW_ADAPTER, problem))
    tokens = np.asarray(value)
    listed = rows.listed or 0
    wrong = tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < listed
    if wrong or tokens.dtype != np.int64:
        problem = "this is not the place in the list of adapters of each token"
        got = f"{tokens.dtype}, {tokens.min()} to {tokens.max()}" if tokens.size else "none"
        raise UsageError(
            Violation("E-ADAPTER-ROWS", ROW_ADAPTER, problem, got, f"int64, 0 to {listed - 1}")
        )
    return tokens if len(rows.index) > 1 else np.zeros_like(tokens)


def _shape(value: Any) -> tuple[int, ...]:
    shape = getattr(value, "shape", None)
    if callable(shape):  # of an OrtValue
        return tuple(shape())
    return tuple(np.shape(value)) if shape is None else tuple(shape)
