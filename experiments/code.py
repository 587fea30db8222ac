"""Which code a trial runs: its digest tells results of one version of it from those of another.

What has no part in a number has none in a digest: comments, docstrings, and modules that nothing
imports on the way from the trial. Digests of one version of Python are comparable.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.trial import Trial

ROOT = Path(__file__).parents[1]
_HOMES = {
    "experiments": ".",
    "fourier_format": ".",
    "fourier_trainers": "trainers",
    "fourier_converters": "converters",
    "fourier_runtimes": "runtimes",
}
_SCRIPTS = "benchmarks"  # which import one another by bare names


@dataclass(frozen=True, slots=True)
class Source:
    """A module as it was when this process, or the one it was forked from, first read it.

    Attributes:
        digest: Of its syntax, without what is no code.
        imports: Full names of what it imports: of `from a import b` a.b, which may be a module.
    """

    digest: bytes
    imports: tuple[str, ...]


def digest(trial: Trial) -> str:
    """Returns 8 hex digits of the trial's module and all of the project's that it imports."""
    return of(inspect.getfile(type(trial)))


@functools.cache
def of(*files: str, root: Path = ROOT) -> str:
    """Returns 8 hex digits of modules and all of the project's that they import."""
    found = hashlib.sha256()
    for path in sorted(imported(*map(Path, files), root=root)):
        found.update(read(path).digest)
    return found.hexdigest()[:8]


def imported(*paths: Path, root: Path = ROOT) -> set[Path]:
    """Returns `paths`, the project's modules that they import, and that these import.

    Imports inside functions are followed, too; so are packages that hold a module.
    """
    seen: set[Path] = set()
    waiting = list(paths)
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting += [path for name in read(one).imports for path in _files(name, root)]
    return seen


@functools.cache
def read(path: Path) -> Source:
    """Returns a module, once for all: its digest and what it imports."""
    tree = ast.parse(path.read_bytes())
    imports: list[str] = []
    for node in ast.walk(tree):
        imports += _imports(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]  # it has one
    return Source(hashlib.sha256(ast.dump(tree).encode()).digest(), tuple(imports))


def _imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.level:
        raise ValueError(f"a relative import, which is not followed: {ast.unparse(node)}")
    return [f"{node.module}.{alias.name}" for alias in node.names]


def _is_text(statement: ast.stmt) -> bool:
    """Returns whether it is a string alone: a docstring, or what is said of the name above it."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _files(name: str, root: Path) -> Iterator[Path]:
    """Gives the files of a module of the project and of the packages that hold it."""
    parts = name.split(".")
    home = root / _HOMES.get(parts[0], _SCRIPTS)
    for end in range(1, len(parts) + 1):
        module = home.joinpath(*parts[:end])
        candidates = module.with_suffix(".py"), module / "__init__.py"
        yield from (path for path in candidates if path.is_file())
