"""The sections that say what changes: by layer, in the spectrum, and each target alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from fourier_converters.html import blocks, figures
from fourier_converters.html.markup import (
    UNKNOWN,
    Markup,
    counted,
    figure,
    join,
    name,
    percent,
    tag,
)
from fourier_converters.html.measuring import (
    DETAILED,
    LORA_RANK,
    Measured,
    by_change,
    is_relative,
)
from fourier_converters.html.tables import FOLDED, box, table
from fourier_format import words

MOST_ROWS: Final = 1000
"""Targets in the table, at most: those that change most."""

_STEPS: Final = 9
"""Shades of a grid's cells."""

_TITLE: Final = 60
"""Characters of a name at the side of a grid, at most: a longer one would fill a phone's screen."""

_MANY: Final = 48
"""Targets from which a histogram says more than a table."""

_RELATIVE: Final = "|ΔW| / |W|"
_NORM: Final = "|ΔW|"
_WORDS: Final = ("target", "shape", "found in")
"""Columns of the table that do not hold numbers."""

_EMPTY: Final = tag("td", "", class_="none")
"""Where a block has no such module."""


def by_layer(measured: Sequence[Measured]) -> Markup:
    """Returns how much each layer changes: a grid, a histogram of many, and the table."""
    relative = is_relative(measured)
    values = [_change(one, relative) for one in measured]
    label = _RELATIVE if relative else _NORM
    parts = [tag("p", _measure(measured, relative), class_="aside")]
    found = blocks.grid([one.target.name for one in measured])
    if found is not None:
        named = dict(zip((one.target.name for one in measured), values, strict=True))
        parts.append(_grid(found, named, label))
    if len(measured) >= _MANY:
        parts.append(_histogram(values, label))
    parts.append(_table(measured, relative))
    return join(*parts)


def _histogram(values: Sequence[float | None], label: str) -> Markup:
    """Returns how many targets change by how much, of those whose change is a number."""
    known = [value for value in values if value is not None]
    finite = [value for value in known if np.isfinite(value)]
    left, zero = len(known) - len(finite), len(values) - len(known)
    if not finite:
        said = f"No histogram: {label} is finite of none of {len(values):,} targets."
        return tag("p", said, class_="aside")
    targets = f"{len(finite):,} targets"
    alt = f"Histogram of {label} over {targets}, {figure(min(finite))} to {figure(max(finite))}"
    caption = f"How many of {targets} change by how much"
    if left:
        caption += f"; {counted(left, 'other is', 'others are')} left out, not being finite"
    if zero:
        caption += f"; the weights of {counted(zero, 'other', 'others')} are zero"
    return figures.captioned(figures.histogram(finite, label, alt), caption)


def _measure(measured: Sequence[Measured], relative: bool) -> str:
    """Returns what the numbers are, and why there are no others."""
    norm = f"{_NORM} is the Frobenius norm of a delta weight, alpha included"
    zeros = sum(one.base.norm == 0 for one in measured)
    if zeros == len(measured):
        return f"{norm}. The weights are all zero, and nothing is relative to them."
    if not relative:
        return f"{norm}. The norms of the base's weights are not all known."
    said = f"{norm}; {_RELATIVE} is it over the norm of the weight that it changes."
    if zeros:
        said += f" {counted(zeros, 'weight is', 'weights are')} zero, beside which there is no"
        said += f" such number: {UNKNOWN} stands in its place."
    return said


def _change(one: Measured, relative: bool) -> float | None:
    """Returns the number that is shown; None of a change over a weight of zero."""
    return one.relative if relative else one.norm


def _most(values: Iterable[float | None]) -> float:
    """Returns the largest of the values that are finite; 1 where that is zero."""
    finite = (value for value in values if value is not None and np.isfinite(value))
    return max(finite, default=0.0) or 1.0


def _grid(found: blocks.Grid, values: Mapping[str, float | None], label: str) -> Markup:
    cells = {place: values[target] for target, place in found.places.items()}
    most = _most(cells.values())
    stacks = {stack for stack, _ in found.blocks}
    corner = found.blocks[0][0].rstrip("./_") if len(stacks) == 1 else ""
    titles = [tag("th", name(corner or "block", _TITLE), scope="col")]
    titles += [tag("th", name(module, _TITLE), scope="col") for module in found.modules]
    rows = []
    for row, (stack, number) in enumerate(found.blocks):
        title = tag("span", str(number)) if len(stacks) == 1 else name(f"{stack}{number}", _TITLE)
        places = [(row, i) for i in range(len(found.modules))]
        tds = [_shaded(cells[at], most) if at in cells else _EMPTY for at in places]
        rows.append(tag("tr", tag("th", title, scope="row"), *tds))
    caption = f"{label} by block and module"
    if len(found.places) < len(values):
        caption += f" ({len(values) - len(found.places):,} targets are in no block)"
    made = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *titles)),
        tag("tbody", *rows),
        class_="grid",
    )
    return box(caption, made)


def _shaded(value: float | None, most: float) -> Markup:
    if value is None:
        return tag("td", UNKNOWN)
    part = value / most if np.isfinite(value) else 1.0
    return tag("td", figure(value), class_=f"q{round(_STEPS * part)}")


def _table(measured: Sequence[Measured], relative: bool) -> Markup:
    """Returns the table of targets; of many it is folded away, as the grid shows them all."""
    shown = list(measured)
    caption = "Targets" if len(shown) <= FOLDED else f"All {len(shown):,} targets"
    if len(shown) > MOST_ROWS:
        shown = by_change(shown)[:MOST_ROWS]
        caption = f"The {MOST_ROWS:,} of {len(measured):,} targets that change most"
    if len(measured) > DETAILED:
        caption += f"; singular values of {DETAILED} of them"
    most = _most(_change(one, relative) for one in shown)
    rows = [_row(one, relative, most) for one in shown]
    header = [title for title in rows[0] if any(row[title] != _plain(None) for row in rows)]
    made = table(
        caption,
        header,
        [[row[title] for title in header] for row in rows],
        numeric=[place for place, title in enumerate(header) if title not in _WORDS],
    )
    if len(rows) <= FOLDED:
        return made
    return tag("details", tag("summary", caption), made)


def _row(one: Measured, relative: bool, most: float) -> dict[str, Markup]:
    """Returns the cells of a target by the titles of their columns."""
    needed = None if one.singular is None else one.singular.rank_for(0.9)
    kept = None if one.singular is None else one.singular.kept(LORA_RANK)
    cells = {
        "target": name(one.target.name),
        "shape": tag("span", words.shape(one.target.shape)),
        "n": tag("span", f"{one.n:,}"),
        _NORM: _plain(one.norm),
        "|W|": _plain(one.base.norm),
        _RELATIVE: _plain(one.relative),
        "σ₁": _plain(one.spectral),
        f"kept by rank {LORA_RANK}": tag("span", percent(kept)),
        "rank for 90 %": _plain(needed),
        "found in": name(one.base.found) if one.base.found else _plain(None),
    }
    change = _change(one, relative)
    if change is None:
        return cells
    barred = _RELATIVE if relative else _NORM
    bar = figures.share_bar(change / most)
    return cells | {barred: tag("span", bar, cells[barred], class_="barred")}


def _plain(value: float | None) -> Markup:
    return tag("span", figure(value))
