"""`python -m experiments.evidence`: write docs/evidence.md and its pictures.

Other results than the committed ones, and another folder, for who runs experiments of their own:
`--results FOLDER --docs FOLDER`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.evidence.evidence import collected
from experiments.evidence.page import FOLDER, page
from experiments.evidence.plots import carries_digest, drawn
from experiments.evidence.sections import sections
from experiments.records import RESULTS

DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    """Write the page, and take away the pictures that it no longer shows."""
    parser = argparse.ArgumentParser(prog="python -m experiments.evidence", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="a folder of results")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where evidence.md goes")
    chosen = parser.parse_args()
    committed = chosen.results.resolve() == RESULTS.resolve()
    made = page(sections(), collected(chosen.results), committed=committed)
    folder = chosen.docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    names = {f"{figure.name}.png" for figure in made.figures}
    for path in folder.glob("*.png"):
        if path.name not in names and carries_digest(path):
            path.unlink()
    for figure in made.figures:
        (folder / f"{figure.name}.png").write_bytes(drawn(figure))
    (chosen.docs / "evidence.md").write_text(made.text, "utf-8")
    print(f"{chosen.docs / 'evidence.md'}: {len(made.figures)} pictures")


if __name__ == "__main__":
    main()
