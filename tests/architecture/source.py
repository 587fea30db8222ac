"""The project's own packages and their modules, read as text and never imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

PACKAGES = {
    "fourier_format": ROOT / "fourier_format",
    "fourier_converters": ROOT / "converters" / "fourier_converters",
    "fourier_trainers": ROOT / "trainers" / "fourier_trainers",
    "fourier_runtimes": ROOT / "runtimes" / "fourier_runtimes",
}
"""Package -> its folder; those that are not written yet have none."""


def modules() -> list[tuple[str, Path]]:
    """Return every module with the package that it belongs to."""
    return [
        (package, path) for package, folder in PACKAGES.items() for path in folder.rglob("*.py")
    ]


def tree(path: Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(path.read_text("utf-8"), str(path))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of each import, wherever in the module it stands."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")
