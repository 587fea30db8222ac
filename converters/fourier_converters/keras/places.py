"""Places: the variables of a Keras model, read as weights of a kind, in one way or another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from fourier_converters.keras.base import Base
from fourier_converters.keras.layers import CONVOLUTION, DENSE, EINSUM_DENSE, EMBEDDING
from fourier_converters.keras.variables import Variable
from fourier_converters.naming import renamings
from fourier_format.adapter import Adapter, Array, Target
from fourier_format.dtypes import FLOAT_DTYPES, WEIGHT_DTYPES
from fourier_format.fingerprint import samples_of
from fourier_format.kinds import canonical_matrix, stored_form

_PRODUCTS: Final = ("linear", "einsum_dense")
"""Kinds that are one thing here: a torch Linear may be an EinsumDense in Keras."""

_MAX_AXES: Final = 4
_ROLES: Final = {"weight": ("kernel", "embeddings", "gamma"), "bias": ("bias", "beta")}
"""What Keras calls the parameters of torch's modules."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A variable that is read as a target's weight.

    Attributes:
        variable: The variable.
        kind: How it is read, a kind of target.
        contracted: The axes that are contracted with the input, where that kind has them.
        stored: Its values as they are stored.
    """

    variable: Variable
    kind: str
    contracted: tuple[int, ...]
    stored: Array

    @property
    def tensor(self) -> str:
        """The variable's path in the file."""
        return self.variable.path

    @property
    def layout(self) -> str:
        """Whether the contracted axes come first ("in_out"), or last ("out_in")."""
        if self.kind != "einsum_dense":
            return _LAYOUTS[self.kind]
        return "in_out" if 0 in self.contracted else "out_in"

    def canonical(self) -> Array:
        """Returns the (out, in) canonical matrix; a view where possible."""
        return canonical_matrix(
            self.stored, self.kind, _LAYOUTS.get(self.kind), contracted=self.contracted
        )

    def restored(self, matrix: Array) -> Array:
        """Returns a canonical (out, in) matrix as the variable is stored."""
        layout = _LAYOUTS.get(self.kind)
        return stored_form(matrix, self.kind, layout, self.stored.shape, self.contracted)

    def __str__(self) -> str:
        """The variable, its layer, and which axes are contracted where several could be."""
        text = f"{self.tensor} ({self.variable.layer or 'no layer name'})"
        if self.kind == "einsum_dense" and self.contracted != (0,):
            text += f", contracted over {', '.join(map(str, self.contracted))}"
        return text


_LAYOUTS: Final = {"conv2d": "hwio", "embedding": "vocab_dim"}


class Places:
    """Where the weights of one adapter may lie in a Keras model.

    Attributes:
        base: The model.
        is_foreign: Whether the adapter's names are another framework's: none has a "/", and some
            have dots.
        renamings: How the adapter's names become the model's, both with dots for "/".
    """

    def __init__(self, base: Base, adapter: Adapter) -> None:
        """Takes the model, and the adapter whose names are looked for."""
        self.base = base
        modules = {target.name for target in adapter.targets}
        modules |= {module_of(name)[0] for name in adapter.replacements}
        self.is_foreign = not any("/" in m for m in modules) and any("." in m for m in modules)
        layers = {v.layer for v in base.variables.values() if v.layer}
        self.renamings = renamings(map(dotted, modules - {""}), map(dotted, layers))
        self._samples: dict[tuple[str, str, tuple[int, ...]], Array] = {}

    def __contains__(self, tensor: str) -> bool:
        """Whether the model has a variable at this path."""
        return tensor in self.base.variables

    def dtype(self, tensor: str) -> str:
        """Returns the name of a variable's dtype, known or not."""
        return self.base.variables[tensor].dataset.dtype

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Returns a variable's shape."""
        return self.base.variables[tensor].dataset.shape

    def weights_named(self, name: str) -> list[str]:
        """Returns the paths of the kernels and embeddings of the layers of this name."""
        return [v.path for v in self._of_layer(name) if v.is_weight]

    def variables_named(self, name: str) -> list[Variable]:
        """Returns the variables that a replacement's name can mean."""
        module, parameter = module_of(name)
        return named_among(self._of_layer(module), name, parameter)

    def beside(self, variable: Variable) -> list[Variable]:
        """Returns the variables of the same layer."""
        return [v for v in self.base.variables.values() if v.group == variable.group]

    def may_be_tied(self, place: Place) -> bool:
        """Whether a product's weight is stored as an embedding is, and nothing says it is none."""
        if place.stored.ndim != 2 or place.contracted != (1,):
            return False
        has_bias = any(len(v.dataset.shape) == 1 for v in self.beside(place.variable))
        return place.variable.described.class_name not in EINSUM_DENSE and not has_bias

    def is_quantized(self, variable: Variable) -> bool:
        """Whether the layer holds integers, so that its variables are numbered otherwise."""
        return any(v.dataset.dtype not in FLOAT_DTYPES for v in self.beside(variable))

    def readings(self, tensor: str, target: Target) -> list[Place]:
        """Returns the ways to read a variable as a weight of the target's kind and shape."""
        variable = self.base.variables[tensor]
        if variable.dataset.dtype not in WEIGHT_DTYPES:
            return []
        ways = list(_ways(variable, target))
        stored = variable.dataset.array() if ways else None
        return [Place(variable, kind, axes, stored) for kind, axes in ways if stored is not None]

    def everywhere(self, target: Target) -> Iterator[Place]:
        """Yields every way to read any variable as a weight of the target's kind and shape."""
        for tensor in self.base.variables:
            yield from self.readings(tensor, target)

    def samples(self, place: Place) -> Array:
        """Returns the fingerprint's (32,) samples of the weight at a place."""
        key = (place.tensor, place.kind, place.contracted)
        if key not in self._samples:
            self._samples[key] = samples_of(place.canonical())
        return self._samples[key]

    def _of_layer(self, name: str) -> list[Variable]:
        paths = {path for r in self.renamings if (path := r(dotted(name))) is not None}
        return [v for v in self.base.variables.values() if v.layer and dotted(v.layer) in paths]


def dotted(name: str) -> str:
    """Returns a name with the separator that renamings know."""
    return name.replace("/", ".")


def module_of(name: str) -> tuple[str, str]:
    """Returns the layer and the parameter of a replacement's name, Keras's or torch's."""
    module, _, parameter = name.rpartition("/" if "/" in name else ".")
    return module, parameter


def named_among(variables: list[Variable], name: str, parameter: str) -> list[Variable]:
    """Returns those of a layer's variables that may be called `parameter`."""
    wanted = (parameter,) if "/" in name else _ROLES.get(parameter, (parameter,))
    return [v for v in variables if any(v.may_be(word) for word in wanted)]


def _ways(variable: Variable, target: Target) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields the kinds, and contracted axes, by which a variable has the target's shape."""
    shape, class_name = variable.dataset.shape, variable.described.class_name
    if target.kind in _PRODUCTS:
        for axes in _contractions(variable):
            kept = math.prod(s for axis, s in enumerate(shape) if axis not in axes)
            if (kept, math.prod(shape[axis] for axis in axes)) == target.shape:
                yield "einsum_dense", axes
    elif target.kind == "conv2d" and class_name in CONVOLUTION | {None}:
        if len(shape) == 4 and (shape[3], math.prod(shape[:3])) == target.shape:
            yield "conv2d", ()
    elif class_name in EMBEDDING | {None} and shape[::-1] == target.shape:
        yield "embedding", ()


def _contractions(variable: Variable) -> Iterator[tuple[int, ...]]:
    """Yields the sets of axes that the layer may contract: one where its class says which."""
    shape, described = variable.dataset.shape, variable.described
    if not 1 < len(shape) <= _MAX_AXES or described.class_name in CONVOLUTION:
        return
    if described.class_name in DENSE | EMBEDDING:
        yield (0,) if described.class_name in DENSE else (1,)
        return
    if described.contracted is not None:
        yield described.contracted
        return
    axes = range(len(shape))
    seen = set[tuple[int, ...]]()
    for count in range(1, len(shape)):
        for chosen in combinations(axes, count):
            wide = tuple(axis for axis in chosen if shape[axis] > 1)
            if wide not in seen:  # an axis of one value makes no difference
                seen.add(wide)
                yield chosen
