"""Which modules of a model become targets, and what else is trained. Nothing is changed here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from fourier_format.errors import (
    FourierFormatError,
    UnsupportedError,
    Violation,
    raise_all,
)
from fourier_trainers.config import FourierConfig
from fourier_trainers.refusals import refuse_patterns, refuse_sizes
from fourier_trainers.torch.adapted import Calling, Reading
from fourier_trainers.torch.layers import LayerKind, is_plain, kind_of, weight_of
from fourier_trainers.torch.matching import ADAPTABLE, NAMES, matching
from fourier_trainers.torch.state import base_modules, base_parameters


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A module that becomes a target.

    Attributes:
        name: Its plain name in the model.
        module: The module.
        kind: How it is adapted.
        mixin: Whether it is called, or its weight read by its parent.
        shape: (out, in) of the canonical matrix.
        n: Its number of coefficients.
        alpha: Its scale.
    """

    name: str
    module: nn.Module
    kind: LayerKind
    mixin: type[Calling | Reading]
    shape: tuple[int, int]
    n: int
    alpha: float


def select(model: nn.Module, config: FourierConfig) -> list[Site]:
    """Returns the targets that `config` asks for, in the model's order.

    Raises:
        TargetNotFoundError: A name matches nothing, or nothing that can be adapted.
        UnsupportedError: A module that is meant cannot be adapted, or two share one weight.
        UsageError: n is larger than a matrix, or alpha is 0.
    """
    saved = set(saved_modules(model, config.modules_to_save))
    matched = matching(model, config)
    chosen = [name for name in matched if not NAMES.within(name, saved)]
    if not chosen:
        problem = "no layer of the model is adapted"
        if matched:
            problem = "all that it matches is in modules_to_save, which is trained whole"
        raise NAMES.not_found("target_modules", str(config.target_modules), [], problem)
    sites = sites_of(model, chosen, config)
    refuse_shared(sites)
    refuse_patterns(sites, config, NAMES)
    refuse_sizes(sites)
    return sites


def sites_of(model: nn.Module, names: Sequence[str], config: FourierConfig) -> list[Site]:
    """Returns the sites of modules by their exact names.

    Raises:
        TargetNotFoundError: There is no such module.
        UnsupportedError: It cannot be adapted.
    """
    sites, failures = list[Site](), list[FourierFormatError]()
    modules = base_modules(model)
    for name in names:
        try:
            sites.append(_site(modules, name, config))
        except FourierFormatError as error:
            failures.append(error)
    raise_all(failures)
    return sites


def saved_modules(model: nn.Module, suffixes: Sequence[str]) -> list[str]:
    """Returns the names of modules that end in one of `suffixes`.

    Raises:
        TargetNotFoundError: One of them matches nothing.
    """
    names = [name for name in base_modules(model) if name]
    for suffix in suffixes:
        if not any(NAMES.has_suffix(name, suffix) for name in names):
            raise NAMES.not_found("modules_to_save", suffix, names)
    return [name for name in names if any(NAMES.has_suffix(name, s) for s in suffixes)]


def trained_whole(model: nn.Module, config: FourierConfig, sites: Sequence[Site]) -> list[str]:
    """Returns the names of parameters that are trained whole: saved modules and biases.

    A parameter of several names is listed under all that are asked for.

    Raises:
        TargetNotFoundError: A saved module has no parameters.
        UnsupportedError: A parameter is quantised, or has no shape yet.
    """
    saved = set(saved_modules(model, config.modules_to_save))
    targets = {id(site.module) for site in sites}
    modules = base_modules(model)
    names, refused = list[str](), list[Violation]()
    for name, parameter in base_parameters(model):
        owner, _, leaf = name.rpartition(".")
        of_target = id(modules[owner]) in targets
        wanted = {"none": False, "targets": of_target, "all": True}[config.bias]
        if not NAMES.within(owner, saved) and not (wanted and "bias" in leaf.split("_")):
            continue
        names.append(name)
        if not is_plain(parameter):
            problem, got = "it cannot be trained whole", type(parameter).__name__
            refused.append(Violation("E-BASE-UNSUPPORTED", name, problem, got, "a float tensor"))
    if refused:
        raise UnsupportedError(refused)
    empty = [module for module in saved if next(modules[module].parameters(), None) is None]
    if empty:
        raise NAMES.not_found("modules_to_save", empty[0], [], "this module has no parameters")
    return names


def _site(modules: Mapping[str, nn.Module], name: str, config: FourierConfig) -> Site:
    module = modules.get(name)
    if module is None:
        raise NAMES.not_found(name, name, list(modules))
    kind = kind_of(module, name)
    if kind is None:
        problem, got = "not a layer that can be adapted", type(module).__name__
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, got, ADAPTABLE))
    mixin = _mixin(modules, name)
    if mixin is Reading and not kind.holds_weight():
        problem = "its parent reads the weight itself, and it is quantised"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem))
    return Site(
        name=name,
        module=module,
        kind=kind,
        mixin=mixin,
        shape=kind.shape(module),
        n=NAMES.by_pattern(config.n_pattern, name, config.n),
        alpha=NAMES.by_pattern(config.alpha_pattern, name, config.alpha),
    )


def _mixin(modules: Mapping[str, nn.Module], name: str) -> type[Calling | Reading]:
    """Returns how the module's weight is used: some of torch's own parents read it themselves."""
    parent, _, child = name.rpartition(".")
    owner = modules.get(parent)
    if isinstance(owner, nn.MultiheadAttention) and child == "out_proj":
        return Reading
    if isinstance(owner, nn.TransformerEncoderLayer) and child in {"linear1", "linear2"}:
        return Reading
    return Calling


def refuse_shared(sites: Sequence[Site]) -> None:
    """Refuse targets that share one stored weight: it would be adapted twice.

    Raises:
        UnsupportedError: Some do.
    """
    owners: defaultdict[int, list[str]] = defaultdict(list)
    for site in sites:
        owners[id(weight_of(site.module))].append(site.name)
    shared = [names for names in owners.values() if len(names) > 1]
    if shared:
        advice = "target one of them; the others keep the base's weight"
        raise UnsupportedError(
            Violation(
                "E-TARGET-AMBIGUOUS",
                " and ".join(names),
                "these modules share one weight (tied), which would be adapted more than once",
                advice=advice,
            )
            for names in shared
        )
