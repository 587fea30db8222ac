"""attach and detach: a model becomes trainable by coefficients, and what it was."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar, cast

import torch
from torch import Tensor, nn

from fourier_format.errors import UsageError, Violation
from fourier_trainers.config import FourierConfig
from fourier_trainers.drawing import bases_of
from fourier_trainers.refusals import refuse_not_finite
from fourier_trainers.torch import activating, buffers, checkpoints, hooked, quantized, rows
from fourier_trainers.torch.adapted import Adapted, become_adapted, become_plain
from fourier_trainers.torch.coefficients import Adapters, Coefficients, Switch
from fourier_trainers.torch.layers import weight_of
from fourier_trainers.torch.selecting import Site, select, trained_whole
from fourier_trainers.torch.sharding import refuse_sharded
from fourier_trainers.torch.spectral.basis import Basis
from fourier_trainers.torch.state import (
    ATTRIBUTE,
    Attached,
    State,
    Witness,
    base_parameters,
    found_state,
    module_of,
    named,
    witness,
)

M = TypeVar("M", bound=nn.Module)

DEFAULT: Final = "default"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def attach(model: M, config: FourierConfig, name: str = DEFAULT) -> M:
    """Adapt `model` in place: freeze it, and give each target coefficients to train.

    The model stays the object that it is, of the same class, with the same parameters under the
    same names; its state_dict has one key more for each target,
    `<target>.fourier.<name>.coefficients`. The new adapter is the active one.

    Args:
        model: Any module.
        config: What to adapt, and how.
        name: The adapter's name.

    Returns:
        The same model.

    Raises:
        UsageError: The name is taken, or n does not fit.
        TargetNotFoundError: A name in `config` matches nothing.
        UnsupportedError: A target cannot be adapted.
    """
    if type(config) is not FourierConfig:
        got, expected = type(config).__name__, "a FourierConfig"
        raise UsageError(Violation("E-USAGE", "config", "not a configuration", got, expected))
    root, state = root_and_state(model, name)
    sites = select(root, config)
    whole = trained_whole(root, config, sites)
    bases = bases_of(sites, config, Basis)
    generator = torch.Generator().manual_seed(config.seed & 0x7FFF_FFFF_FFFF_FFFF)
    values = [_start(site, config, generator) for site in sites]
    record = Attached(config, (), {}, {})
    commit(root, state, name, sites, bases, values, record, dict.fromkeys(whole))
    return model


def commit(
    model: nn.Module,
    state: State,
    name: str,
    sites: Sequence[Site],
    bases: Sequence[Basis],
    values: Sequence[Tensor],
    record: Attached,
    whole: Mapping[str, Tensor | None],
) -> None:
    """Put an adapter on a model: all that could fail has been done before.

    Args:
        model: The model.
        state: Its state, or a new one.
        name: The adapter's name.
        sites: Its targets.
        bases: The basis of each.
        values: (n,) what each trains at first, on the CPU.
        record: What is remembered of it; targets and whole parameters are filled in.
        whole: Parameters that it trains whole -> their first values, None for the base's.
    """
    refuse_sharded(model)
    config = record.config
    members = [_member(*each, config) for each in zip(sites, bases, values, strict=True)]
    fresh = [site for site in sites if not isinstance(site.module, Adapted)]
    for site in fresh:
        hooked.check(site.module, site.name)
        if not site.kind.holds_weight():
            quantized.check(site.module, site.name)
    seen = {site.name: _witness(site) for site in fresh}
    refuse_not_finite({key: one.norm for key, one in seen.items() if one is not None})
    parameters = dict(base_parameters(model)) | state.originals
    own = _own_parameters(parameters, whole)
    if not state.adapters:
        state.buffers = buffers.watched(model)
        state.trainable = {key for key, p in parameters.items() if p.requires_grad}
        model.requires_grad_(requires_grad=False)
        model.register_forward_hook(activating.Reached())
        checkpoints.accept_trained_states(model)
    for site, member in zip(sites, members, strict=True):
        if not isinstance(site.module, Adapted):
            become_adapted(site.module, site.mixin, Adapters(state.switch))
        cast("Adapted", site.module).fourier[name] = member
    record.targets = tuple(site.name for site in sites)
    record.alphas = {site.name: site.alpha for site in sites}
    record.whole = own
    state.witnesses |= {key: value for key, value in seen.items() if value is not None}
    for key in own:
        state.originals.setdefault(key, parameters[key])
    rows.add_hooks(model, state, own)
    state.adapters[name] = record
    model.__dict__[ATTRIBUTE] = state
    activating.set_active(model, name)


def detach(model: M, name: str | None = None) -> M:
    """Take an adapter off, or all of them; the last one leaves the model as it was before `attach`.

    Args:
        model: An attached model.
        name: The adapter; None means all.

    Returns:
        The same model, its base's parameters bit for bit.

    Raises:
        UsageError: There is no such adapter, or delta weights are merged.
    """
    root, state = found_state(model)
    activating.refuse_merged(root)
    names = list(state.adapters) if name is None else [named(state, name)[0]]
    activating.set_active(root, [n for n in state.switch.active if n not in names])
    for gone in names:
        record = state.adapters.pop(gone)
        for target in record.targets:
            module = module_of(root, target)
            adapters = cast("Adapted", module).fourier
            del adapters[gone]
            adapters.forget()
            if not len(adapters):
                become_plain(module)
                state.witnesses.pop(target, None)
    if not state.adapters:
        del root.__dict__[ATTRIBUTE]
        rows.remove_hooks(root)
        checkpoints.forget_trained_states(root)
        for key, parameter in base_parameters(root):
            parameter.requires_grad_(key in state.trainable)
    return model


def root_and_state(model: nn.Module, name: str) -> tuple[nn.Module, State]:
    """Returns what a new adapter `name` is put on, and its state: a new one, or that it has.

    Raises:
        UsageError: The name cannot be part of a state_dict key, or is taken; the model is wrapped,
            merged, or partly attached.
    """
    if not _NAME.fullmatch(name) or hasattr(Adapters(Switch()), name):
        expected = "letters, digits, _ and -, and no name that nn.ModuleDict itself uses"
        raise UsageError(Violation("E-USAGE", "name", "not allowed", repr(name), expected))
    root = getattr(model, "_orig_mod", model)  # torch.compile's wrapper
    where = type(root).__name__
    if isinstance(root, nn.DataParallel | nn.parallel.DistributedDataParallel):
        problem, advice = "a model is attached before it is wrapped", "attach to model.module"
        raise UsageError(Violation("E-USAGE", where, problem, advice=advice))
    state: State = root.__dict__.get(ATTRIBUTE) or State()
    for path, module in root.named_modules():
        if isinstance(module, Adapters) and module.switch is not state.switch:
            problem = "a module in it, or one that holds it, is attached already"
            advice = "attach every adapter to the same module, or detach first"
            got = path.removesuffix(".fourier")
            raise UsageError(Violation("E-USAGE", where, problem, got, advice=advice))
    if name in state.adapters:
        advice = "take another name, or detach it first"
        problem = "the model has an adapter of this name already"
        raise UsageError(Violation("E-USAGE", where, problem, name, advice=advice))
    activating.refuse_merged(root)
    return root, state


def _start(site: Site, config: FourierConfig, generator: torch.Generator) -> Tensor:
    if config.init == "zeros":
        return torch.zeros(site.n, dtype=torch.float32, device="cpu")
    drawn = torch.randn(site.n, generator=generator, dtype=torch.float32, device="cpu")
    return drawn / config.gain


def _member(site: Site, basis: Basis, values: Tensor, config: FourierConfig) -> Coefficients:
    device = next(site.module.parameters()).device
    placed = values.to(device, copy=True)
    member = Coefficients(placed, basis, site.alpha, config.gain, config.path)
    member.first = values if device.type == "meta" else None
    return member


def _witness(site: Site) -> Witness | None:
    if not site.kind.holds_weight():
        return None
    return witness(site.kind.canonical(weight_of(site.module)))


def _own_parameters(
    parameters: Mapping[str, nn.Parameter], whole: Mapping[str, Tensor | None]
) -> dict[str, nn.Parameter]:
    """Returns an adapter's own parameters: one for each of the base's, whatever its names."""
    made: dict[int, nn.Parameter] = {}
    for key, first in whole.items():
        base = parameters[key]
        if id(base) not in made:
            value = base.detach().clone() if first is None else first.to(base.device, base.dtype)
            made[id(base)] = nn.Parameter(value)
    return {key: made[id(parameters[key])] for key in whole}
