"""A page as a parser sees it: its elements, their attributes and the text that is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = frozenset({"meta", "link", "br", "wbr", "img"})


@dataclass(slots=True)
class Element:
    """An element with the text in it, its children's included."""

    name: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass(slots=True)
class _Reader(HTMLParser):
    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def elements(page: str) -> list[Element]:
    """Returns the elements of a page, each of which is closed where it must be."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader.elements


def tables(page: str) -> dict[str, list[list[str]]]:
    """Returns the rows of each table by its caption, the header first."""
    found: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    for element in elements(page):
        if element.name == "caption":
            rows = found.setdefault(element.text, [])
        elif element.name == "tr":
            rows.append([])
        elif element.name in {"th", "td"}:
            rows[-1].append(element.text)
    return found
