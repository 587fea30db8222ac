"""What is remembered of an attached model: its adapters, and what it was before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from fourier_format import fingerprint
from fourier_format.adapter import Adapter
from fourier_format.errors import UsageError, Violation
from fourier_trainers.config import FourierConfig
from fourier_trainers.torch.coefficients import Adapters, Switch

ATTRIBUTE: Final = "_fourier_state"

_WRAPPERS: Final = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}
"""Names under which torch.compile, checkpointing and FSDP hold the module that they wrap."""


@dataclass(slots=True, eq=False)
class Attached:
    """One adapter on a model.

    Attributes:
        config: What was asked for.
        targets: The names of its targets, in order.
        alphas: The scale of each.
        whole: Parameters of its own in place of the base's, by name.
        source: The adapter that it was loaded from, if it was.
        seen: Whether a forward has reached all its targets.
    """

    config: FourierConfig
    targets: tuple[str, ...]
    alphas: dict[str, float]
    whole: dict[str, nn.Parameter]
    source: Adapter | None = None
    seen: bool = False


@dataclass(slots=True, eq=False)
class Owner:
    """A module of which an adapter has its own parameters.

    Attributes:
        reached: Whether it has been called.
    """

    reached: bool = False


@dataclass(slots=True, eq=False)
class State:
    """All adapters of a model; every name in it is a plain one, as wrappers come and go.

    Attributes:
        switch: Which of them are on.
        adapters: By name.
        originals: The base's parameters that an adapter has its own of, by name.
        trainable: The base's parameters that required gradients before it was frozen.
        owners: Of the parameters that adapters have their own of, by path.
        buffers: Small buffers of the base as they were, by name.
        witnesses: Of each target's base weight when it was attached.
        warned: Whether it has been looked at if training changes them.
    """

    switch: Switch = field(default_factory=Switch)
    adapters: dict[str, Attached] = field(default_factory=dict)
    originals: dict[str, nn.Parameter] = field(default_factory=dict)
    trainable: set[str] = field(default_factory=set)
    owners: dict[str, Owner] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    warned: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Witness:
    """Enough of a weight to see that it has changed, at little cost.

    Attributes:
        samples: (32,) float64, at the positions of a fingerprint (spec/registry.md, section 4).
        norm: The Frobenius norm, in float64.
        dtype: The weight's dtype.
    """

    samples: Tensor
    norm: float
    dtype: torch.dtype


def witness(matrix: Tensor) -> Witness | None:
    """Returns the witness of a canonical `matrix`; None for one without values (meta)."""
    if matrix.device.type == "meta":
        return None
    values = matrix.detach()
    return Witness(samples_of(values).to("cpu", torch.float64), norm_of(values), matrix.dtype)


def samples_of(matrix: Tensor) -> Tensor:
    """Returns the (32,) samples of a canonical `matrix`, as it holds them (spec, clause 9)."""
    shape = int(matrix.shape[0]), int(matrix.shape[1])
    places = torch.from_numpy(fingerprint.positions(shape)).to(matrix.device)
    return matrix[places // shape[1], places % shape[1]]


def norm_of(matrix: Tensor) -> float:
    """Returns the Frobenius norm of a canonical `matrix`, accumulated in float64."""
    return float(torch.linalg.vector_norm(matrix, dtype=torch.float64))


def is_same(then: Witness, now: Witness) -> bool:
    """Whether two witnesses are of one weight, that may have been cast to another dtype since."""
    eps = torch.finfo(now.dtype).eps if now.dtype != then.dtype else 0.0
    tolerance = max(1e-9, eps)  # sums may be added in another order
    rounded = then.samples.to(now.dtype).to(torch.float64)
    return torch.equal(rounded, now.samples) and abs(then.norm - now.norm) <= tolerance * then.norm


def plain_name(path: str) -> str:
    """Returns a path in a model without what torch's wrappers put into it."""
    return ".".join(part for part in path.split(".") if part not in _WRAPPERS)


def unwrapped(module: nn.Module) -> nn.Module:
    """Returns the module that torch's wrappers hold, or the module itself."""
    held = module._modules  # noqa: SLF001 - past any property
    inner = next((held[name] for name in _WRAPPERS if name in held), None)
    return module if inner is None else unwrapped(inner)


def module_of(root: nn.Module, name: str) -> nn.Module:
    """Returns a module by its plain name, whatever has been wrapped since it was named.

    Raises:
        AttributeError: There is none.
    """
    found = unwrapped(root)
    for part in name.split(".") if name else ():
        found = unwrapped(found.get_submodule(part))
    return found


def base_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Returns the modules of a model by all their plain names, without what holds coefficients.

    In place of a wrapper stands what it holds.
    """
    named_modules = dict(model.named_modules(remove_duplicate=False))
    ours = {name for name, module in named_modules.items() if isinstance(module, Adapters)}
    return {
        plain_name(name): unwrapped(module)
        for name, module in named_modules.items()
        if not _is_in(name, ours)
    }


def base_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yields the parameters of a model under all their plain names, without coefficients."""
    for name, module in base_modules(model).items():
        for leaf, parameter in module.named_parameters(recurse=False):
            yield (f"{name}.{leaf}" if name else leaf), parameter


def _is_in(name: str, paths: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[: k + 1]) in paths for k in range(len(parts))) if paths else False


def found_state(model: nn.Module) -> tuple[nn.Module, State]:
    """Returns the attached module in `model` and its state: itself, or one that is wrapped in it.

    Raises:
        UsageError: None has adapters attached, or several have.
    """
    found = [m for m in model.modules() if ATTRIBUTE in m.__dict__]
    if len(found) != 1:
        problem = "the model has no adapter attached" if not found else "several attached models"
        advice = "call attach(model, config) first" if not found else "give one of them"
        raise UsageError(Violation("E-USAGE", type(model).__name__, problem, advice=advice))
    state: State = found[0].__dict__[ATTRIBUTE]
    return found[0], state


def named(state: State, name: str | None) -> tuple[str, Attached]:
    """Returns the adapter called `name`; None means the only one, or the active one.

    Raises:
        UsageError: There is none, or it is not clear which is meant.
    """
    chosen = name
    if chosen is None:
        candidates = state.switch.active if len(state.switch.active) == 1 else tuple(state.adapters)
        chosen = candidates[0] if len(candidates) == 1 else None
    if chosen is None or chosen not in state.adapters:
        listed = ", ".join(state.adapters)
        problem = "several adapters are attached" if name is None else "there is no such adapter"
        raise UsageError(Violation("E-USAGE", "adapter", problem, name, f"one of: {listed}"))
    return chosen, state.adapters[chosen]


def refresh(root: nn.Module, state: State) -> None:
    """Take note of parameters that are other objects by now: sharding makes new ones."""
    on = [state.adapters[name] for name in state.switch.active]
    for record in on:
        for key in record.whole:
            record.whole[key] = parameter_of(root, key)
    for key in state.originals:
        if not any(key in record.whole for record in on):
            state.originals[key] = parameter_of(root, key)


def parameter_of(root: nn.Module, name: str) -> nn.Parameter:
    """Returns a parameter by its name, past any property."""
    owner, _, leaf = name.rpartition(".")
    found = module_of(root, owner)._parameters[leaf]  # noqa: SLF001 - the parameter itself
    return cast("nn.Parameter", found)


def set_parameter(model: nn.Module, name: str, value: nn.Parameter) -> None:
    """Put `value` in place of a parameter, whatever class its module has."""
    owner, _, leaf = name.rpartition(".")
    parameters: dict[str, Any] = module_of(model, owner)._parameters  # noqa: SLF001
    parameters[leaf] = value
