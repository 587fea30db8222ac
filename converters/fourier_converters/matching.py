"""Matching whole tensors: what checkpoints and Keras files have in common.

A **place** is a tensor of the base, read as a weight in one way. The map file is believed first,
then the names; the fingerprint confirms either, tells how a weight is stored, and finds it where
the base has other names. An empty set, evidence that disagrees, or a tensor claimed twice is an
error, so that an adapter is never merged in part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from fourier_converters import refusals
from fourier_converters.mapping import Map, MapEntry
from fourier_converters.verification import FoundWeight
from fourier_format.adapter import Adapter, Array, Target
from fourier_format.dtypes import WEIGHT_DTYPES, dtype_name
from fourier_format.errors import FourierFormatError, TargetNotFoundError, Violation, raise_all
from fourier_format.fingerprint import agrees

BY_MAP: Final = "map"
BY_NAME: Final = "name"
BY_FINGERPRINT: Final = "fingerprint"


class Place(Protocol):
    """A tensor that is read as a target's weight."""

    @property
    def tensor(self) -> str:
        """Its name in the base."""

    @property
    def layout(self) -> str:
        """How it is stored, as a map file says it where it can."""

    @property
    def stored(self) -> Array:
        """Its values as they are stored."""

    def canonical(self) -> Array:
        """Returns the (out, in) canonical matrix; a view where possible."""

    def restored(self, matrix: Array) -> Array:
        """Returns a canonical (out, in) matrix as the tensor is stored."""


P = TypeVar("P", bound=Place)


class Places(Protocol[P]):
    """Where the weights of one adapter may lie in a base."""

    def __contains__(self, tensor: str) -> bool:
        """Whether the base has a tensor of this name."""

    def dtype(self, tensor: str) -> str:
        """Returns the name of a tensor's dtype, known or not."""

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Returns a tensor's shape."""

    def readings(self, tensor: str, target: Target) -> list[P]:
        """Returns the ways to read a tensor as a weight of the target's kind and shape."""

    def everywhere(self, target: Target) -> Iterator[P]:
        """Yields every way to read any tensor as a weight of the target's kind and shape."""

    def samples(self, place: P) -> Array:
        """Returns the fingerprint's (32,) samples of the weight at a place."""


@dataclass(frozen=True)  # a frozen generic class cannot have slots and an alias that is called
class Match(Generic[P]):
    """The place that one target means, and the evidence that says so."""

    target: Target
    place: P
    evidence: tuple[str, ...]


def match_each(
    adapter: Adapter, mapping: Map, match: Callable[[Target], Match[P]]
) -> list[Match[P]]:
    """Returns the match of every target that the map does not skip.

    Raises:
        FourierFormatError: What `match` raised, for all targets at once.
        TargetNotFoundError: E-USE-CLAIMED.
    """
    matches, failures = list[Match[P]](), list[FourierFormatError]()
    for target in adapter.targets:
        if mapping.target(target.name).skip:
            continue
        try:
            matches.append(match(target))
        except FourierFormatError as error:
            failures.append(error)
    raise_all(failures)
    _refuse_claimed(matches)
    return matches


class Search(ABC, Generic[P]):
    """The search for one target's weight."""

    def __init__(
        self, adapter: Adapter, target: Target, places: Places[P], mapping: Map, layout: str | None
    ) -> None:
        """Takes the layout that the map states, where it is a fact of this kind of target."""
        self.target = target
        self.entry: MapEntry = mapping.target(target.name)
        self.layout = layout
        self._all = places
        self._prints = adapter.entry_set(target).fingerprints

    @abstractmethod
    def match(self) -> Match[P]:
        """Returns the target's place; raises as `match_targets` of its base."""

    @abstractmethod
    def stated(self, found: Sequence[P], tensor: str) -> P:
        """Returns the one reading of a tensor that the base itself states, without fingerprint."""

    def match_tensor(self, tensor: str, evidence: str) -> Match[P]:
        """Returns the match by a tensor that `evidence` names."""
        if tensor not in self._all:
            problem = f"the map names {tensor!r}, which is not in the base"
            raise self.not_found(problem)
        dtype = self._all.dtype(tensor)
        if dtype not in WEIGHT_DTYPES:
            raise refusals.dtype(self.target, tensor, dtype)
        found = self._all.readings(tensor, self.target)
        return self.choose(found, tensor, self._all.shape(tensor), evidence)

    def choose(
        self, found: Sequence[P], tensor: str, shape: tuple[int, ...], evidence: str
    ) -> Match[P]:
        """Returns the match by the one of the readings of a tensor that nothing speaks against."""
        possible = [p for p in found if self.layout in {None, p.layout}]
        if not possible:
            raise refusals.other_shape(self.target, tensor, shape)
        marked = self.marked(possible)
        if marked is None:
            return Match(self.target, self.stated(possible, tensor), (evidence,))
        if not marked:
            elsewhere = [str(p) for p in self.everywhere_marked()]
            raise refusals.wrong_weight(self.target, str(possible[0]), evidence, elsewhere)
        place = marked[0] if len(marked) == 1 else self.stated(marked, tensor)
        return Match(self.target, place, (evidence, BY_FINGERPRINT))

    def everywhere_marked(self) -> list[P]:
        """Returns every place with the target's fingerprint; none where the adapter has none."""
        return self.marked(self._all.everywhere(self.target)) or []

    def marked(self, found: Iterable[P]) -> list[P] | None:
        """Returns the places with the target's fingerprint; None where the adapter has none."""
        if self._prints is None:
            return None
        expected = self._prints.samples[self.target.row]  # (32,)
        return [
            place
            for place in found
            if agrees(expected, self._all.samples(place), str(dtype_name(place.stored.dtype)))
        ]

    def not_found(self, problem: str, advice: str | None = None) -> TargetNotFoundError:
        """Returns the error for a target whose weight is nowhere."""
        alike = dict.fromkeys(place.tensor for place in self._all.everywhere(self.target))
        return refusals.not_found(self.target, problem, list(alike), advice)


def found_weights(adapter: Adapter, matches: Sequence[Match[P]]) -> Iterator[FoundWeight]:
    """Yields what was found, to be verified."""
    for match in matches:
        prints = adapter.entry_set(match.target).fingerprints
        place = match.place
        dtype = str(dtype_name(place.stored.dtype))
        yield FoundWeight(match.target, prints, str(place), dtype, place.canonical)


def _refuse_claimed(matches: Sequence[Match[P]]) -> None:
    owners: dict[str, str] = {}
    found = []
    for match in matches:
        owner = owners.setdefault(match.place.tensor, match.target.name)
        if owner != match.target.name:
            problem = f"the weight {match.place.tensor} is claimed by {owner} too"
            advice = "say which target means which weight with --map"
            found.append(Violation("E-USE-CLAIMED", match.target.name, problem, advice=advice))
    if found:
        raise TargetNotFoundError(found)
