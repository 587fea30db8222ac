"""Module names: one renaming for the whole adapter ties its names to those of a base.

A wrapper puts a prefix before every path ("model.encoder.q"), and the checkpoint of a part of a
model lacks one ("bert."). Such a prefix is the same for all modules; matching each name by itself
would take one stack's layer for another's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_STACKS: Final = frozenset({"encoder", "decoder"})
"""Parts of a path that tell stacks apart: a name without them would be another stack's too."""

_MOST_REMOVED: Final = 2
"""Parts that a checkpoint of a part of a model may lack."""


@dataclass(frozen=True, slots=True)
class Renaming:
    """A prefix that is taken from the adapter's names, or one that is put before them."""

    removed: str = ""
    added: str = ""

    def __call__(self, name: str) -> str | None:
        """Returns what the base calls the module `name`, None where this does not apply."""
        if not name.startswith(self.removed):
            return None
        return self.added + name.removeprefix(self.removed)

    def __str__(self) -> str:
        """The renaming in words, for reports."""
        if self.added:
            return f"the base's names have the prefix {self.added!r}"
        return f"the base's names lack the prefix {self.removed!r}" if self.removed else "equal"


def renamings(names: Iterable[str], paths: Iterable[str]) -> list[Renaming]:
    """Returns the renamings by which most of `names` are among `paths`.

    Equality wins over other renamings that explain as many names; several others that do are all
    returned, and whoever asks must treat what they find as ambiguous.
    """
    by_last = defaultdict(list)
    for path in set(paths):
        by_last[path.rpartition(".")[2]].append(path)
    explained: Counter[Renaming] = Counter()
    for name in set(names):
        explained.update(
            {r for path in by_last[name.rpartition(".")[2]] if (r := _renaming(name, path))}
        )
    most = max(explained.values(), default=0)
    if explained[Renaming()] == most:
        return [Renaming()]
    return sorted((r for r, count in explained.items() if count == most), key=str)


def _renaming(name: str, path: str) -> Renaming | None:
    if name == path:
        return Renaming()
    if path.endswith(f".{name}"):
        return Renaming(added=path.removesuffix(name))
    if name.endswith(f".{path}"):
        removed = name.removesuffix(path)
        parts = removed.split(".")[:-1]
        if len(parts) <= _MOST_REMOVED and _STACKS.isdisjoint(parts):
            return Renaming(removed=removed)
    return None
