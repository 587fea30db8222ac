"""What is given to be loaded, and a bar for those who watch it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from fourier_format.adapter import Adapter
from fourier_format.errors import UsageError, Violation
from fourier_runtimes import graphs, sources

Loadable: TypeAlias = str | os.PathLike[str] | Adapter
"""A path or URL of an adapter's file, or the adapter."""

Loadables: TypeAlias = Mapping[str, Loadable] | Iterable[str | os.PathLike[str]]
_AHEAD: Final = 64
"""Files that the system is asked to read before they are needed."""

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
    for one in read_ahead(shown(named.values(), "looking at"), list(named.values())):
        adapter = one if isinstance(one, Adapter) else sources.loaded(one)
        found.setdefault(graphs.sort_of(adapter), adapter)
    return found


def read_ahead(items: Iterable[_T], files: Sequence[Loadable]) -> Iterator[_T]:
    """Yields the items, and has the system read their files, in this order, some time before."""
    asked = 0
    for number, item in enumerate(items):
        if asked < number + _AHEAD:
            for file in files[asked : number + 2 * _AHEAD]:
                _will_need(file)
            asked = number + 2 * _AHEAD
        yield item


def _will_need(file: Loadable) -> None:
    if isinstance(file, Adapter) or not hasattr(os, "posix_fadvise"):
        return
    with contextlib.suppress(OSError, ValueError):  # whoever reads it says what is wrong
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


def shown(items: Collection[_T], what: str) -> Iterable[_T]:
    """Returns the items, with a bar where a terminal shows it."""
    if len(items) < 2 or not sys.stderr.isatty():
        return items
    from tqdm import tqdm

    bar: Iterable[_T] = tqdm(items, desc=what, unit="adapter", leave=False, delay=0.5)
    return bar
