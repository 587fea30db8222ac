"""The sections that show spectra: of each set of entries, and of each target alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from fourier_converters.html import figures
from fourier_converters.html.grids import Band, SetPicture, Spectrum, picture
from fourier_converters.html.markup import Markup, counted, figure, join, name, percent, tag
from fourier_converters.html.measuring import DETAILED, Measured, by_change
from fourier_converters.html.png import UNSIGNED
from fourier_converters.html.tables import FOLDED
from fourier_format import words
from fourier_format.adapter import Adapter, Array, EntrySet

MOST_SETS: Final = 8
"""Entry sets that are drawn, at most."""

_FIRST: Final = 4
"""Of many targets those that change most and are not folded away."""

_SIGNS: Final = "orange is positive, blue negative"

_SHARED: Final = "Several share a cell, which has their norm and the sign of their sum, if any"

_NORMS: Final = "Map of the entries' norms"
_ROWS: Final = "Picture of the coefficients by target"
_COEFFICIENTS: Final = "Map of the coefficients"
_VALUES: Final = "Curve of the singular values"
"""Titles of pictures: what they show stands in their captions, and is not to be read twice."""

Spectra = Callable[[str], Spectrum]
"""Gives the spectrum of an entry set by its id."""


def spectra(adapter: Adapter, spectrum: Spectra) -> Markup:
    """Returns where the entries of each set lie, and how strong their coefficients are."""
    shown = _drawn_sets(adapter)
    parts = [_entry_set(adapter, s, spectrum(s.id)) for s in shown]
    if len(shown) < len(adapter.entry_sets):
        said = f"The {len(shown)} of {len(adapter.entry_sets):,} entry sets with most coefficients."
        parts.insert(0, tag("p", said, class_="aside"))
    return join(*parts)


def _drawn_sets(adapter: Adapter) -> list[EntrySet]:
    """Returns the entry sets that are drawn, in the adapter's order."""
    largest = sorted(adapter.entry_sets, key=lambda s: -s.coefficients.size)[:MOST_SETS]
    ids = {s.id for s in largest}
    return [s for s in adapter.entry_sets if s.id in ids]


def _entry_set(adapter: Adapter, entry_set: EntrySet, spectrum: Spectrum) -> Markup:
    seen = picture(entry_set, spectrum)
    where = f"{_where(entry_set, spectrum)}. {figures.scale_words(seen.map.largest)}"
    by = "subband, along output and input"
    if not _is_wavelet(adapter):
        by = "distance from frequency zero (1: the highest)"
    energy = f"Energy of a coefficient over the mean of all, by {by}"
    rows = _rows(adapter, entry_set, seen)
    drawn = figures.spectrum_map(seen.map, spectrum, entry_set.shape, _NORMS, UNSIGNED)
    return join(
        tag("h3", "Entry set ", name(entry_set.id)),
        tag(
            "div",
            figures.captioned(drawn, where),
            figures.captioned(figures.bands(seen.bands, f"{energy}. {_even(seen.bands)}"), energy),
            figures.captioned(figures.coefficients(seen.rows, _ROWS), rows, class_="wide"),
            class_="figures",
        ),
    )


def _is_wavelet(adapter: Adapter) -> bool:
    return ":" in adapter.transform


def _where(entry_set: EntrySet, spectrum: Spectrum) -> str:
    rows = entry_set.coefficients.shape[0]
    over = "of its one target" if rows == 1 else f"over its {rows:,} targets"
    zero = "frequency zero in the middle" if spectrum.centred else "zero at the lower left"
    return (
        f"{counted(entry_set.count, 'entry', 'entries')} of a spectrum of "
        f"{words.shape(entry_set.shape)}, {zero}; each the norm of its "
        f"coefficients {over}"
    )


def _rows(adapter: Adapter, entry_set: EntrySet, seen: SetPicture) -> str:
    order = "by subband" if _is_wavelet(adapter) else "from low to high frequency"
    text = (
        f"Coefficients: a row a target, {order}; {_SIGNS}. {figures.scale_words(seen.rows.largest)}"
    )
    if seen.rows.strengths.shape != entry_set.coefficients.shape:
        text += f". {_SHARED}"
    return text


def _even(found: Sequence[Band]) -> str:
    return "; ".join(
        f"{band.label}: {percent(band.energy)} of energy, {percent(band.entries)} of entries"
        for band in found
        if band.entries
    )


def layers(adapter: Adapter, measured: Sequence[Measured], spectrum: Spectra) -> Markup:
    """Returns a map and the singular values of each target that is shown alone."""
    ordered = by_change(measured)[:DETAILED]
    first = ordered if len(ordered) <= FOLDED else ordered[:_FIRST]
    parts = []
    if len(first) < len(ordered):
        parts.append(tag("p", f"The {_FIRST} that change most, then the others.", class_="aside"))
    parts += [
        _layer(adapter, one, spectrum, is_open=one is ordered[0])
        for one in _in_order(first, measured)
    ]
    if len(first) < len(ordered):
        others = [one for one in ordered if one not in first]
        more = [_layer(adapter, one, spectrum) for one in _in_order(others, measured)]
        left = len(measured) - len(ordered)
        title = f"{len(others):,} others"
        title += f"; {left:,} that change less are not shown" if left else ""
        parts.append(tag("details", tag("summary", title), tag("div", *more, class_="nested")))
    return join(*parts)


def _in_order(some: Sequence[Measured], measured: Sequence[Measured]) -> list[Measured]:
    names = {one.target.name for one in some}
    return [one for one in measured if one.target.name in names]


def _layer(adapter: Adapter, one: Measured, spectrum: Spectra, *, is_open: bool = False) -> Markup:
    size = f"|ΔW| {figure(one.norm)}"
    if one.base.norm == 0:
        size += ", the weight is zero"
    elif one.relative is not None:
        size += f", {figure(one.relative)} of the weight"
    parts = [_map(adapter.coefficients(one.target), one.target.shape, spectrum(one.target.entries))]
    if one.singular is not None and one.singular.values.size:
        kept = figures.rank_words(one.singular)
        label = f"Singular values of the change over the largest, {figure(one.spectral)}; {kept}"
        drawn = figures.singular_values(one.singular, _VALUES)
        parts.append(figures.captioned(drawn, label))
    elif one.singular is not None and not one.singular.complete:
        parts.append(tag("p", "No singular values: ARPACK did not converge.", class_="aside"))
    summary = tag("summary", name(one.target.name), tag("span", size, class_="size"))
    body = tag("div", *parts, class_="figures")
    return tag("details", summary, body, open="open" if is_open else None)


def _map(coefficients: Array, shape: tuple[int, int], spectrum: Spectrum) -> Markup:
    values = coefficients.astype(np.float64)  # (n,)
    mean, deviation = float(values.mean()), float(values.std())
    spread = f"mean {figure(mean)}, standard deviation {figure(deviation)}"
    where = f"{counted(values.size, 'coefficient', 'coefficients')}, {spread}; {_SIGNS}"
    cells = spectrum.map(values, np.square(values))
    where += f". {figures.scale_words(cells.largest)}"
    if spectrum.shares:
        where += f". {_SHARED}"
    return figures.captioned(figures.spectrum_map(cells, spectrum, shape, _COEFFICIENTS), where)
