"""The page: Markdown and pictures out of sections and evidence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.evidence import choice, overview
from experiments.evidence.blocks import Aim, Block, Figure, Section, Table
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import verdict

_NUMBERS = re.compile(r"(?=.*\d)([-+\d.,:\[\]\u2264 ]|e-|e\+|ms|s|min|h|MiB|[kMG]?B)*")
"""A column of numbers, with their units."""
FOLDER = "evidence"
"""Of the pictures, beside the page."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is to be written.

    Attributes:
        text: Markdown.
        figures: The pictures that it shows.
    """

    text: str
    figures: Sequence[Figure]


def page(
    sections: Sequence[Section], evidence: Sequence[Evidence], *, committed: bool = True
) -> Page:
    """Returns the page of `sections`, each with what has run of it at each size.

    Args:
        sections: In the order of the page.
        evidence: Of each size.
        committed: Whether it is of the repository's own results.
    """
    parts = {section.name: _rendered(section, evidence) for section in sections}
    aims = [
        (section.title, found.size, block)
        for section in sections
        for found in evidence
        for block in _aims(section, found, parts[section.name])
    ]
    first = [*overview.top(committed=committed), *choice.blocks(evidence), *overview.aims(aims)]
    lines = [markdown(block) for block in first]
    for section in sections:
        lines += _section(section, parts[section.name])
    lines += [markdown(block) for block in overview.runs(evidence)]
    figures = [
        block
        for found in parts.values()
        for blocks in found.values()
        for block in blocks
        if isinstance(block, Figure)
    ]
    return Page("\n\n".join(lines) + "\n", figures)


def markdown(block: Block) -> str:
    """Returns a block as Markdown, without a line end."""
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        return f"![{block.alt}]({FOLDER}/{block.name}.png)"
    if isinstance(block, Aim):
        return (
            f"**Aim: {block.what}, {block.aim}: {verdict(block.reached)}.** Found: {block.found}."
        )
    return block


def _rendered(section: Section, evidence: Sequence[Evidence]) -> dict[str, Sequence[Block]]:
    ran = [found for found in evidence if found.of(section.name)]
    return {found.size: section.render(found) for found in ran}


def _aims(section: Section, found: Evidence, parts: dict[str, Sequence[Block]]) -> Sequence[Aim]:
    """Returns a section's aims at a size: as it shows them, or where it has not run as planned."""
    if found.size in parts:
        return [block for block in parts[found.size] if isinstance(block, Aim)]
    return section.aims(found) if found.files else ()


def _section(section: Section, parts: dict[str, Sequence[Block]]) -> list[str]:
    lines = [f"## {section.title}", section.question]
    for size, blocks in parts.items():
        lines += [f"### {section.title}: {size}", *(markdown(block) for block in blocks)]
    lines += overview.not_run(section.name, list(parts))
    return [*lines, *(markdown(block) for block in section.beside)]


def _table(table: Table) -> str:
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.header)
    below = ["---:" if _NUMBERS.fullmatch("".join(column)) else "---" for column in columns]
    rows = [table.header, below, *table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
