"""Draws figures: the same data give the same bytes, whatever a user's matplotlib is set to.

Colours are Okabe and Ito's, which people see apart whatever their colour vision, each with a marker
of its own. A picture carries the digest of its data and of this module, so that a test can tell
an old picture without comparing pixels, which another machine may round otherwise.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.evidence.blocks import Figure, Level, Line, Panel, Points

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#6E6E6E", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vPX"
_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.facecolor": "white",
}
_PANEL = (3.9, 3.1)  # inches
_DPI = 110
_DIGITS = 9  # that count: the last bits of a sum differ between machines
_TICKS = 8  # that fit below a panel
_SPREAD = 0.22  # of the marks of one category
_BESIDE = (0.09, 0.0)  # inches from a mean to its seeds' dots
INK = "#303030"


def digest(figure: Figure) -> str:
    """Returns 16 hex digits of what is drawn and how."""
    text = json.dumps(_rounded(asdict(figure)), sort_keys=True)
    source = Path(__file__).read_bytes()
    return hashlib.sha256(text.encode() + source).hexdigest()[:16]


def carries_digest(path: Path) -> bool:
    """Returns whether a PNG was made here: it has a digest in a text chunk."""
    from PIL import Image

    with Image.open(path) as picture:
        return "digest" in picture.info


def drawn(figure: Figure) -> bytes:
    """Returns the PNG, with its digest in a text chunk called "digest"."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        columns = min(figure.columns, len(figure.panels))
        rows = -(-len(figure.panels) // columns)
        inches = (_PANEL[0] * max(columns, 1.4), _PANEL[1] * rows)
        canvas = Canvas(figsize=inches, layout="constrained")
        axes = canvas.subplots(rows, columns, squeeze=False).ravel()
        for axis, panel in zip(axes, figure.panels, strict=False):
            draw(axis, panel)
        for axis in axes[len(figure.panels) :]:
            axis.set_visible(False)
        _legend(canvas, axes)
        file = io.BytesIO()
        metadata = {"Software": None, "digest": digest(figure)}
        canvas.savefig(file, format="png", dpi=_DPI, metadata=metadata)
    return file.getvalue()


def draw(axis: Any, panel: Panel) -> None:
    """Draw a panel on axes of matplotlib."""
    axis.set_title(panel.title)
    axis.set_xlabel(panel.x_label)
    axis.set_ylabel(panel.y_label)
    if panel.log_x:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:,g}")
        _ticks(axis, panel)
    if panel.log_y:
        axis.set_yscale("log")
    for number, mark in enumerate(panel.marks):
        if isinstance(mark, Line):
            _line(axis, mark, _colour(panel, number))
        elif isinstance(mark, Points):
            _points(axis, mark, _colour(panel, number), _shift(panel, mark))
    _levels(axis, [mark for mark in panel.marks if isinstance(mark, Level)])
    if panel.categories:
        axis.set_xticks(range(len(panel.categories)), panel.categories)
        axis.set_xlim(-0.6, len(panel.categories) - 0.4)
        axis.grid(visible=False, axis="x")


def _ticks(axis: Any, panel: Panel) -> None:
    """Name the few places where something was measured: a log axis of one decade names too many."""
    places = sorted({x for mark in panel.marks if isinstance(mark, Points) for x in mark.x})
    if 0 < len(places) <= _TICKS:
        axis.set_xticks(places, [f"{place:,g}" for place in places])
        axis.minorticks_off()


def _line(axis: Any, mark: Line, colour: int) -> None:
    if len(mark.low):
        axis.fill_between(mark.x, mark.low, mark.high, color=COLOURS[colour], alpha=0.2, lw=0)
    size = 4 if len(mark.x) <= 40 else 0
    axis.plot(
        mark.x, mark.y, color=COLOURS[colour], marker=_MARKERS[colour], markersize=size,
        linewidth=1.4, label=mark.name,
    )  # fmt: skip


def _points(axis: Any, mark: Points, colour: int, shift: float) -> None:
    from matplotlib.transforms import ScaledTranslation

    x = [value + shift for value in mark.x]
    bars = None
    if len(mark.low):
        below = [y - low for y, low in zip(mark.y, mark.low, strict=True)]
        above = [high - y for y, high in zip(mark.y, mark.high, strict=True)]
        bars = [below, above]
    axis.errorbar(
        x, mark.y, yerr=bars, color=COLOURS[colour], marker=_MARKERS[colour], markersize=6,
        linewidth=1, linestyle="-" if mark.joined else "none", elinewidth=1.6, capsize=3,
        label=mark.name or None, zorder=3,
    )  # fmt: skip
    beside = axis.transData + ScaledTranslation(*_BESIDE, axis.figure.dpi_scale_trans)
    for place, seeds in zip(x, mark.dots, strict=False):
        axis.plot(
            [place] * len(seeds), seeds, linestyle="none", marker="o", markersize=3.2,
            markerfacecolor="white", markeredgecolor=COLOURS[colour], markeredgewidth=0.8,
            zorder=4, transform=beside,
        )  # fmt: skip


def _levels(axis: Any, levels: list[Level]) -> None:
    """Draws those near to the data; of one that is far away, it says where it lies."""
    low, high = axis.get_ylim()
    reach = high - low if axis.get_yscale() == "linear" else float("inf")
    for level in levels:
        if low - reach <= level.y <= high + reach:
            axis.axhline(level.y, color=INK, linewidth=1, linestyle=(0, (5, 3)), zorder=1)
            place, where = (1, level.y), ("axes fraction", "data")
            text = level.name
        else:
            below = level.y < low
            place, where = (1, 0.0 if below else 0.94), ("axes fraction", "axes fraction")
            text = f"{level.name}: {level.y:.3g}, {'below' if below else 'above'}"
        axis.annotate(
            text, place, xycoords=where, xytext=(0, 2), textcoords="offset points", ha="right",
            va="bottom", fontsize=7.5, color=INK, zorder=5,
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip


def _legend(canvas: Any, axes: Any) -> None:
    """One legend of all panels, below them, each name once."""
    found: dict[str, Any] = {}
    for axis in axes:
        handles, names = axis.get_legend_handles_labels()
        found |= dict(zip(names, handles, strict=True))
    if found:
        canvas.legend(found.values(), found, loc="outside lower center", ncols=min(4, len(found)))


def _colour(panel: Panel, number: int) -> int:
    """Returns a mark's colour: of one that names none, by its place among those with a colour."""
    mark = panel.marks[number]
    assert not isinstance(mark, Level)
    if mark.colour is not None:
        return mark.colour
    return sum(not isinstance(other, Level) for other in panel.marks[:number]) % len(COLOURS)


def _shift(panel: Panel, mark: Points) -> float:
    """Returns how far a mark stands from the middle of a category that it shares with others."""
    points = [other for other in panel.marks if isinstance(other, Points)]
    sharing = [other for other in points if set(other.x) & set(mark.x)]
    if not panel.categories or len(sharing) == 1:
        return 0.0
    return _SPREAD * (2 * sharing.index(mark) / (len(sharing) - 1) - 1)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return f"{float(value):.{_DIGITS}g}" if isinstance(value, float | int) else value
