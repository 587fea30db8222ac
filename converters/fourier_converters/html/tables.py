"""Tables with captions and headers, in boxes of their own that scroll where a screen is narrow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from fourier_converters.html.markup import Markup, join, tag

FOLDED: Final = 24
"""Rows from which what they show is folded away until someone asks."""


def table(
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[Markup]],
    *,
    numeric: Collection[int],
    class_: str | None = None,
) -> Markup:
    """Returns a table; the first cell of a row is its header.

    Args:
        caption: What it shows.
        header: One word or two for each column.
        rows: Cells, the content of each.
        numeric: The columns that hold numbers.
        class_: For the style sheet.
    """
    titles = [
        tag("th", title, scope="col", class_=_kind(i, numeric)) for i, title in enumerate(header)
    ]
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", class_=_kind(0, numeric)),
            *(tag("td", cell, class_=_kind(i, numeric)) for i, cell in enumerate(row[1:], 1)),
        )
        for row in rows
    ]
    return box(
        caption,
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", *titles)),
            tag("tbody", join(*body)),
            class_=class_,
        ),
    )


def box(label: str, content: Markup) -> Markup:
    """Returns content that may be wider than the screen, to be scrolled by touch and keyboard."""
    return tag("div", content, class_="box", role="region", aria_label=label, tabindex=0)


def _kind(column: int, numeric: Collection[int]) -> str | None:
    return "number" if column in numeric else None
