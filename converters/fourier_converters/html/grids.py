"""Where coefficients lie in the spectrum, and how strong they are, in cells enough for a picture.

Waves stand at their signed frequencies, zero in the middle; the cosines of dct2 and the places of a
wavelet transform as they are. A cell that several entries share has the root of the sum of their
squares, so that pictures of any size add up to the same norm.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from fourier_format.adapter import Array, EntrySet
from fourier_format.spectral.places import WAVES, distances, places
from fourier_format.transforms import dwt2

SIDE: Final = 96
"""Cells of a map along an axis, at most."""

ROWS: Final = 96
COLUMNS: Final = 256
"""Cells of a picture of coefficients, at most."""

BANDS: Final = 8
"""Parts of the way from frequency zero to the highest."""

_SUBBANDS: Final = ("low, low", "low, high", "high, low", "high, high")
"""The filters along the output and along the input."""


class Cells(NamedTuple):
    """A picture's cells.

    Attributes:
        strengths: (h, w) from -1 to 1: the square roots of magnitudes over the largest, signed.
        largest: The largest magnitude in a cell; 0 where nothing is.
    """

    strengths: Array
    largest: float


class Band(NamedTuple):
    """A part of the spectrum.

    Attributes:
        label: Which one.
        entries: The share of the entries that lie in it.
        energy: The share of the coefficients' squares.
    """

    label: str
    entries: float
    energy: float


class Spectrum:
    """The cells in which the entries of a set lie.

    Attributes:
        centred: Whether frequency zero is in the middle.
        sides: (h, w) of the map.
        shares: Whether a cell holds several entries.
        order: (n,) the entries from low to high frequency, or by subband.
    """

    def __init__(self, entry_set: EntrySet, transform: str) -> None:
        """Takes the set, and the name of the adapter's transform."""
        sizes = np.array(entry_set.shape, np.int64)
        self.centred: Final = transform in WAVES
        self.sides: Final = np.minimum(sizes, SIDE)
        at = places(entry_set, transform)  # (n, 2)
        cells = (at + sizes // 2 if self.centred else at) * self.sides // sizes
        cells[:, 0] = self.sides[0] - 1 - cells[:, 0]  # u goes up, rows of pictures down
        self._cells = cells[:, 0] * self.sides[1] + cells[:, 1]
        self.shares: Final = bool(np.unique(self._cells).size < self._cells.size)
        self._groups = _bands(entry_set, transform)
        self.order: Final = np.argsort(self._groups.rank, kind="stable")

    def map(self, sums: Array, squares: Array) -> Cells:
        """Returns the (h, w) cells of (n,) sums, whose signs count, and squares."""
        size = int(self.sides.prod())
        shared = np.bincount(self._cells, sums, size)
        energy = np.bincount(self._cells, squares, size)
        return _cells(shared.reshape(self.sides), energy.reshape(self.sides))

    def bands(self, squares: Array) -> tuple[Band, ...]:
        """Returns what lies where, of (n,) squares; of nothing the shares are zero."""
        labels, group = self._groups.labels, self._groups.group
        count = np.bincount(group, minlength=len(labels)) / max(group.size, 1)
        energy = np.bincount(group, squares, len(labels)) / (squares.sum() or 1)
        return tuple(
            Band(*each) for each in zip(labels, count.tolist(), energy.tolist(), strict=True)
        )


class _Groups(NamedTuple):
    """The band of each entry, (n,), and what puts entries in order, (n,)."""

    labels: tuple[str, ...]
    group: Array
    rank: Array


def _bands(entry_set: EntrySet, transform: str) -> _Groups:
    _, _, wavelet = transform.partition(":")
    if wavelet:
        taps = dwt2.filters(wavelet).shape[1]
        u, v = (
            dwt2.split(entry_set.entries[:, axis], entry_set.shape[axis], taps)[0]
            for axis in (0, 1)
        )
        along_out, along_in = v, u  # either filter is the other axis's band's (spec, clause 3.2)
        subband = 2 * along_out + along_in
        return _Groups(_SUBBANDS, subband, subband)
    distance = distances(entry_set, transform)
    group = np.minimum((distance * BANDS).astype(np.int64), BANDS - 1)
    labels = tuple(f"{i / BANDS:.3g} to {(i + 1) / BANDS:.3g}" for i in range(BANDS))
    return _Groups(labels, group, distance)


class SetPicture(NamedTuple):
    """What the targets of one entry set have in common.

    Attributes:
        map: The entries' norms over all targets.
        rows: (targets, n) coefficients, several of either in one cell where they are many.
        bands: Where the energy lies.
    """

    map: Cells
    rows: Cells
    bands: tuple[Band, ...]


def picture(entry_set: EntrySet, spectrum: Spectrum) -> SetPicture:
    """Returns the picture of a set, from one target's coefficients at a time."""
    count, n = entry_set.coefficients.shape
    height, width = min(count, ROWS), min(n, COLUMNS)
    starts = np.arange(width) * n // width
    sums, energy = np.zeros((2, height, width))
    squares = np.zeros(n)
    for row in range(count):
        values = entry_set.coefficients[row].astype(np.float64)  # (n,)
        ordered = values[spectrum.order]
        at = row * height // count
        sums[at] += np.add.reduceat(ordered, starts)
        energy[at] += np.add.reduceat(np.square(ordered), starts)
        squares += np.square(values)
    drawn = spectrum.map(squares, squares)
    return SetPicture(drawn, _cells(sums, energy), spectrum.bands(squares))


def _cells(sums: Array, energy: Array) -> Cells:
    """Returns the cells of sums, whose signs count, and energies, (h, w).

    An energy's square root is the magnitude; another one lets weak coefficients be seen. Where a
    sum is zero but the energy is not, the cell is positive, as zero is not drawn.
    """
    signs = np.where((sums == 0) & (energy > 0), 1.0, np.sign(sums))
    largest = float(energy.max(initial=0.0))
    return Cells(signs * (energy / (largest or 1.0)) ** 0.25, float(np.sqrt(largest)))
