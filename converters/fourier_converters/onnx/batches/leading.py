"""Inputs: which axis of each graph input the batch is, and numbers for sizes that are left open.

Open sizes become primes, so that the shape of every value is known in numbers. The batch's is
larger than most sizes; the others are small, since tables of positions end.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

OPEN_BATCH: Final = 1009
"""A prime that sizes of models are no multiples of: what an open batch counts as."""
_NAMES: Final = ("batch", "batch_size")
"""What every exporter calls the batch, if it calls it anything."""
_PRIMES: Final = (7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83)
_EXPRESSION: Final = re.compile(r"\s*[\w.]+\s*([+*]\s*[\w.]+\s*)*")

Axis = int | str | None
"""What a graph input says of one of its axes: a size, a name, or nothing."""


@dataclass(frozen=True, slots=True)
class Input:
    """A graph input.

    Attributes:
        name: Its name.
        dtype: The TensorProto.DataType of its values.
        sizes: Its shape in numbers, None where its rank is not known.
        axis: The axis that is the batch, None where it has none.
        shared: Whether all rows share it, as far as its shape tells; False where nothing tells.
    """

    name: str
    dtype: int
    sizes: tuple[int, ...] | None
    axis: int | None
    shared: bool


@dataclass(frozen=True, slots=True)
class Leading:
    """What the graph's inputs say of the batch.

    Attributes:
        inputs: The inputs that are no initializers.
        batch: Its size in numbers, None where the inputs do not agree on one.
        source: The input that the batch is taken from; the first whose first axis it is.
        symbols: The numbers for names of sizes.
        named: Whether the axis itself is called the batch.
        problem: Why there is no batch.
    """

    inputs: tuple[Input, ...]
    batch: int | None
    source: str
    symbols: dict[str, int]
    named: bool
    problem: str


def leading(graph: Any) -> Leading:
    """Returns what the inputs of a GraphProto say of the batch."""
    stored = {tensor.name for tensor in graph.initializer}
    given = {v.name: v for v in graph.input if v.name not in stored}
    axes = {name: _axes(value) for name, value in given.items()}
    known = {name: each for name, each in axes.items() if each is not None}
    name, problem = _choose(known)
    batch = name if isinstance(name, int) else None if name is None else OPEN_BATCH
    symbols = _numbers(known, name)
    others = {
        axis for each in known.values() if name in each for axis in each if isinstance(axis, str)
    } - {name}
    inputs = tuple(
        _input(value, axes[key], (name, others), symbols) for key, value in given.items()
    )
    carrying = [i for i in inputs if i.axis is not None]
    first = [i for i in carrying if i.axis == 0]
    source = next((i.name for i in first or carrying), "")
    if batch is not None and not carrying:
        batch, problem = None, "no input has the batch on exactly one axis"
    return Leading(inputs, batch, source, symbols, name in _NAMES, problem)


def _axes(value: Any) -> tuple[Axis, ...] | None:
    """Returns the axes of a ValueInfoProto; of those without a name only the first gets one."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    axes: list[Axis] = []
    for position, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            axes.append(int(dim.dim_value))
        elif dim.dim_param and not dim.dim_param.startswith("unk__"):
            axes.append(str(dim.dim_param))
        else:
            # tf2onnx calls every open axis unk__N, another N each: that is no name.
            several = position == 0 and len(tensor.shape.dim) > 1
            axes.append("" if several else f"{value.name}.{position}")
    return tuple(axes)


def _choose(known: dict[str, tuple[Axis, ...]]) -> tuple[Axis, str]:
    """Returns what the batch's axis says of itself, and the problem where nothing is plain.

    An input with one axis is not asked: that may be the tokens of all rows.
    """
    named = [n for n in _NAMES if any(n in axes for axes in known.values())]
    if named:
        return named[0], ""
    firsts = Counter(axes[0] for axes in known.values() if len(axes) > 1)
    open_ = Counter({axis: n for axis, n in firsts.items() if isinstance(axis, str)})
    ranked = (open_ or firsts).most_common(2)
    if not ranked:
        return None, "no input has two axes, of which the first would be the batch"
    if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
        said = " and ".join(str(axis or "an open size") for axis, _ in ranked)
        return None, f"the inputs' first axes differ: {said}"
    return ranked[0][0], ""


def _numbers(known: dict[str, tuple[Axis, ...]], batch: Axis) -> dict[str, int]:
    """Returns a number for each name; sums and products of names are those of their numbers."""
    names = [axis for axes in known.values() for axis in axes if isinstance(axis, str)]
    parts = {part.strip() for name in names for part in re.split(r"[+*]", name)}
    atoms = sorted((parts & set(names)) - {batch}, key=names.index)
    numbers = dict(zip(atoms, _PRIMES, strict=False))
    if isinstance(batch, str):
        numbers[batch] = OPEN_BATCH
    for number, name in enumerate(dict.fromkeys(names)):
        if name not in numbers:
            value = _evaluated(name, numbers)
            numbers[name] = value if value is not None else 89 + 6 * number
    return numbers


def _evaluated(name: str, numbers: dict[str, int]) -> int | None:
    """Returns what an expression such as "past + tokens" comes to, None for other names."""
    if not _EXPRESSION.fullmatch(name) or not re.search(r"[+*]", name):
        return None
    total = 0
    for term in name.split("+"):
        product = 1
        for factor in (f.strip() for f in term.split("*")):
            value = int(factor) if factor.isdigit() else numbers.get(factor)
            if value is None:
                return None
            product *= value
        total += product
    return total


def _input(
    value: Any,
    axes: tuple[Axis, ...] | None,
    batch: tuple[Axis, set[str]],
    symbols: dict[str, int],
) -> Input:
    dtype = int(value.type.tensor_type.elem_type)
    if axes is None:
        return Input(value.name, dtype, None, None, shared=False)
    name, others = batch
    sizes = tuple(axis if isinstance(axis, int) else symbols.get(axis or "", 1) for axis in axes)
    at = [position for position, axis in enumerate(axes) if axis == name and name is not None]
    if isinstance(name, int):  # equal numbers prove nothing but on the first of several axes
        plain = len(axes) > 1 and axes[0] == name
        shared = not at or (name == 1 and not plain)
        return Input(value.name, dtype, sizes, 0 if plain else None, shared=shared)
    axis = at[0] if len(at) == 1 else None
    # What is open and no axis of the rows may be all rows' tokens, one after the other.
    shared = not at and all(isinstance(a, int) or a in others for a in axes)
    return Input(value.name, dtype, sizes, axis, shared=shared)
