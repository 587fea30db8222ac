"""Which modules of a model become targets, and what else is trained. Nothing is changed here."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from fourier_format.errors import (
    FourierFormatError,
    TargetNotFoundError,
    UnsupportedError,
    UsageError,
    Violation,
    raise_all,
)
from fourier_trainers.torch.adapted import Calling, Reading
from fourier_trainers.torch.config import FourierConfig
from fourier_trainers.torch.layers import LayerKind, kind_of, weight_of

T = TypeVar("T")

ALL_LINEAR = "all-linear"


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A module that becomes a target.

    Attributes:
        name: Its path in the model.
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
        UsageError: n is larger than a matrix.
    """
    saved = set(saved_modules(model, config.modules_to_save))
    chosen = [name for name in _matching(model, config) if not _is_within(name, saved)]
    sites = sites_of(model, chosen, config)
    _refuse_shared(sites)
    too_many = [
        Violation("E-FIELD-VALUE", s.name, "n exceeds the matrix", str(s.n), _at_most(s.shape))
        for s in sites
        if s.n > s.shape[0] * s.shape[1]
    ]
    if too_many:
        raise UsageError(too_many)
    return sites


def sites_of(model: nn.Module, names: Sequence[str], config: FourierConfig) -> list[Site]:
    """Returns the sites of modules by their exact names.

    Raises:
        TargetNotFoundError: There is no such module.
        UnsupportedError: It cannot be adapted.
    """
    sites, failures = list[Site](), list[FourierFormatError]()
    modules = dict(model.named_modules())
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
    names = [name for name, _ in model.named_modules() if name]
    found = [name for name in names if any(_has_suffix(name, suffix) for suffix in suffixes)]
    for suffix in suffixes:
        if not any(_has_suffix(name, suffix) for name in found):
            raise _not_found("modules_to_save", suffix, names)
    return found


def trained_whole(model: nn.Module, config: FourierConfig, sites: Sequence[Site]) -> list[str]:
    """Returns the names of parameters that are trained whole: saved modules and biases.

    Raises:
        UsageError: `modules_to_save` names parameters of a target.
    """
    saved = set(saved_modules(model, config.modules_to_save))
    targets = {site.name for site in sites}
    names = []
    for name, _ in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        if ".fourier." in f".{owner}.":
            continue
        wanted = {"none": False, "targets": owner in targets, "all": True}[config.bias]
        if _is_within(owner, saved) or (leaf == "bias" and wanted):
            names.append(name)
    return names


def _site(modules: Mapping[str, nn.Module], name: str, config: FourierConfig) -> Site:
    module = modules.get(name)
    if module is None or not name:
        raise _not_found("target", name or "(the model itself)", list(modules))
    kind = kind_of(module, name)
    if kind is None:
        problem, got = "not a layer that can be adapted", type(module).__name__
        expected = "Linear, Conv1D, Conv2d or Embedding"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, got, expected))
    return Site(
        name=name,
        module=module,
        kind=kind,
        mixin=_mixin(modules, name),
        shape=kind.shape(module),
        n=_pattern(config.n_pattern, name, config.n),
        alpha=_pattern(config.alpha_pattern, name, config.alpha),
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


def _matching(model: nn.Module, config: FourierConfig) -> list[str]:
    wanted = config.target_modules
    names = [name for name, _ in model.named_modules() if name]
    names = [name for name in names if "fourier" not in name.split(".")]
    if wanted == ALL_LINEAR:
        return list(_all_linear(model, names))
    if isinstance(wanted, str):
        return _by_expression(model, names, wanted)
    found = []
    for suffix in wanted:
        matched = [name for name in names if _has_suffix(name, suffix)]
        if not matched:
            raise _not_found("target_modules", suffix, names)
        found.extend(_adaptable(model, matched, suffix))
    order = {name: k for k, name in enumerate(names)}
    return sorted(dict.fromkeys(found), key=order.__getitem__)


def _by_expression(model: nn.Module, names: Sequence[str], wanted: str) -> list[str]:
    try:
        matched = [name for name in names if re.fullmatch(wanted, name)]
    except re.error as error:
        problem = f"not a regular expression: {error}"
        raise UsageError(Violation("E-USAGE", "target_modules", problem, wanted)) from None
    if not matched:
        raise _not_found("target_modules", wanted, names)
    return _adaptable(model, matched, wanted)


def _all_linear(model: nn.Module, names: Sequence[str]) -> Iterator[str]:
    getter = getattr(model, "get_output_embeddings", None)
    output = getter() if callable(getter) else None
    modules = dict(model.named_modules())
    for name in names:
        module = modules[name]
        if module is output:
            continue
        kind = kind_of(module, name)
        if kind is not None and kind.kind == "linear":
            yield name


def _adaptable(model: nn.Module, names: Sequence[str], wanted: str) -> list[str]:
    """Returns those of `names` that can be adapted; containers of others are passed over.

    Raises:
        TargetNotFoundError: None can.
        UnsupportedError: One of them has a weight, and cannot.
    """
    modules = dict(model.named_modules())
    kinds = {name: kind_of(modules[name], name) for name in names}
    for name, kind in kinds.items():
        if kind is None and any(True for _ in modules[name].parameters(recurse=False)):
            problem = f"matched by {wanted!r}, but not a layer that can be adapted"
            got, expected = type(modules[name]).__name__, "Linear, Conv1D, Conv2d or Embedding"
            raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, got, expected))
    found = [name for name, kind in kinds.items() if kind is not None]
    if not found:
        problem = f"{wanted!r} matches no layer that can be adapted"
        got = ", ".join(sorted({type(modules[name]).__name__ for name in names}))
        expected = "Linear, Conv1D, Conv2d or Embedding"
        raise TargetNotFoundError(
            Violation("E-TARGET-NOT-FOUND", "target_modules", problem, got, expected)
        )
    return found


def _refuse_shared(sites: Sequence[Site]) -> None:
    """Refuse targets that share one stored weight: it would be adapted twice."""
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


def _pattern(pattern: Mapping[str, T], name: str, usual: T) -> T:
    return next((value for key, value in pattern.items() if _has_suffix(name, key)), usual)


def _has_suffix(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith(f".{suffix}")


def _is_within(name: str, modules: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[: k + 1]) in modules for k in range(len(parts)))


def _at_most(shape: tuple[int, int]) -> str:
    return f"at most {shape[0]} * {shape[1]} = {shape[0] * shape[1]}"


def _not_found(where: str, wanted: str, names: Sequence[Any]) -> TargetNotFoundError:
    endings = {name: name for name in names} | {name.rpartition(".")[2]: name for name in names}
    near = difflib.get_close_matches(wanted, endings, n=3)
    advice = f"did you mean {', '.join(near)}?" if near else "see model.named_modules() for names"
    problem = "no module of the model has this name"
    return TargetNotFoundError(
        Violation("E-TARGET-NOT-FOUND", where, problem, wanted, advice=advice)
    )
