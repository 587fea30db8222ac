"""Matching: which tensor of a checkpoint each target means, and what is special to checkpoints.

transformers states by the model type how a linear weight is stored, PEFT saves the weight of a tied
head with the adapter, and a tied head has no tensor of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fourier_converters import matching
from fourier_converters import refusals as common
from fourier_converters.layouts import framework_layout
from fourier_converters.mapping import Map
from fourier_converters.matching import BY_FINGERPRINT, BY_MAP, BY_NAME, Search, match_each
from fourier_converters.safetensors import refusals
from fourier_converters.safetensors.places import Place, Places, readings
from fourier_format.adapter import Adapter, Target
from fourier_format.kinds import LAYOUTS

BY_OWN_TENSOR: Final = "its own tensor"
"""PEFT saves the weight of a tied head with the adapter; the checkpoint holds the embedding."""

Match = matching.Match[Place]


def match_targets(adapter: Adapter, places: Places, mapping: Map) -> list[Match]:
    """Returns the match of every target that the map does not skip.

    Raises:
        TargetNotFoundError: E-TARGET-NOT-FOUND or -AMBIGUOUS, E-EVIDENCE-DISAGREES,
            E-USE-CLAIMED; all targets are tried first.
        BaseMismatchError: A weight is not the one that the adapter was trained on.
        UnsupportedError: A weight is not of floating point, or nothing says how it is stored.
    """
    return match_each(
        adapter, mapping, lambda target: _Search(adapter, target, places, mapping).match()
    )


class _Search(Search[Place]):
    """The search for one target's weight in a checkpoint."""

    def __init__(self, adapter: Adapter, target: Target, places: Places, mapping: Map) -> None:
        stated = mapping.target(target.name).layout or mapping.layout
        layout = stated if target.kind == "linear" else None
        super().__init__(adapter, target, places, mapping, layout)
        self._places = places
        self._own = adapter.replacements.get(f"{target.name}.weight")
        self._may_use_own = not mapping.replacement(f"{target.name}.weight").skip

    def match(self) -> Match:
        """Returns the target's place; raises as `match_targets`."""
        target = self.target
        if target.kind not in LAYOUTS:
            raise refusals.kind(target)
        if self.entry.weight is not None:
            return self.match_tensor(self.entry.weight, BY_MAP)
        named = self._places.named(target.name, "weight")
        if len(named) > 1:
            raise common.ambiguous(target.name, named)
        if named:
            return self.match_tensor(named[0], BY_NAME)
        if self._own is not None and self._may_use_own:
            (path, *others) = self._places.paths(target.name)
            if others:
                raise common.ambiguous(target.name, [path, *others])
            found = readings(f"{path}.weight", self._own, target, added=True)
            return self.choose(found, f"{path}.weight", self._own.shape, BY_OWN_TENSOR)
        return self._match_by_fingerprint()

    def stated(self, found: Sequence[Place], tensor: str) -> Place:
        """Returns the reading in the layout that the model type states, if it states one."""
        if self.layout is not None or self.target.kind != "linear":
            return found[0]
        model_types = self._places.checkpoint.model_types
        layout = framework_layout(self.target.name, model_types) if model_types else None
        chosen = [place for place in found if layout in {None, place.layout}]
        if not chosen:
            raise common.other_shape(self.target, tensor, found[0].stored.shape)
        if len(chosen) > 1:
            raise refusals.orientation(self.target, tensor, model_types)
        return chosen[0]

    def _match_by_fingerprint(self) -> Match:
        """Returns the match by the one weight that has the target's fingerprint.

        A head may be stored once with the embedding that it is tied to. Its weight alone does not
        say whether both are meant.
        """
        target = self.target
        marked = self.everywhere_marked()
        if not marked:
            problem = "no weight of the base is this target's, by name or by fingerprint"
            raise self.not_found(problem)
        if len(marked) > 1:
            raise common.ambiguous(target.name, [str(place) for place in marked])
        if target.kind == "linear" and target.shape[0] in self._places.vocabularies:
            raise common.maybe_tied(target, marked[0].tensor)
        return Match(target, marked[0], (BY_FINGERPRINT,))
