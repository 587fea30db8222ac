"""Module names: one renaming for the whole adapter ties its names to those of a base.

A wrapper puts a prefix before every path ("model.encoder.q"), and the checkpoint of a part of a
model lacks one ("bert."). A tool may have a word of its own for a part of every path. Such a
renaming is the same for all modules; matching each name by itself would take one stack's layer for
another's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from fourier_format.adapter import Adapter

_STACKS: Final = frozenset({"encoder", "decoder"})
"""Parts of a path that tell stacks apart: a name without them would be another stack's too."""

_MOST_REMOVED: Final = 2
"""Parts that a checkpoint of a part of a model may lack."""


class Alias(NamedTuple):
    """Another word for a part of a path."""

    part: str
    other: str

    def __call__(self, name: str) -> str:
        """Returns `name` with the other word."""
        return ".".join(self.other if part == self.part else part for part in name.split("."))


ALIASES: Final = (Alias("self_attn", "attn"),)
"""ONNX Runtime GenAI's model builder calls every model's attention "attn"."""


@dataclass(frozen=True, slots=True)
class Renaming:
    """A prefix that is taken from the adapter's names, or one that is put before them.

    Attributes:
        removed: What the adapter's names begin with and the base's do not.
        added: What the base's names begin with and the adapter's do not.
        alias: The base's other word for a part of the adapter's names, if it has one.
    """

    removed: str = ""
    added: str = ""
    alias: Alias | None = None

    def __call__(self, name: str) -> str | None:
        """Returns what the base calls the module `name`, None where this does not apply."""
        if self.alias is not None:
            name = self.alias(name)
        if not name.startswith(self.removed):
            return None
        return self.added + name.removeprefix(self.removed)

    def __str__(self) -> str:
        """The renaming in words, for reports."""
        said = []
        if self.added:
            said.append(f"have the prefix {self.added!r}")
        if self.removed:
            said.append(f"lack the prefix {self.removed!r}")
        if self.alias is not None:
            said.append(f"say {self.alias.other!r} for {self.alias.part!r}")
        return f"the base's names {' and '.join(said)}" if said else "equal"


def module_names(adapter: Adapter, separator: str = ".") -> set[str]:
    """Returns the names of the modules that the adapter changes."""
    replaced = {name.rpartition(separator)[0] for name in adapter.replacements}
    return {target.name for target in adapter.targets} | (replaced - {""})


def renamings(names: Iterable[str], paths: Iterable[str]) -> list[Renaming]:
    """Returns the renamings by which most of `names` are among `paths`.

    Equality wins over other renamings that explain as many names, and prefixes alone over an alias;
    several others that explain as many are all returned, and whoever asks must treat what they find
    as ambiguous.
    """
    names = set(names)
    by_last = defaultdict(list)
    for path in set(paths):
        by_last[path.rpartition(".")[2]].append(path)
    found, most = [Renaming()], 0
    for alias in (None, *ALIASES):
        if alias is not None and not any(alias.part in name.split(".") for name in names):
            continue
        explained = _explained(names, by_last, alias)
        count = max(explained.values(), default=0)
        if count > most:
            equal = Renaming(alias=alias)
            best = sorted((r for r, n in explained.items() if n == count), key=str)
            found, most = [equal] if explained[equal] == count else best, count
    return found


def _explained(
    names: Iterable[str], by_last: Mapping[str, list[str]], alias: Alias | None
) -> Counter[Renaming]:
    """Returns how many of `names` each renaming with this alias takes to a path."""
    explained: Counter[Renaming] = Counter()
    for name in names if alias is None else [alias(name) for name in names]:
        among = by_last.get(name.rpartition(".")[2], [])
        found = {r for path in among if (r := _renaming(name, path))}
        explained.update(replace(r, alias=alias) for r in found)
    return explained


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
