"""SplitMix64 as a counter-based generator: word i depends on the seed and i alone.

Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014;
spec/registry.md, section 3.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fourier_format.adapter import Array

_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_LOW_32: Final = np.uint64(0xFFFFFFFF)


def words(seed: int, start: int, count: int) -> Array:
    """Returns words `start` to `start + count - 1`, (count,) uint64."""
    index = np.arange(start + 1, start + count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + index * _GAMMA
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def bounded(word: Array, bound: Array | int) -> Array:
    """Returns floor(word * bound / 2**64) as uint64: uniform below `bound` < 2**62."""
    bound = np.asarray(bound, np.uint64)
    shift = np.uint64(32)
    word_high, word_low = word >> shift, word & _LOW_32
    bound_high, bound_low = bound >> shift, bound & _LOW_32
    low = (word_low * bound_low) >> shift
    middle_1 = word_high * bound_low + low
    middle_2 = word_low * bound_high + (middle_1 & _LOW_32)
    product: Array = word_high * bound_high + (middle_1 >> shift) + (middle_2 >> shift)
    return product
