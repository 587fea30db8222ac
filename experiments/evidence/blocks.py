"""What a section is made of: paragraphs, tables, pictures as data, aims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.evidence.evidence import Evidence

FOURIER, LORA, FULL, HEAD, FIFTH, SIXTH, SEVENTH = range(7)
"""Colours, each with a marker of its own; the first four belong to methods everywhere."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        header: The columns' names; columns of numbers alone are set to the right.
        rows: Cells in Markdown.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line, with a band where `low` and `high` are given, all as long as `x`."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: int | None = None


@dataclass(frozen=True, slots=True)
class Points:
    """Means with intervals as bars, and a dot for each seed.

    Attributes:
        name: In the legend; "" for none.
        x: Positions; of a panel with categories, 0 for the first.
        y: The means.
        low: Lower ends of the intervals; () for none.
        high: Upper ends.
        dots: For each position the values behind its mean; () for none.
        colour: FOURIER, LORA ...; None for the next one.
        joined: Whether a thin line joins the means.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dots: Sequence[Sequence[float]] = ()
    colour: int | None = None
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """A dashed horizontal line: a baseline or an aim."""

    name: str
    y: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes; `categories` name the positions 0, 1, ... of a text axis."""

    title: str
    x_label: str
    y_label: str
    marks: Sequence[Line | Points | Level]
    log_x: bool = False
    log_y: bool = False
    categories: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture, as data.

    Attributes:
        name: The PNG's name without suffix; it must hold the size.
        alt: What it shows, in a sentence.
        panels: Pairs of axes, with one legend.
        columns: So many stand beside each other; on GitHub three can still be read.
    """

    name: str
    alt: str
    panels: Sequence[Panel]
    columns: int = 3


@dataclass(frozen=True, slots=True)
class Aim:
    """What the issue asks for, and whether the numbers say so.

    Attributes:
        what: The quantity.
        aim: What it should be, in words.
        found: What it is.
        reached: None where the numbers cannot tell.
    """

    what: str
    aim: str
    found: str
    reached: bool | None


Block = str | Table | Figure | Aim


@dataclass(frozen=True, slots=True)
class Section:
    """What the page says of one experiment.

    Attributes:
        name: The experiment's.
        title: The heading.
        question: What it answers, in a sentence or two, before any result.
        render: Evidence of one size, in which the experiment has records -> blocks.
        aims: Evidence of one size -> the section's aims; of what has not run they cannot be told.
        beside: What others have found, once, after all sizes; it must say whose numbers they are.
    """

    name: str
    title: str
    question: str
    render: Callable[[Evidence], Sequence[Block]]
    aims: Callable[[Evidence], Sequence[Aim]] = lambda _: ()
    beside: Sequence[Block] = ()
