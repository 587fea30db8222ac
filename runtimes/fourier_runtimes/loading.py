"""What is given to be loaded, and a bar for those who watch it."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from fourier_format.adapter import Adapter
from fourier_format.errors import UsageError, Violation
from fourier_runtimes import graphs, sources

Loadable: TypeAlias = str | os.PathLike[str] | Adapter
"""A path or URL of an adapter's file, or the adapter."""

Loadables: TypeAlias = Mapping[str, Loadable] | Iterable[str | os.PathLike[str]]

_T = TypeVar("_T")


def named_by_file(adapters: Loadables) -> dict[str, Loadable]:
    """Returns what to load by name; files alone are called as they are.

    Raises:
        UsageError: Two files have one name.
    """
    if isinstance(adapters, Mapping):
        return dict(adapters)
    named: dict[str, Loadable] = {}
    for path in [adapters] if isinstance(adapters, str | os.PathLike) else adapters:
        name = sources.stem(path)
        if name in named:
            problem, advice = "two of the files have this name", "give names: {name: path}"
            raise UsageError(Violation("E-USAGE", name, problem, advice=advice))
        named[name] = path
    return named


def sorts(named: Mapping[str, Loadable]) -> dict[Any, Adapter]:
    """Returns one adapter of each sort that a live graph needs a place for; raises as `load`."""
    found: dict[Any, Adapter] = {}
    for one in shown(named.values(), "looking at"):
        adapter = one if isinstance(one, Adapter) else sources.loaded(one)
        found.setdefault(graphs.sort_of(adapter), adapter)
    return found


def shown(items: Collection[_T], what: str) -> Iterable[_T]:
    """Returns the items, with a bar where a terminal shows it."""
    if len(items) < 2 or not sys.stderr.isatty():
        return items
    from tqdm import tqdm

    bar: Iterable[_T] = tqdm(items, desc=what, unit="adapter", leave=False, delay=0.5)
    return bar
