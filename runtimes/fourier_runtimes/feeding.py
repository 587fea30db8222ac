"""The caller's inputs against the rows that it asks for: a batch of another size is refused.

ONNX Runtime does not compare symbolic sizes. A list of adapters that does not fit the batch would
hand rows to the wrong adapter, or fail deep inside.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from fourier_format.errors import UsageError, Violation
from fourier_runtimes.rows import Rows

_NAMES: Final = ("batch", "batch_size")
"""What every exporter calls the batch, if it calls it anything."""

Inputs: TypeAlias = Mapping[str, Any]
"""Arrays or OrtValues by the input's name."""

Declared: TypeAlias = Mapping[str, Sequence[int | str | None]]
"""The shapes that the graph declares for its inputs, adapters' left out."""


def fitting(declared: Declared, inputs: Inputs, rows: Rows) -> dict[str, Any]:
    """Returns the inputs to feed beside the adapters', checked against the rows.

    Args:
        declared: The graph's inputs.
        inputs: The caller's.
        rows: What it asks for.

    Raises:
        UsageError: E-ADAPTER-ROWS: there are more or fewer rows than entries of the list, or
            inputs disagree on a size; E-USAGE: an input is the adapters'.
    """
    fed = dict(inputs)
    own = next((n for n in inputs if n.startswith("fourier.") and n not in declared), None)
    if own is not None:
        problem = "what adapters feed is no input of a run"
        advice = "load the adapter, and ask for it by name"
        raise UsageError(Violation("E-USAGE", own, problem, advice=advice))
    if rows.listed is None:
        return fed
    batch = batch_size(declared, inputs)
    if batch is None or batch != rows.listed:
        got = f"{rows.listed} in the list"
        expected = None if batch is None else f"{batch}, one for each row of the batch"
        problem = "the list of adapters does not fit the batch"
        raise UsageError(Violation("E-ADAPTER-ROWS", "adapters", problem, got, expected))
    return fed


def batch_size(declared: Declared, inputs: Inputs) -> int | None:
    """Returns the size of the batch, None where no input has an axis.

    As the converter does: the axis that is called the batch, or what most inputs have first. Open
    sizes go before fixed ones, and inputs of one axis, which may be of tokens, last.

    Raises:
        UsageError: E-ADAPTER-ROWS: a symbolic size is not the same everywhere.
    """
    sizes: dict[str, tuple[int, str]] = {}
    firsts: dict[tuple[bool, bool], Counter[tuple[str, int]]] = defaultdict(Counter)
    for name, dimensions in declared.items():
        shape = _shape(inputs[name]) if name in inputs else ()
        if not shape or len(shape) != len(dimensions):
            continue  # of another rank: ONNX Runtime says so
        symbols = ["" if _is_open(d) else str(d) for d in dimensions]
        firsts[len(shape) == 1, isinstance(dimensions[0], int)][symbols[0], shape[0]] += 1
        for symbol, size in zip(symbols, shape, strict=True):
            known, where = sizes.setdefault(symbol, (size, name)) if symbol else (size, name)
            if known != size and not symbol.isdecimal():
                problem = f"inputs disagree on the size {symbol!r}"
                got, expected = f"{size} in {name}", f"{known} as in {where}"
                raise UsageError(Violation("E-ADAPTER-ROWS", "inputs", problem, got, expected))
    for name in _NAMES:
        if name in sizes:
            return sizes[name][0]
    if not firsts:
        return None
    ((_, size), _), *_ = firsts[min(firsts)].most_common(1)
    return size


def first_sizes(inputs: Inputs) -> tuple[int, int]:
    """Returns about how many rows and tokens there are: the sizes of input_ids, or the first."""
    shape = _shape(inputs["input_ids"] if "input_ids" in inputs else next(iter(inputs.values()), 0))
    rows, tokens, *_ = (*shape, 1, 1)
    return max(1, rows), max(1, tokens)


def _is_open(dimension: int | str | None) -> bool:
    """Whether a size has neither a number nor a name; tf2onnx numbers those."""
    return not dimension or str(dimension).startswith("unk__")


def _shape(value: Any) -> tuple[int, ...]:
    shape = getattr(value, "shape", None)
    if callable(shape):  # of an OrtValue
        return tuple(shape())
    return tuple(np.shape(value)) if shape is None else tuple(shape)
