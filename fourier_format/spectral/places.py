"""Where entries stand in a spectrum for a reader: places, and the way from low to high."""

from __future__ import annotations

from typing import Final

import numpy as np

from fourier_format.adapter import Array, EntrySet

WAVES: Final = ("dft2", "dht2")
"""Transforms whose frequencies are signed: the upper half of an axis stands for negative ones."""

FREQUENCIES: Final = (*WAVES, "dct2")
"""Transforms whose entries are frequencies; those of the wavelet transforms are not."""


def signed_frequencies(entry_set: EntrySet) -> Array:
    """Returns (n, 2) int64 signed (u, v): the upper half of each axis stands for negative ones."""
    sizes = np.array(entry_set.shape, np.int64)
    entries = entry_set.entries.astype(np.int64)
    signed: Array = (entries + sizes // 2) % sizes - sizes // 2
    return signed


def places(entry_set: EntrySet, transform: str) -> Array:
    """Returns (n, 2) int64 u and v: signed frequencies of waves, else as they are."""
    if transform in WAVES:
        return signed_frequencies(entry_set)
    return entry_set.entries.astype(np.int64)


def distances(entry_set: EntrySet, transform: str) -> Array:
    """Returns (n,) float64: how far from frequency zero each entry is, 1 at the highest.

    That is the root of the mean of (u / highest u)^2 and (v / highest v)^2, or of one of them where
    the other axis has a single frequency, zero. Of the transforms in `FREQUENCIES` it puts entries
    in order from low to high.
    """
    sizes = np.array(entry_set.shape, np.int64)
    highest = sizes // 2 if transform in WAVES else sizes - 1  # (2,)
    axes = highest > 0
    relative = places(entry_set, transform)[:, axes] / highest[axes]  # (n, axes)
    found: Array = np.sqrt(np.square(relative).sum(axis=1) / max(axes.sum(), 1))
    return found
