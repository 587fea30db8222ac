"""Replacements: whole tensors trained beside the adapter, and the tensors whose place they take.

A head that the base lacks is added, and one with another number of labels takes the old one's
place, but only whole modules: a parameter that is missing in a module of the base, or of another
shape than the rest of its module expects, is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fourier_converters import refusals
from fourier_converters.mapping import Map
from fourier_converters.matching import BY_FINGERPRINT
from fourier_converters.replacing import Replaced, replace_each
from fourier_converters.safetensors.matching import Match
from fourier_converters.safetensors.places import Places
from fourier_format import words
from fourier_format.adapter import Adapter, Array
from fourier_format.dtypes import FLOAT_DTYPES, dtype_name
from fourier_format.errors import Violation


def match_replacements(
    adapter: Adapter, matches: Sequence[Match], places: Places, mapping: Map
) -> list[Replaced]:
    """Returns where every replacement goes that the map does not skip.

    Raises:
        TargetNotFoundError: E-REPLACEMENT-NOT-FOUND, E-REPLACEMENT-SHAPE, E-TARGET-AMBIGUOUS or
            E-USE-CLAIMED, for all at once.
    """
    search = _Search(matches, places, mapping)
    return replace_each(
        adapter,
        mapping,
        search.replaced,
        lambda found: _of_another_shape(found, matches, places),
    )


class _Search:
    """The search for the tensors of replacements."""

    def __init__(self, matches: Sequence[Match], places: Places, mapping: Map) -> None:
        self._places = places
        self._mapping = mapping
        self._modules: Mapping[str, str] = {
            m.target.name: m.place.tensor.rpartition(".")[0] for m in matches
        }
        self._is_renamed = any(m.evidence == (BY_FINGERPRINT,) for m in matches)

    def replaced(self, name: str, values: Array) -> Replaced:
        """Returns where one replacement goes; raises as `match_replacements`."""
        tensor = self._mapping.replacement(name).weight
        if tensor is not None:
            if tensor not in self._places.checkpoint.tensors:
                problem = f"the map names {tensor!r}, which is not in the base"
                raise refusals.no_replacement(name, problem)
            return self._over(name, values, tensor, "map")
        module, _, parameter = name.rpartition(".")
        found = self._named(module, parameter)
        if len(found) > 1:
            raise refusals.ambiguous(name, found)
        return self._over(name, values, found[0], "name") if found else self._new(name, values)

    def _named(self, module: str, parameter: str) -> list[str]:
        """Returns the tensors of that name; those of a target lie where its weight was found."""
        if module in self._modules:
            tensor = f"{self._modules[module]}.{parameter}".removeprefix(".")
            return [tensor] if tensor in self._places.checkpoint.tensors else []
        return self._places.named(module, parameter)

    def _over(self, name: str, values: Array, tensor: str, source: str) -> Replaced:
        own, there = str(dtype_name(values.dtype)), self._places.dtype(tensor)
        if own != there and not {own, there} <= set(FLOAT_DTYPES):
            problem = f"the base holds {tensor!r} as {there}, and the replacement is {own}"
            raise refusals.no_replacement(name, problem)
        shape = self._places.shape(tensor)
        reshaped = shape != values.shape
        evidence = f"replaced, by {source}"
        if reshaped:
            evidence += f", was {words.shape(shape)}"
        return Replaced(name, tensor, values, there, evidence, reshaped=reshaped)

    def _new(self, name: str, values: Array) -> Replaced:
        module, _, parameter = name.rpartition(".")
        path = self._modules.get(module)
        paths = self._places.paths(module) if path is None else [path]
        tensors = [f"{path}.{parameter}".removeprefix(".") for path in paths]
        if len(tensors) > 1:
            raise refusals.ambiguous(name, tensors)
        if self._is_renamed:
            raise refusals.no_replacement(
                name, "the base has other names than the adapter, and none like this"
            )
        if paths[0] in self._places.modules:
            raise refusals.no_replacement(
                name, f"the base's module {paths[0]!r} has no {parameter!r}"
            )
        own = str(dtype_name(values.dtype))
        return Replaced(name, tensors[0], values, own, "added", added=True)


def _of_another_shape(
    found: Sequence[Replaced], matches: Sequence[Match], places: Places
) -> Iterator[Violation]:
    """Yields the replacements whose shape does not fit what stays of their module, or a delta."""
    replaced = {r.tensor for r in found}
    targets = {m.place.tensor for m in matches}
    for r in (r for r in found if r.reshaped):
        module = r.tensor.rpartition(".")[0]
        stay = [
            tensor
            for tensor in places.checkpoint.tensors
            if tensor.rpartition(".")[0] == module and tensor not in replaced
        ]
        if stay or r.tensor in targets:
            shape = places.shape(r.tensor)
            yield Violation(
                "E-REPLACEMENT-SHAPE",
                r.name,
                f"the base's tensor {r.tensor!r} has another shape",
                got=f"{words.shape(r.values.shape)} in the adapter",
                expected=f"{words.shape(shape)} in the base",
                advice="is this the base that the adapter was trained on?",
            )
