"""Which layers of a model become targets, and what else is trained. Nothing is changed here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fourier_format.errors import (
    FourierFormatError,
    TargetNotFoundError,
    UnsupportedError,
    Violation,
    raise_all,
)
from fourier_trainers.config import FourierConfig
from fourier_trainers.keras.layers import (
    ADAPTABLE,
    LayerKind,
    is_linear,
    kind_of,
    refused,
    variable_of,
)
from fourier_trainers.keras.naming import NAMES, named_layers, named_variables, own_variables
from fourier_trainers.refusals import refuse_patterns, refuse_sizes

ALL_LINEAR: Final = "all-linear"


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A layer that becomes a target.

    Attributes:
        name: Its name in the model.
        layer: The layer.
        kind: How it is adapted.
        shape: (out, in) of the canonical matrix.
        n: Its number of coefficients.
        alpha: Its scale.
    """

    name: str
    layer: Any
    kind: LayerKind
    shape: tuple[int, int]
    n: int
    alpha: float


def select(model: Any, config: FourierConfig) -> list[Site]:
    """Returns the targets that `config` asks for, in the model's order.

    Raises:
        TargetNotFoundError: A name matches nothing, or nothing that can be adapted.
        UnsupportedError: A layer that is meant cannot be adapted, or two share one weight.
        UsageError: n is larger than a matrix, or alpha is 0.
    """
    refuse_unbuilt(model)
    layers = named_layers(model)
    saved = saved_layers(layers, config.modules_to_save)
    matched = _matched(layers, saved, config)
    chosen = [name for name in matched if not NAMES.within(name, saved)]
    if not chosen:
        problem = "no layer of the model is adapted"
        if matched:
            problem = "all that it matches is in modules_to_save, which is trained whole"
        wanted = str(config.target_modules)
        raise NAMES.not_found("target_modules", wanted, list(layers), problem)
    sites = sites_of(layers, chosen, config)
    refuse_patterns(sites, config, NAMES)
    refuse_sizes(sites)
    return sites


def refuse_unbuilt(model: Any) -> None:
    """Refuse a model in which there are no layers with weights.

    Raises:
        UnsupportedError: It was never built, or is one layer.
    """
    if not (model.built or model.weights):
        problem, advice = (
            "it was never built, and has no weight",
            "call the model once, or build it",
        )
        raise refused(model.name, problem, type(model).__name__, advice)
    if not named_layers(model):
        problem = "the model is one layer, which has no name"
        advice = "put it into a model that holds it, such as keras.Sequential"
        raise refused(model.name, problem, type(model).__name__, advice)


def sites_of(layers: Mapping[str, Any], names: Sequence[str], config: FourierConfig) -> list[Site]:
    """Returns the sites of layers by their exact names.

    Raises:
        TargetNotFoundError: There is no such layer.
        UnsupportedError: It cannot be adapted, or two share one weight.
    """
    sites, failures = list[Site](), list[FourierFormatError]()
    for name in names:
        try:
            sites.append(_site(layers, name, config))
        except FourierFormatError as error:
            failures.append(error)
    raise_all(failures)
    owners: defaultdict[int, list[str]] = defaultdict(list)
    for site in sites:
        owners[id(variable_of(site.layer, site.kind))].append(site.name)
    shared = [names for names in owners.values() if len(names) > 1]
    if shared:
        problem = "these layers share one weight, which would be adapted more than once"
        raise UnsupportedError(
            Violation(
                "E-TARGET-AMBIGUOUS", " and ".join(names), problem, advice="target one of them"
            )
            for names in shared
        )
    return sites


def saved_layers(layers: Mapping[str, Any], suffixes: Sequence[str]) -> list[str]:
    """Returns the names of layers that end in one of `suffixes`.

    Raises:
        TargetNotFoundError: One of them matches nothing, or a layer without weights.
    """
    names = list(layers)
    found = [n for s in suffixes for n in NAMES.by_suffix(names, s, "modules_to_save")]
    for name in found:
        if not layers[name].weights:
            problem = "this layer has no weights"
            raise NAMES.not_found("modules_to_save", name, [], problem)
    return found


def trained_whole(model: Any, config: FourierConfig, sites: Sequence[Site]) -> dict[str, Any]:
    """Returns the weights that are trained whole, by name: those of saved layers, and biases.

    A saved layer's state, such as BatchNormalization's means, is among them.
    """
    layers = named_layers(model)
    saved = saved_layers(layers, config.modules_to_save)
    within = {id(v) for name in saved for v in layers[name].weights}
    biases: set[int] = set()
    if config.bias != "none":
        owners = layers.values() if config.bias == "all" else [site.layer for site in sites]
        biases = {id(v) for layer in owners for v in own_variables(layer) if _is_bias(v)}
    return {n: v for n, v in named_variables(model).items() if id(v) in within | biases}


def _is_bias(variable: Any) -> bool:
    return "bias" in variable.name.split("_")


def _matched(layers: Mapping[str, Any], saved: Sequence[str], config: FourierConfig) -> list[str]:
    wanted, names = config.target_modules, list(layers)
    if wanted == ALL_LINEAR:
        return _all_linear({n: layers[n] for n in names if not NAMES.within(n, saved)})
    if isinstance(wanted, str):
        found = NAMES.by_expression(names, wanted, "target_modules")
        return _adaptable(layers, found, wanted)
    matched: set[str] = set()
    for suffix in wanted:
        found = NAMES.by_suffix(names, suffix, "target_modules")
        matched.update(_adaptable(layers, found, suffix))
    return [name for name in names if name in matched]


def _all_linear(layers: Mapping[str, Any]) -> list[str]:
    """Returns the linear layers among `layers`.

    Raises:
        UnsupportedError: One of them cannot be adapted: to leave it out would go unseen.
    """
    found, failures = list[str](), list[FourierFormatError]()
    for name, layer in layers.items():
        if not is_linear(layer):
            continue
        try:
            kind_of(layer, name)
        except FourierFormatError as error:
            failures.append(error)
        found.append(name)
    raise_all(failures)
    return found


def _adaptable(layers: Mapping[str, Any], names: Sequence[str], wanted: str) -> list[str]:
    """Returns those of `names` that can be adapted; containers of others are passed over.

    Raises:
        TargetNotFoundError: None can.
        UnsupportedError: One of them has a weight, and cannot.
    """
    kinds = {name: kind_of(layers[name], name) for name in names}
    for name, kind in kinds.items():
        if kind is None and own_variables(layers[name]):
            problem = f"matched by {wanted!r}, but not a layer that can be adapted"
            got = type(layers[name]).__name__
            raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, got, ADAPTABLE))
    found = [name for name, kind in kinds.items() if kind is not None]
    if not found:
        problem = f"{wanted!r} matches no layer that can be adapted"
        got = ", ".join(sorted({type(layers[name]).__name__ for name in names}))
        advice = f"name layers inside it, if it has any: see {NAMES.listing}"
        if not all(layers[name].built for name in names):
            advice = "it was never built: call the model once"
        raise TargetNotFoundError(
            Violation("E-TARGET-NOT-FOUND", "target_modules", problem, got, ADAPTABLE, advice)
        )
    return found


def _site(layers: Mapping[str, Any], name: str, config: FourierConfig) -> Site:
    layer = layers.get(name)
    if layer is None:
        raise NAMES.not_found(name, name, list(layers), "no layer of the model has this name")
    kind = kind_of(layer, name)
    if kind is None:
        raise refused(name, "not a layer that can be adapted", type(layer).__name__, ADAPTABLE)
    n = NAMES.by_pattern(config.n_pattern, name, config.n)
    alpha = NAMES.by_pattern(config.alpha_pattern, name, config.alpha)
    return Site(name, layer, kind, kind.shape(layer), n, alpha)
