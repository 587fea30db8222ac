"""The sections that say what an adapter is: in short, what stands out, and what is in its file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

import numpy as np

from fourier_converters.html.facts import Source, facts, limited, recipes, title
from fourier_converters.html.markup import UNKNOWN, Markup, counted, figure, join, lines, name, tag
from fourier_converters.html.measuring import Measured, is_relative
from fourier_converters.html.tables import table
from fourier_format import words
from fourier_format.adapter import Adapter
from fourier_format.diagnostics import advise

MOST_ROWS: Final = 200
"""Rows of labels and replacements, at most."""

MOST_TEXT: Final = 20_000
"""Characters of metadata and of an origin, at most."""

_NAME: Final = 200
"""Characters of the base's name above everything, at most."""


def heading(adapter: Adapter, measured: Sequence[Measured], source: Source) -> Markup:
    """Returns the title, and the adapter in numbers."""
    count = len(adapter.targets)
    base = (adapter.base_model or {}).get("name")
    of = join(" of ", name(words.shortened(str(base), _NAME))) if base else join()
    number = counted(count, "target", "targets")
    lead = tag("p", f"{title(adapter)}, {adapter.transform}: {number}", of, class_="lead")
    total = sum(s.coefficients.size for s in adapter.entry_sets)
    size = UNKNOWN if source.size is None else _bytes(source.size)
    tiles = [
        _tile("targets", f"{count:,}"),
        _tile("coefficients", f"{total:,}"),
        _tile("alpha", _alpha(adapter)),
        _tile("file", size),
        *_change_tiles(measured),
    ]
    return join(tag("h1", name(source.name)), lead, tag("dl", *tiles, class_="tiles"))


def _alpha(adapter: Adapter) -> str:
    """Returns the scale of the targets; of several the least and the largest."""
    scales = {adapter.alpha_of(target) for target in adapter.targets}
    return " to ".join(words.number(scale) for scale in sorted({min(scales), max(scales)}))


def _change_tiles(measured: Sequence[Measured]) -> list[Markup]:
    label, known = "|ΔW|", [one.norm for one in measured]
    if is_relative(measured):
        label = "|ΔW| / |W|"  # of weights that are not zero
        known = [one.relative for one in measured if one.relative is not None]
    least, most = min(known), max(known)
    if len(known) == 1:
        return [_tile(label, figure(most))]
    tiles = [_tile(f"median {label}", figure(float(np.median(known))))]
    return [*tiles, _tile("least to most", f"{figure(least)} to {figure(most)}")]


def _tile(label: str, value: str) -> Markup:
    return tag("div", tag("dt", label), tag("dd", value))


def _bytes(size: int) -> str:
    """Returns a size in three digits, and the largest unit of which that is one or more."""
    rounded = float(f"{size:.3g}")
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if rounded >= factor:
            return f"{figure(rounded / factor)} {unit}"
    return f"{size:,} bytes"


def findings(measured: Sequence[Measured], notes: Sequence[str], base_given: bool) -> Markup:
    """Returns what diagnostics see in the finished adapter, and what could not be looked at.

    Args:
        measured: What is known of each target.
        notes: What else is to be known.
        base_given: Whether a base was read, so that a map alone can have left weights out.
    """
    advice = advise(found for one in measured for found in one.findings())
    unknown = {one.target.name for one in measured if one.base.norm is None}
    # Of these nothing was compared, and what was not looked at is not fine.
    unchecked = [one for one in advice if one.kind == "healthy" and unknown >= {*one.targets}]
    items = [_item(line.severity, str(line)) for line in advice if line not in unchecked]
    if unknown:
        count = sum(len(line.targets) for line in unchecked)
        why = "The map skips them." if base_given else "Give the base with --base."
        items.append(_item("unknown", f"{_unknown(len(unknown), len(measured), count)} {why}"))
    items += [_item("note", note) for note in notes]
    said = (
        "Seen in the finished adapter alone. What only a training run shows, such as gradients, "
        "rates and losses, is not in it."
    )
    return join(tag("ul", *items, class_="findings"), tag("p", said, class_="aside"))


def _unknown(unknown: int, of: int, unchecked: int) -> str:
    """Returns of how many weights the norm is not known, and what could be checked without."""
    which = "the" if unknown == of else f"{unknown:,} of {of:,}"
    said = f"the norms of {which} base weights are not known, so that nothing says how large the "
    said += "change is beside them."
    if unchecked:
        those = "The" if unchecked == unknown else f"Of {unchecked:,} of them the"
        said += f" {those} change is finite and not zero; nothing else could be checked."
    return said


def _item(severity: str, said: str) -> Markup:
    return tag("li", tag("strong", severity), " ", tag("span", said), class_=severity)


def contents(adapter: Adapter, source: Source) -> Markup:
    """Returns everything that the file says beside its numbers."""
    own = [(tag("span", limited(k)), name(limited(v))) for k, v in facts(adapter, source)]
    sets = (
        [
            name(limited(cell)) if place in {0, 6} else tag("span", cell)
            for place, cell in enumerate(row)
        ]
        for row in recipes(adapter)
    )
    header = ("entry set", "shape", "targets", "n", "of the spectrum", "dtype", "drawn by")
    parts = [
        table(
            "What the adapter says of itself", ("fact", "value"), own, numeric=(), class_="facts"
        ),
        _limited("Entry sets", header, sets, len(adapter.entry_sets), numeric=(2, 3, 4)),
    ]
    if adapter.replacements:
        rows = (
            [name(key), tag("span", words.array(array)), tag("span", _bytes(array.nbytes))]
            for key, array in adapter.replacements.items()
        )
        count = len(adapter.replacements)
        caption = "Replacements: heads and biases that were trained whole"
        titles = ("tensor", "dtype and shape", "size")
        parts.append(_limited(caption, titles, rows, count, numeric=(2,)))
    if adapter.labels:
        count = len(adapter.labels)
        labels = (
            [tag("span", str(i)), name(limited(label))] for i, label in enumerate(adapter.labels)
        )
        parts.append(_limited("Labels", ("class", "label"), labels, count, numeric=(0,)))
    if adapter.metadata is not None:
        parts.append(_text("Metadata", json.dumps(adapter.metadata, indent=2, ensure_ascii=False)))
    if adapter.origin is not None and "text" in adapter.origin:
        parts.append(_text("Origin", str(adapter.origin["text"])))
    return join(*parts)


def _limited(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[Markup]],
    count: int,
    numeric: tuple[int, ...],
) -> Markup:
    """Returns a table of the first of `count` rows; the others are not made."""
    if count > MOST_ROWS:
        caption = f"{caption} (the first {MOST_ROWS} of {count:,})"
    return table(caption, header, list(islice(rows, MOST_ROWS)), numeric=numeric)


def _text(label: str, content: str) -> Markup:
    cut = content if len(content) <= MOST_TEXT else f"{content[:MOST_TEXT]}\n..."
    left = f" (the first {MOST_TEXT:,} of {len(content):,} characters)" if cut != content else ""
    shown = tag("pre", lines(cut), tabindex=0)
    return tag("details", tag("summary", f"{label}{left}"), shown)
