"""Replacements: whole variables trained beside the adapter, and those whose place they take.

One trained in Keras has the variable's name and form. One trained in torch is turned round where
the shape, the layer's class or its target's weight says how; a file says no more of its layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from fourier_converters import refusals
from fourier_converters.keras.layers import DENSE, EINSUM_DENSE, EMBEDDING
from fourier_converters.keras.matching import Match
from fourier_converters.keras.places import Places, module_of, named_among
from fourier_converters.keras.variables import Variable
from fourier_converters.mapping import Map
from fourier_converters.replacing import Replaced, replace_each
from fourier_format import words
from fourier_format.adapter import Adapter, Array
from fourier_format.dtypes import FLOAT_DTYPES, dtype_name
from fourier_format.errors import TargetNotFoundError, Violation
from fourier_format.kinds import canonical_matrix

_TORCH_LAYOUTS = {"linear": "out_in", "conv2d": "oihw", "embedding": "vocab_dim"}


def match_replacements(
    adapter: Adapter, matches: Sequence[Match], places: Places, mapping: Map
) -> list[Replaced]:
    """Returns where every replacement goes that the map does not skip.

    Raises:
        TargetNotFoundError: E-REPLACEMENT-NOT-FOUND, E-REPLACEMENT-SHAPE, E-TARGET-AMBIGUOUS or
            E-USE-CLAIMED, for all at once.
    """
    search = _Search(matches, places, mapping)
    return replace_each(adapter, mapping, search.replaced, _nothing_more)


def _nothing_more(_: Sequence[Replaced]) -> Iterator[Violation]:
    """A file of Keras takes no other shapes, so that all is said of each by itself."""
    return iter(())


class _Search:
    """The search for the variables of replacements."""

    def __init__(self, matches: Sequence[Match], places: Places, mapping: Map) -> None:
        self._places = places
        self._mapping = mapping
        self._matches: Mapping[str, Match] = {m.target.name: m for m in matches}

    def replaced(self, name: str, values: Array) -> Replaced:
        """Returns where one replacement goes; raises as `match_replacements`."""
        variable, source = self._variable(name)
        there = variable.dataset.dtype
        own = str(dtype_name(values.dtype))
        if own != there and not {own, there} <= set(FLOAT_DTYPES):
            problem = f"the base holds {variable.path!r} as {there}, and the replacement is {own}"
            raise refusals.no_replacement(name, problem)
        variable.dataset.array()  # refuses what is not stored in one piece
        placed = self._placed(name, values, variable)
        return Replaced(name, variable.path, placed, there, f"replaced, by {source}")

    def _variable(self, name: str) -> tuple[Variable, str]:
        """Returns the variable that a replacement means, and what says so."""
        tensor = self._mapping.replacement(name).weight
        if tensor is not None:
            if tensor not in self._places:
                problem = f"the map names {tensor!r}, which is not in the base"
                raise refusals.no_replacement(name, problem)
            return self._places.base.variables[tensor], "map"
        module, parameter = module_of(name)
        match, source = self._matches.get(module), "name"
        if match is not None:
            beside = self._places.beside(match.place.variable)
            found, source = named_among(beside, name, parameter), "its target's layer"
        else:
            found = self._places.variables_named(name)
        if len(found) > 1:
            raise refusals.ambiguous(name, [v.path for v in found])
        if not found:
            problem = "the base has no variable of this name"
            if self._places.is_foreign:
                problem += ", and the adapter has another framework's names"
            raise refusals.no_replacement(name, problem)
        if self._places.is_quantized(found[0]):
            problem = (
                f"the layer of {found[0].path!r} is quantised, and its variables have no names"
            )
            raise refusals.no_replacement(name, problem)
        return found[0], source

    def _placed(self, name: str, values: Array, variable: Variable) -> Array:
        """Returns a replacement's values as the variable is stored."""
        shape = variable.dataset.shape
        if "/" in name:
            if values.shape == shape:
                return values
            raise _wrong_shape(name, values, variable)
        found = {f.tobytes(): f for f in self._torch_forms(name, values, variable)}
        if not found:
            raise _wrong_shape(name, values, variable)
        if len(found) > 1:
            problem = f"nothing says whether {variable.path!r} holds it as it is, or transposed"
            raise refusals.no_replacement(name, problem)
        return next(iter(found.values()))

    def _torch_forms(self, name: str, values: Array, variable: Variable) -> Iterator[Array]:
        """Yields the forms that a parameter of torch may have in a Keras variable."""
        module, parameter = module_of(name)
        shape, class_name = variable.dataset.shape, variable.described.class_name
        match = self._matches.get(module)
        if match is not None and parameter == "weight":
            layout = _TORCH_LAYOUTS.get(match.target.kind)
            matrix = canonical_matrix(values, match.target.kind, layout) if layout else values
            if matrix.shape == match.target.shape:
                yield match.place.restored(matrix)
        elif values.ndim == 1:
            is_split = match is not None or class_name in EINSUM_DENSE  # (heads * h) to (heads, h)
            if shape == values.shape or (is_split and math.prod(shape) == values.size):
                yield values.reshape(shape)
        elif values.ndim == 2:
            if class_name not in EMBEDDING and values.T.shape == shape:
                yield values.T
            if class_name not in DENSE and values.shape == shape:
                yield values
        elif values.ndim == 4 and values.transpose(2, 3, 1, 0).shape == shape:
            yield values.transpose(2, 3, 1, 0)


def _wrong_shape(name: str, values: Array, variable: Variable) -> TargetNotFoundError:
    return TargetNotFoundError(
        Violation(
            "E-REPLACEMENT-SHAPE",
            name,
            f"the base's variable {variable.path!r} has another shape",
            got=f"{words.shape(values.shape)} in the adapter",
            expected=f"{words.shape(variable.dataset.shape)} in the base",
            advice="build the model with the head that was trained, save it, and merge into that",
        )
    )
