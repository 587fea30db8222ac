"""Matching: which tensor of a checkpoint each target means.

The map file is believed first, then the names; the fingerprint confirms either, tells how a weight
is stored, and finds it where a checkpoint has other names. An empty set, evidence that disagrees,
or a tensor claimed twice is an error, so that an adapter is never merged in part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fourier_converters.layouts import framework_layout
from fourier_converters.mapping import Map, MapEntry
from fourier_converters.safetensors import refusals
from fourier_converters.safetensors.places import Place, Places, readings
from fourier_format.adapter import Adapter, Target
from fourier_format.dtypes import WEIGHT_DTYPES, dtype_name
from fourier_format.errors import FourierFormatError, TargetNotFoundError, Violation, raise_all
from fourier_format.fingerprint import agrees
from fourier_format.kinds import LAYOUTS

BY_MAP: Final = "map"
BY_NAME: Final = "name"
BY_FINGERPRINT: Final = "fingerprint"
BY_OWN_TENSOR: Final = "its own tensor"
"""PEFT saves the weight of a tied head with the adapter; the checkpoint holds the embedding."""


@dataclass(frozen=True, slots=True)
class Match:
    """The place that one target means, and the evidence that says so."""

    target: Target
    place: Place
    evidence: tuple[str, ...]


def match_targets(adapter: Adapter, places: Places, mapping: Map) -> list[Match]:
    """Returns the match of every target that the map does not skip.

    Raises:
        TargetNotFoundError: E-TARGET-NOT-FOUND or -AMBIGUOUS, E-EVIDENCE-DISAGREES,
            E-USE-CLAIMED; all targets are tried first.
        BaseMismatchError: A weight is not the one that the adapter was trained on.
        UnsupportedError: A weight is not of floating point, or nothing says how it is stored.
    """
    matches, failures = list[Match](), list[FourierFormatError]()
    for target in adapter.targets:
        if mapping.target(target.name).skip:
            continue
        try:
            matches.append(_Search(adapter, target, places, mapping).match())
        except FourierFormatError as error:
            failures.append(error)
    raise_all(failures)
    _refuse_claimed(matches)
    return matches


class _Search:
    """The search for one target's weight."""

    def __init__(self, adapter: Adapter, target: Target, places: Places, mapping: Map) -> None:
        self._adapter = adapter
        self._target = target
        self._places = places
        self._entry: MapEntry = mapping.target(target.name)
        self._layout = (self._entry.layout or mapping.layout) if target.kind == "linear" else None
        self._own = adapter.replacements.get(f"{target.name}.weight")
        self._may_use_own = not mapping.replacement(f"{target.name}.weight").skip
        self._prints = adapter.entry_set(target).fingerprints

    def match(self) -> Match:
        """Returns the target's place; raises as `match_targets`."""
        target = self._target
        if target.kind not in LAYOUTS:
            raise refusals.kind(target)
        if self._entry.weight is not None:
            return self._match_tensor(self._entry.weight, BY_MAP)
        named = self._places.named(target.name, "weight")
        if len(named) > 1:
            raise refusals.ambiguous(target.name, named)
        if named:
            return self._match_tensor(named[0], BY_NAME)
        if self._own is not None and self._may_use_own:
            (path, *others) = self._places.paths(target.name)
            if others:
                raise refusals.ambiguous(target.name, [path, *others])
            found = readings(f"{path}.weight", self._own, target, added=True)
            return self._choose(found, f"{path}.weight", self._own.shape, BY_OWN_TENSOR)
        return self._match_by_fingerprint()

    def _match_tensor(self, tensor: str, evidence: str) -> Match:
        if tensor not in self._places.checkpoint.tensors:
            problem = f"the map names {tensor!r}, which is not in the base"
            raise refusals.not_found(self._target, problem, self._places)
        dtype = self._places.dtype(tensor)
        if dtype not in WEIGHT_DTYPES:
            raise refusals.dtype(self._target, tensor, dtype)
        found = self._places.readings(tensor, self._target)
        return self._choose(found, tensor, self._places.shape(tensor), evidence)

    def _choose(
        self, found: Sequence[Place], tensor: str, shape: tuple[int, ...], evidence: str
    ) -> Match:
        """Returns the match by the one of the readings of a tensor that nothing speaks against."""
        possible = [p for p in found if self._layout in {None, p.layout}]
        if not possible:
            raise refusals.other_shape(self._target, tensor, shape)
        marked = self._marked(possible)
        if marked is None:
            return Match(self._target, self._stated(possible, tensor), (evidence,))
        if not marked:
            elsewhere = self._marked(self._places.everywhere(self._target)) or []
            raise refusals.wrong_weight(self._target, possible[0], evidence, elsewhere)
        place = marked[0] if len(marked) == 1 else self._stated(marked, tensor)
        return Match(self._target, place, (evidence, BY_FINGERPRINT))

    def _stated(self, found: Sequence[Place], tensor: str) -> Place:
        """Returns the reading in the layout that the model type states, if it states one."""
        if self._layout is not None or self._target.kind != "linear":
            return found[0]
        model_types = self._places.checkpoint.model_types
        layout = framework_layout(self._target.name, model_types) if model_types else None
        chosen = [place for place in found if layout in {None, place.layout}]
        if not chosen:
            raise refusals.other_shape(self._target, tensor, found[0].stored.shape)
        if len(chosen) > 1:
            raise refusals.orientation(self._target, tensor, model_types)
        return chosen[0]

    def _match_by_fingerprint(self) -> Match:
        """Returns the match by the one weight that has the target's fingerprint.

        A head may be stored once with the embedding that it is tied to. Its weight alone does not
        say whether both are meant.
        """
        target = self._target
        marked = self._marked(self._places.everywhere(target))
        if not marked:
            problem = "no weight of the base is this target's, by name or by fingerprint"
            raise refusals.not_found(target, problem, self._places)
        if len(marked) > 1:
            raise refusals.ambiguous(target.name, [str(place) for place in marked])
        if target.kind == "linear" and target.shape[0] in self._places.vocabularies:
            raise refusals.maybe_tied(target, marked[0])
        return Match(target, marked[0], (BY_FINGERPRINT,))

    def _marked(self, found: Iterable[Place]) -> list[Place] | None:
        """Returns the places with the target's fingerprint; None where the adapter has none."""
        if self._prints is None:
            return None
        expected = self._prints.samples[self._target.row]  # (32,)
        return [
            place
            for place in found
            if agrees(expected, self._places.samples(place), str(dtype_name(place.stored.dtype)))
        ]


def _refuse_claimed(matches: Sequence[Match]) -> None:
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
