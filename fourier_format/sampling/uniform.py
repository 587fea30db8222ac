"""Uniform entries without replacement: a partial Fisher-Yates shuffle of the flat indices.

Source: spec/registry.md, section 3.1.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fourier_format.adapter import Array
from fourier_format.sampling import splitmix64

GENERATOR: Final = "splitmix64-fisher-yates"


def draw(shape: tuple[int, int], count: int, seed: int) -> Array:
    """Returns (count,) distinct flat indices u * in + v, int64, in O(count) time and memory."""
    total = shape[0] * shape[1]
    steps = np.arange(count, dtype=np.uint64)
    bounds = np.uint64(total) - steps
    picks = steps + splitmix64.bounded(splitmix64.words(seed, 0, count), bounds)
    return shuffle_head(picks.tolist())


def shuffle_head(picks: list[int]) -> Array:
    """Returns the head of 0, 1, 2, ... after swapping place i with place picks[i] >= i in turn."""
    moved: dict[int, int] = {}
    head = np.empty(len(picks), np.int64)
    for i, pick in enumerate(picks):
        head[i] = moved.get(pick, pick)
        moved[pick] = moved.pop(i, i)
    return head
