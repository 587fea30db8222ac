"""Which adapters of an attached model are on, for a whole batch or row by row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import nn

from fourier_format.errors import TargetNotFoundError, UsageError, Violation
from fourier_trainers.torch.adapted import Adapted
from fourier_trainers.torch.state import ATTRIBUTE, State, found_state, named, set_parameter


def set_active(model: nn.Module, names: str | Sequence[str] | None) -> None:
    """Turn adapters on, and all others off; those that are on are trained.

    The delta weights of several are added up. Heads and biases that an adapter trained whole come
    and go with it.

    Args:
        model: An attached model.
        names: One, several, or None for the base alone.

    Raises:
        UsageError: There is no such adapter, two of them have their own values of one parameter, or
            delta weights are merged.
    """
    root, state = found_state(model)
    chosen = tuple(dict.fromkeys((names,) if isinstance(names, str) else names or ()))
    refuse_merged(root)
    records = [named(state, name)[1] for name in chosen]
    own: dict[str, nn.Parameter] = {}
    for record in records:
        twice = own.keys() & record.whole.keys()
        if twice:
            problem = "two adapters have their own values of one parameter"
            raise UsageError(Violation("E-USAGE", min(twice), problem, " and ".join(chosen)))
        own |= record.whole
    for key, original in state.originals.items():
        set_parameter(root, key, own.get(key, original))
    state.switch.active = chosen
    _require_gradients(root, state)


def active(model: nn.Module) -> tuple[str, ...]:
    """Returns the names of the adapters that are on."""
    return found_state(model)[1].switch.active


@contextlib.contextmanager
def adapter_rows(model: nn.Module, rows: Sequence[str | None]) -> Iterator[None]:
    """Inside, each row of a batch has its own adapter.

    Args:
        model: An attached model, whose targets see the batch as the first axis of their input.
        rows: An adapter's name for each row; None for the base alone.

    Raises:
        UsageError: There is no such adapter, or one has a head or biases of its own, which are
            one for the whole batch.
    """
    root, state = found_state(model)
    refuse_merged(root)
    for name in {row for row in rows if row is not None}:
        record = named(state, name)[1]
        other = [k for k, p in record.whole.items() if root.get_parameter(k) is not p]
        if other:
            problem = "its own values of this parameter cannot hold for some rows only"
            advice = "make it the active adapter, or run its rows in a batch of their own"
            raise UsageError(Violation("E-USAGE", f"{name}: {other[0]}", problem, advice=advice))
    before, state.switch.rows = state.switch.rows, tuple(rows)
    try:
        yield
    finally:
        state.switch.rows = before


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
        if state is None or state.switch.rows is not None:
            return
        for name in state.switch.active:
            record = state.adapters[name]
            if record.config.reached == "checked" and not record.seen:
                missed = [t for t in record.targets if not _fourier(model, t).reached]
                if missed:
                    raise TargetNotFoundError(_unreached(t) for t in missed)
                record.seen = True


def remove_hooks(root: nn.Module) -> None:
    """Take off what `attach` registered."""
    hooks = root._forward_hooks  # noqa: SLF001 - by kind, since copies of a model have no handle
    for key in [key for key, hook in hooks.items() if isinstance(hook, Reached)]:
        del hooks[key]


def refuse_merged(root: nn.Module) -> None:
    """Refuse what cannot be done while delta weights are merged into the base's."""
    state: State | None = root.__dict__.get(ATTRIBUTE)
    targets = {t for record in state.adapters.values() for t in record.targets} if state else set()
    if any(_fourier(root, target).kept is not None for target in targets):
        problem, advice = "delta weights are merged into the base's", "call unmerge(model) first"
        raise UsageError(Violation("E-USAGE", type(root).__name__, problem, advice=advice))


def _require_gradients(root: nn.Module, state: State) -> None:
    for name, record in state.adapters.items():
        is_on = name in state.switch.active
        for target in record.targets:
            for parameter in _fourier(root, target)[name].parameters():
                parameter.requires_grad_(is_on)
        for parameter in record.whole.values():
            parameter.requires_grad_(is_on)


def _fourier(root: nn.Module, target: str) -> Any:
    return cast("Adapted", root.get_submodule(target)).fourier


def _unreached(target: str) -> Violation:
    problem = "this target was not reached by the model's forward, so it would train nothing"
    advice = (
        "its parent may read the weight without calling the module: leave it out of the targets, "
        'or attach with FourierConfig(reached="unchecked") if it is only reached at times'
    )
    return Violation("E-TARGET-UNREACHED", target, problem, advice=advice)
