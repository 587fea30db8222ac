"""The page: sections in a template, a style sheet that is allowed by its hash, and nothing else."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from string import Template
from typing import Final, NamedTuple

from fourier_converters.html.markup import Markup, text

_PACKAGE: Final = "fourier_converters.html"


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        id: Its place in the page.
        title: Its heading.
        content: What it shows.
    """

    id: str
    title: str
    content: Markup


def page(title: str, version: str, heading: Markup, sections: tuple[Section, ...]) -> str:
    """Returns the whole page as text.

    Args:
        title: The document's title.
        version: Of this package, which made the page.
        heading: What stands above the sections.
        sections: The parts, in order.
    """
    style = _resource("page.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    links = "".join(f'<li><a href="#{s.id}">{text(s.title)}</a></li>' for s in sections)
    body = "\n".join(
        f'<section id="{s.id}" aria-labelledby="{s.id}-title">'
        f'<h2 id="{s.id}-title">{text(s.title)}</h2>\n{s.content}</section>'
        for s in sections
    )
    return Template(_resource("page.html")).substitute(
        title=text(title),
        style=style,
        style_hash=f"sha256-{digest}",
        heading=heading,
        links=links,
        sections=body,
        version=text(version),
    )


def _resource(name: str) -> str:
    return (files(_PACKAGE) / name).read_text("utf-8")
