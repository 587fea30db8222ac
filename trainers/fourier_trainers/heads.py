"""Weights that an adapter replaces whole, such as a head's: which of a model's, stored how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fourier_format.adapter import Adapter, Array
from fourier_format.errors import BaseMismatchError, TargetNotFoundError, UsageError, Violation

_TURNS: Final = {
    ("weight", "kernel", 2): (1, 0),
    ("kernel", "weight", 2): (1, 0),
    ("weight", "kernel", 4): (2, 3, 1, 0),
    ("kernel", "weight", 4): (3, 2, 0, 1),
}
"""Leaf there, leaf here, axes -> their order: PyTorch stores (out, in), and Keras (in, out)."""


def chosen(
    adapter: Adapter,
    names: Mapping[str, str] | None,
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, Array]:
    """Returns a model's names of the weights that are replaced -> values, as the model stores them.

    Args:
        adapter: The adapter.
        names: Its names -> the model's; None takes them as they are; what is not named is left out.
        shapes: The model's weights by name.

    Raises:
        UsageError: `names` names what the adapter has not.
        TargetNotFoundError: The model has no such weight.
        BaseMismatchError: It has another shape.
    """
    wanted = {name: name for name in adapter.replacements} if names is None else dict(names)
    unknown = [name for name in wanted if name not in adapter.replacements]
    if unknown:
        problem, got = "the adapter replaces no weight of this name", unknown[0]
        listed = "one of: " + ", ".join(adapter.replacements)
        raise UsageError(Violation("E-USAGE", "replacements", problem, got, listed))
    missing = [here for here in wanted.values() if here not in shapes]
    if missing:
        problem = "the model has no weight that this replaces"
        advice = (
            "make the model with the head that was trained; or say what it is called here, "
            "replacements={adapter's name: model's name}; or replacements={} to go without"
        )
        raise TargetNotFoundError(
            Violation("E-REPLACEMENT-NOT-FOUND", here, problem, advice=advice) for here in missing
        )
    values = {
        here: _turned(adapter.replacements[name], name, here) for name, here in wanted.items()
    }
    wrong = [
        Violation(
            "E-REPLACEMENT-SHAPE",
            here,
            "the model's weight has another shape",
            str(shapes[here]),
            str(tuple(value.shape)),
        )
        for here, value in values.items()
        if tuple(value.shape) != shapes[here]
    ]
    if wrong:
        raise BaseMismatchError(wrong)
    return values


def _turned(value: Array, there: str, here: str) -> Array:
    order = _TURNS.get((_leaf(there), _leaf(here), value.ndim))
    return value if order is None else value.transpose(order)


def _leaf(name: str) -> str:
    return name.replace("/", ".").rpartition(".")[2]
