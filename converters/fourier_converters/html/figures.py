"""Figures as SVG: maps, singular values, bars. Colours are the style sheet's; text is text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from fourier_converters.html.grids import Band, Cells, Spectrum
from fourier_converters.html.markup import Markup, figure, join, percent, tag
from fourier_converters.html.measuring import LORA_RANK
from fourier_converters.html.png import POSITIVE, Hue, data_uri
from fourier_converters.html.singular import Singular
from fourier_format.adapter import Array

_LEFT: Final = 34
_BOTTOM: Final = 30
_SIDE: Final = 240
_WIDTH: Final = 320
_HEIGHT: Final = 200
_LEGEND: Final = 400
_EQUAL: Final = 1e-9
"""Relative: values nearer to each other are one bar."""

_POINTS: Final = 120
"""Singular values drawn of one target, at most."""

_DECADES: Final = 3
"""Below a thousandth of the largest value nothing is drawn."""

_SHARES: Final = (0.01, 0.0625, 0.25, 1.0)
"""Of a picture's largest magnitude, the steps of its legend."""


def spectrum_map(
    cells: Cells, spectrum: Spectrum, shape: tuple[int, int], alt: str, hue: Hue = POSITIVE
) -> Markup:
    """Returns a map of a spectrum with its axes and legend: u up, along the output; v right.

    Args:
        cells: What the map holds.
        spectrum: What says where frequency zero is.
        shape: (out, in).
        alt: What the map shows, in words.
        hue: Of what is positive; another than `POSITIVE` where signs mean nothing.
    """
    side = _SIDE
    picture = tag(
        "image",
        href=data_uri(cells.strengths, hue),
        x=_LEFT,
        y=6,
        width=side,
        height=side,
        preserveAspectRatio="none",
    )
    frame = tag("rect", x=_LEFT, y=6, width=side, height=side, class_="frame")
    cross = join()
    if spectrum.centred:
        middle_x, middle_y = _LEFT + side / 2, 6 + side / 2
        cross = join(
            _line(middle_x, 6, middle_x, 6 + side, "axis"),
            _line(_LEFT, middle_y, _LEFT + side, middle_y, "axis"),
        )
    ends = [_ends(size, spectrum) for size in shape]
    labels = join(
        _text(_LEFT, side + 20, ends[1][0], "start"),
        _text(_LEFT + side / 2, side + 20, "v, along the input", "middle"),
        _text(_LEFT + side, side + 20, ends[1][1], "end"),
        _text(_LEFT - 5, side + 6, ends[0][0], "end"),
        _text(_LEFT - 5, 15, ends[0][1], "end"),
        _text(0, 0, "u, along the output", "middle", f"translate(14 {side / 2 + 6}) rotate(-90)"),
    )
    parts = (cross, picture, frame, labels)
    drawn = _svg(_LEFT + side + 6, side + _BOTTOM, alt, *parts, kind="map")
    return join(drawn, _legend(cells.largest, hue))


def coefficients(cells: Cells, alt: str) -> Markup:
    """Returns a picture of signed coefficients, targets down, with its legend."""
    height = int(np.clip(len(cells.strengths) * 12, 60, _SIDE))
    width = 2 * _SIDE
    picture = tag(
        "image",
        href=data_uri(cells.strengths),
        x=0.5,
        y=0.5,
        width=width,
        height=height,
        preserveAspectRatio="none",
    )
    frame = tag("rect", x=0.5, y=0.5, width=width, height=height, class_="frame")
    drawn = _svg(width + 1, height + 1, alt, picture, frame, kind="rows")
    return join(drawn, _legend(cells.largest, POSITIVE))


def scale_words(largest: float) -> str:
    """Returns how a picture's colours stand for numbers."""
    if not largest:
        return "All of it is zero"
    return (
        f"Opacity grows with the square root; scaled to this picture's largest, {figure(largest)}"
    )


def _legend(largest: float, hue: Hue) -> Markup:
    """Returns the colours of a few steps of magnitude, drawn as the picture's own are."""
    if not largest:
        return join()
    steps = np.array(_SHARES)
    if hue == POSITIVE:
        steps = np.concatenate([-steps[::-1], steps])
    width = _LEGEND / steps.size
    swatches = tag(
        "image",
        href=data_uri((np.sign(steps) * np.sqrt(np.abs(steps)))[None, :], hue),
        x=0,
        y=0,
        width=_LEGEND,
        height=10,
        preserveAspectRatio="none",
    )
    numbers = [figure(float(step) * largest) for step in steps]
    labels = [_text((i + 0.5) * width, 23, said, "middle") for i, said in enumerate(numbers)]
    alt = f"Legend, from weak to strong: {', '.join(numbers)}"
    return _svg(_LEGEND, 28, alt, swatches, *labels, kind="legend")


def singular_values(singular: Singular, alt: str) -> Markup:
    """Returns the singular values over the largest, on a logarithmic scale."""
    values = singular.values / singular.values[0]
    right, below = _WIDTH - 10, _HEIGHT - _BOTTOM
    span = max(values.size - 1, 1)

    def place(index: Array, value: Array) -> tuple[Array, Array]:
        x = _LEFT + (right - _LEFT) * index / span
        return x, 8 - np.log10(value) / _DECADES * (below - 8)

    shown = np.flatnonzero(values >= 10.0**-_DECADES)
    chosen = shown[np.unique(np.linspace(0, shown.size - 1, min(shown.size, _POINTS)).astype(int))]
    x, y = place(chosen, values[chosen])
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    lines = [
        join(
            _line(_LEFT, top, right, top, "grid"),
            _text(_LEFT - 5, top + 4, label, "end"),
        )
        for top, label in (
            (8 + (below - 8) * decade / _DECADES, f"{10.0**-decade:g}")
            for decade in range(_DECADES + 1)
        )
    ]
    dots = [tag("circle", cx=float(a), cy=float(b), r=2.5) for a, b in zip(x, y, strict=True)]
    curve = join(*dots) if chosen.size <= 24 else tag("polyline", points=points, class_="curve")
    ends = join(
        _text(_LEFT, below + 16, "1", "start"),
        _text((_LEFT + right) / 2, below + 16, "singular value", "middle"),
        _text(right, below + 16, f"{values.size:,}", "end"),
    )
    return _svg(_WIDTH, _HEIGHT - 8, alt, *lines, curve, ends, kind="curve")


def bands(found: Sequence[Band], alt: str) -> Markup:
    """Returns bars: the energy of each band over what its share of the entries would give."""
    there = [band for band in found if band.entries]
    ratios = [band.energy / band.entries for band in there]
    most = max([*ratios, 1.25])
    height = 26 * len(there) + 22
    left, right = 96, _WIDTH - 46
    scale = (right - left) / most

    def bar(place: int, band: Band, ratio: float) -> Markup:
        top = 6 + 26 * place
        return join(
            _text(left - 8, top + 13, band.label, "end"),
            tag("rect", x=left, y=top, width=ratio * scale, height=18, class_="bar"),
            _text(left + ratio * scale + 5, top + 13, f"{ratio:.2f}", "start"),
        )

    drawn = [bar(i, *each) for i, each in enumerate(zip(there, ratios, strict=True))]
    even = left + scale
    marker = join(
        _line(even, 2, even, height - 18, "even"),
        _text(even, height - 5, "1 = evenly spread", "middle"),
    )
    return _svg(_WIDTH, height, alt, marker, *drawn, kind="bars")


def histogram(values: Sequence[float], label: str, alt: str) -> Markup:
    """Returns how many targets have which value, on a logarithmic scale where that is needed.

    Args:
        values: Finite and at least 0; at least one.
        label: What they are.
        alt: What the histogram shows, in words.
    """
    largest = max(values) or 1.0
    known = np.array(values) / largest  # so that none is too small for bins between, or too large
    wide = bool(0 < known.min() < 1 / 30)
    scaled = np.log10(known) if wide else known
    bins = min(24, max(4, int(np.sqrt(known.size))))
    counts, edges = np.histogram(scaled, bins, range=_range(scaled))
    edges = (10**edges if wide else edges) * largest
    right, below = _WIDTH - 10, _HEIGHT - _BOTTOM - 40
    step = (right - _LEFT) / counts.size
    bars = [
        tag(
            "rect",
            x=_LEFT + i * step,
            y=below - count / counts.max() * (below - 10),
            width=max(step - 1.5, 1.0),
            height=count / counts.max() * (below - 10),
            class_="bar",
        )
        for i, count in enumerate(counts)
    ]
    ends = join(
        _text(_LEFT, below + 15, figure(float(edges[0])), "start"),
        _text((_LEFT + right) / 2, below + 15, label + (" (log)" if wide else ""), "middle"),
        _text(right, below + 15, figure(float(edges[-1])), "end"),
        _text(_LEFT - 5, 16, f"{counts.max():,}", "end"),
        _text(_LEFT - 5, below, "0", "end"),
    )
    base = _line(_LEFT, below, right, below, "grid")
    return _svg(_WIDTH, below + 22, alt, base, *bars, ends, kind="bars")


def share_bar(share: float) -> Markup:
    """Returns a small bar that is full at 1, for the cell of a table; its number stands beside."""
    length = 60 * float(np.clip(np.nan_to_num(share), 0, 1))
    bar = tag("rect", x=0, y=0, width=length, height=8, class_="bar")
    return tag("svg", bar, viewBox="0 0 60 8", class_="share", aria_hidden="true")


def captioned(drawn: Markup, caption: str, class_: str | None = None) -> Markup:
    """Returns a figure with a caption below it."""
    return tag("figure", drawn, tag("figcaption", caption), class_=class_)


def rank_words(singular: Singular) -> str:
    """Returns what ranks keep of a change, in words."""
    return "; ".join(_rank_words(singular))


def _rank_words(singular: Singular) -> Iterator[str]:
    kept = singular.kept(LORA_RANK)
    if kept is not None:
        yield f"the best matrix of rank {LORA_RANK} keeps {percent(kept)} of the energy"
    needed = singular.rank_for(0.9)
    if needed is not None:
        yield f"90 % of it needs rank {needed:,}"
    if not singular.complete:
        yield f"only the {singular.values.size} largest values were computed"


def _range(values: Array) -> tuple[float, float]:
    """Returns the ends of a histogram; of equal values, which have no width, from zero on."""
    least, most = float(values.min()), float(values.max())
    return (least, most) if most - least > _EQUAL * abs(most) else (0.0, most or 1.0)


def _ends(size: int, spectrum: Spectrum) -> tuple[str, str]:
    if spectrum.centred:
        return f"-{size // 2}" if size > 1 else "0", f"{(size - 1) // 2}"
    return "0", f"{size - 1}"


def _svg(width: float, height: float, alt: str, *children: str, kind: str) -> Markup:
    return tag(
        "svg",
        tag("title", alt),
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        class_=f"figure {kind}",
    )


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _text(x: float, y: float, words: str, anchor: str, transform: str | None = None) -> Markup:
    return tag("text", words, x=x, y=y, text_anchor=anchor, transform=transform)
