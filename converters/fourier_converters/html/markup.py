"""HTML and SVG in pieces. What is not `Markup` is text, and escaped: a name is never markup."""

from __future__ import annotations

import html
from typing import Final

from fourier_format import words
from fourier_format.errors import one_line

Value = str | int | float | None
"""An attribute's value; with None the attribute is left out."""

_VOID: Final = frozenset({"br", "image", "img", "line", "rect", "polyline", "path"})
"""Elements that hold nothing."""


UNKNOWN: Final = "-"
"""In the place of a number that is not known."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: str) -> Markup:
    """Returns a text as HTML, with control and direction characters shown as escapes."""
    return Markup(html.escape(one_line(value)))


def lines(value: str) -> Markup:
    """Returns a text as HTML, its line breaks kept."""
    return Markup("\n".join(text(line) for line in value.split("\n")))


def tag(name: str, *children: str, **attributes: Value) -> Markup:
    """Returns an element.

    Args:
        name: The element's.
        children: Markup, or text, which is escaped.
        attributes: By name; `class_` stands for class, `aria_label` for aria-label.
    """
    stated = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Markup(f"<{name}{stated}/>")
    return Markup(f"<{name}{stated}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Returns pieces side by side; those that are text are escaped."""
    return Markup("".join(c if isinstance(c, Markup) else text(c) for c in children))


def name(value: str, limit: int | None = None) -> Markup:
    """Returns the name of something in an adapter, which may break anywhere and has no direction.

    Names of modules break after a dot before they break in a word. One that is longer than `limit`
    is cut, and whole in its title.
    """
    shown = value if limit is None else words.shortened(value, limit)
    whole = None if shown == value else value
    return tag("bdi", Markup(text(shown).replace(".", ".<wbr/>")), class_="name", title=whole)


def figure(value: float | None) -> str:
    """Returns a number in three digits, as in "0.0123", "12,300" and "1.2e-5"; None as a dash."""
    if value is None:
        return UNKNOWN
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        rounded = float(f"{value:.3g}")
        return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.3g}"
    mantissa, e, exponent = f"{value:.2g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def counted(count: int, one: str, many: str) -> str:
    """Returns how many there are, as in "1 entry" and "1,000 entries"."""
    return f"{count:,} {one if count == 1 else many}"


def percent(share: float | None) -> str:
    """Returns a share as in "12 %", "0.34 %" and "1.2e-5 %"; None as a dash."""
    if share is None:
        return UNKNOWN
    if share >= 0.095 or share == 0:
        return f"{100 * share:.0f} %"
    return f"{figure(float(f'{100 * share:.2g}'))} %"


def _attribute(value: Value) -> str:
    return text(f"{value:.4g}" if isinstance(value, float) else str(value))
