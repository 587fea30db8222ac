"""`python -m experiments.evidence`: write docs/evidence.md and its pictures."""

from __future__ import annotations

from pathlib import Path

from experiments.evidence.evidence import collected
from experiments.evidence.page import FOLDER, page
from experiments.evidence.plots import drawn
from experiments.evidence.sections import sections

DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    """Write the page, and take away the pictures that it no longer shows."""
    made = page(sections(), collected())
    folder = DOCS / FOLDER
    folder.mkdir(exist_ok=True)
    names = {f"{figure.name}.png" for figure in made.figures}
    for path in folder.glob("*.png"):
        if path.name not in names:
            path.unlink()
    for figure in made.figures:
        (folder / f"{figure.name}.png").write_bytes(drawn(figure))
    (DOCS / "evidence.md").write_text(made.text, "utf-8")
    print(f"{DOCS / 'evidence.md'}: {len(made.figures)} pictures")


if __name__ == "__main__":
    main()
