"""Numbers, shapes and recipes as words: one way to say them in every command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fourier_format.adapter import Array, EntrySet
from fourier_format.dtypes import dtype_name

_EXACT: Final = 2**53
"""Whole numbers up to here are printed without a point."""


def number(value: float) -> str:
    """Returns a number that reads back as the same, without a needless ".0"."""
    whole = abs(value) <= _EXACT and float(value).is_integer()
    return str(int(value)) if whole else repr(value)


def shape(sizes: Sequence[int]) -> str:
    """Returns sizes as in "96 x 288"; "scalar" where there are none."""
    return " x ".join(str(size) for size in sizes) or "scalar"


def array(values: Array) -> str:
    """Returns dtype and shape, as in "F32 10 x 96"."""
    return f"{dtype_name(values.dtype)} {shape(values.shape)}"


def recipe(entry_set: EntrySet, default_seed: int | None) -> str:
    """Returns how the entries were drawn, as in "uniform, splitmix64-fisher-yates, seed 7"."""
    drawn = entry_set.sampling
    if drawn is None:
        return "not stated"
    seed = default_seed if drawn.seed is None else drawn.seed
    parts = [drawn.method]
    if drawn.generator is not None:
        parts.append(drawn.generator)
    parts += [f"{key} {number(value)}" for key, value in sorted(drawn.parameters.items())]
    if seed is not None and drawn.method != "explicit":
        parts.append(f"seed {seed}")
    return ", ".join(parts)


def shortened(text: str, limit: int) -> str:
    """Returns `text`, cut to `limit` characters with an ellipsis where it is longer."""
    return text if len(text) <= limit else text[: limit - 3] + "..."
