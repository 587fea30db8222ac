"""What several adapters have in common beside their coefficients, for `combination`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from fourier_format import words
from fourier_format.adapter import Adapter, Array
from fourier_format.errors import UnsupportedError, Violation

T = TypeVar("T")


def replacements(adapters: Sequence[Adapter]) -> dict[str, Array]:
    """Returns every adapter's replacements.

    Raises:
        UnsupportedError: E-REPLACEMENT-CONFLICT: two adapters have different ones of one name.
    """
    kept: dict[str, Array] = {}
    found = []
    for adapter in adapters:
        for name, array in adapter.replacements.items():
            other = kept.setdefault(name, array)
            if words.array(other) != words.array(array) or other.tobytes() != array.tobytes():
                got = f"{words.array(other)} and {words.array(array)}"
                found.append(_conflict(name, "two adapters replace it by different tensors", got))
    if found:
        raise UnsupportedError(dict.fromkeys(found))
    return kept


def base_model(adapters: Sequence[Adapter]) -> dict[str, Any] | None:
    """Returns the fields of `base_model` that no adapter contradicts."""
    stated = [a.base_model for a in adapters if a.base_model is not None]
    keys = dict.fromkeys(key for fields in stated for key in fields)
    found = {key: agreed([fields.get(key) for fields in stated]) for key in keys}
    return {key: value for key, value in found.items() if value is not None} or None


def agreed(values: Sequence[T | None]) -> T | None:
    """Returns the one value that is stated, None where none is or where two are."""
    stated = [value for value in values if value is not None]
    return stated[0] if stated and all(value == stated[0] for value in stated) else None


def common(values: Sequence[T]) -> T | None:
    """Returns the value that all are, None where they differ."""
    return values[0] if all(value == values[0] for value in values) else None


def _conflict(name: str, problem: str, got: str) -> Violation:
    advice = (
        "a sum of whole tensors means nothing: take the one to keep, and leave it out of the other "
        "adapters with dataclasses.replace(adapter, replacements={})"
    )
    return Violation("E-REPLACEMENT-CONFLICT", name, problem, got, advice=advice)
