"""Matching: which variable of a Keras model each target means, and what is special to Keras.

An adapter trained in Keras has the layers' names, which the file knows, too. Another framework's
names are no evidence: there the fingerprint alone finds the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from fourier_converters import matching, refusals
from fourier_converters.keras.places import Place, Places
from fourier_converters.mapping import Map
from fourier_converters.matching import BY_FINGERPRINT, BY_MAP, BY_NAME, Search, match_each
from fourier_format import words
from fourier_format.adapter import Adapter, Target
from fourier_format.errors import UnsupportedError, Violation

Match = matching.Match[Place]


def match_targets(adapter: Adapter, places: Places, mapping: Map) -> list[Match]:
    """Returns the match of every target that the map does not skip.

    Raises:
        TargetNotFoundError: E-TARGET-NOT-FOUND or -AMBIGUOUS, E-EVIDENCE-DISAGREES,
            E-USE-CLAIMED; all targets are tried first.
        BaseMismatchError: A weight is not the one that the adapter was trained on.
        UnsupportedError: A weight is not of floating point, or nothing says how it is contracted.
    """
    return match_each(
        adapter, mapping, lambda target: _Search(adapter, target, places, mapping).match()
    )


class _Search(Search[Place]):
    """The search for one target's weight in a Keras model."""

    def __init__(self, adapter: Adapter, target: Target, places: Places, mapping: Map) -> None:
        layout = mapping.target(target.name).layout
        super().__init__(adapter, target, places, mapping, layout)
        self._places = places
        self._has_prints = adapter.entry_set(target).fingerprints is not None

    def match(self) -> Match:
        """Returns the target's place; raises as `match_targets`."""
        if self.entry.weight is not None:
            return self.match_tensor(self.entry.weight, BY_MAP)
        name = self.target.name
        is_evidence = not (self._places.is_foreign and self._has_prints)
        named = self._places.weights_named(name) if is_evidence else []
        if len(named) > 1:
            places = [p for tensor in named for p in self._places.readings(tensor, self.target)]
            marked = self.marked(places) or []
            named = list(dict.fromkeys(place.tensor for place in marked)) or named
        if len(named) > 1:
            raise refusals.ambiguous(name, named)
        if named:
            return self.match_tensor(named[0], BY_NAME)
        if not self._has_prints:
            raise self._no_evidence()
        return self._match_by_fingerprint()

    def stated(self, found: Sequence[Place], tensor: str) -> Place:
        """Returns the one way to read a variable; a linear target is Dense, (in, out)."""
        chosen = list(found)
        if len(chosen) > 1 and self.target.kind == "linear":
            chosen = [p for p in found if p.stored.ndim == 2 and p.contracted == (0,)]
        if len(chosen) != 1:
            raise self._unknown_contraction(tensor, found)
        return chosen[0]

    def _match_by_fingerprint(self) -> Match:
        marked = self.everywhere_marked()
        if not marked:
            problem = "no weight of the base is this target's, by name or by fingerprint"
            raise self.not_found(problem)
        if len(marked) > 1:
            raise refusals.ambiguous(self.target.name, [str(place) for place in marked])
        if self._places.may_be_tied(marked[0]):
            raise refusals.maybe_tied(self.target, marked[0].tensor)
        return Match(self.target, marked[0], (BY_FINGERPRINT,))

    def _no_evidence(self) -> Exception:
        problem = "the base has no layer of this name, and the adapter no fingerprint"
        advice = (
            "say which variable it is with --map and "
            '{"weight": "layers/dense/vars/0"}, or save the adapter with the base\'s fingerprints'
        )
        if not any(v.layer for v in self._places.base.variables.values()):
            problem = "the base has no names of layers, and the adapter no fingerprint"
            advice = f"give the .keras file, whose config.json has them, or {advice}"
        return self.not_found(problem, advice)

    def _unknown_contraction(self, tensor: str, found: Sequence[Place]) -> UnsupportedError:
        problem = f"nothing says which axes of {tensor!r} are contracted with the input"
        shape = words.shape(self._places.shape(tensor))
        got = f"{shape}, contracted over {' or '.join(str(p.contracted) for p in found)}"
        advice = (
            'say it with --map and {"layout": "in_out"} (the first axes) or "out_in" (the last '
            "ones), give the .keras file, whose config.json has the equation, or save the adapter "
            "with the base's fingerprints"
        )
        return UnsupportedError(
            Violation("E-ORIENTATION-UNKNOWN", self.target.name, problem, got, advice=advice)
        )
