"""Which code a trial runs: its digest tells results of one version of it from those of another."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import fourier_trainers
from experiments.trial import Trial

ROOT = Path(__file__).parents[1]
_PACKAGE = Path(__file__).parent.name
_TRAINERS = Path(fourier_trainers.__file__).parent


def digest(trial: Trial) -> str:
    """Returns 8 hex digits of the trial's module, all of experiments/ under it, and the trainers.

    A trial that measures other code names its folders, from the repository's root, in `measures`.
    """
    paths = set(imported(Path(inspect.getfile(type(trial))), ROOT))
    for folder in (_TRAINERS, *(ROOT / name for name in getattr(trial, "measures", ()))):
        paths |= set(folder.rglob("*.py"))
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(path.read_bytes())
    return found.hexdigest()[:8]


@functools.cache
def imported(path: Path, root: Path) -> frozenset[Path]:
    """Returns `path`, the files of `root`/experiments that it imports, and that these import."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting += _imports(one, root)
    return frozenset(seen)


def _imports(path: Path, root: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        parts = node.module.split(".")
        if parts[0] == _PACKAGE:
            module = root.joinpath(*parts)
            names = [module / f"{alias.name}.py" for alias in node.names]
            yield from (each for each in (module.with_suffix(".py"), *names) if each.is_file())
