"""Draws an adapter: where its entries lie in the spectrum, and what the coefficients are.

One row a set of entries. Frequencies of waves are signed, so that frequency zero is in the middle
and slow waves lie around it; those of the cosines of "dct2" are not. The coefficients stand in the
order of their entries' distance from zero. The entries of a wavelet transform are no frequencies:
they stand where they are in the spectrum, and the coefficients as in the file.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from fourier_format import words
from fourier_format.adapter import Adapter, EntrySet, Target
from fourier_format.atomic import refuse_existing, staged
from fourier_format.errors import dependency_missing, one_line
from fourier_format.spectral.places import FREQUENCIES, WAVES, distances, places

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

MAX_SETS: Final = 8
_MAX_NAMES: Final = 24
_NAME_WIDTH: Final = 36
_WIDTH_INCHES: Final = 13.0
_ROW_INCHES: Final = 4.6
_DPI: Final = 120


def plot(adapter: Adapter, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a PNG picture of `adapter` to `path`, whole or not at all; of at most 8 entry sets.

    Raises:
        DependencyMissingError: matplotlib is not installed.
        OutputExistsError: `path` exists and `overwrite` is false.
        FileAccessError: Writing failed.
    """
    refuse_existing(Path(path), overwrite)
    picture = figure(adapter)
    with staged(Path(path), overwrite) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        picture.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})


def figure(adapter: Adapter) -> Figure:
    """Returns the picture as a matplotlib Figure, made without pyplot and its global state.

    Raises:
        DependencyMissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise dependency_missing("matplotlib", "plot", "drawing an adapter") from None
    shown = adapter.entry_sets[:MAX_SETS]
    size = (_WIDTH_INCHES, _ROW_INCHES * len(shown) + 0.6)
    picture = Figure(figsize=size, layout="constrained")
    rows = picture.subplots(len(shown), 2, squeeze=False, width_ratios=(1, 1.35))
    for (left, right), entry_set in zip(rows, shown, strict=True):
        dots = _draw_entries(left, entry_set, adapter.transform)
        picture.colorbar(dots, ax=left, label="mean |coefficient|", pad=0.02)
        image = _draw_coefficients(right, entry_set, adapter.transform, _names(adapter, entry_set))
        picture.colorbar(image, ax=right, label="coefficient", pad=0.02)
    picture.suptitle(_title(adapter), parse_math=False)
    return picture


def _title(adapter: Adapter) -> str:
    total = sum(s.coefficients.size for s in adapter.entry_sets)
    text = f"{len(adapter.targets)} targets, {total:,} coefficients, alpha {adapter.alpha:g}"
    base = (adapter.base_model or {}).get("name")
    if base:
        text = f"{words.shortened(one_line(base), 60)}: {text}"
    if len(adapter.entry_sets) > MAX_SETS:
        text += f" (the first {MAX_SETS} of {len(adapter.entry_sets)} entry sets)"
    return text


def _names(adapter: Adapter, entry_set: EntrySet) -> list[str]:
    """Returns the names of the set's targets in the order of their rows, cut at the left."""
    mine: list[Target] = [t for t in adapter.targets if t.entries == entry_set.id]
    names = [one_line(t.name) for t in sorted(mine, key=lambda t: t.row)]
    return [n if len(n) <= _NAME_WIDTH else "..." + n[3 - _NAME_WIDTH :] for n in names]


def _draw_entries(axes: Axes, entry_set: EntrySet, transform: str) -> ScalarMappable:
    """A dot an entry, coloured by its coefficients' mean size over the targets."""
    u, v = places(entry_set, transform).T
    mean = np.abs(entry_set.coefficients.astype(np.float64)).mean(axis=0)  # (n,)
    limit = float(mean.max()) or 1.0
    out, in_ = entry_set.shape
    dot = float(np.clip(6000 / entry_set.count, 2, 40))
    dots = axes.scatter(v, u, c=mean, s=dot, cmap="viridis", vmin=0, vmax=limit, linewidths=0)
    if transform in WAVES:
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    low_v, low_u = (in_ / 2, out / 2) if transform in WAVES else (0, 0)
    axes.set_xlim(-low_v - 1, in_ - low_v + 1)
    axes.set_ylim(-low_u - 1, out - low_u + 1)
    axes.set_title(f"{entry_set.id}: {entry_set.count} entries", parse_math=False)
    axes.set_xlabel(f"v, along the input ({in_})")
    axes.set_ylabel(f"u, along the output ({out})")
    return dots


def _draw_coefficients(
    axes: Axes, entry_set: EntrySet, transform: str, names: list[str]
) -> ScalarMappable:
    """A row a target, a column an entry, low frequencies first."""
    order, label = np.arange(entry_set.count), "entries, as in the file"
    if transform in FREQUENCIES:
        order = np.argsort(distances(entry_set, transform), kind="stable")
        label = "entries, from low to high frequency"
    values = entry_set.coefficients.astype(np.float64)[:, order]  # (L, n)
    limit = float(np.abs(values).max()) or 1.0
    image = axes.imshow(
        values, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
    )
    axes.set_title(f"{entry_set.id}: coefficients", parse_math=False)
    axes.set_xlabel(label)
    if len(names) <= _MAX_NAMES:
        axes.set_yticks(range(len(names)), names, fontsize="small", parse_math=False)
    else:
        axes.set_ylabel("row of the target")
    return image
