"""Which adapters of an attached model are on, and whether a forward reaches their targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from fourier_format.errors import TargetNotFoundError, UsageError, Violation
from fourier_trainers.torch import buffers
from fourier_trainers.torch.adapted import Adapted
from fourier_trainers.torch.sharding import is_distributed
from fourier_trainers.torch.state import (
    ATTRIBUTE,
    State,
    found_state,
    module_of,
    named,
    parameter_of,
    refresh,
    set_parameter,
)


def set_active(model: nn.Module, names: str | Sequence[str] | None) -> None:
    """Turn adapters on, and all others off; those that are on are trained.

    The delta weights of several are added up. Heads and biases that an adapter trained whole come
    and go with it.

    Args:
        model: An attached model.
        names: One, several, or None for the base alone.

    Raises:
        UsageError: There is no such adapter, two of them have their own values of one parameter,
            delta weights are merged, or the model was sharded with other values of a parameter.
    """
    root, state = found_state(model)
    chosen = tuple(dict.fromkeys((names,) if isinstance(names, str) else names or ()))
    refuse_merged(root)
    refresh(root, state)
    records = [named(state, name)[1] for name in chosen]
    own: dict[str, nn.Parameter] = {}
    for record in records:
        twice = own.keys() & record.whole.keys()
        if twice:
            problem = "two adapters have their own values of one parameter"
            advice = "turn on one of them at a time, or give each row its own with adapter_rows"
            got = " and ".join(chosen)
            raise UsageError(Violation("E-USAGE", min(twice), problem, got, advice=advice))
        own |= record.whole
    chosen_values = {key: own.get(key, original) for key, original in state.originals.items()}
    for key, value in chosen_values.items():
        _refuse_apart(root, key, value)
    for key, value in chosen_values.items():
        set_parameter(root, key, value)
    state.switch.active = chosen
    _require_gradients(root, state)


def active(model: nn.Module) -> tuple[str, ...]:
    """Returns the names of the adapters that are on."""
    return found_state(model)[1].switch.active


class Reached:
    """After a model's forward: an error if a target was never reached, which trains nothing."""

    def __call__(self, model: nn.Module, *_: Any) -> None:
        """Look at the targets of the active adapters, until all were reached once.

        Raises:
            TargetNotFoundError: E-TARGET-UNREACHED, with every target that was not.
        """
        if torch.compiler.is_compiling():
            return
        state: State | None = model.__dict__.get(ATTRIBUTE)
        if state is None:
            return
        if model.training and not state.warned:
            state.warned = True
            buffers.warn_of_training(model)
        if state.switch.rows is not None:
            _check_owners(state, state.switch.rows)
            return
        for name in state.switch.active:
            record = state.adapters[name]
            if record.config.reached == "checked" and not record.seen:
                missed = [t for t in record.targets if not _fourier(model, t).reached]
                if missed:
                    raise TargetNotFoundError(_unreached(t) for t in missed)
                record.seen = True


def refuse_merged(root: nn.Module) -> None:
    """Refuse what cannot be done while delta weights are merged into the base's."""
    state: State | None = root.__dict__.get(ATTRIBUTE)
    targets = {t for record in state.adapters.values() for t in record.targets} if state else set()
    if any(_fourier(root, target).kept is not None for target in targets):
        problem, advice = "delta weights are merged into the base's", "call unmerge(model) first"
        raise UsageError(Violation("E-USAGE", type(root).__name__, problem, advice=advice))


def _refuse_apart(root: nn.Module, key: str, value: nn.Parameter) -> None:
    """Refuse to put a parameter into a sharded model that was not sharded with it."""
    if is_distributed(parameter_of(root, key)) and not is_distributed(value):
        problem = "other values of this parameter were not in the model when it was sharded"
        advice = "make the adapter active before fully_shard(model)"
        raise UsageError(Violation("E-USAGE", key, problem, advice=advice))


def _require_gradients(root: nn.Module, state: State) -> None:
    for name, record in state.adapters.items():
        is_on = name in state.switch.active
        for target in record.targets:
            for parameter in _fourier(root, target)[name].parameters():
                parameter.requires_grad_(is_on)
        for parameter in record.whole.values():
            parameter.requires_grad_(is_on)


def _check_owners(state: State, rows: Sequence[str | None]) -> None:
    """Refuse rows whose own parameters were read by a parent, past the module that has them."""
    names = {row for row in rows if row is not None}
    paths = {key.rpartition(".")[0] for name in names for key in state.adapters[name].whole}
    missed = sorted(path for path in paths if not state.owners[path].reached)
    if missed:
        problem = "this module was not called, so that rows cannot have parameters of their own"
        advice = "run the rows of each adapter in a batch of their own"
        raise TargetNotFoundError(
            Violation("E-TARGET-UNREACHED", path, problem, advice=advice) for path in missed
        )


def _fourier(root: nn.Module, target: str) -> Any:
    return cast("Adapted", module_of(root, target)).fourier


def _unreached(target: str) -> Violation:
    problem = "this target was not reached by the model's forward, so it would train nothing"
    advice = (
        "its parent may read the weight without calling the module: leave it out of the targets, "
        'or attach with FourierConfig(reached="unchecked") if it is only reached at times'
    )
    return Violation("E-TARGET-UNREACHED", target, problem, advice=advice)
